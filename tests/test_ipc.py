"""Information processing capacity against known answers, a plain NumPy implementation, and itself under vmap."""

# ruff: noqa: E501
from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import numpy_esn
import pytest
from numpy.polynomial import legendre as numpy_legendre

from dynlab import ESN
from dynlab.analysis.ipc import capacities, information_processing_capacity, nonlinear_memory
from dynlab.analysis.reconstruction import state_basis
from dynlab.analysis.targets import count, default_delays, family, legendre, legendre_targets
from dynlab.keys import named

LINEAR = ESN(n_units=12, activation="identity", topology="cycle", spectral_radius=0.8)
TANH = ESN(n_units=12, spectral_radius=0.6, input_scaling=0.7, bias_scaling=0.2)
SMALL = {"max_degree": 3, "max_delays": (12, 6, 4), "n_samples": 2000, "washout": 50}
DELAYS = (12, 6, 4)  # one shape for most tests, (2000, 12) and these delays: few programs to compile
LENGTH = 2000
MEMORY = {"function": 2, "max_delay": 12, "n_samples": LENGTH, "washout": 50, "threshold": None, "adjust": False}


def uniform(key, role="u", n=LENGTH):
    return np.asarray(jax.random.uniform(named(key, role), (n,), minval=-1.0), float)


def plain(states, inputs, max_delays, adjust):
    """The definition in float64: least squares for every target, one after the other."""
    longest, found, chance = max(max_delays), [], []
    x = states[longest:] - states[longest:].mean(0)
    q = np.linalg.qr(x)[0]
    h = (q**2).sum(1)
    for degree, delay in enumerate(max_delays, 1):
        for delays in combinations_with_replacement(range(delay + 1), degree):
            z = np.ones(len(x))
            for k in sorted(set(delays)):
                d = delays.count(k)
                past = inputs[longest - k : len(inputs) - k]
                z = z * np.sqrt(2 * d + 1) * numpy_legendre.legval(past, np.eye(d + 1)[d])
            z = z - z.mean()
            residual = z - x @ np.linalg.lstsq(x, z, rcond=None)[0]
            found.append(1 - residual @ residual / (z @ z))
            chance.append((z**2 @ h) / (z @ z))
    found, chance = np.array(found), np.array(chance) * len(x) / (len(x) - 1)
    return 1 - (1 - found) / (1 - chance) if adjust else found


@pytest.mark.conformance
@pytest.mark.parametrize("adjust", [True, False])
def test_equals_a_plain_implementation(key, tol, adjust):
    params, u = TANH.init(key).replace(input_scaling=jnp.asarray(3.0)), uniform(key, n=LENGTH + 50)
    states = numpy_esn.run(params, u[:, None])[50:]  # much is of degree 4 and above: the sum is below the rank
    got = capacities(states, u[50:], max_delays=DELAYS, threshold=None, adjust=adjust)
    expected = plain(states, u[50:], DELAYS, adjust)
    assert len(got.targets) == len(expected) == count(DELAYS) == 13 + 28 + 35
    assert int(got.rank) == 12
    np.testing.assert_allclose(got.capacities, expected, atol=tol(2e-5, 1e-10))
    assert float(got.total) == pytest.approx(expected.sum(), abs=tol(1e-4, 1e-9))
    assert (expected.min() < 0) == adjust  # without a threshold nothing is clipped at 0
    assert (int(got.n_truncated), int(got.n_discarded)) == (0, 0)


@pytest.mark.conformance
def test_linear_network(key):
    """All N units of capacity are in degree 1; the others are zero after the threshold."""
    got = information_processing_capacity(LINEAR, key, max_delays=(60, 8, 5), n_samples=8000)
    np.testing.assert_allclose(got.per_degree, [12, 0, 0], atol=0.02)
    np.testing.assert_array_equal(got.per_degree[1:], 0)
    assert float(got.total) <= 12
    assert int(got.status) == 0


def test_delay_line(key):
    """The states are u(t), ..., u(t-11): capacity 1 for those, 0 for everything else."""
    u = uniform(key)
    got = capacities(np.stack([np.roll(u, k) for k in range(12)], axis=1), u, max_delays=DELAYS)
    np.testing.assert_allclose(got.capacities[:12], 1, atol=1e-5)
    np.testing.assert_array_equal(got.capacities[12:], 0)


