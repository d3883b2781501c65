"""How does activity branch in a spiking liquid, static and under plasticity with an astrocyte?

The liquid of Ivanov and Michmizos 2021 (NeurIPS, arXiv:2111.01760): 1,000 integrate-and-fire units on a lattice, driven
by handwritten digits. Its topological branching factor is measured against the size of all weights of a static liquid,
and against the strength w_astro with which the astrocyte (a slow modulator of depression) acts on STDP.

Expected, from the authors' published runs: 0.369, 0.704, 1.002, 1.240, 1.404 at weights 0.4, 0.6, 0.8, 1.0, 1.2; 1.424,
1.246, 1.086, 0.885 at w_astro 0.002, 0.015, 0.05, 0.2; plain STDP saturates, above 1.3. Their liquids were initialised
on 50,000 samples of 20 ms; here `n_start` of them, which decides how near the weights come to where theirs ended.
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

from dynlab import LSM, Lattice, branching_factor, check, plots
from dynlab.keys import named
from dynlab.models.synapses import from_dense
from experiments import _liquid, cli
from experiments._liquid import kept, own_folder
from experiments.contract import Claim, Progress, Result, Table, Variable, near, quiet, within

Array = jax.Array
SOURCE = "arXiv:2111.01760, published runs"
STATIC = {0.4: 0.369, 0.6: 0.704, 0.8: 1.002, 1.0: 1.240, 1.2: 1.404, 1.4: 1.438}
ASTRO = {0.002: 1.424, 0.015: 1.246, 0.05: 1.086, 0.2: 0.885}


@dataclass(frozen=True)
class Config:
    """What is run; every value can be set on the command line."""

    dataset: str = "mnist"
    """"mnist", "fashion_mnist", or "templates": random rates that are no data, to try the program without any."""
    shape: tuple[int, ...] = (10, 10, 10)
    """Sites of the lattice."""
    weights: tuple[float, ...] = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4)
    """Size of all weights of the static liquid."""
    astro_gains: tuple[float, ...] = (0.0, 0.002, 0.015, 0.05, 0.2)
    """w_astro; 0 is STDP without an astrocyte."""
    n_networks: int = 3
    """Static liquids."""
    n_plastic: int = 2
    """Plastic liquids."""
    n_samples: int = 20
    """Images on which the factor is measured."""
    n_start: int = 1000
    """Images of the initialisation of the plastic liquid (50,000 in the paper)."""
    duration: int = 250
    """ms an image is shown."""
    start_duration: int = 20
    """ms an image is shown in the initialisation."""

    @staticmethod
    def smoke() -> Config:
        """A lattice of 64 units, random rates, two weights, two strengths."""
        return Config(dataset="templates", shape=(4, 4, 4), weights=(0.8, 1.2), astro_gains=(0.0, 0.015), n_networks=1,
                      n_plastic=1, n_samples=2, n_start=4, duration=80)


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    check.choice("dataset", config.dataset, _liquid.DATASETS)
    for name in ("n_networks", "n_plastic", "n_samples", "n_start", "start_duration"):
        check.integer(name, getattr(config, name), 1)
    check.integer("duration", config.duration, 59)
    for name in ("weights", "astro_gains"):
        if not getattr(config, name):
            raise ValueError(f"{name} must hold at least one value, got ()")
        check.number(name, getattr(config, name), 0.0)


def run(config: Config, key: Array, progress: Progress = quiet, folder: Path | None = None) -> Result:
    """Static liquids, then plastic ones; a finished network is kept in `folder`."""
    rates = _liquid.rates(config.dataset, named(key, "templates"))
    chosen = jax.random.choice(named(key, "images"), rates.shape[0], (config.n_samples,), replace=False)
    keys = jax.random.split(named(key, "events"), config.n_samples)
    events = _liquid.events(keys, rates[chosen], config.duration)
    folder = own_folder(folder, config, key)
    static, plastic = [], []
    for number in progress(range(config.n_networks), "static liquid"):
        static.append(kept(folder, f"static_{number}", partial(_static, config, key, number, events)))
    for number in progress(range(config.n_plastic), "plastic liquid"):
        plastic.append(kept(folder, f"plastic_{number}", partial(_plastic, config, key, number, rates, events)))
    return summarise(config, np.stack(static), np.stack(plastic))


def _measures(spikes: Array, synapses: Any) -> np.ndarray:
    """(knob, 2): branching factor and mean rate in Hz."""
    out = [(branching_factor(one, synapses.pre, synapses.post).value, 1000.0 * jnp.mean(one)) for one in spikes]
    return np.asarray(out, float)


def _static(config: Config, key: Array, number: int, events: Array) -> np.ndarray:
    model, own = LSM(wiring=Lattice(shape=config.shape)), jax.random.fold_in(key, number)
    params = model.init(own)
    spikes = _liquid.run_static(model, params, events, jnp.asarray(config.weights))
    return _measures(spikes, from_dense(params.recurrent.matrix[0]))


def _plastic(config: Config, key: Array, number: int, rates: Array, events: Array) -> np.ndarray:
    own, gains = jax.random.fold_in(key, number), jnp.asarray(config.astro_gains)
    wiring, model = Lattice(shape=config.shape), _liquid.plastic_liquid(config.shape)
    params = model.init(own)
    shown = jax.random.choice(named(own, "start"), rates.shape[0], (config.n_start,))
    states = _liquid.start_plastic(model, params, rates[shown], named(own, "events"), gains,
                                   steps=config.start_duration)
    spikes = _liquid.run_plastic(model, params, states, events, gains)[..., : wiring.n_units]
    return _measures(spikes, from_dense(LSM(wiring=wiring).init(own).recurrent.matrix[0]))


def _claims(config: Config, static: np.ndarray, plastic: np.ndarray) -> list[Claim]:
    if config.dataset != "mnist" or config.shape != (10, 10, 10):
        return []
    out = [
        near(f"branching factor at weight {w:g}", SOURCE, STATIC[w], static[:, i, 0].mean(), 0.05)
        for i, w in enumerate(config.weights) if w in STATIC
    ]
    out += [
        near(f"branching factor at w_astro {w:g}", SOURCE, ASTRO[w], plastic[:, i, 0].mean(), 0.06)
        for i, w in enumerate(config.astro_gains) if w in ASTRO
    ]
    up = [i for i, w in enumerate(config.weights) if w <= 1.2]
    rising = np.diff(static[:, up, 0].mean(0)).min() if len(up) > 1 else math.nan
    out.append(within("least rise of the factor from weight to weight up to 1.2", SOURCE, 1e-9, math.inf,
                      float(rising)))
    if 0.0 in config.astro_gains and 0.015 in config.astro_gains:
        alone, with_it = (config.astro_gains.index(w) for w in (0.0, 0.015))
        rates = plastic[..., 1].mean(0)
        out += [
            within("branching factor of STDP without astrocyte", SOURCE, 1.3, math.inf, plastic[:, alone, 0].mean()),
            within("its rate over that with w_astro 0.015", "pilot in another program: 266 against 34 Hz", 5.0,
                   math.inf, float(rates[alone] / rates[with_it])),
        ]
    return out


def summarise(config: Config, static: np.ndarray, plastic: np.ndarray) -> Result:
    """Tables, claims, arrays and the figure; both arrays are (networks, knob, 2)."""
    parts = (("weight", config.weights, static, STATIC, config.n_networks),
             ("w_astro", config.astro_gains, plastic, ASTRO, config.n_plastic))
    published = config.dataset == "mnist"
    tables, coords, values = [], {}, {}
    for name, knob, found, wanted, count in parts:
        rows = [(w, found[:, i, 0].mean(), np.ptp(found[:, i, 0]), wanted.get(w) if published else None,
                 found[:, i, 1].mean()) for i, w in enumerate(knob)]
        tables.append(Table(f"Branching factor against {name}", (name, "factor", "range", "published", "rate (Hz)"),
                            rows, note=f"{count} networks, {config.n_samples} images of {config.duration} ms"))
        coords[name] = Variable((name,), np.asarray(knob), "1", f"{name} of the liquid")
        axes = (f"network_{name}", name)
        values[f"factor_{name}"] = Variable(axes, found[..., 0], "1", "topological branching factor")
        values[f"rate_{name}"] = Variable(axes, found[..., 1], "Hz", "mean rate of the liquid")
    shown = {f"{w:g}": float(static[:, i, 0].mean()) for i, w in enumerate(config.weights)}
    return Result(
        figures={**{f"factor_weight_{w}": v for w, v in shown.items()},
                 **{f"factor_astro_{w:g}": float(plastic[:, i, 0].mean()) for i, w in enumerate(config.astro_gains)},
                 **{f"rate_astro_{w:g}": float(plastic[:, i, 1].mean()) for i, w in enumerate(config.astro_gains)}},
        claims=_claims(config, static, plastic), tables=tables, data=values, coords=coords,
        plots={"branching_factor": partial(draw, config, static, plastic)},
        headline="branching factor " + ", ".join(f"{v:.2f} at w {w}" for w, v in shown.items()),
    )


def draw(config: Config, static: np.ndarray, plastic: np.ndarray, figure: Any) -> None:
    """Both curves with the published points."""
    figure.set_size_inches(10.0, 4.6)
    left, right = figure.subplots(1, 2)
    published = config.dataset == "mnist"
    points = {name: np.array(list(table.items())) if published else None for name, table in (
        ("static", STATIC), ("astro", ASTRO))}
    plots.branching_curve(config.weights, static[..., 0], reference=points["static"], title="static liquid", ax=left)
    with_it = [i for i, w in enumerate(config.astro_gains) if w > 0]
    if with_it:
        plots.branching_curve(np.asarray(config.astro_gains)[with_it], plastic[:, with_it, 0], log=True,
                              reference=points["astro"], xlabel="strength of the astrocyte, w_astro",
                              title="STDP with an astrocyte", ax=right)
    if 0.0 in config.astro_gains:
        alone = plastic[:, config.astro_gains.index(0.0), 0].mean()
        right.axhline(alone, color="0.4", ls="--", lw=1.2)
        right.annotate("STDP alone", (0.02, alone), xycoords=("axes fraction", "data"), va="bottom", color="0.3")


def main() -> int:
    """Run from the command line: python -m experiments.branching_factor [options]."""
    return cli.main(["branching_factor", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
