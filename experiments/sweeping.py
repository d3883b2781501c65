"""``--sweep FIELD=START:STOP:N``: run an experiment for every value of a field (several: every combination).

Each run's figures are kept in OUT/members as soon as it ends, so that the same command goes on after an interrupt.
Here the experiment itself is the member, run after run; ``dynlab.sweep`` is the vmapped sweep inside an experiment.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from experiments import contract, store

HELP = "run for N values of a numeric field, or for A,B,C; may be given several times (every combination)"


@dataclasses.dataclass(frozen=True)
class Axis:
    """One swept field and its values."""

    field: str
    values: tuple[Any, ...]


def read(text: str, config: Any) -> Axis:
    """``field=start:stop:n`` or ``field=a,b,c`` for a numeric field of `config`; ValueError says what is wrong."""
    name, _, given = text.partition("=")
    name = name.replace("-", "_")
    fields = {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
    knobs = [key for key, value in fields.items() if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if name not in knobs:
        raise ValueError(f"--sweep: {name!r} is no numeric field; there are {', '.join(knobs)}")
    parts = given.split(":")
    try:
        if len(parts) == 3:
            start, stop, count = float(parts[0]), float(parts[1]), int(parts[2])
            fine = math.isfinite(start) and math.isfinite(stop)
            values = np.linspace(start, stop, count).tolist() if count > 0 and fine else []
        elif len(parts) == 1:
            values = [float(item) for item in given.split(",")]
        else:
            raise ValueError(given)
    except ValueError as error:
        raise ValueError(f"--sweep must be FIELD=START:STOP:N or FIELD=A,B,C, got {text!r}") from error
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"--sweep needs finite bounds and at least one value, got {text!r}")
    if isinstance(fields[name], int):
        if any(value != round(value) for value in values):
            raise ValueError(f"--sweep: {name} is an integer, got {text!r}, which gives {values}")
        values = [round(value) for value in values]
    if len(set(values)) != len(values):
        raise ValueError(f"--sweep: the values of {name} must differ, got {text!r}")
    return Axis(name, tuple(values))


def check_distinct(axes: Sequence[Axis]) -> None:
    """Refuse a field that is swept twice."""
    names = [axis.field for axis in axes]
    if len(set(names)) != len(names):
        raise ValueError(f"--sweep names a field twice: {', '.join(names)}")


def configs(config: Any, axes: Sequence[Axis]) -> Iterator[Any]:
    """The config of every member; the last field runs fastest. Without axes, the config itself."""
    for values in itertools.product(*(axis.values for axis in axes)):
        yield dataclasses.replace(config, **dict(zip((axis.field for axis in axes), values, strict=True)))


def run(
    module: ModuleType, name: str, config: Any, axes: Sequence[Axis], seed: int, out: Path, progress: contract.Progress
) -> contract.Result:
    """Run every member that is not in OUT/members yet and put the figures of all together."""
    import jax

    (out / "members").mkdir(parents=True, exist_ok=True)
    circumstances = store.provenance(seed, 0.0)
    found = []
    members = list(configs(config, axes))
    for number, each in enumerate(progress(members, "sweep")):
        path = out / "members" / f"{number:06d}.json"
        identity = json.loads(json.dumps(store.plain(
            {"experiment": name, "config": each, "seed": seed, "versions": circumstances["versions"],
             "dtype": circumstances["dtype"]})))
        kept = _kept(path)
        if kept.get("identity") != identity:
            figures = store.plain(module.run(each, jax.random.key(seed), contract.quiet).figures)
            kept = {"identity": identity, "figures": figures}
            store.write_json(path, kept)
        found.append(kept["figures"])
    return summarise(name, axes, found)


def _kept(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def summarise(name: str, axes: Sequence[Axis], found: Sequence[dict[str, Any]]) -> contract.Result:
    """Arrays with a dimension per field, a table of every member, and a plot along the first field."""
    names = list(dict.fromkeys(key for figures in found for key in figures))
    dims, shape = tuple(axis.field for axis in axes), tuple(len(axis.values) for axis in axes)
    arrays = {
        key: np.asarray([math.nan if figures.get(key) is None else figures[key] for figures in found], float)
        for key in names
    }
    rows = [
        (*(f"{value:.6g}" for value in values), *(arrays[key][i] for key in names[:6]))
        for i, values in enumerate(itertools.product(*(axis.values for axis in axes)))
    ]
    note = f"the first 6 of {len(names)} figures; all are in results.nc" if len(names) > 6 else ""
    return contract.Result(
        figures={"members": float(len(found))},
        tables=[contract.Table(f"{name} over {', '.join(dims)}", (*dims, *names[:6]), rows[:60], note=note)],
        data={key: contract.Variable(dims, array.reshape(shape), "1", f"figure {key} of {name}")
              for key, array in arrays.items()},
        coords={axis.field: contract.Variable((axis.field,), axis.values, "1", f"config field {axis.field}")
                for axis in axes},
        plots={"sweep": partial(draw, axes, {key: array.reshape(shape) for key, array in arrays.items()})},
        headline=f"{len(found)} runs of {name} over {', '.join(dims)}",
    )


def draw(axes: Sequence[Axis], arrays: dict[str, np.ndarray], figure: Any) -> None:
    """Up to nine figures against the first field, a line for each combination of the others."""
    shown = list(arrays)[:9]
    columns = min(3, len(shown))
    figure.set_size_inches(3.6 * columns, 2.8 * -(-len(shown) // columns))
    panels = figure.subplots(-(-len(shown) // columns), columns, squeeze=False, sharex=True)
    for ax, key in zip(panels.ravel(), shown, strict=False):
        ax.plot(axes[0].values, arrays[key].reshape(len(axes[0].values), -1), marker="o", markersize=3)
        ax.set_title(key, fontsize=9)
        ax.set_xlabel(axes[0].field)