def test_products_are_found_where_they_are(key):
    """Features that are mixtures of four targets: those have capacity 1, and the rank is 4, in float32 too."""
    u = uniform(key)
    p2 = lambda x: 1.5 * x**2 - 0.5  # noqa: E731
    parts = np.stack([u, p2(np.roll(u, 2)), u * np.roll(u, 1), p2(np.roll(u, 1)) * np.roll(u, 3)], axis=1)
    states = np.asarray(parts @ np.random.default_rng(0).normal(size=(4, 12)) + 3.0)
    scales = 10.0 ** np.arange(-6, 6)  # of the features, which do not matter
    noise = 1e-4 * np.random.default_rng(1).normal(size=states.shape)
    got = capacities((states + noise) * scales, u, max_delays=DELAYS)
    full = {target for target, value in zip(got.targets, got.capacities, strict=True) if value > 0.999}
    assert full == {((0, 1),), ((2, 2),), ((0, 1), (1, 1)), ((1, 2), (3, 1))}
    assert float(got.total) == pytest.approx(4, abs=0.05)


def test_unrelated_states_have_no_capacity(key):
    """White noise: r / T for each target in the mean; after the threshold nothing. The two thresholds agree."""
    states, u = jax.random.normal(key, (LENGTH, 12)), uniform(key)
    raw = capacities(states, u, max_delays=DELAYS, threshold=None, adjust=False)
    assert float(jnp.mean(raw.capacities)) == pytest.approx(12 / (LENGTH - 12), rel=0.15)
    chi2 = capacities(states, u, max_delays=DELAYS)
    assert float(chi2.total) == 0  # 76 targets at p = 1e-4
    assert float(jnp.median(chi2.thresholds)) == pytest.approx(39.134 / (LENGTH - 12), rel=0.05)  # chi2 of 12 at 1e-4
    shuffled = capacities(states, u, max_delays=DELAYS, threshold="surrogate", key=key)
    assert int(jnp.sum(shuffled.capacities > 0)) <= 3  # 76 targets at 1/201
    # the largest of 200 is near the quantile at 1/200, 28.3 / T, with the scatter of an extreme
    ratio = np.asarray(shuffled.thresholds) * (LENGTH - 12) / 28.30
    assert 0.75 < ratio.min() <= ratio.max() < 1.6


@pytest.mark.parametrize("threshold", ["chi2", None])
def test_total_is_never_above_the_number_of_units(threshold, key):
    """However short the series: 8 of them, more targets than samples."""
    params = TANH.init(key)
    series = [uniform(key, f"short {i}", 330) for i in range(8)]
    states = jnp.asarray(np.stack([numpy_esn.run(params, u[:, None]) for u in series]))
    one = lambda states, u: capacities(  # noqa: E731
        states, u, max_delays=(30, 20, 10), threshold=threshold, adjust=threshold is not None)
    got = jax.jit(jax.vmap(one))(states, jnp.asarray(np.stack(series)))
    assert np.all(np.asarray(got.total) <= 12)
    assert np.all(np.asarray(got.total) > 3)
    if threshold is None:  # uncorrected, 548 targets of 300 samples add up to more
        assert np.all(np.asarray(got.n_truncated) > 0)


def test_total_of_a_tanh_network(key):
    """0.9 N to N at the documented setting (N = 20, radius 0.6, input scaling 0.5, bias scaling 0.2, degree 4)."""
    model = ESN(n_units=20, spectral_radius=0.6, input_scaling=0.5, bias_scaling=0.2, connectivity=1.0)
    for some in jax.random.split(key, 2):
        got = information_processing_capacity(model, some, max_degree=4, max_delays=(40, 25, 14, 8), n_samples=20_000)
        assert 18 <= float(got.total) <= 20
        assert np.all(np.asarray(got.per_degree)[:3] > 1)


def test_correction_removes_the_bias(key):
    """Sum over all targets, no threshold: a short series corrected against one 20 times as long."""
    params = TANH.init(key).replace(input_scaling=jnp.asarray(3.0))  # much of degree 4 and above: far from the rank
    u = uniform(key, "long", 20 * LENGTH)
    states = numpy_esn.run(params, u[:, None])
    truth = plain(states[50:], u[50:], DELAYS, True).sum()
    off = {adjust: np.mean([
        float(capacities(states[i:][:LENGTH], u[i:][:LENGTH], max_delays=DELAYS, threshold=None, adjust=adjust).total)
        for i in (2000, 12_000, 22_000, 32_000)]) - truth for adjust in (False, True)}
    assert off[False] > 0.3
    assert abs(off[True]) < 0.35 * off[False]


