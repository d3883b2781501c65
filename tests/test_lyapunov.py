"""Lyapunov spectra against closed forms, published numbers and a plain NumPy loop."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo_models as small
from jax.tree_util import Partial
from scipy.special import digamma
from zoo import ZOO

from dynlab import ESN, Feedback, FeedbackParams, FlowMap, ridge, simulate
from dynlab.analysis.linearize import phase_map
from dynlab.analysis.lyapunov import kaplan_yorke, ks_entropy, lyapunov, orthonormal
from dynlab.keys import named
from dynlab.tasks import Henon, henon_map, lorenz_field, rk4_step

KEY = jax.random.key(0)


def linear(z, a):
    """z' = A z, A the input of the step."""
    return a @ z


def logistic(r, z):
    return r * z * (1.0 - z)


def shifted_tent(z, x):
    """Slope +2 or -2 everywhere; the shift x keeps binary arithmetic from ending at 0."""
    return 1.0 - jnp.abs(2.0 * ((z + x) % 1.0) - 1.0)


def lorenz(step, z):
    return rk4_step(lorenz_field, z, step)


def rate_net(j, dt, h):
    """Euler step of dh/dt = -h + J tanh h."""
    return h + dt * (j @ jnp.tanh(h) - h)


def tanh_net(w, gain, h):
    return jnp.tanh(gain * (w @ h))


def relu_net(w, b, z):
    return jax.nn.relu(w @ z + b)


def esn(n=12, seed=1, **knobs):
    model = ESN(n_units=n, **knobs)
    params = model.init(jax.random.key(seed))
    return model, params


def weights_of(params):
    """The recurrent matrix of an ESN in float64."""
    return np.asarray(params.spectral_radius * params.recurrent.matrix, np.float64)


def drive(n_steps, seed=0):
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (n_steps, 1)).astype(np.float32)


# ---- exact answers ----

@pytest.mark.conformance
@pytest.mark.parametrize("n", [2, 8])
def test_products_of_gaussian_matrices(n):
    """Newman 1986: lambda_i = (ln 2 + psi((n - i + 1) / 2)) / 2; ln R_ii has variance psi'((n - i + 1) / 2) / 4."""
    n_steps = 20_000
    a = np.random.default_rng(0).normal(size=(n_steps, n, n)).astype(np.float32)
    found = lyapunov(linear, a, z0=jnp.zeros(n), key=KEY)
    half = (n - np.arange(n)) / 2
    exact = (np.log(2.0) + digamma(half)) / 2
    error = np.abs(np.asarray(found.exponents) - exact)
    assert int(found.status) == 0
    if n == 8:
        np.testing.assert_allclose(exact, [0.974632, 0.898152, 0.807966, 0.698152, 0.557966, 0.364819, 0.057966,
                                           -0.635181], atol=1e-6)
        assert error.max() < 0.01
    assert np.all(error < 4 * 1.11 / np.sqrt(n_steps))  # psi'(1/2) / 4 = 1.11^2 is the largest variance


@pytest.mark.conformance
def test_scaled_rotation(tol):
    q = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    found = lyapunov(linear, np.tile(0.7 * q, (200, 1, 1)), z0=jnp.ones(4), key=KEY)
    np.testing.assert_allclose(found.exponents, np.log(0.7), atol=tol(1e-6, 1e-14))
    np.testing.assert_allclose(found.local, np.log(0.7), atol=tol(2e-6, 1e-13))
    per_time = lyapunov(linear, np.tile(0.7 * q, (200, 1, 1)), z0=jnp.ones(4), dt=0.5, key=KEY)
    np.testing.assert_allclose(per_time.exponents, np.log(0.7) / 0.5, atol=tol(2e-6, 1e-13))


