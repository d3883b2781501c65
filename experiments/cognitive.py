"""How does one network solve several cognitive tasks, and what does the context change in its dynamics?

One leaky rate network learns four tasks on the same inputs, told apart by a context input: which of two signals is
stronger (perceptual decision), the sign of the first or of the second signal (context-dependent decision, Mante et al.
2013, doi:10.1038/nature12742), and whether two items were the same (delayed match-to-sample). Then its fixed points are
found with each context held and no evidence, before and after the go cue; besides, its Lyapunov exponents and
timescales.

Expected: scores near those of an ideal observer of the same noisy evidence and never above; in the context tasks more
than the 75 % of an observer who does not know the context. Evidence is summed over 0.4 to 1.6 seconds by units with a
time constant of 0.1, so the network needs modes that are much slower than its units; the left eigenvector of such a
mode says which input it sums (the selection vector), and must point to the signal that counts.
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

from dynlab import (
    autocorrelation,
    check,
    classify,
    draw_starts,
    fit_timescales,
    fixed_points,
    input_jacobian,
    lyapunov,
    phase_map,
    plots,
    rms_step,
    tasks,
    train,
    trajectory,
    tree,
)
from dynlab.analysis.classify import PointSet
from dynlab.analysis.fixed_points import FixedPoints
from dynlab.keys import named
from dynlab.models.leaky_rnn import LeakyRNN
from experiments import cli
from experiments._suite import CONTEXTS, DT, LENGTH, N_INPUTS, N_OUTPUTS, PHASES, SUITE, Suite
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
MANTE = "doi:10.1038/nature12742"
TAU = 100.0  # ms
NEAR_IDEAL = 0.9
LAGS = 50  # of the autocorrelation, steps


@dataclass(frozen=True)
class Config:
    """What is run; every value can be set on the command line."""

    n_units: int = 64
    """Units."""
    noise: float = 0.05
    """Noise of the units, in training and tests."""
    n_epochs: int = 25
    """Epochs."""
    n_updates: int = 100
    """Updates in an epoch."""
    batch: int = 16
    """Trials of each task in an update."""
    learning_rate: float = 3e-3
    """Of Adam, at the start."""
    last_learning_rate: float = 3e-4
    """At the end; it falls exponentially."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    n_tests: int = 1000
    """New trials of each task in the test."""
    n_starts: int = 256
    """Starts of each search for fixed points."""
    noise_of_starts: float = 0.3
    """Noise of the starts, in units of the spread of the states."""
    mixed: float = 0.5
    """Share of starts that are mixtures of states."""

    @staticmethod
    def smoke() -> Config:
        """A small network, few updates and starts: seconds, and not trained to the end."""
        return Config(n_units=16, n_epochs=2, n_updates=20, batch=4, n_tests=16, n_starts=16)


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    check_training(config)
    check.number("noise", config.noise, 0.0)


@tree.dataclass
class Trials:
    """A batch of all four tasks: the squared error to train on, and the scores."""

    model: LeakyRNN
    suite: Suite
    each: int = tree.static()

    def draw(self, network: Network, key: Array) -> tuple[Array, Array, list[tasks.CognitiveTrial]]:
        """Features, outputs and trials of a fresh batch, with leading axis 4 * each, task by task."""
        parts = self.suite.sample(named(key, "trials"), self.each)
        inputs = jnp.concatenate([part.inputs for part in parts])
        return *run_network(self.model, network, inputs, named(key, "noise")), parts

    def __call__(self, network: Network, key: Array) -> tuple[Array, dict[str, Array]]:
        """The loss, and the scores (4,) on these trials, new ones."""
        _, outputs, parts = self.draw(network, key)
        targets, mask = (jnp.concatenate([getattr(part, name) for part in parts]) for name in ("targets", "mask"))
        return train.squared_error(outputs, targets, mask), {"score": self.scores(outputs, parts)}

    def scores(self, outputs: Array, parts: list[tasks.CognitiveTrial]) -> Array:
        """Share of right trials (4,)."""
        kinds: tuple[Any, ...] = (self.suite.perceptual, self.suite.context, self.suite.context, self.suite.match)
        rows = outputs.reshape(len(CONTEXTS), self.each, *outputs.shape[1:])
        return jnp.stack([jnp.mean(jax.vmap(kind.score)(part, row))
                          for kind, part, row in zip(kinds, parts, rows, strict=True)])


