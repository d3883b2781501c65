"""Local adaptation of inhibition: the rule against NumPy loops, Dale's law, caps, the one-step design."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpy_ei
import pytest

from dynlab import ESN, EIReservoir, LeakyRNN, simulate
from dynlab.plasticity import adapt_inhibition, beta_targets, one_step_design, phases

KEY = jax.random.key(0)
MODEL = EIReservoir(n_units=60, in_degree=30)
PARAMS = MODEL.init(KEY)
U = jax.random.uniform(jax.random.key(7), (2000, 1), minval=-1.0)
MIXED = beta_targets(jax.random.key(3), 60, 5.0, 5.0)


@pytest.mark.conformance
@pytest.mark.parametrize("cap", [10.0, 1.05])
def test_the_rule_equals_a_numpy_loop(cap, tol):
    rates = phases((100, 1e-2), (50, 1e-3))
    found = adapt_inhibition(MODEL, PARAMS, U[:150], MIXED, learning_rate=rates, max_inhibition=cap, every=40)
    want, trace = numpy_ei.adapt(PARAMS, np.asarray(U[:150]), np.asarray(MIXED), np.asarray(rates), cap)
    np.testing.assert_allclose(found.params.inhibition, want, atol=tol(2e-4, 1e-11))
    np.testing.assert_allclose(found.rates, trace[30:].reshape(3, 40, -1).mean(1), atol=tol(1e-3, 1e-10))
    plus = np.asarray(PARAMS.excitation).sum(1)
    np.testing.assert_allclose(found.balance[-1], (plus - want.sum(1)) / plus.mean(), atol=tol(2e-3, 1e-10))
    np.testing.assert_array_equal(found.capped, want.sum(1) >= cap * plus.mean() * (1 - 1e-3))


@pytest.mark.parametrize("target", [0.4, 0.5, 0.6, MIXED])
def test_reaches_its_targets(target):
    found = adapt_inhibition(MODEL, PARAMS, U, target)
    assert found.status == 0
    assert found.error < 0.04
    states = simulate(MODEL, found.params, U, washout=200).outputs
    before = simulate(MODEL, PARAMS, U, washout=200).outputs
    distance = lambda s: float(np.abs(np.asarray(s).mean(0) - target).mean())  # noqa: E731
    assert distance(states) < min(0.05, 0.5 * distance(before))


@pytest.mark.parametrize("seed", range(5))
def test_dales_law_holds_whatever_happens(seed):
    """Any targets, any rate: no weight changes its sign, none appears."""
    rng = np.random.default_rng(seed)
    targets, rate = rng.uniform(0.01, 0.99, 60), 10 ** rng.uniform(-3, 0)
    found = adapt_inhibition(MODEL, PARAMS, U[:300], targets, learning_rate=rate)
    new, old = np.asarray(found.params.inhibition), np.asarray(PARAMS.inhibition)
    assert (new >= 0).all()
    assert (new[old == 0] == 0).all()
    np.testing.assert_array_equal(found.params.excitation, PARAMS.excitation)
    assert new.sum(1).max() <= 10.0 * np.asarray(PARAMS.excitation).sum(1).mean() * (1 + 1e-5)


def test_unreachable_targets_end_with_a_status():
    """A target of 0.05 is below what this network can do: the rates stick and inhibition stops at the cap."""
    longer = jnp.concatenate([U] * 4)
    found = adapt_inhibition(MODEL, PARAMS, longer, 0.05, learning_rate=1e-2, max_inhibition=3.0)
    assert found.status == 1
    assert np.isfinite(found.params.inhibition).all()
    totals = np.asarray(found.params.inhibition).sum(1) / np.asarray(PARAMS.excitation).sum(1).mean()
    assert totals.max() < 3.001
    assert found.error > 0.05


def test_a_bad_member_keeps_the_others():
    """NaN in one member of a vmapped sweep: status 2 and NaN there, the rest as alone."""
    gains = jnp.array([10.0, jnp.nan])
    swept = jax.vmap(lambda g: adapt_inhibition(MODEL, PARAMS.replace(gain=g), U[:300], 0.5))(gains)
    alone = adapt_inhibition(MODEL, PARAMS, U[:300], 0.5)
    np.testing.assert_array_equal(swept.status, [alone.status, 2])
    np.testing.assert_allclose(swept.params.inhibition[0], alone.params.inhibition, atol=1e-4)
    assert np.isnan(swept.params.inhibition[1]).all()


@pytest.mark.conformance
@pytest.mark.parametrize("target", [0.3, 0.5, MIXED])
def test_the_design_is_a_fixed_point(target, tol):
    """At the targets and the mean input, one step changes nothing; the factors are those of the formula."""
    model, mean = EIReservoir(n_units=60, in_degree=30, balance=-0.4, threshold=0.03), 0.2
    params = model.init(KEY)
    found = one_step_design(model, params, target, mean)
    fine = ~np.asarray(found.unreachable)
    assert fine.mean() > 0.9
    rho = np.broadcast_to(np.asarray(target, float), 60)
    after = np.asarray(model.step(found.params, jnp.asarray(rho), jnp.array([mean])))
    np.testing.assert_allclose(after[fine], rho[fine], atol=tol(1e-5, 1e-12))
    w_in = float(params.input_scaling) * np.asarray(params.input_weights, float)[:, 0]
    wanted = 0.03 + np.log(rho / (1 - rho)) / 10.0
    omega = (np.asarray(params.excitation, float) @ rho[:48] + w_in * mean - wanted) / (numpy_ei.effective(params) @ rho[48:])
    np.testing.assert_allclose(np.asarray(found.scale)[fine], omega[fine], rtol=tol(1e-4, 1e-10))


def test_the_design_reaches_its_targets_in_a_run():
    large = EIReservoir(n_units=300, in_degree=50, input_scaling=0.1)
    found = one_step_design(large, large.init(KEY), 0.5)
    rates = np.asarray(simulate(large, found.params, U, washout=200).outputs).mean(0)
    assert found.status == 0
    assert np.abs(rates - 0.5).mean() < 0.005


def test_the_uniform_mode_says_where_the_network_flips():
    """For equal targets the mode is c rho (1 - rho) (logit(rho)/c) / rho = (1 - rho) logit(rho): -1 at rho = 0.218."""
    for target in (0.15, 0.25, 0.5):
        found = one_step_design(MODEL, PARAMS, target)
        assert not found.unreachable.any()
        assert float(found.uniform_mode) == pytest.approx((1 - target) * np.log(target / (1 - target)), abs=1e-4)
        assert found.status == int(target < 0.218)
    flipping = one_step_design(MODEL, PARAMS.replace(input_scaling=jnp.float32(0.01)), 0.15).params
    states = np.asarray(simulate(MODEL, flipping.replace(input_scaling=jnp.float32(0.01)), U[:400], washout=300).outputs).mean(1)
    assert states[::2].mean() - states[1::2].mean() != pytest.approx(0.0, abs=0.1)  # two values in turn


def test_a_design_that_runs_away_says_so():
    """With threshold 0.3 the mode at 0.5 is (1 - rho)(c theta + logit rho) = 1.5: the rates leave the target."""
    high = EIReservoir(n_units=300, in_degree=50, input_scaling=0.1, threshold=0.3)
    found = one_step_design(high, high.init(KEY), 0.5)
    assert not found.unreachable.any()
    assert float(found.uniform_mode) == pytest.approx(1.5, abs=1e-4)
    assert found.status == 1
    rates = np.asarray(simulate(high, found.params, U, washout=200).outputs).mean(0)
    assert np.abs(rates - 0.5).mean() > 0.2


def test_leaky_network_with_dales_law():
    """The same rule and design on another model: leaky sigmoid units."""
    model = LeakyRNN(n_units=40, activation="sigmoid", excitatory=0.75, tau=3.0, self_connections=False)
    params = model.init(KEY)
    assert (np.asarray(model.inhibition(params)) >= 0).all()
    adapted = adapt_inhibition(model, params, U, 0.45, learning_rate=1e-2)
    assert adapted.status == 0
    weights = np.asarray(adapted.params.weight_hh)
    assert (weights[:, :30] >= 0).all()
    assert (weights[:, 30:] <= 0).all()
    assert (np.diagonal(weights) == 0).all()
    designed = one_step_design(model, params, 0.5)
    fine = ~np.asarray(designed.unreachable)
    h = jnp.full(40, 0.5)
    np.testing.assert_allclose(np.asarray(model.step(designed.params, h, jnp.zeros(1)))[fine], 0.5, atol=1e-5)


def test_second_call_compiles_nothing(count_compilations):
    adapt_inhibition(MODEL, PARAMS, U[:200], 0.5)
    one_step_design(MODEL, PARAMS, 0.5)
    with count_compilations() as count:
        adapt_inhibition(MODEL, PARAMS, U[:200], 0.4)
        one_step_design(MODEL, PARAMS, 0.4)
    assert count.compilations == 0


BAD = {
    "no Dale's law": (lambda: adapt_inhibition(ESN(), ESN().init(KEY), U, 0.5), TypeError, r"model must have the methods excitation, .*ESN lacks excitation"),
    "mixed signs": (lambda: adapt_inhibition(LeakyRNN(), LeakyRNN().init(KEY), U, 0.5), ValueError, r"excitatory must be given"),
    "target 0": (lambda: adapt_inhibition(MODEL, PARAMS, U, 0.0), ValueError, r"targets must be rates .* got 0.0"),
    "target above 1": (lambda: one_step_design(MODEL, PARAMS, 1.2), ValueError, r"targets must be rates .* got 1.2"),
    "targets of wrong length": (lambda: one_step_design(MODEL, PARAMS, np.full(3, 0.5)), ValueError, r"targets must be a number or of shape \(60,\), got shape \(3,\)"),
    "NaN target": (lambda: one_step_design(MODEL, PARAMS, np.nan), ValueError, r"targets must be finite"),
    "negative rate": (lambda: adapt_inhibition(MODEL, PARAMS, U, 0.5, learning_rate=-1.0), ValueError, r"learning_rate must be finite and in \[0.0, inf\], got -1.0"),
    "rates of wrong length": (lambda: adapt_inhibition(MODEL, PARAMS, U, 0.5, learning_rate=np.ones(3)), ValueError, r"learning_rate must be a number or of shape \(2000,\), got shape \(3,\)"),
    "window longer than the run": (lambda: adapt_inhibition(MODEL, PARAMS, U[:50], 0.5), ValueError, r"every must be in \[1, 50\], got 100"),
    "a batch": (lambda: adapt_inhibition(MODEL, PARAMS, np.zeros((2, 50, 1)), 0.5), ValueError, r"inputs must be one series"),
    "NaN input": (lambda: adapt_inhibition(MODEL, PARAMS, U.at[3].set(jnp.nan), 0.5), ValueError, r"inputs must be finite"),
    "mean input of wrong shape": (lambda: one_step_design(MODEL, PARAMS, 0.5, np.zeros(2)), ValueError, r"mean_input must be a number or of shape \(1,\), got shape \(2,\)"),
    "no phases": (phases, ValueError, r"parts must hold at least one"),
    "phase of no steps": (lambda: phases((0, 0.1)), ValueError, r"steps must be at least 1, got 0"),
    "Beta of a = 0": (lambda: beta_targets(KEY, 10, 0.0), ValueError, r"a must be finite and in \(0.0, inf\], got 0.0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()
