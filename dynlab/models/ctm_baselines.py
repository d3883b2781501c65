"""What a thought machine is compared with at equal size: an LSTM that reads by attention, a feed-forward network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.keys import named
from dynlab.models.gates import GateParams, draw_gates
from dynlab.models.layers import Affine, affines, parameter_count, uniform
from dynlab.models.lstm import LSTM, LSTMState
from dynlab.models.positions import positional_code
from dynlab.models.reader import Reader, arrangement, check_context, check_reader, check_tokens, draw_reader

Array = jax.Array
POOLS = ("mean", "flat")


@tree.dataclass
class AttentiveParams:
    """Parameters of an :class:`AttentiveLSTM` of N units: reader, cell, head, and the learned start h and c (N,)."""

    reader: Reader
    cell: GateParams
    head: Affine
    start_h: Array
    start_c: Array


@tree.dataclass
class AttentiveLSTM:
    r"""LSTM that queries its tokens with its hidden state each tick, the baseline of arXiv:2505.05522 (one layer).

    .. math:: q = W_q h + b_q, \quad o = \mathrm{MHA}(q, k, v), \quad (h, c) \leftarrow \mathrm{LSTM}(o, (h, c)),
              \quad y = W h + b

    Its fields are those of :class:`dynlab.models.ctm.CTM` with the same names; `n_units` is the width of the LSTM, to
    be found by :func:`match_width`. The features are h.
    """

    n_inputs: int = tree.static(default=64)
    n_tokens: int | tuple[int, int] = tree.static(default=16)
    n_symbols: int | None = tree.static(default=None)
    positions: str = tree.static(default="none")
    n_units: int = tree.static(default=128)
    n_attention: int = tree.static(default=64)
    n_heads: int = tree.static(default=4)
    n_outputs: tuple[int, ...] = tree.static(default=(2,))
    init_scale: Any = 1.0
    dt: float = tree.static(default=1.0)

    smooth = True
    deterministic = True
    bounded = True  # as the LSTM

    @property
    def input_sizes(self) -> tuple[int, int]:
        """Sizes of the input of a tick: (N d, N d), keys and values."""
        size = math.prod(arrangement(self.n_tokens)) * self.n_attention
        return size, size

    def init(self, key: Array) -> AttentiveParams:
        """Draw all parameters as PyTorch does; `init_scale` is that of :class:`dynlab.LSTM`.

        Raises:
            ValueError, TypeError: a field out of its range, or `key` not a typed key.
        """
        check_reader(self)
        check.key("key", key)
        n = check.integer("n_units", self.n_units, 1)
        check.integer("n_heads", self.n_heads, 1)
        check.scalar("init_scale", self.init_scale, 0.0)
        reader = draw_reader(named(key, "reader"), self, n)
        start = uniform(named(key, "start"), (2, n), n**-0.5)
        return AttentiveParams(
            reader=reader, cell=draw_gates(named(key, "cell"), 4, n, self.n_attention, self.init_scale),
            head=affines(named(key, "head"), [(n, math.prod(self.n_outputs))])[0], start_h=start[0], start_c=start[1],
        )

    def encode(self, params: AttentiveParams, tokens: Any) -> tuple[Array, Array]:
        """Keys and values (N d,) of tokens (N, F), or of symbols (N,)."""
        return params.reader.context(check_tokens(self, tokens)[0], arrangement(self.n_tokens))

    def init_state(self, params: AttentiveParams, key: Array | None = None) -> LSTMState:
        """The learned start state; `key` is not used."""
        return LSTMState(params.start_h, params.start_c)

    def tick(
        self, params: AttentiveParams, state: LSTMState, x: Any, key: Array | None = None
    ) -> tuple[LSTMState, Array]:
        """One tick, and the attention weights (n_heads, N) it used."""
        found, weights = params.reader(state.h, check_context(self, x))
        return LSTM(self.n_attention, self.n_units).step(params.cell, state, found), weights

    def step(self, params: AttentiveParams, state: LSTMState, x: Any, key: Array | None = None) -> LSTMState:
        """One tick; x is (keys, values) of :meth:`encode`."""
        return self.tick(params, state, x)[0]

    def observe(self, params: AttentiveParams, state: LSTMState) -> Array:
        """The hidden state h (N,)."""
        return state.h

    def logits(self, params: AttentiveParams, state: LSTMState) -> Array:
        """The answer of this tick, shaped `n_outputs`."""
        return params.head(state.h).reshape(self.n_outputs)


@tree.dataclass
class ForwardParams:
    """Parameters of a :class:`FeedForward`: embedding or None, positional code or None, and its two affine maps."""

    embedding: Array | None
    positions: Any
    hidden: Affine
    head: Affine


@tree.dataclass
class FeedForward:
    r"""One hidden layer on the pooled tokens, :math:`y = W_2 \max(0, W_1 \bar e + b_1) + b_2`; it does not think.

    The baseline of arXiv:2505.05522 pools the mean of image features. The mean of tokens forgets their order, so for
    sequences ``pool="flat"`` puts them side by side (our choice).

    Attributes:
        n_inputs, n_tokens, n_symbols, positions, n_outputs: as in :class:`dynlab.models.ctm.CTM`.
        n_units: width of the hidden layer (static). pool: "mean" or "flat" (static).
    """

    n_inputs: int = tree.static(default=64)
    n_tokens: int | tuple[int, int] = tree.static(default=16)
    n_symbols: int | None = tree.static(default=None)
    positions: str = tree.static(default="none")
    n_units: int = tree.static(default=128)
    n_outputs: tuple[int, ...] = tree.static(default=(2,))
    pool: str = tree.static(default="mean")

    n_heads = 1  # it reads tokens as models with attention do

    def init(self, key: Array) -> ForwardParams:
        """Draw all parameters as PyTorch does.

        Raises:
            ValueError, TypeError: a field out of its range, or `key` not a typed key.
        """
        check_reader(self)
        check.key("key", key)
        check.choice("pool", self.pool, POOLS)
        n = check.integer("n_units", self.n_units, 1)
        width = self.n_inputs * (math.prod(arrangement(self.n_tokens)) if self.pool == "flat" else 1)
        embedding = None
        if self.n_symbols is not None:
            shape = (self.n_symbols, self.n_inputs)
            embedding = jax.random.normal(named(key, "embedding"), shape, check.default_float())
        hidden, head = affines(named(key, "layers"), [(width, n), (n, math.prod(self.n_outputs))])
        return ForwardParams(
            embedding=embedding, positions=positional_code(named(key, "positions"), self.positions, self.n_inputs),
            hidden=hidden, head=head,
        )

    def apply(self, params: ForwardParams, tokens: Any) -> Array:
        """Logits, shaped `n_outputs`, of one sample: tokens (N, F) or symbols (N,)."""
        tokens, _ = check_tokens(self, tokens)
        features = tokens if params.embedding is None else params.embedding[tokens]
        if params.positions is not None:
            features = features + params.positions.table(arrangement(self.n_tokens))
        pooled = features.reshape(-1) if self.pool == "flat" else jnp.mean(features, axis=0)
        return params.head(jax.nn.relu(params.hidden(pooled))).reshape(self.n_outputs)


def model_size(model: Any) -> int:
    """Number of parameters of a model, without drawing them."""
    return parameter_count(jax.eval_shape(model.init, jax.random.key(0)))


def match_width(make: Callable[[int], Any], target: int, *, low: int = 1, high: int = 1 << 16) -> int:
    """The smallest width at which a model has at least `target` parameters, by bisection.

    With it the LSTM gets the widths that were published for the parity task at 1, 5, 25 and 50 ticks of history.

    Args:
        make: width -> model, for example ``lambda n: AttentiveLSTM(n_units=n)``; the number of parameters must grow
            with it. target: number of parameters of the model to match. low, high: range of widths.

    Raises:
        ValueError, TypeError: a target below 1 or not reached at `high`.
    """
    check.integer("target", target, 1)
    check.integer("low", low, 1)
    check.integer("high", high, low)
    if model_size(make(high)) < target:
        raise ValueError(f"target must be at most the size at width {high}, {model_size(make(high))}, got {target}")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if model_size(make(middle)) >= target else (middle + 1, high)
    return low
