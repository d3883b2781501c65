"""How does a Continuous Thought Machine find the way through a small maze, and what does each part of it contribute?

A maze is shown at once, a token a cell that knows its own walls; the machine answers with all moves of the way at each
tick. It is trained as it is, without its private networks and without synchronization; an LSTM of as many parameters
with the same attention stands beside it. Then: moves right and mazes solved, by tick and by distance, and whether
attention goes along the way.

Darlow et al., "Continuous Thought Machines", NeurIPS 2025, arXiv:2505.05522: on images of 15 x 15 mazes (100,000
updates, two seeds) the machine has 94.6 % of the steps right and solves 65.9 % of the mazes; without private networks
82.9 and 35.0 %, without synchronization 85.1 and 37.5 %, an LSTM with synchronization 82.4 and 33.8 %. Here the mazes
are far smaller and are no images, and the LSTM has no synchronization. Size and learning rate were chosen by trials of
2,000 updates of the whole machine: what learns and fits in half an hour of processor time.
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

from dynlab import CTM, check, model_size, think
from dynlab.keys import named
from dynlab.tasks import Maze, route_mask
from dynlab.tasks.mazes import FEATURES, MOVES
from experiments import _thoughts, cli
from experiments._mazes import (
    MazeTest,
    MazeTokens,
    by_distance,
    draw_maze,
    draw_path,
    marks,
    on_the_way,
    route_cells,
    walk,
)
from experiments._statistics import student_reach
from experiments._thoughts import (
    NO_NETWORKS,
    NO_SYNC,
    TickLoss,
    answer_tick,
    identity,
    matched_lstm,
    train_all,
    train_one,
    without,
)
from experiments.contract import Claim, Progress, Result, Table, Variable, quiet, within

Array = jax.Array
SOURCE = "arXiv:2505.05522, 15 x 15 mazes"
FIGURE = "arXiv:2505.05522, figures"
FULL, LSTM = "CTM", "LSTM"
KINDS = (FULL, NO_NETWORKS, NO_SYNC, LSTM)
OTHERS = ("n_networks", "n_mazes")  # no part of a training


@dataclass(frozen=True)
class Config(_thoughts.Training):
    """What is run; every value can be set on the command line."""

    n_cells: int = 4
    """Cells along a side of a maze."""
    route: int = 8
    """Moves of an answer."""
    ahead: int = 5
    """Moves that count in the loss beyond those that some tick has right."""
    n_ticks: int = 12
    """Ticks of thought."""
    n_history: int = 6
    """Ticks of history, where there are private networks."""
    n_units: int = 128
    """Units."""
    n_attention: int = 64
    """Width of the attention, and of the tokens."""
    n_heads: int = 4
    """Of the attention."""
    n_sync: int = 16
    """Units on each side of the pairs."""
    n_hidden: int = 8
    """Hidden units of each private network."""
    n_networks: int = 2
    """Networks of each kind."""
    n_updates: int = 6000
    """Updates, each on a fresh batch."""
    learning_rate: float = 2e-3
    """Of AdamW after the warm-up; it falls to `last_learning_rate` as a cosine."""
    warm_up: int = 200
    """Updates over which the rate rises from 0."""
    n_mazes: int = 4096
    """Mazes on which trained networks are tested."""

    @staticmethod
    def smoke() -> Config:
        """Tiny networks, a few updates: seconds."""
        return Config(n_cells=3, route=4, n_ticks=3, n_history=2, n_units=12, n_attention=8, n_heads=2, n_sync=4,
                      n_hidden=2, n_networks=1, n_updates=20, epochs=2, warm_up=5, batch=16, tests=1, n_mazes=64)


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    _thoughts.check_training(config)
    check.integer("n_cells", config.n_cells, 3)
    check.integer("route", config.route, 3)  # shorter ways have no direction
    check.integer("n_mazes", config.n_mazes, 50)
    check.integer("n_ticks", config.n_ticks, 2)
    check.integer("n_attention", config.n_attention, len(FEATURES))
    for name in ("ahead", "n_networks"):
        check.integer(name, getattr(config, name), 1)
    for kind in KINDS:
        jax.eval_shape(model_of(config, kind).init, jax.random.key(0))


def model_of(config: Config, kind: str) -> Any:
    """The machine, without one part, or the LSTM in its place."""
    full = CTM(n_inputs=config.n_attention, n_tokens=(config.n_cells, config.n_cells), positions="rotation_grid",
               n_units=config.n_units, n_attention=config.n_attention, n_heads=config.n_heads,
               n_history=config.n_history, n_hidden=config.n_hidden, n_out=config.n_sync, n_action=config.n_sync,
               n_outputs=(config.route, len(MOVES)))
    if kind == LSTM:
        return matched_lstm(full)
    return full if kind == FULL else without(full, kind)


def run(config: Config, key: Array, progress: Progress = quiet, folder: Path | None = None) -> Result:
    """Train all kinds, going on from the folder, and look at them on fresh mazes."""
    counts = partial(route_mask, ahead=config.ahead)
    task = MazeTokens(Maze(config.n_cells, config.route), config.n_attention)
    losses = {kind: TickLoss(model_of(config, kind), task, n_ticks=config.n_ticks, batch=config.batch, mask=counts)
              for kind in KINDS}
    jobs = {}
    for index in range(config.n_networks):
        for kind, loss in losses.items():
            place = None if folder is None else folder / "trained" / f"{kind.replace(' ', '-')}-{index}"
            jobs[kind, index] = partial(
                train_one, loss, config, jax.random.fold_in(named(key, "networks"), index), folder=place,
                evaluate=MazeTest(loss, config.tests), identity=identity(config, kind, OTHERS), clip=kind != LSTM)
    fits = train_all(jobs, progress)
    seen = {(kind, i): look(config, losses[kind], fits[kind, i].params, named(key, "look")) for kind, i in jobs}
    return summarise(config, fits, seen)


def look(config: Config, loss: TickLoss, params: Any, key: Array) -> dict[str, Any]:
    """One trained network on fresh mazes, the same for all: marks, by tick and by distance, and its attention."""
    drawn = loss.task.batch(key, config.n_mazes)
    thought = think(loss.model, params, drawn.symbols, config.n_ticks, record=("attention",))
    right = np.asarray(jnp.argmax(thought.logits, axis=-1) == drawn.labels[:, None])
    at = np.asarray(answer_tick(loss.model, thought.certainty))
    answer = right[np.arange(len(at)), at]
    labels, distance = np.asarray(drawn.labels), np.asarray(drawn.distance)
    ticks = [marks(jnp.asarray(right[:, t]), drawn.labels) for t in range(config.n_ticks)]
    symbols, weights = np.asarray(drawn.symbols), np.asarray(thought.records["attention"])
    cells, moves = route_cells(symbols, labels, config.n_cells), np.minimum(distance, config.route)
    return {
        **{name: float(value) for name, value in marks(jnp.asarray(answer), drawn.labels).items()},
        "by_tick": {name: np.array([float(row[name]) for row in ticks]) for name in ("steps", "solved")},
        "certainty": np.asarray(thought.certainty), "tick": at.mean() + 1,
        "by_distance": by_distance(answer, labels, distance), "walk": walk(weights, cells, moves),
        "examples": examples(answer, weights, cells, moves, symbols),
    }


def examples(
    answer: np.ndarray, weights: np.ndarray, cells: np.ndarray, moves: np.ndarray, symbols: np.ndarray
) -> dict[str, np.ndarray]:
    """Four mazes, solved ones and among these long ways first; attention on the k-th cell of ways of middle length."""
    order = np.lexsort((-moves, ~answer.all(1)))[:4]
    length = np.max(moves) // 2 + 1
    middle = np.flatnonzero(moves == length)
    there = on_the_way(weights[middle], cells[middle], moves[middle])[..., : length + 1]
    return {"weights": weights[order], "cells": cells[order], "symbols": symbols[order], "along": there.mean(0)}


def margin(values: np.ndarray, what: str, source: str) -> Claim:
    """The claim that the mean of a difference, a value a network, is above 0; its 95 % interval is said."""
    reach = student_reach(float(np.std(values, ddof=1)), values.size) if values.size > 1 else math.nan
    return within(f"{what}, mean of {values.size} (95 % interval +-{reach:.3f})", source, 0.0, math.inf,
                  float(np.mean(values)))


def claims_of(seen: dict[Any, Any], n: int) -> list[Claim]:
    """What is expected: each part helps, later ticks are better, and attention goes along the way."""
    each = lambda kind, name: np.array([seen[kind, i][name] for i in range(n)])  # noqa: E731
    claims = [margin(each(FULL, name) - each(kind, name), f"{text} by the CTM less those by {describe(kind)}", SOURCE)
              for kind in KINDS[1:] for name, text in (("solved", "mazes solved"), ("steps", "moves right"))]
    ticks = np.stack([seen[FULL, i]["by_tick"]["solved"] for i in range(n)])
    claims.append(margin(ticks[:, -1] - ticks[:, ticks.shape[1] // 2 - 1],
                         "mazes solved at the last tick less those at half the ticks", FIGURE))
    walks = [seen[FULL, i]["walk"]["advance"] for i in range(n)]
    claims.append(margin(np.array([np.subtract(*best_head(w)) for w in walks]),
                         "advance of attention on the way, best head, less that on another maze's way", FIGURE))
    return claims


def describe(kind: str) -> str:
    """A kind within a sentence."""
    return f"the {kind}" if kind == LSTM else f"that with {kind}"


def summarise(config: Config, fits: dict[Any, Any], seen: dict[Any, Any]) -> Result:
    """Tables, claims, arrays and figures."""
    n, names = range(config.n_networks), ("steps", "positions", "solved")
    scores = np.array([[[seen[kind, i][name] for name in names] for i in n] for kind in KINDS])
    rows = [(kind, model_size(model_of(config, kind)), *(100 * scores[k].mean(0)), *(100 * scores[k, :, 2]),
             np.mean([seen[kind, i]["tick"] for i in n])) for k, kind in enumerate(KINDS)]
    walks = [(f"{kind} {i}", *(np.mean(seen[kind, i]["walk"]["share"], axis=1)),
              *best_head(seen[kind, i]["walk"]["advance"])) for kind in KINDS for i in n]
    far = seen[FULL, 0]["by_distance"]
    solved = [100 * np.mean([seen[kind, i]["by_distance"]["solved"] for i in n], axis=0) for kind in KINDS]
    distance = list(zip(far["distance"].tolist(), far["mazes"].tolist(), *solved, strict=True))
    full = max(n, key=lambda i: seen[FULL, i]["solved"])
    ticks = np.array([[seen[kind, i]["by_tick"]["solved"] for i in n] for kind in KINDS])
    history = np.array([[fits[kind, i].history["solved"] for i in n] for kind in KINDS])
    return Result(
        figures={f"{name} {kind}": float(scores[k, :, j].mean()) for k, kind in enumerate(KINDS)
                 for j, name in enumerate(names)},
        claims=claims_of(seen, config.n_networks),
        tables=[
            Table(f"Mazes of {config.n_cells} x {config.n_cells} cells, {config.route} moves, {config.n_ticks} ticks, "
                  f"{config.n_updates:,} updates", ("machine", "parameters", "moves right %", "all positions %",
                                                    "solved %", *(f"network {i}" for i in n), "tick"), rows,
                  "at the most certain tick (LSTM: the last); moves: up to the one that reaches the goal"),
            Table("Mazes solved by distance, %", ("moves to the goal", "mazes", *KINDS), distance,
                  f"of a way longer than {config.route} its first {config.route} moves"),
            Table("Attention and the way", ("network", "share on it", "on another's", "advance on it, best head",
                                            "on another's"), walks,
                  "advance: of its centre, start to goal is 1; another: the way of a maze with as many moves"),
        ],
        data={"score": Variable(("kind", "network", "measure"), scores, "1", "of the trained networks"),
              "solved_by_tick": Variable(("kind", "network", "tick"), ticks, "1", "share of mazes solved at a tick"),
              "training": Variable(("kind", "network", "epoch"), history, "1", "share of mazes solved")},
        coords={"kind": Variable(("kind",), np.asarray(KINDS), "1", "what is left out"),
                "measure": Variable(("measure",), np.asarray(names), "1", "what is counted"),
                "tick": Variable(("tick",), 1 + np.arange(config.n_ticks), "1", "tick of thought")},
        plots={"ticks": partial(_ticks, ticks), "distance": partial(_distance, seen, config),
               "training": partial(_training, history, config), "along": partial(_along, seen[FULL, full]),
               "mazes": partial(_mazes, seen[FULL, full], config)},
        headline="solved " + ", ".join(f"{kind} {100 * scores[k, :, 2].mean():.1f} %" for k, kind in enumerate(KINDS)),
    )


def best_head(advance: np.ndarray) -> tuple[float, float]:
    """Of (2, heads): the largest on the maze's own way, and what the same head has on another's."""
    own, other = advance[:, walking_head(advance)]
    return float(own), float(other)


def walking_head(advance: np.ndarray) -> int:
    """The head that advances most on the maze's own way."""
    return int(np.argmax(advance[0]))


