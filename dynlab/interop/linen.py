"""Recurrent cells of Flax linen, from their parameter dictionaries. Flax is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from dynlab import check
from dynlab.interop.weights import weight
from dynlab.models.gates import GateParams
from dynlab.models.gru import GRU
from dynlab.models.lstm import LSTM
from dynlab.models.rnn import RNN

# cell -> its gates in the order of this library's rows; linen has two dense layers for each, "i" + gate and "h" + gate
CELLS = {"SimpleCell": ("",), "GRUCell": ("r", "z", "n"), "LSTMCell": ("i", "f", "g", "o")}


def from_linen(params: Any, *, nonlinearity: str = "tanh", dt: float = 1.0) -> tuple[RNN | GRU | LSTM, GateParams]:
    """A ``SimpleCell``, ``GRUCell``, ``LSTMCell`` or ``OptimizedLSTMCell`` of ``flax.linen`` by its parameters.

    Args:
        params: the dictionary that ``cell.init`` returned or training produced, with the outer ``"params"`` or without;
            levels with a single entry, as ``nn.RNN`` adds one, are opened.
        nonlinearity: f of a SimpleCell without ``residual``, "tanh" or "relu". The gated cells must have linen's
            default functions; a parameter dictionary does not tell.
        dt: physical time per step.

    Returns:
        ``(model, params)``; driven by the same input from zero, the features are the outputs of the cell.

    Raises:
        ValueError, TypeError: no mapping, entries of another module, a missing entry, another shape, NaN or infinity.
    """
    check.choice("nonlinearity", nonlinearity, ("tanh", "relu"))
    check.scalar("dt", dt, 0.0, low_open=True)
    path, level = _open(params)
    cell = _recognise(path, level)
    gates = CELLS[cell]
    n = _get(path, level, f"h{gates[0]}", "kernel", (None, None)).shape[-1]
    d = _get(path, level, f"i{gates[0]}", "kernel", (None, n)).shape[0]
    zeros = jnp.zeros(n, check.default_float())

    def rows(side: str, size: int) -> Any:
        return jnp.concatenate([_get(path, level, side + gate, "kernel", (size, n)).T for gate in gates])

    def biases(side: str) -> Any:
        return jnp.concatenate([
            _get(path, level, side + gate, "bias", (n,)) if "bias" in level[side + gate] else zeros for gate in gates
        ])

    made = GateParams(rows("i", d), rows("h", n), biases("i"), biases("h"))
    if cell == "SimpleCell":
        return RNN(n_inputs=d, n_units=n, activation=nonlinearity, dt=float(dt)), made
    if nonlinearity != "tanh":
        raise ValueError(f"nonlinearity must be 'tanh' for a {cell}, got {nonlinearity!r}")
    return (GRU if cell == "GRUCell" else LSTM)(n_inputs=d, n_units=n, dt=float(dt)), made


def _open(params: Any) -> tuple[str, Mapping[str, Any]]:
    """The level that holds the layers, and its path for error messages."""
    path = "params"
    while True:
        if not isinstance(params, Mapping):
            raise TypeError(f"{path} must be a dictionary of layers of a linen cell, got {type(params).__name__}")
        if len(params) != 1:
            return path, params
        name = next(iter(params))
        path, params = f"{path}[{name!r}]", params[name]


def _recognise(path: str, level: Mapping[str, Any]) -> str:
    """The cell whose layers these are."""
    names = set(level)
    wanted = {cell: {side + gate for side in "ih" for gate in gates} for cell, gates in CELLS.items()}
    for cell, layers in wanted.items():
        if names == layers:
            return cell
    likely = max(wanted, key=lambda cell: len(wanted[cell] & names) / len(wanted[cell] | names))
    if not wanted[likely] & names:
        raise ValueError(f"{path} must be the parameters of one of {', '.join(CELLS)}, got the entries {sorted(names)}")
    raise ValueError(f"{path} must have the entries {sorted(wanted[likely])} for a {likely}; missing "
                     f"{sorted(wanted[likely] - names)}, not among them {sorted(names - wanted[likely])}")


def _get(path: str, level: Mapping[str, Any], layer: str, name: str, shape: tuple[int | None, ...]) -> Any:
    """One array of one layer."""
    where = f"{path}[{layer!r}][{name!r}]"
    entries = level[layer]
    if not isinstance(entries, Mapping) or name not in entries:
        raise ValueError(f"{where} must be there, got {sorted(entries) if isinstance(entries, Mapping) else entries!r}")
    return weight(where, entries[name], shape)
