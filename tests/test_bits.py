"""Training on bits: one program while N grows, every curriculum and model, networks kept when they solve a task."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import train
from experiments import _bits, n_dms, n_parity

SMALL = _bits.Training(n_units=8, max_n=5, n_networks=2, n_epochs=4, n_updates=3, n_tests=2, batch=8, together=True)


def train_easily(config, key, monkeypatch, on_epoch=None):
    """Training under a curriculum whose tasks all count as solved."""
    heads_of = _bits.heads_of

    def easy(config):
        heads = heads_of(config)
        return heads.replace(curriculum=heads.curriculum.replace(threshold=0.0))

    monkeypatch.setattr(_bits, "heads_of", easy)
    if on_epoch is not None:
        monkeypatch.setattr(_bits, "_notes", lambda progress: on_epoch)
    return _bits.train_networks(config, key)


@pytest.mark.parametrize(("curriculum", "model"), [("cumulative", "leaky"), ("single", "gru"), ("sliding", "lstm")])
def test_nothing_compiles_again_when_n_grows(curriculum, model, key, monkeypatch, count_compilations):
    config = replace(SMALL, curriculum=curriculum, model=model, optimiser="sgd" if model == "leaky" else "adam")
    counts = []

    def on_epoch(epoch, now, report):
        counts.append(counter.compilations)

    with count_compilations() as counter:
        _, fit = train_easily(config, key, monkeypatch, on_epoch)
    first = 3 if curriculum == "sliding" else 2
    want = np.arange(first, 6)
    np.testing.assert_array_equal(fit.history["n"][: len(want)], np.repeat(want[:, None], 2, axis=1))
    assert len(counts) == len(want)
    assert counts[-1] == counts[0]  # the first epoch compiled, the others did not
    assert fit.status.tolist() == [1, 1]
    trained = np.isfinite(fit.history["accuracy"][-1, 0])
    expected = {"cumulative": [1, 1, 1, 1], "single": [0, 0, 0, 1], "sliding": [0, 0, 1, 1]}[curriculum]
    np.testing.assert_array_equal(trained, np.array(expected, bool))
    kept = fit.stage.networks.readout.weights
    assert kept.shape[:2] == (2, 4)
    assert bool(jnp.any(kept[:, -1] != kept[:, -2]))
    np.testing.assert_array_equal(kept[:, -1], fit.params.readout.weights)


def test_the_diagonal_stays_zero_and_fixed_time_constants_stay(key, monkeypatch):
    _, fit = train_easily(replace(SMALL, tau=2.0, n_epochs=2), key, monkeypatch)
    weights = np.asarray(fit.params.rnn.weight_hh)
    np.testing.assert_array_equal(np.diagonal(weights, axis1=1, axis2=2), 0.0)
    assert np.count_nonzero(weights) == 2 * 8 * 7
    np.testing.assert_array_equal(fit.params.rnn.tau, 2.0)


def test_networks_are_those_of_their_index(key):
    whole = jax.vmap(lambda i: _bits.draw_network(_bits.heads_of(SMALL), jax.random.fold_in(key, i)))(jnp.arange(3))
    assert len({float(w) for w in whole.readout.weights[:, 0, 0]}) == 3
    split = _bits.identity(replace(SMALL, first_network=2))
    assert split != _bits.identity(SMALL)
    assert _bits.identity(replace(SMALL, n_epochs=9, together=False)) == _bits.identity(SMALL)


def test_one_head_answers_for_the_newest_task_only(key):
    heads = _bits.heads_of(replace(SMALL, curriculum="single"))
    network = _bits.draw_network(heads, key)
    assert network.readout.weights.shape == (8, 2)
    stage = heads.curriculum.init().replace(low=jnp.int32(2), high=jnp.int32(2))
    losses, hits = heads.draw(network, key, stage)
    np.testing.assert_array_equal(np.isfinite(losses), [False, False, True, False])
    assert 0 <= float(hits[2]) <= 1


BAD = {
    "n": ({"max_n": 1}, "max_n must be at least 2, got 1"),
    "tau below the clamp": ({"tau": 0.5}, "at least one step, got 0.5"),
    "tau of gates": ({"tau": 2.0, "model": "gru"}, "tau must be 0 for a gru"),
    "window": ({"curriculum": "sliding", "window": 9}, r"window must be in \[1, 4\], got 9"),
    "rate": ({"learning_rate": 0.0}, "learning_rate must be"),
    "batch": ({"batch": 0}, "batch must be at least 1, got 0"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_training(case):
    change, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        _bits.validate(replace(SMALL, **change))


@pytest.mark.parametrize("change", [{"at": (1,)}, {"timescale_steps": 10}, {"repeats": 0}], ids=str)
def test_bad_analysis(change):
    for module in (n_parity, n_dms):
        with pytest.raises(ValueError, match=f"{next(iter(change))} must be at least"):
            module.validate(replace(module.Config.smoke(), **change))


def test_common_key_is_the_key_itself_outside_of_fit(key):
    assert train.common_key(key) is key
