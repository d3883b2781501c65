"""What does local adaptation of inhibition to target rates do for an E/I reservoir?

A reservoir of sigmoid units that obey Dale's law is run with one global balance beta of excitation and inhibition, and
with inhibition that every unit adapts to a target rate, by the local rule or in one step; on memory capacity, NARMA-10,
Mackey-Glass and Lorenz-63, on the same networks and series. After Srinivasan, Plenz and Girvan 2025 (arXiv:2504.12480,
doi:10.1038/s41467-025-64978-8); sizes, lengths and most constants are our reconstruction.

Expected: the best global balance is at or below 0, and excitation ruins the network; adaptation reaches its targets;
equal targets of 0.5 raise memory capacity over the best global balance by 72 % (input scaling 0.1) and 50 % (0.5), each
within 20 points; targets drawn from Beta(2, 2) beat the best global balance on memory and NARMA-10 at once. The paper
reports improvements of up to 130 %; where is not known to us (see ei_search).
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import EIReservoir, check
from dynlab.keys import named
from dynlab.sweep import SweepResult, grid, sweep
from experiments import _ei_dynamics, _ei_report, cli
from experiments._ei_measures import FLOWS, LABELS, OF_ADAPTED, Adapted, Protocol, adapted_member, global_member
from experiments.contract import Progress, Result, quiet

Array = jax.Array


@dataclass(frozen=True)
class Config:
    """What is run; every value can be set on the command line."""

    n_units: int = 500
    """N, units of the reservoir."""
    in_degree: float = 50.0
    """k, mean number of inputs of a unit."""
    gain: float = 10.0
    """c, slope of the sigmoid."""
    input_scalings: tuple[float, ...] = (0.1, 0.5, 2.0)
    """sigma_in; input weights are uniform on +- half of it."""
    balances: tuple[float, ...] = (-3.0, -2.0, -1.5, -1.0, -0.75, -0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5)
    """beta of the global networks."""
    targets: tuple[float, ...] = (0.4, 0.5, 0.6)
    """rho, mean target rates."""
    heterogeneities: tuple[float, ...] = (0.0, 0.1, 0.25)
    """1/(a + b) of the Beta(a, b) distribution of targets; 0 for equal ones. At 0.5, 0.25 is Beta(2, 2)."""
    n_seeds: int = 12
    """Networks and series, one of each a seed, shared by all settings."""
    washout: int = 500
    """Discarded first samples."""
    n_train: int = 3000
    """Training samples of the readouts."""
    n_test: int = 1500
    """Held-out samples."""
    max_delay: int = 60
    """Longest delay counted in memory capacity."""
    ridge: float = 1e-6
    """Ridge penalty, added to the Gram matrix unscaled."""
    fast_steps: int = 3000
    """Steps of the local rule at rate 1e-2."""
    slow_steps: int = 2000
    """Steps of the local rule at rate 1e-3 after these."""
    dynamics_scaling: float = 0.1
    """sigma_in of the second figure."""
    dynamics_seeds: int = 4
    """Networks of the second figure."""
    capacity_samples: int = 20_000
    """Samples of the information processing capacity."""
    max_delays: tuple[int, ...] = (60, 30, 12, 7)
    """Longest delay in its targets of degree 1, 2, 3 ..."""

    @staticmethod
    def smoke() -> Config:
        """One input scaling, few balances, three seeds, 80 units, short series."""
        return Config(n_units=80, in_degree=30.0, input_scalings=(0.5,), balances=(-0.5, -0.1, 0.25), targets=(0.5,),
                      heterogeneities=(0.0, 0.25), n_seeds=3, washout=60, n_train=300, n_test=200, max_delay=20,
                      fast_steps=300, slow_steps=200, dynamics_scaling=0.5, dynamics_seeds=2, capacity_samples=1500,
                      max_delays=(20, 8))

    def protocol(self, forecasts: bool) -> Protocol:
        """Lengths for the measures."""
        return Protocol(self.washout, self.n_train, self.n_test, self.max_delay, self.ridge, forecasts,
                        n_starts=8 if self.n_test >= 1000 else 2, longest=min(1000, 2 * self.n_test // 3),
                        adaptation=((self.fast_steps, 1e-2), (self.slow_steps, 1e-3)))


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    for name in ("n_seeds", "n_train", "max_delay", "fast_steps", "slow_steps", "dynamics_seeds"):
        check.integer(name, getattr(config, name), 1)
    check.integer("n_seeds", config.n_seeds, 2)
    check.integer("n_test", config.n_test, 40)
    check.integer("washout", config.washout, config.max_delay)
    check.integer("capacity_samples", config.capacity_samples, config.n_units + 2)
    check.scalar("ridge", config.ridge, 0.0)
    for name in ("input_scalings", "balances", "targets", "heterogeneities", "max_delays"):
        if not getattr(config, name):
            raise ValueError(f"{name} must hold at least one value, got ()")
    check.number("input_scalings", config.input_scalings, 0.0, low_open=True)
    check.number("balances", config.balances, high=1.0)
    check.number("targets", config.targets, 0.0, 1.0, low_open=True, high_open=True)
    check.number("heterogeneities", config.heterogeneities, 0.0)
    if 0.0 not in config.heterogeneities:
        raise ValueError(f"heterogeneities must hold 0, the equal targets, got {config.heterogeneities}")


def run(config: Config, key: Array, progress: Progress = quiet, folder: Path | None = None) -> Result:
    """The sweeps, one compiled program each, and the dynamics of four conditions."""
    base = EIReservoir(n_units=config.n_units, in_degree=config.in_degree, gain=config.gain)
    balances = {"input_scaling": config.input_scalings, "balance": config.balances}
    adapted = Adapted(base, in_degree=config.in_degree, gain=config.gain)
    targets = {"input_scaling": config.input_scalings, "target": config.targets,
               "heterogeneity": config.heterogeneities}
    all_tasks, two_tasks = config.protocol(True), config.protocol(False)
    todo: dict[str, tuple[Any, Any]] = {
        "global": (partial(global_member, all_tasks), grid(base, **balances)),
        "fixed_in_degree": (partial(global_member, two_tasks),
                            grid(dataclasses.replace(base, topology="fixed_in_degree"), **balances)),
        "design": (partial(adapted_member, all_tasks), grid(adapted, **targets)),
        "rule": (partial(adapted_member, two_tasks), grid(dataclasses.replace(adapted, by_rule=True), **targets)),
    }
    found: dict[str, SweepResult] = {}
    for name in progress(list(todo), "sweep"):
        member, design = todo[name]
        labels = LABELS | (OF_ADAPTED if isinstance(design.model, Adapted) else {})
        shown = {measure: label for measure, label in labels.items()
                 if member.args[0].forecasts or not measure.startswith(tuple(FLOWS))}
        found[name] = sweep(member, design, key, seeds=config.n_seeds, labels=shown,
                            out=None if folder is None else folder / name)
    values = {name: {k: np.asarray(v, float) for k, v in one.values.items()} for name, one in found.items()}
    best = _ei_report.best_balance(config, values, config.dynamics_scaling)
    conditions = _ei_dynamics.conditions(config, best)
    dynamics = {}
    for name in progress(list(conditions), "dynamics"):
        keys = jnp.stack([jax.random.fold_in(key, seed) for seed in range(config.dynamics_seeds)])
        dynamics[name] = _ei_dynamics.measure(conditions[name], keys, config.capacity_samples, config.max_delays)
    example = _ei_dynamics.example(config, named(key, "example"))
    failed = int(sum(np.sum(one.status != 0) for one in found.values()))
    return _ei_report.summarise(config, values, dynamics, example, failed)


def main() -> int:
    """Run from the command line: python -m experiments.ei_adaptation [options]."""
    return cli.main(["ei_adaptation", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