@dataclass(frozen=True)
class Found:
    """What came out; the first axis is the context."""

    score: np.ndarray
    exponent: np.ndarray
    activity: np.ndarray
    points: dict[tuple[int, str], PointSet]
    selection: np.ndarray
    runs: np.ndarray
    choices: np.ndarray
    ends: np.ndarray


@partial(jax.jit, static_argnames="config")
def analyse(config: Config, model: LeakyRNN, network: Network, held: Array, key: Array) -> tuple[Any, ...]:
    """Scores, exponents, timescales of the activity, states, trials, fixed points (4 * 2 searches), RMS step."""
    trials = Trials(model, SUITE, each=config.n_tests)
    states, outputs, parts = trials.draw(network, named(key, "test"))
    system = phase_map(model, network.rnn)
    drives = jnp.stack([part.inputs[:8].reshape(-1, N_INPUTS) for part in parts])
    spectra = jax.vmap(lambda x: lyapunov(system, x, k=1, warmup=LENGTH, key=named(key, "frame")).exponents)(drives)

    def intrinsic(x: Array, key: Array) -> Array:
        inputs = jnp.broadcast_to(x, (250, N_INPUTS))
        rows = jax.vmap(lambda k: trajectory(system, inputs, key=k))(jax.random.split(key, 16))
        return fit_timescales(autocorrelation(rows[:, 50:], LAGS, trials=True), DT, "exp+offset").tau[:, 0]

    activity = jax.vmap(intrinsic)(held[:, 0], jax.random.split(named(key, "intrinsic"), len(CONTEXTS)))
    states = states.reshape(len(CONTEXTS), -1, *states.shape[1:])[:, :8]
    starts = draw_starts(named(key, "starts"), states, config.n_starts, config.noise_of_starts, mixed=config.mixed)
    found = jax.vmap(jax.vmap(lambda x: fixed_points(system.at(x), starts)))(held)
    choices, ends = (jnp.stack([part.truth[name][:8] for part in parts]) for name in ("choice", "end"))
    return trials.scores(outputs, parts), spectra[:, 0], activity, states, choices, ends, found, rms_step(states)


def run(config: Config, key: Array, progress: Progress = quiet, folder: Path | None = None) -> Result:
    """Train one network on all tasks, then analyse it."""
    noise = config.noise if config.noise else None
    model = LeakyRNN(n_inputs=N_INPUTS, n_units=config.n_units, tau=TAU, dt=DT, noise=noise)
    identity = {name: value for name, value in vars(config).items()
                if name not in ("n_tests", "n_starts", "noise_of_starts", "mixed")}
    network = jax.jit(partial(draw_network, model, N_OUTPUTS))(named(key, "init"))
    held = {"rnn.tau": train.fixed, **({} if noise is None else {"rnn.noise": train.fixed})}
    fit = train.fit(
        Trials(model, SUITE, each=config.batch), network, named(key, "train"), n_epochs=config.n_epochs,
        n_updates=config.n_updates, constraints=held, progress=epochs_bar(progress, "train"),
        checkpoint=checkpoint_in(folder, "network", identity),
        optimiser=falling_adam(config.learning_rate, config.last_learning_rate, config.n_epochs * config.n_updates,
                               config.clip),
    )
    rows = [[SUITE.held(i, phase) for phase in PHASES] for i in range(len(CONTEXTS))]
    inputs = jnp.asarray(np.array(rows), check.default_float())
    *parts, found, scale = analyse(config, model, fit.params, inputs, named(key, "analyse"))
    score, exponent, activity, runs, choices, ends = (np.asarray(part) for part in parts)
    system, sets = phase_map(model, fit.params.rnn), {}
    for i in progress(list(range(len(CONTEXTS))), "classify"):
        for j, phase in enumerate(PHASES):
            one: FixedPoints = jax.tree.map(lambda leaf, i=i, j=j: leaf[i, j], found)
            sets[i, phase] = classify(system.at(inputs[i, j]), one, step_scale=scale)
    selection = np.stack([select(system, sets[i, "hold"], inputs[i, 0]) for i in range(len(CONTEXTS))])
    out = Found(score, exponent, activity, sets, selection, runs, choices, ends)
    return summarise(config, model, fit, out)


