"""The recurrent product x -> W x behind one interface: dense, fixed in-degree gather, roll, low rank.

Each form has ``apply(x)`` (one product), ``dense()`` (the matrix W, (N, N), acting from the left) and
``scaled(factor)``. They give equal results for the same weights; which one is used is a matter of speed only
(:func:`choose`).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree

Array = jax.Array
FORMS = ("auto", "dense", "gather", "roll")

# Measured on CPU (experiments/bench/recurrence): the gather wins over the dense product for networks in
# which each unit has few inputs (a larger share for one run than for a batch, which a dense product serves better).
GATHER_MIN_UNITS = 500
GATHER_MAX_CONNECTIVITY = 0.01


@tree.dataclass
class Dense:
    """W as a matrix (N, N). Under vmap over x the product is one matrix-matrix product."""

    matrix: Array

    @property
    def n_units(self) -> int:
        return self.matrix.shape[-1]

    def apply(self, x: Array) -> Array:
        return jnp.matmul(self.matrix, x, precision=jax.lax.Precision.HIGHEST)

    def dense(self) -> Array:
        return self.matrix

    def scaled(self, factor: Array | float) -> Dense:
        return Dense(self.matrix * factor)


@tree.dataclass
class Gather:
    """Fixed in-degree: (W x)_i = sum_k values[k, i] x[indices[k, i]], indices and values (K, N)."""

    indices: Array
    values: Array

    @property
    def n_units(self) -> int:
        return self.values.shape[-1]

    def apply(self, x: Array) -> Array:
        return jnp.sum(self.values * x[self.indices], axis=0)

    def dense(self) -> Array:
        n = self.n_units
        rows = jnp.broadcast_to(jnp.arange(n), self.indices.shape)
        return jnp.zeros((n, n), self.values.dtype).at[rows, self.indices].add(self.values)

    def scaled(self, factor: Array | float) -> Gather:
        return Gather(self.indices, self.values * factor)


@tree.dataclass
class Roll:
    """A cycle or delay line: (W x)_i = values[i] x[i - 1 mod N]; values[0] = 0 opens the cycle."""

    values: Array

    @property
    def n_units(self) -> int:
        return self.values.shape[-1]

    def apply(self, x: Array) -> Array:
        return self.values * jnp.roll(x, 1)

    def dense(self) -> Array:
        return jnp.roll(jnp.diag(self.values), -1, axis=1)

    def scaled(self, factor: Array | float) -> Roll:
        return Roll(self.values * factor)


@tree.dataclass
class LowRank:
    """W = left right^T, with left and right (N, R): two thin products instead of one with W."""

    left: Array
    right: Array

    @property
    def n_units(self) -> int:
        return self.left.shape[-2]

    def apply(self, x: Array) -> Array:
        inner = jnp.matmul(self.right.T, x, precision=jax.lax.Precision.HIGHEST)
        return jnp.matmul(self.left, inner, precision=jax.lax.Precision.HIGHEST)

    def dense(self) -> Array:
        return jnp.matmul(self.left, self.right.T, precision=jax.lax.Precision.HIGHEST)

    def scaled(self, factor: Array | float) -> LowRank:
        return LowRank(self.left * factor, self.right)


Recurrence = Dense | Gather | Roll | LowRank


def choose(drawn: Any, form: str) -> Recurrence:
    """Bring a drawn network into the wanted form ("auto": the fast one for its structure and size).

    Raises:
        ValueError: when the network has no such form (a dense matrix has no gather or roll form).
    """
    check.choice("recurrence", form, FORMS)
    if form == "auto":
        if isinstance(drawn, Gather):
            in_degree, n = drawn.values.shape
            sparse = n >= GATHER_MIN_UNITS and in_degree <= GATHER_MAX_CONNECTIVITY * n
            return drawn if sparse else Dense(drawn.dense())
        return drawn
    if form == "dense":
        return Dense(drawn.dense())
    if form == "gather" and isinstance(drawn, Roll):
        n = drawn.n_units
        return Gather((jnp.arange(n) - 1)[None] % n, drawn.values[None])
    if form != type(drawn).__name__.lower():
        raise ValueError(
            f"recurrence must be 'auto' or 'dense' for this topology (its network is drawn as "
            f"{type(drawn).__name__.lower()}), got {form!r}"
        )
    return drawn


def from_matrix(matrix: Any) -> Dense:
    """A recurrence from a user's (N, N) matrix."""
    out = check.array("matrix", matrix)
    if out.ndim != 2 or out.shape[0] != out.shape[1] or out.size == 0:
        raise ValueError(f"matrix must be square and not empty, got shape {np.shape(matrix)}")
    return Dense(out)
