"""The Elman network: a plain recurrent network, as PyTorch's ``nn.RNN``."""

from __future__ import annotations

from typing import Any

import jax

from dynlab import tree
from dynlab.models.activations import SATURATING, activation
from dynlab.models.gates import GateParams, check_gates, draw_gates, matvec, start

Array = jax.Array


@tree.dataclass
class RNN:
    r"""Elman network (Elman 1990, doi:10.1207/s15516709cog1402_1).

    .. math:: h^+ = f(W_{ih} x + b_{ih} + W_{hh} h + b_{hh})

    with input :math:`x` (D,) and state :math:`h` (N,). It has no leak and no noise: for those take
    :class:`dynlab.ESN`. The features are :math:`h`. Parameters are :class:`dynlab.models.gates.GateParams` with one
    block of rows; names and conventions are those of PyTorch's ``nn.RNN``.

    Attributes:
        n_inputs: D (static). n_units: N (static).
        activation: f, a name of :data:`dynlab.models.activations.ACTIVATIONS`, such as "tanh" or "relu" (static).
        init_scale: knob; all parameters are drawn uniformly from +-init_scale / sqrt(N). 1 is PyTorch's default.
        dt: physical time per step (static).
    """

    n_inputs: int = tree.static(default=1)
    n_units: int = tree.static(default=100)
    activation: str = tree.static(default="tanh")
    init_scale: Any = 1.0
    dt: float = tree.static(default=1.0)

    smooth = True  # relu has a kink, but a tangent almost everywhere
    deterministic = True

    @property
    def input_sizes(self) -> int:
        """Channels of the input, D."""
        return self.n_inputs

    @property
    def bounded(self) -> bool | None:
        """True for saturating units, whose states stay in a ball; None where that depends on the weights."""
        return True if self.activation in SATURATING else None

    def init(self, key: Array) -> GateParams:
        """Draw all parameters as PyTorch does (not with its numbers).

        Raises:
            ValueError, TypeError: a field out of its range, an unknown name, or `key` not a typed key.
        """
        check_gates(self)
        activation(self.activation)
        return draw_gates(key, 1, self.n_units, self.n_inputs, self.init_scale)

    def init_state(self, params: GateParams, key: Array | None = None) -> Array:
        """Zeros (N,); with a key, uniform on [-1, 1)."""
        return start(params, key)

    def step(self, params: GateParams, state: Array, x: Array, key: Array | None = None) -> Array:
        """One update, (N,) -> (N,); x is (D,). There is no noise: `key` is not used."""
        return self.update(params, state, self.drive(params, state, x))

    def drive(self, params: GateParams, state: Array, x: Array, key: Array | None = None) -> Array:
        """All that is linear in the weights, (N,)."""
        return matvec(params.weight_ih, x) + params.bias_ih + matvec(params.weight_hh, state) + params.bias_hh

    def update(self, params: GateParams, state: Array, u: Array) -> Array:
        """The new state (N,) from the drive."""
        return activation(self.activation)(u)

    def observe(self, params: GateParams, state: Array) -> Array:
        """The state itself (N,)."""
        return state