@pytest.mark.parametrize("activation", ["identity", "tanh"])
def test_leaky_reservoir_at_rest(activation):
    """ln of the moduli of eig((1 - a) I + a W): everywhere for linear units, at 0 for tanh units without input."""
    model, params = esn(activation=activation, leak_rate=0.3, spectral_radius=0.9)
    u = np.zeros((4000, 1)) if activation == "tanh" else drive(4000)
    found = lyapunov(phase_map(model, params), u, warmup=1000, key=KEY)
    moduli = np.abs(np.linalg.eigvals(0.7 * np.eye(12) + 0.3 * weights_of(params)))
    np.testing.assert_allclose(np.sort(found.exponents), np.sort(np.log(moduli)), atol=2e-3)


@pytest.mark.conformance
def test_logistic_and_tent(tol):
    """ln 2. Along the logistic map ln |g'| = ln 2 + c(g(z)) - c(z), so the error of n steps is of order 1 / n.

    A float32 orbit that comes within 1e-4 of 1/2 rounds to 1 and stays at 0 for good, where the exponent is ln 4: of
    many short orbits those are left out. What they would have added, the integral of 0.64 ln |8 u| over |u| < 1.2e-4,
    is -1.2e-3.
    """
    starts = np.sin(np.pi / 2 * np.random.default_rng(5).uniform(size=100)) ** 2
    found = jax.vmap(lambda z: lyapunov(Partial(logistic, 4.0), 400, z0=z[None], key=KEY))(jnp.asarray(starts))
    alive = found.z[:, 0] > 0
    assert int(alive.sum()) > tol(80, 99)
    assert abs(float(jnp.mean(found.exponents[alive, 0])) - np.log(2)) < tol(4e-3, 1e-3)
    x = np.random.default_rng(2).uniform(size=(500, 1))
    tent = lyapunov(shifted_tent, x, z0=[0.1], key=KEY)
    np.testing.assert_allclose(tent.exponents, np.log(2), atol=tol(1e-6, 1e-13))


@pytest.mark.conformance
def test_henon(tol):
    found = lyapunov(henon_map, 200_000, z0=[0.1, 0.1], warmup=100, key=KEY)
    exponents = np.asarray(found.exponents, np.float64)
    assert abs(exponents.sum() - np.log(0.3)) < tol(2e-5, 1e-10)
    # 2e6 iterates have a standard error of 0.00025, so these 2e5 one of 0.0008
    np.testing.assert_allclose(exponents, [0.41941, -1.62338], atol=4 * 0.0008)
    assert abs(float(kaplan_yorke(found.exponents, 2)) - 1.2584) < 0.003
    assert float(ks_entropy(found.exponents)) == pytest.approx(exponents[0])


def test_lorenz_at_two_steps():
    """The sum is -(sigma + 1 + beta) but for the integrator's error, which is of order step^4."""
    steps = np.array([0.01, 0.005])
    run = jax.vmap(lambda step: lyapunov(Partial(lorenz, step), 200_000, z0=[1.0, 1.0, 20.0], warmup=2000, dt=step,
                                         key=KEY))
    found = np.asarray(run(jnp.asarray(steps)).exponents, np.float64)
    # over 2e4 time units the standard error is 0.0014, so over these 1e3 and 2e3 at most 0.006
    np.testing.assert_allclose(found[:, 0], 0.9056, atol=0.025)
    np.testing.assert_allclose(found[:, 1], 0.0, atol=0.005)
    np.testing.assert_allclose(kaplan_yorke(found, 3), 2.0621, atol=0.003)
    assert np.all(np.abs(found.sum(axis=1) + 41 / 3) < [2e-4, 4e-5])


# ---- random networks ----

def mean_field(gain):
    """lambda = ln(g^2 <sech^4(sqrt(D) x)>) / 2, D = g^2 <tanh^2(sqrt(D) x)>, x standard normal; on a dense grid."""
    x = np.linspace(-12.0, 12.0, 48_001)
    weight = np.exp(-x**2 / 2)
    weight /= weight.sum()
    variance = gain**2
    for _ in range(500):
        variance = gain**2 * np.sum(weight * np.tanh(np.sqrt(variance) * x) ** 2)
    return 0.5 * np.log(gain**2 * np.sum(weight / np.cosh(np.sqrt(variance) * x) ** 4))


