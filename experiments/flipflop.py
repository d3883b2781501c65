"""What does a network that learns to hold three bits look like inside?

A GRU and a tanh network of 16 units each are trained from scratch on the 3-bit flip-flop (hold the sign of the last
pulse on each channel; Sussillo and Barak 2013, doi:10.1162/NECO_a_00409), then taken apart: fixed points at zero input
with their modes, the largest Lyapunov exponent under pulses, the timescales of the activity.

Expected: fewer than 1 % wrong signs on new trials; one stable point for each of the 2^3 memories and saddles between,
3^3 = 27 points in all, of which 8, 12, 6 and 1 have 0, 1, 2 and 3 unstable directions, with indices that sum to +1; a
negative exponent (pulses set all bits anew, so the start is forgotten); outputs whose autocorrelation falls as that of
the bits they hold, (1 - p)^k after k steps for pulses of probability p. A GRU should train in under three minutes on
two idle cores. Training that comes out right need not give the smallest set of points.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import (
    GRU,
    RNN,
    autocorrelation,
    check,
    classify,
    draw_starts,
    fit_timescales,
    fixed_points,
    lyapunov,
    phase_map,
    plots,
    rms_step,
    tasks,
    train,
    tree,
)
from dynlab.analysis.classify import PointSet
from dynlab.analysis.fixed_points import FixedPoints
from dynlab.keys import named
from experiments import cli
from experiments._trained import (
    Network,
    check_training,
    checkpoint_in,
    draw_network,
    epochs_bar,
    falling_adam,
    run_network,
)
from experiments.contract import Claim, Progress, Result, Table, Variable, near, quiet, within

Array = jax.Array
KINDS = {"gru": GRU, "rnn": RNN}
NAMES = {"gru": "GRU", "rnn": "tanh RNN"}
SUSSILLO = "doi:10.1162/NECO_a_00409"
PATTERN = (8, 12, 6, 1)
N_BITS = 3
LARGEST_ERROR, LONGEST = 0.01, 180.0  # share of signs, seconds
LAGS = 30  # of the autocorrelation, steps


@dataclass(frozen=True)
class Config:
    """What is run; every value can be set on the command line."""

    kinds: tuple[str, ...] = ("gru", "rnn")
    """Networks to train: "gru", "rnn" (tanh) or both."""
    n_units: int = 16
    """Units."""
    n_networks: int = 3
    """Networks of each kind, from different initial weights, trained together."""
    n_epochs: int = 20
    """Epochs."""
    n_updates: int = 100
    """Updates in an epoch."""
    batch: int = 128
    """Trials of an update."""
    length: int = 64
    """Steps of a trial in training."""
    pulse_probability: float = 0.15
    """Probability of a pulse."""
    learning_rate: float = 1e-2
    """Of Adam, at the start."""
    last_learning_rate: float = 1e-4
    """At the end; it falls exponentially."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    n_tests: int = 512
    """New trials of the test."""
    test_length: int = 256
    """Steps of a trial of the test, whose states are analysed."""
    n_starts: int = 1024
    """Starts of the search for fixed points."""
    noise_of_starts: float = 0.3
    """Noise of the starts, in units of the spread of the states."""
    mixed: float = 0.5
    """Share of starts that are mixtures of states."""

    @staticmethod
    def smoke() -> Config:
        """One GRU, few updates and starts: seconds, and not trained to the end."""
        return Config(kinds=("gru",), n_networks=1, n_epochs=3, n_updates=40, batch=32, length=32, n_tests=32,
                      test_length=100, n_starts=64)


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    if not config.kinds or len(set(config.kinds)) < len(config.kinds):
        raise ValueError(f"kinds must be different names, at least one, got {config.kinds!r}")
    for kind in config.kinds:
        check.choice("each of kinds", kind, tuple(KINDS))
    check_training(config)
    check.integer("n_networks", config.n_networks, 1)
    check.integer("length", config.length, 2)
    check.integer("test_length", config.test_length, 50)
    check.number("pulse_probability", config.pulse_probability, 0.0, 1.0, low_open=True, high_open=True)


@tree.dataclass
class Trials:
    """The squared error of a batch, and the share of wrong signs."""

    model: Any
    task: tasks.FlipFlop
    batch: int = tree.static()

    def draw(self, network: Network, key: Array) -> tuple[Array, Array, tasks.Trial]:
        """Features, outputs and the trials of a fresh batch."""
        trials = jax.vmap(self.task.sample)(jax.random.split(key, self.batch))
        return *run_network(self.model, network, trials.inputs), trials

    def __call__(self, network: Network, key: Array) -> tuple[Array, dict[str, Array]]:
        """The loss, squared error at every step, and the share of wrong signs on these trials, new ones."""
        _, outputs, trials = self.draw(network, key)
        return train.squared_error(outputs, trials.targets, trials.mask), {"error": wrong(outputs, trials)}


