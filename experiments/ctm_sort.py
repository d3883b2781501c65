"""Does a Continuous Thought Machine sort numbers, and does it wait longer where the next number is far?

All numbers are shown at every tick; at each tick the machine says one index or nothing, and the connectionist temporal
classification loss leaves the timing to it. Then: share of lists that are sorted without a mistake, also for numbers of
another spread, and the ticks between one index and the next against the gap between the two numbers.

Darlow et al., "Continuous Thought Machines", NeurIPS 2025, arXiv:2505.05522. There (30 numbers, 50 ticks, 512 units,
100,000 updates) results are figures without numbers: the first wait is long, and waits grow with the gap. Here fewer
numbers and a smaller machine.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import CTM, check, think, tree
from dynlab.keys import named
from dynlab.tasks import Sorting, Unsorted, ctc_decode, ctc_loss
from experiments import _thoughts, cli
from experiments._thoughts import identity, mean_of_batches, train_all, train_one
from experiments.contract import Claim, Progress, Result, Table, Variable, quiet, within

Array = jax.Array
SOURCE = "a goal of this project"
FIGURE = "arXiv:2505.05522, figure"
SPREADS = (0.5, 0.75, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Config(_thoughts.Training):
    """What is run; every value can be set on the command line."""

    n_values: int = 6
    """Numbers in a list."""
    learning_rate: float = 3e-3
    """Of AdamW after the warm-up; it falls to `last_learning_rate` as a cosine."""
    n_ticks: int = 20
    """Ticks of thought."""
    n_history: int = 10
    """Ticks of history."""
    n_units: int = 128
    """Units."""
    n_sync: int = 64
    """Pairs of units whose synchronization is read."""
    n_hidden: int = 4
    """Hidden units of each private network."""
    depth: int = 2
    """Of the synapse model; the paper's code has 4."""
    n_networks: int = 3
    """Networks."""
    n_updates: int = 10_000
    """Updates, each on a fresh batch."""
    n_lists: int = 4096
    """Lists on which trained networks are tested."""

    @staticmethod
    def smoke() -> Config:
        """A tiny network, a few updates: seconds."""
        return Config(n_values=3, n_ticks=5, n_history=2, n_units=20, n_sync=8, n_hidden=2, n_networks=1, n_updates=20,
                      epochs=2, warm_up=5, batch=16, tests=1, n_lists=64)


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    _thoughts.check_training(config)
    for name in ("n_values", "n_networks", "n_lists"):
        check.integer(name, getattr(config, name), 2 if name == "n_values" else 1)
    check.integer("n_ticks", config.n_ticks, config.n_values)
    jax.eval_shape(model_of(config).init, jax.random.key(0))


def model_of(config: Config) -> CTM:
    """The thought machine: no attention, the numbers go into the synapse model."""
    return CTM(n_inputs=config.n_values, n_tokens=1, n_units=config.n_units, n_heads=0, n_action=0,
               n_history=config.n_history, n_hidden=config.n_hidden, n_out=config.n_sync, pairing="random",
               depth=config.depth, n_outputs=(config.n_values + 1,))


@tree.dataclass
class SortLoss:
    """The mean loss of a fresh batch of lists."""

    model: Any
    task: Sorting
    n_ticks: int = tree.static()
    batch: int = tree.static()

    def answers(self, params: Any, key: Array, size: int, spread: Any = None) -> tuple[Array, Unsorted]:
        """Logits (B, T, N + 1) about fresh lists, and the lists."""
        task = self.task if spread is None else Sorting(self.task.n_values, spread)
        lists = task.batch(key, size)
        return think(self.model, params, lists.values, self.n_ticks).logits, lists

    def __call__(self, params: Any, key: Array) -> Array:
        """The loss, per number."""
        logits, lists = self.answers(params, key, self.batch)
        return jnp.mean(ctc_loss(logits, lists.order)) / self.task.n_values


@tree.dataclass
class SortTest:
    """Share of lists sorted without a mistake, on fresh batches of 256."""

    loss: SortLoss
    tests: int = tree.static()

    def __call__(self, params: Any, key: Array) -> dict[str, Array]:
        """exact."""

        def one(key: Array) -> Array:
            logits, lists = self.loss.answers(params, key, 256)
            return jnp.mean(sorted_right(logits, lists.order)[0])

        return {"exact": mean_of_batches(one, key, self.tests)}


def sorted_right(logits: Array, order: Array) -> tuple[Array, Array]:
    """Whether each answer is the order and nothing else (B,), and the ticks of its indices (B, N)."""
    symbols, ticks, counts = ctc_decode(logits, order.shape[1])
    return jnp.all(symbols == order, axis=1) & (counts == order.shape[1]), ticks


