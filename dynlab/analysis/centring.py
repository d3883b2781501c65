"""Taking the mean off a series, and telling a constant series from its rounding."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def centred(x: Array) -> tuple[Array, Array]:
    """Series (..., T, F) with the mean of each over time taken off, and which channels are constant (F,).

    A channel whose range (the largest over the leading axes) is within rounding of its size, 4 machine epsilons, is
    constant and becomes exactly 0: a rounded mean would leave the rounding of a constant like 0.1 behind. One that is
    not finite is not constant, and stays not finite. The mean is taken off twice, since the first is rounded.
    """
    lead = tuple(range(x.ndim - 1))
    size = jnp.max(jnp.abs(x), axis=lead)
    spread = jnp.max(jnp.max(x, axis=-2) - jnp.min(x, axis=-2), axis=lead[:-1])
    constant = jnp.isfinite(spread) & (spread <= 4 * jnp.finfo(x.dtype).eps * size)
    y = x - jnp.mean(x, axis=-2, keepdims=True)
    y = y - jnp.mean(y, axis=-2, keepdims=True)
    return jnp.where(constant, 0.0, y), constant
