r"""Is a list of fixed points complete? Two cheap diagnostics.

**Index sum.** A continuous map that takes a ball into itself (any network of saturating units) and has only regular
fixed points satisfies

.. math:: \sum_{z^*} \operatorname{sign}\det\big(I - J(z^*)\big) = 1

(the Lefschetz number, or the Brouwer degree of the identity minus the map). Another sum proves that points are
missing; a sum of 1 does not prove that none is.

**Unseen points.** From the number of starts that ended in each point, :math:`\hat n = n + f_1^2 / (2 f_2)` with
:math:`f_1`, :math:`f_2` the points hit once and twice (Chao 1984, doi:10.2307/4615964); for :math:`f_2 = 0`
:math:`n + f_1 (f_1 - 1) / 2`. Basins are far from equal in size, so this is of the kind of a lower bound.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import tree

Array = jax.Array
CONSISTENT, INCOMPLETE, UNDEFINED = 0, 1, 2
KINK_PROBES = 4  # directions in which a point is probed for a kink
KINK_FLOOR = 100.0  # change of the slope, in units of its rounding, below which nothing is said
CHUNK = 64  # kept points at a time


@tree.dataclass
class Completeness:
    """What speaks for and against a set of fixed points being complete.

    Attributes:
        n_found: distinct fixed points. n_expected: Chao's estimate, at least n_found (a lower-bound style estimate).
        index_sum: sum of the indices of the regular fixed points; NaN where the sum is not defined.
        status: 0 the sum is 1, as it must be; 1 it is not: points are missing for certain; 2 not defined: the map is
            not known to be bounded, a fixed point is not regular (on a line of points, on a kink), or none was found.
    """

    n_found: Array
    n_expected: Array
    index_sum: Array
    status: Array


def assess(
    displacement: Any, z: Array, keep: Array, fixed: Array, hits: Array, size: Array, *, bounded: bool
) -> tuple[Array, Array, Completeness]:
    """Index and kink of every kept point, and the completeness of the fixed ones.

    Args:
        displacement: z -> f(z) - z, (n,) -> (n,). z: (K, n). keep, fixed: (K,) bool, points to look at, and those of
            them that are fixed. hits: (K,). size: RMS of a coordinate. bounded: static.

    Returns:
        ``(index (K,) int, kink (K,) bool, Completeness)``.
    """
    count = z.shape[0]
    probes = jnp.asarray(np.random.default_rng(0).normal(size=(KINK_PROBES, z.shape[1])), z.dtype)
    probes = probes / jnp.linalg.norm(probes, axis=1, keepdims=True)
    length = jnp.sqrt(jnp.finfo(z.dtype).eps * z.shape[1]) * size
    chunk = min(CHUNK, count)
    order = jnp.argsort(~keep, stable=True)  # kept points first: only they are looked at

    def one(point: Array) -> tuple[Array, Array]:
        slope = jax.jacfwd(displacement)(point)
        return index_of(-slope), on_kink(displacement, point, probes, length, jnp.linalg.norm(slope))

    def some(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        index, kink = carry
        rows = order[(i * chunk + jnp.arange(chunk)) % count]
        new_index, new_kink = jax.vmap(one)(z[rows])
        return index.at[rows].set(new_index), kink.at[rows].set(new_kink)

    start = (jnp.zeros(count, jnp.int32), jnp.zeros(count, bool))
    index, kink = jax.lax.fori_loop(0, (jnp.sum(keep) + chunk - 1) // chunk, some, start)
    kink = kink & keep
    index = jnp.where(fixed & ~kink, index, 0)
    return index, kink, completeness(index, fixed, hits, bounded=bounded)


def index_of(matrix: Array) -> Array:
    """Sign of the determinant of I - J (n, n); 0 where it is singular to half the digits (not a regular point)."""
    n = matrix.shape[0]
    lu, pivots = jax.scipy.linalg.lu_factor(matrix)
    diagonal = jnp.diagonal(lu)
    swaps = jnp.sum(pivots != jnp.arange(n)) + jnp.sum(diagonal < 0)
    size = jnp.abs(diagonal)
    regular = jnp.min(size) > jnp.sqrt(jnp.finfo(matrix.dtype).eps) * jnp.max(size)
    return jnp.where(regular, 1 - 2 * (swaps % 2), 0).astype(jnp.int32)


def on_kink(displacement: Any, point: Array, probes: Array, length: Array, size: Array) -> Array:
    """Whether the slope jumps at a point, which has no Jacobian then.

    The slopes on both sides of the point, at distance h and h/4 along a few directions, are compared: the difference
    shrinks with the distance for a smooth map and stays for a kink. `size` is that of the Jacobian, for the rounding.
    """

    def jump(direction: Array, distance: Array) -> Array:
        slope = lambda side: jax.jvp(displacement, (point + side * distance * direction,), (direction,))[1]  # noqa: E731
        return jnp.linalg.norm(slope(1.0) - slope(-1.0))

    far, near = (jax.vmap(lambda d, h=h: jump(d, h))(probes) for h in (length, length / 4))
    floor = KINK_FLOOR * jnp.finfo(point.dtype).eps * jnp.maximum(size, 1.0)
    return jnp.any((near > 0.5 * far) & (near > floor))


def completeness(index: Array, fixed: Array, hits: Array, *, bounded: bool) -> Completeness:
    """The two diagnostics from the indices, the mask of fixed points and the starts that ended in each, all (K,)."""
    found = jnp.sum(fixed)
    total = jnp.sum(jnp.where(fixed, index, 0))
    once, twice = jnp.sum(fixed & (hits == 1)), jnp.sum(fixed & (hits == 2))
    unseen = jnp.where(twice > 0, once**2 / (2 * jnp.maximum(twice, 1)), once * (once - 1) / 2)
    defined = (found > 0) & ~jnp.any(fixed & (index == 0)) if bounded else jnp.asarray(False)
    status = jnp.where(defined, jnp.where(total == 1, CONSISTENT, INCOMPLETE), UNDEFINED).astype(jnp.int32)
    dtype = jnp.result_type(float)
    index_sum = jnp.where(defined, total.astype(dtype), jnp.nan)
    return Completeness(found.astype(jnp.int32), found + unseen.astype(dtype), index_sum, status)
