"""How fast is a liquid here, against Brian2 and snnTorch, and are the spikes the same?

The network of 1,000 units on a lattice with 784 inputs, static, with exponential synapses and exact decay. Brian2 gets
the refractory time that it and dynlab both have; snnTorch has none, but resets one step late, which is one step of
refractory time: each is compared with the same network here. Brian2 knows no batches: it runs one network, or disjoint
copies in one group. snnTorch and dynlab run the batch at once. Reported are ratios of seconds for a network-second,
sides in turn, compilation not counted; and on one sample, in float64, how many spikes differ.

The peers need an environment of their own (its folder is free):

    python -m venv .peers && .peers/bin/pip install -r experiments/bench/lsm-peers.txt
    python -m experiments.bench.lsm --peers .peers/bin/python [--smoke] [--rounds 3]

Without --peers only the forms of dynlab are compared.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from dynlab import LSM, Lattice, simulate
from experiments.bench.timing import in_turn

PEERS = ("brian2 numpy 1", "brian2 cython 1", "brian2 cython 16", "brian2 standalone 1", "snntorch float32")
EXACT = ("brian2 numpy 1", "brian2 cython 1", "brian2 standalone 1", "snntorch float64")


@dataclass(frozen=True)
class Config:
    """What to time."""

    peers: str = ""
    """Python of the environment with the peers."""
    shape: tuple[int, ...] = (10, 10, 10)
    """Sites of the lattice."""
    n_inputs: int = 784
    """Channels."""
    batch: int = 256
    """Samples at once."""
    steps: int = 500
    """ms."""
    rate: float = 28.0
    """Hz of every channel."""
    weight: float = 0.9
    """Size of all weights."""
    rounds: int = 3
    """Rounds in turn; medians are reported."""
    seed: int = 0
    """Of the network and its input."""
    smoke: bool = False
    """A small network, one round: checks that it runs, measures nothing."""


def model_of(config: Config, form: str, refractory: float) -> LSM:
    """The network."""
    return LSM(n_inputs=config.n_inputs, wiring=Lattice(shape=config.shape), input_layer="direct", form=form,
               synapse="exponential", order="next_step", decay="exact", refractory=refractory, refractory_hold="clamp",
               weight_scale=config.weight, input_scale=config.weight)


def refractory_of(peer: str) -> float:
    """ms here that are the peer's 3 ms (Brian2 counts from the spike to the next possible one) or its late reset."""
    return 2.0 if peer.startswith("brian2") else 1.0


def write_input(config: Config, events: np.ndarray, path: Path) -> None:
    """What the peers read."""
    model = model_of(config, "dense", 2.0)
    params = model.init(jax.random.key(config.seed))
    np.savez(path, events=events, n=model.n_units, d=config.n_inputs, dt=model.dt, tau=model.tau, refractory=3.0,
             tau_synapse=model.tau_synapse, threshold=model.threshold, threads=os.cpu_count() or 1,
             recurrent=config.weight * np.asarray(params.recurrent.matrix[0], float),
             inputs=config.weight * np.asarray(params.inputs.matrix[0], float))


def ask(config: Config, name: str, given: Path) -> Any:
    """Run one peer once."""
    wanted = given.with_name("found.npz")
    script = Path(__file__).with_name("_lsm_peers.py")
    done = subprocess.run([config.peers, str(script), name, str(given), str(wanted)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
    return dict(np.load(wanted))


def ours(config: Config, form: str) -> Any:
    """The compiled batch: events (batch, T, D) -> spikes (batch, T, N)."""
    model = model_of(config, form, 2.0)
    params = model.init(jax.random.key(config.seed))
    return jax.jit(lambda events: simulate(model, params, events).outputs)


def differing(config: Config, events: np.ndarray, peer: str, found: np.ndarray) -> tuple[int, int]:
    """Spikes here, and how many places of (T, N) differ; an input acts one step later in Brian2."""
    model = model_of(config, "dense", refractory_of(peer))
    params = model.init(jax.random.key(config.seed))
    with jax.enable_x64(True):  # the network drawn above, in float64
        params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, float)), params)
        params = params.replace(weight_scale=jnp.asarray(config.weight), input_scale=jnp.asarray(config.weight))
        here = np.asarray(simulate(model, params, jnp.asarray(events[0], float)).outputs)
    late = 1 if peer.startswith("brian2") else 0
    return int(here.sum()), int((here[: len(here) - late] != found[late:]).sum())


def main() -> int:
    """Time all sides and print the tables."""
    config = tyro.cli(Config, description=__doc__)
    if config.smoke:
        config = Config(peers=config.peers, shape=(3, 3, 4), n_inputs=20, batch=16, steps=60, rate=100.0, weight=4.0,
                        rounds=1)
    rng = np.random.default_rng(config.seed)
    events = (rng.random((config.batch, config.steps, config.n_inputs)) < config.rate / 1000.0).astype(np.float32)
    batch, console = jnp.asarray(events), Console()
    calls = {f"dynlab {form}": partial(ours(config, form), batch) for form in ("csr", "dense")}
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "input.npz"
        write_input(config, events, given)
        seconds: dict[str, list[float]] = {}
        spikes: dict[str, np.ndarray] = {}
        for _ in range(config.rounds):
            for name, values in in_turn(calls, 1).items():
                seconds.setdefault(name, []).append(values[0] / config.batch)
            for name in PEERS if config.peers else ():
                copies = config.batch if name.startswith("snntorch") else min(int(name.split()[-1]), config.batch)
                asked = " ".join([*name.split()[:-1], str(copies)]) if name.startswith("brian2") else name
                found = ask(config, asked, given)
                seconds.setdefault(name, []).append(float(found["seconds"]) / copies)
                spikes[name] = found["spikes"]
        table = Table("side", "times slower than dynlab csr, per network-second", "dynlab dense",
                      title=f"{np.prod(config.shape)} units, batch {config.batch}, {config.steps} ms")
        for name in seconds:
            against = [median(a / b for a, b in zip(seconds[name], seconds[f"dynlab {form}"], strict=True))
                       for form in ("csr", "dense")]
            table.add_row(name, *(f"{value:.2f}" for value in against))
        console.print(table)
        if config.peers:
            table = Table("peer", "spikes", "places that differ", title="Spikes of one sample, float64")
            for name in EXACT:
                if name not in spikes:
                    spikes[name] = ask(config, name, given)["spikes"]
                count, apart = differing(config, events, name, spikes[name])
                table.add_row(name, str(count), str(apart))
            console.print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
