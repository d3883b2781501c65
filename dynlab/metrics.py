"""Errors of a prediction: mse, rmse, nrmse, r2 and the valid prediction time of a forecast.

All take series (time, features), with any leading batch axes, and return one number per feature (per series); take
the mean yourself. Jittable; shapes are checked, values are not (a NaN in gives a NaN out, except where noted).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check

Array = jax.Array

NORMS = ("std", "range", "mean")


def _pair(prediction: Any, target: Any, names: tuple[str, str] = ("prediction", "target")) -> tuple[Array, Array]:
    pair = [check.array(name, value, finite=False) for name, value in zip(names, (prediction, target), strict=True)]
    for name, value in zip(names, pair, strict=True):
        if value.ndim < 2:
            raise ValueError(
                f"{name} must have shape (..., time, features), got {value.shape}: for one channel use {name}[:, None]"
            )
        if 0 in value.shape:
            raise ValueError(f"{name} must not be empty, got shape {value.shape}")
    if pair[0].shape != pair[1].shape:
        raise ValueError(f"{names[0]} and {names[1]} must have the same shape, got {pair[0].shape} and {pair[1].shape}")
    return pair[0], pair[1]


def mse(prediction: Any, target: Any) -> Array:
    """Mean squared error over time: (..., time, features) -> (..., features)."""
    p, y = _pair(prediction, target)
    return jnp.mean((p - y) ** 2, axis=-2)


def rmse(prediction: Any, target: Any) -> Array:
    """Root mean squared error over time: (..., time, features) -> (..., features)."""
    return jnp.sqrt(mse(prediction, target))


def nrmse(prediction: Any, target: Any, norm: str = "std") -> Array:
    """RMSE over a scale of the target, each feature by its own: (..., time, features) -> (..., features).

    Args:
        norm: "std" (standard deviation of the target, the common definition), "range" (max - min; reservoirpy's
            default) or "mean" (absolute value of the mean). A target whose scale is 0 gives inf, or NaN when the
            prediction is exact too.
    """
    check.choice("norm", norm, NORMS)
    p, y = _pair(prediction, target)
    if norm == "std":
        scale = jnp.std(y, axis=-2)
    elif norm == "range":
        scale = jnp.max(y, axis=-2) - jnp.min(y, axis=-2)
    else:
        scale = jnp.abs(jnp.mean(y, axis=-2))
    return jnp.sqrt(jnp.mean((p - y) ** 2, axis=-2)) / scale


def r2(prediction: Any, target: Any) -> Array:
    """Coefficient of determination 1 - MSE / Var(target): (..., time, features) -> (..., features); -inf to 1."""
    p, y = _pair(prediction, target)
    return 1.0 - jnp.mean((p - y) ** 2, axis=-2) / jnp.var(y, axis=-2)


def _refuse_constant(truth: Array) -> None:
    if check.is_traced(truth):
        return
    host = np.asarray(truth)
    constant = np.argwhere((host == host[..., :1, :]).all(axis=-2))
    if len(constant):
        where = tuple(int(i) for i in constant[0])
        place = f"feature {where[-1]}" + (f" of series {where[:-1]}" if len(where) > 1 else "")
        raise ValueError(
            f"scale must be given when a feature of truth is constant (its standard deviation is 0), got {place} "
            f"constant at {host[(*where[:-1], 0, where[-1])]}"
        )


def valid_prediction_time(
    forecast: Any, truth: Any, *, dt: float = 1.0, threshold: float = 0.4, lyapunov_exponent: float | None = None,
    scale: Any = None,
) -> Array:
    """How long a forecast stays close: the first time at which the normalised error exceeds `threshold`,

        e(t) = sqrt(mean over features of ((forecast - truth)(t) / scale)^2).

    A number means something only with threshold, norm and exponent beside it; give medians over seeds and starts.
    Sample 0 lies one `dt` after the last known one, so that a forecast wrong at once scores 0 and one that is right
    throughout scores ``time * dt`` (a lower bound). A forecast that turns NaN counts as wrong from there on.

    Args:
        forecast, truth: (..., time, features).
        dt: time between samples.
        threshold: 0.4 here; 0.3 and 0.5 are seen too.
        lyapunov_exponent: largest exponent per unit of time: the result is then in Lyapunov times, t * lambda_1.
        scale: (features,) by which errors are divided; None: the standard deviation of `truth` over time, per
            feature (of the attractor, better, when `truth` is short): refused for a constant feature, which has none.

    Returns:
        (...): one time per series.
    """
    f, y = _pair(forecast, truth, ("forecast", "truth"))
    check.number("dt", dt, 0.0, low_open=True)
    check.number("threshold", threshold, 0.0, low_open=True)
    if lyapunov_exponent is not None:
        check.number("lyapunov_exponent", lyapunov_exponent, 0.0, low_open=True)
    if scale is None:
        _refuse_constant(y)
        scale = jnp.std(y, axis=-2, keepdims=True)
    else:
        check.number("scale", scale, 0.0, low_open=True)
        scale = check.array("scale", scale)
        if scale.ndim > 1 or scale.shape not in ((), (1,), y.shape[-1:]):
            raise ValueError(f"scale must be a number or have shape {y.shape[-1:]}, got {scale.shape}")
    error = jnp.sqrt(jnp.mean(((f - y) / scale) ** 2, axis=-1))
    good = jnp.cumprod(error <= threshold, axis=-1)  # NaN compares as wrong
    return good.sum(axis=-1) * dt * (1.0 if lyapunov_exponent is None else lyapunov_exponent)
