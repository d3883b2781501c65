"""Capacity of given targets: how much of each is a linear function of the states, and which values are chance."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check
from dynlab.analysis.centring import centred
from dynlab.analysis.targets import product

Array = jax.Array

THRESHOLDS = ("chi2", "surrogate", None)
CHUNK = 64  # targets evaluated at once
RANK_TOLERANCE = 8.0  # rounding units of the largest singular value; dependent features leave up to 3.3 (measured)

_mm = partial(jnp.matmul, precision="highest")


def state_basis(states: Array) -> tuple[Array, Array]:
    """Orthonormal time courses that span the centred features.

    Each feature is centred (a readout has a bias) and brought to unit power, so that neither offset nor scale of a
    feature matters. Then Householder QR and the SVD of its small factor; directions below ``RANK_TOLERANCE`` rounding
    units of the largest hold rounding only and become zero rows. No Gram matrix is formed: it would lose every
    direction below the square root of the rounding unit.

    Args:
        states: (T, N), finite, T > N.

    Returns:
        ``(rows, rank)``: (N, T) with `rank` orthonormal rows, the others zero; rank as int32.
    """
    eps = jnp.finfo(states.dtype).eps
    largest = jnp.max(jnp.abs(states), axis=0)
    x, _ = centred(states / jnp.where(largest > 0, largest, 1.0))
    power = jnp.mean(x * x, axis=0)
    x = x * jnp.where(power > 0, jax.lax.rsqrt(jnp.where(power > 0, power, 1.0)), 0.0)
    q, r = jnp.linalg.qr(x)
    u, s, _ = jnp.linalg.svd(r, full_matrices=False)
    keep = s > RANK_TOLERANCE * eps * s[0]
    return jnp.where(keep[:, None], _mm(u.T, q.T), 0.0), jnp.sum(keep).astype(jnp.int32)


def project(rows: Array, z: Array) -> tuple[Array, Array]:
    r"""Capacity and expected chance capacity of each target.

    A target that the states do not hold has, in a finite series, the expected capacity

    .. math:: b = \frac{\sum_t z(t)^2\, h(t)}{\sum_t z(t)^2}, \qquad h(t) = \sum_j \mathrm{rows}_{j}(t)^2,

    h being the leverage of sample t (White 1980, doi:10.2307/1912934: the same idea for standard errors). For a target
    independent of the size of the states b = r / T, the value usually taken; products of several recent inputs are
    large where the states are, and b is up to 2.3 times that (measured, tanh units).

    Args:
        rows: (N, T) of :func:`state_basis`. z: (..., T).

    Returns:
        ``(capacity, b)``: ``|rows z|^2 / |z|^2`` with z centred, and b; both 0 for a constant target.
    """
    z = z - jnp.mean(z, axis=-1, keepdims=True)
    square = z * z
    power = jnp.sum(square, axis=-1)
    inverse = jnp.where(power > 0, 1.0 / jnp.where(power > 0, power, 1.0), 0.0)
    found = jnp.sum(_mm(rows, jnp.swapaxes(z, -1, -2)) ** 2, axis=-2)
    return found * inverse, _mm(square, jnp.sum(rows * rows, axis=0)) * inverse


def in_chunks(evaluate: Callable[[Array], Any], items: Array) -> Any:
    """``evaluate(items)``, ``CHUNK`` items at a time, so that memory is bounded; results have the leading axis too."""
    size = items.shape[0]
    chunk = min(CHUNK, size)
    padded = jnp.concatenate([items, jnp.zeros((-size % chunk, *items.shape[1:]), items.dtype)])
    out = jax.lax.map(evaluate, padded.reshape(-1, chunk, *items.shape[1:]))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:size], out)


@lru_cache(maxsize=16)
def _chi2_quantiles(n_features: int, p: float) -> np.ndarray:
    """x with P(chi2_r > x) = p for r = 0 ... n_features."""
    from scipy.special import chdtri  # a dependency of jax

    return np.concatenate([[0.0], chdtri(np.arange(1.0, n_features + 1), p)])


def chi2_threshold(rank: Array, n_features: int, n_samples: int, p: float, dtype: Any) -> Array:
    """The capacity that chance exceeds with probability p, for `rank` independent features."""
    return jnp.asarray(_chi2_quantiles(n_features, p), dtype)[rank] / n_samples


def surrogate_thresholds(
    rows: Array, table: Array, key: Array, representative: np.ndarray, longest: int, n_surrogates: int
) -> Array:
    """The largest capacity of each family over shuffled inputs: (families,)."""

    def one(key: Array) -> Array:
        shuffled = jax.random.permutation(key, table, axis=1)
        z = jnp.stack([product(shuffled, factors, longest) for factors in representative])
        return project(rows, z)[0]

    return jnp.max(jax.lax.map(one, jax.random.split(key, n_surrogates)), axis=0)


def settle(
    raw: Array, chance: Array, limits: Array, rank: Array, n_samples: int, adjust: bool, clip: bool
) -> tuple[Array, Array, Array, Array]:
    """Threshold, correct the bias, truncate at the rank.

    Without `clip` (no threshold) corrected capacities below 0 stay: the sum over many empty targets is 0 on average.

    Returns:
        ``(capacities, thresholds, n_discarded, n_truncated)``.
    """
    if adjust:
        limits = limits * chance * n_samples / jnp.maximum(rank, 1)
        chance = jnp.minimum(chance * n_samples / (n_samples - 1), 0.99)
        value = 1.0 - (1.0 - raw) / (1.0 - chance)
    else:
        value = raw
    significant = raw > limits
    value = jnp.where(significant, jnp.clip(value, 0.0 if clip else None, 1.0), 0.0)
    order = jnp.argsort(-value)
    room = rank * (1 + 8 * jnp.finfo(value.dtype).eps)  # N capacities of 1, with their rounding, fit
    below = (jnp.cumsum(value[order]) <= room) & (value[order] >= 0)
    fits = jnp.zeros_like(significant).at[order].set(below | (jnp.sum(value) <= room))
    n_truncated = jnp.sum(significant & ~fits, dtype=jnp.int32)
    return jnp.where(fits, value, 0.0), limits, jnp.sum(~significant, dtype=jnp.int32), n_truncated


def check_threshold(threshold: Any, p: Any, n_surrogates: Any, scale: Any) -> None:
    """Refuse an unknown threshold and settings of one that mean nothing."""
    check.choice("threshold", threshold, THRESHOLDS)
    if check.is_traced(p):
        raise TypeError("p must be a number known before tracing")
    check.scalar("p", p, 0.0, 1.0, low_open=True)
    check.integer("n_surrogates", n_surrogates, 1)
    check.scalar("scale", scale, 0.0, low_open=True)


def check_samples(n_samples: int, n_features: int) -> None:
    """A least-squares fit needs more samples than unknowns."""
    if n_samples <= n_features + 1:
        raise ValueError(f"n_samples must be above the number of features + 1 ({n_features + 1}), got {n_samples}")