def slowest(points: PointSet) -> tuple[int, float]:
    """The point with the mode nearest to standing still, and that mode's time to decay or grow by e, in ms."""
    rows = np.flatnonzero(points.fixed & (points.n_unstable >= 0))
    if not rows.size:
        return -1, 0.0
    times = np.abs(points.modes.decay_time[rows]).max(axis=1)
    return int(rows[times.argmax()]), float(times.max())


def select(system: Any, points: PointSet, x: Array) -> np.ndarray:
    """How much the slowest mode takes from the two channels: l B (2,), scaled to length 1; zeros without a point.

    An eigenvector has no phase of its own, so of a complex one the sizes |l B| count; the sign is that relative to the
    larger one.
    """
    row, _ = slowest(points)
    if row < 0:
        return np.zeros(2)
    mode = int(np.abs(points.modes.decay_time[row]).argmax())
    taken = (points.modes.left[row, mode] @ np.asarray(input_jacobian(system, points.z[row], x)))[1:3]
    signs = np.where(np.real(taken * np.conj(taken[np.abs(taken).argmax()])) < 0, -1.0, 1.0)
    return signs * np.abs(taken) / max(float(np.linalg.norm(taken)), 1e-30)


def claims_of(config: Config, out: Found) -> list[Claim]:
    """What is expected of a trained network."""
    ideal = SUITE.ideal()
    made = [within(f"score, {name}", f"{NEAR_IDEAL} of the ideal observer's {best:.3f}", NEAR_IDEAL * best, 1.0, score)
            for name, best, score in zip(CONTEXTS, ideal, out.score, strict=True)]
    error = np.sqrt(ideal * (1 - ideal) / config.n_tests)
    above = (out.score[:3] - ideal[:3]) / error[:3]
    slow = min(slowest(out.points[i, "hold"])[1] for i in range(3))
    first, second = np.abs(out.selection[1]), np.abs(out.selection[2])
    sums = [int(np.sum(points.index)) == 1 for points in out.points.values()]
    return [
        *made,
        within("scores above the ideal observer's, in standard errors", "no observer is better", -math.inf, 4.0,
               above.max()),
        within("lower score of the context tasks", "75 %: context ignored", 0.75, 1.0, out.score[1:3].min()),
        within("slowest mode while evidence comes, least of the decision tasks (ms)", f"5 tau; {MANTE}", 5 * TAU,
               math.inf, slow),
        within("weight of the signal that counts in the selection vector, lower of both contexts",
               f"above that of the other; {MANTE}", math.sqrt(0.5), 1.0, min(first[0], second[1])),
        within("largest Lyapunov exponent along trials (1/s)", "trials begin anew", -math.inf, 0.0,
               1000 * out.exponent.max()),
        near("searches whose indices sum to +1", "Brouwer degree", len(sums), sum(sums), 0),
    ]


def counts(points: PointSet) -> str:
    """Fixed points with 0, 1, 2, ... unstable directions, as text."""
    found = np.bincount(points.n_unstable[points.fixed & (points.n_unstable >= 0)], minlength=2)
    return ", ".join(map(str, found))


