"""Where in spectral radius, leak rate and input scaling does an echo state network remember, compute and stay stable?

Every member of a grid (spectral radius x leak rate x input scaling x seed) is measured in one compiled program: memory
capacity (Jaeger 2001, GMD report 152), held-out error on NARMA-10 (Atiya and Parlos 2000, doi:10.1109/72.846741), and
the largest conditional Lyapunov exponent under the driving input, which is negative where the state forgets its past.

Expected: MC <= N (Jaeger 2001). A network whose radius is above 1 can still forget its past when it is driven, and the
exponent, not the radius, says whether it does (Yildiz, Jaeger, Kiebel 2012, doi:10.1016/j.neunet.2012.07.005).
Without recurrence (radius 0) the exponent is exactly ln(1 - leak). Networks compute best where the driven dynamics is
stable and near the edge (Bertschinger and Natschlaeger 2004, doi:10.1162/089976604323057443).
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import ESN, check, lyapunov, phase_map, ridge, simulate
from dynlab.analysis.capacity import lagged, squared_correlation
from dynlab.sweep import Label, SweepResult, grid, sweep
from dynlab.tasks.narma import Narma
from experiments import cli
from experiments.contract import Claim, Progress, Result, Table, Variable, near, quiet, within

Array = jax.Array
YILDIZ = "Yildiz, Jaeger, Kiebel 2012, doi:10.1016/j.neunet.2012.07.005"
EDGE = "Bertschinger and Natschlaeger 2004, doi:10.1162/089976604323057443"
MEASURES = {
    "memory_capacity": Label("1", "memory capacity, held out, summed over delays"),
    "narma_error": Label("1", "NRMSE of NARMA-10, held out"),
    "exponent": Label("1/step", "largest conditional Lyapunov exponent under the memory task's input"),
}


@dataclass(frozen=True)
class Config:
    """What is run; every value can be set on the command line."""

    n_units: int = 100
    """N, units of the reservoir."""
    spectral_radii: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.7, 2.0)
    """Spectral radii."""
    leak_rates: tuple[float, ...] = (0.2, 0.4, 0.7, 1.0)
    """Leak rates."""
    input_scalings: tuple[float, ...] = (0.1, 0.5, 1.0)
    """Scales of the input weights, which are uniform on [-1, 1] before scaling."""
    n_seeds: int = 20
    """Networks and input series, one of each a seed, shared by all settings."""
    n_train: int = 1000
    """Training samples of the readouts."""
    n_test: int = 500
    """Held-out samples."""
    washout: int = 200
    """Discarded first samples."""
    max_delay: int = 100
    """Longest delay counted."""
    ridge: float = 1e-7
    """Ridge penalty, added to the Gram matrix unscaled."""

    @staticmethod
    def smoke() -> Config:
        """A coarse grid, two seeds, short series."""
        return Config(n_units=30, spectral_radii=(0.4, 0.9, 1.4), leak_rates=(0.4, 1.0), input_scalings=(0.1, 1.0),
                      n_seeds=2, n_train=300, n_test=200, washout=60, max_delay=40)


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    for name in ("n_units", "n_seeds", "n_train", "max_delay"):
        check.integer(name, getattr(config, name), 1)
    check.integer("n_test", config.n_test, 3)
    check.integer("washout", config.washout, config.max_delay)
    check.number("ridge", config.ridge, 0.0)
    for name in ("spectral_radii", "leak_rates", "input_scalings"):
        if not getattr(config, name):
            raise ValueError(f"{name} must hold at least one value, got ()")
    check.number("spectral_radii", config.spectral_radii, 0.0)
    check.number("leak_rates", config.leak_rates, 0.0, 1.0, low_open=True)
    check.number("input_scalings", config.input_scalings, 0.0, low_open=True)


def conditional_exponent(model: Any, params: Any, inputs: Array, key: Array, washout: int) -> Array:
    """Largest conditional Lyapunov exponent per step along the run that `inputs` (time, D) drive from rest.

    Args:
        key: start of the tangent. washout: steps left out of the mean.
    """
    return lyapunov(phase_map(model, params), inputs, k=1, warmup=washout, key=key).exponents[0]


def member(config: Config, model: ESN, key: Array) -> dict[str, Array]:
    """The three measures of one network."""
    draw, stream, task, direction = (jax.random.fold_in(key, i) for i in range(4))
    params = model.init(draw)
    steps = config.washout + config.n_train + config.max_delay + config.n_test
    u = jax.random.uniform(stream, (steps, 1), check.default_float(), -1.0, 1.0)
    states = simulate(model, params, u, washout=config.washout).outputs
    targets = lagged(u[config.washout - config.max_delay :, 0], config.max_delay)[:, 1:]
    test = slice(config.n_train + config.max_delay, None)  # no test target was a training target
    readout = ridge(states[: config.n_train], targets[: config.n_train], config.ridge)
    capacity = jnp.sum(squared_correlation(readout(states[test]), targets[test]))

    trial = Narma(length=config.washout + config.n_train + config.n_test).sample(task)
    states = simulate(model, params, trial.inputs, washout=config.washout).outputs
    wanted = trial.targets[config.washout :]
    readout = ridge(states[: config.n_train], wanted[: config.n_train], config.ridge)
    error = readout(states[config.n_train :]) - wanted[config.n_train :]
    nrmse = jnp.sqrt(jnp.mean(error**2) / jnp.var(wanted[config.n_train :]))
    exponent = conditional_exponent(model, params, u, direction, config.washout)
    return {"memory_capacity": capacity, "narma_error": nrmse, "exponent": exponent}


def run(config: Config, key: Array, progress: Progress = quiet) -> Result:
    """Sweep the grid, and one setting whose exponent is known."""
    del progress  # the sweep has its own
    design = grid(ESN(n_units=config.n_units, recurrence="dense"), spectral_radius=config.spectral_radii,
                  leak_rate=config.leak_rates, input_scaling=config.input_scalings)
    found = sweep(partial(member, config), design, key, seeds=config.n_seeds, labels=MEASURES)
    known = ESN(n_units=config.n_units, spectral_radius=0.0, leak_rate=0.3)
    params = known.init(key)
    u = jax.random.uniform(key, (400, 1))
    exact = float(conditional_exponent(known, params, u, key, 100))
    return summarise(config, found, exact)


def summarise(config: Config, found: SweepResult, exact: float) -> Result:
    """Tables, claims and the heat map."""
    values = {name: np.asarray(found.values[name], float) for name in MEASURES}
    middle = {name: np.nanmedian(v, axis=-1) for name, v in values.items()}
    axes = [np.asarray(v) for v in (config.spectral_radii, config.leak_rates, config.input_scalings)]

    def at(index: Any) -> tuple[float, ...]:
        return tuple(float(axis[i]) for axis, i in zip(axes, index, strict=True))

    best_memory = np.unravel_index(np.nanargmax(middle["memory_capacity"]), middle["memory_capacity"].shape)
    best_narma = np.unravel_index(np.nanargmin(middle["narma_error"]), middle["narma_error"].shape)
    rows = []
    for name, index in (("most memory", best_memory), ("least NARMA-10 error", best_narma)):
        rows.append((name, *at(index), *(middle[m][index] for m in MEASURES)))
    figures = {
        "memory_capacity_best": float(middle["memory_capacity"][best_memory]),
        "narma_error_best": float(middle["narma_error"][best_narma]),
        "exponent_at_best_memory": float(middle["exponent"][best_memory]),
        "exponent_at_best_narma": float(middle["exponent"][best_narma]),
        "members": float(found.status.size),
        "members_not_ok": float(np.sum(found.status != 0)),
        "part_unstable": float(np.mean(values["exponent"] > 0)),
    }
    return Result(
        figures=figures,
        claims=claims(config, values, middle, best_narma, exact),
        tables=[Table(f"Best settings, N = {config.n_units}, medians of {config.n_seeds} seeds",
                      ("setting", "radius", "leak", "input scaling", "MC", "NARMA-10 NRMSE", "exponent per step"), rows,
                      note=found.summary(3))],
        data={**{name: Variable((*found.dims,), values[name], label.units, label.description)
                 for name, label in MEASURES.items()},
              "status": Variable(found.dims, found.status, "1", "0 ok, 1 diverged, 2 knob not finite, 3 failed")},
        coords={
            "spectral_radius": Variable(("spectral_radius",), axes[0], "1", "spectral radius"),
            "leak_rate": Variable(("leak_rate",), axes[1], "1", "leak rate"),
            "input_scaling": Variable(("input_scaling",), axes[2], "1", "scale of the input weights"),
            "seed": Variable(("seed",), found.seeds, "1", "index of network and input series"),
        },
        plots={"esn_sweep": partial(draw, config, middle)},
        headline=(f"{found.status.size:,} members: memory {figures['memory_capacity_best']:.1f} of at most "
                  f"{config.n_units}, NARMA-10 error {figures['narma_error_best']:.3f}"),
    )


def claims(
    config: Config, values: dict[str, np.ndarray], middle: dict[str, np.ndarray], best_narma: Any, exact: float
) -> list[Claim]:
    """What can be checked."""
    out = [
        near("exponent without recurrence at leak 0.3 is ln(1 - leak)", "the step itself", math.log(0.7), exact, 1e-3),
        within(f"MC <= N = {config.n_units} in every member", "Jaeger 2001, GMD report 152", -math.inf, config.n_units,
               float(np.nanmax(values["memory_capacity"]))),
        within("the setting with the least NARMA-10 error is stable under its input (exponent below 0)", EDGE,
               -math.inf, 0.0, float(middle["exponent"][best_narma])),
    ]
    above = np.asarray(config.spectral_radii) > 1.0
    if above.any():
        stable = float(np.mean(values["exponent"][above] < 0))
        out.append(within("some driven networks of radius above 1 are stable (part of those members)", YILDIZ, 1e-9,
                          1.0, stable))
    return out


def draw(config: Config, middle: dict[str, np.ndarray], figure: Any) -> None:
    """Heat maps of the medians: a row a measure, a column an input scaling; the line is where the exponent is 0."""
    figure.set_size_inches(3.2 * len(config.input_scalings) + 1.0, 8.0)
    panels = np.atleast_2d(figure.subplots(3, len(config.input_scalings), sharex=True, sharey=True, squeeze=False))
    titles = ("memory capacity", "NARMA-10 NRMSE", "exponent per step")
    x, y = np.arange(len(config.spectral_radii)), np.arange(len(config.leak_rates))
    for row, (name, title) in enumerate(zip(MEASURES, titles, strict=True)):
        values = middle[name]
        top = float(np.nanmax(np.abs(values)))
        low, high = float(np.nanmin(values)), min(top, 1.2) if name == "narma_error" else top
        limits = {"vmin": low, "vmax": high, "cmap": "viridis"}
        if name == "exponent":
            limits = {"vmin": -min(top, 0.5), "vmax": min(top, 0.5), "cmap": "RdBu_r"}
        for column, scaling in enumerate(config.input_scalings):
            ax = panels[row, column]
            image = ax.pcolormesh(x, y, values[:, :, column].T, **limits)
            edge = middle["exponent"][:, :, column].T
            if min(edge.shape) > 1 and np.nanmin(edge) < 0 < np.nanmax(edge):
                ax.contour(x, y, edge, levels=[0.0], colors="black" if name == "exponent" else "white", linewidths=1.2)
            ax.set_xticks(x, [f"{v:g}" for v in config.spectral_radii], rotation=60)
            ax.set_yticks(y, [f"{v:g}" for v in config.leak_rates])
            if row == 0:
                ax.set_title(f"input scaling {scaling:g}")
            if row == 2:
                ax.set_xlabel("spectral radius")
            if column == 0:
                ax.set_ylabel("leak rate")
        figure.colorbar(image, ax=panels[row].tolist(), label=title)


def main() -> int:
    """Run from the command line: python -m experiments.esn_sweep [options]."""
    return cli.main(["esn_sweep", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
