"""Sweeps: many settings of a model and many seeds as one compiled program, labelled, resumable, on one or many devices.

``grid`` or ``points`` says what to run, ``sweep`` runs it; ``search`` looks where a grid would be too large, and
``halving`` drops the worse trainings rung by rung.
"""

from __future__ import annotations

from dynlab.sweep.distributed import initialize
from dynlab.sweep.grid import Design, grid, points, random_points, sobol_points
from dynlab.sweep.halving import Halving, halving
from dynlab.sweep.result import Label, SweepResult
from dynlab.sweep.run import sweep
from dynlab.sweep.search import SearchResult, search
from dynlab.sweep.store import StoreError, StoreMismatch

__all__ = [
    "Design", "Halving", "Label", "SearchResult", "StoreError", "StoreMismatch", "SweepResult", "grid", "halving",
    "initialize", "points", "random_points", "search", "sobol_points", "sweep",
]