def summarise(config: Config, model: LeakyRNN, fit: train.Fit, out: Found) -> Result:
    """Figures, tables, claims, arrays and plots."""
    ideal, activity = SUITE.ideal(), np.nanmedian(np.where(np.isfinite(out.activity), out.activity, np.nan), axis=1)
    rows = [(name, f"{100 * out.score[i]:.1f} %", f"{100 * ideal[i]:.1f} %", 1000 * float(out.exponent[i]),
             float(activity[i]), slowest(out.points[i, "hold"])[1], *(float(w) for w in out.selection[i]))
            for i, name in enumerate(CONTEXTS)]
    points = [(CONTEXTS[i], phase, int(p.fixed.sum()), counts(p), float(np.sum(p.index)), p.n_expected, slowest(p)[1])
              for (i, phase), p in out.points.items()]
    tables = [
        Table("One network, four tasks", ("context", "score", "ideal", "exponent (1/s)", "tau of units (ms)",
              "slowest mode (ms)", "takes from 1", "from 2"), rows,
              note=f"tau of units: median of the autocorrelation fits at held input, their own is {TAU:g} ms; takes: "
              "the left eigenvector of the slowest mode times the input Jacobian"),
        Table("Fixed points with the context held and no evidence", ("context", "phase", "points",
              "with 0, 1, ... unstable", "index sum", "expected", "slowest mode (ms)"), points,
              note="hold: fixation cue on; respond: off"),
    ]
    figures = {f"score_{name.replace(' ', '_')}": float(out.score[i]) for i, name in enumerate(CONTEXTS)}
    figures |= {
        "lyapunov_per_second": 1000 * float(out.exponent.max()), "activity_timescale_ms": float(np.max(activity)),
        "parameter_timescale_ms": TAU, "slowest_mode_ms": max(slowest(p)[1] for p in out.points.values()),
        **{f"points_{CONTEXTS[i].replace(' ', '_')}_{phase}": int(p.fixed.sum())
           for (i, phase), p in out.points.items()},
    }
    data, coords = variables(config, fit, out)
    return Result(
        figures=figures, claims=claims_of(config, out), tables=tables, data=data, coords=coords,
        plots={"training": partial(draw_training, fit), "fixed_points": partial(draw_points, fit.params, out)},
        headline="scores " + ", ".join(f"{name} {100 * out.score[i]:.0f} %" for i, name in enumerate(CONTEXTS)),
    )


def variables(config: Config, fit: train.Fit, out: Found) -> tuple[dict[str, Variable], dict[str, Variable]]:
    """The arrays of results.nc and their coordinates."""
    held = [(i, phase, p) for (i, phase), p in out.points.items()]
    z = np.concatenate([p.z for _, _, p in held])
    coords = {
        "epoch": Variable(("epoch",), 1 + np.arange(fit.epochs), "1", "epochs done"),
        "context": Variable(("context",), list(CONTEXTS), "1", "context held"),
        "unit": Variable(("unit",), np.arange(config.n_units), "1", "unit"),
        "channel": Variable(("channel",), [1, 2], "1", "channel of evidence"),
        "point": Variable(("point",), np.arange(len(z)), "1", "fixed point, of all contexts and phases"),
    }
    each = lambda values: np.concatenate([np.full(len(p.z), values(i, phase)) for i, phase, p in held])  # noqa: E731
    joined = lambda take: np.concatenate([take(p) for _, _, p in held])  # noqa: E731
    data = {
        "loss": Variable(("epoch",), fit.loss.mean(axis=1), "1", "mean loss"),
        "training_score": Variable(("epoch", "context"), fit.history["score"], "1", "share of right trials"),
        "score": Variable(("context",), out.score, "1", "share of right trials after training"),
        "exponent": Variable(("context",), out.exponent, "1/ms", "largest Lyapunov exponent along trials"),
        "activity_tau": Variable(("context", "unit"), out.activity, "ms", "timescale of the activity at held input"),
        "selection": Variable(("context", "channel"), out.selection, "1", "what the slowest mode takes from a channel"),
        "z": Variable(("point", "unit"), z, "1", "fixed points"),
        "n_unstable": Variable(("point",), joined(lambda p: p.n_unstable), "1", "unstable directions"),
        "point_context": Variable(("point",), each(lambda i, _: i), "1", "number of the context"),
        "point_phase": Variable(("point",), each(lambda _, phase: PHASES.index(phase)), "1", "0 hold, 1 respond"),
        "slowest_time": Variable(("point",), joined(lambda p: np.abs(p.modes.decay_time).max(axis=1)), "ms",
                                 "of the slowest mode, growing or decaying"),
    }
    return data, coords


