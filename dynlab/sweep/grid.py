"""What a sweep runs over: a product of knob values (:func:`grid`) or paired values (:func:`points`)."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from dynlab import check

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Design:
    """The settings of a sweep.

    Attributes:
        model: the base model; fields that are not swept keep their value.
        kind: "grid" (product) or "points" (paired).
        values: knob name -> its values, in the order of the dimensions.
        static: the names among them that shape the program (sizes, topology): one compilation a distinct setting.
    """

    model: Any
    kind: str
    values: Mapping[str, np.ndarray]
    static: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension: one per knob in a grid, one in all for points."""
        sizes = tuple(len(v) for v in self.values.values())
        return sizes if self.kind == "grid" else sizes[:1]

    @property
    def size(self) -> int:
        """Number of settings (seeds not counted)."""
        return math.prod(self.shape)

    def columns(self) -> dict[str, np.ndarray]:
        """The values of each knob for every setting, (size,), the last dimension of a grid running fastest."""
        if self.kind == "points":
            return dict(self.values)
        index = np.unravel_index(np.arange(self.size), self.shape)
        return {name: v[i] for (name, v), i in zip(self.values.items(), index, strict=True)}

    def groups(self) -> list[tuple[dict[str, Any], np.ndarray]]:
        """Settings that share one program: ``(static values, indices of the settings)``, in order of appearance."""
        if not self.static:
            return [({}, np.arange(self.size))]
        columns = self.columns()
        found: dict[tuple[Any, ...], list[int]] = {}
        for i, key in enumerate(zip(*(columns[name] for name in self.static), strict=True)):
            found.setdefault(key, []).append(i)
        return [(dict(zip(self.static, key, strict=True)), np.asarray(rows)) for key, rows in found.items()]


def _fields(model: Any) -> dict[str, bool]:
    """Field name -> whether it is a leaf (a knob) or static."""
    if not dataclasses.is_dataclass(model) or isinstance(model, type):
        raise TypeError(f"model must be an instance of a dataclass such as ESN(), got {model!r}")
    return {item.name: item.metadata.get("pytree_node", True) for item in dataclasses.fields(model)}


def _column(name: str, values: Any, leaf: bool) -> np.ndarray:
    """The values of one knob as a 1-D array: float64 for a leaf, objects for a static field."""
    if isinstance(values, str) or not (hasattr(values, "__len__") or hasattr(values, "__iter__")):
        raise TypeError(f"{name} must be a list or 1-D array of values, got {values!r}")
    if not leaf:
        items = values.tolist() if isinstance(values, np.ndarray) else list(values)
        for item in items:
            try:
                hash(item)
            except TypeError as error:
                raise TypeError(f"{name} is a static field: its values must be hashable, got {item!r}") from error
        array = np.empty(len(items), object)
        array[:] = items
    else:
        array = np.asarray(values if hasattr(values, "__len__") else list(values))
        if array.ndim != 1:
            raise ValueError(f"{name} must be a list or 1-D array of values, got shape {array.shape}")
        if array.size and array.dtype.kind not in "fiub":
            raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}")
        array = array.astype(np.float64)
    if not array.size:
        raise ValueError(f"{name} must hold at least one value, got none: the sweep would be empty")
    return array


def _design(model: Any, kind: str, knobs: Mapping[str, Any]) -> Design:
    fields = _fields(model)
    if not knobs:
        raise ValueError(f"give at least one knob to sweep; {type(model).__name__} has {', '.join(fields)}")
    values = {}
    for name, given in knobs.items():
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"{type(model).__name__} has no knob {name!r}{hint}; it has {', '.join(fields)}")
        values[name] = _column(name, given, fields[name])
    static = tuple(name for name in values if not fields[name])
    design = Design(model, kind, values, static)
    _check_ranges(design)
    return design


