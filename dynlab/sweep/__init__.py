"""Sweeps: many settings of a model and many seeds as one compiled program, labelled, resumable, on one or many devices.

``grid`` or ``points`` says what to run, ``sweep`` runs it.
"""

from __future__ import annotations

from dynlab.sweep.distributed import initialize
from dynlab.sweep.grid import Design, grid, points, random_points, sobol_points
from dynlab.sweep.result import Label, SweepResult
from dynlab.sweep.run import sweep
from dynlab.sweep.store import StoreError, StoreMismatch

__all__ = [
    "Design", "Label", "StoreError", "StoreMismatch", "SweepResult", "grid", "initialize", "points", "random_points",
    "sobol_points", "sweep",
]
