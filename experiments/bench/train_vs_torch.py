"""How fast does a leaky network train on N-parity here, against the published way in PyTorch?

Both do the published update: 500 units, batches of 256 fresh sequences, 100 heads, the sum of the cross-entropies for
N = 2 .. 10 or 2 .. 30, gradient clipping, Nesterov SGD (:mod:`experiments.bench.parity_torch` for PyTorch; the loss of
the N-parity experiment and :func:`dynlab.train.fit` here). Sequences have one length a batch, and both sides get the
same lengths, update by update. "Published" draws and labels sequences one by one and indexes the input inside the loop;
"lean" is the same network in PyTorch without these two. Networks that train together (one program, mapped over the
networks) are compared with the same networks one after the other.

Sides run in turn, after one uncounted round (compilation); reported are ratios, never times. With ``--cores 1`` both
are held to one core: on a busy machine two threads that wait for each other say more about the machine. PyTorch uses a
GPU where it has one.

    python -m experiments.bench.train_vs_torch [--smoke] [--cores 1] [--rounds 3]
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch is on the same GPU

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from experiments.bench.timing import in_turn, ratio

COLUMNS = ("N", "updates", "mean length", "times faster than published", "than lean", "lean than published",
           "networks together", "each times faster than alone")


@dataclass(frozen=True)
class Config:
    """What to time."""

    largest: tuple[int, ...] = (10, 30)
    """Trained are N = 2 .. each of these."""
    updates: tuple[int, ...] = (20, 6)
    """Updates in a round, for each of them."""
    n_units: int = 500
    """Units."""
    batch: int = 256
    """Sequences in a batch."""
    max_n: int = 101
    """Heads are there for N = 2 .. max_n."""
    n_networks: int = 3
    """Networks that train together in the last columns."""
    rounds: int = 3
    """Rounds in turn; medians of ratios are reported."""
    cores: int = 0
    """Hold the process to so many cores; 0 for all."""
    seed: int = 0
    """Of weights, lengths and sequences."""
    smoke: bool = False
    """A small network, one round: checks that it runs, measures nothing."""


def hold_to(cores: int) -> None:
    """Both sides on the first `cores` cores of those that the process may use."""
    import torch

    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))
    torch.set_num_threads(cores)


class Ours:
    """Training by the library, all updates of a round as one epoch."""

    def __init__(self, config: Config) -> None:
        from experiments import _bits

        self.bits, self.config = _bits, config
        self.training = _bits.Training(n_units=config.n_units, max_n=config.max_n, batch=config.batch, n_tests=1)
        heads: Any = _bits.heads_of(self.training)
        length = max(4 * max(config.largest) + 1, config.max_n + 2)  # padded for the longest of the table
        self.heads = heads.replace(task=heads.task.replace(length=length))
        self.optimiser = _bits.optimiser_of(self.training)
        self.keys = jax.random.split(jax.random.key(config.seed), config.n_networks)
        self.networks = jax.jit(jax.vmap(lambda k: _bits.draw_network(self.heads, k)))(self.keys)

    def stage(self, largest: int) -> Any:
        """All N up to the largest are trained."""
        first: Any = self.heads.curriculum.init()
        return self.bits.Kept(first.replace(high=jnp.int32(largest - self.bits.FIRST_N)), ())

    def lengths(self, largest: int, updates: int) -> list[int]:
        """Of the batches that the first network draws; update i of `fit` has ``fold_in(named(key, "updates"), i)``."""
        from dynlab.keys import named

        task: Any = self.heads.task.replace(n=jnp.int32(largest))
        key = named(self.keys[0], "updates")
        start = jax.jit(lambda i: task.batch(key, 1, named(jax.random.fold_in(key, i), "length")).start)
        return [task.n_steps - int(start(i)) for i in range(updates)]

    def train(self, which: Any, largest: int, updates: int) -> Any:
        """Train one network (an index), or several together (a slice); the result of `fit`."""
        from dynlab import train

        pick = lambda tree: jax.tree.map(lambda leaf: leaf[which], tree)  # noqa: E731
        networks, keys, stage = pick(self.networks), self.keys[which], self.stage(largest)
        if keys.ndim:
            stage = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(keys), *leaf.shape)), stage)
        constraints = self.bits.constraints_of(self.training, networks)
        return train.fit(self.heads, networks, keys, optimiser=self.optimiser, n_epochs=1, n_updates=updates,
                         constraints=constraints, stage=stage)


def theirs(config: Config, largest: int, lengths: list[int], lean: bool) -> Callable[[], list[float]]:
    """A round of PyTorch on the given lengths."""
    import torch

    from experiments.bench import parity_torch

    torch.manual_seed(config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = parity_torch.LeakyNet(config.n_units, config.max_n - 1, lean).to(device)
    optimiser = parity_torch.sgd(network)
    return lambda: parity_torch.train(network, optimiser, range(2, largest + 1), lengths, config.batch)


def compare(config: Config, ours: Ours, largest: int, updates: int) -> list[str]:
    """One row of the table."""
    lengths, several = ours.lengths(largest, updates), range(config.n_networks)
    contenders = {
        "published": theirs(config, largest, lengths, lean=False),
        "lean": theirs(config, largest, lengths, lean=True),
        "ours": lambda: ours.train(0, largest, updates).loss,
        "together": lambda: ours.train(slice(None), largest, updates).loss,
        "alone": lambda: [ours.train(i, largest, updates).loss for i in several],
    }
    seconds = in_turn(contenders, config.rounds)
    ratios = [ratio(seconds, *pair) for pair in (("published", "ours"), ("lean", "ours"), ("published", "lean"))]
    together = ratio(seconds, "alone", "together")
    return [f"2 .. {largest}", f"{updates}", f"{np.mean(lengths):.1f}", *(f"{r:.2f}" for r in ratios),
            f"{config.n_networks}", f"{together:.2f}"]


def main() -> None:
    """Print the table."""
    config = tyro.cli(Config, description=__doc__)
    if config.smoke:
        config = replace(config, largest=(3, 4), updates=(2, 2), n_units=16, batch=8, max_n=6, n_networks=2, rounds=1)
    if config.cores:
        hold_to(config.cores)
    ours = Ours(config)
    where = f"{jax.devices()[0].device_kind}, {config.cores or 'all'} cores"
    table = Table(title=f"N-parity, {config.n_units} units, batch {config.batch}, {config.max_n - 1} heads ({where})")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for largest, updates in zip(config.largest, config.updates, strict=True):
        table.add_row(*compare(config, ours, largest, updates))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
