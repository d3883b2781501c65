"""Which timescales does a network develop when it learns N-parity, one N at a time or many at once?

Networks of leaky units with time constants of their own are trained to give the parity of the last N bits, N growing
when the task is solved: with one head that is trained again for each N ("single"), or with a head for every N so far
("cumulative", the multi-head curriculum). Then: time constants, timescales of the activity and eigenvalues along N, and
what ablating units and perturbing weights and time constants does.

Khajehabdollahi et al., "Emergent mechanisms for long timescales depend on training curriculum and affect performance in
memory tasks", ICLR 2024, arXiv:2309.12927, and the results published with its code. Expected there at N = 11 and 12:
multi-head solves N = 12 in 12 epochs, single-head in 24; mean tau 1.39 and 1.43.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import _bits, _bits_analysis, cli
from experiments._bits import FIRST_N
from experiments._bits_report import summarise
from experiments.contract import Progress, Result, quiet

Array = jax.Array


@dataclass(frozen=True)
class Config(_bits.Training, _bits_analysis.Analysis):
    """What is run; every value can be set on the command line."""

    @staticmethod
    def smoke() -> Config:
        """A small network, N up to 3: seconds."""
        return Config(n_units=32, max_n=3, n_networks=2, together=True, n_epochs=6, n_updates=80, n_tests=5, batch=64,
                      timescale_steps=1000, timescale_trials=2, repeats=2, retrain_to=3, retrain_epochs=1)


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    _bits.validate(config)
    _bits_analysis.validate(config)


def run(config: Config, key: Array, progress: Progress = quiet, folder: Path | None = None) -> Result:
    """Train, going on from the folder where it holds epochs of this run, and analyse."""
    heads, fit = _bits.train_networks(config, key, progress, folder)
    solved = np.asarray(fit.stage.curriculum.solved)  # (S, K) epochs
    jobs = []
    for network in range(config.n_networks):
        done = np.flatnonzero(solved[network] >= 0) + FIRST_N
        wanted = {n for n in config.at if n in done} | set(done[-1:].tolist())
        jobs += [(network, int(n), int(n) == done[-1]) for n in sorted(wanted)]
    rows = [measure(config, heads, fit, job, key) for job in progress(jobs, "analyse")]
    return summarise(config, fit, rows)


def measure(config: Config, heads: _bits.Heads, fit: Any, job: tuple[int, int, bool], key: Array) -> dict[str, Any]:
    """Everything about one network at one N."""
    index, n, last = job
    network = jax.tree.map(lambda leaf: leaf[index, n - FIRST_N], fit.stage.networks)
    own = jax.random.fold_in(jax.random.fold_in(key, 10_000 + config.first_network + index), n)
    row: dict[str, Any] = {"network": config.first_network + index, "n": n, "last": last}
    row |= _bits_analysis.timescales_of(heads, network, own, config)
    points = row.pop("points")
    if last:
        row.update(_bits_analysis.dynamics_of(heads, network, points, own))
        row |= _bits_analysis.damage_of(heads, network, n, own, config.task, config)
        if config.retrain_to:
            row["retrained"] = _bits_analysis.retraining(config, network, n, own, config)
    return row


def main() -> None:
    """Run this experiment with the arguments of the command line."""
    sys.exit(cli.main(["n_parity", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
