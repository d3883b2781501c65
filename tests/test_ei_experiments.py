"""The experiments on E/I reservoirs: their measures against a NumPy program, their statistics by hand."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
import scipy.stats

from dynlab import EIReservoir
from experiments import ei_adaptation, ei_search
from experiments._ei_measures import Adapted, Protocol, adapted_member, global_member
from experiments._ei_statistics import best_index, compare
from experiments.bench import ei_grid

KEY = jax.random.key(0)
SHORT = Protocol(60, 300, 150, 20, forecasts=False, adaptation=((200, 1e-2), (100, 1e-3)))


def test_memory_and_narma_equal_a_numpy_program(monkeypatch):
    """Same network and series, step by step in float64 with normal equations."""
    monkeypatch.setattr(ei_grid, "BALANCES", (-0.3,))
    monkeypatch.setattr(ei_grid, "SCALINGS", (0.5,))
    model = EIReservoir(n_units=40, in_degree=20)
    (job,) = ei_grid.jobs(ei_grid.Config(n_seeds=1, peer_every=1), model, SHORT, KEY)
    memory, narma = ei_grid.numpy_member(job)
    found = global_member(SHORT, model.replace(balance=-0.3), jax.random.fold_in(KEY, 0))
    assert float(found["memory"]) == pytest.approx(memory, rel=1e-3)
    assert float(found["narma"]) == pytest.approx(narma, rel=1e-3)
    assert float(found["measured_balance"]) == pytest.approx(-0.3, abs=1e-5)


def test_an_adapted_member_meets_its_targets():
    for by_rule in (False, True):
        setting = Adapted(EIReservoir(n_units=60), in_degree=30.0, by_rule=by_rule)
        found = adapted_member(SHORT, setting, KEY)
        assert float(found["rate_error"]) < 0.06
        assert float(found["rate"]) == pytest.approx(0.5, abs=0.05)


def test_heterogeneous_targets_have_their_distribution():
    base = EIReservoir(n_units=4000)
    for spread, (a, b) in ((0.25, (2, 2)), (0.1, (5, 5))):
        drawn = np.asarray(Adapted(base, heterogeneity=spread).targets(KEY))
        assert scipy.stats.kstest(drawn, scipy.stats.beta(a, b).cdf).pvalue > 1e-3
    assert (np.asarray(Adapted(base, target=0.4).targets(KEY)) == np.float32(0.4)).all()


def test_comparison_by_hand():
    """Two settings, three seeds; the second is best on the mean; gains 100 %, 50 %, 0 % over it."""
    overall = np.array([[1.0, 1.0, 1.0], [2.0, 4.0, 3.0]])
    adapted = np.array([4.0, 6.0, 3.0])
    found = compare(overall, adapted, higher=True)
    assert found.best == 1
    assert found.improvement == pytest.approx(50.0)
    assert found.deviation == pytest.approx(50.0)
    assert found.high - found.improvement == pytest.approx(4.3027 * 50.0 / np.sqrt(3.0), rel=1e-4)
    assert found.n == 3
    assert found.p == pytest.approx(scipy.stats.ttest_rel(adapted, overall[1]).pvalue)
    errors = compare(-overall + 5.0, adapted, higher=False)
    assert errors.best == 1
    assert errors.improvement == pytest.approx(np.mean([(3 - 4) / 3, (1 - 6) / 1, (2 - 3) / 2]) * 100)
    assert best_index(np.array([[np.nan, 1.0], [2.0, 3.0]]), True) == 1


@pytest.mark.parametrize(("change", "message"), [
    ({"n_seeds": 1}, "n_seeds must be at least 2, got 1"),
    ({"balances": (1.5,)}, "balances must be finite"),
    ({"targets": (1.0,)}, "targets must be finite"),
    ({"targets": ()}, "targets must hold at least one value"),
])
def test_bad_configurations_are_refused(change, message):
    for module in (ei_adaptation, ei_search):
        with pytest.raises(ValueError, match=message):
            module.validate(dataclasses.replace(module.Config.smoke(), **change))
    with pytest.raises(ValueError, match="heterogeneities must hold 0"):
        ei_adaptation.validate(dataclasses.replace(ei_adaptation.Config(), heterogeneities=(0.1,)))
