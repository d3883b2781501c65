"""Does a Continuous Thought Machine answer the parity of every prefix better, the longer it may think?

A string of signs is shown at once; a thought machine attends to it tick by tick, and an LSTM of the same number of
parameters with the same attention is trained beside it. Then: accuracy by tick and by position, certainty, attention,
calibration, and whether thinking comes to rest when it goes on.

Darlow et al., "Continuous Thought Machines", NeurIPS 2025, arXiv:2505.05522. There (64 signs, 200,000 updates, curves
without a table) accuracy rises with the ticks, some seeds solve all positions at 75 and 100 ticks, and LSTMs stay at 50
to 62 %. The default here has 16 signs and a small network; ``--paper`` takes the published size and training.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dynlab import CTM, check, model_size, plots, think
from dynlab.analysis.attention_path import attention_path
from dynlab.analysis.calibration import calibration_curve
from dynlab.analysis.thought import thinking_time, tick_accuracy
from dynlab.analysis.traces import dead_units
from dynlab.keys import named
from dynlab.tasks import CumulativeParity
from experiments import _thoughts, cli
from experiments._resting import draw_rest, find_rest, rest_table
from experiments._thoughts import TickLoss, TickTest, identity, matched_lstm, parity_machine, train_all, train_one
from experiments.contract import Claim, Progress, Result, Table, Variable, quiet, within

Array = jax.Array
SOURCE = "arXiv:2505.05522, figures; the numbers are a goal of this project"
LSTM = "lstm"
OTHERS = ("n_networks", "lstm", "long_ticks", "n_strings", "paper", "ticks", "history")  # no part of a training


@dataclass(frozen=True)
class Config(_thoughts.Training):
    """What is run; every value can be set on the command line."""

    n_signs: int = 16
    """Length of the strings."""
    ticks: tuple[int, ...] = (1, 5, 20)
    """Ticks of the thought machines, a training each."""
    history: tuple[int, ...] = (1, 3, 8)
    """Their ticks of history."""
    n_units: int = 128
    """Units."""
    n_attention: int = 64
    """Width of the attention."""
    n_heads: int = 4
    """Of the attention."""
    n_sync: int = 16
    """Units on each side of the pairs whose synchronization is read."""
    n_hidden: int = 8
    """Hidden units of each private network."""
    n_networks: int = 3
    """Networks of each kind."""
    lstm: bool = True
    """Train LSTMs with the parameters and ticks of the largest machine too."""
    n_updates: int = 20_000
    """Updates, each on a fresh batch."""
    long_ticks: int = 1000
    """Ticks of the run that asks whether thinking comes to rest; 0 for none."""
    n_strings: int = 512
    """Strings on which trained networks are looked at."""
    paper: bool = False
    """The published size and training instead: 64 signs, 1,024 units, (75, 25) ticks and history, 200,000 updates."""

    @staticmethod
    def smoke() -> Config:
        """Tiny networks, a few updates: seconds."""
        return Config(n_signs=4, ticks=(1, 4), history=(1, 2), n_units=16, n_attention=8, n_heads=2, n_sync=4,
                      n_hidden=2, n_networks=1, n_updates=20, epochs=2, warm_up=5, batch=16, tests=1, long_ticks=40,
                      n_strings=32)


PAPER: dict[str, Any] = {
    "n_signs": 64, "ticks": (75,), "history": (25,), "n_units": 1024, "n_attention": 512, "n_heads": 8, "n_sync": 32,
    "n_hidden": 16, "n_updates": 200_000, "epochs": 200, "learning_rate": 1e-4, "warm_up": 500,
}


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    _thoughts.check_training(config)
    for name in ("n_signs", "n_networks", "n_strings"):
        check.integer(name, getattr(config, name), 1)
    check.integer("long_ticks", config.long_ticks, 0)
    if not config.ticks or len(config.ticks) != len(config.history):
        raise ValueError(f"history must have one value for each of ticks {config.ticks}, got {config.history}")
    for each in (*config.ticks, *config.history):
        check.integer("ticks and history", each, 1)
    parity_machine(config, config.history[0]).init(jax.random.key(0))


def run(config: Config, key: Array, progress: Progress = quiet, folder: Path | None = None) -> Result:
    """Train all, going on from the folder, and look at the machine that thinks longest."""
    if config.paper:
        config = dataclasses.replace(config, **PAPER)
    task = CumulativeParity(config.n_signs)
    kinds: dict[str, tuple[Any, int]] = {
        f"CTM ({t}, {m})": (parity_machine(config, m), t) for t, m in zip(config.ticks, config.history, strict=True)}
    longest = f"CTM ({config.ticks[-1]}, {config.history[-1]})"
    if config.lstm:
        kinds[LSTM] = matched_lstm(kinds[longest][0]), config.ticks[-1]
    jobs = {}
    for name, (model, ticks) in kinds.items():
        loss = TickLoss(model, task, n_ticks=ticks, batch=config.batch,
                        remat=math.isqrt(ticks) if config.paper else None)
        for index in range(config.n_networks):
            place = None if folder is None else folder / "trained" / f"{name.replace(' ', '')}-{index}"
            jobs[name, index] = partial(
                train_one, loss, config, jax.random.fold_in(named(key, name), index), folder=place,
                evaluate=TickTest(loss, config.tests), identity=identity(config, name, OTHERS), clip=name != LSTM)
    fits = train_all(dict(sorted(jobs.items(), key=lambda job: job[0][1])), progress)  # kinds in turn compile once
    scores = {name: np.array([fits[name, i].history["accuracy"][-1] for i in range(config.n_networks)])
              for name in kinds}
    best = int(np.argmax(scores[longest]))
    params = fits[longest, best].params
    return summarise(config, kinds, fits, scores, look(config, *kinds[longest], params, named(key, "look")))


def look(config: Config, model: CTM, ticks: int, params: Any, key: Array) -> dict[str, Any]:
    """One trained machine on fresh strings: ticks, attention, calibration, and a long run."""
    strings = CumulativeParity(config.n_signs).batch(key, config.n_strings)
    thought = think(model, params, strings.symbols, ticks, record=("attention", "state"))
    path = attention_path(thought.records["attention"])
    seen: dict[str, Any] = {
        "accuracy": tick_accuracy(thought.logits, strings.labels), "certainty": np.asarray(thought.certainty),
        "time": thinking_time(thought.logits, thought.certainty, strings.labels),
        "attention": np.asarray(thought.records["attention"][0]), "slope": np.nanmean(path.slope, axis=0),
        "traces": np.asarray(thought.records["state"].active[0]),
        "dead": dead_units(thought.records["state"].active), "calibration": calibration_curve(
            thought.logits, strings.labels),
    }
    if config.long_ticks:
        seen["rest"] = find_rest(model, params, strings.symbols[:8], config.long_ticks, named(key, "rest"))
    return seen


def claims_of(config: Config, scores: dict[str, np.ndarray]) -> list[Claim]:
    """What is expected: more ticks, more accuracy; and more than an LSTM."""
    names = [name for name in scores if name != LSTM]
    means = [float(np.mean(scores[name])) for name in names]
    claims = [within(f"mean accuracy of {b} less that of {a}", SOURCE, 0.0, math.inf, y - x)
              for (a, x), (b, y) in zip(list(zip(names, means, strict=True))[:-1],
                                        list(zip(names, means, strict=True))[1:], strict=True)]
    top = scores[names[-1]]
    claims.append(within(f"networks of {names[-1]} with at least 95 % of the positions", SOURCE,
                         math.ceil(2 * top.size / 3), top.size, float(np.sum(top >= 0.95))))
    if LSTM in scores:
        claims.append(within(f"mean accuracy of {names[-1]} less that of the LSTM", SOURCE, 0.2, math.inf,
                             means[-1] - float(np.mean(scores[LSTM]))))
    return claims


def tables_of(
    config: Config, kinds: dict[str, Any], fits: Any, scores: dict[str, np.ndarray], seen: dict[str, Any]
) -> list[Table]:
    """Accuracy of all networks; the long run."""
    rows = [(name, model_size(model), ticks, np.mean(scores[name]), *scores[name],
             np.mean([fits[name, i].history["exact"][-1] for i in range(config.n_networks)]))
            for name, (model, ticks) in kinds.items()]
    columns = ("model (ticks, history)", "parameters", "ticks", "mean", *(f"network {i}" for i in
                                                                        range(config.n_networks)), "all positions")
    tables = [Table(f"Share of positions right, {config.n_signs} signs, {config.n_updates:,} updates", columns, rows,
                    "at the most certain tick (LSTM: the last), on fresh strings")]
    if "rest" in seen:
        tables.append(rest_table(seen["rest"], max(ticks for _, ticks in kinds.values())))
    return tables


def summarise(
    config: Config, kinds: dict[str, Any], fits: Any, scores: dict[str, np.ndarray], seen: dict[str, Any]
) -> Result:
    """Tables, claims, arrays and figures."""
    names, seeds = list(kinds), range(config.n_networks)
    history = np.stack([[fits[name, i].history["accuracy"] for i in seeds] for name in names])
    position = np.stack([[fits[name, i].history["by_position"][-1] for i in seeds] for name in names])
    figures = {f"accuracy {name}": float(np.mean(scores[name])) for name in names}
    figures |= {"calibration_error": float(seen["calibration"].error[-1]),
                "dead_units": float(np.sum(seen["dead"].constant)),
                "mean_settled_tick": float(np.mean(seen["time"].settled)),
                "mean_most_certain_tick": float(np.mean(seen["time"].most_certain))}
    drawn: dict[str, Any] = {
        "positions": partial(_draw, plots.position_accuracy, seen["accuracy"].by_position, chance=0.5),
        "ticks": partial(_draw, plots.tick_curves, seen["accuracy"].by_tick, seen["certainty"], chance=0.5),
        "attention": lambda figure: plots.attention_heads(seen["attention"], figure=figure),
        "traces": lambda figure: plots.unit_traces(seen["traces"], units=range(16), columns=4, figure=figure),
        "training": partial(_curves, history, names, config),
    }
    if "rest" in seen:
        drawn["rest"] = partial(draw_rest, seen["rest"])
    return Result(
        figures=figures, claims=claims_of(config, scores), tables=tables_of(config, kinds, fits, scores, seen),
        data={"accuracy": Variable(("model", "network", "epoch"), history, "1", "share of positions right"),
              "by_position": Variable(("model", "network", "position"), position, "1", "of the trained networks"),
              "by_position_and_tick": Variable(("tick", "position"), np.asarray(seen["accuracy"].by_position), "1",
                                               "of the best of those that think longest")},
        coords={"model": Variable(("model",), np.asarray(names), "1", "kind (ticks, history)"),
                "network": Variable(("network",), np.arange(config.n_networks), "1", "index of the network"),
                "position": Variable(("position",), np.arange(config.n_signs), "1", "of the answer")},
        plots=drawn,
        headline="accuracy " + ", ".join(f"{name} {np.mean(scores[name]):.3f}" for name in names),
    )


def _draw(function: Any, *arguments: Any, **options: Any) -> None:
    *data, figure = arguments
    function(*data, ax=figure.add_subplot(), **options)


def _curves(history: np.ndarray, names: list[str], config: Config, figure: Any) -> None:
    ax = figure.add_subplot()
    updates = (1 + np.arange(history.shape[2])) * (config.n_updates // config.epochs)
    for i, name in enumerate(names):
        ax.plot(updates, history[i].T, color=f"C{i}", lw=1.4, label=name)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[:: history.shape[1]], labels[:: history.shape[1]], frameon=False)
    ax.set(xlabel="updates", ylabel="share of positions right", ylim=(0.45, 1.01))


def main() -> None:
    """Run this experiment with the arguments of the command line."""
    sys.exit(cli.main(["ctm_parity", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
