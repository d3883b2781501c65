"""Does a Continuous Thought Machine read digits as the authors' tutorial says, and may it stop early when certain?

Two convolutional blocks make 7 by 7 tokens of an image; a thought machine attends to them for 30 ticks. Sizes and
training are those of the first published form of the tutorial (Darlow et al., "Continuous Thought Machines", NeurIPS
2025, arXiv:2505.05522; examples/01_mnist.ipynb): batches of 64 drawn anew, pixels from 0 to 1, AdamW at 1e-4 without
warm-up, decay of the rate or clipping, 2,000 updates. It prints a test accuracy of 0.893 (its last test is after 1,901
updates); the later form, larger and with distorted images, is another experiment.

Then each digit stops at its first tick of enough certainty: accuracy against mean ticks. A light network in pull
request 44 of the authors' repository, another one than this, loses nothing (92.69 %) at 19.42 of 30 ticks.

Different here: moments of batch normalisation are those of training images and no running averages, a batch may hold an
image twice, and the certainty that is enough is chosen on training images.
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

from dynlab import check, model_size, plots
from dynlab.analysis.calibration import calibration_curve
from dynlab.analysis.thought import early_exit_curve, prediction_modes, thinking_time, tick_accuracy
from dynlab.keys import named
from experiments import cli
from experiments._digits import (
    DATASETS,
    DigitLoss,
    DigitMachine,
    Digits,
    DigitTest,
    Network,
    answers,
    load,
    model_of,
    train_network,
)
from experiments._thoughts import train_all
from experiments.contract import Progress, Result, Table, Variable, near, quiet, within

Array = jax.Array
SOURCE = "the authors' examples/01_mnist.ipynb, first form"
EXIT = "pull request 44 of the authors' repository, of another network"
PUBLISHED = 0.893
LOSS = 0.003  # share of the digits that stopping early may cost
THRESHOLDS = np.round(np.linspace(0.0, 1.0, 101), 2)
SHOWN = (0.5, 0.7, 0.9)
MODES = ("most certain", "last", "mean of logits", "weighted mean")


@dataclass(frozen=True)
class Config:
    """What is run; every value can be set on the command line."""

    dataset: str = "mnist"
    """"mnist", "fashion_mnist", or "noise": random pixels with random labels, to try the program without data."""
    n_ticks: int = 30
    """Ticks of thought."""
    n_history: int = 15
    """Ticks of history."""
    n_units: int = 128
    """Units."""
    n_attention: int = 32
    """Width of the attention, and channels of both convolutional blocks."""
    n_heads: int = 1
    """Of the attention."""
    n_sync: int = 16
    """Units all pairs of which are read, for the answer and for the attention."""
    n_hidden: int = 8
    """Hidden units of each private network."""
    n_networks: int = 3
    """Networks."""
    n_updates: int = 2000
    """Updates."""
    batch: int = 64
    """Images in a batch."""
    learning_rate: float = 1e-4
    """Of AdamW."""
    weight_decay: float = 0.01
    """Of AdamW; PyTorch's default."""
    epochs: int = 10
    """How often it is tested and saved."""
    n_known: int = 10_000
    """Training images that give the moments of batch normalisation and the certainty to stop at."""
    n_test: int = 10_000
    """Test images."""

    @staticmethod
    def smoke() -> Config:
        """A tiny network on noise, a few updates: seconds."""
        return Config(dataset="noise", n_ticks=5, n_history=3, n_units=24, n_attention=4, n_sync=4, n_hidden=2,
                      n_networks=1, n_updates=20, batch=8, epochs=2, n_known=40, n_test=40)


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    check.choice("dataset", config.dataset, DATASETS)
    for name in ("n_ticks", "n_networks", "n_updates", "batch", "n_hidden", "n_known", "n_test"):
        check.integer(name, getattr(config, name), 1)
    check.integer("epochs", config.epochs, 1, config.n_updates)
    check.number("learning_rate", config.learning_rate, 0.0, low_open=True)
    check.number("weight_decay", config.weight_decay, 0.0)
    jax.eval_shape(model_of(config).init, jax.random.key(0))


def run(config: Config, key: Array, progress: Progress = quiet, folder: Path | None = None) -> Result:
    """Train, going on from the folder, and test."""
    model, (known, test) = model_of(config), load(config, named(key, "data"))
    some = Digits(known.images[: config.n_known], known.labels[: config.n_known])
    loss = DigitLoss(model, known, n_ticks=config.n_ticks, batch=config.batch)
    score = DigitTest(model, some.images, test, n_ticks=config.n_ticks)
    jobs = {index: partial(train_network, config, loss, score, jax.random.fold_in(named(key, "train"), index),
                           None if folder is None else folder / "trained" / str(index))
            for index in range(config.n_networks)}
    fits = train_all(jobs, progress)
    rows = [measure(config, model, fits[i].params, some, test) for i in range(config.n_networks)]
    return summarise(config, model, rows, np.stack([fits[i].history["accuracy"] for i in range(config.n_networks)]))


