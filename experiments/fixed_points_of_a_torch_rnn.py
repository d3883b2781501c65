"""Where are the fixed points of a network that was trained in PyTorch, and is the list complete?

The network is read from a saved state_dict; by default a GRU of 16 units trained on the 3-bit flip-flop, which the
repository ships (experiments/networks). From states of a run and mixtures of them, Levenberg-Marquardt finds its fixed
points at zero input and, in one vmapped program, while each single pulse is held.

Expected: one stable point for each of the 2^3 memories and saddles between them, as in Sussillo and Barak (2013),
doi:10.1162/NECO_a_00409; a complete hypercube has 3^3 = 27 points, of which 8, 12, 6 and 1 have 0, 1, 2 and 3 unstable
directions. Saturating units: the indices sign det(I - J) of all points sum to +1 (Brouwer degree), a sum that lists
with missing points usually miss.
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

from dynlab import check, classify, draw_starts, fixed_points, interop, phase_map, plots, rms_step, tasks, trajectory
from dynlab.analysis.classify import PointSet
from dynlab.analysis.fixed_points import FixedPoints
from experiments import cli
from experiments.contract import Claim, Progress, Result, Table, Variable, near, quiet, within

Array = jax.Array
SHIPPED = ("gru", "rnn")
SUSSILLO = "doi:10.1162/NECO_a_00409"
PATTERN = (8, 12, 6, 1)


@dataclass(frozen=True)
class Config:
    """What is run; every value can be set on the command line."""

    network: str = "gru"
    """"gru" or "rnn" (the shipped ones), or the path of a state_dict saved by torch.save."""
    prefix: str = ""
    """Which recurrent part of a larger module, such as "encoder.rnn."; may be empty when there is one."""
    nonlinearity: str = "tanh"
    """Of an nn.RNN, "tanh" or "relu": a state_dict does not tell."""
    n_starts: int = 1024
    """Starts of the search at each input."""
    noise: float = 0.3
    """Noise of the starts, in units of the spread of the states."""
    mixed: float = 0.5
    """Share of starts that are mixtures of states; 0 for single states, as classical finders take them."""
    n_trials: int = 8
    """Trials whose states the starts are drawn from."""
    length: int = 500
    """Steps of a trial: random pulses on every input channel, as in the flip-flop task."""
    pulse_probability: float = 0.15
    """Probability of a pulse."""
    steps: int = 50
    """Levenberg-Marquardt steps."""

    @staticmethod
    def smoke() -> Config:
        """Fewer starts and trials: seconds."""
        return Config(n_starts=256, n_trials=2, length=100)


def validate(config: Config) -> None:
    """Refuse values that no run could mean, an unreadable file included."""
    for name in ("n_starts", "n_trials", "steps"):
        check.integer(name, getattr(config, name), 1)
    check.integer("length", config.length, 2)
    check.number("noise", config.noise, 0.0)
    check.number("mixed", config.mixed, 0.0, 1.0)
    check.number("pulse_probability", config.pulse_probability, 0.0, 1.0)
    load(config)


def weights_of(config: Config) -> Path:
    """The file of a config's network."""
    if config.network in SHIPPED:
        return Path(__file__).parent / "networks" / f"flipflop_{config.network}.pt"
    path = Path(config.network)
    if not path.is_file():
        raise ValueError(f"network must be one of {', '.join(map(repr, SHIPPED))} or the path of a file, got "
                         f"{config.network!r}")
    return path


def load(config: Config) -> tuple[Any, Any]:
    """The network of a config: ``(model, params)``."""
    return interop.from_torch(weights_of(config), prefix=config.prefix, nonlinearity=config.nonlinearity)


@partial(jax.jit, static_argnames="config")
def search(config: Config, model: Any, params: Any, starts: Array, inputs: Array) -> FixedPoints:
    """The searches at several constant inputs (M, D), as one program."""
    system = phase_map(model, params)
    return jax.vmap(lambda x: fixed_points(system.at(x), starts, steps=config.steps))(inputs)


@partial(jax.jit, static_argnames="config")
def runs(config: Config, model: Any, params: Any, key: Array) -> tuple[Array, Array, tasks.Trial]:
    """Phase-space trajectories (trials, T, n), features (trials, T, N) and the trials."""
    task = tasks.FlipFlop(length=config.length, n_bits=model.input_sizes, pulse_probability=config.pulse_probability)
    trials = jax.vmap(task.sample)(jax.random.split(key, config.n_trials))
    system = phase_map(model, params)
    states = jax.vmap(lambda inputs: trajectory(system, inputs))(trials.inputs)
    features = jax.vmap(jax.vmap(lambda z: model.observe(params, system.restore(z))))(states)
    return states, features, trials