def wrong(outputs: Array, trials: tasks.Trial) -> Array:
    """Share of outputs with the wrong sign."""
    return jnp.mean(jnp.sign(outputs) != trials.targets)


@dataclass(frozen=True)
class Kind:
    """What came out of one kind of network; a list entry or last axis for each network."""

    fit: train.Fit
    seconds: float
    cpu_seconds: float
    error: np.ndarray
    exponent: np.ndarray
    output_tau: np.ndarray
    unit_tau: np.ndarray
    points: list[PointSet]
    states: np.ndarray


def identity(config: Config) -> dict[str, Any]:
    """What a checkpoint must agree in: all fields of the training (the rate falls over all epochs)."""
    names = ("n_units", "n_networks", "n_epochs", "n_updates", "batch", "length", "pulse_probability", "learning_rate",
             "last_learning_rate", "clip")
    return {name: getattr(config, name) for name in names}


def train_kind(
    config: Config, kind: str, key: Array, optimiser: Any, progress: Progress, folder: Path | None
) -> tuple[Any, train.Fit, float, float]:
    """The model, the trained networks, seconds and processor seconds (NaN where a checkpoint held a part)."""
    model = KINDS[kind](n_inputs=N_BITS, n_units=config.n_units)
    task = tasks.FlipFlop(length=config.length, n_bits=N_BITS, pulse_probability=config.pulse_probability)
    keys = jax.random.split(named(key, "train"), config.n_networks)
    networks = jax.jit(jax.vmap(partial(draw_network, model, N_BITS)))(jax.vmap(lambda k: named(k, "init"))(keys))
    checkpoint = checkpoint_in(folder, kind, identity(config))
    whole = checkpoint is None or checkpoint.epochs == 0
    wall, cpu = time.perf_counter(), time.process_time()
    fit = train.fit(
        Trials(model, task, batch=config.batch), networks, keys, optimiser=optimiser, n_epochs=config.n_epochs,
        n_updates=config.n_updates, checkpoint=checkpoint, progress=epochs_bar(progress, f"train {NAMES[kind]}"),
    )
    spent = (time.perf_counter() - wall, time.process_time() - cpu)
    return model, fit, *(spent if whole else (math.nan, math.nan))


@partial(jax.jit, static_argnames="config")
def analyse(
    config: Config, model: Any, network: Network, key: Array
) -> tuple[Array, Array, Array, Array, Array, FixedPoints, Array]:
    """Error, largest exponent, timescales of outputs and units, states, fixed points and RMS step of one network."""
    task = tasks.FlipFlop(length=config.test_length, n_bits=N_BITS, pulse_probability=config.pulse_probability)
    states, outputs, trials = Trials(model, task, batch=config.n_tests).draw(network, named(key, "test"))
    error = wrong(outputs, trials)
    system = phase_map(model, network.rnn)
    warmup = config.test_length // 5
    exponent = lyapunov(system, trials.inputs[0], k=1, warmup=warmup, key=named(key, "frame")).exponents[0]
    acf = autocorrelation(jnp.concatenate([outputs, states], axis=2), LAGS, trials=True)
    tau = fit_timescales(acf, model="exp+offset").tau[:, 0]
    starts = draw_starts(named(key, "starts"), states[:8], config.n_starts, config.noise_of_starts, mixed=config.mixed)
    found = fixed_points(system.at(jnp.zeros(N_BITS, starts.dtype)), starts)
    return error, exponent, tau[:N_BITS], tau[N_BITS:], states[:4], found, rms_step(states)


def run(config: Config, key: Array, progress: Progress = quiet, folder: Path | None = None) -> Result:
    """Train each kind, then analyse each network."""
    optimiser = falling_adam(config.learning_rate, config.last_learning_rate, config.n_epochs * config.n_updates,
                             config.clip)
    kinds = {}
    for kind in config.kinds:
        model, fit, *spent = train_kind(config, kind, named(key, kind), optimiser, progress, folder)
        kinds[kind] = take_apart(config, model, fit, (spent[0], spent[1]), named(key, "analyse"),
                                 progress(list(range(config.n_networks)), f"analyse {NAMES[kind]}"))
    return summarise(config, kinds)


def take_apart(
    config: Config, model: Any, fit: train.Fit, spent: tuple[float, float], key: Array, networks: Iterable[int]
) -> Kind:
    """Analyse the networks of one kind; `spent` are the seconds and processor seconds of their training."""
    rows = []
    for i in networks:
        network = jax.tree.map(lambda leaf, i=i: leaf[i], fit.params)
        *row, found, scale = analyse(config, model, network, jax.random.fold_in(key, i))
        at_rest = phase_map(model, network.rnn).at(jnp.zeros(N_BITS, check.default_float()))
        rows.append((*(np.asarray(part) for part in row), classify(at_rest, found, step_scale=scale)))
    error, exponent, output_tau, unit_tau, states, points = zip(*rows, strict=True)
    return Kind(fit, *spent, np.stack(error), np.stack(exponent), np.stack(output_tau), np.stack(unit_tau),
                list(points), states[0])


