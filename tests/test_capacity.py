"""Memory capacity against exact answers and against an independent float64 computation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpy_esn
import pytest

from dynlab import ESN, esn_from_arrays, memory_capacity
from dynlab.analysis.capacity import lagged, squared_correlation
from dynlab.keys import named

LINEAR = ESN(n_units=20, activation="identity", input_scaling=0.1)


@pytest.mark.conformance
@pytest.mark.parametrize(("n", "rho"), [(20, 0.95), (20, 0.8), (50, 0.95)])
def test_linear_cycle(n, rho, key):
    """Sum over k >= 1 of MC_k = N - 1 + rho^(2N); with the present input, N. Beyond 5 N: under 0.006."""
    model = LINEAR.replace(n_units=n, topology="cycle", spectral_radius=rho)
    result = memory_capacity(model, key, max_delay=5 * n, n_train=80_000, n_test=80_000, ridge=1e-9)
    assert float(result.total) == pytest.approx(n - 1 + rho ** (2 * n), abs=0.15)
    assert float(result.total + result.per_delay[0]) == pytest.approx(n, abs=0.15)


@pytest.mark.conformance
def test_linear_delay_line(key):
    """MC_k = 1 for k < N and 0 after; the input enters at the first unit only."""
    chain = np.diag(np.ones(19), -1)
    entry = np.eye(20)[:, :1]
    model, params = esn_from_arrays(chain, entry, activation="identity")
    result = memory_capacity(model, key, params=params, max_delay=60, n_train=20_000, n_test=30_000)
    assert float(result.total) == pytest.approx(19, abs=0.02)
    assert float(result.total + result.per_delay[0]) == pytest.approx(20, abs=0.02)
    np.testing.assert_allclose(result.per_delay[:20], 1, atol=1e-4)
    np.testing.assert_allclose(result.per_delay[20:], 0, atol=2e-3)


def test_never_above_the_number_of_units(key):
    """MC <= N, over seeds, topologies and activations (the adjusted estimate scatters by a fraction of a unit)."""
    for topology in ("random", "cycle"):
        for activation in ("identity", "tanh"):
            model = ESN(n_units=15, topology=topology, activation=activation, input_scaling=0.1)
            runs = [memory_capacity(model, k, max_delay=60, n_test=4000) for k in jax.random.split(key, 4)]
            totals = [float(run.total) for run in runs]
            assert 2 < min(totals) <= max(totals) <= 15 + 0.3


def reference(params, u, max_delay, start, n_train, ridge):
    """Memory capacity by a NumPy loop and an augmented least-squares problem, float64 throughout."""
    x = numpy_esn.run(params, u, activation="identity")
    targets = np.stack([np.roll(u[:, 0], k) for k in range(max_delay + 1)], axis=1)
    train, test = slice(start, start + n_train), slice(start + n_train + max_delay, None)
    centre, mean = x[train].mean(0), targets[train].mean(0)
    n = x.shape[1]
    left = np.concatenate([x[train] - centre, np.sqrt(ridge) * np.eye(n)])
    right = np.concatenate([targets[train] - mean, np.zeros((n, max_delay + 1))])
    weights = np.linalg.lstsq(left, right, rcond=None)[0]
    prediction = (x[test] - centre) @ weights
    t = targets[test] - targets[test].mean(0)
    p = prediction - prediction.mean(0)
    r2 = (p * t).sum(0) ** 2 / ((p**2).sum(0) * (t**2).sum(0))
    m = len(t)
    return (1 - (1 - r2) * (m - 1) / (m - 2))[1:].sum()


@pytest.mark.conformance
def test_float32_keeps_the_memory_of_a_random_linear_network(key, x64):
    """N = 100, ridge 1e-8: within 2 % of float64 (plain float32 normal equations lose 25 %)."""
    model = ESN(n_units=100, activation="identity", connectivity=1.0, spectral_radius=0.9)
    params = model.init(key)
    result = memory_capacity(model, key, params=params, max_delay=100, n_train=2000, n_test=2000, ridge=1e-8)
    stream = jax.random.uniform(named(key, "memory_capacity.stream"), (200 + 2000 + 100 + 2000,), minval=-1.0)
    expected = reference(params, np.asarray(stream, float)[:, None], 100, 200, 2000, 1e-8)
    assert float(result.total) == pytest.approx(expected, rel=1e-6 if x64 else 0.02)


def test_status_of_a_diverging_member(key):
    """One member of a sweep overflows: its status is 1 and its numbers NaN; the others are as without it."""
    def run(values):
        models = LINEAR.replace(spectral_radius=jnp.asarray(values))
        axes = jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) else None, models)
        return jax.jit(jax.vmap(lambda m: memory_capacity(m, key, max_delay=30, n_test=500), in_axes=(axes,)))(models)

    bad, good = run([0.5, 1e6, 0.9, 0.7]), run([0.5, 0.6, 0.9, 0.7])
    np.testing.assert_array_equal(bad.status, [0, 1, 0, 0])
    assert np.isnan(bad.total[1])
    np.testing.assert_allclose(bad.total[np.array([0, 2, 3])], good.total[np.array([0, 2, 3])], rtol=1e-5)


def test_noise_costs_memory(key):
    quiet = memory_capacity(LINEAR, key, max_delay=40)
    noisy = memory_capacity(LINEAR.replace(noise=0.1), key, max_delay=40)
    assert float(noisy.total) < float(quiet.total) - 2


@pytest.mark.conformance
def test_lagged_and_adjusted_correlation(key):
    u = jnp.arange(10.0)
    np.testing.assert_array_equal(lagged(u, 2)[0], [2.0, 1.0, 0.0])
    np.testing.assert_array_equal(lagged(u, 2)[:, 1], jnp.arange(1.0, 9.0))
    a, b = jax.random.normal(key, (2, 50, 4000))
    raw, adjusted = squared_correlation(a, b, adjust=False), squared_correlation(a, b)
    assert float(raw.mean()) == pytest.approx(1 / 49, rel=0.1)  # the bias that the adjustment removes
    assert float(adjusted.mean()) == pytest.approx(0, abs=2e-3)
    assert float(squared_correlation(a[:, :1], 3 * a[:, :1] + 1)[0]) == pytest.approx(1, abs=1e-6)