def run(config: Config, key: Array, progress: Progress = quiet) -> Result:
    """Load, drive, search, classify."""
    model, params = load(config)
    drive_key, start_key = jax.random.split(key)
    states, features, trials = runs(config, model, params, drive_key)
    starts = draw_starts(start_key, states, config.n_starts, config.noise, mixed=config.mixed)
    channels = model.input_sizes
    pulses = np.concatenate([np.zeros((1, channels)), np.eye(channels), -np.eye(channels)])
    found = search(config, model, params, starts, jnp.asarray(pulses, check.default_float()))
    scale = float(rms_step(states))
    system = phase_map(model, params)
    sets = [
        classify(system.at(jnp.asarray(x, check.default_float())), jax.tree.map(lambda leaf, i=i: leaf[i], found),
                 step_scale=scale)
        for i, x in progress(list(enumerate(pulses)), "classify")
    ]
    wrong = None
    if config.network in SHIPPED:
        outputs = interop.linear_from_torch(weights_of(config))(features)
        wrong = float(jnp.mean(jnp.sign(outputs) != trials.targets))
    return summarise(config, sets, pulses, np.asarray(states), wrong)


def claims_of(config: Config, points: PointSet, wrong: float) -> list[Claim]:
    """What is known of the shipped networks."""
    counts = [int(np.sum(points.n_unstable[points.fixed] == k)) for k in range(4)]
    n, size = points.z.shape[1], float(np.sqrt(np.mean(points.z**2))) if points.z.size else 0.0
    floor = n * (np.finfo(check.default_float()).eps * max(size, 1.0)) ** 2
    out = [near("points at zero input", f"{SUSSILLO}; 3^3", 27, counts_total(points), 0)]
    for unstable, want in enumerate(PATTERN):
        name = "stable points" if unstable == 0 else f"points with {unstable} unstable"
        out.append(near(name, "faces of a cube", want, counts[unstable], 0))
    out.append(near("sum of the indices", "Brouwer degree", 1, float(np.sum(points.index)), 0))
    largest = float(np.max(points.speed**2 / 2)) if points.speed.size else math.nan
    out.append(within("largest q of a point at the rounding of its dtype", "n (eps rms)^2", -math.inf, floor, largest))
    out.append(within("wrong signs of the readout", "training target", -math.inf, 0.01, wrong))
    return out


def counts_total(points: PointSet) -> int:
    """Number of fixed points."""
    return int(np.sum(points.fixed))


def summarise(
    config: Config, sets: list[PointSet], pulses: np.ndarray, states: np.ndarray, wrong: float | None
) -> Result:
    """Tables, claims, arrays and the figure."""
    rest = sets[0]
    top = rest.z.shape[1]
    rows = []
    for x, points in zip(pulses, sets, strict=True):
        counts = np.bincount(points.n_unstable[defined(points)], minlength=4)
        label = "none" if not np.any(x) else f"{x.sum():+.0f} on channel {int(np.flatnonzero(x)[0]) + 1}"
        text = ", ".join(str(int(c)) for c in counts[: max(4, np.flatnonzero(counts).max(initial=0) + 1)])
        index = float(np.sum(points.index)) if points.verdict.startswith(("index sum +1", "INCOMPLETE")) else math.nan
        rows.append((label, counts_total(points), text, index, points.n_expected, points.verdict))
    columns = ("pulse held", "fixed points", "with 0, 1, 2, ... unstable", "index sum", "expected", "verdict")
    slow = [
        (kind, int(np.sum(rest.fixed & (rest.n_unstable == k))), *_slowest(rest, k))
        for k, kind in ((k, "stable" if k == 0 else f"{k} unstable") for k in range(top + 1))
        if np.any(rest.n_unstable == k)
    ]
    table = Table("Modes at zero input", ("kind", "points", "slowest decay (steps)", "fastest growth (steps)"), slow,
                  note="largest over the points of a kind; a growth time is the time to grow by e")
    figures = {
        "n_fixed_points": counts_total(rest), "n_expected": rest.n_expected, "index_sum": rows[0][3],
        "largest_speed": float(np.max(rest.speed, initial=0.0)),
        "largest_relative_speed": float(np.max(rest.relative_speed, initial=0.0)),
        **{f"n_{k}_unstable": int(np.sum(rest.fixed & (rest.n_unstable == k))) for k in range(4)},
    }
    return Result(
        figures=figures,
        claims=[] if wrong is None else claims_of(config, rest, wrong),
        tables=[Table(f"Fixed points of {config.network}, {config.n_starts} starts", columns, rows), table],
        data=variables(rest, [counts_total(points) for points in sets]),
        coords={"point": Variable(("point",), np.arange(len(rest.z)), "1", "distinct points, fixed and stable first"),
                "unit": Variable(("unit",), np.arange(top), "1", "phase-space coordinate"),
                "held_input": Variable(("held_input",), np.arange(len(sets)), "1", "none, +1, -1 a channel")},
        plots={"fixed_points": partial(draw, rest, states)},
        headline=f"{config.network}: {rest}",
    )


