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
    "ridge": "dynlab.readout.ridge",
    "Linear": "dynlab.readout.linear",
    "fit_readout": "dynlab.readout.stream",
    "Stream": "dynlab.readout.stream",
    "stream_init": "dynlab.readout.stream",
    "stream_update": "dynlab.readout.stream",
    "stream_solve": "dynlab.readout.stream",
    "RLS": "dynlab.readout.online",
    "Online": "dynlab.readout.online",
    "rls": "dynlab.readout.online",
    "rls_init": "dynlab.readout.online",
    "rls_step": "dynlab.readout.online",
    "lms": "dynlab.readout.online",
    "Force": "dynlab.readout.force",
    "force": "dynlab.readout.force",
    "Classifier": "dynlab.readout.classifier",
    "ridge_classifier": "dynlab.readout.classifier",
    "logistic": "dynlab.readout.classifier",
    "pool": "dynlab.readout.classifier",
    "generate": "dynlab.simulation",
}
_MODULES = (
    "analysis", "check", "combine", "data", "discretize", "interop", "keys", "metrics", "models", "plots", "protocol",
    "readout", "simulation", "sweep", "tasks", "tree",
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
