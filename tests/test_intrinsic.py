"""Intrinsic plasticity: both rules against NumPy loops, where they lead, bad input."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import numpy as np
import pytest
from numpy_ei import sigmoid

from dynlab import ESN, GRU, EIReservoir, simulate
from dynlab.plasticity import adapt_intrinsic

KEY = jax.random.key(0)
SIGMOID = EIReservoir(n_units=40, in_degree=15, gain=2.0, threshold=0.1, input_fraction=1.0)
TANH = ESN(n_units=40, spectral_radius=0.9, leak_rate=0.7, bias_scaling=0.1, input_scaling=0.5)
U = jax.random.uniform(jax.random.key(9), (3000, 1), minval=-1.0)


@pytest.mark.conformance
def test_normal_rule_equals_a_numpy_loop(tol):
    params, mean, deviation, rate = TANH.init(KEY), 0.1, 0.3, 2e-3
    found = adapt_intrinsic(TANH, params, U[:200], target="normal", mean=mean, deviation=deviation, learning_rate=rate, every=50)
    w = 0.9 * np.asarray(params.recurrent.dense(), float)
    w_in = 0.5 * np.asarray(params.input_weights, float)
    a, b, x, trace = np.ones(40), np.asarray(params.bias, float), np.zeros(40), []
    for u in np.asarray(U[:200], float):
        net = w @ x + w_in @ u
        y = np.tanh(a * net + b)
        x = 0.3 * x + 0.7 * y
        trace.append(x)
        db = -rate * (-mean / deviation**2 + y / deviation**2 * (2 * deviation**2 + 1 - y**2 + mean * y))
        a, b = a + rate / a + db * net, b + db
    np.testing.assert_allclose(found.params.gain, a, atol=tol(2e-4, 1e-11))
    np.testing.assert_allclose(found.params.bias, b, atol=tol(2e-4, 1e-11))
    np.testing.assert_allclose(found.rates, np.reshape(trace, (4, 50, 40)).mean(1), atol=tol(1e-4, 1e-11))


@pytest.mark.conformance
def test_exponential_rule_equals_a_numpy_loop(tol):
    params, mean, rate = SIGMOID.init(KEY), 0.2, 1e-3
    found = adapt_intrinsic(SIGMOID, params, U[:200], mean=mean, learning_rate=rate)
    w = np.concatenate([params.excitation, -np.asarray(params.inhibition)], axis=1).astype(float)
    w_in = 0.5 * np.asarray(params.input_weights, float)
    a, b, r = np.full(40, 2.0), np.full(40, -0.2), np.full(40, sigmoid(-0.2))
    for u in np.asarray(U[:200], float):
        net = w @ r + w_in @ u
        r = sigmoid(a * net + b)
        db = rate * (1 - (2 + 1 / mean) * r + r**2 / mean)
        a, b = a + rate / a + db * net, b + db
    np.testing.assert_allclose(found.gain[-1], a, atol=tol(1e-4, 1e-11))
    np.testing.assert_allclose(-found.params.gain * found.params.threshold, b, atol=tol(1e-4, 1e-11))


def divergence(samples: np.ndarray, mean: float) -> float:
    """Kullback-Leibler divergence of a histogram on [0, 1] from the exponential density with this mean, in nats."""
    counts, edges = np.histogram(samples, 25, (0.0, 1.0))
    p = counts / counts.sum()
    q = np.diff(-np.exp(-edges / mean))
    q = q / q.sum()
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / q[used])))


def test_outputs_become_exponential():
    """The mean goes to its target and the distribution of every unit nearer to the exponential."""
    model = SIGMOID.replace(input_scaling=4.0)
    params = model.init(KEY)
    found = adapt_intrinsic(model, params, U, mean=0.2, learning_rate=5e-3)
    assert found.status == 0
    before, after = (np.asarray(simulate(model, p, U, washout=500).outputs) for p in (params, found.params))
    assert abs(after.mean() - 0.2) < 0.1 * abs(before.mean() - 0.2)
    assert divergence(after, 0.2) < 0.2 * divergence(before, 0.2)


def test_rest_of_the_exponential_rule():
    """Weakly driven units settle where the rule rests, m^2 + v - (2 mu + 1) m + mu = 0, which is below mu."""
    params, mean = SIGMOID.replace(input_fraction=0.3).init(KEY), 0.2
    found = adapt_intrinsic(SIGMOID, params, U, mean=mean, learning_rate=5e-3)
    y = np.asarray(simulate(SIGMOID, found.params, U, washout=500).outputs, float)
    m, v = y.mean(0), y.var(0)
    half = mean + 0.5
    np.testing.assert_allclose(m, half - np.sqrt(half**2 - mean - v), atol=0.02)
    assert m.mean() < 0.9 * mean


def test_keys_can_be_swept():
    model = SIGMOID.replace(noise=0.1)
    params = model.init(KEY)
    keys = jax.random.split(KEY, 2)
    swept = jax.vmap(lambda k: adapt_intrinsic(model, params, U[:200], key=k))(keys)
    alone = adapt_intrinsic(model, params, U[:200], key=keys[1])
    np.testing.assert_allclose(swept.rates[1], alone.rates, atol=1e-5)
    assert np.abs(swept.rates[0] - swept.rates[1]).max() > 1e-3


def test_outputs_become_normal():
    params = TANH.replace(leak_rate=1.0).init(KEY)
    model = TANH.replace(leak_rate=1.0)
    found = adapt_intrinsic(model, params, U, target="normal", mean=0.0, deviation=0.3, learning_rate=2e-3)
    after = np.asarray(simulate(model, found.params, U, washout=500).outputs)
    assert np.abs(after.mean(0)).mean() < 0.05
    assert np.median(after.std(0)) == pytest.approx(0.3, rel=0.2)


def test_gains_stay_positive_and_members_apart():
    """A large rate does not turn a gain negative; a member that diverges has status 2 and leaves the others alone."""
    params = SIGMOID.init(KEY)
    wild = adapt_intrinsic(SIGMOID, params, U[:300], mean=0.5, learning_rate=0.5)
    assert (np.asarray(wild.gain) > 0).all()
    means = np.array([0.2, np.nan], np.float32)
    swept = jax.vmap(lambda m: adapt_intrinsic(SIGMOID, params, U[:300], mean=m))(means)
    np.testing.assert_array_equal(swept.status, [0, 2])
    assert np.isfinite(swept.params.gain[0]).all()


def test_second_call_compiles_nothing(count_compilations):
    params = SIGMOID.init(KEY)
    adapt_intrinsic(SIGMOID, params, U[:300])
    with count_compilations() as count:
        adapt_intrinsic(SIGMOID, params, U[:300], mean=0.3, learning_rate=1e-3)
    assert count.compilations == 0


BAD = {
    "model without gains": (lambda: adapt_intrinsic(GRU(), GRU().init(KEY), U), TypeError, r"model must have the methods net, .*GRU lacks net"),
    "means of wrong length": (lambda: adapt_intrinsic(SIGMOID, SIGMOID.init(KEY), U, mean=np.full(3, 0.2)), ValueError, r"mean must be a number or of shape \(40,\), got shape \(3,\)"),
    "unknown target": (lambda: adapt_intrinsic(SIGMOID, SIGMOID.init(KEY), U, target="uniform"), ValueError, r"target must be one of 'exponential', 'normal', got 'uniform'"),
    "normal for sigmoid": (lambda: adapt_intrinsic(SIGMOID, SIGMOID.init(KEY), U, target="normal"), ValueError, r"target must be 'exponential' for sigmoid units"),
    "exponential for tanh": (lambda: adapt_intrinsic(TANH, TANH.init(KEY), U), ValueError, r"target must be 'normal' for tanh units"),
    "mean 0": (lambda: adapt_intrinsic(SIGMOID, SIGMOID.init(KEY), U, mean=0.0), ValueError, r"mean must be finite and in \(0.0, 1.0\), got 0.0"),
    "deviation 0": (lambda: adapt_intrinsic(TANH, TANH.init(KEY), U, target="normal", deviation=0.0), ValueError, r"deviation must be finite and in \(0.0, inf\], got 0.0"),
    "negative rate": (lambda: adapt_intrinsic(SIGMOID, SIGMOID.init(KEY), U, learning_rate=-1.0), ValueError, r"learning_rate must be finite and in \[0.0, inf\], got -1.0"),
    "a batch": (lambda: adapt_intrinsic(SIGMOID, SIGMOID.init(KEY), np.zeros((2, 50, 1))), ValueError, r"inputs must be one series"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()