def run(config: Config, key: Array, progress: Progress = quiet, folder: Path | None = None) -> Result:
    """Train, going on from the folder, and test."""
    loss = SortLoss(model_of(config), Sorting(config.n_values), n_ticks=config.n_ticks, batch=config.batch)
    known = identity(config, "sort", ("n_networks", "n_lists"))
    jobs = {
        index: partial(train_one, loss, config, jax.random.fold_in(named(key, "train"), index),
                       evaluate=SortTest(loss, config.tests), identity=known,
                       folder=None if folder is None else folder / "trained" / str(index))
        for index in range(config.n_networks)
    }
    fits = train_all(jobs, progress)
    rows = [measure(config, loss, fits[i].params, jax.random.fold_in(named(key, "test"), i)) for i in fits]
    return summarise(config, rows, np.stack([fits[i].history["exact"] for i in fits]))


def measure(config: Config, loss: SortLoss, params: Any, key: Array) -> dict[str, Any]:
    """One network on fresh lists: exact answers by spread, waits and gaps of the lists it sorts."""
    exact = {}
    for spread in SPREADS:  # a knob: one program
        logits, lists = loss.answers(params, named(key, f"spread {spread}"), config.n_lists, spread)
        exact[spread] = float(jnp.mean(sorted_right(logits, lists.order)[0]))
    logits, lists = loss.answers(params, named(key, "waits"), config.n_lists)
    right, ticks = (np.asarray(part) for part in sorted_right(logits, lists.order))
    values = np.take_along_axis(np.asarray(lists.values), np.asarray(lists.order), axis=1)[right]
    ticks = ticks[right].astype(float)
    waits, gaps = np.diff(ticks, axis=1), np.diff(values, axis=1)
    varied = waits.size > 2 and np.ptp(waits) > 0
    return {"exact": exact, "first": ticks[:, 0].mean() if len(ticks) else math.nan,
            "waits": waits.mean(axis=0) if len(ticks) else np.full(config.n_values - 1, math.nan),
            "correlation": float(np.corrcoef(waits.ravel(), gaps.ravel())[0, 1]) if varied else math.nan,
            "pairs": (gaps.ravel()[:2000], waits.ravel()[:2000])}


def summarise(config: Config, rows: list[dict[str, Any]], history: np.ndarray) -> Result:
    """Tables, claims, arrays and figures."""
    exact = np.array([[row["exact"][spread] for spread in SPREADS] for row in rows])
    own, correlation = exact[:, SPREADS.index(1.0)], np.array([row["correlation"] for row in rows])
    least = float(correlation.min())
    claims = [
        Claim("share of lists sorted without a mistake, mean of the networks", SOURCE, "above 0.9", float(own.mean()),
              bool(own.mean() > 0.9)),
        within("correlation of wait and gap, smallest of the networks", FIGURE, 0.0, math.inf, least),
    ]
    cells = [(i, *exact[i], row["correlation"], row["first"]) for i, row in enumerate(rows)]
    return Result(
        figures={"exact": float(own.mean()), "correlation": float(correlation.mean())}, claims=claims,
        tables=[Table(f"Lists of {config.n_values} numbers sorted without a mistake, {config.n_updates:,} updates",
                      ("network", *(f"spread {s}" for s in SPREADS), "wait ~ gap", "first index at tick"), cells,
                      "trained at spread 1; ticks from 0")],
        data={"exact": Variable(("network", "spread"), exact, "1", "share of lists sorted without a mistake"),
              "training": Variable(("network", "epoch"), history, "1", "the same along the training"),
              "wait": Variable(("network", "number"), np.stack([row["waits"] for row in rows]), "ticks",
                               "mean wait before each number but the first")},
        coords={"spread": Variable(("spread",), np.asarray(SPREADS), "1", "standard deviation of the numbers"),
                "network": Variable(("network",), np.arange(len(rows)), "1", "index of the network")},
        plots={"waits": partial(_waits, rows)},
        headline=f"{own.mean():.3f} of the lists sorted, wait and gap correlate by {correlation.mean():.2f}",
    )


def _waits(rows: list[dict[str, Any]], figure: Any) -> None:
    left, right = figure.subplots(1, 2)
    for i, row in enumerate(rows):
        left.plot(2 + np.arange(len(row["waits"])), row["waits"], marker="o", label=f"network {i}")
    left.set(xlabel="number, from the smallest", ylabel="mean wait before it (ticks)")
    left.legend(frameon=False)
    gaps, waits = rows[0]["pairs"]
    if len(gaps):
        right.plot(gaps, waits + np.linspace(-0.2, 0.2, len(waits)), ".", ms=2, alpha=0.5)
    right.set(xlabel="gap to the number before", ylabel="wait (ticks)", title="network 0")


def main() -> None:
    """Run this experiment with the arguments of the command line."""
    sys.exit(cli.main(["ctm_sort", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
