"""Phases, phase locking and the Kuramoto order: SciPy's Hilbert transform, closed forms, the Kuramoto model itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import hilbert

from dynlab.analysis.synchrony import analytic_signal, kuramoto, phase_locking, phases

RNG = np.random.default_rng(0)
T = 200
STEPS = np.arange(T)[:, None]


def cosines(frequencies, lags, offset=0.0):
    """Whole periods in the record, one column each: the FFT is exact on them."""
    return np.cos(2 * np.pi * np.asarray(frequencies) * STEPS / T - np.asarray(lags)) + offset


@pytest.mark.conformance
@pytest.mark.parametrize("length", [2, 3, 100, 101])
def test_equals_scipy(length, tol):
    x = RNG.normal(size=(2, length, 3))
    want = hilbert(x, axis=-2)
    found = np.asarray(analytic_signal(x))
    np.testing.assert_allclose(found, want, rtol=0, atol=tol(3e-6, 1e-13))
    np.testing.assert_allclose(found.real, x, rtol=0, atol=tol(3e-6, 1e-13))
    if length > 3:
        want = np.angle(hilbert(x - x.mean(-2, keepdims=True), axis=-2))
        apart = np.angle(np.exp(1j * (np.asarray(phases(x + 3.0)) - want)))  # the circle: -pi is pi
        np.testing.assert_allclose(apart, 0, atol=tol(1e-4, 1e-12))


@pytest.mark.conformance
def test_a_band_takes_the_rhythms_in_it(tol):
    slow, fast = cosines([4], [0.3]), cosines([30], [1.0])
    found = analytic_signal(slow + fast + 2.0, band=(0.1, 0.2))  # 30 / 200 is inside
    np.testing.assert_allclose(found, hilbert(fast, axis=-2), atol=tol(1e-5, 1e-12))
    both = analytic_signal(slow + fast + 2.0, band=(4 / T, 30 / T))  # the ends belong to it, the mean does not
    np.testing.assert_allclose(both, hilbert(slow + fast, axis=-2), atol=tol(1e-5, 1e-12))
    in_hertz = analytic_signal(slow + fast, band=(100.0, 200.0), dt=1e-3)
    np.testing.assert_allclose(in_hertz, found, atol=tol(1e-5, 1e-12))
    swept = jax.vmap(lambda low: analytic_signal(slow + fast, band=(low, 0.2)))(jnp.array([0.0, 0.1]))
    np.testing.assert_allclose(swept[1], found, atol=tol(1e-5, 1e-12))


@pytest.mark.conformance
def test_locking_of_cosines(tol):
    """A fixed lag locks whatever it is; different whole numbers of periods do not lock at all."""
    x = cosines([5, 5, 5, 8], [0.0, 1.0, np.pi, 0.4], offset=[0.0, 1.0, 2.0, 3.0])
    want = np.zeros((4, 4))
    want[:3, :3] = want[3, 3] = 1.0
    limit = tol(2e-6, 1e-13)
    np.testing.assert_allclose(phase_locking(x), want, atol=limit)
    np.testing.assert_allclose(phase_locking(x, [[0, 1], [2, 0], [1, 3]]), [1, 1, 0], atol=limit)
    batch = np.stack([x, x[:, ::-1]])
    np.testing.assert_allclose(jax.jit(phase_locking)(batch)[1], want[::-1, ::-1], atol=limit)
    np.testing.assert_allclose(phase_locking(phases(x), of="phases"), want, atol=limit)


def test_locking_equals_a_numpy_loop():
    x = RNG.normal(size=(60, 4)).cumsum(axis=0)
    phi = np.angle(hilbert(x - x.mean(0), axis=0))
    want = [[abs(np.mean(np.exp(1j * (phi[10:50, i] - phi[10:50, j])))) for j in range(4)] for i in range(4)]
    found = phase_locking(x, trim=10)
    np.testing.assert_allclose(found, want, atol=1e-5)
    pairs = np.array([[0, 1], [3, 2], [1, 1]])
    np.testing.assert_allclose(phase_locking(x, pairs, trim=10), np.asarray(found)[pairs[:, 0], pairs[:, 1]], atol=1e-5)
    assert not np.allclose(found, phase_locking(x), atol=1e-2)


def test_locking_of_independent_phases():
    """Its mean is sqrt(pi / (4 n)); traces of white noise have about 0.6 T independent phases."""
    n, above = 400, np.triu_indices(60, 1)
    drawn = phase_locking(RNG.uniform(-np.pi, np.pi, (n, 60)), of="phases")
    floor = np.sqrt(np.pi / (4 * n))
    np.testing.assert_allclose(np.mean(np.asarray(drawn)[above]), floor, rtol=0.06)
    noise = np.asarray(phase_locking(RNG.normal(size=(n, 60))))[above]
    np.testing.assert_allclose(np.mean(noise), floor / np.sqrt(0.6), rtol=0.06)


@pytest.mark.conformance
def test_kuramoto_of_known_phases(tol):
    n, limit = 5, tol(1e-6, 1e-13)
    even = np.arange(n) * 2 * np.pi / n
    r, _ = kuramoto(np.stack([even, np.full(n, 0.7), even / n]), of="phases")
    mean = np.mean(np.exp(1j * even / n))
    np.testing.assert_allclose(r, [0, 1, abs(mean)], atol=limit)
    assert float(kuramoto(np.full((1, n), 0.7), of="phases")[1][0]) == pytest.approx(0.7, abs=limit)
    r, psi = kuramoto(cosines([3] * n, even))
    np.testing.assert_allclose(r, 0, atol=5 * limit)
    r, psi = kuramoto(cosines([3] * n, [0.2] * n))
    np.testing.assert_allclose(r, 1, atol=limit)
    apart = np.asarray(psi) - (2 * np.pi * 3 * STEPS[:, 0] / T - 0.2)
    np.testing.assert_allclose(np.sin(apart / 2), 0, atol=10 * limit)
    r, psi = kuramoto(RNG.normal(size=(3, 50, 4)), trim=5)
    assert r.shape == psi.shape == (3, 40)


def kuramoto_model(coupling, n=2000, dt=0.05, n_steps=2000):
    """Phases of the Kuramoto model with Lorentzian frequencies of width 1 (quantiles), the last quarter of the run.

    Rotation exactly, coupling by one Euler step in between: the far ends of the distribution turn fast.
    """
    omega = np.tan(np.pi * ((np.arange(n) + 0.5) / n - 0.5))
    theta = RNG.uniform(-np.pi, np.pi, n)

    def step(theta, _):
        mean = jnp.mean(jnp.exp(1j * theta))
        pull = coupling * jnp.imag(mean * jnp.exp(-1j * theta))
        theta = jnp.mod(theta + dt * (omega + pull), 2 * np.pi)
        return theta, theta

    return jax.lax.scan(step, jnp.asarray(theta), None, n_steps)[1][-n_steps // 4 :]


def test_kuramoto_model_above_and_below_its_threshold():
    """r = sqrt(1 - Kc / K) with Kc = 2 for a Lorentzian of width 1 (Kuramoto 1975); below, what chance leaves."""
    for coupling in (3.0, 5.0):
        r, _ = kuramoto(kuramoto_model(coupling), of="phases")
        np.testing.assert_allclose(np.mean(r), np.sqrt(1 - 2 / coupling), atol=0.02)
    r, _ = kuramoto(kuramoto_model(1.0), of="phases")
    assert np.mean(r) < 0.06


@pytest.mark.conformance
def test_a_trace_without_a_phase_is_nan_and_harms_no_other():
    x = np.concatenate([np.full((T, 1), 0.1), cosines([5, 5], [0, 1])], axis=1)
    assert np.all(np.isnan(np.asarray(phases(x))) == [True, False, False])
    locking = np.asarray(phase_locking(x))
    assert np.all(np.isnan(locking) == np.array([[1, 1, 1], [1, 0, 0], [1, 0, 0]], bool))
    assert np.all(np.isnan(phase_locking(x, [[0, 1], [1, 2]])) == [True, False])
    assert np.all(np.isnan(kuramoto(x)[0]))
    assert np.all(np.isfinite(kuramoto(x[:, 1:])[0]))
    assert np.all(np.isnan(phases(x, band=(0.1, 0.2))))  # rhythms at 0.025 only


def test_compiles_once(count_compilations):
    x, y = jnp.asarray(RNG.normal(size=(2, 50, 3)))
    jax.block_until_ready((phase_locking(x, band=(0.1, 0.2)), kuramoto(x)))
    with count_compilations() as count:
        jax.block_until_ready((phase_locking(y, band=(0.15, 0.3)), kuramoto(y)))
    assert count.compilations == 0


X = np.ones((10, 3))
BAD = {
    "one axis": (lambda: phases(np.ones(10)), ValueError, r"x must have shape \(..., time, units\).*got \(10,\)"),
    "one step": (lambda: analytic_signal(X[:1]), ValueError, r"at least 2 steps .*got \(1, 3\)"),
    "no units": (lambda: phases(X[:, :0]), ValueError, r"x must have shape .*got \(10, 0\)"),
    "NaN": (lambda: phase_locking(np.full((5, 2), np.nan)), ValueError, r"x must be finite, got nan at index \(0, 0\)"),
    "complex": (lambda: kuramoto(X * 1j), TypeError, r"x must be real numbers"),
    "band of one": (lambda: phases(X, band=0.1), ValueError, r"band must be \(low, high\), got 0.1"),
    "band upside down": (lambda: phases(X, band=(0.4, 0.1)), ValueError, r"band must be .* got \(0.4, 0.1\)"),
    "band above": (lambda: phases(X, band=(0.1, 6.0), dt=0.1), ValueError, r"high <= 1 / \(2 dt\) = 5, got"),
    "empty band": (lambda: phases(X, band=(0.11, 0.19)), ValueError, r"band must hold a multiple of .* = 0.1"),
    "band of phases": (lambda: kuramoto(X, of="phases", band=(0.1, 0.2)), ValueError, r"band must be None for phases"),
    "kind": (lambda: kuramoto(X, of="spikes"), ValueError, r"of must be one of 'traces', 'phases', got 'spikes'"),
    "trim": (lambda: phase_locking(X, trim=5), ValueError, r"trim must leave a step of 10 .*got 5"),
    "dt": (lambda: phases(X, dt=0.0), ValueError, r"dt must be finite and in \(0.0, inf\], got 0.0"),
    "pairs": (lambda: phase_locking(X, [0, 1]), ValueError, r"pairs must have shape \(pairs, 2\), got \(2,\)"),
    "real pairs": (lambda: phase_locking(X, [[0.0, 1.0]]), TypeError, r"pairs must be integers, got dtype float64"),
    "no such unit": (lambda: phase_locking(X, [[0, 3]]), ValueError, r"pairs must be finite and in \[0, 2\]"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
