"""The code shared by the forecasts: an autoregression recovers its process, start points stay in their stretch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import check
from experiments import _forecasting as engine

PLAN = engine.Plan(washout=50, train=400, validation=100, test=200, horizon=20, longest=60, n_starts=5)


def two_waves(length: int) -> jax.Array:
    """A sum of two sines obeys a linear recursion of order 4 exactly."""
    t = np.arange(length)
    return jnp.asarray((np.sin(0.7 * t) + np.sin(0.31 * t + 1.0))[:, None], check.default_float())


def test_start_points_stay_in_their_stretch() -> None:
    validation, test = PLAN.starts("validation"), PLAN.starts("test")
    assert validation[0] == 450
    assert validation[-1] + PLAN.horizon < 550
    assert test[0] == 550
    assert test[-1] + PLAN.longest < PLAN.length


def test_autoregression_of_enough_lags_continues_a_linear_series() -> None:
    series = two_waves(PLAN.length)
    models = jax.vmap(lambda n: engine.Lags(max_lags=6, n_lags=n))(jnp.asarray([1, 2, 6]))
    scores = engine.validate(models, jax.random.key(0), series, jnp.asarray([1e-6, 1e-3]), PLAN)
    assert scores.shape == (3, 2)
    assert np.argmin(np.min(scores, axis=1)) == 2  # order 4 is needed
    model = engine.Lags(max_lags=6, n_lags=6)
    keys = jax.random.split(jax.random.key(1), 2)
    found = engine.evaluate(model, keys, jnp.stack([series, series]), jnp.asarray(1e-6), PLAN)
    assert found.closed.shape == found.truth.shape == (2, 5, 60, 1)
    np.testing.assert_allclose(found.truth[0, 0, :, 0], series[551:611, 0])
    assert float(jnp.max(jnp.abs(found.closed - found.truth))) < 0.05


def test_hidden_lags_equal_fewer_lags() -> None:
    series = two_waves(60)
    shown, hidden = engine.Lags(max_lags=3, n_lags=3), engine.Lags(max_lags=8, n_lags=3)
    few = engine.drive(shown, shown.init(), series)[1]
    many = engine.drive(hidden, hidden.init(), series)[1]
    np.testing.assert_array_equal(many[:, :3], few)
    np.testing.assert_array_equal(many[:, 3:], 0.0)
    np.testing.assert_array_equal(few[10], series[10:7:-1, 0])


def test_naive_forecast_repeats_the_last_sample() -> None:
    series = two_waves(PLAN.length)
    found = engine.naive(series[None], PLAN)
    for i, start in enumerate(PLAN.starts("test")):
        np.testing.assert_array_equal(found.closed[0, i, :, 0], np.full(60, series[start, 0]))
    rows = series[550:749], series[551:750]
    expected = np.sqrt(np.mean((rows[1] - rows[0]) ** 2) / np.var(rows[1]))
    assert float(found.one_step[0]) == pytest.approx(expected, rel=1e-4)


def test_errors_of_a_diverged_forecast() -> None:
    truth = jnp.zeros((2, 10, 1))
    closed = truth.at[0, 4:].set(1.0).at[1, 7:].set(jnp.nan)
    found = engine.Forecasts(one_step=jnp.zeros(()), closed=closed, truth=truth)
    assert engine.valid_steps(found, 0.4).tolist() == [4, 7]
    assert engine.closed_loop_error(found, 10).tolist() == [pytest.approx(0.6**0.5), float("inf")]