@pytest.mark.timeout(180)
def test_mean_field_of_a_large_network():
    """N = 1000, well above the onset of chaos, both gains in one run on one matrix."""
    n, gains = 1000, np.array([2.0, 5.0])
    expected = np.array([mean_field(g) for g in gains])
    np.testing.assert_allclose(expected, [0.154724, 0.532428], atol=1e-6)
    near_onset = [mean_field(g) for g in (1.1, 1.25, 1.5)]  # there finite networks are far off: the formula alone
    assert np.all(np.diff([0.0, *near_onset, *expected]) > 0)
    np.testing.assert_allclose(near_onset, [0.005069, 0.023535, 0.065217], atol=1e-6)  # by adaptive quadrature
    rng = np.random.default_rng(0)
    w, start = jnp.asarray(rng.normal(size=(n, n)) / np.sqrt(n)), jnp.asarray(rng.normal(size=n))
    run = jax.vmap(lambda g: lyapunov(Partial(tanh_net, w, g), 3000, z0=start, k=1, warmup=200, key=KEY))
    found = run(jnp.asarray(gains))
    np.testing.assert_allclose(found.exponents[:, 0], expected, atol=0.01)
    np.testing.assert_array_equal(found.status, 0)


def test_rate_network_has_a_symmetric_spectrum():
    """Engelken et al. 2023: about the mean, which is ln(1 - dt) / dt up to O(g^2 dt / N); approximate at finite N."""
    n, steps = 50, np.array([0.05, 0.02])
    j = np.random.default_rng(0).normal(size=(n, n)) * 3.0 / np.sqrt(n)
    np.fill_diagonal(j, 0.0)
    z0, j = np.random.default_rng(1).normal(size=n), jnp.asarray(j)
    run = jax.vmap(lambda dt: lyapunov(Partial(rate_net, j, dt), 8000, z0=z0, warmup=1000, dt=dt, key=KEY).exponents)
    e = np.asarray(run(jnp.asarray(steps)), np.float64)
    mean = e.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(mean[:, 0], np.log(1 - steps) / steps, atol=0.005)
    asymmetry = np.abs(e + e[:, ::-1] - 2 * mean).max(axis=1) / (e[:, 0] - e[:, -1])
    assert asymmetry[0] < 0.1  # the smaller step covers less time: its exponents still wander


# ---- second roads ----

def loop(w, w_in, u, q):
    """A plain NumPy spectrum of h' = tanh(W h + w_in u) from the frame q."""
    h, logs = np.zeros(w.shape[0]), []
    for row in u:
        h = np.tanh(w @ h + w_in @ row)
        q, r = np.linalg.qr((1 - h**2)[:, None] * (w @ q))
        logs.append(np.log(np.abs(np.diag(r))))
    return np.array(logs)


@pytest.mark.conformance
def test_spectrum_equals_a_numpy_loop(tol):
    """A driven network in full; in float32 the QR must be taken every step, or status says that exponents are lost."""
    n = 48
    model, params = esn(n, spectral_radius=0.9, input_scaling=0.3)
    u = drive(400)
    system = phase_map(model, params)
    found = lyapunov(system, u, warmup=100, key=KEY)
    w_in = np.asarray(params.input_weights * params.input_scaling, np.float64)
    frame = orthonormal(named(KEY, "lyapunov.frame"), n, n, jnp.result_type(float))
    expected = loop(weights_of(params), w_in, u, np.asarray(frame))
    np.testing.assert_allclose(found.exponents, expected[100:].mean(axis=0), atol=tol(1e-4, 1e-5))
    np.testing.assert_allclose(found.local[:20], expected[:20], atol=tol(1e-3, 1e-5))
    assert (int(found.status), int(found.n_resolved)) == (0, n)
    rarely = lyapunov(system, u, every=5, warmup=100, key=KEY)
    assert rarely.local.shape == (80, n)
    kept = int(rarely.n_resolved)
    np.testing.assert_allclose(rarely.exponents[:kept], expected[100:, :kept].mean(axis=0), atol=tol(1e-4, 1e-5))
    if tol(1, 0):
        assert int(rarely.status) == 2
        assert n - 5 < kept < n
        assert abs(rarely.exponents[-1] - expected[100:, -1].mean()) > 0.1
    else:
        assert (int(rarely.status), kept) == (0, n)


