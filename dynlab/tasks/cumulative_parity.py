"""Cumulative parity: of every prefix of a string, is the number of minus signs odd?"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynlab import check, tree

Array = jax.Array


@tree.dataclass
class Strings:
    """A batch of strings of signs with the parity of every prefix.

    Attributes:
        symbols: (B, N) int32, 1 for +1 and 0 for -1. labels: (B, N) int32, 1 where the prefix that ends there has an
            odd number of minus signs.
    """

    symbols: Array
    labels: Array


@tree.dataclass
class CumulativeParity:
    r"""All signs of a string are shown at once; the answer has as many positions as the string.

    .. math:: y_n = \Big(\sum_{m \le n} [x_m = -1]\Big) \bmod 2, \qquad x_m = \pm 1 \text{ with probability } 1/2

    The first position is read off; the last needs every sign. Guessing gets half of the positions. Source: Darlow et
    al. 2025, arXiv:2505.05522 (64 signs, as an 8 x 8 square).

    Attributes:
        n_signs: N (static).
    """

    n_signs: int = tree.static(default=64)

    def batch(self, key: Array, size: int) -> Strings:
        """Draw `size` strings.

        Raises:
            ValueError, TypeError: sizes below 1, an untyped key.
        """
        check.key("key", key)
        check.integer("n_signs", self.n_signs, 1)
        check.integer("size", size, 1)
        symbols = jax.random.bernoulli(key, 0.5, (size, self.n_signs)).astype(jnp.int32)
        return Strings(symbols, jnp.cumsum(1 - symbols, axis=1) % 2)