def draw_training(fit: train.Fit, figure: Any) -> None:
    """(a) loss and (b) scores along training, means over the new trials of each epoch."""
    figure.set_size_inches(11.0, 4.0)
    left, right = figure.subplots(1, 2)
    plots.learning_curve(fit.loss.mean(axis=1), log=True, ylabel="squared error", title="(a) training", ax=left)
    scores = {name: 100 * fit.history["score"][:, i] for i, name in enumerate(CONTEXTS)}
    plots.learning_curve(scores, ylabel="right trials (%)", title="(b) new trials", ax=right)


def task_axes(network: Network, runs: np.ndarray) -> np.ndarray:
    """Two orthonormal directions (2, N): what the readout takes as choice, and the widest one of the states besides."""
    weights = np.asarray(network.readout.weights, float)
    choice = weights[:, 2] - weights[:, 1]
    choice /= np.linalg.norm(choice)
    cloud = runs.reshape(-1, runs.shape[-1]).astype(float)
    rest = cloud - cloud.mean(axis=0)
    rest = rest - np.outer(rest @ choice, choice)
    return np.stack([choice, np.linalg.eigh(rest.T @ rest)[1][:, -1]])


def draw_points(network: Network, out: Found, figure: Any) -> None:
    """For each context: states of trials and the fixed points, choice against the widest other direction."""
    figure.set_size_inches(11.0, 9.5)
    axes = task_axes(network, out.runs)
    panels = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    for i, (name, ax) in enumerate(zip(CONTEXTS, panels, strict=True)):
        for run, choice, end in zip(out.runs[i], out.choices[i], out.ends[i], strict=True):
            ax.plot(*(run[:end] @ axes.T).T, color=plots.COLORS[choice], lw=0.8, alpha=0.5, zorder=1)
        for phase, color in zip(PHASES, ("black", plots.COLORS[2]), strict=True):
            points = out.points[i, phase]
            for stable, fill in ((True, color), (False, "white")):
                mine = points.fixed & ((points.n_unstable == 0) == stable)
                if not mine.any():
                    continue
                label = f"{phase}, {'stable' if stable else 'unstable'} ({mine.sum()})"
                ax.scatter(*(points.z[mine] @ axes.T).T, s=60 if stable else 40, marker="o" if phase == "hold" else "s",
                           facecolors=fill, edgecolors=color, linewidths=1.4, zorder=4, label=label)
        if ax.get_legend_handles_labels()[1]:
            ax.legend(frameon=False, fontsize=plots.LABEL_SIZE - 2)
        ax.set_title(f"({'abcd'[i]}) {name}", fontsize=plots.LABEL_SIZE + 1)
        ax.set(xlabel="choice axis of the readout" if i > 1 else "",
               ylabel="widest other direction" if i % 2 == 0 else "")
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Trials (by right choice: blue, orange) and fixed points with the context held, no evidence",
                    fontsize=plots.LABEL_SIZE + 1)


def main() -> int:
    """Run from the command line: python -m experiments.cognitive [options]."""
    return cli.main(["cognitive", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
