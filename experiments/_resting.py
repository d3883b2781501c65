"""Does a trained thought machine come to rest at a fixed input, and what would it rest on?

All with the sums of synchronization held where a Jacobian is taken: coordinates (A, z), see
:mod:`dynlab.analysis.thinking_dynamics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from dynlab import CTM, plots
from dynlab.analysis.thinking_dynamics import (
    LongThought,
    RestingPoints,
    long_thought,
    resting_points,
    thought_exponents,
)
from dynlab.keys import named
from experiments.contract import Table

Array = jax.Array
SEARCH_STEPS = 30


@dataclass(frozen=True)
class Rest:
    """A long run at B inputs.

    Attributes:
        long: the run. exponents: (B, 3), the leading ones of its second half, per tick.
        points: fixed points of the first few inputs, with the sums as they are at the end.
    """

    long: LongThought
    exponents: np.ndarray
    points: RestingPoints


def find_rest(model: CTM, params: Any, strings: Array, n_ticks: int, key: Array, n_searched: int = 4) -> Rest:
    """Think for `n_ticks` about each of the strings, and look for fixed points at the first `n_searched`."""
    held = model.replace(coordinates="units")
    long = long_thought(held, params, strings, n_ticks, n_states=1)
    found = thought_exponents(held, params, strings, n_ticks, k=3, every=4, warmup=n_ticks // 2,
                              key=named(key, "frames"))
    few = strings[:n_searched]
    mine = jax.tree.map(lambda leaf: leaf[:n_searched], long)
    return Rest(long, np.asarray(found.exponents), resting_points(held, params, few, mine, steps=SEARCH_STEPS))


def rest_table(rest: Rest, ticks: int) -> Table:
    """A row a string; `ticks`: those of the training."""
    speed, n_ticks = np.asarray(rest.long.speed / rest.long.size), rest.long.speed.shape[1]
    rows = []
    for i, tick in enumerate(np.asarray(rest.long.rest)):
        searched = i < len(rest.points.nearest)
        there = searched and rest.points.nearest[i] >= 0
        rows.append((
            i, speed[i, min(ticks, n_ticks) - 1], speed[i, -1], "never" if tick >= n_ticks else int(tick),
            rest.exponents[i, 0], "not searched" if not searched else int(np.sum(rest.points.points[i].fixed)),
            *((rest.points.distance[i], abs(rest.points.multiplier[i]), rest.points.timescale[i]) if there
              else ("none",) * 3)))
    columns = ("string", f"|dz|/|z| at tick {ticks}", "at the end", "at rest from tick", "leading exponent per tick",
               "fixed points", "distance to the nearest", "its |leading multiplier|", "its timescale, ticks")
    return Table(f"Does thinking come to rest? {n_ticks:,} ticks at a fixed string", columns, rows,
                 "exponents and points: (A, z) with the sums of synchronization held")


def draw_rest(rest: Rest, figure: Any) -> None:
    """Speed by tick, exponents, and the multipliers of the nearest fixed points."""
    speed, run, plane = figure.subplots(1, 3)
    figure.set_size_inches(13.0, 4.2)
    speed.loglog(1 + np.arange(rest.long.speed.shape[1]), np.asarray(rest.long.speed / rest.long.size).T, lw=1)
    speed.set(xlabel="tick", ylabel="|z(t+1) - z(t)| / |z(t+1)|", title="a line a string")
    plots.spectrum(rest.exponents, ylabel="Lyapunov exponent (per tick)", title="median and range over strings", ax=run)
    chosen = {f"string {i}": rest.points.points[i].modes.eigenvalues[row]
              for i, row in enumerate(rest.points.nearest) if row >= 0}
    if chosen:
        plots.eigenvalue_plane(chosen, title="multipliers of the nearest fixed points", ax=plane)
    else:
        plane.set(title="no fixed point found")
