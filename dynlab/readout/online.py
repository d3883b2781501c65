"""Readouts learned sample by sample: recursive least squares (RLS) and least mean squares (LMS)."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.readout.linear import Linear

Array = jax.Array


@tree.dataclass
class RLS:
    """State of recursive least squares.

    Attributes:
        weights: (F, D).
        inverse: (F, F), P = (sum of forgetting^age phi phi' + forgetting^T ridge I)^-1; symmetric.
    """

    weights: Any
    inverse: Any


@tree.dataclass
class Online:
    """What online learning over a series returns.

    Attributes:
        readout: the last :class:`Linear` (no intercept: append a constant feature for one).
        outputs: (time, D), the prediction of each sample *before* it was learned.
        state: RLS state or weights, to go on from.
    """

    readout: Any
    outputs: Any
    state: Any


def rls_init(n_features: int, n_outputs: int, ridge: Any = 1.0, weights: Any = None) -> RLS:
    """Start RLS: P = I / ridge; weights 0, or (F, D) as given."""
    check.integer("n_features", n_features, 1)
    check.integer("n_outputs", n_outputs, 1)
    check.scalar("ridge", ridge, 0.0, low_open=True)
    dtype = check.default_float()
    if weights is None:
        weights = jnp.zeros((n_features, n_outputs), dtype)
    else:
        weights = check.array("weights", weights)
        if weights.shape != (n_features, n_outputs):
            raise ValueError(f"weights must have shape {(n_features, n_outputs)}, got {weights.shape}")
    return RLS(weights, jnp.eye(n_features, dtype=dtype) / jnp.asarray(ridge, dtype))


def check_rls(name: str, value: Any, n_features: int, n_outputs: int) -> None:
    """Require an :class:`RLS` state of F features and D outputs."""
    if not isinstance(value, RLS):
        raise TypeError(f"{name} must be an RLS state (rls_init, or the state of a result), got {type(value).__name__}")
    got = jnp.shape(value.weights), jnp.shape(value.inverse)
    want = (n_features, n_outputs), (n_features, n_features)
    if got != want:
        raise ValueError(
            f"{name} must hold weights {want[0]} and inverse {want[1]} for {n_features} features and {n_outputs} "
            f"targets, got {got[0]} and {got[1]}"
        )


def rls_step(state: RLS, features: Array, target: Array, forgetting: Any = 1.0) -> RLS:
    """Learn one sample,

        k = P phi / (forgetting + phi'P phi),  W <- W + k (target - phi'W),  P <- (P - k phi'P) / forgetting.

    P - k phi'P is formed as P - (P phi)(P phi)' / c, which is symmetric to the last bit: float32 RLS loses positive
    definiteness through the asymmetry that the textbook form builds up. With forgetting 1 the weights equal ridge
    regression without intercept after every step.

    Args:
        features: (F,). target: (D,). forgetting: in (0, 1].
    """
    gain = jnp.matmul(state.inverse, features, precision="highest")
    scale = forgetting + jnp.dot(features, gain, precision="highest")
    error = target - jnp.matmul(features, state.weights, precision="highest")
    weights = state.weights + jnp.outer(gain / scale, error)
    root = gain * jax.lax.rsqrt(scale)
    inverse = (state.inverse - root[:, None] * root[None, :]) / forgetting
    return RLS(weights, inverse)


@jax.jit
def _rls(state: RLS, features: Array, targets: Array, forgetting: Array) -> tuple[RLS, Array]:
    def body(state: RLS, sample: tuple[Array, Array]) -> tuple[RLS, Array]:
        phi, y = sample
        return rls_step(state, phi, y, forgetting), jnp.matmul(phi, state.weights, precision="highest")

    return jax.lax.scan(body, state, (features, targets))


def rls(features: Any, targets: Any, *, ridge: Any = 1.0, forgetting: Any = 1.0, state: RLS | None = None) -> Online:
    """Recursive least squares over a series, one compiled scan.

    Args:
        features: (time, F). targets: (time, D).
        ridge: P starts at I / ridge (unused when `state` is given).
        forgetting: in (0, 1]; the memory is about 1 / (1 - forgetting) samples.
        state: go on from the `state` of an earlier result.

    Returns:
        :class:`Online`.
    """
    x, y = _series(features, targets)
    check.scalar("forgetting", forgetting, 0.0, 1.0, low_open=True)
    if state is None:
        state = rls_init(x.shape[1], y.shape[1], ridge)
    check_rls("state", state, x.shape[1], y.shape[1])
    state, outputs = _rls(state, x, y, jnp.asarray(forgetting, x.dtype))
    return Online(_readout(state.weights), outputs, state)


@partial(jax.jit, static_argnames="normalized")
def _lms(weights: Array, features: Array, targets: Array, rate: Array, *, normalized: bool) -> tuple[Array, Array]:
    def body(weights: Array, sample: tuple[Array, Array]) -> tuple[Array, Array]:
        phi, y = sample
        out = jnp.matmul(phi, weights, precision="highest")
        step = rate / (jnp.finfo(phi.dtype).eps + phi @ phi) if normalized else rate
        return weights + step * jnp.outer(phi, y - out), out

    return jax.lax.scan(body, weights, (features, targets))


def lms(
    features: Any, targets: Any, *, rate: Any = 1e-2, normalized: bool = False, weights: Any = None
) -> Online:
    """Least mean squares (the delta rule) over a series: W <- W + rate phi (target - phi'W)'.

    Stable for rate < 2 / (largest eigenvalue of E phi phi'); `normalized` divides the rate by phi'phi, stable below 2.

    Args:
        features: (time, F). targets: (time, D). rate: above 0. weights: (F, D) to start from, else 0.

    Returns:
        :class:`Online`, whose state is the weights.
    """
    x, y = _series(features, targets)
    check.scalar("rate", rate, 0.0, low_open=True)
    weights = rls_init(x.shape[1], y.shape[1], weights=weights).weights
    weights, outputs = _lms(weights, x, y, jnp.asarray(rate, x.dtype), normalized=bool(normalized))
    return Online(_readout(weights), outputs, weights)


def _series(features: Any, targets: Any) -> tuple[Array, Array]:
    x = check.series("features", features, batched=False)
    y = check.series("targets", targets, batched=False)
    check.same_length("targets", y, "features", x)
    return x, y


def _readout(weights: Array) -> Linear:
    return Linear(weights, jnp.zeros(weights.shape[1], weights.dtype))