@pytest.mark.conformance  # rounding: compiled as a user's program is
def test_vmapped_equals_looped_also_beside_a_diverging_member(key, tol):
    params = LINEAR.init(key)
    radii = jnp.asarray([0.3, 0.6, 0.9, 1e6])
    one = lambda r: information_processing_capacity(LINEAR, key, params=params.replace(spectral_radius=r), **SMALL)  # noqa: E731
    many = jax.vmap(one)(radii)
    np.testing.assert_array_equal(many.status, [0, 0, 0, 1])
    assert np.isnan(many.total[3])
    for i in range(3):
        np.testing.assert_allclose(many.capacities[i], one(radii[i]).capacities, atol=tol(1e-4, 1e-9))


def test_second_call_does_not_compile(key, count_compilations):
    params, other = LINEAR.init(key), jax.random.key(7)
    slower, tanh = params.replace(spectral_radius=params.spectral_radius * 0.9), TANH.init(key)
    wilder = tanh.replace(spectral_radius=tanh.spectral_radius * 1.1)
    information_processing_capacity(LINEAR, key, params=params, **SMALL)
    nonlinear_memory(TANH, key, params=tanh, **MEMORY)
    with count_compilations() as counted:
        information_processing_capacity(LINEAR, other, params=slower, amplitude=0.9, **SMALL)
        nonlinear_memory(TANH, other, params=wilder, amplitude=0.9, **MEMORY)
    assert counted.compilations == 0


@pytest.mark.parametrize("value", [1.0, 0.1, 3.3])
def test_constant_states(key, value):
    got = capacities(jnp.full((LENGTH, 12), value), uniform(key), max_delays=DELAYS)
    assert (int(got.rank), float(got.total), int(got.status)) == (0, 0.0, 0)


@pytest.mark.conformance
def test_basis_is_orthonormal_and_as_large_as_the_rank(tol):
    """Independent features of any size; 6 that are there twice, 20 draws; 5 beside dead units of value 0.1."""
    rng = np.random.default_rng(0)
    white = rng.normal(size=(22, LENGTH, 12))
    graded = white[0] * 10.0 ** -np.arange(12) + 1e-11
    twice = np.concatenate([white[1:21, :, :6]] * 2, axis=2)
    twice[10:, :, 6:] = twice[10:, :, :6] @ rng.normal(size=(6, 6))
    dead = np.where(np.arange(12) < 5, white[21], 0.1)
    rows, rank = jax.jit(jax.vmap(state_basis))(jnp.asarray(np.stack([graded, *twice, dead])))
    np.testing.assert_array_equal(rank, [12, *[6] * 20, 5])
    one = np.asarray(rows, float)[0]
    np.testing.assert_allclose(one @ one.T, np.eye(12), atol=tol(2e-6, 1e-13))
    np.testing.assert_allclose(one.sum(1), 0, atol=tol(1e-3, 1e-9))


def test_targets():
    assert legendre_targets((1, 1)) == (((0, 1),), ((1, 1),), ((0, 2),), ((0, 1), (1, 1)), ((1, 2),))
    assert family(((0, 1), (3, 2))) == (2, 1)
    for delays in ((5,), (7, 3), (4, 4, 2, 1)):
        assert len(legendre_targets(delays)) == len(set(legendre_targets(delays))) == count(delays)
    assert default_delays(50, 3) == (100, 61, 20)
    assert comb(61 + 2, 2) <= 2000 < comb(62 + 2, 2)
    u = np.linspace(-1, 1, 7)
    for degree, row in enumerate(legendre(jnp.asarray(u), 6)):
        expected = np.sqrt(2 * degree + 1) * numpy_legendre.legval(u, np.eye(7)[degree])
        np.testing.assert_allclose(row, expected, atol=1e-5)


def cubed(u):
    return u**3


def test_nonlinear_memory(key):
    """Degree 2 by least squares in NumPy; u^3 is 0.6 u + 0.4 P3, of which a linear network holds 0.84."""
    params, n = TANH.init(key), LENGTH
    got = nonlinear_memory(TANH, key, params=params, **MEMORY)
    u = uniform(key, "nonlinear_memory.stream", n + 50)
    x = numpy_esn.run(params, u[:, None])[50:]
    x, p2 = x - x.mean(0), 1.5 * u**2 - 0.5
    for k in range(13):
        z = p2[50 - k : 50 - k + n]
        z = z - z.mean()
        held = x @ np.linalg.lstsq(x, z, rcond=None)[0]
        assert float(got.per_delay[k]) == pytest.approx(held @ held / (z @ z), abs=1e-5)
    linear = nonlinear_memory(LINEAR, key, function=cubed, max_delay=40, n_samples=4000, threshold="surrogate", n_surrogates=50)
    share = (0.6**2 / 3) / (1 / 7)  # power of 0.6 u in u^3
    assert float(linear.per_delay[1]) == pytest.approx(share * (1 - 0.8**24), rel=0.05)
    assert float(linear.total) == pytest.approx(12 * share, rel=0.05)