def defined(points: PointSet) -> np.ndarray:
    """Which are fixed points whose stability is defined, (P,) bool."""
    return points.fixed & (points.n_unstable >= 0)


def _slowest(points: PointSet, unstable: int) -> tuple[float, float]:
    """Slowest decay and fastest growth over the points with so many unstable directions, in steps."""
    times = points.modes.decay_time[points.fixed & (points.n_unstable == unstable)]
    decays, grows = times[times > 0], -times[times < 0]
    return float(decays.max(initial=0.0)), float(grows.min()) if grows.size else math.nan


def variables(points: PointSet, totals: list[int]) -> dict[str, Variable]:
    """The arrays of results.nc."""
    return {
        "z": Variable(("point", "unit"), points.z, "1", "fixed points at zero input"),
        "speed": Variable(("point",), points.speed, "1", "|f(z) - z|"),
        "hits": Variable(("point",), points.hits, "1", "starts that ended there"),
        "n_unstable": Variable(("point",), points.n_unstable, "1", "unstable directions"),
        "index": Variable(("point",), points.index, "1", "sign det(I - J)"),
        "decay_time": Variable(("point", "unit"), points.modes.decay_time, "step", "of each mode, slowest first"),
        "frequency": Variable(("point", "unit"), points.modes.frequency, "1/step", "of each mode"),
        "jacobian": Variable(("point", "unit", "unit_in"), points.jacobian, "1", "linearisation at the points"),
        "n_points_held": Variable(("held_input",), totals, "1", "fixed points while an input is held"),
    }


def draw(points: PointSet, states: np.ndarray, figure: Any) -> None:
    """(a) the points over trajectories in principal components, (b) their eigenvalues."""
    figure.set_size_inches(11.0, 5.0)
    shown = defined(points)
    n = points.z.shape[1]
    left = figure.add_subplot(1, 2, 1, projection="3d" if n > 2 and np.any(shown) else None)
    right = figure.add_subplot(1, 2, 2)
    runs = states[:4, 1:]
    title = "(a) fixed points at zero input, states of runs"
    if n > 1 and np.any(shown):
        plots.fixed_point_map(
            points.z[shown], runs, points.n_unstable[shown], directions=points.modes.right[shown][:, :, 0],
            dims=min(3, n), title=title, ax=left,
        )
    else:  # no point, or one coordinate: over time
        left.plot(runs[:, :, :3].swapaxes(0, 1).reshape(runs.shape[1], -1), color="0.55", lw=0.6)
        for z in points.z[shown]:
            left.axhline(z[0], color="black", lw=1.2)
        left.set(xlabel="step", ylabel="coordinates 1 to 3" if n > 2 else "coordinates",
                 title=title if np.any(shown) else "(a) no fixed point at zero input; states of runs")
    groups = {
        "stable" if k == 0 else f"{k} unstable": points.modes.eigenvalues[shown & (points.n_unstable == k)].ravel()
        for k in np.unique(points.n_unstable[shown])
    }
    if groups:
        plots.eigenvalue_plane(groups, title="(b) eigenvalues at the points", ax=right)
    else:
        right.set_axis_off()
        right.text(0.5, 0.5, "no fixed point,\nno eigenvalues", ha="center", va="center", transform=right.transAxes)


def main() -> int:
    """Run from the command line: python -m experiments.fixed_points_of_a_torch_rnn [options]."""
    return cli.main(["fixed_points_of_a_torch_rnn", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
