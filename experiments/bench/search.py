"""Does the search find a better setting than random points of the same budget, on NARMA-10?

For each of `n_seeds` seeds, two worker processes share one study (journal file) and spend `n_trials` trials; a random
search spends as many in one process. A trial is the mean held-out NRMSE of `n_networks` networks, each batch of trials
one vmapped call. Reported: the best value of each, seed by seed, and the medians.

    python -m experiments.bench.search [--smoke] [--n-trials 128]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

SPACE = {"spectral_radius": (0.1, 2.0), "leak_rate": (0.1, 1.0), "input_scaling": (0.01, 3.0, "log"),
         "bias_scaling": (0.01, 2.0, "log")}


@dataclass(frozen=True)
class Config:
    """What is compared."""

    n_units: int = 50
    """N."""
    n_train: int = 800
    """Training samples."""
    n_test: int = 400
    """Held-out samples."""
    n_trials: int = 128
    """Budget of each search."""
    batch: int = 16
    """Trials of a call."""
    n_networks: int = 2
    """Networks a trial."""
    n_seeds: int = 5
    """Repetitions."""
    smoke: bool = False
    """Small sizes: checks that it runs, measures nothing."""


def score(config: Config, model: Any, key: Any) -> Any:
    """Held-out NRMSE of NARMA-10."""
    import jax
    import jax.numpy as jnp

    from dynlab import ridge, simulate
    from dynlab.tasks.narma import Narma

    params = model.init(jax.random.fold_in(key, 0))
    trial = Narma(length=100 + config.n_train + config.n_test).sample(jax.random.fold_in(key, 1))
    states = simulate(model, params, trial.inputs, washout=100).outputs
    wanted, train = trial.targets[100:], config.n_train
    error = ridge(states[:train], wanted[:train], 1e-7)(states[train:]) - wanted[train:]
    return jnp.sqrt(jnp.mean(error**2) / jnp.var(wanted[train:]))


def worker(config: Config, sampler: str, seed: int, storage: str) -> None:
    """One worker; prints the best value that it knows of when the budget is spent."""
    import jax

    from dynlab import ESN
    from dynlab.sweep import search

    found = search(partial(score, config), ESN(n_units=config.n_units), jax.random.key(seed % 1000), space=SPACE,
                   n_trials=config.n_trials, batch=config.batch, seeds=config.n_networks, storage=storage,
                   sampler=sampler, sampler_seed=seed)
    print(json.dumps({"value": found.value, "trials": len(found.trials["value"])}), flush=True)


def repetition(config: Config, seed: int, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The shared TPE study and the random search of one seed, at the same networks and series."""
    def start(sampler: str, number: int, storage: Path) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "experiments.bench.search", "--worker", json.dumps(asdict(config)), sampler,
                 str(number), str(storage)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    both = [start("tpe", seed + 1000 * i, folder / f"tpe{seed}") for i in range(2)]
    lines = [process.communicate()[0] for process in both]
    chance = start("random", seed, folder / f"random{seed}").communicate()[0]
    found = [json.loads(line) for line in lines]
    return min(found, key=lambda each: each["value"]), json.loads(chance)


def main() -> None:
    """Print the table."""
    if len(sys.argv) == 6 and sys.argv[1] == "--worker":
        worker(Config(**json.loads(sys.argv[2])), sys.argv[3], int(sys.argv[4]), sys.argv[5])
        return
    import tyro
    from rich.console import Console
    from rich.table import Table

    config = tyro.cli(Config, description=__doc__)
    if config.smoke:
        config = replace(config, n_units=10, n_train=200, n_test=100, n_trials=16, batch=8, n_networks=1, n_seeds=1)
    table = Table(title=f"Best NARMA-10 NRMSE in {config.n_trials} trials, N = {config.n_units}")
    for column in ("seed", "TPE, two workers, one study", "random points", "trials (TPE, random)"):
        table.add_column(column, justify="right")
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(config.n_seeds):
            tpe, chance = repetition(config, seed, Path(folder))
            pairs.append((tpe["value"], chance["value"]))
            table.add_row(str(seed), f"{tpe['value']:.4f}", f"{chance['value']:.4f}",
                          f"{tpe['trials']}, {chance['trials']}")
    ours, chance_best = (median(values) for values in zip(*pairs, strict=True))
    table.add_row("median", f"{ours:.4f}", f"{chance_best:.4f}", "")
    console = Console(width=120)
    console.print(table)
    holds = "holds" if ours <= chance_best else "DOES NOT HOLD"
    console.print(f"at least as good as random in the median: {holds} (difference {ours - chance_best:+.4f})")


if __name__ == "__main__":
    main()
