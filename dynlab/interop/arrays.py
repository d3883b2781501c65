"""Plain arrays."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from dynlab import check
from dynlab.models.activations import activation as by_name
from dynlab.models.gates import GateParams
from dynlab.models.rnn import RNN


def rnn_from_arrays(
    w: Any, w_in: Any, bias: Any = None, activation: str = "tanh", *, dt: float = 1.0
) -> tuple[RNN, GateParams]:
    r"""The network :math:`h^+ = f(W h + W_{in} x + b)` with given weights.

    Rows are the units that receive: ``w[i, j]`` is the weight from unit j to unit i. For a leaky network,
    :math:`(1-a) h + a f(\cdot)`, use :func:`dynlab.esn_from_arrays`.

    Args:
        w: (N, N). w_in: (N, D). bias: (N,) or None. activation: f, "tanh", "relu", "sigmoid" or "identity".
        dt: physical time per step.

    Returns:
        ``(model, params)``; ``params.bias_hh`` is zero.

    Raises:
        ValueError, TypeError: another shape, an unknown activation, complex, NaN or infinite weights.
    """
    by_name(activation)
    check.scalar("dt", dt, 0.0, low_open=True)
    w, w_in = check.array("w", w), check.array("w_in", w_in)
    if w.ndim != 2 or w.shape[0] != w.shape[1] or w.size == 0:
        raise ValueError(f"w must have shape (N, N), got {w.shape}")
    n = w.shape[0]
    if w_in.ndim != 2 or w_in.shape[0] != n or w_in.size == 0:
        raise ValueError(f"w_in must have shape ({n}, n_inputs), got {w_in.shape}")
    bias = jnp.zeros(n, w.dtype) if bias is None else check.array("bias", bias)
    if bias.shape != (n,):
        raise ValueError(f"bias must have shape ({n},), got {bias.shape}")
    model = RNN(n_inputs=w_in.shape[1], n_units=n, activation=activation, dt=float(dt))
    return model, GateParams(weight_ih=w_in, weight_hh=w, bias_ih=bias, bias_hh=jnp.zeros_like(bias))