@pytest.mark.conformance
def test_sum_is_the_mean_log_determinant(tol):
    model, params = esn(leak_rate=0.6)
    u = drive(4000)
    found = lyapunov(phase_map(model, params), u, warmup=1000, key=KEY)
    w, w_in = weights_of(params), np.asarray(params.input_weights, np.float64)
    h, logs = np.zeros(12), []
    for row in u:
        new = np.tanh(w @ h + w_in @ row)
        logs.append(np.linalg.slogdet(0.4 * np.eye(12) + 0.6 * (1 - new**2)[:, None] * w)[1])
        h = 0.4 * h + 0.6 * new
    np.testing.assert_allclose(found.exponents.sum(), np.mean(logs[1000:]), rtol=tol(1e-4, 1e-6))
    np.testing.assert_allclose(found.z, h, atol=tol(1e-6, 1e-6))


@pytest.mark.conformance
def test_spectrum_does_not_depend_on_start_or_frame(tol):
    model, params = esn(spectral_radius=0.8, leak_rate=0.5)
    system, u = phase_map(model, params), drive(4000)
    a = lyapunov(system, u, z0=np.zeros(12), warmup=1000, key=KEY)
    b = lyapunov(system, u, z0=np.linspace(-1, 1, 12), warmup=1000, key=jax.random.key(7))
    np.testing.assert_allclose(a.z, b.z, atol=tol(1e-5, 1e-12))
    np.testing.assert_allclose(np.cumsum(a.exponents), np.cumsum(b.exponents), atol=5e-3)  # order of close ones: slow
    leading = lyapunov(system, u, k=3, warmup=1000, key=KEY)  # from the same first directions
    np.testing.assert_allclose(leading.exponents, a.exponents[:3], atol=tol(1e-5, 1e-10))


# ---- models, loops, sweeps ----

def test_closed_loop_of_a_trained_forecaster():
    """The exponents of a forecaster of the Hénon map, in closed loop, begin with that of the map."""
    series = Henon(length=1001).series(KEY)
    model = ESN(n_inputs=2, n_units=40, spectral_radius=0.2, input_scaling=0.5, bias_scaling=0.5)
    params = model.init(KEY)
    run = simulate(model, params, series[:-1])
    readout = ridge(run.outputs[100:], series[101:], 1e-8)
    closed = phase_map(Feedback(model, readout), FeedbackParams(params, readout), run.state)
    found = lyapunov(closed, 5000, k=2, warmup=100, key=KEY)
    assert int(found.status) == 0
    assert abs(float(found.exponents[0]) - 0.419) < 0.05
    assert float(found.exponents[1]) < -0.8


def test_sweep_equals_loop_and_does_not_compile_again(count_compilations, tol):
    model, params = esn()
    u, radii = jnp.asarray(drive(200)), jnp.array([0.3, 0.7, 1.1])

    def leading(radius):
        return lyapunov(phase_map(model, params.replace(spectral_radius=radius)), u, k=2, warmup=50, key=KEY).exponents

    looped = [leading(radius) for radius in radii]
    with count_compilations() as count:
        looped = [leading(radius) for radius in radii]
    assert count.compilations == 0
    swept = jax.jit(jax.vmap(leading))(radii)
    np.testing.assert_allclose(swept, np.stack(looped), atol=tol(1e-4, 1e-10))
    assert np.all(np.diff(swept[:, 0]) > 0)


