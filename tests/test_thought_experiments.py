"""The experiments on thought machines: sizes, marks of answers, refusals, and going on from a folder."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from dynlab import model_size
from dynlab.tasks import CumulativeParity
from experiments import ctm_parity, ctm_sort, ctm_sync
from experiments._resting import find_rest, rest_table
from experiments._thoughts import TickLoss, TickTest, optimiser_of, parity_machine, train_one


def test_the_lstm_has_as_many_parameters():
    machine = parity_machine(ctm_parity.Config(), 8)
    assert 1.0 <= model_size(ctm_parity.matched_lstm(machine)) / model_size(machine) < 1.02


def test_paper_is_the_published_size():
    config = dataclasses.replace(ctm_parity.Config(), **ctm_parity.PAPER)
    assert model_size(parity_machine(config, 25)) == 5_719_714
    assert model_size(parity_machine(config, 5)) == 5_043_874


def test_sorted_right_wants_the_whole_order_and_no_more():
    paths = np.array([[3, 0, 3, 1, 2], [0, 1, 2, 0, 3], [0, 0, 3, 2, 1], [3, 0, 1, 1, 3]])
    right, ticks = ctm_sort.sorted_right(np.eye(4, dtype=np.float32)[paths], np.tile([0, 1, 2], (4, 1)))
    assert np.asarray(right).tolist() == [True, False, False, False]
    assert np.asarray(ticks)[0].tolist() == [1, 3, 4]


def test_updates_to_a_share_of_right_answers():
    """The mean of 2 and 1 epochs; a network that never gets there makes it infinite."""
    along = np.array([[0.5, 0.96, 0.9], [0.97, 0.98, 1.0]])
    assert ctm_sync.updates_to(0.95, along, 100) == 150.0
    assert ctm_sync.updates_to(0.97, along, 100) == np.inf


def test_one_optimiser_a_config():
    """A new one would compile every training again."""
    config = ctm_sync.Config.smoke()
    assert optimiser_of(config, True) is optimiser_of(dataclasses.replace(config), True)
    assert optimiser_of(config, True) is not optimiser_of(config, False)


def test_training_goes_on_from_its_folder(tmp_path):
    """The second call has nothing left to do; another configuration is refused."""
    config = ctm_sync.Config.smoke()
    loss = TickLoss(ctm_sync.model_of(config, "neither"), CumulativeParity(3), n_ticks=2, batch=8)
    options = {"evaluate": TickTest(loss, 1), "folder": tmp_path}
    first = train_one(loss, config, jax.random.key(0), identity={"a": 1}, **options)
    assert first.epochs == config.epochs
    again = train_one(loss, config, jax.random.key(0), identity={"a": 1}, **options)
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    np.testing.assert_array_equal(first.loss, again.loss)
    with pytest.raises(ValueError, match="a"):
        train_one(loss, config, jax.random.key(0), identity={"a": 2}, **options)


BAD = {
    "history": (ctm_parity, {"history": (1, 3)}, "history must have one value"),
    "ticks": (ctm_parity, {"ticks": (0, 1, 2)}, "ticks and history must be"),
    "rate": (ctm_parity, {"learning_rate": 0.0}, "learning_rate"),
    "heads": (ctm_parity, {"n_heads": 3}, "n_attention must be a multiple"),
    "short": (ctm_sort, {"n_ticks": 4}, "n_ticks"),
    "epochs": (ctm_sort, {"epochs": 11, "n_updates": 10}, "epochs"),
    "read": (ctm_sync, {"read": (1000,)}, "read"),
    "pairs": (ctm_sync, {"n_sync": 500}, "n"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_configs(case):
    module, change, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        module.validate(dataclasses.replace(module.Config(), **change))


def test_rest_of_an_untrained_machine():
    """It comes to rest on the one fixed point, at the rate of that point's leading multiplier."""
    machine, key = parity_machine(ctm_parity.Config.smoke(), 2), jax.random.key(0)
    strings = CumulativeParity(4).batch(key, 3).symbols
    rest = find_rest(machine, machine.init(key), strings, 80, key, n_searched=2)
    table = rest_table(rest, 4)
    assert [row[5] for row in table.rows] == [1, 1, "not searched"]
    assert table.rows[2][6:] == ("none",) * 3
    for row in table.rows[:2]:
        assert row[3] < 40
        assert row[6] < 1e-3
        assert row[7] < 1
        np.testing.assert_allclose(row[4], np.log(row[7]), atol=0.05)
        np.testing.assert_allclose(row[8], -1 / np.log(row[7]), rtol=1e-4)
