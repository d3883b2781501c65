"""What does the classic spiking liquid do to two inputs that differ a little, and what do its recurrent synapses add?

The liquid of 135 units of Maass, Natschlaeger and Markram 2002 (doi:10.1162/089976602760407955), as far as dynlab's
`maass135` carries it. Pairs of Poisson trains of 20 Hz and 0.5 s at distances 0.4, 0.2, 0.1 and 0 (equal trains, other
initial states) drive it; the distance of the filtered states is followed in time. Expected, from the paper: distances
of states are ordered like those of the inputs, and stand above what the initial states alone make of them.

By their side, each against a factor on the recurrent weights, in one program: kernel and generalisation rank of the
filtered states (Legenstein and Maass 2007, doi:10.1016/j.neunet.2007.04.017), the exponent from two trajectories, which
depends on their distance, and the timescale of the filtered spikes.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, maass135, plots
from dynlab.keys import named
from dynlab.models.maass import EFFICACIES
from experiments import _separation, cli
from experiments.contract import Claim, Progress, Result, Table, Variable, quiet, within

Array = jax.Array
SOURCE = "Maass, Natschlaeger, Markram 2002"


@dataclass(frozen=True)
class Config:
    """What is run; every value can be set on the command line."""

    efficacy: Literal["20 Hz", "rested"] = "20 Hz"
    """Efficacy of the synapses, in place of short-term plasticity: that at 20 Hz, or that of rested synapses."""
    scales: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
    """Factors on the recurrent weights; 1 is the classic liquid, 0 has no recurrent synapses."""
    n_networks: int = 3
    """Liquids."""
    distances: tuple[float, ...] = (0.4, 0.2, 0.1, 0.0)
    """Distances of the two input trains (square root of seconds), descending."""
    n_pairs: int = 100
    """Pairs at each distance (200 in the paper)."""
    rate: float = 20.0
    """Hz, of the inputs."""
    duration: float = 500.0
    """ms, of the inputs."""
    dt: float = 0.5
    """ms (0.1 in the paper)."""
    n_streams: int = 200
    """Inputs of each rank."""
    jitter: float = 4.0
    """ms by which the spikes of the copies of one input are moved (standard deviation), for the generalisation rank."""
    threshold: float = 0.01
    """Singular values that count in the ranks, relative to the largest."""
    sizes: tuple[float, ...] = (1.0, 10.0, 30.0)
    """Distances (over all units, in mV) at which the two trajectories start each step."""
    long: float = 10000.0
    """ms, of the run for rates and timescales."""

    @staticmethod
    def smoke() -> Config:
        """Few pairs, short inputs, one liquid, two factors."""
        return Config(scales=(0.0, 1.0), n_networks=1, distances=(0.2, 0.1, 0.0), n_pairs=4, duration=200.0,
                      n_streams=8, long=500.0, sizes=(10.0,))


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    check.choice("efficacy", config.efficacy, EFFICACIES)
    for name in ("n_networks", "n_pairs", "n_streams"):
        check.integer(name, getattr(config, name), 1)
    for name, low_open in (("scales", False), ("distances", False), ("sizes", True)):
        if not getattr(config, name):
            raise ValueError(f"{name} must hold at least one value, got ()")
        check.number(name, getattr(config, name), 0.0, low_open=low_open)
    if len(config.distances) < 2 or np.any(np.diff(config.distances) >= 0):
        raise ValueError(f"distances must be at least two, descending, got {config.distances}")
    for name in ("rate", "jitter", "dt"):
        check.scalar(name, getattr(config, name), 0.0, low_open=True)
    check.scalar("duration", config.duration, 10 * config.dt)
    check.scalar("long", config.long, max(config.duration, 200.0))
    check.number("threshold", config.threshold, 1e-4, 1.0, high_open=True)


def run(config: Config, key: Array, progress: Progress = quiet) -> Result:
    """Inputs, the sweep of each liquid, one run to look at."""
    rng = np.random.default_rng(int(jax.random.randint(named(key, "inputs"), (), 0, 2**31 - 1)))
    n_steps, chance = round(config.duration / config.dt), 1.0 - math.exp(-1e-3 * config.rate * config.dt)
    trains = _separation.pairs(rng, config.distances, config.n_pairs, n_steps, config.dt, config.rate)
    streams = (rng.random((config.n_streams, n_steps)) < chance).astype(np.float32)
    copies = _separation.jittered(rng, streams[0], config.n_streams, config.jitter / config.dt)
    long = (rng.random(round(config.long / config.dt)) < chance).astype(np.float32)
    model, found = maass135(1, dt=config.dt, efficacy=config.efficacy), []
    for number in progress(range(config.n_networks), "liquids"):
        own = jax.random.fold_in(key, number)
        swept = _separation.sweep(model, model.init(own), jnp.asarray(config.scales), trains, streams, copies, long,
                                  named(own, "sweep"), sizes=config.sizes, threshold=config.threshold)
        found.append({name: np.asarray(value) for name, value in swept.items()})
    joined = {name: np.stack([each[name] for each in found]) for name in found[0]}
    scale = min(config.scales, key=lambda value: abs(value - 1.0))
    one = _separation.shown(model, model.init(jax.random.fold_in(key, 0)), jnp.asarray(scale), streams[0][:, None])
    apart = _separation.train_distance(trains[:, :, 0] - trains[:, :, 1], config.dt).mean(1)
    picture = (*(np.asarray(leaf) for leaf in one), streams[0][:, None], model, scale)
    return summarise(config, joined, apart, picture)


def late(config: Config, distance: np.ndarray) -> np.ndarray:
    """Mean distance of the states over the last fifth of the input."""
    return distance[..., -max(1, round(0.2 * config.duration / config.dt)) :].mean(-1)


def _claims(config: Config, apart: np.ndarray, found: dict[str, np.ndarray]) -> list[Claim]:
    """On distances of the states (networks, scales, levels), levels from far to near."""
    claims = []
    if 1.0 in config.scales:
        step = -np.diff(apart[:, config.scales.index(1.0)].mean(0))
        claims.append(within("classic liquid: least rise of the distance of states from one distance of inputs to the "
                             "next larger", SOURCE, 1e-9, math.inf, float(step.min())))
    gain = found["kernel_rank"] - found["generalisation_rank"]
    claims.append(within("least kernel rank less generalisation rank, all liquids and weights",
                         "Legenstein, Maass 2007", 0, math.inf, float(gain.min())))
    return claims


def summarise(config: Config, found: dict[str, np.ndarray], inputs: np.ndarray, picture: Any) -> Result:
    """Tables, claims, arrays, figures; every array of `found` is (networks, scales, ...)."""
    apart = late(config, found["state_distance"])
    fitted = np.isfinite(found["tau"])  # silent units have no timescale
    tau = np.ma.median(np.ma.masked_array(found["tau"], ~fitted), axis=2).filled(np.nan)
    means = apart.mean(0)
    ordered = (np.diff(apart, axis=2) < 0).all(2).sum(0)
    count = f"{config.n_networks} liquids"
    distance_rows = [(scale, *means[i], f"{ordered[i]} of {config.n_networks}") for i, scale in
                     enumerate(config.scales)]
    rows = [(scale, found["rate"][:, i].mean(), found["kernel_rank"][:, i].mean(),
             found["generalisation_rank"][:, i].mean(), *found["exponent"][:, i].mean(0), tau[:, i].mean(),
             fitted[:, i].mean())
            for i, scale in enumerate(config.scales)]
    axes = ("network", "scale")
    data = {
        "state_distance": Variable((*axes, "distance", "time"), found["state_distance"], "1",
                                   "distance of filtered states, mean over pairs"),
        "kernel_rank": Variable(axes, found["kernel_rank"], "1", "rank of the states of independent inputs"),
        "generalisation_rank": Variable(axes, found["generalisation_rank"], "1", "rank of those of noisy copies"),
        "rate": Variable(axes, found["rate"], "Hz", "mean rate"),
        "exponent": Variable((*axes, "size"), found["exponent"], "1/s", "exponent from two trajectories"),
        "merged": Variable((*axes, "size"), found["merged"], "1", "steps in which the two became equal"),
        "tau": Variable(axes, tau, "ms", "timescale of filtered spikes, median over units"),
    }
    coords = {
        "network": Variable(("network",), np.arange(config.n_networks), "1", "index of the liquid"),
        "scale": Variable(("scale",), np.asarray(config.scales), "1", "factor on the recurrent weights"),
        "distance": Variable(("distance",), inputs, "s^0.5", "mean distance of the inputs"),
        "size": Variable(("size",), np.asarray(config.sizes), "mV", "distance of the two trajectories"),
        "time": Variable(("time",), config.dt * np.arange(1, found["state_distance"].shape[-1] + 1), "ms", "time"),
    }
    classic = means[min(range(len(config.scales)), key=lambda i: abs(config.scales[i] - 1.0))]
    return Result(
        figures={**{f"state_distance_scale_{scale:g}_inputs_{level:g}": float(means[i, j])
                    for i, scale in enumerate(config.scales) for j, level in enumerate(config.distances)},
                 **{f"kernel_rank_scale_{row[0]:g}": float(row[2]) for row in rows},
                 **{f"generalisation_rank_scale_{row[0]:g}": float(row[3]) for row in rows}},
        claims=_claims(config, apart, found),
        tables=[Table("Distance of the filtered states over the last fifth of the input",
                      ("scale", *(f"inputs {level:g}" for level in config.distances), "ordered"), distance_rows,
                      note=f"{count}, {config.n_pairs} pairs at each distance; 'ordered': liquids that keep the "
                      "order of the inputs"),
                Table("Measures against the factor on the recurrent weights",
                      ("scale", "rate (Hz)", "kernel rank", "generalisation rank",
                       *(f"exponent (1/s), {size:g} mV" for size in config.sizes), "timescale (ms)",
                       "units that have one"), rows,
                      note=f"{count}; {config.n_streams} inputs, jitter {config.jitter:g} ms, singular values above "
                      f"{config.threshold:g} of the largest; timescale: median over the units that have one")],
        data=data, coords=coords,
        plots={"liquid_separation": partial(draw, config, found, apart, tau, inputs),
               "liquid_separation_run": partial(draw_run, config, picture)},
        headline="distance of states in the classic liquid " + ", ".join(
            f"{value:.2f} (inputs {level:g})" for value, level in zip(classic, config.distances, strict=True)),
    )


def draw(config: Config, found: dict[str, np.ndarray], apart: np.ndarray, tau: np.ndarray, inputs: np.ndarray,
         figure: Any) -> None:
    """Separation in time and against the distance of inputs; ranks, exponents and timescales against the factor."""
    figure.set_size_inches(10.5, 6.4)
    (time_ax, curve, ranks), (rates, exponents, scales_ax) = figure.subplots(2, 3)
    classic = min(range(len(config.scales)), key=lambda i: abs(config.scales[i] - 1.0))
    t = config.dt * np.arange(1, found["state_distance"].shape[-1] + 1)
    for j, level in enumerate(config.distances):
        time_ax.plot(t, found["state_distance"][:, classic, j].mean(0), color=plots.COLORS[j], label=f"{level:g}")
    time_ax.legend(title="distance of inputs", frameon=False, fontsize=8, title_fontsize=8, ncols=4, loc="upper center",
                   columnspacing=1.0, handlelength=1.2)
    time_ax.set_ylim(top=1.3 * time_ax.get_ylim()[1])
    time_ax.set(xlabel="time (ms)", ylabel="distance of states", title=f"weights x {config.scales[classic]:g}")
    for i, scale in enumerate(config.scales):
        curve.plot(inputs, apart[:, i].mean(0), marker=plots.MARKERS[i % 7], ms=4, color=plots.COLORS[i % 7],
                   label=f"x {scale:g}")
    curve.legend(title="weights", frameon=False, fontsize=8, title_fontsize=8, ncols=3, loc="upper center")
    curve.set_ylim(top=1.4 * curve.get_ylim()[1])
    curve.set(xlabel="distance of inputs", ylabel="distance of states", title="last fifth of the input")
    at, names = np.arange(len(config.scales)), [f"{scale:g}" for scale in config.scales]
    panels = ((ranks, "rank", [("kernel", found["kernel_rank"]), ("generalisation", found["generalisation_rank"])]),
              (rates, "rate (Hz)", [("", found["rate"])]),
              (exponents, "exponent (1/s)", [(f"{size:g} mV", found["exponent"][..., i])
                                             for i, size in enumerate(config.sizes)]),
              (scales_ax, "timescale (ms)", [("", tau)]))
    for ax, label, lines in panels:
        for number, (name, values) in enumerate(lines):
            ax.plot(at, values.T, ls="", marker=plots.MARKERS[number], ms=4, color=plots.COLORS[number], alpha=0.5)
            ax.plot(at, values.mean(0), color=plots.COLORS[number], label=name)
        if len(lines) > 1:
            ax.legend(frameon=False, fontsize=8)
        ax.set_xticks(at, names)
        ax.set(xlabel="factor on recurrent weights", ylabel=label)
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)


def draw_run(config: Config, picture: Any, figure: Any) -> None:
    """Raster and some membranes of one run of the first liquid."""
    spikes, v, inputs, model, scale = picture
    figure.set_size_inches(7.2, 8.0)
    top, bottom = figure.subplots(2, 1, height_ratios=(1.5, 1))
    kinds = np.where(np.arange(model.n_units) < model.wiring.n_excitatory, 1, -1)
    plots.raster(spikes, config.dt, kinds, inputs, title=f"classic liquid, weights x {scale:g}", ax=top)
    busy = np.argsort(-spikes.sum(0), kind="stable")
    some = np.concatenate([busy[kinds[busy] == sign][:n] for sign, n in ((1, 3), (-1, 2))])
    plots.membranes(v[:, some], config.dt, spikes=spikes[:, some], threshold=model.threshold, kinds=kinds[some],
                    labels=[f"unit {i}" for i in some], ylabel="membrane potential (mV)", ax=bottom)


def main() -> int:
    """Run from the command line: python -m experiments.liquid_separation [options]."""
    return cli.main(["liquid_separation", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