def _check_ranges(design: Design) -> None:
    """Let the model's own ``init`` refuse the ends of each knob's range, so that a bad grid fails before compiling.

    NaN and infinities pass: such members get a status.
    """
    if not hasattr(design.model, "init"):
        return
    for statics, rows in design.groups():
        model = dataclasses.replace(design.model, **statics)
        columns = design.columns()
        for name in set(design.names) - set(design.static):
            finite = columns[name][rows][np.isfinite(columns[name][rows])]
            for value in {float(finite.min()), float(finite.max())} if finite.size else ():
                jax.eval_shape(dataclasses.replace(model, **{name: value}).init, jax.random.key(0))


def grid(model: Any, **knobs: Any) -> Design:
    """The product of knob values, one dimension a knob, in the order given.

    Args:
        model: the base model, a dataclass such as :class:`dynlab.ESN`.
        **knobs: field name = list or 1-D array of values. Leaf fields share one program; static fields (sizes,
            topology) may be swept too, at one compilation for each distinct setting of them.

    Raises:
        ValueError, TypeError: an unknown knob, no values, values that are no numbers, or a value that the model's
            own ``init`` refuses. NaN and infinite values are let through: their members get a status.
    """
    return _design(model, "grid", knobs)


def points(model: Any, **columns: Any) -> Design:
    """Paired knob values: member i has the i-th value of every column. Each member draws its own network.

    Raises:
        ValueError, TypeError: as :func:`grid`, and columns of different length.
    """
    design = _design(model, "points", columns)
    lengths = {name: len(v) for name, v in design.values.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"paired columns must have the same length, got {lengths}; use grid for a product")
    return design


def scale(name: str, bounds: Any, unit: np.ndarray) -> np.ndarray:
    """Map numbers in [0, 1) into ``(low, high)``, or ``(low, high, "log")`` for a logarithmic scale."""
    low, high, log = read_bounds(name, bounds)
    if log:
        return np.exp(np.log(low) + unit * (np.log(high) - np.log(low)))
    return low + unit * (high - low)


def read_bounds(name: str, bounds: Any) -> tuple[float, float, bool]:
    """Check ``(low, high)`` or ``(low, high, "log")``; returns ``(low, high, is logarithmic)``."""
    if not isinstance(bounds, (tuple, list)) or len(bounds) not in (2, 3):
        raise TypeError(f"{name} must be (low, high) or (low, high, 'log'), got {bounds!r}")
    low, high = bounds[:2]
    check.number(f"{name} bounds", [low, high])
    log = len(bounds) == 3
    if log and bounds[2] != "log":
        raise ValueError(f"{name}: the third entry must be 'log', got {bounds[2]!r}")
    if not low < high or (log and low <= 0):
        raise ValueError(f"{name} bounds must satisfy {'0 < ' if log else ''}low < high, got {bounds!r}")
    return float(low), float(high), log


def random_points(model: Any, n: int, seed: int, **bounds: Any) -> Design:
    """`n` independent uniform points in the box given by ``knob=(low, high)`` or ``knob=(low, high, "log")``."""
    n = check.integer("n", n, 1)
    unit = np.random.default_rng(check.integer("seed", seed, 0)).random((n, len(bounds)))
    return points(model, **{name: scale(name, b, unit[:, i]) for i, (name, b) in enumerate(bounds.items())})


def sobol_points(model: Any, n: int, seed: int, **bounds: Any) -> Design:
    """`n` points of a scrambled Sobol sequence (best balanced for powers of two); bounds as :func:`random_points`.

    Reference: Owen 1998, doi:10.1006/jcom.1998.0487, through ``scipy.stats.qmc``.
    """
    from scipy.stats import qmc

    n = check.integer("n", n, 1)
    seed = check.integer("seed", seed, 0)
    for name, b in bounds.items():
        read_bounds(name, b)
    if not bounds:
        return points(model)
    unit = qmc.Sobol(len(bounds), rng=seed).random_base2(math.ceil(math.log2(n)))[:n]
    return points(model, **{name: scale(name, b, unit[:, i]) for i, (name, b) in enumerate(bounds.items())})
