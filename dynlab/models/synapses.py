"""Synapses as a list, and the forms in which their product is computed: dense, lists of inputs (ELL), edges, rows.

A product maps the outputs y of the sources (n_pre,) to the input of the targets (n_post,). With delays it reads y as it
was some whole steps ago, from a ring buffer of the last vectors.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree

Array = jax.Array
FORMS = ("dense", "ell", "edges", "csr")


@tree.dataclass
class Synapses:
    """A list of E synapses: synapse e leads from unit ``pre[e]`` to unit ``post[e]``.

    Attributes:
        pre, post: (E,) int32. weight: (E,). delay: (E,) int32, steps from the spike to the first effect beyond that of
            a synapse without delay, or None for none anywhere.
        n_pre, n_post: numbers of sources and targets (static).
    """

    pre: Array
    post: Array
    weight: Array
    delay: Array | None = None
    n_pre: int = tree.static(default=0)
    n_post: int = tree.static(default=0)


def synapses(pre: Any, post: Any, weight: Any, n_pre: int, n_post: int, delay: Any = None) -> Synapses:
    """A checked list of synapses.

    Raises:
        ValueError, TypeError: indices out of range or not integer, lengths that differ, weights not finite, negative
            delays.
    """
    check.integer("n_pre", n_pre, 1)
    check.integer("n_post", n_post, 1)
    columns = {"pre": np.asarray(pre), "post": np.asarray(post)}
    if delay is not None:
        columns["delay"] = np.asarray(delay)
    size = columns["pre"].shape
    for name, column in columns.items():
        if column.size and column.dtype.kind not in "iu":
            raise TypeError(f"{name} must be whole numbers, got dtype {column.dtype}")
        if column.ndim != 1 or column.shape != size:
            raise ValueError(f"{name} must have shape {size} like pre, got {column.shape}")
        top = {"pre": n_pre - 1, "post": n_post - 1}.get(name, np.inf)
        if column.size and (column.min() < 0 or column.max() > top):
            raise ValueError(f"{name} must be in [0, {top}], got {column.min()} to {column.max()}")
    values = check.array("weight", weight)
    if values.shape not in ((), size):
        raise ValueError(f"weight must be a number or have shape {size}, got {values.shape}")
    index = {name: jnp.asarray(column, jnp.int32) for name, column in columns.items()}
    return Synapses(index["pre"], index["post"], jnp.broadcast_to(values, size), index.get("delay"), n_pre, n_post)


def from_dense(matrix: Any, delay: Any = None) -> Synapses:
    """The list of the non-zero weights of a matrix (n_post, n_pre), target by target; `delay` of the same shape."""
    weights = np.asarray(matrix)
    if weights.ndim != 2:
        raise ValueError(f"matrix must have shape (n_post, n_pre), got {weights.shape}")
    post, pre = np.nonzero(weights)
    late = None if delay is None else np.asarray(delay)[post, pre]
    return synapses(pre, post, weights[post, pre], weights.shape[1], weights.shape[0], late)


@tree.dataclass
class Dense:
    """One matrix for each delay: (delays, n_post, n_pre). Under ``vmap`` over y, matrix-matrix products."""

    matrix: Array

    @property
    def weight(self) -> Array:
        """The matrices."""
        return self.matrix

    def with_weight(self, weight: Array) -> Dense:
        """The same synapses with other weights, shaped like `weight`."""
        return Dense(weight)

    def of_sources(self, *values: Array) -> list[Array]:
        """Values of the sources, each (n_pre,), as they stand against `weight`."""
        return list(values)

    def of_targets(self, values: Array) -> Array:
        """Values of the targets (n_post,) as they stand against `weight`."""
        return values[:, None]

    def apply(self, past: Past) -> Array:
        """(n_post,)."""
        if self.matrix.shape[0] == 1:
            return jnp.matmul(self.matrix[0], past.now, precision=jax.lax.Precision.HIGHEST)
        return jnp.einsum("dij,dj->i", self.matrix, past.ordered(), precision=jax.lax.Precision.HIGHEST)


@tree.dataclass
class Ell:
    """The inputs of each target as columns of equal length K, filled up with weight 0: pre, weight (K, n_post)."""

    pre: Array
    weight: Array
    delay: Array | None = None

    def with_weight(self, weight: Array) -> Ell:
        """The same synapses with other weights (K, n_post)."""
        return Ell(self.pre, weight, self.delay)

    def of_sources(self, *values: Array) -> list[Array]:
        """Values of the sources, each (n_pre,), as they stand against `weight`: each (K, n_post)."""
        line = jnp.concatenate(values)  # held in memory: the compiler would compute values anew for every synapse
        return [line[self.pre + number * values[0].shape[0]] for number in range(len(values))]

    def of_targets(self, values: Array) -> Array:
        """Values of the targets (n_post,) as they stand against `weight`."""
        return values

    def dense(self, n_pre: int) -> Dense:
        """The same synapses as a matrix, where there are no delays."""
        if self.delay is not None:
            raise ValueError("delay must be None, got delays: build the matrices with to_form")
        columns = jnp.broadcast_to(jnp.arange(self.weight.shape[1]), self.weight.shape)
        matrix = jnp.zeros((self.weight.shape[1], n_pre), self.weight.dtype)
        return Dense(matrix.at[columns, self.pre].add(self.weight)[None])

    def apply(self, past: Past) -> Array:
        """(n_post,)."""
        return jnp.sum(self.weight * past.read(self.pre, self.delay), axis=0)


@tree.dataclass
class Edges:
    """The list itself, sorted by target."""

    synapses: Synapses

    def apply(self, past: Past) -> Array:
        """(n_post,)."""
        s = self.synapses
        return jax.ops.segment_sum(s.weight * past.read(s.pre, s.delay), s.post, s.n_post, indices_are_sorted=True)


@jax.custom_batching.custom_vmap
def _sparse_product(weight: Array, pre: Array, start: Array, y: Array) -> Array:
    """The compressed rows times y (n_pre, ...): (n_post, ...)."""
    from jax.experimental.sparse import BCSR

    matrix = BCSR((weight, pre, start), shape=(start.shape[0] - 1, y.shape[0]))
    return (matrix @ y.reshape(y.shape[0], -1)).reshape(-1, *y.shape[1:])


@_sparse_product.def_vmap
def _sparse_product_of_a_batch(
    size: int, batched: list[bool], weight: Array, pre: Array, start: Array, y: Array
) -> tuple[Array, bool]:
    """A batch of vectors is a matrix: one product. A batch of weights goes one by one."""
    if any(batched[:3]):
        rows = [leaf if own else jnp.broadcast_to(leaf, (size, *leaf.shape))
                for leaf, own in zip((weight, pre, start, y), batched, strict=True)]
        return jax.lax.map(lambda row: _sparse_product(*row), tuple(rows)), True
    return jnp.moveaxis(_sparse_product(weight, pre, start, jnp.moveaxis(y, 0, 1)), 1, 0), True


@tree.dataclass
class Csr:
    """Compressed rows: the synapses of target i are weight[start[i] : start[i + 1]]; for batches on the CPU.

    No delays, and no derivatives.
    """

    pre: Array
    weight: Array
    start: Array

    def apply(self, past: Past) -> Array:
        """(n_post,)."""
        return _sparse_product(self.weight, self.pre, self.start, past.now)


@tree.dataclass
class Past:
    """The outputs of the sources now (n_pre,), and, where there are delays, the last ones: a ring (D, n_pre) whose row
    `head` is that of now."""

    now: Array
    ring: Array | None = None
    head: Array | None = None

    def read(self, pre: Array, delay: Array | None) -> Array:
        """Output of the sources `pre`, `delay` steps ago."""
        if self.ring is None or self.head is None or delay is None:
            return self.now[pre]
        return self.ring[(self.head - delay) % self.ring.shape[0], pre]

    def ordered(self) -> Array:
        """The ring with delay as its first axis."""
        if self.ring is None or self.head is None:
            return self.now[None]
        return self.ring[(self.head - jnp.arange(self.ring.shape[0])) % self.ring.shape[0]]


Form = Dense | Ell | Edges | Csr


def max_delay(s: Synapses) -> int:
    """The longest delay of a concrete list, 0 without."""
    return 0 if s.delay is None or s.delay.size == 0 else int(np.max(np.asarray(s.delay)))


def to_form(s: Synapses, form: str) -> Form:
    """The list in one of :data:`FORMS`; equal products up to the order of sums. Concrete lists only."""
    check.choice("form", form, FORMS)
    pre, post, weight = (np.asarray(leaf) for leaf in (s.pre, s.post, s.weight))
    delay = None if s.delay is None else np.asarray(s.delay)
    if form == "dense":
        matrix = np.zeros((max_delay(s) + 1, s.n_post, s.n_pre), weight.dtype)
        np.add.at(matrix, (np.zeros_like(pre) if delay is None else delay, post, pre), weight)
        return Dense(jnp.asarray(matrix))
    order = np.argsort(post, kind="stable")
    pre, post, weight = pre[order], post[order], weight[order]
    delay = None if delay is None else delay[order]
    if form == "edges":
        late = None if delay is None else jnp.asarray(delay)
        return Edges(Synapses(jnp.asarray(pre), jnp.asarray(post), jnp.asarray(weight), late, s.n_pre, s.n_post))
    counts = np.bincount(post, minlength=s.n_post)
    if form == "csr":
        if delay is not None and delay.any():
            raise ValueError("form must be 'dense', 'ell' or 'edges' with delays, got 'csr'")
        start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return Csr(jnp.asarray(pre), jnp.asarray(weight), jnp.asarray(start))
    row = np.arange(post.size) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (max(1, int(counts.max(initial=0))), s.n_post)

    def column(values: np.ndarray) -> Array:
        out = np.zeros(shape, values.dtype)
        out[row, post] = values
        return jnp.asarray(out)

    return Ell(column(pre), column(weight), None if delay is None else column(delay))
