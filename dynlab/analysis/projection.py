"""The least-squares problem behind a fit of exponentials, with the weights solved for (variable projection)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynlab import tree

Array = jax.Array


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, axis=-1)  # full precision on every backend, which a matrix product has not


def timescales_of(z: Array) -> Array:
    """Two timescales in lags, slowest first, from z = (ln tau, logit of the ratio of the second to the first)."""
    return jnp.exp(z[0]) * jnp.stack([jnp.ones_like(z[0]), jax.nn.sigmoid(z[1])])


def _unit(vector: Array, like: Array) -> tuple[Array, Array]:
    """A vector (L,) over its norm, and 1 / norm; zeros where it is nothing beside `like`, of which it is a part."""
    power = _dot(vector, vector)
    keep = power > (16 * jnp.finfo(vector.dtype).eps) ** 2 * _dot(like, like)
    inverse = jnp.where(keep, jax.lax.rsqrt(jnp.where(keep, power, 1.0)), 0.0)
    return vector * inverse, inverse


@tree.dataclass
class Problem:
    """The data of one fit: y (L,) at lags t (L,); whether there is an offset, and a second exponential (scalar bools).

    With an offset everything is taken about its mean over the lags, which solves for the offset.
    """

    y: Array
    t: Array
    offset: Array
    two: Array

    def centre(self, rows: Array) -> Array:
        """Rows (..., L) beside the constant, where it is in the model."""
        return rows - jnp.where(self.offset, jnp.mean(rows, axis=-1, keepdims=True), 0.0)

    def solve(self, tau: Array) -> tuple[Array, Array, Array]:
        """The best weights (2,) for given timescales (2,), by Gram-Schmidt, with residual (L,) and basis (2, L)."""
        raw = jnp.exp(-self.t / tau[:, None]) * jnp.stack([jnp.ones_like(self.two), self.two])[:, None]
        y, columns = self.centre(self.y), self.centre(raw)
        first, inverse_first = _unit(columns[0], raw[0])
        overlap = _dot(first, columns[1])
        second, inverse_second = _unit(columns[1] - overlap * first, raw[1])
        along_first, along_second = _dot(first, y), _dot(second, y)
        fast = along_second * inverse_second
        slow = (along_first - overlap * fast) * inverse_first
        return jnp.stack([slow, fast]), y - along_first * first - along_second * second, jnp.stack([first, second])

    def __call__(self, z: Array) -> Array:
        """The residual as a function of z (2,), which is what levenberg takes."""
        return _residual(z, self)


@jax.custom_jvp
def _residual(z: Array, problem: Problem) -> Array:
    """What the best weights leave of y (L,): a function of the timescales alone."""
    return problem.solve(timescales_of(z))[1]


@_residual.defjvp
def _residual_jvp(primals: tuple[Array, Problem], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    """Kaufman's tangent (1975, doi:10.1007/BF01932995): the weights held, the column space left out.

    The part it drops lies in the column space, so the gradient of the sum of squares is exact. Valid for z alone: the
    problem is a constant.
    """
    z, problem = primals
    tau, turn = jax.jvp(timescales_of, (z,), (tangents[0],))
    weights, rest, (first, second) = problem.solve(tau)
    t = problem.t
    change = problem.centre(jnp.sum((weights * turn / tau**2)[:, None] * t * jnp.exp(-t / tau[:, None]), axis=0))
    return rest, -(change - _dot(first, change) * first - _dot(second, change) * second)