def measure(config: Config, model: DigitMachine, params: Network, some: Digits, test: Digits) -> dict[str, Any]:
    """One network: all answers on test images, and early exit at the certainty that is enough on training images."""
    moments = model.backbone.moments(params.backbone, some.images)
    ask = lambda digits: answers(model, params, moments, digits.images, n_ticks=config.n_ticks)  # noqa: E731
    (known, sure), (logits, certainty) = ask(some), ask(test)
    modes = prediction_modes(logits, certainty)
    score = lambda read: float(jnp.mean(jnp.argmax(read[:, -1], axis=-1) == test.labels))  # noqa: E731
    time = thinking_time(logits, certainty, test.labels)
    few = model.think(params, test.images[:6], config.n_ticks, moments, record=("attention",))
    return {
        "modes": [score(read) for read in (modes.most_certain, modes.at_tick, modes.mean, modes.weighted)],
        "by_tick": np.asarray(tick_accuracy(logits, test.labels).by_tick), "certainty": np.asarray(certainty),
        "exit": early_exit_curve(logits, certainty, test.labels, THRESHOLDS),
        "enough": enough(early_exit_curve(known, sure, some.labels, THRESHOLDS)),
        "calibration": calibration_curve(logits, test.labels),
        "settled": 1.0 + float(jnp.mean(time.settled)), "most_certain": 1.0 + float(jnp.mean(time.most_certain)),
        "images": np.asarray(test.images[:6, :, :, 0]), "attention": np.asarray(few.records["attention"]),
        "right": np.asarray(jnp.argmax(modes.most_certain[:6, -1], axis=-1) == test.labels[:6]),
    }


def enough(curve: Any) -> int:
    """Index of the threshold with the fewest mean ticks that costs at most LOSS against never stopping early."""
    accuracy, ticks = np.asarray(curve.accuracy, float), np.asarray(curve.ticks, float)
    allowed = accuracy >= accuracy[-1] - LOSS - 1e-6
    return int(np.argmin(np.where(allowed, ticks, math.inf)))


def summarise(config: Config, model: DigitMachine, rows: list[dict[str, Any]], history: np.ndarray) -> Result:
    """Tables, claims, arrays and figures."""
    modes = np.array([row["modes"] for row in rows])
    stops = [row["enough"] for row in rows]
    ticks = np.array([np.asarray(row["exit"].ticks) for row in rows])
    accuracy = np.array([np.asarray(row["exit"].accuracy) for row in rows])
    last = modes[:, MODES.index("last")]
    stopped = accuracy[np.arange(len(rows)), stops]
    cost = last - stopped
    saved = 1.0 - ticks[np.arange(len(rows)), stops] / config.n_ticks
    own, by_tick = float(modes[:, 0].mean()), np.stack([row["by_tick"] for row in rows])
    claims = [] if config.dataset != "mnist" else [
        near(f"test accuracy at the most certain tick, mean of the networks, {config.n_updates:,} updates", SOURCE,
             PUBLISHED, own, 0.02),
        within("points below the last tick by stopping early, largest of the networks", EXIT, -math.inf, 100 * LOSS,
               float(100 * cost.max())),
        within("share of the ticks saved by it, smallest of the networks", EXIT, 0.3, math.inf, float(saved.min()))]
    error = float(np.mean([row["calibration"].error[-1] for row in rows]))
    return Result(
        figures={"accuracy": own, **{f"accuracy {mode}": float(modes[:, i].mean()) for i, mode in enumerate(MODES)},
                 "exit_cost": float(cost.mean()), "exit_saved": float(saved.mean()), "calibration_error": error,
                 "exit_below_most_certain": float(np.mean(modes[:, 0] - stopped)),
                 "mean_settled_tick": float(np.mean([row["settled"] for row in rows])),
                 "mean_most_certain_tick": float(np.mean([row["most_certain"] for row in rows])),
                 "parameters": float(model_size(model))},
        claims=claims, tables=tables_of(config, rows, modes, ticks, accuracy),
        data={"accuracy": Variable(("network", "mode"), modes, "1", "test accuracy"),
              "by_tick": Variable(("network", "tick"), by_tick, "1", "test accuracy after each tick"),
              "training": Variable(("network", "epoch"), history, "1", "test accuracy at the most certain tick"),
              "exit_ticks": Variable(("network", "threshold"), ticks, "ticks", "mean ticks with early exit"),
              "exit_accuracy": Variable(("network", "threshold"), accuracy, "1", "test accuracy with early exit")},
        coords={"network": Variable(("network",), np.arange(len(rows)), "1", "index of the network"),
                "mode": Variable(("mode",), np.asarray(MODES), "1", "how the answer is read from the ticks"),
                "tick": Variable(("tick",), 1 + np.arange(config.n_ticks), "ticks", "of thought"),
                "threshold": Variable(("threshold",), THRESHOLDS, "1", "least certainty to stop at")},
        plots={"ticks": lambda figure: plots.tick_curves(by_tick, rows[0]["certainty"], chance=0.1,
                                                         ax=figure.add_subplot()),
               "early_exit": partial(_exits, config, ticks, accuracy, stops), "training": partial(_training, config,
                                                                                                  history),
               "calibration": partial(_calibration, rows[0]["calibration"]), "gaze": partial(_gaze, rows[0])},
        headline=f"test accuracy {own:.4f}; {100 * saved.mean():.0f} % of the ticks saved for "
                 f"{100 * cost.mean():.2f} points",
    )