X, U = np.random.default_rng(0).normal(size=(50, 3)), np.random.default_rng(1).uniform(-1, 1, 50)
KEY = jax.random.key(0)
CASES = {
    "no model": (lambda: information_processing_capacity(3, KEY), TypeError, r"model must be a Map"),
    "old key": (lambda: information_processing_capacity(TANH, np.zeros(2, np.uint32)), TypeError, r"key must be a typed key"),
    "two inputs": (lambda: information_processing_capacity(ESN(n_inputs=2), KEY), ValueError, r"model must have one input channel"),
    "degree 0": (lambda: information_processing_capacity(TANH, KEY, max_degree=0), ValueError, r"max_degree must be at least 1, got 0"),
    "delays per degree": (lambda: information_processing_capacity(TANH, KEY, max_delays=(5, 5)), ValueError, r"max_delays must have one entry a degree \(3\), got \(5, 5\)"),
    "float delay": (lambda: information_processing_capacity(TANH, KEY, max_delays=2.5), TypeError, r"max_delays must be an integer or one integer a degree, got 2.5"),
    "negative delay": (lambda: information_processing_capacity(TANH, KEY, max_delays=(1, -1, 1)), ValueError, r"max_delays\[1\] must be at least 0, got -1"),
    "too many targets": (lambda: information_processing_capacity(TANH, KEY, max_delays=100), ValueError, r"at most 50000 targets, got \(100, 100, 100\), which give 182103"),
    "few samples": (lambda: information_processing_capacity(TANH, KEY, n_samples=13), ValueError, r"n_samples must be above the number of features \+ 1 \(13\), got 13"),
    "threshold": (lambda: information_processing_capacity(TANH, KEY, threshold="t"), ValueError, r"threshold must be one of 'chi2', 'surrogate', None, got 't'"),
    "p": (lambda: information_processing_capacity(TANH, KEY, p=0), ValueError, r"p must be finite and in \(0.0, 1.0\], got 0"),
    "no surrogates": (lambda: information_processing_capacity(TANH, KEY, n_surrogates=0), ValueError, r"n_surrogates must be at least 1, got 0"),
    "amplitude": (lambda: information_processing_capacity(TANH, KEY, amplitude=0.0), ValueError, r"amplitude must be finite and in \(0.0, inf\], got 0.0"),
    "washout": (lambda: information_processing_capacity(TANH, KEY, washout=-1), ValueError, r"washout must be at least 0, got -1"),
    "scale": (lambda: information_processing_capacity(TANH, KEY, scale=0.0), ValueError, r"scale must be finite"),
    "states 1-D": (lambda: capacities(U, U), ValueError, r"states must have shape \(time, features\), got \(50,\)"),
    "lengths": (lambda: capacities(X, U[:-1], max_delays=5), ValueError, r"inputs must have shape \(50,\) like states, got \(49,\)"),
    "range": (lambda: capacities(X, 2 * U, max_delays=5), ValueError, r"inputs / amplitude must be finite and in \[-1"),
    "NaN in inputs": (lambda: capacities(X, U * np.nan, max_delays=5), ValueError, r"inputs must be finite, got nan"),
    "short": (lambda: capacities(X, U, max_delays=48), ValueError, r"n_samples must be above the number of features \+ 1 \(4\), got 2"),
    "surrogate without key": (lambda: capacities(X, U, max_delays=5, threshold="surrogate"), TypeError, r"key must be a typed key"),
    "function": (lambda: nonlinear_memory(TANH, KEY, function="sin"), TypeError, r"function must be an integer, got 'sin'"),
    "function of another shape": (lambda: nonlinear_memory(TANH, KEY, function=jnp.sum, n_samples=100), ValueError, r"function must map the inputs \(124,\) to real numbers of the same shape, got .*shape=\(\)"),
    "complex function": (lambda: nonlinear_memory(TANH, KEY, function=jnp.fft.fft, n_samples=100), ValueError, r"function must map .* real numbers"),
    "adjust": (lambda: capacities(X, U, max_delays=5, adjust="yes"), ValueError, r"adjust must be one of True, False, got 'yes'"),
    "adjust of memory": (lambda: nonlinear_memory(TANH, KEY, adjust=2), ValueError, r"adjust must be one of True, False, got 2"),
    "function of degree 0": (lambda: nonlinear_memory(TANH, KEY, function=0), ValueError, r"function must be at least 1, got 0"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case):
    call, error, message = CASES[case]
    with pytest.raises(error, match=message):
        call()
