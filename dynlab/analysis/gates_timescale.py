"""The timescale that a gated network sets itself, by how much of its state a gate keeps."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check
from dynlab.analysis.perturb import n_units_of
from dynlab.simulation import check_inputs, check_model, simulate

Array = jax.Array


@partial(jax.jit, static_argnames="n")
def _mean_lost(params: Any, h: Array, x: Array, *, n: int) -> Array:
    """1 - <keep gate> (N,), from features h (..., T, N) and the inputs x (..., T, D) of the steps after them."""
    rows = slice(n, 2 * n)  # f of the blocks i, f, g, o; z of the blocks r, z, n
    mm = partial(jnp.matmul, precision="highest")
    u = mm(x, params.weight_ih[rows].T) + mm(h, params.weight_hh[rows].T) + (params.bias_ih + params.bias_hh)[rows]
    lost = jax.nn.sigmoid(-u)  # 1 - sigmoid(u), which would lose a gate near 1
    return jnp.mean(lost, axis=tuple(range(lost.ndim - 1)))


def forget_gate_timescale(
    model: Any, params: Any, inputs: Any, *, key: Array | None = None, state: Any = None, washout: int = 0
) -> Array:
    r"""Timescale (N,) of each unit of an LSTM or GRU by the mean of the gate that keeps its state.

    .. math:: \tau_i = \frac{\Delta t}{1 - \langle f_i \rangle}

    with the forget gate f of the LSTM, whose cell decays by :math:`c^+ = f c + \dots`, or the update gate z of the
    GRU, :math:`h^+ = z h + \dots`; the mean is over the steps of a run (and over trials). dt for a gate that is shut,
    infinite for one that stays open. Source: Khajehabdollahi et al. (ICLR 2024, arXiv:2309.12927), for the LSTM.

    Args:
        model: :class:`dynlab.LSTM` or :class:`dynlab.GRU`; params: its parameters.
        inputs: series (T, D) or batch (B, T, D). key, state, washout: as in :func:`dynlab.simulate`. The first step
            after the washout is not counted.

    Raises:
        TypeError: a model without such a gate. ValueError: as :func:`dynlab.simulate`; fewer than 2 steps left.
    """
    check_model(model)
    n = n_units_of(params)
    if jnp.shape(params.bias_hh)[0] not in (3 * n, 4 * n):
        raise TypeError(f"model must be an LSTM or a GRU, got {type(model).__name__}, which has no gate that keeps its "
                        "state: use parameter_timescales")
    inputs, batched = check_inputs(model, inputs)
    left = inputs.shape[-2] - check.washout(washout, inputs.shape[-2])
    if left < 2:
        raise ValueError(f"inputs must have at least 2 time steps after the washout, got {left}")
    run = simulate(model, params, inputs, key=key, state=state, washout=washout, batched=batched)
    return model.dt / _mean_lost(params, run.outputs[..., :-1, :], inputs[..., washout + 1 :, :], n=n)
