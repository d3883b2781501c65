"""Labelled results: every output of the sweep with a dimension per knob and one for the seed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from dynlab.sweep.grid import Design
from dynlab.sweep.plan import Plan

OK, DIVERGED, BAD_KNOB, FAILED = range(4)
STATUS = {OK: "ok", DIVERGED: "diverged", BAD_KNOB: "knob not finite", FAILED: "failed"}
_NOT_RUN = -1


@dataclasses.dataclass(frozen=True)
class Label:
    """What an output or a knob is, for the labelled result.

    Attributes:
        units: physical unit, "1" for a pure number. description: one line.
        dims: names of the axes that an output has of itself. coords: values along one of them, by name.
    """

    units: str = "1"
    description: str = ""
    dims: Sequence[str] = ()
    coords: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Output:
    """One leaf of what ``fn`` returns, for one member."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


def outputs_of(shapes: Any, design: Design) -> list[Output]:
    """Names, shapes and dtypes of the leaves of ``fn``'s result; a name that the sweep itself uses gets a ``fn_``."""
    leaves = jax.tree_util.tree_flatten_with_path(shapes)[0]
    if not leaves:
        raise ValueError("fn must return at least one number or array, got an empty result")
    taken, out = {"status", "seed", "member", *design.names}, []
    for path, leaf in leaves:
        parts = [str(getattr(p, "name", getattr(p, "key", getattr(p, "idx", p)))) for p in path]
        name = ".".join(parts) or "result"
        dtype = np.dtype(leaf.dtype)
        if dtype.kind not in "fiub":
            raise TypeError(f"fn must return real numbers, got dtype {leaf.dtype} for {name}")
        out.append(Output(f"fn_{name}" if name in taken else name, tuple(leaf.shape), dtype))
    return out


def merged(by_group: Sequence[list[Output]]) -> list[Output]:
    """The outputs of all groups as one list: lengths may differ between shapes (filled with NaN), nothing else."""
    first = by_group[0]
    out = []
    for i, one in enumerate(first):
        all_of_it = [group[i] for group in by_group if len(group) == len(first)]
        same = len(all_of_it) == len(by_group) and all(
            o.name == one.name and o.dtype == one.dtype and len(o.shape) == len(one.shape) for o in all_of_it
        )
        shapes = {o.shape for o in all_of_it}
        if not same or (len(shapes) > 1 and one.dtype.kind != "f"):
            raise ValueError(
                f"fn must return the same outputs for every static setting (float arrays may differ in length); "
                f"{one.name} differs: {[(o.shape, str(o.dtype)) for o in all_of_it]}"
            )
        out.append(Output(one.name, tuple(max(s) for s in zip(*shapes, strict=True)), one.dtype))
    return out


