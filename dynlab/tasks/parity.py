"""Two memory tasks on bits, answered for many N at once: N-parity and N-delayed match to sample."""

from __future__ import annotations

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.tasks.base import Trial

Array = jax.Array
FIRST_N = 2  # the first head answers N = 2
LENGTH_ROLE = zlib.crc32(b"length")  # a number for the key of the length, far from those of anything else


@tree.dataclass
class Bits:
    """A batch of bit sequences that end at the last step and begin at `start`, with the answers for every N.

    Attributes:
        inputs: (B, T, 1), 0 or 1; 0 before `start`.
        labels: (B, H) int32, 0 or 1, the answer after the last step for N = 2 .. H + 1.
        start: int32, the first step; all sequences of a batch have the same length, T - start.
    """

    inputs: Array
    labels: Array
    start: Array


class _BitTask:
    """What the two share: lengths, bits and checks. Abstract."""

    n: Any
    max_n: int
    length: int | None
    probability: Any

    @property
    def n_heads(self) -> int:
        """Answers, one for each N = 2 .. max_n."""
        return self.max_n - FIRST_N + 1

    @property
    def n_steps(self) -> int:
        """T: `length`, or the longest sequence of the published rule, 4 max_n + 1."""
        return 4 * self.max_n + 1 if self.length is None else self.length

    def _check(self, key: Array) -> None:
        check.key("key", key)
        check.integer("max_n", self.max_n, FIRST_N)
        if np.ndim(self.n) != 0:
            raise ValueError(f"n must be one number, got shape {np.shape(self.n)}; to try several use jax.vmap")
        if not check.is_traced(self.n):
            check.number("n", self.n, 1)
            check.integer("n", int(self.n), FIRST_N, self.max_n)
        if self.length is not None:
            check.integer("length", self.length, self.max_n + 2)
        if self.probability is not None:
            check.scalar("probability", self.probability, 0.0, 1.0)

    def answers(self, bits: Array) -> Array:
        """(..., T) bits -> (..., T, H), the answer at every step, bits before the first counting as 0."""
        raise NotImplementedError

    def _draw(self, start_key: Array, key: Array) -> tuple[Array, Array]:
        """One sequence: bits (T,) and its start."""
        start = self._start(start_key)
        p_key, bit_key = jax.random.split(key)
        p = jax.random.uniform(p_key) if self.probability is None else self.probability
        bits = jax.random.bernoulli(bit_key, p, (self.n_steps,))
        return jnp.where(jnp.arange(self.n_steps) >= start, bits, False).astype(check.default_float()), start

    def _start(self, key: Array) -> Array:
        n = jnp.asarray(self.n, jnp.int32)
        longest = jnp.minimum(4 * n + 1, self.n_steps)
        return self.n_steps - jax.random.randint(key, (), n + 2, longest + 1)

    def sample(self, key: Array) -> Trial:
        """Draw a trial: inputs (T, 1), targets (T, H) the answers at every step, mask (T,) 1 at the last step only.

        Raises:
            TypeError, ValueError: on an untyped key, n outside [2, max_n], a length below max_n + 2, or a probability
                outside [0, 1].
        """
        self._check(key)
        return _sample(self, key)

    def batch(self, key: Array, size: int, length_key: Array | None = None) -> Bits:
        """Draw `size` sequences of one common length (:class:`Bits`).

        Args:
            length_key: draws the length; default one from `key`.

        Raises:
            As :meth:`sample`, or a size below 1.
        """
        self._check(key)
        check.integer("size", size, 1)
        return _batch(self, key, jax.random.fold_in(key, LENGTH_ROLE) if length_key is None else length_key, size=size)


@tree.dataclass
class NParity(_BitTask):
    r"""Is the number of ones among the last N bits odd? For every N at once.

    .. math:: y_N(t) = \Big(\sum_{k=0}^{N-1} s(t-k)\Big) \bmod 2, \qquad N = 2, \dots, N_{max}

    A sequence has between n + 2 and 4 n + 1 bits, uniformly, and is padded on the left to T = 4 max_n + 1 steps: hold
    the state until it begins (:func:`dynlab.train.last_state`), and growing n changes no shape. Each sequence draws its
    own :math:`p \sim U(0, 1)` and then bits that are 1 with probability p, unless `probability` says otherwise.
    Sequences with p near 0 or 1 are easy, so 98 % on this distribution is less than 98 % at p = 0.5. Source:
    Khajehabdollahi et al., ICLR 2024, arXiv:2309.12927.

    Attributes:
        n: largest N trained now; sets the length (knob).
        probability: of a one, or None for one drawn for each sequence (knob).
        max_n: largest N of all (static). length: T (static), default 4 max_n + 1.
    """

    n: Any = 2
    probability: Any = None
    max_n: int = tree.static(default=10)
    length: int | None = tree.static(default=None)

    def answers(self, bits: Array) -> Array:
        """(..., T) bits -> (..., T, H), the parities at every step, bits before the first counting as 0."""
        total = jnp.cumsum(bits, axis=-1)
        before = [jnp.pad(total, [(0, 0)] * (bits.ndim - 1) + [(n, 0)])[..., : bits.shape[-1]] for n in self._ns()]
        return (total[..., None] - jnp.stack(before, axis=-1)) % 2

    def _ns(self) -> range:
        return range(FIRST_N, self.max_n + 1)

    def _last(self, bits: Array) -> Array:
        return jnp.cumsum(bits[:, ::-1], axis=1)[:, FIRST_N - 1 : self.max_n] % 2


@tree.dataclass
class NDMS(_BitTask):
    r"""Delayed match to sample: is the bit of N - 1 steps ago the bit of now? For every N at once.

    .. math:: y_N(t) = [s(t - N + 1) = s(t)], \qquad N = 2, \dots, N_{max}

    Lengths, padding and fields as :class:`NParity`; bits are 1 with probability 1/2 by default. Source: Khajehabdollahi
    et al., ICLR 2024, arXiv:2309.12927.
    """

    n: Any = 2
    probability: Any = 0.5
    max_n: int = tree.static(default=10)
    length: int | None = tree.static(default=None)

    def answers(self, bits: Array) -> Array:
        """(..., T) bits -> (..., T, H), 1 where the bits match, bits before the first counting as 0."""
        pad = [(0, 0)] * (bits.ndim - 1)
        ns = range(FIRST_N, self.max_n + 1)
        old = [jnp.pad(bits, [*pad, (n - 1, 0)])[..., : bits.shape[-1]] for n in ns]
        return (jnp.stack(old, axis=-1) == bits[..., None]).astype(bits.dtype)

    def _last(self, bits: Array) -> Array:
        back = bits[:, ::-1]
        return back[:, FIRST_N - 1 : self.max_n] == back[:, :1]


@jax.jit
def _sample(task: Any, key: Array) -> Trial:
    start_key, bit_key = jax.random.split(key)
    bits, _ = task._draw(start_key, bit_key)
    mask = (jnp.arange(task.n_steps) == task.n_steps - 1).astype(bits.dtype)
    return Trial(inputs=bits[:, None], targets=task.answers(bits), mask=mask)


def _batch(task: Any, key: Array, length_key: Array, *, size: int) -> Bits:
    bits, starts = jax.vmap(lambda k: task._draw(length_key, k))(jax.random.split(key, size))
    return Bits(inputs=bits[..., None], labels=task._last(bits).astype(jnp.int32), start=starts[0])


_batch = jax.jit(_batch, static_argnames="size")  # type: ignore[assignment]
