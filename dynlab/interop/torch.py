"""PyTorch's nn.RNN, nn.GRU, nn.LSTM, their cells and nn.Linear, from a state_dict or a saved file, without PyTorch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check
from dynlab.combine import Stack
from dynlab.interop.torch_file import read_torch_file
from dynlab.interop.weights import weight
from dynlab.models.gates import GateParams
from dynlab.models.gru import GRU
from dynlab.models.lstm import LSTM
from dynlab.models.rnn import RNN
from dynlab.readout.linear import Linear

GATES = {1: "nn.RNN", 3: "nn.GRU", 4: "nn.LSTM"}
RECURRENT = re.compile(r"(weight|bias)_(ih|hh)(_l(\d+))?")
SOURCE = "a state_dict (a mapping of names to arrays) or the path that torch.save(model.state_dict(), path) wrote"


def from_torch(source: Any, *, prefix: str = "", nonlinearity: str = "tanh", dt: float = 1.0) -> tuple[Any, Any]:
    """A recurrent network trained in PyTorch: ``nn.RNN``, ``nn.GRU`` or ``nn.LSTM``, of one or more layers, or a cell.

    The kind is read off the shapes: ``weight_hh`` has 1, 3 or 4 blocks of N rows. Dropout between layers is not in a
    state_dict: the network is the one that ``model.eval()`` gives.

    Args:
        source: a state_dict (values NumPy arrays or PyTorch tensors), or the path of one saved by ``torch.save``.
        prefix: of the entries in a larger module's state_dict, such as "rnn."; found when only one part is recurrent.
        nonlinearity: of an ``nn.RNN``, "tanh" or "relu"; the state_dict does not tell.
        dt: physical time per step.

    Returns:
        ``(model, params)``: an :class:`dynlab.RNN`, :class:`dynlab.GRU` or :class:`dynlab.LSTM`, or a
        :class:`dynlab.Stack` of them for more than one layer. The features are PyTorch's ``output``.

    Raises:
        ValueError: a missing or unexpected entry, another shape, a bidirectional network, one with projections, a
            quantised, integer or complex dtype, NaN or infinity, no or several recurrent parts; each names the entry.
        TypeError: a source that is neither.
    """
    check.choice("nonlinearity", nonlinearity, ("tanh", "relu"))
    check.scalar("dt", dt, 0.0, low_open=True)
    entries = _entries(source)
    prefix = _prefix(entries, prefix, "recurrent network", _recurrent_prefixes(entries))
    part = {key[len(prefix) :]: value for key, value in entries.items() if key.startswith(prefix)}
    part = {name: value for name, value in part.items() if "." not in name}  # the rest are other modules
    suffixes = _layers(prefix, part)
    layers: list[Any] = []
    params: list[GateParams] = []
    for i, suffix in enumerate(suffixes):
        n_inputs = layers[-1].n_units if i else None
        layer, weights = _layer(prefix, part, suffix, n_inputs, nonlinearity, float(dt))
        if i and type(layer) is not type(layers[0]):
            raise ValueError(f"{prefix}weight_hh{suffix} must be of the same kind of network as {prefix}weight_hh_l0 "
                             f"({type(layers[0]).__name__}), got the shape of a {type(layer).__name__}")
        layers.append(layer)
        params.append(weights)
    if len(layers) == 1:
        return layers[0], params[0]
    return Stack(tuple(layers), observe_all=False), tuple(params)


def linear_from_torch(source: Any, prefix: str = "") -> Linear:
    """An ``nn.Linear``, for example the trained readout of a recurrent network, as a :class:`dynlab.Linear`.

    Args:
        source: as for :func:`from_torch`.
        prefix: of its entries, such as "readout."; found when only one part has a "weight" with two axes.

    Returns:
        The readout: features (..., N) -> outputs (..., D).

    Raises:
        ValueError, TypeError: as for :func:`from_torch`.
    """
    entries = _entries(source)
    owners = [key.removesuffix("weight") for key, value in entries.items()
              if re.fullmatch(r"(.*\.)?weight", key) and len(getattr(value, "shape", ())) == 2]
    prefix = _prefix(entries, prefix, "linear layer", owners)
    if prefix + "weight" not in entries:
        raise ValueError(f"{prefix}weight must be in the source, got the entries {_listed(entries)}")
    weights = weight(prefix + "weight", entries[prefix + "weight"], (None, None))
    n_outputs = weights.shape[0]
    if prefix + "bias" not in entries:
        return Linear(weights.T, jnp.zeros(n_outputs, weights.dtype))
    return Linear(weights.T, weight(prefix + "bias", entries[prefix + "bias"], (n_outputs,)))


def _entries(source: Any) -> Mapping[str, Any]:
    """The state_dict itself, read from its file where need be."""
    if isinstance(source, (str, os.PathLike)):
        source = read_torch_file(source)
    elif hasattr(source, "state_dict"):
        raise TypeError(f"source must be {SOURCE}, got a module ({type(source).__name__}): give its state_dict()")
    elif not isinstance(source, Mapping):
        raise TypeError(f"source must be {SOURCE}, got {type(source).__name__}")
    if not source:
        raise ValueError(f"source must be {SOURCE}, got an empty mapping")
    other = [key for key in source if not isinstance(key, str)]
    if other:
        raise ValueError(f"source must have names as keys, got {other[0]!r} of type {type(other[0]).__name__}")
    inner = [key for key, value in source.items() if isinstance(value, Mapping)]
    if inner and not _recurrent_prefixes(source):
        raise ValueError(f"source must be {SOURCE}, got a checkpoint with the mappings {inner}: give the one that is "
                         "the state_dict (dynlab.interop.read_torch_file reads the file)")
    return source


def _recurrent_prefixes(entries: Mapping[str, Any]) -> list[str]:
    """What comes before ``weight_ih_l0`` and its like, once for each module; a half of a pair counts too."""
    split = [key.rpartition(".") for key in entries]
    return list(dict.fromkeys(head + dot for head, dot, name in split if RECURRENT.fullmatch(name)))


def _prefix(entries: Mapping[str, Any], prefix: str, what: str, found: list[str]) -> str:
    """The prefix that was asked for, ending in a dot, or the only one there is."""
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a string, got {type(prefix).__name__}")
    if prefix:
        prefix = prefix if prefix.endswith(".") else prefix + "."
        if not any(key.startswith(prefix) for key in entries):
            raise ValueError(f"prefix must begin the name of an entry, got {prefix!r}; the entries are "
                             f"{_listed(entries)}")
        return prefix
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"prefix must be given to choose a {what}: one of {', '.join(map(repr, found))}")
    packed = [key for key in entries if "_packed_params" in key or "_all_weight_values" in key]
    if packed:
        raise ValueError(f"source must hold floating-point weights, got the quantised entry {packed[0]!r}: export the "
                         "weights before quantising")
    raise ValueError(f"source must hold a {what} (entries such as "
                     f"{'weight_ih_l0, weight_hh_l0' if what.startswith('rec') else 'weight'}), got the entries "
                     f"{_listed(entries)}")


def _listed(entries: Mapping[str, Any]) -> str:
    names = list(entries)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _layers(prefix: str, part: Mapping[str, Any]) -> list[str]:
    """The suffixes of the layers, ``["_l0", "_l1"]``, or ``[""]`` of a cell; every entry is accounted for."""
    for name in part:
        if name.endswith("_reverse"):
            raise ValueError(f"{prefix}{name}: a bidirectional network has no state that runs forward in time; allowed "
                             "are networks with bidirectional=False")
        if name.startswith("weight_hr"):
            raise ValueError(f"{prefix}{name}: an LSTM with projections is not supported; allowed is proj_size=0")
        if not RECURRENT.fullmatch(name):
            raise ValueError(f"{prefix}{name} is no entry of nn.RNN, nn.GRU or nn.LSTM: allowed are weight_ih_l0, "
                             "weight_hh_l0, bias_ih_l0, bias_hh_l0 and so on for each layer")
    if not part:
        raise ValueError(f"prefix must be that of a recurrent network itself, got {prefix!r}, below which there is no "
                         "entry such as weight_ih_l0")
    numbers = {RECURRENT.fullmatch(name)[4] for name in part}  # type: ignore[index]
    if numbers == {None}:
        return [""]
    if None in numbers:
        raise ValueError(f"{prefix}weight_ih must not stand beside weight_ih_l0: a cell or a network, got both")
    count = 1 + max(int(number) for number in numbers)
    if count > len(numbers):  # a gap
        missing = next(i for i in range(count) if str(i) not in numbers)
        raise ValueError(f"{prefix}weight_ih_l{missing} is missing: layers go from 0 to the last without a gap, got "
                         f"{sorted(int(number) for number in numbers)}")
    return [f"_l{i}" for i in range(count)]


def _layer(
    prefix: str, part: Mapping[str, Any], suffix: str, n_inputs: int | None, nonlinearity: str, dt: float
) -> tuple[Any, GateParams]:
    """One layer and its weights."""
    def get(name: str, shape: tuple[int | None, ...]) -> jax.Array:
        if name + suffix not in part:
            raise ValueError(f"{prefix}{name}{suffix} is missing: a layer has weight_ih, weight_hh and either both of "
                             "bias_ih, bias_hh or none")
        return weight(f"{prefix}{name}{suffix}", part[name + suffix], shape)

    recurrent = get("weight_hh", (None, None))
    rows, n = recurrent.shape
    if rows % n or rows // n not in GATES:
        raise ValueError(f"{prefix}weight_hh{suffix} must have N, 3 N or 4 N rows and N columns (nn.RNN, nn.GRU, "
                         f"nn.LSTM), got shape {recurrent.shape}")
    weight_ih = get("weight_ih", (rows, n_inputs))
    if f"bias_ih{suffix}" in part or f"bias_hh{suffix}" in part:
        biases = get("bias_ih", (rows,)), get("bias_hh", (rows,))
    else:
        biases = jnp.zeros(rows, recurrent.dtype), jnp.zeros(rows, recurrent.dtype)
    kind = GATES[rows // n]
    if kind != "nn.RNN" and nonlinearity != "tanh":
        raise ValueError(f"nonlinearity must be 'tanh' for an {kind}, got {nonlinearity!r}")
    d = weight_ih.shape[1]
    model = (RNN(n_inputs=d, n_units=n, activation=nonlinearity, dt=dt) if kind == "nn.RNN"
             else (GRU if kind == "nn.GRU" else LSTM)(n_inputs=d, n_units=n, dt=dt))
    return model, GateParams(weight_ih, recurrent, *biases)
