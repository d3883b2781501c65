"""The long short-term memory."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynlab import tree
from dynlab.models.gates import GateParams, check_gates, draw_gates, matvec, start

Array = jax.Array


@tree.dataclass
class LSTMState:
    """Hidden state h (N,) and cell state c (N,); both are coordinates of the phase space, h first."""

    h: Array
    c: Array


@tree.dataclass
class LSTM:
    r"""Long short-term memory with a forget gate, no peepholes (Gers et al. 2000, doi:10.1162/089976600300015015).

    .. math::
        i, f, o &= \sigma(W_{i\cdot} x + b_{i\cdot} + W_{h\cdot} h + b_{h\cdot}) \\
        g &= \tanh(W_{ig} x + b_{ig} + W_{hg} h + b_{hg}) \\
        c^+ &= f \odot c + i \odot g, \qquad h^+ = o \odot \tanh(c^+)

    Parameters are :class:`dynlab.models.gates.GateParams` with four blocks of N rows in the order i, f, g, o (that of
    PyTorch's ``nn.LSTM`` and of Keras, which calls g "c"). The two biases act only through their sum. The features are
    :math:`h` (N,); the phase space has 2 N dimensions.

    Attributes:
        n_inputs: D (static). n_units: N (static).
        init_scale: knob; all parameters are drawn uniformly from +-init_scale / sqrt(N). 1 is PyTorch's default.
        dt: physical time per step (static).
    """

    n_inputs: int = tree.static(default=1)
    n_units: int = tree.static(default=100)
    init_scale: Any = 1.0
    dt: float = tree.static(default=1.0)

    smooth = True
    deterministic = True
    bounded = True  # at bounded input the forget gate stays below 1, because |h| < 1

    @property
    def input_sizes(self) -> int:
        """Channels of the input, D."""
        return self.n_inputs

    def init(self, key: Array) -> GateParams:
        """Draw all parameters as PyTorch does (not with its numbers).

        Raises:
            ValueError, TypeError: a field out of its range, or `key` not a typed key.
        """
        check_gates(self)
        return draw_gates(key, 4, self.n_units, self.n_inputs, self.init_scale)

    def init_state(self, params: GateParams, key: Array | None = None) -> LSTMState:
        """Zeros; with a key, h and c uniform on [-1, 1)."""
        if key is None:
            return LSTMState(start(params, None), start(params, None))
        return LSTMState(*(start(params, k) for k in jax.random.split(key)))

    def step(self, params: GateParams, state: LSTMState, x: Array, key: Array | None = None) -> LSTMState:
        """One update of h and c; x is (D,). There is no noise: `key` is not used."""
        return self.update(params, state, self.drive(params, state, x))

    def drive(self, params: GateParams, state: LSTMState, x: Array, key: Array | None = None) -> Array:
        """All that is linear in the weights, (4 N,)."""
        return matvec(params.weight_ih, x) + params.bias_ih + matvec(params.weight_hh, state.h) + params.bias_hh

    def update(self, params: GateParams, state: LSTMState, u: Array) -> LSTMState:
        """The new state from the old one and the drive, unit by unit."""
        i, f, g, o = jnp.split(u, 4)
        c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return LSTMState(h=jax.nn.sigmoid(o) * jnp.tanh(c), c=c)

    def observe(self, params: GateParams, state: LSTMState) -> Array:
        """The hidden state h (N,)."""
        return state.h
