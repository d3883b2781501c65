"""Error measures against hand-computed numbers and NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import metrics

Y = np.array([[0.0, 10.0], [1.0, 20.0], [2.0, 30.0], [3.0, 40.0]])
P = Y + np.array([[0.5, -1.0], [-0.5, 1.0], [0.5, 1.0], [-0.5, -1.0]])


def test_hand_computed():
    np.testing.assert_allclose(metrics.mse(P, Y), [0.25, 1.0], rtol=1e-6)
    np.testing.assert_allclose(metrics.rmse(P, Y), [0.5, 1.0], rtol=1e-6)
    np.testing.assert_allclose(metrics.nrmse(P, Y), [0.5 / 1.25**0.5, 1.0 / 125**0.5], rtol=1e-6)
    np.testing.assert_allclose(metrics.nrmse(P, Y, norm="range"), [0.5 / 3, 1.0 / 30], rtol=1e-6)
    np.testing.assert_allclose(metrics.nrmse(P, Y, norm="mean"), [0.5 / 1.5, 1.0 / 25], rtol=1e-6)
    np.testing.assert_allclose(metrics.r2(P, Y), [1 - 0.25 / 1.25, 1 - 1 / 125], rtol=1e-6)


@pytest.mark.parametrize("name", ["mse", "rmse", "nrmse", "r2"])
def test_batch_axes_and_jit(name):
    measure = getattr(metrics, name)
    rng = np.random.default_rng(0)
    p, y = rng.normal(size=(2, 3, 4, 50, 2))
    out = jax.jit(measure)(p, y)
    assert out.shape == (3, 4, 2)
    np.testing.assert_allclose(out[1, 2], measure(p[1, 2], y[1, 2]), rtol=1e-5)


def test_predicting_the_mean_scores_zero_and_one():
    y = np.random.default_rng(1).normal(size=(100, 3))
    p = np.broadcast_to(y.mean(0), y.shape)
    np.testing.assert_allclose(metrics.r2(p, y), 0, atol=1e-5)
    np.testing.assert_allclose(metrics.nrmse(p, y), 1, rtol=1e-5)


def test_valid_prediction_time():
    y = np.random.default_rng(2).normal(size=(2, 40, 3))
    f = y.copy()
    f[0, 25:] += 0.5 * y[0].std(0)
    f[1, 7] = np.nan
    f[1, 3, 0] += 0.6 * y[1, :, 0].std()  # over three channels an error of 0.6/sqrt(3) = 0.35 only
    vpt = metrics.valid_prediction_time
    np.testing.assert_allclose(vpt(f, y, dt=0.1), [2.5, 0.7], rtol=1e-6)
    np.testing.assert_allclose(vpt(f, y, dt=0.1, threshold=0.3), [2.5, 0.3], rtol=1e-6)
    np.testing.assert_allclose(vpt(f, y, dt=0.1, lyapunov_exponent=0.9), [2.25, 0.63], rtol=1e-6)
    np.testing.assert_allclose(vpt(f, y, dt=0.1, scale=1e3)[0], 4.0, rtol=1e-6)
    np.testing.assert_allclose(vpt(y, y), [40, 40])
    np.testing.assert_allclose(vpt(y + 9, y), [0, 0])
    still = np.concatenate([y, np.ones((2, 40, 1))], axis=-1)
    np.testing.assert_allclose(vpt(still, still, scale=1.0), [40, 40])
    returned = jax.jit(lambda a, b: vpt(a, b, dt=0.1))(jnp.asarray(f), jnp.asarray(y))
    np.testing.assert_allclose(returned, [2.5, 0.7], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.rmse(P, Y[:3]), r"same shape, got \(4, 2\) and \(3, 2\)"),
        (lambda: metrics.rmse(P[:, 0], Y[:, 0]), r"prediction must have shape .*\[:, None\]"),
        (lambda: metrics.rmse(P[:0], Y[:0]), "prediction must not be empty"),
        (lambda: metrics.nrmse(P, Y, norm="var"), "norm must be one of 'std', 'range', 'mean', got 'var'"),
        (lambda: metrics.valid_prediction_time(P, Y, dt=0.0), "dt must be finite and in"),
        (
            lambda: metrics.valid_prediction_time(P, Y * [1.0, 0.0] + 0.1),
            "scale must be given when a feature of truth is constant .* got feature 1 constant at 0.1",
        ),
        (
            lambda: metrics.valid_prediction_time(np.stack([P, P]), np.stack([Y, Y * [0.0, 1.0]])),
            r"got feature 0 of series \(1,\) constant at 0.0",
        ),
        (lambda: metrics.valid_prediction_time(P, Y, threshold=-1), "threshold must be finite and in"),
        (lambda: metrics.valid_prediction_time(P, Y, lyapunov_exponent=-0.1), "lyapunov_exponent must be"),
        (lambda: metrics.valid_prediction_time(P, Y, scale=[1.0, 2.0, 3.0]), "scale must be a number or have shape"),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()
