"""The dynamical systems against independent integrations, their sum rules, and every step size."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dynlab import tasks

KEY = jax.random.key(5)


def _lorenz(t: float, s: np.ndarray) -> list[float]:
    return [10.0 * (s[1] - s[0]), s[0] * (28.0 - s[2]) - s[1], s[0] * s[1] - 8.0 / 3.0 * s[2]]


def _rossler(t: float, s: np.ndarray) -> list[float]:
    return [-s[1] - s[2], s[0] + 0.2 * s[1], 0.2 + s[2] * (s[0] - 5.7)]


@pytest.mark.parametrize("dt", [0.01, 0.05, 0.13])
def test_lorenz_follows_dop853(dt: float) -> None:
    count = int(1.0 / dt)
    series = np.asarray(tasks.Lorenz(length=count + 1, dt=dt).series(KEY), float)
    times = dt * np.arange(count + 1)
    exact = solve_ivp(_lorenz, (0, times[-1]), series[0], "DOP853", times, rtol=1e-12, atol=1e-12).y.T
    np.testing.assert_allclose(series, exact, atol=2e-3)  # one time unit: e^0.9 times float32 rounding and RK4's


@pytest.mark.parametrize("dt", [0.05, 0.2, 0.7])
def test_rossler_follows_dop853(dt: float) -> None:
    count = int(12.0 / dt)
    series = np.asarray(tasks.Rossler(length=count + 1, dt=dt).series(KEY), float)
    times = dt * np.arange(count + 1)
    exact = solve_ivp(_rossler, (0, times[-1]), series[0], "DOP853", times, rtol=1e-12, atol=1e-12).y.T
    np.testing.assert_allclose(series, exact, atol=5e-3)


def test_henon_follows_a_numpy_loop() -> None:
    series = np.asarray(tasks.Henon(length=500).series(KEY), float)
    x, y = series[:-1].T
    np.testing.assert_allclose(series[1:, 0], 1.0 - 1.4 * x**2 + y, atol=1e-6)
    np.testing.assert_allclose(series[1:, 1], 0.3 * x, atol=1e-6)


def test_rk4_is_of_fourth_order() -> None:
    """Halving the step divides the error by 16 (float64)."""
    with jax.enable_x64(True):
        start = jnp.asarray([1.0, 2.0, 20.0])
        exact = solve_ivp(_lorenz, (0, 0.5), np.asarray(start), "DOP853", rtol=1e-13, atol=1e-13).y[:, -1]
        errors = [
            np.abs(np.asarray(tasks.integrate(tasks.lorenz_field, start, 0.5, 2, step)[-1]) - exact).max()
            for step in (0.01, 0.005, 0.0025)
        ]
    assert 13 < errors[0] / errors[1] < 19
    assert 13 < errors[1] / errors[2] < 19


def _exponents(step: Callable[[jax.Array], jax.Array], start: jax.Array, n_steps: int) -> np.ndarray:
    """Lyapunov exponents per step: tangent dynamics of `step`, re-orthonormalised by QR at every step."""

    @jax.jit
    def run(state: jax.Array) -> jax.Array:
        def advance(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            state, frame = carry
            frame, upper = jnp.linalg.qr(jax.jacfwd(step)(state) @ frame)
            return (step(state), frame), jnp.log(jnp.abs(jnp.diagonal(upper)))

        return jax.lax.scan(advance, (state, jnp.eye(state.size)), None, length=n_steps)[1].mean(0)

    return np.asarray(run(start))


def test_lorenz_exponents_obey_the_sum_rule() -> None:
    with jax.enable_x64(True):
        start = tasks.Lorenz(length=1).series(KEY)[0]
        step = 0.005
        found = _exponents(lambda x: tasks.rk4_step(tasks.lorenz_field, x, step), start, 60_000) / step
    assert abs(found.sum() + (10.0 + 1.0 + 8.0 / 3.0)) < 1e-4
    assert abs(found[0] - 0.9056) < 0.05
    assert abs(found[1]) < 0.02


def test_henon_exponents_obey_the_sum_rule() -> None:
    with jax.enable_x64(True):
        start = tasks.Henon(length=1).series(KEY)[0]
        found = _exponents(tasks.henon_map, start, 20_000)
    assert abs(found.sum() - np.log(0.3)) < 1e-12
    assert abs(found[0] - 0.419) < 0.02


def test_rossler_exponents_sum_to_the_mean_divergence() -> None:
    """The sum is the time average of a + x - c (Simpson's rule over each step, from an independent integration)."""
    with jax.enable_x64(True):
        start = tasks.Rossler(length=1).series(KEY)[0]
        step, count = 0.02, 20_000
        found = _exponents(lambda x: tasks.rk4_step(tasks.rossler_field, x, step), start, count) / step
        path = np.asarray(tasks.integrate(tasks.rossler_field, start, step / 2, 2 * count + 1, step / 4))
    trace = 0.2 + path[:, 0] - 5.7
    mean = (trace[:-1:2] + 4 * trace[1::2] + trace[2::2]).mean() / 6
    assert abs(found.sum() - mean) < 2e-3 * abs(mean)
    assert 0.05 < found[0] < 0.09


def test_rossler_starts_stay_bounded() -> None:
    many = jax.vmap(tasks.Rossler(length=300).series)(jax.random.split(KEY, 200))
    assert np.abs(np.asarray(many)).max() < 30.0


def _method_of_steps(tau: float, end: float, level: float, **knobs: float) -> Callable[[np.ndarray], np.ndarray]:
    """Mackey-Glass with constant history by DOP853, one delay interval after the other, dense output."""
    beta, gamma, exponent = knobs["beta"], knobs["gamma"], knobs["exponent"]
    pieces: list[Callable[[float], np.ndarray]] = [lambda t: np.full(np.shape(t), level)]
    value = level
    for k in range(int(np.ceil(end / tau)) + 1):
        before = pieces[-1]

        def rhs(t: float, x: np.ndarray, before: Callable[[float], np.ndarray] = before) -> np.ndarray:
            past = float(before(t - tau))
            return beta * past / (1 + past**exponent) - gamma * x

        solution = solve_ivp(
            rhs, (k * tau, (k + 1) * tau), [value], "DOP853", dense_output=True, rtol=1e-11, atol=1e-12
        )
        value = solution.y[0, -1]
        pieces.append(lambda t, sol=solution.sol: sol(t)[0])
    return lambda times: np.asarray([float(pieces[int(t // tau) + 1](t)) for t in times])


@pytest.mark.parametrize("tau", [17.0, 13.37, 1.05])
def test_mackey_glass_follows_the_method_of_steps(tau: float) -> None:
    """For delays that are, and are not, multiples of the step; float64, so that only the method's error is left."""
    knobs = {"beta": 0.2, "gamma": 0.1, "exponent": 10.0}
    exact = _method_of_steps(tau, 60.0, 0.5, **knobs)
    errors = []
    with jax.enable_x64(True):
        for step in (1.0, 0.5, 0.1, 0.02):
            count = round(60.0 / step) + 1
            found = tasks.mackey_glass_solve(lambda t: jnp.full_like(t, 0.5), count, step, tau, **knobs)
            every = round(1.0 / step)
            errors.append(np.abs(np.asarray(found[::every]) - exact(np.arange(61.0))).max())
    assert errors[0] < 5e-3
    assert errors[1] < 2e-3
    assert errors[2] < 5e-5
    assert errors[3] < 3e-6
    if tau == 17.0:  # the kinks at multiples of tau fall on grid points: full fourth order
        assert errors[1] < 2e-6
        assert errors[2] < 1e-8


def test_mackey_glass_in_float32_follows_the_method_of_steps() -> None:
    exact = _method_of_steps(17.0, 100.0, 0.5, beta=0.2, gamma=0.1, exponent=10.0)
    found = tasks.mackey_glass_solve(lambda t: jnp.full_like(t, 0.5), 1001, 0.1, 17.0, 0.2, 0.1, 10.0)
    np.testing.assert_allclose(found[::10], exact(np.arange(101.0)), atol=5e-5)


@pytest.mark.parametrize(("dt", "max_step"), [(0.1, 0.1), (0.5, 0.1), (1.0, 0.1), (1.0, 1.0), (1.0, 0.37), (2.5, 2.5)])
def test_mackey_glass_range_is_independent_of_sampling_and_step(dt: float, max_step: float) -> None:
    task = tasks.MackeyGlass(length=int(10_000 / dt), dt=dt, max_step=max_step)
    series = np.asarray(task.series(KEY))
    assert abs(series.min() - 0.418) < 0.004
    assert abs(series.max() - 1.318) < 0.004
    assert abs(series.mean() - 0.93) < 0.002
    assert 0.224 < series.std() < 0.228


def test_mackey_glass_histories_differ_and_tau_is_swept() -> None:
    keys = jax.random.split(KEY, 4)
    many = np.asarray(jax.vmap(tasks.MackeyGlass(length=500).series)(keys))[..., 0]
    assert np.abs(np.corrcoef(many) - np.eye(4)).max() < 0.95
    swept = jax.vmap(lambda tau: tasks.MackeyGlass(tau=tau, length=2000, max_step=0.5).series(KEY))
    shallow, classic, deep, refused = np.asarray(swept(jnp.asarray([6.0, 17.0, 30.0, 0.4])))[..., 0].std(1)
    assert 0.224 < classic < 0.229
    assert deep > 0.27
    assert abs(shallow - tasks.MackeyGlass(tau=6.0, length=2000, max_step=0.5).series(KEY).std()) < 1e-3
    assert np.isnan(refused)  # a traced delay shorter than the internal step
