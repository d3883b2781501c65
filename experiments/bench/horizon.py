"""How long is the computed solution of a chaotic flow right? Sets the horizons that the tasks' docstrings state.

From each start on the attractor the same solution is computed twice: with the step and precision in question, and in
float64 with that step halved. The horizon is the time until their difference, root mean square over coordinates in
units of their standard deviations, first exceeds a threshold, in Lyapunov times (exponents 0.9056 for Lorenz, 0.0714
for Rössler). The initial value is the same float32 number in both.

    python -m experiments.bench.horizon [--smoke] [--n-starts 256]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from dynlab.tasks import Lorenz, Rossler
from dynlab.tasks.base import Field, integrate
from dynlab.tasks.lorenz import lorenz_field
from dynlab.tasks.rossler import rossler_field

EXPONENTS = {"Lorenz": 0.9056, "Rössler": 0.0714}


@dataclass(frozen=True)
class Config:
    """What is measured."""

    n_starts: int = 256
    """Starts on the attractor, one key each."""
    longest: float = 24.0
    """Lyapunov times followed; a horizon beyond is cut there."""
    thresholds: tuple[float, ...] = (0.4, 0.01)
    """Errors, in standard deviations, that end the horizon."""
    smoke: bool = False
    """Two starts, six Lyapunov times: checks that it runs, measures nothing."""


def solve(field: Field, starts: np.ndarray, dt: float, length: int, step: float, precision: str) -> np.ndarray:
    """Solutions (starts, length, 3) by RK4 with internal step `step`, computed in float32 or float64."""
    with jax.enable_x64(precision == "float64"):
        run = jax.jit(jax.vmap(lambda state: integrate(field, state, dt, length, step)))
        found = run(jnp.asarray(starts, precision))
        if found.dtype != precision:
            raise RuntimeError(f"computed in {found.dtype}, not in {precision}")
        return np.asarray(found, np.float64)


def horizons(found: np.ndarray, truth: np.ndarray, threshold: float) -> np.ndarray:
    """Samples of each start, (starts,), before the error first exceeds `threshold` standard deviations."""
    error = np.sqrt(np.mean(((found - truth) / truth.std(axis=(0, 1))) ** 2, axis=-1))
    return np.cumprod(error <= threshold, axis=1).sum(axis=1)


def rows(name: str, task: Any, field: Field, config: Config) -> list[tuple[str, ...]]:
    """One row a step and precision."""
    keys = jax.random.split(jax.random.key(0), config.n_starts)
    starts = np.asarray(jax.vmap(task.replace(length=1).series)(keys))[:, 0]
    per_sample = task.dt * EXPONENTS[name]
    length = round(config.longest / per_sample)
    compute = partial(solve, field, starts, task.dt, length)
    found = []
    for step in (task.max_step, task.max_step / 2):
        truth = compute(step / 2, "float64")
        for precision in ("float32", "float64"):
            one = compute(step, precision)
            cells = []
            for threshold in config.thresholds:
                times = horizons(one, truth, threshold) * per_sample
                cells.append(f"{np.median(times):.1f} ({times.min():.1f})")
            found.append((name, precision, f"{step:g}", *cells))
    return found


def main() -> None:
    """Print the table."""
    config = tyro.cli(Config, description=__doc__)
    if config.smoke:
        config = replace(config, n_starts=2, longest=6.0)
    table = Table(title=f"Horizon in Lyapunov times: median (least) of {config.n_starts} starts")
    for column in ("flow", "computed in", "step", *(f"until error > {each:g}" for each in config.thresholds)):
        table.add_column(column, justify="right")
    for name, task, field in (("Lorenz", Lorenz(), lorenz_field), ("Rössler", Rossler(), rossler_field)):
        for row in rows(name, task, field, config):
            table.add_row(*row)
    console = Console(width=110)
    console.print(table)
    console.print("compared with float64 and the step halved", highlight=False)


if __name__ == "__main__":
    main()
