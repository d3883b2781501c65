"""How fast is an echo state network here, against reservoirpy 0.4.2 on the same network and input?

Both run in turn in one process; reservoirpy's part of the sweep also runs on a pool of two processes that are up and
warm before the clock starts. States are compared number by number. Reported are ratios, never times.

    python -m experiments.bench.esn_vs_reservoirpy [--smoke] [--rounds 5]
"""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass, replace
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from dynlab import ESN, ESNParams, simulate
from experiments.bench.timing import in_turn, ratio

# (units, connectivity, single-run goal, sweep goal); the sweep is skipped where there is no goal
SIZES = ((100, 0.1, 10.0, 30.0), (500, 0.1, 2.0, 5.0), (1000, 0.1, 1.8, 5.0), (10_000, 0.001, 1.0, None))


@dataclass(frozen=True)
class Config:
    """What to time."""

    n_steps: int = 2000
    """Length of the input series."""
    n_members: int = 64
    """Configurations of the sweep (spectral radius, leak rate and input scaling all differ)."""
    rounds: int = 5
    """Rounds in turn; the median ratio is reported."""
    smoke: bool = False
    """Small sizes only, one round: checks that it runs, measures nothing."""


def peer_weights(params: ESNParams) -> tuple[Any, np.ndarray]:
    """W (unit spectral radius) as scipy.sparse CSR and W_in, for reservoirpy."""
    import scipy.sparse

    recurrent = params.recurrent
    if hasattr(recurrent, "indices"):
        values, columns = np.asarray(recurrent.values, np.float64), np.asarray(recurrent.indices)
        rows = np.broadcast_to(np.arange(values.shape[1]), values.shape)
        shape = (values.shape[1],) * 2
        return scipy.sparse.csr_array((values.ravel(), (rows.ravel(), columns.ravel())), shape), _array(params)
    return scipy.sparse.csr_array(np.asarray(recurrent.dense(), np.float64)), _array(params)


def _array(params: ESNParams) -> np.ndarray:
    return np.asarray(params.input_weights, np.float64)


def peer_states(w: Any, w_in: np.ndarray, u: np.ndarray, member: tuple[float, float, float]) -> np.ndarray:
    """One reservoirpy run (time, N) with spectral radius, leak rate and input scaling of `member`."""
    from reservoirpy.nodes import Reservoir

    rho, leak, scale = member
    node = Reservoir(units=w.shape[0], W=w * rho, Win=w_in * scale, lr=leak, bias=0.0, input_dim=u.shape[1])
    return node.run(u)


def peer_last(job: tuple[Any, np.ndarray, np.ndarray, tuple[float, float, float]]) -> np.ndarray:
    """The same in a worker; only the last state travels back."""
    return peer_states(*job)[-1]


def compare(units: int, connectivity: float, with_sweep: bool, config: Config, pool: Any) -> dict[str, float]:
    """Ratios and differences for one network size."""
    key = jax.random.key(0)
    model = ESN(n_units=units, connectivity=connectivity, spectral_radius=0.9, leak_rate=0.3, input_scaling=0.5)
    params = model.init(key)
    u = np.random.default_rng(0).uniform(-1, 1, (config.n_steps, 1))
    u_device = jnp.asarray(u, jnp.result_type(float))
    w, w_in = peer_weights(params)
    single = {
        "peer": lambda: peer_states(w, w_in, u, (0.9, 0.3, 0.5)),
        "ours": lambda: simulate(model, params, u_device).outputs,
    }
    difference = float(np.abs(single["peer"]() - np.asarray(single["ours"]())).max())
    seconds = in_turn(single, config.rounds)
    out = {"single": ratio(seconds, "peer", "ours"), "difference": difference}
    if with_sweep:
        out |= sweep(model, params, u, u_device, (w, w_in), config, pool)
    return out


def sweep(
    model: ESN, params: ESNParams, u: Any, u_device: Any, peer: tuple[Any, Any], config: Config, pool: Any
) -> dict[str, float]:
    """Ratios per configuration of a sweep over three knobs at one key, and the rate against a plain product."""
    n = config.n_members
    rng = np.random.default_rng(1)
    knobs = np.stack([rng.uniform(0.1, 0.95, n), rng.uniform(0.2, 1.0, n), rng.uniform(0.1, 1.0, n)], axis=1)
    members = [tuple(row) for row in knobs.tolist()]
    names = ("spectral_radius", "leak_rate", "input_scaling")
    swept = params.replace(**{name: jnp.asarray(knobs[:, i], u_device.dtype) for i, name in enumerate(names)})
    axes = jax.tree.map(lambda _: None, params).replace(**dict.fromkeys(names, 0))
    # time first: the order in which the states are made
    ours = jax.jit(jax.vmap(lambda p, x: simulate(model, p, x).outputs, in_axes=(axes, None), out_axes=1))
    jobs = [(*peer, u, member) for member in members]
    units, steps = model.n_units, config.n_steps
    square = jax.random.normal(jax.random.key(2), (units, units)) / units**0.5
    block = jnp.ones((units, n), square.dtype)
    product = jax.jit(lambda a, b: jax.lax.fori_loop(0, steps, lambda i, x: a @ x, b))
    contenders = {
        "peer, two processes": lambda: pool.map(peer_last, jobs, chunksize=max(1, n // 8)),
        "ours": lambda: ours(swept, u_device),
        "product": lambda: product(square, block),
    }
    worst = max(
        float(np.abs(peer_states(peer[0], peer[1], u, members[i]) - np.asarray(ours(swept, u_device)[:, i])).max())
        for i in (0, n - 1)
    )
    # reservoirpy in one process: a few members stand for all, they cost the same
    few = members[: max(2, n // 16)]
    contenders["peer, one process"] = lambda: [peer_last((*peer, u, member)) for member in few]
    seconds = in_turn(contenders, max(1, config.rounds // 2))
    seconds["peer, one process"] = [s * n / len(few) for s in seconds["peer, one process"]]
    return {
        "sweep, one process": ratio(seconds, "peer, one process", "ours"),
        "sweep": ratio(seconds, "peer, two processes", "ours"),
        "rate": ratio(seconds, "product", "ours"),
        "sweep difference": worst,
    }


def main() -> None:
    """Print the table."""
    config = tyro.cli(Config, description=__doc__)
    sizes: tuple[Any, ...] = SIZES
    if config.smoke:
        config = replace(config, n_steps=100, n_members=4, rounds=1)
        sizes = ((100, 0.1, 10.0, 30.0),)
    table = Table(title=f"dynlab (float32) against reservoirpy (float64): times faster, {config.n_steps} steps")
    for column in ("units", "connectivity", "single run (goal)", f"{config.n_members} members, peer on 1 process",
                   "peer on 2 processes (goal)", "share of a plain product", "largest state difference"):
        table.add_column(column, justify="right")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for units, connectivity, single_goal, sweep_goal in sizes:
            row = compare(units, connectivity, sweep_goal is not None, config, pool)
            cells = [f"{units:,}", f"{connectivity:g}", f"{row['single']:.2f} ({single_goal:g})"]
            if "sweep" in row:
                cells += [f"{row['sweep, one process']:.1f}", f"{row['sweep']:.1f} ({sweep_goal:g})"]
                cells += [f"{row['rate']:.0%}"]
            else:
                cells += ["", "", ""]
            table.add_row(*cells, f"{max(row['difference'], row.get('sweep difference', 0.0)):.1e}")
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