def tables_of(
    config: Config, rows: list[dict[str, Any]], modes: np.ndarray, ticks: np.ndarray, accuracy: np.ndarray
) -> list[Table]:
    """Ways to read the answer; early exit."""
    networks = [f"network {i}" for i in range(len(rows))]
    read = [(mode, modes[:, i].mean(), *modes[:, i]) for i, mode in enumerate(MODES)]
    exits: list[tuple[Any, ...]] = []
    columns = [(f"{t:.2f}", [int(np.argmin(np.abs(THRESHOLDS - t)))] * len(rows)) for t in SHOWN]
    for label, places in [*columns, ("chosen", [row["enough"] for row in rows])]:
        for i, at in enumerate(places):
            name = label if label != "chosen" else f"{THRESHOLDS[at]:.2f} (chosen)"
            below = [100 * (modes[i, MODES.index(mode)] - accuracy[i, at]) for mode in ("last", "most certain")]
            exits.append((name, networks[i], ticks[i, at], accuracy[i, at], *below))
    return [Table(f"Test accuracy on {config.dataset}, {config.n_test:,} images, {config.n_updates:,} updates",
                  ("answer", "mean", *networks), read, "from all ticks"),
            Table(f"Stopping at the first certain tick of {config.n_ticks}",
                  ("least certainty", "network", "mean ticks", "accuracy", "points below the last tick",
                   "below the most certain"), exits,
                  "chosen: on training images, for at most 0.3 points below the last tick there")]


def _exits(config: Config, ticks: np.ndarray, accuracy: np.ndarray, stops: list[int], figure: Any) -> None:
    ax = figure.add_subplot()
    plots.early_exit({f"network {i}": (t, a) for i, (t, a) in enumerate(zip(ticks, accuracy, strict=True))},
                     n_ticks=config.n_ticks, ax=ax)
    for i, at in enumerate(stops):
        ax.plot(ticks[i, at], accuracy[i, at], "*", ms=13, color="black", mfc="none",
                label=None if i else "certainty chosen on training images")
    ax.legend(frameon=False)


def _training(config: Config, history: np.ndarray, figure: Any) -> None:
    ax = figure.add_subplot()
    updates = (1 + np.arange(history.shape[1])) * (config.n_updates // config.epochs)
    for i, row in enumerate(history):
        ax.plot(updates, row, marker="o", ms=3, label=f"network {i}")
    if config.dataset == "mnist":
        ax.axhline(PUBLISHED, ls="--", color="0.4", lw=1, label="published")
    ax.legend(frameon=False)
    ax.set(xlabel="updates", ylabel="test accuracy", ylim=(0.0, 1.0))


def _calibration(curve: Any, figure: Any) -> None:
    plots.reliability_diagram(curve.confidence[-1], curve.accuracy[-1], curve.count[-1], error=curve.error[-1],
                              ax=figure.add_subplot())


def _gaze(row: dict[str, Any], figure: Any) -> None:
    """Attention, mean of the heads, laid over some images at some ticks."""
    attention = row["attention"].mean(axis=2)  # (images, T, N)
    chosen = np.unique(np.linspace(0, attention.shape[1] - 1, 8).astype(int))
    side = int(np.sqrt(attention.shape[2]))
    figure.set_size_inches(1.0 * len(chosen) + 0.4, 1.0 * len(attention) + 0.5)
    panels = figure.subplots(len(attention), len(chosen), squeeze=False)
    for i, axes in enumerate(panels):
        for tick, ax in zip(chosen, axes, strict=True):
            ax.imshow(row["images"][i], cmap="gray_r", extent=(0, side, side, 0))
            ax.imshow(attention[i, tick].reshape(side, side), cmap="inferno", alpha=0.6, vmin=0.0,
                      vmax=attention[i].max(), extent=(0, side, side, 0))
            ax.set_xticks([])
            ax.set_yticks([])
            if not i:
                ax.set_title(f"tick {1 + tick}", fontsize=8)
        axes[0].set_ylabel("right" if row["right"][i] else "wrong", fontsize=8)


def main() -> None:
    """Run this experiment with the arguments of the command line."""
    sys.exit(cli.main(["ctm_mnist", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
