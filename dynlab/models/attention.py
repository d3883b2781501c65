"""Multi-head attention of one query over tokens, with keys and values that can be computed ahead of a run."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.models.layers import Affine, dropout, uniform

Array = jax.Array


@tree.dataclass
class Attention:
    r"""Multi-head attention of width d with h heads (Vaswani et al. 2017, arXiv:1706.03762).

    .. math:: o = W_o\, \mathrm{concat}_h\Big(\sum_n p_{hn} v_{hn}\Big) + b_o, \qquad
              p_{h\cdot} = \mathrm{softmax}_n\big(q_h \cdot k_{hn} / \sqrt{d/h}\big)

    with q, k and v affine in query and tokens. Shapes, order (q, k, v) and starting distribution are those of PyTorch's
    ``nn.MultiheadAttention``; all three projections have biases.

    Attributes:
        inner: (3 d, d) and (3 d,), projections of query, key and value. outer: (d, d) and (d,).
        n_heads: static.
    """

    inner: Affine
    outer: Affine
    n_heads: int = tree.static(default=1)

    @property
    def width(self) -> int:
        """d."""
        return self.inner.weight.shape[1]

    def _part(self, i: int) -> Affine:
        rows = slice(i * self.width, (i + 1) * self.width)
        return Affine(self.inner.weight[rows], self.inner.bias[rows])

    def keys_and_values(self, tokens: Array) -> tuple[Array, Array]:
        """Tokens (..., d) -> keys and values (..., d); they do not depend on the query."""
        return self._part(1)(tokens), self._part(2)(tokens)

    def flat(self, rows: Array) -> Array:
        """Keys or values (N, d) -> (N d,), one head after the other, as a query reads them."""
        return jnp.swapaxes(rows.reshape(rows.shape[0], self.n_heads, -1), 0, 1).reshape(-1)

    def __call__(
        self, query: Array, keys: Array, values: Array, rate: Array | None = None, key: Array | None = None
    ) -> tuple[Array, Array]:
        """Query (d,), keys and values (N d,) as `flat` makes them -> output (d,) and weights (n_heads, N).

        Dropout acts on the weights.
        """
        size = self.width // self.n_heads
        split = (self.n_heads, -1, size)
        q = self._part(0)(query).reshape(self.n_heads, size)
        high = jax.lax.Precision.HIGHEST
        scores = jnp.einsum("hs,hns->hn", q, keys.reshape(split), precision=high) / jnp.sqrt(jnp.asarray(size, q.dtype))
        weights = dropout(jax.nn.softmax(scores, axis=-1), rate, key, "attention")
        mixed = jnp.einsum("hn,hns->hs", weights, values.reshape(split), precision=high)
        return self.outer(mixed.reshape(-1)), weights


def attention(key: Array, width: int, n_heads: int) -> Attention:
    r"""Draw an attention: inner weights uniform on :math:`\pm\sqrt{6/(4d)}`, outer on :math:`\pm 1/\sqrt d`, biases 0.

    Raises:
        ValueError, TypeError: sizes below 1, a width that is no multiple of the heads.
    """
    check.integer("n_attention", width, 1)
    check.integer("n_heads", n_heads, 1)
    if width % n_heads:
        raise ValueError(f"n_attention must be a multiple of n_heads = {n_heads}, got {width}")
    drawn = uniform(key, (4 * width, width), 1.0)
    zeros = jnp.zeros(4 * width, drawn.dtype)
    inner = Affine((6 / (4 * width)) ** 0.5 * drawn[: 3 * width], zeros[: 3 * width])
    return Attention(inner, Affine(width**-0.5 * drawn[3 * width :], zeros[3 * width :]), n_heads)