class Assembly:
    """Collects blocks into arrays (settings, seeds, ...)."""

    def __init__(self, design: Design, plan: Plan, outputs: list[Output]) -> None:
        self.design, self.plan, self.outputs = design, plan, outputs
        head = (design.size, plan.n_seeds)
        self.values = {
            o.name: np.full(head + o.shape, np.nan if o.dtype.kind == "f" else 0, o.dtype) for o in outputs
        }
        self.status = np.full(head, _NOT_RUN, np.int8)
        self._columns = {name: v for name, v in design.columns().items() if name not in design.static}

    def add(self, group: int, number: int, leaves: Sequence[np.ndarray], failed: np.ndarray) -> None:
        """Put in block `number` of a group: leaves (seeds, lanes, ...), failed (lanes,)."""
        rows, seeds, real = self.plan.groups[group].block(number, self.plan.n_seeds)
        status = np.zeros(real.shape, np.int8)
        for leaf in leaves:
            if leaf.dtype.kind == "f":
                finite = np.isfinite(leaf).all(axis=tuple(range(2, leaf.ndim)))
                status[~finite] = DIVERGED
        bad = np.zeros(len(rows), bool)
        for column in self._columns.values():
            bad |= ~np.isfinite(column[rows])
        status[:, bad] = BAD_KNOB
        status[:, np.asarray(failed, bool)] = FAILED
        q, lane = np.nonzero(real)
        self.status[rows[lane], seeds[q]] = status[q, lane]
        for output, leaf in zip(self.outputs, leaves, strict=True):
            if leaf.dtype.kind == "f":
                lost = np.isin(status, (BAD_KNOB, FAILED)).reshape(status.shape + (1,) * (leaf.ndim - 2))
                leaf = np.where(np.isfinite(leaf) & ~lost, leaf, np.nan).astype(leaf.dtype)
            inner = tuple(slice(0, n) for n in leaf.shape[2:])
            where: Any = (rows[lane], seeds[q], *inner)
            self.values[output.name][where] = leaf[q, lane]

    def finish(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Arrays with the design's own dimensions first, then the seed (none for points)."""
        head = self.design.shape if self.design.kind == "points" else (*self.design.shape, self.plan.n_seeds)
        values = {name: v.reshape(head + v.shape[2:]) for name, v in self.values.items()}
        return values, self.status.reshape(head)


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """What a sweep returns.

    Attributes:
        design: what was swept. seeds: indices of the seeds (grid).
        values: output name -> array; a dimension per knob, then the seed, then the output's own (points: the member).
        status: 0 ok, 1 diverged (an output was not finite), 2 knob not finite, 3 failed; such members hold NaN.
        labels: units and descriptions. provenance: versions, device, dtype, key, block sizes.
        folder: the store, or None.
    """

    design: Design
    seeds: np.ndarray
    values: Mapping[str, np.ndarray]
    status: np.ndarray
    labels: Mapping[str, Label]
    provenance: Mapping[str, Any]
    folder: Any = None

    @property
    def dims(self) -> tuple[str, ...]:
        """The leading dimensions of every array."""
        return ("member",) if self.design.kind == "points" else (*self.design.names, "seed")

    def troubled(self) -> list[dict[str, Any]]:
        """Knobs, seed and status of each member that is not ok."""
        out = []
        for index in np.argwhere(self.status != OK):
            if self.design.kind == "points":
                where = {name: v[index[0]] for name, v in self.design.values.items()} | {"member": int(index[0])}
            else:
                where = {name: v[i] for (name, v), i in zip(self.design.values.items(), index[:-1], strict=True)}
                where["seed"] = int(self.seeds[index[-1]])
            out.append({**where, "status": STATUS[int(self.status[tuple(index)])]})
        return out

    def summary(self, most: int = 10) -> str:
        """How many members there are, how many are not ok, and which (the first `most`)."""
        counts = {name: int(np.sum(self.status == code)) for code, name in STATUS.items()}
        line = f"{self.status.size:,} members: " + ", ".join(f"{n:,} {name}" for name, n in counts.items() if n)
        trouble = self.troubled()
        for member in trouble[:most]:
            at = ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in member.items()
                           if k != "status")
            line += f"\n  {member['status']}: {at}"
        return line + (f"\n  and {len(trouble) - most:,} more" if len(trouble) > most else "")

    @property
    def dataset(self) -> Any:
        """The labelled result as an ``xarray.Dataset`` (needs the extra ``results``)."""
        import xarray

        coords: dict[str, Any] = {}
        for name, values in self.design.values.items():
            label = self.labels.get(name, Label())
            about = label.description or f"{type(self.design.model).__name__} {name}"
            attrs = {"units": label.units, "long_name": about}
            coords[name] = (("member",) if self.design.kind == "points" else (name,), _coordinate(values), attrs)
        if self.design.kind == "points":
            coords["member"] = ("member", np.arange(self.design.size), {"units": "1", "long_name": "member"})
        else:
            coords["seed"] = ("seed", self.seeds, {"units": "1", "long_name": "seed index, folded into the root key"})
        variables: dict[str, Any] = {}
        for name, values in self.values.items():
            label = self.labels.get(name, Label())
            own = tuple(label.dims) or tuple(f"{name}_{i}" for i in range(values.ndim - len(self.dims)))
            attrs = {"units": label.units, "long_name": label.description or name}
            variables[name] = (self.dims + own, values, attrs)
            for axis, along in label.coords.items():
                coords[axis] = (axis, np.asarray(along))
        meaning = ", ".join(f"{code} {name}" for code, name in STATUS.items())
        variables["status"] = (self.dims, self.status, {"units": "1", "long_name": f"member status: {meaning}"})
        attrs = {"description": "sweep", "provenance": json.dumps(self.provenance, sort_keys=True)}
        return xarray.Dataset(variables, coords, attrs)


def _coordinate(values: np.ndarray) -> np.ndarray:
    """Coordinate values that a file can hold: numbers as they are, anything else as text."""
    if values.dtype != object:
        return values
    items = values.tolist()
    if all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in items):
        return np.asarray(items)
    return np.asarray([item if isinstance(item, str) else repr(item) for item in items], dtype=str)


def check_labels(labels: Mapping[str, Label], outputs: list[Output], design: Design) -> None:
    """Refuse labels of unknown names or with the wrong number of dimensions."""
    ranks = {o.name: len(o.shape) for o in outputs}
    for name, label in labels.items():
        if name not in ranks and name not in design.names:
            known = ", ".join([*ranks, *design.names])
            raise ValueError(f"labels: no output or knob is called {name!r}; there are {known}")
        if label.dims and len(label.dims) != ranks.get(name, 0):
            raise ValueError(f"labels[{name!r}].dims must name {ranks.get(name, 0)} axes, got {tuple(label.dims)}")
