"""The Continuous Thought Machine: a recurrent network whose internal tick is the step."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.keys import named
from dynlab.models.layers import Affine, affines, uniform
from dynlab.models.neuron_level import NeuronLevel, neuron_level
from dynlab.models.reader import Reader, arrangement, check_context, check_reader, check_tokens, draw_reader
from dynlab.models.synchronization import (
    MAX_DECAY,
    PAIRINGS,
    HeldSums,
    Pairs,
    Sums,
    add,
    draw_pairs,
    project_decays,
    weighted,
    zero_sums,
)
from dynlab.models.unet import synapse_model

Array = jax.Array
COORDINATES = ("full", "units")


@tree.dataclass
class CTMParams:
    """Parameters of a :class:`CTM` of D units with a history of M ticks.

    Attributes:
        reader: the input side, or None without attention. synapse: Gates or a UNet of :mod:`dynlab.models.unet`.
        neurons: the private networks, or None. head: from synchronization to logits, or None.
        start_active: (D,); (D, M) for a window. start_history: (D, M). Both are learned.
        action, out: which units are paired (integers), or None; action is None without attention.
        decay_action, decay_out: r of each pair, kept in [0, max_decay] by :meth:`CTM.project`.
        dropout: the rate, or None. It gets no gradient.
    """

    reader: Reader | None
    synapse: Any
    neurons: NeuronLevel | None
    head: Affine | None
    start_active: Array
    start_history: Array
    action: Pairs | None
    out: Pairs | None
    decay_action: Array | None
    decay_out: Array | None
    dropout: Array | None


@tree.dataclass
class CTMState:
    """State of a :class:`CTM`.

    Attributes:
        history: the last M pre-activations (D, M), newest last. active: z, the activations (D,).
        action: sums of the action synchronization, which feeds back; None without attention.
        out: sums of the output synchronization, which feeds nothing back and is no coordinate; None for a window
            and without synchronization.
        trace: the last M activations (D, M), newest last, for a window (auxiliary); else None.
    """

    history: Array
    active: Array
    action: Sums | HeldSums | None
    out: HeldSums | None
    trace: Array | None = tree.auxiliary()


@tree.dataclass
class CTM:
    r"""Continuous Thought Machine (Darlow et al., NeurIPS 2025, arXiv:2505.05522), in the order of the authors' code.

    One tick, from the activations z (D,), the history A (D, M) and the tokens' keys and values:

    1. action synchronization :math:`S_{act}` with the present z; 2. :math:`q = W_q S_{act} + b_q`,
    :math:`o = \mathrm{MHA}(q, k, v)`; 3. synapse model :math:`a = f(o, z)`; 4. A loses its oldest column and gets a;
    5. :math:`z_d \leftarrow g_d(A_{d\cdot})`, a network of its own for each unit; 6. output synchronization
    :math:`S_{out}` with the new z. The logits are :math:`W_{out} S_{out} + b`.

    So after t ticks :math:`S_{out}` has seen the start state and t activations, :math:`S_{act}` all of these but the
    last. Synchronization is that of :mod:`dynlab.models.synchronization`. Where paper and code differ this follows the
    code, whose parameter counts are those of the paper's tables: the history drops its oldest column, the private
    networks have gated linear units. Keys and values do not depend on the tick: the input x of a step is the pair
    ``model.encode(params, tokens)``, made once. Without attention (``n_heads=0``, as for sorting) x is a vector (F,)
    that takes the place of o. :func:`dynlab.models.thinking.think` runs all ticks of a batch.

    Phase space is (A, z, alpha) with alpha the numerator of the action synchronization; its denominator, a clock, and
    whatever only feeds the output are auxiliary. With decay 0 alpha has no fixed point, since it adds up a term each
    tick: take ``coordinates="units"``, which leaves (A, z) and holds alpha where the state has it.

    Attributes:
        n_inputs: F, width of a token (static). n_tokens: N, or (H, W) for a grid (static).
        n_symbols: tokens are integers below it and get learned vectors; None for tokens that are vectors (static).
        positions: a name of :data:`dynlab.models.positions.POSITIONS` (static).
        n_units: D (static). n_attention: d (static). n_heads: of the attention; 0 for none (static).
        n_history: M (static). n_hidden: H of the private networks; None for the shallow ones (static).
        n_out, n_action: J, units (pairs for "random") of output and action synchronization; n_action is 0 without
            attention (static).
        pairing: "dense", "semi_dense" or "random" (static), see :func:`dynlab.models.synchronization.draw_pairs`.
            "dense" takes the first units for the output and the last for the action, and keeps them apart; the drawn
            ones may share units, as in the authors' code (the paper says they do not).
        n_self: for "random", pairs of a unit with itself, in each of the two synchronizations (static).
        depth: of the synapse model, 1 or that of a U-Net (static). n_gates: gates in a row at depth 1 (static).
        n_outputs: shape of the logits, classes last, such as (64, 2); None for no head (static).
        window: output synchronization over the last M ticks of, for "dense", the *last* `n_out` units, as in the
            authors' reinforcement learning, with ``n_heads=0``; there max_decay is 4 and n_gates 2 (static).
        private: False leaves out the private networks, to see what they do: z is the newest pre-activation, with
            ``n_history=1, n_hidden=None`` (static).
        synchrony: False leaves out synchronization, to see what it does: the query and the logits are made from z
            itself, with ``n_out=0, n_action=0`` (static).
        max_decay: upper end of the decays (static). decay: their start, knob.
        dropout: rate, knob; None for none. It acts where a key is given: on the input of the synapse model, of the
            private networks, and on attention weights.
        coordinates: "full" or "units", see above (static).
        dt: physical time per tick (static).
    """

    n_inputs: int = tree.static(default=64)
    n_tokens: int | tuple[int, int] = tree.static(default=16)
    n_symbols: int | None = tree.static(default=None)
    positions: str = tree.static(default="none")
    n_units: int = tree.static(default=128)
    n_attention: int = tree.static(default=64)
    n_heads: int = tree.static(default=4)
    n_history: int = tree.static(default=8)
    n_hidden: int | None = tree.static(default=8)
    n_out: int = tree.static(default=16)
    n_action: int = tree.static(default=16)
    pairing: str = tree.static(default="semi_dense")
    n_self: int = tree.static(default=0)
    depth: int = tree.static(default=1)
    n_gates: int = tree.static(default=1)
    n_outputs: tuple[int, ...] | None = tree.static(default=(2,))
    window: bool = tree.static(default=False)
    private: bool = tree.static(default=True)
    synchrony: bool = tree.static(default=True)
    max_decay: float = tree.static(default=MAX_DECAY)
    decay: Any = 0.0
    dropout: Any = None
    coordinates: str = tree.static(default="full")
    dt: float = tree.static(default=1.0)

    smooth = True

    @property
    def input_sizes(self) -> Any:
        """Sizes of the input of a tick: (N d, N d) for keys and values, F without attention."""
        if not self.n_heads:
            return self.n_inputs
        size = math.prod(arrangement(self.n_tokens)) * self.n_attention
        return size, size

    @property
    def deterministic(self) -> bool:
        """True without dropout."""
        return self.dropout is None

    @property
    def bounded(self) -> bool | None:
        """True where (A, z) is phase space: the synapse model ends in a normalisation. None where alpha adds up."""
        return True if self.coordinates == "units" or not (self.n_heads and self.synchrony) else None

    def _validate(self) -> None:
        check_reader(self)
        n_heads = check.integer("n_heads", self.n_heads, 0)
        check.integer("n_units", self.n_units, 1)
        check.choice("pairing", self.pairing, PAIRINGS)
        check.choice("coordinates", self.coordinates, COORDINATES)
        reads = n_heads > 0 and self.synchrony
        check.integer("n_action", self.n_action, 1 if reads else 0, None if reads else 0)
        check.integer("n_out", self.n_out, 1 if self.synchrony else 0, None if self.synchrony else 0)
        if not self.private and (self.n_history != 1 or self.n_hidden is not None):
            raise ValueError("n_history must be 1 and n_hidden None with private=False, got "
                             f"{self.n_history} and {self.n_hidden}")
        if self.window and not self.synchrony:
            raise ValueError("synchrony must be True with window=True, got False")
        if self.pairing == "dense" and self.n_out + self.n_action > self.n_units:
            raise ValueError(f"n_units must be at least n_out + n_action = {self.n_out + self.n_action} for pairing "
                             f"'dense', got {self.n_units}")
        if self.window and n_heads:
            raise ValueError(f"n_heads must be 0 with window=True, got {n_heads}")
        if not n_heads and (self.n_symbols is not None or self.positions != "none"):
            raise ValueError("n_symbols must be None and positions 'none' without attention (n_heads=0), got "
                             f"{self.n_symbols} and {self.positions!r}")
        if self.n_outputs is not None:
            if not isinstance(self.n_outputs, tuple) or not self.n_outputs:
                raise TypeError(f"n_outputs must be a tuple such as (64, 2) or None, got {self.n_outputs!r}")
            for n in self.n_outputs:
                check.integer("n_outputs", n, 1)
        check.scalar("max_decay", self.max_decay, 0.0)
        check.scalar("decay", self.decay, 0.0, self.max_decay)
        if self.dropout is not None:
            check.scalar("dropout", self.dropout, 0.0)
            check.number("dropout", self.dropout, 0.0, 1.0, high_open=True)
        check.scalar("dt", self.dt, 0.0, low_open=True)

    def init(self, key: Array) -> CTMParams:
        """Draw all parameters, from the distributions of the authors' code, and the pairs, from `key` (there: NumPy).

        Raises:
            ValueError, TypeError: a field out of its range, an unknown name, or `key` not a typed key.
        """
        self._validate()
        check.key("key", key)
        d, m, dtype = self.n_units, self.n_history, check.default_float()
        pairs = lambda role, n: draw_pairs(named(key, role), self.pairing, d, n, n_self=self.n_self,  # noqa: E731
                                           last=self.window or role == "action")
        out = pairs("out", self.n_out) if self.synchrony else None
        action = pairs("action", self.n_action) if self.n_heads and self.synchrony else None
        decays = lambda found: None if found is None else jnp.full(found.size, self.decay, dtype)  # noqa: E731
        size = lambda found: d if found is None else found.size  # noqa: E731
        neurons = neuron_level(named(key, "neurons"), d, m, self.n_hidden) if self.private else None
        read = self.n_attention if self.n_heads else self.n_inputs
        wide, bound = m if self.window else 1, (d + m) ** -0.5
        start = uniform(named(key, "start"), (d, wide + m), 1.0)
        return CTMParams(
            reader=draw_reader(named(key, "reader"), self, size(action)) if self.n_heads else None,
            synapse=synapse_model(named(key, "synapse"), read + d, d, self.depth, self.n_gates), neurons=neurons,
            head=None if self.n_outputs is None else affines(
                named(key, "head"), [(size(out), math.prod(self.n_outputs))])[0],
            start_active=bound * start[:, :wide] if self.window else d**-0.5 * start[:, 0],
            start_history=bound * start[:, wide:], action=action, out=out,
            decay_action=decays(action), decay_out=decays(out),
            dropout=None if self.dropout is None else jnp.asarray(self.dropout, dtype),
        )

    def encode(self, params: CTMParams, tokens: Any) -> Any:
        """The input of every tick, made once: keys and values (N d,) of tokens (N, F), or of symbols (N,).

        Without attention the features (F,) themselves.

        Raises:
            ValueError, TypeError: another number or width of tokens, symbols that are no integers.
        """
        tokens, _ = check_tokens(self, tokens)
        return tokens if params.reader is None else params.reader.context(tokens, arrangement(self.n_tokens))

    def init_state(self, params: CTMParams, key: Array | None = None) -> CTMState:
        """The learned start state; `key` is not used."""
        if self.window:
            return CTMState(params.start_history, params.start_active[:, -1], None, None, params.start_active)
        dtype, z = params.start_active.dtype, params.start_active
        out = action = None
        if params.out is not None and params.decay_out is not None:
            out = add(zero_sums(params.out.size, dtype, held=True), params.out.products(z), params.decay_out)
        if params.action is not None:
            action = zero_sums(params.action.size, dtype, held=self.coordinates == "units")
        return CTMState(params.start_history, z, action, out, None)

    def tick(
        self, params: CTMParams, state: CTMState, x: Any, key: Array | None = None
    ) -> tuple[CTMState, Array | None]:
        """One tick, and the attention weights (n_heads, N) it used; None without attention."""
        rate, z, action, weights = params.dropout, state.active, state.action, None
        if params.reader is None:
            if jnp.shape(x) != (self.n_inputs,):
                raise ValueError(f"x must have shape ({self.n_inputs},), got {jnp.shape(x)}")
            found = jnp.asarray(x, z.dtype)
        else:
            query = z
            if params.action is not None and params.decay_action is not None:
                action = add(action, params.action.products(z), params.decay_action)
                query = action.value().astype(z.dtype)
            found, weights = params.reader(query, check_context(self, x), rate, key)
        pre = params.synapse(jnp.concatenate([found, z]), rate, key)
        history = jnp.concatenate([state.history[:, 1:], pre[:, None]], axis=1)
        z = pre if params.neurons is None else params.neurons(history, rate, key)
        trace = None if state.trace is None else jnp.concatenate([state.trace[:, 1:], z[:, None]], axis=1)
        out = state.out
        if params.out is not None and params.decay_out is not None and out is not None:
            out = add(out, params.out.products(z), params.decay_out)
        return CTMState(history, z, action, out, trace), weights

    def step(self, params: CTMParams, state: CTMState, x: Any, key: Array | None = None) -> CTMState:
        """One tick; x is (keys, values) of :meth:`encode`, or (F,) without attention. `key` draws the dropout."""
        return self.tick(params, state, x, key)[0]

    def observe(self, params: CTMParams, state: CTMState) -> Array:
        """The output synchronization, one number a pair; z without synchronization."""
        if params.out is None:
            return state.active
        if state.out is not None:
            return state.out.value()
        assert state.trace is not None
        assert params.decay_out is not None
        return weighted(params.out.products(state.trace.T), params.decay_out)

    def logits(self, params: CTMParams, state: CTMState) -> Array:
        """The answer of this tick, shaped `n_outputs`.

        Raises:
            ValueError: a model without a head.
        """
        if params.head is None or self.n_outputs is None:
            raise ValueError("n_outputs must be given for a model that is asked for logits, got None")
        return params.head(self.observe(params, state).astype(params.head.bias.dtype)).reshape(self.n_outputs)

    def project(self, params: CTMParams) -> CTMParams:
        """The parameters with all decays in [0, max_decay]; call it after each step of the optimiser."""
        cut = lambda decay: None if decay is None else project_decays(decay, self.max_decay)  # noqa: E731
        return dataclasses.replace(params, decay_action=cut(params.decay_action), decay_out=cut(params.decay_out))
