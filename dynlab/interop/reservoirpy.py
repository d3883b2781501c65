"""reservoirpy: its parameter names and its drawn reservoirs. It is not imported; its objects are read by attribute."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynlab.models.esn import ESN, ESNParams, esn_from_arrays
from dynlab.models.weights import Random

RESERVOIRPY_NAMES = {
    "units": "n_units",
    "input_dim": "n_inputs",
    "sr": "spectral_radius",
    "lr": "leak_rate",
    "input_scaling": "input_scaling",
    "input_connectivity": "input_connectivity",
    "rc_connectivity": "connectivity",
    "activation": "activation",
}
"""reservoirpy's name for a reservoir parameter -> the field of :class:`dynlab.ESN` that means the same."""


def esn_from_reservoirpy_names(**parameters: Any) -> ESN:
    """An :class:`dynlab.ESN` from reservoirpy's parameter names, for example ``units=100, sr=1.25, lr=0.3``.

    Weights are drawn by dynlab: a network of the same kind, not the same network (for that:
    :func:`esn_from_reservoirpy`). reservoirpy's own defaults are kept where they differ from dynlab's: leak rate 1,
    spectral radius 1, input connectivity 0.1, ±1 input weights, normal recurrent weights.

    Raises:
        ValueError: a parameter that has no counterpart (``Win``, ``W``, ``seed`` ...).
    """
    unknown = sorted(set(parameters) - set(RESERVOIRPY_NAMES))
    if unknown:
        raise ValueError(f"parameters must be among {', '.join(RESERVOIRPY_NAMES)}, got {', '.join(unknown)}")
    theirs = {"sr": 1.0, "lr": 1.0, "input_connectivity": 0.1, **parameters}
    fields = {RESERVOIRPY_NAMES[name]: value for name, value in theirs.items()}
    network = Random(fields.pop("connectivity", 0.1), distribution="normal")
    return ESN(input_distribution="sign", topology=network, **fields)


def esn_from_reservoirpy(node: Any) -> tuple[ESN, ESNParams]:
    """The very network of an initialised reservoirpy ``Reservoir`` (run it once to initialise it).

    Returns:
        ``(model, params)``: driven by the same input from zero, it has the states of reservoirpy's NumPy backend.

    Raises:
        ValueError: a node that is not initialised, or an activation that dynlab does not have.
    """
    if not getattr(node, "initialized", False):
        raise ValueError("node must be initialised: run it once on some input, got initialized=False")
    name = getattr(node.activation, "__name__", str(node.activation))
    dense = [m.toarray() if hasattr(m, "toarray") else np.asarray(m) for m in (node.W, node.Win)]
    bias = node.bias.toarray() if hasattr(node.bias, "toarray") else np.asarray(node.bias, dtype=float)
    n_units = dense[0].shape[0]
    return esn_from_arrays(
        *dense, bias=np.broadcast_to(bias.ravel(), (n_units,)), leak_rate=node.lr, activation=name
    )
