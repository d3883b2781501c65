"""What do synchronization and the private networks of a Continuous Thought Machine contribute?

The machine is trained on cumulative parity as it is, without its private networks, without synchronization, and without
both, and how fast each learns is kept; then how much of an answer can be read from some of the trained machine's pairs,
or from as many of its units.

Darlow et al., "Continuous Thought Machines", NeurIPS 2025, arXiv:2505.05522: on 15 x 15 mazes the full machine has
94.6 % of the steps right, 82.9 % without private networks, 85.1 % without synchronization, an LSTM with it 82.4 %. Here
a part is left out with all else the same, and the table says how many parameters are left.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dynlab import CTM, check, logistic, model_size, think
from dynlab.keys import named
from dynlab.tasks import CumulativeParity
from experiments import _thoughts, cli
from experiments._statistics import student_reach
from experiments._thoughts import (
    NEITHER,
    NO_NETWORKS,
    NO_SYNC,
    TickLoss,
    TickTest,
    identity,
    parity_machine,
    train_all,
    train_one,
    without,
)
from experiments.contract import Claim, Progress, Result, Table, Variable, quiet, within

Array = jax.Array
SOURCE = "arXiv:2505.05522, on mazes"
FULL = "full"
ENOUGH = 0.95  # share of positions right, for the updates it takes
KINDS = (FULL, NO_NETWORKS, NO_SYNC, NEITHER)


@dataclass(frozen=True)
class Config(_thoughts.Training):
    """What is run; every value can be set on the command line."""

    n_signs: int = 20
    """Length of the strings."""
    n_ticks: int = 12
    """Ticks of thought."""
    n_history: int = 6
    """Ticks of history, where there are private networks."""
    n_units: int = 96
    """Units."""
    n_attention: int = 48
    """Width of the attention."""
    n_heads: int = 4
    """Of the attention."""
    n_sync: int = 16
    """Units on each side of the pairs."""
    n_hidden: int = 8
    """Hidden units of each private network."""
    n_networks: int = 3
    """Networks of each kind."""
    n_updates: int = 8000
    """Updates, each on a fresh batch."""
    n_strings: int = 2000
    """Strings for the readouts; half of them test."""
    read: tuple[int, ...] = (4, 16, 64)
    """How many pairs, or units, are read."""

    @staticmethod
    def smoke() -> Config:
        """Tiny networks, a few updates: seconds."""
        return Config(n_signs=3, n_ticks=3, n_history=2, n_units=12, n_attention=8, n_heads=2, n_sync=4, n_hidden=2,
                      n_networks=1, n_updates=20, epochs=2, warm_up=5, batch=16, tests=1, n_strings=60, read=(2, 4))


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    _thoughts.check_training(config)
    for name in ("n_signs", "n_networks", "n_ticks"):
        check.integer(name, getattr(config, name), 1)
    check.integer("n_strings", config.n_strings, 20)
    for count in config.read:
        check.integer("read", count, 1, min(config.n_units, config.n_sync * (config.n_sync + 1) // 2))
    for kind in KINDS:
        jax.eval_shape(model_of(config, kind).init, jax.random.key(0))


def model_of(config: Config, kind: str) -> CTM:
    """The machine with one part, or two, left out."""
    full = parity_machine(config, config.n_history)
    return full if kind == FULL else without(full, kind)


def run(config: Config, key: Array, progress: Progress = quiet, folder: Path | None = None) -> Result:
    """Train all kinds, going on from the folder, and read the full ones."""
    task = CumulativeParity(config.n_signs)
    jobs = {}
    for index in range(config.n_networks):
        for kind in KINDS:
            loss = TickLoss(model_of(config, kind), task, n_ticks=config.n_ticks, batch=config.batch)
            place = None if folder is None else folder / "trained" / f"{kind.replace(' ', '-')}-{index}"
            known = identity(config, kind, ("n_networks", "n_strings", "read"))
            jobs[kind, index] = partial(
                train_one, loss, config, jax.random.fold_in(named(key, "networks"), index), folder=place,
                evaluate=TickTest(loss, config.tests), identity=known)
    fits = train_all(jobs, progress)
    along = {kind: np.stack([fits[kind, i].history["accuracy"] for i in range(config.n_networks)]) for kind in KINDS}
    model = model_of(config, FULL)
    reads = np.stack([read(config, model, fits[FULL, i].params, jax.random.fold_in(named(key, "read"), i))
                      for i in range(config.n_networks)])
    return summarise(config, along, reads)


def read(config: Config, model: CTM, params: Any, key: Array) -> np.ndarray:
    """Accuracy of readouts of every position at the last tick, from pairs and from units, (2, counts)."""
    strings = CumulativeParity(config.n_signs).batch(named(key, "strings"), config.n_strings)
    thought = think(model, params, strings.symbols, config.n_ticks, record=("features", "state"))
    sources = [np.asarray(found[:, -1]) for found in (thought.records["features"], thought.records["state"].active)]
    labels, half = np.asarray(strings.labels), config.n_strings // 2
    out = np.zeros((2, len(config.read)))
    for row, x in enumerate(sources):
        x = (x - x[:half].mean(0)) / np.maximum(x[:half].std(0), 1e-6)
        chosen = np.asarray(jax.random.permutation(named(key, f"source {row}"), x.shape[1]))
        for column, count in enumerate(config.read):
            part = x[:, chosen[:count]]
            scores = [float(logistic(part[:half], labels[:half, n], l2=1e-3, n_classes=2).score(part[half:],
                                                                                                labels[half:, n]))
                      for n in range(config.n_signs)]
            out[row, column] = np.mean(scores)
    return out


def updates_to(share: float, along: np.ndarray, per_epoch: int) -> float:
    """Updates after which accuracy (network, epoch) is at least `share`, mean over networks; inf if one never is."""
    there = along >= share
    first = np.where(there.any(axis=1), 1 + there.argmax(axis=1), np.inf)
    return float(np.mean(first) * per_epoch)


def summarise(config: Config, along: dict[str, np.ndarray], reads: np.ndarray) -> Result:
    """Tables, claims, arrays and figures; along[kind] is accuracy (network, epoch)."""
    last, per_epoch = {kind: values[:, -1] for kind, values in along.items()}, config.n_updates // config.epochs
    rows = [(kind, model_size(model_of(config, kind)), np.mean(last[kind]), *last[kind],
             updates_to(ENOUGH, along[kind], per_epoch)) for kind in KINDS]
    claims: list[Claim] = []
    for kind in KINDS[1:3]:
        gain = last[FULL] - last[kind]
        reach = student_reach(float(np.std(gain, ddof=1)), gain.size) if gain.size > 1 else math.nan
        claims.append(within(f"accuracy of the full machine less that with {kind}, mean (95 % interval +-{reach:.3f})",
                             SOURCE, 0.0, math.inf, float(np.mean(gain))))
    counts = [(n, *reads[:, :, i].mean(0)) for i, n in enumerate(config.read)]
    columns = ("machine", "parameters", "mean", *(f"network {i}" for i in range(config.n_networks)),
               f"updates to {ENOUGH}, mean")
    return Result(
        figures={f"accuracy {kind}": float(np.mean(last[kind])) for kind in KINDS}, claims=claims,
        tables=[Table(f"Share of positions right, {config.n_signs} signs, {config.n_ticks} ticks", columns, rows),
                Table("Read from a part of the full machine at its last tick", ("how many", "pairs", "units"), counts,
                      "logistic regression for each position, mean over positions and networks")],
        data={"accuracy": Variable(("kind", "network"), np.stack([last[kind] for kind in KINDS]), "1",
                                   "share of positions right"),
              "training": Variable(("kind", "network", "epoch"), np.stack([along[kind] for kind in KINDS]), "1",
                                   "the same along the training"),
              "read": Variable(("network", "source", "count"), reads, "1", "accuracy of readouts")},
        coords={"kind": Variable(("kind",), np.asarray(KINDS), "1", "what is left out"),
                "source": Variable(("source",), np.asarray(["pairs", "units"]), "1", "what is read"),
                "count": Variable(("count",), np.asarray(config.read), "1", "how many are read")},
        plots={"training": partial(_training, along, per_epoch)},
        headline=", ".join(f"{kind} {np.mean(last[kind]):.3f}" for kind in KINDS),
    )


def _training(along: dict[str, np.ndarray], per_epoch: int, figure: Any) -> None:
    """Accuracy of every network after every epoch, and the mean of each kind."""
    ax = figure.add_subplot()
    for (kind, values), color in zip(along.items(), ("#000000", "#0072B2", "#D55E00", "#009E73"), strict=True):
        updates = per_epoch * (1 + np.arange(values.shape[1]))
        ax.plot(updates, values.T, color=color, lw=0.8, alpha=0.4)
        ax.plot(updates, values.mean(0), color=color, lw=2, label=kind)
    ax.axhline(0.5, color="0.6", ls=":")
    ax.set(xlabel="updates", ylabel="share of positions right", ylim=(0.45, 1.02))
    ax.legend(frameon=False)


def main() -> None:
    """Run this experiment with the arguments of the command line."""
    sys.exit(cli.main(["ctm_sync", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
