"""Timescales: autocorrelation, fits, corrections, eigenvalues, against closed forms, NumPy loops and simulations."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.signal
import zoo_models as small

from dynlab import ESN, Euler, ExpEuler, Feedback, FlowMap, Hold, Stack, esn_from_arrays, simulate
from dynlab.analysis import exponentials
from dynlab.analysis.autocorrelation import autocorrelation
from dynlab.analysis.decay_estimates import crossing_timescale, integrated_timescale, lag_one_timescale
from dynlab.analysis.exponentials import compare_exponentials, fit_timescales
from dynlab.analysis.linearize import jacobian, phase_map
from dynlab.analysis.network_timescales import eigenvalue_timescales, network_timescales, parameter_timescales
from dynlab.analysis.timescales import all_timescales, timescales

K = np.arange(200)
LAGS = 30  # most short series here are (300, 3) with 30 lags: one program
RING = ESN(n_units=3, activation="identity", topology="cycle")


def ar1(rng, phi, *shape):
    """Stationary AR(1) of unit variance along axis 1 of (M, T, F)."""
    noise = rng.normal(size=shape) * np.sqrt(1 - phi**2)
    noise[:, 0] /= np.sqrt(1 - phi**2)
    return scipy.signal.lfilter([1.0], [1.0, -phi], noise, axis=1).astype(np.float32)


def expected_acf(tau, n_steps, n_lags):
    """Ratio of the expectations of the sample autocovariances of an AR(1), by the definition: float64, no FFT."""
    c = np.exp(-np.arange(n_steps) / tau)
    row = np.array([c[: i + 1].sum() + c[1 : n_steps - i].sum() for i in range(n_steps)]) / n_steps  # cov(x_i, mean)
    out = np.array([c[k] - row[: n_steps - k].mean() - row[k:].mean() + row.mean() for k in range(n_lags)])
    return out / out[0]


# autocorrelation


@pytest.mark.conformance
def test_autocorrelation_is_the_definition(tol):
    x = np.random.default_rng(0).normal(size=(3, 40, 2)).cumsum(axis=1) + 100.0
    y = x - x.mean(axis=1, keepdims=True)
    want = np.zeros((13, 2))
    for k in range(13):
        for m in range(3):
            for t in range(40 - k):
                want[k] += y[m, t] * y[m, t + k] / (40 - k)
    np.testing.assert_allclose(autocorrelation(x, 12), want / want[0], atol=tol(2e-5, 1e-12))


def test_autocorrelation_shapes():
    x = np.random.default_rng(0).normal(size=(3, 40, 2))
    assert autocorrelation(x, 12).shape == (13, 2)
    assert autocorrelation(x[0], 12).shape == (13, 2)
    assert autocorrelation(x[0, :, 0], 12).shape == (13,)
    np.testing.assert_allclose(autocorrelation(x[..., 0], 12, trials=True), autocorrelation(x, 12)[:, 0], rtol=1e-5)
    assert autocorrelation(x, 2, trials=False).shape == (3, 40, 2)
    np.testing.assert_allclose(autocorrelation(1e-25 * x, 12), autocorrelation(x, 12), rtol=1e-4, atol=1e-5)


# fits: the bias of a finite series

BIAS = [  # tau, T, number of lags, fit of a exp, fit of a exp + b: float64 SciPy on the same expectation
    (20, 1000, 50, 18.004, 19.999), (20, 4000, 50, 19.492, 20.000), (20, 200, 50, 11.587, 19.856),
    (20, 1000, 100, 17.380, 19.998), (100, 1000, 100, 70.019, 99.750), (20, 1000, 500, 17.290, 19.976),
]


@pytest.mark.parametrize("n_lags", [pytest.param(50, marks=pytest.mark.conformance), 100, 500])
def test_bias_of_a_finite_series(n_lags, tol):
    """The plain fit is too fast by what the mean takes off, the fit with an offset is not."""
    rows = [row for row in BIAS if row[2] == n_lags]
    acf = np.stack([expected_acf(tau, n_steps, n_lags) for tau, n_steps, *_ in rows], axis=1)
    plain, offset = fit_timescales(acf, model="exp"), fit_timescales(acf)
    np.testing.assert_allclose(plain.slowest, [row[3] for row in rows], atol=2e-3)
    np.testing.assert_allclose(offset.slowest, [row[4] for row in rows], atol=2e-3)
    first_order = np.array([-2 * tau / n_steps for tau, n_steps, *_ in rows])
    np.testing.assert_allclose(offset.offset / first_order, 1.0, atol=0.2)
    for i in range(len(rows)):  # the same minima by SciPy
        for fit, start, curve in ((plain, (1, 20), lambda t, a, tau: a * np.exp(-t / tau)),
                                  (offset, (1, 20, 0), lambda t, a, tau, b: a * np.exp(-t / tau) + b)):
            want, _ = scipy.optimize.curve_fit(curve, np.arange(n_lags), acf[:, i], start, ftol=1e-14, xtol=1e-14)
            np.testing.assert_allclose(fit.slowest[i], want[1], rtol=tol(1e-4, 1e-6))
            np.testing.assert_allclose(fit.weight[i, 0], want[0], rtol=tol(1e-4, 1e-6))


def test_simulated_process_pooled_over_trials():
    """tau = 20, T = 1,000, 200 trials, 100 lags, 20 repeats: bias of each estimator within 4 standard errors."""
    x = ar1(np.random.default_rng(1), np.exp(-1 / 20), 200, 1000, 20)
    result = timescales(x, lags=99)
    for estimate, want in (
        (result.exp.slowest, 17.38), (result.exp_offset.slowest, 20.0), (result.lag_one.tau_uncorrected, 19.24),
        (result.lag_one.tau_pooled, 20.0), (result.lag_one.tau, 20.0), (result.lag_one.tau_single, 20.8),
    ):
        error = float(jnp.std(estimate)) / np.sqrt(19)
        assert error < 0.25
        assert abs(float(jnp.mean(estimate)) - want) < 4 * error
    np.testing.assert_allclose(result.length, 1000 / result.tau, rtol=1e-5)
    np.testing.assert_allclose(result.expected_offset, -2 * result.tau / 1000, rtol=1e-5)
    assert abs(float(jnp.mean(result.exp_offset.offset)) + 0.0416) < 0.004
    assert np.all(result.status == 0)
    table = result.table()
    assert {len(column) for column in table.values()} == {20}
    np.testing.assert_array_equal(table["exp_offset"], result.tau)


@pytest.mark.parametrize(("n_trials", "n_channels"), [(1, 2000), (2, 2000)])
def test_lag_one_correction_for_few_trials(n_trials, n_channels):
    """phi + (1 + phi)/T + 2 phi/(T M) is unbiased to second order; without it, off by many standard errors."""
    phi, n_steps = np.exp(-1 / 20), 1000
    result = lag_one_timescale(ar1(np.random.default_rng(2), phi, n_trials, n_steps, n_channels), 1.0, trials=True)
    mean = float(jnp.mean(result.phi))
    error = float(jnp.std(result.phi)) / np.sqrt(n_channels)
    corrected = mean + (1 + mean) / n_steps + 2 * mean / (n_steps * n_trials)
    assert abs(corrected - phi) < 3 * error + 1e-4
    assert phi - mean > 8 * error
    np.testing.assert_allclose(np.exp(-1 / np.asarray(result.tau)) - np.asarray(result.phi),
                               (1 + result.phi) / n_steps + 2 * result.phi / (n_steps * n_trials), atol=2e-6)
    if n_trials == 1:
        np.testing.assert_array_equal(result.tau, result.tau_single)
        tau = np.asarray(result.tau_uncorrected)  # 60 series gave 18.7 +- 3.5
        assert abs(tau.mean() - 18.7) < 3 * 3.5 / np.sqrt(60)
        assert abs(np.median(tau) - 18.9) < 1.0
        assert 2.8 < tau.std() < 4.6


@pytest.mark.conformance
def test_two_exponentials_and_the_choice(tol):
    rng = np.random.default_rng(3)
    two, one = 0.6 * np.exp(-K / 50) + 0.4 * np.exp(-K / 5), np.exp(-K / 20)
    acf = np.stack([two, two + 1e-3 * rng.normal(size=200), one, one + 1e-3 * rng.normal(size=200)], axis=1)
    result = compare_exponentials(acf, 0.5)
    np.testing.assert_allclose(result.two.tau[0], [25.0, 2.5], rtol=tol(1e-4, 1e-8))
    np.testing.assert_allclose(result.two.weight[0], [0.6, 0.4], rtol=tol(1e-4, 1e-8))
    np.testing.assert_allclose(result.two.tau[1], [25.0, 2.5], rtol=0.02)
    np.testing.assert_allclose(result.one.tau[2:, 0], 10.0, rtol=0.01)
    np.testing.assert_array_equal(result.bic_number, [2, 2, 1, 1])
    np.testing.assert_array_equal(result.aic_number[:3], [2, 2, 1])
    n, rss = 200, np.asarray(result.two.rss[1], np.float64)
    np.testing.assert_allclose(result.two.aic[1], n * np.log(rss / n) + 2 * 5, rtol=1e-5)
    np.testing.assert_allclose(result.two.bic[1], n * np.log(rss / n) + np.log(n) * 5, rtol=1e-5)


def test_estimates_without_a_fit():
    acf = np.exp(-K[:, None] / [20.0, 7.3])
    for level in (np.exp(-1), 0.5):
        result = crossing_timescale(acf, 0.1, level=level)
        np.testing.assert_allclose(result.tau, [2.0, 0.73], rtol=1e-5)
    area = integrated_timescale(acf, 0.1)
    phi = np.exp(-1 / np.array([20.0, 7.3]))
    full = 0.1 * (0.5 + phi / (1 - phi))
    np.testing.assert_allclose(area.tau, full * (1 - np.exp(-5)), rtol=2e-3)
    assert np.all(area.tau < full)
    assert np.all(area.lag >= 5 * area.tau / 0.1)
    assert np.all((area.lag - 1) < 5 * area.tau / 0.1)
    slow = np.exp(-K[:, None] / [2000.0, 100.0])  # 200 lags are too few
    assert crossing_timescale(slow).status.tolist() == [1, 0]
    assert np.isnan(crossing_timescale(slow).tau[0])
    assert integrated_timescale(slow).status.tolist() == [1, 1]


# known systems


def test_branching_process_and_subsampling():
    """m = 0.98: tau = -1/ln m = 49.5 generations; seeing a tenth of the events lowers r_k, not its slope."""
    rng = np.random.default_rng(4)
    activity = np.empty((20_000, 128))
    a = np.full(128, 500)
    for t in range(-300, 20_000):
        a = rng.poisson(0.98 * a + 10)
        if t >= 0:
            activity[t] = a
    tau = -1 / np.log(0.98)
    assert abs(tau - 49.5) < 0.01
    whole = activity.T[..., None]
    assert abs(lag_one_timescale(whole).tau[0] / tau - 1) < 0.03
    seen = rng.binomial(activity.astype(int), 0.1).T[..., None]
    fit = fit_timescales(autocorrelation(seen, 199), first_lag=1)
    assert abs(fit.slowest[0] / tau - 1) < 0.05
    assert fit.weight[0, 0] < 0.95
    assert lag_one_timescale(seen).tau[0] < 0.7 * tau  # what the lag-one estimate makes of measurement noise


def test_linear_network_activity_agrees_with_its_eigenvalues(key):
    """z+ = A z + xi: C(k) = A^k Sigma, and the projection on a left eigenvector decays with its eigenvalue alone.

    Compared at T = 1e5 and 16 trials: the eigenvalue timescales against the lag-one and the fitted timescale of the
    projections, within 2 %.
    """
    rng = np.random.default_rng(5)
    basis = rng.normal(size=(4, 4)) + 2 * np.eye(4)
    values = np.array([0.8, 0.7, 0.5, 0.3])
    a = basis @ np.diag(values) @ np.linalg.inv(basis)
    w_in = rng.normal(size=(4, 4))
    model, params = esn_from_arrays(a, w_in, activation="identity")
    u = jax.random.normal(key, (16, 100_000, 4))
    z = simulate(model, params, u, washout=100).outputs
    sigma = scipy.linalg.solve_discrete_lyapunov(a, w_in @ w_in.T)
    exact = np.stack([np.diag(np.linalg.matrix_power(a, k) @ sigma) / np.diag(sigma) for k in range(31)])
    np.testing.assert_allclose(autocorrelation(z, 30), exact, atol=0.01)
    modes = eigenvalue_timescales(jacobian(phase_map(model, params).at(np.zeros(4)), np.zeros(4)))
    np.testing.assert_allclose(modes.tau, -1 / np.log(values), rtol=1e-4)
    result = timescales(z @ jnp.asarray(np.linalg.inv(basis).T, z.dtype), lags=LAGS)
    np.testing.assert_allclose(result.lag_one.tau, modes.tau, rtol=0.02)
    np.testing.assert_allclose(result.exp_offset.slowest[:2], modes.tau[:2], rtol=0.02)


def test_network_from_three_sides(key):
    """Unconnected leaky linear units: leak, eigenvalue and activity say the same time constant."""
    model, params = esn_from_arrays(np.zeros((4, 4)), np.eye(4), activation="identity", leak_rate=0.2)
    tau = -1 / np.log(0.8)
    result = network_timescales(model, params, jax.random.normal(key, (16, 100_000, 4)), washout=100, lags=LAGS)
    np.testing.assert_allclose(result.parameter, tau, rtol=1e-5)
    np.testing.assert_allclose(result.eigenvalue.tau, tau, rtol=1e-5)
    np.testing.assert_allclose(result.activity.lag_one.tau, result.eigenvalue.tau, rtol=0.02)
    np.testing.assert_allclose(result.activity.tau, result.eigenvalue.tau, rtol=0.03)
    np.testing.assert_allclose(result.jacobian, 0.8 * np.eye(4), atol=1e-6)
    assert result.status == 0
    table = result.table()
    assert list(table)[:3] == ["parameter", "eigenvalue", "frequency"]
    assert {len(column) for column in table.values()} == {4}


def test_network_point_and_columns_of_unequal_length(key):
    model = Hold(small.Gated(n_units=3), 2)
    params = model.init(key)
    u = jax.random.normal(key, (300, 2))
    result = network_timescales(model, params, u, point=np.full(3, 0.1), x=np.zeros(2), lags=LAGS)
    f = lambda z: model.step(params, z, jnp.zeros(2))  # noqa: E731
    np.testing.assert_allclose(result.jacobian, jax.jit(jax.jacfwd(f))(jnp.full(3, 0.1)), rtol=1e-5, atol=1e-6)
    moduli = np.sort(np.abs(np.linalg.eigvals(np.asarray(result.jacobian, float))))[::-1]
    np.testing.assert_allclose(result.eigenvalue.tau, -2.0 / np.log(moduli), rtol=1e-4)
    assert result.parameter is None
    assert np.all(np.isnan(result.table()["parameter"]))
    assert result.activity.acf.shape == (LAGS + 1, 3)


# eigenvalues and parameters


@pytest.mark.conformance
def test_eigenvalue_timescales(tol):
    turn = 0.9 * np.array([[np.cos(np.pi / 4), -np.sin(np.pi / 4)], [np.sin(np.pi / 4), np.cos(np.pi / 4)]])
    matrix = scipy.linalg.block_diag(turn, 0.5, 0.0)
    host = eigenvalue_timescales(matrix, 0.1)
    want = [-0.1 / np.log(0.9), -0.1 / np.log(0.9), -0.1 / np.log(0.5), 0.0]
    np.testing.assert_allclose(host.tau, want, rtol=1e-6)
    np.testing.assert_allclose(np.sort(host.frequency), [-1.25, 0, 0, 1.25], atol=1e-6)
    traced = jax.jit(eigenvalue_timescales)(jnp.asarray(matrix), 0.1)
    np.testing.assert_allclose(traced.tau, host.tau, rtol=tol(2e-5, 1e-12))
    values = eigenvalue_timescales(np.array([1.0, 1.1, 0.5, -0.5]))
    np.testing.assert_allclose(values.tau, [-1 / np.log(1.1), np.inf, 1 / np.log(2), 1 / np.log(2)], rtol=1e-6)
    assert (int(host.status), int(values.status)) == (0, 1)
    batch = eigenvalue_timescales(np.stack([matrix, np.full((4, 4), np.nan)]))
    np.testing.assert_array_equal(batch.status, [0, 2])
    assert np.all(np.isnan(batch.tau[1]))


def test_parameter_timescales(key):
    leaky = ESN(n_units=3, leak_rate=np.array([0.1, 0.5, 1.0]), dt=0.2)
    params = leaky.init(key)
    want = [-0.2 / np.log(0.9), -0.2 / np.log(0.5), 0.0]
    np.testing.assert_allclose(parameter_timescales(leaky, params), want, rtol=1e-5)
    np.testing.assert_allclose(parameter_timescales(Hold(leaky, 3), params), want, rtol=1e-5)
    deep = Stack((leaky, leaky.replace(n_inputs=3)))
    np.testing.assert_allclose(parameter_timescales(deep, deep.init(key)), want * 2, rtol=1e-5)
    loop = Feedback(leaky, small.MeanReadout(jnp.ones((1, 3))))
    np.testing.assert_allclose(parameter_timescales(loop, loop.init(key)), want, rtol=1e-5)
    flow = small.RateFlow(n_units=4, tau=7.0)
    for wrapped in (Euler(flow, dt=0.5), ExpEuler(flow, dt=0.5), FlowMap(flow, dt=0.5)):
        np.testing.assert_allclose(parameter_timescales(wrapped, wrapped.init(key)), np.full(4, 7.0))


# status, traces


def test_status_of_channels_that_have_no_timescale():
    rng = np.random.default_rng(6)
    x = np.stack([np.full(300, 0.1), rng.normal(size=300), ar1(rng, np.exp(-1 / 5), 1, 300, 1)[0, :, 0]], axis=1)
    result = timescales(x, lags=LAGS)
    assert result.status.tolist() == [2, 1, 0]
    assert result.lag_one.status[0] == 2
    for leaf in (result.tau, result.lag_one.tau, result.integrated.tau, result.half_life.tau, result.length):
        assert np.isnan(leaf[0])
        assert np.isfinite(leaf[2])
    assert result.n_exponentials[0] == 0
    assert np.all(np.isnan(result.acf[:, 0]))
    bad = all_timescales(jnp.asarray(x)[None].at[0, 5, 2].set(jnp.nan), 1.0, lags=LAGS)  # what a trace may hold
    assert bad.status.tolist() == [2, 1, 2]
    swings = integrated_timescale((-0.8) ** np.arange(6))
    assert swings.tau < 0
    assert swings.status == 1
    trend = lag_one_timescale(np.linspace(0, 1, 20) ** 3)
    assert trend.status == 1
    assert np.isinf(trend.tau)


def spectrum_program(radius, params, u):
    run = simulate(RING, params.replace(spectral_radius=radius), u, washout=20)
    return timescales(run.outputs, RING.dt, lags=LAGS)


def test_mapped_over_spectral_radii_in_one_program(key, count_compilations):
    radii, params, u = jnp.linspace(0.1, 0.95, 16), RING.init(key), jax.random.normal(key, (320, 1))
    program = jax.jit(jax.vmap(spectrum_program, in_axes=(0, None, None)))
    with count_compilations() as count:
        result = jax.block_until_ready(program(radii, params, u))
    assert count.compilations == 1
    assert result.tau.shape == (16, 3)
    with count_compilations() as count:
        jax.block_until_ready(program(radii, params, u))
    assert count.compilations == 0
    for i in (0, 15):
        single = spectrum_program(radii[i], params, u)
        np.testing.assert_allclose(result.lag_one.phi[i], single.lag_one.phi, atol=1e-5)
        np.testing.assert_allclose(result.acf[i], single.acf, atol=1e-5)
        np.testing.assert_array_equal(result.status[i], single.status)
        good = np.asarray(single.status) == 0
        np.testing.assert_allclose(result.tau[i][good], single.tau[good], rtol=1e-3)
    assert np.mean(result.acf[15] ** 2) > 2 * np.mean(result.acf[0] ** 2)  # a longer memory


def test_second_call_does_not_compile(count_compilations):
    x = np.random.default_rng(7).normal(size=(300, 3))
    timescales(x, lags=LAGS)
    y = x + 1.0
    with count_compilations() as count:
        timescales(y, 0.5, lags=LAGS)
    assert count.compilations == 0


def test_columns_in_batches(monkeypatch):
    """Memory does not grow with the columns: batches one after the other, with the last one filled up."""
    tau = np.array([2.0, 2.5, 3.0, 3.5, 4.0])
    acf = jnp.asarray(np.exp(-np.arange(12)[:, None] / tau))
    flags_of = exponentials.flags("exp", "exp+offset")
    monkeypatch.setattr(exponentials, "MAX_RESIDUALS", 2 * 12 * exponentials.N_STARTS * 2)  # two columns at a time
    batched = jax.jit(lambda: exponentials.fit_columns(acf, 0.5, 100.0, *flags_of, 0))()
    np.testing.assert_allclose(batched.tau[..., 0], 0.5 * np.stack([tau, tau]), rtol=1e-3)
    assert batched.status.shape == (2, 5)
    many = jax.ShapeDtypeStruct((100, 20_000), float)
    monkeypatch.undo()
    traced = jax.make_jaxpr(lambda acf: exponentials.fit_columns(acf, 1.0, 100.0, *flags_of, 0))(many)
    assert max(sizes(traced.jaxpr)) <= max(many.shape[0] * many.shape[1] * 1.01, 4 * exponentials.MAX_RESIDUALS)


def sizes(jaxpr):
    """Entries of every array that a program makes, inner programs included."""
    for equation in jaxpr.eqns:
        yield from (int(np.prod(out.aval.shape)) for out in equation.outvars)
        for inner in jax.core.jaxprs_in_params(equation.params):
            yield from sizes(inner)


X, ACF, NAN = np.zeros((50, 2)), np.ones((20, 2)), np.full((50, 2), np.nan)
GATED = small.Gated()
CASES = {
    "lags too many": (lambda: autocorrelation(X, 50), ValueError, r"lags must be in \[1, 49\], got 50"),
    "lags a float": (lambda: autocorrelation(X, 2.5), TypeError, r"lags must be an integer, got 2.5"),
    "NaN": (lambda: timescales(NAN), ValueError, r"x must be finite, got nan at index \(0, 0\)"),
    "empty": (lambda: timescales(np.zeros((0, 2))), ValueError, r"x must not be empty, got shape \(0, 2\)"),
    "a number": (lambda: timescales(1.0), ValueError, r"x must have shape \(time, ...\), got \(\)"),
    "trials of a vector": (lambda: timescales(np.zeros(9), trials=True), ValueError, r"x must have shape \(trials, time, ...\), got \(9,\)"),
    "short": (lambda: timescales(np.zeros(5)), ValueError, r"x must have at least 7 time steps, got 5"),
    "dt of zero": (lambda: timescales(X, 0.0), ValueError, r"dt must be finite and in \(0.0, inf\], got 0.0"),
    "too few lags": (lambda: timescales(X, lags=3), ValueError, r"lags must be in \[5, 49\], got 3"),
    "complex": (lambda: lag_one_timescale(X + 1j), TypeError, r"x must be real numbers"),
    "unknown model": (lambda: fit_timescales(ACF, model="oscillation"), ValueError, r"model must be one of 'exp', .* got 'oscillation'"),
    "fewer lags than parameters": (lambda: fit_timescales(ACF[:4], model="two exp"), ValueError, r"acf must have at least 5 lags from first_lag = 0 .* got 4"),
    "first lag beyond": (lambda: compare_exponentials(ACF, first_lag=16), ValueError, r"acf must have at least 6 lags from first_lag = 16"),
    "negative max_tau": (lambda: fit_timescales(ACF, max_tau=-1.0), ValueError, r"max_tau must be finite and in \(0.0, inf\]"),
    "one lag": (lambda: integrated_timescale(ACF[:1]), ValueError, r"acf must have shape .* at least 1 lag, got \(1, 2\)"),
    "level of one": (lambda: crossing_timescale(ACF, level=1.0), ValueError, r"level must be finite and in \(0.0, 1.0\), got 1.0"),
    "window of zero": (lambda: integrated_timescale(ACF, window=0.0), ValueError, r"window must be finite and in \(0.0"),
    "not square": (lambda: eigenvalue_timescales(np.zeros((2, 3))), ValueError, r"values must be eigenvalues .*\(2, 3\)"),
    "text": (lambda: eigenvalue_timescales(np.array(["a"])), TypeError, r"values must be numbers"),
    "no time constants": (lambda: parameter_timescales(GATED, None), TypeError, r"model must have time_constants.*Gated"),
    "none inside": (lambda: parameter_timescales(Hold(GATED, 2), None), TypeError, r"model must have time_constants.*Hold"),
    "a flow": (lambda: network_timescales(small.RateFlow(), {}, X), TypeError, r"model must be a Map: wrap a flow"),
    "not smooth": (lambda: network_timescales(small.LIF(), {}, X), TypeError, r"model must be smooth .*use timescales\(simulate"),
    "point of other width": (lambda: network_timescales(GATED, GATED.init(jax.random.key(0)), X, point=np.zeros(3)), ValueError, r"point must be .* shape \(6,\), got \(3,\)"),
    "short run": (lambda: network_timescales(GATED, GATED.init(jax.random.key(0)), X, washout=45), ValueError, r"inputs must have at least 7 time steps after the washout, got 5"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name):
    call, error, message = CASES[name]
    with pytest.raises(error, match=message):
        call()
