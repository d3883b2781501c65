"""Sorting: say the order of some numbers, one at a time, and when."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynlab import check, tree

Array = jax.Array


@tree.dataclass
class Unsorted:
    """A batch of number lists and the order that sorts them.

    Attributes:
        values: (B, N). order: (B, N) int32, ``values[b, order[b]]`` rises.
    """

    values: Array
    order: Array


@tree.dataclass
class Sorting:
    r"""N normal numbers, all shown at once; the answer is the list of their indices from smallest to largest.

    The model emits one of N indices or nothing (a blank) at each tick; the connectionist temporal classification loss
    (:func:`ctc_loss`) leaves the timing to it. Source: Darlow et al. 2025, arXiv:2505.05522 (N = 30).

    Attributes:
        n_values: N (static). spread: standard deviation of the numbers (knob).
    """

    n_values: int = tree.static(default=30)
    spread: float = 1.0

    def batch(self, key: Array, size: int) -> Unsorted:
        """Draw `size` lists.

        Raises:
            ValueError, TypeError: sizes below 1, a spread that is not positive, an untyped key.
        """
        check.key("key", key)
        check.integer("n_values", self.n_values, 1)
        check.integer("size", size, 1)
        check.scalar("spread", self.spread, 0.0, low_open=True)
        values = self.spread * jax.random.normal(key, (size, self.n_values), check.default_float())
        return Unsorted(values, jnp.argsort(values, axis=1).astype(jnp.int32))


def ctc_loss(logits: Array, labels: Array) -> Array:
    """Connectionist temporal classification loss of each answer (nats), by optax; the blank is the last class.

    Args:
        logits: (B, T, K + 1). labels: (B, N) integers in [0, K), N <= T.

    Returns:
        (B,).

    Raises:
        ValueError: shapes that do not fit, more labels than ticks.
    """
    import optax

    if jnp.ndim(logits) != 3 or jnp.ndim(labels) != 2 or logits.shape[0] != labels.shape[0]:
        raise ValueError("logits must have shape (batch, ticks, classes) and labels (batch, length), got "
                         f"{jnp.shape(logits)} and {jnp.shape(labels)}")
    if labels.shape[1] > logits.shape[1]:
        raise ValueError(f"labels must not be longer than the {logits.shape[1]} ticks, got {labels.shape[1]}")
    blank = logits.shape[-1] - 1
    none = jnp.zeros(logits.shape[:2], logits.dtype)
    return optax.ctc_loss(logits, none, labels, jnp.zeros(labels.shape, logits.dtype), blank_id=blank)


def ctc_decode(logits: Array, length: int) -> tuple[Array, Array, Array]:
    """The most likely path, with repetitions and then blanks (the last class) dropped.

    Args:
        logits: (B, T, K + 1). length: most symbols to return (static).

    Returns:
        ``(symbols, ticks, counts)``: (B, length) int32, -1 where the answer is shorter; the tick at which each was
        said (from 0, -1 for none); and (B,) how many were said, which may exceed `length`.

    Raises:
        ValueError, TypeError: shapes that do not fit, a length below 1.
    """
    if jnp.ndim(logits) != 3:
        raise ValueError(f"logits must have shape (batch, ticks, classes), got {jnp.shape(logits)}")
    check.integer("length", length, 1)
    path = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    before = jnp.concatenate([jnp.full_like(path[:, :1], -1), path[:, :-1]], axis=1)
    said = (path != before) & (path != logits.shape[-1] - 1)
    place = jnp.where(said, jnp.cumsum(said, axis=1) - 1, length)  # past the end for those not said
    rows = jnp.arange(path.shape[0])[:, None]
    blank = jnp.full((path.shape[0], length), -1, jnp.int32)
    ticks = jnp.broadcast_to(jnp.arange(path.shape[1], dtype=jnp.int32), path.shape)
    put = lambda values: blank.at[rows, place].set(values, mode="drop")  # noqa: E731
    return put(path), put(ticks), jnp.sum(said, axis=1)
