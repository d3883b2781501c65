"""The result folder: config.json, results.nc, one PNG a plot, and summary.json last.

Every file is written under a temporary name and then moved into place, so a reader never sees half a file; the
old summary.json is removed before the first file changes, so a folder with a summary is a complete run.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.contract import Result, Variable

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = {"xarray": "results", "h5netcdf": "results", "matplotlib": "plots"}


def missing_extras() -> str | None:
    """What to install when a package that the result folder needs is not there; None when all are."""
    missing = [name for name in EXTRAS if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return f"{', '.join(missing)} not installed; an experiment needs them: pip install 'dynlab[results,plots]'"


def prepare(out: Path) -> None:
    """Make the folder and try to write into it; an OSError says why not."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: dataclasses as objects, arrays as lists, NaN and infinities as None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.generic, np.ndarray)) or hasattr(value, "__array__"):
        return plain(np.asarray(value).tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"cannot write {value!r} of type {type(value).__name__} as JSON")


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Write through `write(temporary path)`, then move into place."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (never a bare NaN), atomically."""
    text = json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    _replace(path, lambda temporary: _write_text(temporary, text))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def dataset(result: Result, attrs: Mapping[str, Any]) -> Any:
    """The labelled arrays of a result as an ``xarray.Dataset``."""
    import xarray

    def pack(variables: Mapping[str, Variable]) -> dict[str, Any]:
        packed = {}
        for name, item in variables.items():
            values = np.asarray(item.values)
            if values.ndim != len(item.dims):
                raise ValueError(f"variable {name!r} has dims {tuple(item.dims)} but shape {values.shape}")
            packed[name] = (tuple(item.dims), values, {"units": item.units, "long_name": item.description})
        return packed

    return xarray.Dataset(pack(result.data), pack(result.coords), dict(attrs))


def write(out: Path, result: Result, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[Path]:
    """Write the whole folder; returns the paths of the plots.

    Args:
        out: the folder, which exists.
        result: what the experiment returned.
        config: what config.json holds: everything needed to run the same again.
        provenance: what summary.json says about the circumstances.
    """
    summary = out / "summary.json"
    summary.unlink(missing_ok=True)
    write_json(out / "config.json", config)
    attrs = {"experiment": str(config["experiment"]), "config": json.dumps(plain(config)), "seed": int(config["seed"])}
    labelled = dataset(result, attrs)
    _replace(out / "results.nc", lambda path: labelled.to_netcdf(path, engine="h5netcdf"))
    images = []
    for name, draw in result.plots.items():
        images.append(out / f"{name}.png")
        _replace(images[-1], _render(draw))
    files = ["config.json", "results.nc", *(image.name for image in images)]
    write_json(
        summary,
        {
            "experiment": config["experiment"],
            "figures": result.figures,
            "claims": result.claims,
            "provenance": provenance,
            "files": files,
        },
    )
    return images


def _render(draw: Callable[[Any], None]) -> Callable[[Path], None]:
    """A writer that renders `draw` through Agg without pyplot, so no global matplotlib state changes."""

    def save(path: Path) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        figure.savefig(path, dpi=150)

    return save


def _git(*arguments: str) -> str | None:
    """What a git command prints, or None where there is no git or no checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def git_state() -> dict[str, Any]:
    """The commit of the checkout these experiments lie in and whether it has uncommitted changes; None outside."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != ROOT:
        return {"git_commit": None, "git_dirty": None}
    changed = _git("status", "--porcelain", "--untracked-files=no")
    unknown = _git("ls-files", "--others", "--exclude-standard", "--", "dynlab", "experiments")
    dirty = None if changed is None or unknown is None else bool(changed or unknown)
    return {"git_commit": _git("rev-parse", "HEAD"), "git_dirty": dirty}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def provenance(seed: int, seconds: float) -> dict[str, Any]:
    """Under which circumstances a run was made: versions, device, dtype, seed, seconds, git state."""
    import jax

    import dynlab
    from dynlab import check

    device = jax.devices()[0]
    return {
        "versions": {
            "dynlab": getattr(dynlab, "__version__", None) or _version("dynlab"),
            "jax": jax.__version__,
            "jaxlib": _version("jaxlib"),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "dtype": check.default_float().name,
        "seed": seed,
        "seconds": round(seconds, 3),
        **git_state(),
    }