def counts(points: PointSet) -> list[int]:
    """Fixed points with 0, 1, 2 and 3 unstable directions."""
    return [int(np.sum(points.fixed & (points.n_unstable == k))) for k in range(4)]


def is_cube(points: PointSet) -> bool:
    """Whether these are the 27 points of a cube: 8, 12, 6, 1."""
    return counts(points) == list(PATTERN) and int(np.sum(points.fixed)) == sum(PATTERN)


def memory_time(config: Config) -> float:
    """Timescale of a held bit, whose autocorrelation is (1 - p)^k, in steps."""
    return -1.0 / math.log1p(-config.pulse_probability)


def claims_of(config: Config, kind: str, out: Kind) -> list[Claim]:
    """What is expected of the networks of one kind."""
    name, cubes = NAMES[kind], sum(is_cube(points) for points in out.points)
    sums = [float(np.sum(points.index)) for points in out.points]
    made = [
        within(f"{name}: wrong signs on new trials, worst network", "task", -math.inf, LARGEST_ERROR, out.error.max()),
        near(f"{name}: networks with 27 points (8, 12, 6, 1)", f"{SUSSILLO}; 3^3", config.n_networks, cubes, 0),
        near(f"{name}: sum of the indices, furthest network", "Brouwer degree", 1, max(sums, key=lambda s: abs(s - 1)),
             0),
        within(f"{name}: largest Lyapunov exponent under pulses (nats/step)", "pulses set all bits anew", -math.inf,
               0.0, out.exponent.max()),
        near(f"{name}: timescale of the outputs (steps)", "-1 / ln(1 - p)", memory_time(config),
             float(np.mean(out.output_tau)), 0.1 * memory_time(config)),
    ]
    if kind == "gru" and math.isfinite(out.cpu_seconds):  # on idle cores no more seconds than processor seconds pass
        text = f"{name}: processor seconds to train {config.n_networks}, compilation included"
        made.append(within(text, "aim of this library, two idle cores", -math.inf, LONGEST, out.cpu_seconds))
    return made


def summarise(config: Config, kinds: dict[str, Kind]) -> Result:
    """Figures, tables, claims, arrays and plots."""
    figures: dict[str, float] = {}
    rows, modes = [], []
    for kind, out in kinds.items():
        slow = [float(np.max(p.modes.decay_time[p.fixed & (p.n_unstable == 0)], initial=0.0)) for p in out.points]
        figures |= {
            f"{kind}_error": float(out.error.max()), f"{kind}_with_27_points": sum(map(is_cube, out.points)),
            f"{kind}_lyapunov": float(np.max(out.exponent)), f"{kind}_output_timescale": float(np.mean(out.output_tau)),
            f"{kind}_unit_timescale": float(np.nanmedian(out.unit_tau)), f"{kind}_slowest_stable_mode": max(slow),
            f"{kind}_train_seconds": out.seconds, f"{kind}_train_cpu_seconds": out.cpu_seconds,
        }
        for i, points in enumerate(out.points):
            text = ", ".join(map(str, counts(points)))
            rows.append((NAMES[kind], i, f"{100 * out.error[i]:.2f} %", int(points.fixed.sum()), text,
                         float(np.sum(points.index)), points.n_expected, float(out.exponent[i]),
                         float(np.mean(out.output_tau[i])), float(np.nanmedian(out.unit_tau[i]))))
        modes += mode_rows(kind, out.points[0])
    columns = ("network", "no.", "wrong signs", "points", "with 0, 1, 2, 3 unstable", "index sum", "expected",
               "exponent (nats/step)", "tau of outputs", "tau of units")
    tables = [
        Table("Trained networks", columns, rows, note="expected: Chao's estimate of the number of points; tau in "
              f"steps, by autocorrelation; a held bit has {memory_time(config):.4g}; units: median"),
        Table("Modes at the points of network 0",
              ("network", "kind", "points", "slowest decay (steps)", "fastest growth (steps)"), modes,
              note="largest over the points of a kind; growth: the time to grow by e"),
    ]
    data, coords = variables(config, kinds)
    parts = [f"{NAMES[kind]}: {figures[f'{kind}_with_27_points']} of {config.n_networks} networks with 27 points, "
             f"{100 * figures[f'{kind}_error']:.2f} % wrong signs at most" for kind in kinds]
    return Result(
        figures=figures, claims=[claim for kind, out in kinds.items() for claim in claims_of(config, kind, out)],
        tables=tables, data=data, coords=coords, headline="; ".join(parts),
        plots={"training": partial(draw_training, kinds), "fixed_points": partial(draw_points, kinds)},
    )