def test_flow_by_an_adaptive_solver_agrees_with_a_euler_of_small_steps():
    """At rest without input the exponents of dx/dt = (-x + g W x) / tau are the real parts of eig."""
    flow = small.RateFlow(n_units=5, gain=0.5)
    params = flow.init(KEY)
    found = lyapunov(phase_map(FlowMap(flow, dt=0.5), params), np.zeros((600, 2)), warmup=200, key=KEY)
    eigenvalues = np.linalg.eigvals((0.5 * np.asarray(params["w"], float) - np.eye(5)) / 2.0)
    np.testing.assert_allclose(np.sort(found.exponents), np.sort(eigenvalues.real), atol=3e-3)


# ---- degenerate systems ----

@pytest.mark.conformance
def test_rank_deficient_steps_are_flagged():
    """Two of five ReLU units are always off: the live three have their own spectrum, the rest is not resolved."""
    q = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    w = np.random.default_rng(4).normal(size=(5, 5)) * 0.1
    w[:3, :3] = 0.2 * q
    b = np.array([3.0, 3.0, 3.0, -9.0, -9.0])
    found = lyapunov(Partial(relu_net, jnp.asarray(w), jnp.asarray(b)), 100, z0=np.ones(5), warmup=10, key=KEY)
    np.testing.assert_allclose(found.exponents[:3], np.log(0.2), atol=1e-5)
    assert (int(found.status), int(found.n_resolved)) == (2, 3)
    assert not np.any(np.isnan(found.exponents))
    assert np.all(found.exponents[3:] < -10)


def test_zeros_are_minus_infinity_and_infinities_nan():
    superstable = lyapunov(Partial(logistic, 2.0), 20, z0=[0.5], key=KEY)
    assert float(superstable.exponents[0]) == -np.inf
    assert (int(superstable.status), int(superstable.n_resolved)) == (2, 0)
    assert float(kaplan_yorke(superstable.exponents, 1)) == float(ks_entropy(superstable.exponents)) == 0.0
    escaped = lyapunov(Partial(logistic, 5.0), 200, z0=[0.5], key=KEY)
    assert np.isnan(escaped.exponents[0])
    assert int(escaped.status) == 1
    entry = ZOO["esn_delay_line"]
    nilpotent = lyapunov(phase_map(entry.model, entry.model.init(KEY)), entry.inputs(KEY, 60), key=KEY)
    assert int(nilpotent.status) == 2
    assert not np.any(np.isnan(nilpotent.exponents))


SPECTRA = [
    ([0.5, 0.0, -1.0], 3, 2.5, 0.5),
    ([-1.0, 0.0, 0.5], 3, 2.5, 0.5),
    ([-0.1, -0.2], 2, 0.0, 0.0),
    ([0.0, -1.0], 2, 1.0, 0.0),
    ([0.3, 0.2], 2, 2.0, 0.5),
    ([0.3, -0.2], None, np.nan, 0.3),
    ([0.3, -0.2], 5, np.nan, 0.3),
    ([0.3, -0.2, -0.4], 5, 2.25, 0.3),
    ([0.3, -np.inf], 2, 1.0, 0.3),
    ([-np.inf, -np.inf], 2, 0.0, 0.0),
    ([np.nan, -1.0], 2, np.nan, np.nan),
]


@pytest.mark.conformance
@pytest.mark.parametrize(("k", "n"), [(3, 3), (2, 2), (2, None), (2, 5), (3, 5)])
def test_dimension_and_entropy(k, n):
    some = [row for row in SPECTRA if len(row[0]) == k and row[1] == n]
    exponents, _, dimension, entropy = zip(*some, strict=True)
    np.testing.assert_allclose(kaplan_yorke(np.array(exponents), n), dimension, rtol=1e-6)
    np.testing.assert_allclose(ks_entropy(np.array(exponents)), entropy, rtol=1e-6)


@pytest.mark.conformance
def test_dimension_of_one_spectrum_and_under_vmap():
    one = jnp.asarray(SPECTRA[0][0])
    assert float(kaplan_yorke(one, 3)) == 2.5
    np.testing.assert_array_equal(jax.vmap(lambda e: kaplan_yorke(e, 3))(jnp.stack([one, one])), 2.5)
