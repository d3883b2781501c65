"""What a number of a sweep depends on, as JSON: the function, the model, the design, the key, versions, block sizes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import os
import platform
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np

import dynlab
from dynlab import check
from dynlab.sweep.grid import Design
from dynlab.sweep.plan import Plan
from dynlab.sweep.result import Output


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def describe(value: Any) -> Any:
    """A value as JSON that changes when the value does: numbers and text as they are, arrays by hash."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (np.generic, np.ndarray, jax.Array)):
        if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        array = np.asarray(value)
        if array.ndim == 0 and array.dtype != object:
            return repr(array.item())
        return {"shape": list(array.shape), "dtype": str(array.dtype), "hash": _hash(array.tobytes())}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {item.name: describe(getattr(value, item.name)) for item in dataclasses.fields(value)}
        return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **fields}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, type) or inspect.ismodule(value):
        return value.__name__
    if callable(value):
        return function(value)
    return f"{type(value).__module__}.{type(value).__qualname__}"


def function(fn: Any, depth: int = 2) -> Any:
    """A function by its name, the hash of its source, its defaults and the values it closes over."""
    if isinstance(fn, functools.partial):
        return {"partial": function(fn.func, depth), "args": describe(fn.args), "keywords": describe(fn.keywords)}
    inner = inspect.unwrap(fn)
    # without the module: a script is the same sweep whether it is started or imported
    out: dict[str, Any] = {"name": getattr(inner, "__qualname__", type(fn).__name__)}
    try:
        out["source"] = _hash(textwrap.dedent(inspect.getsource(inner)).encode())
    except (OSError, TypeError):
        code = getattr(inner, "__code__", None)
        out["source"] = None if code is None else _hash(code.co_code)
    if getattr(inner, "__defaults__", None):
        out["defaults"] = describe(inner.__defaults__)
    if depth and inspect.isfunction(inner) and inner.__closure__:
        cells = dict(zip(inner.__code__.co_freevars, inner.__closure__, strict=True))
        out["closure"] = {name: describe(cell.cell_contents) for name, cell in cells.items() if not _is_self(cell, fn)}
    return out


def _is_self(cell: Any, fn: Any) -> bool:
    try:
        return cell.cell_contents is fn
    except ValueError:  # an empty cell
        return True


def threads() -> int | None:
    """Threads of XLA's pool on a CPU, which decide how products are split and so how they round; None elsewhere."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return None
    given = os.environ.get("NPROC", "")
    cores = int(given) if given.isdigit() and int(given) else len(os.sched_getaffinity(0)) if hasattr(
        os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores, jax.local_device_count())


def config(fn: Any, design: Design, seeds: np.ndarray, root: np.ndarray, plan: Plan, outputs: list[Output]) -> Any:
    """The configuration whose hash names the store."""
    knobs = {name: describe(v.tolist()) for name, v in design.values.items()}
    model = describe(design.model)
    for name in design.names:
        model.pop(name, None)
    return {
        "fn": function(fn),
        "model": model,
        "kind": design.kind,
        "knobs": knobs,
        "seeds": seeds.tolist(),
        "key": root.tolist(),
        "key_impl": str(jax.config.values["jax_default_prng_impl"]),
        "dtype": check.default_float().name,
        "matmul_precision": str(jax.config.values["jax_default_matmul_precision"]),
        "outputs": [[o.name, list(o.shape), str(o.dtype)] for o in outputs],
        "blocks": plan.record(),
        "platform": jax.default_backend(),
        "threads": threads(),
        "versions": {"dynlab": dynlab.__version__, "jax": jax.__version__},
    }


def provenance(fn: Any, root: np.ndarray, plan: Plan) -> dict[str, Any]:
    """Under which circumstances the sweep began; nothing that changes when it is continued."""
    device = jax.devices()[0]
    inner = inspect.unwrap(fn.func if isinstance(fn, functools.partial) else fn)
    try:
        source = Path(inspect.getsourcefile(inner) or "")
    except TypeError:
        source = Path()
    return {
        "versions": {"dynlab": dynlab.__version__, "jax": jax.__version__, "jaxlib": jaxlib.__version__,
                     "numpy": np.__version__, "python": platform.python_version()},
        "device": {"platform": device.platform, "kind": device.device_kind},
        "dtype": check.default_float().name,
        "key": root.tolist(),
        "blocks": plan.record(),
        **_git(source.parent if source.is_file() else None),
    }


def _git(folder: Path | None) -> dict[str, Any]:
    """The commit of the checkout that the function's file lies in; None outside of one."""
    def ask(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10,
                                  check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = None if folder is None else ask("rev-parse", "HEAD")
    changed = None if commit is None else ask("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_dirty": None if changed is None else bool(changed)}
