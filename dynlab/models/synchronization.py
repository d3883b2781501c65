r"""Synchronization of pairs of units: how strongly two activations have moved together so far.

.. math:: S_k(t) = \frac{\sum_{\tau \le t} e^{-r_k (t - \tau)}\, z_{i_k}(\tau)\, z_{j_k}(\tau)}
                        {\sqrt{\sum_{\tau \le t} e^{-r_k (t - \tau)}}}

for the pair k of units :math:`(i_k, j_k)` with its own decay :math:`r_k \ge 0` per tick. Source: the Continuous Thought
Machine, Darlow et al. 2025, arXiv:2505.05522. Three forms give the same numbers: sums carried from tick to tick
(:class:`Sums`, :func:`sync_recursive`), the formula itself (:func:`sync_direct`), and the formula over the last ticks
only (its `window`).

Decays start on the edge of what is allowed, at 0. Clipping them inside the forward pass would kill the gradient of one
that has left; so the forward pass takes them as they are, and :func:`project_decays` puts them back after each step of
the optimiser.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree

Array = jax.Array

PAIRINGS = ("dense", "semi_dense", "random")
"""Names of the paper; in the authors' code "first-last", "random" and "random-pairing"."""
MAX_DECAY = 15.0  # of the authors' code; their reinforcement learning has 4


@tree.dataclass
class Pairs:
    """Which units are paired: J units on the left and J on the right, all integers.

    Attributes:
        left, right: (J,) int32.
        crossed: static; False pairs the k-th left with the k-th right unit, True takes the upper triangle of
            all left times all right ones, J (J + 1) / 2 pairs.
    """

    left: Array
    right: Array
    crossed: bool = tree.static(default=False)

    @property
    def size(self) -> int:
        """Number of pairs."""
        n = self.left.shape[-1]
        return n * (n + 1) // 2 if self.crossed else n

    def products(self, z: Array) -> Array:
        """Activations (..., D) -> products of the pairs (..., size); float32 for those of half precision."""
        z = z.astype(check.wide(z.dtype))
        left, right = z[..., self.left], z[..., self.right]
        if not self.crossed:
            return left * right
        rows, columns = np.triu_indices(self.left.shape[-1])
        return left[..., rows] * right[..., columns]


@tree.dataclass
class Sums:
    r"""What the recursive form carries: :math:`\alpha^+ = e^{-r}\alpha + z_i z_j`, :math:`\beta^+ = e^{-r}\beta + 1`.

    beta depends on nothing but its own past. It is therefore kept out of phase space: as coordinates its entries would
    add the exponents -r, one a pair, and change no other.

    Both are at least float32 where a network computes in half precision: bfloat16 counts to 256 and no further.

    Attributes:
        alpha: (size,). beta: (size,), auxiliary.
    """

    alpha: Array
    beta: Array = tree.auxiliary()

    def value(self) -> Array:
        """S = alpha / sqrt(beta), (size,); only after the first tick, when beta >= 1."""
        return self.alpha / jnp.sqrt(self.beta)


@tree.dataclass
class HeldSums:
    """The same as :class:`Sums`, with alpha kept out of phase space too."""

    alpha: Array = tree.auxiliary()
    beta: Array = tree.auxiliary()

    def value(self) -> Array:
        """S = alpha / sqrt(beta), (size,)."""
        return self.alpha / jnp.sqrt(self.beta)


def draw_pairs(key: Array, pairing: str, n_units: int, n: int, *, n_self: int = 0, last: bool = False) -> Pairs:
    """Choose pairs of units, once for the life of a model.

    Args:
        key: draws the units of "semi_dense" and "random" with replacement; "dense" does not use it.
        pairing: "dense": the first `n` units (the last with `last`), each with itself and each other; "semi_dense": two
            drawn lists of `n` units, of whose products the upper triangle is kept, which drops half of the distinct
            ones: that is what the authors' code does and what its parameter counts say; "random": `n` drawn pairs.
        n_units: D. n: J.
        n_self: for "random", how many of the pairs, the first ones, pair a unit with itself.

    Raises:
        ValueError, TypeError: an unknown pairing, J larger than D (but "random" may have more pairs than units: the
            published CIFAR-10 model pairs 512 times among 256), `n_self` outside [0, J] or with another pairing.
    """
    check.choice("pairing", pairing, PAIRINGS)
    check.integer("n_units", n_units, 1)
    check.integer("n", n, 1, None if pairing == "random" else n_units)
    check.integer("n_self", n_self, 0, n if pairing == "random" else 0)
    if pairing == "dense":
        chosen = jnp.arange(n_units - n if last else 0, n_units if last else n, dtype=jnp.int32)
        return Pairs(chosen, chosen, crossed=True)
    left, right = jax.random.randint(key, (2, n), 0, n_units, jnp.int32)
    if pairing == "semi_dense":
        return Pairs(left, right, crossed=True)
    return Pairs(left, jnp.where(jnp.arange(n) < n_self, left, right))