def mode_rows(kind: str, points: PointSet) -> list[tuple[Any, ...]]:
    """Slowest decay and fastest growth over the points of each kind, in steps."""
    rows = []
    for k in np.unique(points.n_unstable[points.fixed]):
        mine = points.fixed & (points.n_unstable == k)
        times = points.modes.decay_time[mine]
        decays, grows = times[times > 0], -times[times < 0]
        name = "stable" if k == 0 else f"{k} unstable"
        rows.append((NAMES[kind], name, int(mine.sum()), float(decays.max(initial=0.0)),
                     float(grows.min()) if grows.size else math.nan))
    return rows


def variables(config: Config, kinds: dict[str, Kind]) -> tuple[dict[str, Variable], dict[str, Variable]]:
    """The arrays of results.nc and their coordinates."""
    coords = {
        "epoch": Variable(("epoch",), 1 + np.arange(config.n_epochs), "1", "epochs done"),
        "network": Variable(("network",), np.arange(config.n_networks), "1", "network"),
        "unit": Variable(("unit",), np.arange(config.n_units), "1", "unit"),
        "bit": Variable(("bit",), np.arange(N_BITS), "1", "channel"),
    }
    data: dict[str, Variable] = {}
    for kind, out in kinds.items():
        name, points, at = NAMES[kind], out.points[0], f"{kind}_point"
        coords[at] = Variable((at,), np.arange(len(points.z)), "1", f"fixed point of {name} 0 at zero input")
        data |= {
            f"{kind}_loss": Variable(("epoch", "network"), out.fit.loss.mean(axis=1), "1", f"mean loss, {name}"),
            f"{kind}_error": Variable(("epoch", "network"), out.fit.history["error"], "1", f"wrong signs, {name}"),
            f"{kind}_output_tau": Variable(("network", "bit"), out.output_tau, "step", f"timescale of outputs, {name}"),
            f"{kind}_unit_tau": Variable(("network", "unit"), out.unit_tau, "step", f"timescale of units, {name}"),
            f"{kind}_z": Variable((at, "unit"), points.z, "1", "fixed points"),
            f"{kind}_speed": Variable((at,), points.speed, "1", "|f(z) - z|"),
            f"{kind}_n_unstable": Variable((at,), points.n_unstable, "1", "unstable directions"),
            f"{kind}_decay_time": Variable((at, "unit"), points.modes.decay_time, "step", "of each mode, slowest first"
                                           ),
        }
    return data, coords


def draw_training(kinds: dict[str, Kind], figure: Any) -> None:
    """(a) loss and (b) wrong signs along training, means over the new trials of each epoch."""
    figure.set_size_inches(11.0, 4.0)
    left, right = figure.subplots(1, 2)
    plots.learning_curve({NAMES[k]: out.fit.loss.mean(axis=1) for k, out in kinds.items()}, log=True,
                         ylabel="squared error", title="(a) training", ax=left)
    errors = {NAMES[k]: 100 * out.fit.history["error"] for k, out in kinds.items()}
    plots.learning_curve(errors, target=100 * LARGEST_ERROR, target_label="aim", ylabel="wrong signs (%)",
                         title="(b) new trials", ax=right)


def draw_points(kinds: dict[str, Kind], figure: Any) -> None:
    """For each kind, network 0: the points over states in principal components, and their eigenvalues."""
    figure.set_size_inches(11.0, 5.0 * len(kinds))
    for i, (kind, out) in enumerate(kinds.items()):
        points = out.points[0]
        shown = points.fixed & (points.n_unstable >= 0)
        right = figure.add_subplot(len(kinds), 2, 2 * i + 2)
        if not shown.any():
            right.set_axis_off()
            right.text(0.5, 0.5, f"{NAMES[kind]}: no fixed point", ha="center", va="center")
            continue
        letter = "abcd"[2 * i], "abcd"[2 * i + 1]
        left = figure.add_subplot(len(kinds), 2, 2 * i + 1, projection="3d")
        plots.fixed_point_map(points.z[shown], out.states[:, 1:], points.n_unstable[shown], dims=3, ax=left,
                              title=f"({letter[0]}) {NAMES[kind]}: fixed points at zero input, states of runs")
        values = points.modes.eigenvalues
        groups = {"stable" if k == 0 else f"{k} unstable": values[shown & (points.n_unstable == k)].ravel()
                  for k in np.unique(points.n_unstable[shown])}
        plots.eigenvalue_plane(groups, title=f"({letter[1]}) {NAMES[kind]}: eigenvalues at the points", ax=right)


def main() -> int:
    """Run from the command line: python -m experiments.flipflop [options]."""
    return cli.main(["flipflop", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
