"""How fast is a sweep, readouts included, against a reservoirpy loop on all cores, a plain product, and by devices?

Each member (spectral radius x leak x input scaling x seed) is simulated for `n_steps`, its readout of `n_targets`
delays is fitted by ridge on three quarters of the run and tested on the rest. The sweep runs in a process of its own
for each number of virtual devices; reservoirpy (0.4.2) does the same job for a few members on a pool of one process a
core, which is up and warm before its clock starts. All take turns, round by round; reported are ratios and peak
memory. The product is that of one (N, N) matrix with (N, lanes), as often as the sweep needs it.

    python -m experiments.bench.sweep [--smoke] [--rounds 3] [--n-members 4096]
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from functools import cache
from statistics import median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

KNOBS = ("spectral_radius", "leak_rate", "input_scaling")
WASHOUT = 100


@dataclass(frozen=True)
class Config:
    """What to time."""

    n_units: int = 200
    """N."""
    n_steps: int = 2000
    """Length of a run."""
    n_targets: int = 20
    """Delays reconstructed."""
    n_members: int = 4096
    """Members of the sweep: 8 spectral radii x 8 leaks x 8 input scalings x seeds."""
    peer_members: int = 24
    """Members that reservoirpy computes."""
    devices: tuple[int, ...] = (1, 2)
    """Numbers of virtual devices."""
    rounds: int = 3
    """Rounds in turn; medians are reported."""
    smoke: bool = False
    """Small sizes, one round: checks that it runs, measures nothing."""


def values(config: Config) -> dict[str, list[float]]:
    """The grid: 512 settings, or as many as there are members."""
    n = 8 if config.n_members >= 512 else 2
    return {"spectral_radius": np.linspace(0.3, 1.2, n).tolist(), "leak_rate": np.linspace(0.3, 1.0, n).tolist(),
            "input_scaling": np.linspace(0.1, 1.0, n).tolist()}


def worker(config: Config) -> None:
    """One process with its devices: a line of JSON when warm, then one for every line it is sent."""
    import resource

    import jax
    import jax.numpy as jnp

    from dynlab import ESN, ridge, simulate
    from dynlab.analysis.capacity import lagged, squared_correlation
    from dynlab.sweep import grid, program, sweep

    train = (config.n_steps - WASHOUT) * 3 // 4

    def member(model: Any, key: Any) -> Any:
        params = model.init(jax.random.fold_in(key, 0))
        u = jax.random.uniform(jax.random.fold_in(key, 1), (config.n_steps, 1), minval=-1.0)
        states = simulate(model, params, u, washout=WASHOUT).outputs
        targets = lagged(u[WASHOUT - config.n_targets :, 0], config.n_targets)[:, 1:]
        readout = ridge(states[:train], targets[:train], 1e-6)
        return jnp.sum(squared_correlation(readout(states[train:]), targets[train:]))

    design = grid(ESN(n_units=config.n_units), **values(config))
    seeds = max(1, config.n_members // design.size)
    lanes = min(64, design.size)
    square = jax.random.normal(jax.random.key(2), (config.n_units, config.n_units)) / config.n_units**0.5
    x = jnp.ones((config.n_units, lanes))
    product = jax.jit(lambda a, b: jax.lax.fori_loop(0, config.n_steps, lambda i, y: a @ y, b))
    sweep(member, design, jax.random.key(0), seeds=[0])
    jax.block_until_ready(product(square, x))
    for _ in iter(sys.stdin.readline, ""):
        start = time.perf_counter()
        found = sweep(member, design, jax.random.key(0), seeds=seeds)
        middle = time.perf_counter()
        jax.block_until_ready(product(square, x))
        end = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        ok = int(np.sum(found.status == 0))
        print(json.dumps({"rate": found.status.size / (middle - start), "product": lanes / (end - middle), "peak": peak,
                          "ok": ok, "members": found.status.size, "compiled": program.compilations(),
                          "mean": float(np.nanmean(found.values["result"]))}), flush=True)


@cache
def network(n_units: int) -> tuple[Any, np.ndarray]:
    """W (sparse, unit spectral radius) and W_in for reservoirpy, made once a process: members share it as ours do."""
    import scipy.sparse

    rng = np.random.default_rng(0)
    w = rng.uniform(-1, 1, (n_units, n_units)) * (rng.random((n_units, n_units)) < 0.1)
    w /= np.abs(np.linalg.eigvals(w)).max()
    return scipy.sparse.csr_array(w), rng.uniform(-1, 1, (n_units, 1))


def peer(job: tuple[Config, int]) -> float:
    """The same member with reservoirpy: its memory capacity over the targets."""
    from reservoirpy.nodes import Reservoir, Ridge

    config, number = job
    rng = np.random.default_rng(number)
    rho, leak, scale = (rng.choice(v) for v in values(config).values())
    u = rng.uniform(-1, 1, (config.n_steps, 1))
    w, w_in = network(config.n_units)
    node = Reservoir(units=config.n_units, W=w * rho, Win=w_in * scale, lr=leak, bias=0.0, input_dim=1)
    states = node.run(u)[WASHOUT:]
    targets = np.stack([u[WASHOUT - k : len(u) - k, 0] for k in range(1, config.n_targets + 1)], axis=1)
    train = len(states) * 3 // 4
    readout = Ridge(ridge=1e-6).fit(states[:train], targets[:train])
    found = readout.run(states[train:])
    return float(sum(np.corrcoef(found[:, k], targets[train:, k])[0, 1] ** 2 for k in range(config.n_targets)))


def main() -> None:
    """Print the table."""
    if len(sys.argv) == 3 and sys.argv[1] == "--worker":
        given = json.loads(sys.argv[2])
        worker(Config(**{**given, "devices": tuple(given["devices"])}))
        return
    import tyro
    from rich.console import Console
    from rich.table import Table

    config = tyro.cli(Config, description=__doc__)
    if config.smoke:
        config = replace(config, n_units=30, n_steps=300, n_targets=5, n_members=16, peer_members=4, rounds=1)
        config = replace(config, devices=(1,))
    found = measure(config)
    table = Table(title=f"Sweep of {config.n_members:,} members, N = {config.n_units}, {config.n_steps} steps, "
                        f"readout of {config.n_targets} targets fitted and tested")
    for column in ("devices", "times reservoirpy on all cores", "share of a plain product", "times one device",
                   "peak memory", "programs compiled", "members ok"):
        table.add_column(column, justify="right")
    for count, row in found.items():
        table.add_row(str(count), f"{row['ratio']:.1f}", f"{row['share']:.0%}", f"{row['scaling']:.2f}",
                      f"{row['peak']:.2f} GiB", f"{row['compiled']:.0f}", f"{row['ok']:,.0f}")
    Console(width=150).print(table)


def measure(config: Config) -> dict[int, dict[str, float]]:
    """Rates of every contender in turn, as ratios within a round."""
    given = json.dumps(asdict(config))
    workers = {}
    for count in config.devices:
        environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}
        words = [sys.executable, "-m", "experiments.bench.sweep", "--worker", given]
        pipe = subprocess.PIPE
        workers[count] = subprocess.Popen(words, env=environment, stdin=pipe, stdout=pipe, text=True)
    cores = len(os.sched_getaffinity(0))
    rounds: dict[int, list[dict[str, float]]] = {count: [] for count in config.devices}
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(peer, [(config, i) for i in range(cores)], chunksize=1)
        for _ in range(config.rounds):
            start = time.perf_counter()
            pool.map(peer, [(config, i) for i in range(config.peer_members)], chunksize=1)
            rate = config.peer_members / (time.perf_counter() - start)
            for count, process in workers.items():
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write("\n")
                process.stdin.flush()
                row = json.loads(process.stdout.readline())
                rounds[count].append({**row, "ratio": row["rate"] / rate, "share": row["rate"] / row["product"]})
    for process in workers.values():
        process.communicate()
    first = config.devices[0]
    out = {}
    for count, rows in rounds.items():
        out[count] = {name: median(row[name] for row in rows) for name in rows[0]}
        out[count]["scaling"] = median(a["rate"] / b["rate"] for a, b in zip(rows, rounds[first], strict=True))
    return out


if __name__ == "__main__":
    main()
