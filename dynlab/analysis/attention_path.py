"""Where a network looks from tick to tick: centre, spread and direction of its attention."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree

Array = jax.Array


@tree.dataclass
class AttentionPath:
    """Attention of each head over the ticks.

    Attributes:
        centre: (..., T, heads), centre of mass. peak: int32 (..., T, heads), the token with the largest weight.
        entropy: (..., T, heads), nats: 0 for one token, ln N for all alike; its exponential counts tokens.
        slope: (..., heads), of a line through the centre, in coordinates per tick: above 0 it sweeps forward.
        direction: (..., heads), correlation of centre and tick, in [-1, 1]: how steadily; NaN where it does not move.
    """

    centre: Array
    peak: Array
    entropy: Array
    slope: Array
    direction: Array


def attention_path(weights: Any, coordinates: Any = None) -> AttentionPath:
    r"""The path of attention over tokens.

    .. math:: m_t = \frac{\sum_n w_{tn} x_n}{\sum_n w_{tn}}, \qquad H_t = -\sum_n \hat w_{tn} \ln \hat w_{tn}

    with :math:`\hat w` the weights over their sum.

    Args:
        weights: (..., T, heads, N), at least 0, such as ``think(..., record=("attention",)).records["attention"]``.
        coordinates: (N,), where the tokens are; default 0 to N - 1. For a grid call once with the rows of its tokens
            and once with their columns.

    Returns:
        :class:`AttentionPath`. Works under jit and vmap.

    Raises:
        ValueError: fewer than 2 ticks, an empty axis, negative weights, NaN, coordinates of another number.
    """
    weights = check.array("weights", weights)
    if weights.ndim < 3 or 0 in weights.shape or weights.shape[-3] < 2:
        raise ValueError("weights must have shape (..., ticks, heads, tokens) with at least 2 ticks and not be empty, "
                         f"got {weights.shape}")
    check.number("weights", weights, 0.0)
    n = weights.shape[-1]
    coordinates = check.array("coordinates", jnp.arange(n) if coordinates is None else coordinates)
    if coordinates.shape != (n,):
        raise ValueError(f"coordinates must have shape ({n},), one a token, got {coordinates.shape}")
    return _path(weights, coordinates)


@jax.jit
def _path(weights: Array, coordinates: Array) -> AttentionPath:
    total = jnp.sum(weights, axis=-1, keepdims=True)
    share = weights / total
    middle = jnp.mean(coordinates)  # taken off, so that far coordinates lose no digits
    centre = jnp.sum(share * (coordinates - middle), axis=-1)
    inside = share > 0
    entropy = -jnp.sum(jnp.where(inside, share * jnp.log(jnp.where(inside, share, 1.0)), 0.0), axis=-1)
    n_ticks = weights.shape[-3]
    ticks = jnp.arange(n_ticks, dtype=share.dtype)[:, None] - (n_ticks - 1) / 2
    off = centre - jnp.mean(centre, axis=-2, keepdims=True)
    common, clock, own = jnp.sum(ticks * off, axis=-2), jnp.sum(ticks**2), jnp.sum(off**2, axis=-2)
    extent = jnp.max(jnp.abs(coordinates - middle))
    moves = own > n_ticks * (4 * jnp.finfo(share.dtype).eps * extent) ** 2
    direction = jnp.where(moves, common / jnp.sqrt(clock * jnp.where(moves, own, 1.0)), jnp.nan)
    peak = jnp.argmax(weights, axis=-1).astype(jnp.int32)
    entropy = jnp.where(total[..., 0] > 0, jnp.maximum(entropy, 0.0), jnp.nan)
    return AttentionPath(centre + middle, peak, entropy, common / clock, jnp.clip(direction, -1.0, 1.0))
