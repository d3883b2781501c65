"""How a thinking model reads its tokens: embedding, positional code, keys and values once, a query each tick."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.keys import named
from dynlab.models.attention import Attention, attention
from dynlab.models.layers import Affine, Norm, affines, norm
from dynlab.models.positions import check_positions, positional_code

Array = jax.Array
FEW_SYMBOLS = 4  # up to so many are put in all places


@tree.dataclass
class Reader:
    r"""Parameters of the input side, for N tokens of width F and attention of width d.

    .. math:: \mathrm{kv}_n = \mathrm{LN}(W (e_n + p_n) + b), \qquad q = W_q s + b_q

    with e the tokens, p their positional code and s what the model queries with. None of it but q depends on the tick.

    Attributes:
        embedding: (n_symbols, F), or None for tokens that are vectors. positions: of :mod:`dynlab.models.positions`, or
            None. project: F to d. norm: over d. query: size of s to d. attention: over d.
    """

    embedding: Array | None
    positions: Any
    project: Affine
    norm: Norm
    query: Affine
    attention: Attention

    def context(self, tokens: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Tokens (N, F), or (N,) symbols, arranged in `shape` -> keys and values (N d,) each.

        Few symbols are first all put in all places, and then chosen from: in a batch that is done once for all samples.
        """
        if self.embedding is None or self.embedding.shape[0] > FEW_SYMBOLS:
            keys, values = self._rows(tokens if self.embedding is None else self.embedding[tokens], shape)
        else:
            tables = self._rows(self.embedding[:, None, :], shape)
            keys, values = (_choose(tokens, table) for table in tables)
        return self.attention.flat(keys), self.attention.flat(values)

    def _rows(self, features: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Keys and values (..., N, d) of features (..., N, F), or of (..., 1, F) in each place (one row if alike)."""
        if self.positions is not None:
            features = features + self.positions.table(shape)
        features = features.astype(self.project.bias.dtype)  # half precision where the weights are
        return self.attention.keys_and_values(self.norm(self.project(features)))

    def __call__(
        self, features: Array, context: tuple[Array, Array], rate: Array | None = None, key: Array | None = None
    ) -> tuple[Array, Array]:
        """What `features` (size of s,) find in the context: (d,), and the attention weights (n_heads, N)."""
        return self.attention(self.query(features), *context, rate, key)


def _choose(tokens: Array, table: Array) -> Array:
    """Row (token, place) of a table (n_symbols, N or 1, d) for the token in each place, (N, d)."""
    chosen = jnp.broadcast_to(table[0], (tokens.shape[0], table.shape[-1]))
    for symbol in range(1, table.shape[0]):
        chosen = jnp.where(tokens[:, None] == symbol, table[symbol], chosen)
    return chosen


def arrangement(n_tokens: int | tuple[int, ...]) -> tuple[int, ...]:
    """(N,) for tokens in a row, (H, W) for a grid."""
    return (n_tokens,) if isinstance(n_tokens, (int, np.integer)) else tuple(n_tokens)


def check_reader(model: Any) -> None:
    """Check the fields that models with a reader have."""
    check.integer("n_inputs", model.n_inputs, 1)
    shape = arrangement(model.n_tokens)
    if len(shape) not in (1, 2):
        raise ValueError(f"n_tokens must be one number or (height, width), got {model.n_tokens!r}")
    for n in shape:
        check.integer("n_tokens", n, 1)
    if model.n_symbols is not None:
        check.integer("n_symbols", model.n_symbols, 1)
    check_positions(model.positions, shape)


def draw_reader(key: Array, model: Any, n_query: int) -> Reader:
    """Draw the input side of a `model` (for its fields see :class:`dynlab.models.ctm.CTM`); embeddings are normal."""
    width, d = model.n_inputs, model.n_attention
    embedding = None
    if model.n_symbols is not None:
        embedding = jax.random.normal(named(key, "embedding"), (model.n_symbols, width), check.default_float())
    project, query = affines(named(key, "project and query"), [(width, d), (n_query, d)])
    return Reader(
        embedding=embedding, positions=positional_code(named(key, "positions"), model.positions, width),
        project=project, norm=norm(d), query=query, attention=attention(named(key, "attention"), d, model.n_heads),
    )


def token_shape(model: Any) -> tuple[int, ...]:
    """Shape of one sample: (N,) symbols, (N, F) tokens, or (F,) for a model without attention."""
    if not model.n_heads:
        return (model.n_inputs,)
    n = math.prod(arrangement(model.n_tokens))
    return (n, model.n_inputs) if model.n_symbols is None else (n,)


def check_tokens(model: Any, tokens: Any, *, batched: bool | None = False) -> tuple[Array, bool]:
    """Tokens as an array of the model's kind, and whether they are a batch; `batched` None lets the rank say so.

    Raises:
        ValueError, TypeError: another number or width of tokens, symbols that are no integers or out of range, NaN.
    """
    shape, symbols = token_shape(model), bool(model.n_heads) and model.n_symbols is not None
    got = np.shape(tokens)
    if batched is None:
        batched = len(got) == len(shape) + 1
    if got[int(batched):] != shape or 0 in got:
        names = "symbols" if symbols else "tokens, width" if model.n_heads else "features"
        raise ValueError(f"tokens must have shape {shape} ({names}), with a batch axis first where allowed, got {got}")
    if not symbols:
        return check.array("tokens", tokens), batched
    if not jnp.issubdtype(jnp.result_type(tokens), jnp.integer):
        raise TypeError(f"tokens must be integers for a model with n_symbols, got dtype {jnp.result_type(tokens)}")
    if not check.is_traced(tokens):
        low, high = int(np.min(np.asarray(tokens))), int(np.max(np.asarray(tokens)))
        if low < 0 or high >= model.n_symbols:
            raise ValueError(f"tokens must be in [0, {model.n_symbols - 1}], got {low if low < 0 else high}")
    return jnp.asarray(tokens), batched


def check_context(model: Any, x: Any) -> tuple[Array, Array]:
    """The input of one tick: keys and values, flat.

    Raises:
        ValueError: not a pair, or of another size than N d.
    """
    size = model.input_sizes[0]
    shapes = jax.tree.map(jnp.shape, x)
    if not isinstance(x, tuple) or shapes != ((size,), (size,)):
        raise ValueError(f"x must be the pair (keys, values) of model.encode(params, tokens), ({size},) each, got "
                         f"{shapes}")
    return x
