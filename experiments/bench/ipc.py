"""What does the information processing capacity cost, against a plain NumPy program of the same definition?

The NumPy program is written the usual way: one QR of the states, then a loop over targets, each built from Legendre
columns made once. Both get the same states and give the same numbers. One state set, and `n_members` sets that were
driven by the same input (a sweep), where ours evaluates each target once for all of them.

    python -m experiments.bench.ipc [--smoke] [--rounds 5]
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from numpy.polynomial.legendre import legval
from rich.console import Console
from rich.table import Table

from dynlab import ESN, simulate
from dynlab.analysis.ipc import capacities
from dynlab.analysis.targets import legendre_targets
from experiments.bench.timing import in_turn, ratio


@dataclass(frozen=True)
class Config:
    """What to time."""

    n_units: int = 50
    """Units."""
    n_samples: int = 10_000
    """Samples."""
    max_delays: tuple[int, ...] = (100, 40, 20)
    """Longest delay of each degree."""
    n_members: int = 8
    """State sets of the sweep, spectral radii 0.2 to 0.9."""
    rounds: int = 5
    """Rounds in turn; medians are reported."""
    smoke: bool = False
    """Small sizes, one round: checks that it runs, measures nothing."""


def plain(states: np.ndarray, u: np.ndarray, max_delays: tuple[int, ...]) -> np.ndarray:
    """Uncorrected capacities of all targets by one QR and a loop, in the precision of the states."""
    longest = max(max_delays)
    x = states[longest:] - states[longest:].mean(0)
    q = np.linalg.qr(x)[0]
    table = [np.sqrt(2 * d + 1) * legval(u, np.eye(d + 1)[d]).astype(u.dtype) for d in range(len(max_delays) + 1)]
    found = []
    for target in legendre_targets(max_delays):
        z = np.ones(len(x), u.dtype)
        for delay, degree in target:
            z = z * table[degree][longest - delay : len(u) - delay]
        z = z - z.mean()
        found.append(((q.T @ z) ** 2).sum() / (z @ z))
    return np.array(found)


def run(config: Config) -> tuple[list[dict[str, Any]], float]:
    """One row a contender, and the largest difference of a capacity between the two."""
    key = jax.random.key(0)
    model = ESN(n_units=config.n_units, input_scaling=0.5, bias_scaling=0.2, connectivity=1.0)
    params = model.init(key)
    u = jax.random.uniform(jax.random.fold_in(key, 1), (config.n_samples + 200,), minval=-1.0)
    radii = jnp.linspace(0.2, 0.9, config.n_members)
    drive = jax.jit(jax.vmap(lambda r: simulate(model, params.replace(spectral_radius=r), u[:, None]).outputs[200:]))
    states, u = drive(radii), u[200:]
    ours = partial(capacities, max_degree=len(config.max_delays), max_delays=config.max_delays, threshold=None,
                   adjust=False)
    swept = jax.jit(jax.vmap(lambda x: ours(x, u).capacities))
    host, host_u = np.asarray(states), np.asarray(u)
    calls: dict[str, Callable[[], Any]] = {
        "NumPy loop, one": lambda: plain(host[-1], host_u, config.max_delays),
        "dynlab, one": lambda: ours(states[-1], u).capacities,
        "NumPy loop, sweep": lambda: [plain(each, host_u, config.max_delays) for each in host],
        "dynlab, sweep": lambda: swept(states),
    }
    seconds = in_turn(calls, config.rounds)
    got, want = np.asarray(calls["dynlab, one"]()), plain(host[-1], host_u, config.max_delays)
    kept = got > 0  # the others were cut off at the rank
    rows = []
    for name in calls:
        base = f"NumPy loop, {name.split(', ')[1]}"
        rows.append({"program": name, "seconds": median(seconds[name]), "times": ratio(seconds, base, name)})
    return rows, float(np.abs(got - want)[kept].max())


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    if config.smoke:
        config = replace(config, n_units=10, n_samples=500, max_delays=(10, 5), n_members=2, rounds=1)
    rows, difference = run(config)
    n_targets = len(legendre_targets(config.max_delays))
    table = Table(title=f"IPC of {n_targets} targets, T {config.n_samples}, N {config.n_units}, "
                        f"sweep of {config.n_members}", caption=f"largest difference {difference:.1e}")
    for column in ("program", "seconds", "times as fast"):
        table.add_column(column, justify="left" if column == "program" else "right")
    for row in rows:
        table.add_row(row["program"], f"{row['seconds']:.3f}", f"{row['times']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
