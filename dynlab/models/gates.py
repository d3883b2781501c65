"""What the Elman network, the GRU and the LSTM share: their four arrays, how these are drawn, and the products.

Each has G blocks of N rows ("gates"; G = 1, 3, 4) in one array, so that a step is one product with the input and one
with the state. Names, shapes and defaults are PyTorch's.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.keys import named

Array = jax.Array


@tree.dataclass
class GateParams:
    """Parameters of an :class:`dynlab.RNN`, :class:`dynlab.GRU` or :class:`dynlab.LSTM` with G blocks of N units.

    Attributes:
        weight_ih: (G N, D), input to gates. weight_hh: (G N, N), state to gates.
        bias_ih, bias_hh: (G N,), added to the one and the other product. Only the GRU with reset "after" tells them
            apart; both are kept so that weights go to PyTorch and back unchanged.
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array


def check_gates(model: Any) -> None:
    """Check the fields that all three have."""
    check.integer("n_inputs", model.n_inputs, 1)
    check.integer("n_units", model.n_units, 1)
    check.scalar("init_scale", model.init_scale, 0.0)
    check.scalar("dt", model.dt, 0.0, low_open=True)


def draw_gates(key: Array, n_gates: int, n_units: int, n_inputs: int, scale: Any) -> GateParams:
    r"""Every entry uniform on :math:`[-s, s)` with :math:`s = \mathrm{scale} / \sqrt{N}`; scale 1 is PyTorch's default.

    Each array has a key of its own role, so the weights do not depend on what else is drawn.
    """
    check.key("key", key)
    dtype = check.default_float()
    bound = jnp.asarray(scale, dtype) / np.sqrt(n_units).astype(dtype)
    rows = n_gates * n_units
    shapes = {"weight_ih": (rows, n_inputs), "weight_hh": (rows, n_units), "bias_ih": (rows,), "bias_hh": (rows,)}
    return GateParams(**{
        role: bound * jax.random.uniform(named(key, role), shape, dtype, -1.0, 1.0) for role, shape in shapes.items()
    })


def matvec(weights: Array, vector: Array) -> Array:
    """weights (M, K) @ vector (K,) at the highest precision."""
    return jnp.matmul(weights, vector, precision=jax.lax.Precision.HIGHEST)


def start(params: GateParams, key: Array | None) -> Array:
    """Zeros (N,); with a key, uniform on [-1, 1)."""
    shape, dtype = params.weight_hh.shape[1:], params.weight_hh.dtype
    return jnp.zeros(shape, dtype) if key is None else jax.random.uniform(key, shape, dtype, -1.0, 1.0)
