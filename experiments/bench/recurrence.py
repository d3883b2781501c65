"""Which form of the recurrent product is fastest: dense or gather? Sets the thresholds of dynlab.models.recurrence.

    python -m experiments.bench.recurrence [--smoke]
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import tyro
from rich.console import Console
from rich.table import Table

from dynlab import ESN, simulate
from dynlab.models.recurrence import GATHER_MAX_CONNECTIVITY, GATHER_MIN_UNITS
from experiments.bench.timing import in_turn, ratio


@dataclass(frozen=True)
class Config:
    """What to time."""

    units: tuple[int, ...] = (500, 1000, 2000, 4000)
    """Network sizes."""
    connectivities: tuple[float, ...] = (0.005, 0.02, 0.1)
    """Fractions of non-zero weights."""
    n_steps: int = 100
    """Steps of a run."""
    n_members: int = 32
    """Members of the batched case (different knobs, one matrix)."""
    rounds: int = 5
    """Rounds in turn."""
    smoke: bool = False
    """One small case, one round."""


def compare(units: int, connectivity: float, config: Config) -> tuple[float, float]:
    """How many times faster the gather is than the dense product: one run, and a batch of knob settings."""
    key = jax.random.key(0)
    u = jax.random.uniform(key, (config.n_steps, 1))
    leaks = jnp.linspace(0.1, 1.0, config.n_members)
    single, batch = {}, {}
    for form in ("dense", "gather"):
        model = ESN(n_units=units, connectivity=connectivity, recurrence=form)
        # the radius does not matter here, so draw inside a trace, where it is cheap
        params = jax.jit(model.init)(key)
        axes = jax.tree.map(lambda _: None, params).replace(leak_rate=0)
        swept = jax.jit(jax.vmap(lambda p, model=model: simulate(model, p, u, record=None).state, in_axes=(axes,)))
        single[form] = lambda model=model, params=params: simulate(model, params, u, record=None).state
        batch[form] = lambda swept=swept, params=params: swept(params.replace(leak_rate=leaks))
    one, many = (ratio(in_turn(form, config.rounds), "dense", "gather") for form in (single, batch))
    return one, many


def main() -> None:
    """Print the table."""
    config = tyro.cli(Config, description=__doc__)
    if config.smoke:
        config = Config(units=(200,), connectivities=(0.05,), n_steps=20, n_members=4, rounds=1)
    table = Table(title="gather: times faster than dense")
    for column in ("units", "connectivity", "one run", f"{config.n_members} members", "auto picks"):
        table.add_column(column, justify="right")
    for units in config.units:
        for connectivity in config.connectivities:
            single, batch = compare(units, connectivity, config)
            gather = units >= GATHER_MIN_UNITS and connectivity <= GATHER_MAX_CONNECTIVITY
            row = (f"{units:,}", f"{connectivity:g}", f"{single:.2f}", f"{batch:.2f}", "gather" if gather else "dense")
            table.add_row(*row)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
