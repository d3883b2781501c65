"""dynlab: reservoir computing and recurrent neural dynamics in JAX.

A model is written once, as one pure step (:mod:`dynlab.protocol`); simulation, readouts, measures and analyses then
work on it, jitted and vmapped, on CPU, GPU and TPU. Public names load on first use, so importing costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# public name -> the module that defines it
_PUBLIC = {
    "ESN": "dynlab.models.esn",
    "ESNParams": "dynlab.models.esn",
    "esn_from_arrays": "dynlab.models.esn",
    "Stack": "dynlab.combine",
    "Hold": "dynlab.combine",
    "Feedback": "dynlab.combine",
    "FeedbackParams": "dynlab.combine",
    "Euler": "dynlab.discretize",
    "ExpEuler": "dynlab.discretize",
    "FlowMap": "dynlab.discretize",
    "Run": "dynlab.simulation",
    "simulate": "dynlab.simulation",
    "MemoryCapacity": "dynlab.analysis.capacity",
    "memory_capacity": "dynlab.analysis.capacity",
    "Linear": "dynlab.readout.linear",
    "ridge": "dynlab.readout.ridge",
    "generate": "dynlab.simulation",
}
_MODULES = (
    "check", "combine", "data", "discretize", "interop", "metrics", "models", "plots", "protocol", "readout", "tasks",
    "tree",
)

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"dynlab.{name}")
    raise AttributeError(f"module 'dynlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, *_MODULES})