def _lines(ax: Any, x: np.ndarray, values: np.ndarray) -> None:
    for k, kind in enumerate(KINDS):
        ax.plot(x, values[k].T, color=f"C{k}", lw=0.8, alpha=0.6)
        ax.plot(x, values[k].mean(0), color=f"C{k}", lw=2, label=kind)
    ax.set(ylim=(-0.02, 1.02))
    ax.legend(frameon=False)


def _ticks(ticks: np.ndarray, figure: Any) -> None:
    ax = figure.add_subplot()
    _lines(ax, 1 + np.arange(ticks.shape[2]), ticks)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="tick", ylabel="share of mazes solved", title="thin: networks; thick: their mean")


def _training(history: np.ndarray, config: Config, figure: Any) -> None:
    ax = figure.add_subplot()
    _lines(ax, (1 + np.arange(history.shape[2])) * (config.n_updates // config.epochs), history)
    ax.set(xlabel="updates", ylabel="share of mazes solved", title="thin: networks; thick: their mean")


def _distance(seen: dict[Any, Any], config: Config, figure: Any) -> None:
    panels = figure.subplots(1, 2, sharey=True)
    for ax, name, text in zip(panels, ("steps", "solved"), ("moves right", "mazes solved"), strict=True):
        rows = [[seen[kind, i]["by_distance"] for i in range(config.n_networks)] for kind in KINDS]
        _lines(ax, rows[0][0]["distance"], np.array([[row[name] for row in kind] for kind in rows]))
        ax.axvline(config.route + 0.5, color="0.6", ls=":")
        ax.set(xlabel="moves to the goal", ylabel=f"share of {text}", title="dotted: length of the answer")
    panels[1].legend().remove()


def _along(seen: dict[str, Any], figure: Any) -> None:
    along = seen["examples"]["along"]
    panels = np.atleast_1d(figure.subplots(1, along.shape[1], sharey=True))
    for head, ax in enumerate(panels):
        image = ax.imshow(along[:, head].T, origin="lower", aspect="auto", vmin=0.0, vmax=along.max(),
                          extent=(0.5, len(along) + 0.5, -0.5, along.shape[2] - 0.5))
        ax.set(xlabel="tick", title=f"head {head}")
        ax.set_yticks(range(along.shape[2]))
    panels[0].set_ylabel("cell of the way, from start to goal")
    figure.colorbar(image, ax=panels, label=f"attention, mean over mazes of {along.shape[2] - 1} moves")


def _mazes(seen: dict[str, Any], config: Config, figure: Any) -> None:
    shown, head = seen["examples"], walking_head(seen["walk"]["advance"])
    panels = figure.subplots(2, 2)
    for i, ax in enumerate(panels.flat):
        draw_maze(ax, shown["symbols"][i], config.n_cells)
        points = draw_path(ax, shown["weights"][i, :, head], shown["cells"][i], config.n_cells)
    figure.colorbar(points, ax=panels, label="tick", ticks=range(1, config.n_ticks + 1))
    figure.suptitle(f"grey: the way; points: centre of the attention of head {head}")


def main() -> None:
    """Run this experiment with the arguments of the command line."""
    sys.exit(cli.main(["ctm_maze_small", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
