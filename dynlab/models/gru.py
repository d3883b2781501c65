"""The gated recurrent unit, with both conventions of its reset gate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.models.gates import GateParams, check_gates, draw_gates, matvec, start

Array = jax.Array

RESETS = ("after", "before")


@tree.dataclass
class GRU:
    r"""Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078).

    .. math::
        r &= \sigma(W_{ir} x + b_{ir} + W_{hr} h + b_{hr}) \\
        z &= \sigma(W_{iz} x + b_{iz} + W_{hz} h + b_{hz}) \\
        n &= \tanh(W_{in} x + b_{in} + r \odot (W_{hn} h + b_{hn})) \quad\text{(reset "after")} \\
        n &= \tanh(W_{in} x + b_{in} + W_{hn} (r \odot h) + b_{hn}) \quad\text{(reset "before")} \\
        h^+ &= (1 - z) \odot n + z \odot h

    "after" is what PyTorch, cuDNN, Flax and Keras (``reset_after=True``) compute; "before" is the paper, and Keras with
    ``reset_after=False``. The two are different networks: weights trained for one are wrong for the other. In all of
    these :math:`z` keeps the old state, except Chung et al. (2014, arXiv:1412.3555), who swap :math:`z` and
    :math:`1 - z`: negate the rows of z of their weights.

    Parameters are :class:`dynlab.models.gates.GateParams` with three blocks of N rows in the order r, z, n (that of
    PyTorch's ``nn.GRU``; Keras has z, r, n). The features are :math:`h` (N,), which stays in [-1, 1] once it is there.

    Attributes:
        n_inputs: D (static). n_units: N (static). reset: "after" or "before" (static).
        init_scale: knob; all parameters are drawn uniformly from +-init_scale / sqrt(N). 1 is PyTorch's default.
        dt: physical time per step (static).
    """

    n_inputs: int = tree.static(default=1)
    n_units: int = tree.static(default=100)
    reset: str = tree.static(default="after")
    init_scale: Any = 1.0
    dt: float = tree.static(default=1.0)

    smooth = True
    deterministic = True
    bounded = True  # the new state lies between the old one and a tanh

    @property
    def input_sizes(self) -> int:
        """Channels of the input, D."""
        return self.n_inputs

    def init(self, key: Array) -> GateParams:
        """Draw all parameters as PyTorch does (not with its numbers).

        Raises:
            ValueError, TypeError: a field out of its range, an unknown name, or `key` not a typed key.
        """
        check_gates(self)
        check.choice("reset", self.reset, RESETS)
        return draw_gates(key, 3, self.n_units, self.n_inputs, self.init_scale)

    def init_state(self, params: GateParams, key: Array | None = None) -> Array:
        """Zeros (N,); with a key, uniform on [-1, 1)."""
        return start(params, key)

    def step(self, params: GateParams, state: Array, x: Array, key: Array | None = None) -> Array:
        """One update, (N,) -> (N,); x is (D,). There is no noise: `key` is not used."""
        if self.reset == "after":
            return self.update(params, state, self.drive(params, state, x))
        n = self.n_units
        from_input = matvec(params.weight_ih, x) + params.bias_ih
        gates = matvec(params.weight_hh[: 2 * n], state) + params.bias_hh[: 2 * n]
        r, z = jnp.split(jax.nn.sigmoid(from_input[: 2 * n] + gates), 2)
        new = jnp.tanh(from_input[2 * n :] + matvec(params.weight_hh[2 * n :], r * state) + params.bias_hh[2 * n :])
        return (1.0 - z) * new + z * state

    @property
    def drive(self) -> Any:
        """For reset "after": ``drive(params, state, x)``, all that is linear in the weights, a pair of (3 N,)."""
        if self.reset == "before":
            raise AttributeError('with reset "before" a product lies behind a gate: there is no separate drive')
        return _drive

    def update(self, params: GateParams, state: Array, u: tuple[Array, Array]) -> Array:
        """The new state (N,) from the old one and the drive, unit by unit (reset "after")."""
        n, (from_input, from_state) = self.n_units, u
        r, z = jnp.split(jax.nn.sigmoid(from_input[: 2 * n] + from_state[: 2 * n]), 2)
        new = jnp.tanh(from_input[2 * n :] + r * from_state[2 * n :])
        return (1.0 - z) * new + z * state

    def observe(self, params: GateParams, state: Array) -> Array:
        """The state itself (N,)."""
        return state


def _drive(params: GateParams, state: Array, x: Array, key: Array | None = None) -> tuple[Array, Array]:
    return matvec(params.weight_ih, x) + params.bias_ih, matvec(params.weight_hh, state) + params.bias_hh
