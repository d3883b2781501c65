"""How fast is a grid of E/I reservoirs (balance x input scaling x seed) as one program, against a plain NumPy loop?

Each member is simulated on the input of NARMA-10 and one ridge readout gives memory capacity and the error of
NARMA-10. The NumPy program gets the same weights and series, loops over members and steps in float64 and solves the
normal equations; it runs on as many processes as there are cores, one BLAS thread each, up and warm before the clock
starts. Both take turns. It computes every `peer_every`-th member, and its time is scaled up to the grid.

Also printed: how far the numbers of the two are apart, for all members and for those whose driven exponent is
negative. Where it is positive, rounding errors grow and two right programs part.

    python -m experiments.bench.ei_grid [--smoke] [--n-units 500] [--n-seeds 12] [--rounds 3]
"""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

BALANCES = (-3.0, -2.0, -1.5, -1.0, -0.75, -0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5)
SCALINGS = (0.1, 0.5, 2.0)
MEASURES = ("memory", "narma")


@dataclass(frozen=True)
class Config:
    """What to time."""

    n_units: int = 500
    """N."""
    n_seeds: int = 4
    """Networks and series."""
    peer_every: int = 3
    """NumPy computes one of so many members."""
    rounds: int = 3
    """Rounds in turn; medians are reported."""
    smoke: bool = False
    """Small sizes, one round: checks that it runs, measures nothing."""


def numpy_member(job: tuple[Any, ...]) -> tuple[float, float]:
    """Memory capacity and NARMA-10 error of one member, step by step in float64."""
    excitation, inhibition, w_in, u, narma, gain, washout, train, max_delay, ridge = job
    n = excitation.shape[0]
    weights = np.concatenate([excitation, -inhibition], axis=1)
    r, states = np.full(n, 0.5), np.empty((len(u), n))
    for t in range(len(u)):
        r = 1.0 / (1.0 + np.exp(-gain * (weights @ r + w_in * u[t])))
        states[t] = r
    states = states[washout:]
    targets = np.stack([u[washout - k : len(u) - k] for k in range(1, max_delay + 1)] + [narma[washout:]], axis=1)
    x, y = states[:train], targets[:train]
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    solved = np.linalg.solve(x.T @ x + ridge * np.eye(n), x.T @ y)
    predicted, truth = (states[train:] - x_mean) @ solved + y_mean, targets[train:]
    capacity = sum(np.corrcoef(predicted[:, k], truth[:, k])[0, 1] ** 2 for k in range(max_delay))
    error = np.sqrt(np.mean((predicted[:, -1] - truth[:, -1]) ** 2) / np.var(truth[:, -1]))
    return float(capacity), float(error)


def jobs(config: Config, model: Any, protocol: Any, key: Any) -> list[tuple[Any, ...]]:
    """The NumPy jobs in the order of the grid (input scaling, balance, seed), every `peer_every`-th."""
    import jax

    from dynlab.keys import named
    from experiments._ei_measures import narma_input

    seeds, draw = [], jax.jit(model.init)
    for seed in range(config.n_seeds):
        own = jax.random.fold_in(key, seed)
        drawn = draw(named(own, "network"))
        u, narma = narma_input(protocol, named(own, "narma"))
        parts = drawn.excitation, drawn.inhibition, drawn.input_weights[:, 0], u[:, 0], narma[:, 0]
        seeds.append([np.asarray(part, float) for part in parts])
    out = []
    for i, b, s in list(np.ndindex(len(SCALINGS), len(BALANCES), config.n_seeds))[:: config.peer_every]:
        excitation, inhibition, w_in, series, wanted = seeds[s]
        out.append((excitation, (1.0 - BALANCES[b]) * inhibition, SCALINGS[i] * w_in, series, wanted, float(model.gain),
                    protocol.washout, protocol.train, protocol.max_delay, protocol.ridge))
    return out


def tasks_only(member: Any, model: Any, key: Any) -> dict[str, Any]:
    """The two measures that the NumPy program has too."""
    found = member(model, key)
    return {name: found[name] for name in MEASURES}


def exponent(model: Any, key: Any) -> Any:
    """The largest exponent of a driven member; its sign says whether rounding errors grow."""
    import jax

    from dynlab import lyapunov, phase_map
    from dynlab.keys import named

    params = model.init(named(key, "network"))
    u = jax.random.uniform(named(key, "exponent"), (600, 1), minval=-1.0)
    return {"exponent": lyapunov(phase_map(model, params), u, k=1, warmup=200, key=named(key, "tangent")).exponents[0]}


def run(config: Config) -> tuple[dict[str, list[float]], dict[str, tuple[float, float]], tuple[int, int, int]]:
    """Seconds of each program for the whole grid, differences (all, negative exponent), and how many members each."""
    import jax

    from dynlab import EIReservoir
    from dynlab.sweep import grid, sweep
    from experiments._ei_measures import Protocol, global_member
    from experiments.bench.timing import in_turn

    protocol = Protocol(60, 200, 100, 20, forecasts=False) if config.smoke else Protocol(forecasts=False)
    key, model = jax.random.key(0), EIReservoir(n_units=config.n_units, in_degree=min(50, config.n_units // 2))
    design = grid(model, input_scaling=SCALINGS, balance=BALANCES)
    member = partial(tasks_only, partial(global_member, protocol))
    work = jobs(config, model, protocol, key)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        calls: dict[str, Any] = {"NumPy": lambda: pool.map(numpy_member, work, chunksize=1),
                 "dynlab": lambda: sweep(member, design, key, seeds=config.n_seeds, progress=False)}
        seconds = in_turn(calls, config.rounds)
        theirs, ours = (call() for call in calls.values())
    n_members = ours.status.size
    seconds["NumPy"] = [took * n_members / len(work) for took in seconds["NumPy"]]
    exponents = sweep(exponent, design, key, seeds=config.n_seeds, progress=False).values["exponent"]
    ordered = np.asarray(exponents).ravel()[:: config.peer_every] < 0
    apart = {}
    for index, name in enumerate(MEASURES):
        mine = np.asarray(ours.values[name], float).ravel()[:: config.peer_every]
        relative = np.abs(mine / np.array([each[index] for each in theirs]) - 1.0)
        apart[name] = float(relative.max()), float(relative[ordered].max(initial=0.0))
    return seconds, apart, (n_members, len(work), int(ordered.sum()))


def main() -> None:
    import tyro
    from rich.console import Console
    from rich.table import Table

    from experiments.bench.timing import ratio

    config = tyro.cli(Config, description=__doc__)
    if config.smoke:
        config = Config(n_units=40, n_seeds=1, peer_every=9, rounds=1, smoke=True)
    seconds, apart, (n_members, n_peer, n_ordered) = run(config)
    table = Table(title=f"{n_members} members, N {config.n_units}, {os.cpu_count()} cores",
                  caption=f"NumPy timed on {n_peer} of them, of which {n_ordered} have a negative exponent")
    for column in ("program", "seconds", "times as fast"):
        table.add_column(column, justify="left" if column == "program" else "right")
    for name, took in seconds.items():
        table.add_row(name, f"{median(took):.2f}", f"{ratio(seconds, 'NumPy', name):.1f}")
    Console().print(table)
    differences = Table(title="largest relative difference")
    for column in ("measure", "all members", "negative exponent"):
        differences.add_column(column)
    for name, (every, ordered) in apart.items():
        differences.add_row(name, f"{every:.1e}", f"{ordered:.1e}")
    Console().print(differences)


if __name__ == "__main__":
    main()