def zero_sums(size: int, dtype: Any, *, held: bool = False) -> Sums | HeldSums:
    """Sums before the first tick, for activations of `dtype`."""
    zeros = jnp.zeros(size, check.wide(dtype))
    return HeldSums(zeros, zeros) if held else Sums(zeros, zeros)


def add(sums: Any, products: Array, decay: Array) -> Any:
    """One tick of the sums; from zeros it gives the same sequence as starting at alpha = z_i z_j and beta = 1."""
    keep = jnp.exp(-decay.astype(sums.beta.dtype))
    return sums.replace(alpha=keep * sums.alpha + products, beta=keep * sums.beta + 1.0)


def weighted(products: Array, decay: Array) -> Array:
    """S (size,) of the last of the ticks whose products (ticks, size) are given, all of them counted."""
    age = jnp.arange(products.shape[0] - 1, -1, -1, dtype=products.dtype)
    weights = jnp.exp(-age[:, None] * decay.astype(products.dtype))
    return jnp.sum(weights * products, axis=0) / jnp.sqrt(jnp.sum(weights, axis=0))


def sync_recursive(z: Array, decay: Array, pairs: Pairs) -> Array:
    """Synchronization after every tick by carrying sums: (ticks, D) -> (ticks, size).

    Args:
        z: activations (ticks, D). decay: r (size,) or a scalar. pairs: a :class:`Pairs`.

    Raises:
        ValueError, TypeError: shapes that do not fit.
    """
    z, decay = _check(z, decay, pairs)

    def tick(sums: Any, now: Array) -> tuple[Any, Array]:
        sums = add(sums, now, decay)
        return sums, sums.value()

    return jax.lax.scan(tick, zero_sums(pairs.size, z.dtype), pairs.products(z))[1]


def sync_direct(z: Array, decay: Array, pairs: Pairs, window: int | None = None) -> Array:
    """Synchronization after every tick by the formula: (ticks, D) -> (ticks, size), with ticks^2 * size terms.

    Args:
        z, decay, pairs: as in :func:`sync_recursive`.
        window: how many of the last ticks count (static); None counts all. The authors' reinforcement learning uses a
            window as long as the history.

    Raises:
        ValueError, TypeError: shapes that do not fit, a window below 1.
    """
    z, decay = _check(z, decay, pairs)
    ticks = z.shape[0]
    age = np.arange(ticks)[:, None] - np.arange(ticks)
    counts = (age >= 0) & (age < (ticks if window is None else check.integer("window", window, 1)))
    exponent = -jnp.asarray(np.maximum(age, 0), z.dtype)[:, :, None] * decay
    weights = jnp.where(counts[:, :, None], jnp.exp(exponent), 0.0)
    total = jnp.sum(weights * pairs.products(z), axis=1)
    return total / jnp.sqrt(jnp.sum(weights, axis=1))


def project_decays(decay: Array, high: float = MAX_DECAY) -> Array:
    """Decays (size,) put back into [0, high]; to be called after each step of the optimiser."""
    return jnp.clip(decay, 0.0, high)


def _check(z: Array, decay: Array, pairs: Pairs) -> tuple[Array, Array]:
    z = check.array("z", z)
    if z.ndim != 2 or 0 in z.shape:
        raise ValueError(f"z must have shape (ticks, units), got {z.shape}")
    decay = check.array("decay", decay)
    if decay.shape not in ((), (pairs.size,)):
        raise ValueError(f"decay must be a scalar or of shape ({pairs.size},), one a pair, got {decay.shape}")
    if not check.is_traced(pairs):
        top = max(int(np.max(np.asarray(side))) for side in (pairs.left, pairs.right))
        if top >= z.shape[1]:
            raise ValueError(f"z must have at least {top + 1} units for these pairs, got {z.shape[1]}")
    return z, jnp.broadcast_to(decay, (pairs.size,))
