"""Tables, claims, arrays and figures of the experiments on bits."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from dynlab import plots
from experiments._bits import FIRST_N
from experiments.contract import Claim, Result, Table, Variable, near, within

PAPER = "arXiv:2309.12927, published results"
PUBLISHED_EPOCHS = {"cumulative": {12: 12}, "single": {6: 5, 8: 10, 10: 15, 12: 24}}
PUBLISHED_TAU = {"cumulative": 1.389, "single": 1.433}  # mean at N = 11, seed 0


def is_published(config: Any) -> bool:
    """Whether the training is the published one, so that its numbers are expected."""
    same = {"task": "parity", "model": "leaky", "n_units": 500, "tau": 0.0, "placement": "outside", "n_updates": 600,
            "batch": 256, "optimiser": "sgd", "learning_rate": 0.05, "clip": 2.0}
    return config.curriculum in PUBLISHED_EPOCHS and all(getattr(config, k) == v for k, v in same.items())


def solved_in(fit: Any) -> np.ndarray:
    """(S, K) epochs in which N = 2, 3, ... was solved, NaN where it was not."""
    solved = np.asarray(fit.stage.curriculum.solved, float)
    return np.where(solved < 0, np.nan, solved)


def claims_of(config: Any, fit: Any, rows: list[dict[str, Any]]) -> list[Claim]:
    """What is expected of this configuration."""
    solved = solved_in(fit)
    reached = np.sum(np.isfinite(solved), axis=1) + (FIRST_N - 1 if config.curriculum != "none" else 0)
    out = [within("smallest N reached by a network", "the curriculum", config.max_n, config.max_n,
                  float(reached.min()))]
    if not is_published(config):
        return out
    for n, epochs in PUBLISHED_EPOCHS[config.curriculum].items():
        if n <= config.max_n:
            got = float(np.mean(solved[:, n - FIRST_N]))  # a network that did not get there makes it NaN: not held
            name = f"epochs to solve N = {n}, mean of the networks (published: {epochs}, one network)"
            out.append(within(name, PAPER, epochs / 1.25, epochs * 1.25, got))
    taus = [row["tau"].mean() for row in rows if row["n"] == 11]
    if taus:
        out.append(near("mean tau at N = 11", PAPER, PUBLISHED_TAU[config.curriculum], float(np.mean(taus)), 0.05))
    for row in (row for row in rows if row["last"] and row["n"] >= 30 and "short" in row):
        worse = row["short"] - row["long"]  # single-head: long ones matter; multi-head: short ones
        low, high = (0.0, math.inf) if config.curriculum == "single" else (-math.inf, 0.0)
        out.append(within(f"network {row['network']}: relative accuracy without short less without long units", PAPER,
                          low, high, worse))
    return out


def _epoch_table(config: Any, fit: Any) -> Table:
    solved = solved_in(fit)
    names = [f"network {config.first_network + i}" for i in range(solved.shape[0])]
    published = PUBLISHED_EPOCHS.get(config.curriculum, {}) if is_published(config) else {}
    rows = [(FIRST_N + k, *solved[:, k], published.get(FIRST_N + k, math.nan)) for k in range(solved.shape[1])]
    return Table("Epochs until N was solved", ("N", *names, "published (seed 0)"), rows)


def _timescale_table(rows: list[dict[str, Any]]) -> Table:
    columns = ("network", "N", "mean tau", "sd", "mean tau of activity", "sd", "radius of W", "radius with leak",
               "components for 90 %")
    cells = [(r["network"], r["n"], r["tau"].mean(), r["tau"].std(ddof=1), _mean(r["tau_net"]), _sd(r["tau_net"]),
              r["radius"], r["modulus"], r["n_components"]) for r in rows]
    return Table("Timescales, in steps", columns, cells, "activity: slower exponential picked by AIC, values above 1")


def _damage_table(rows: list[dict[str, Any]]) -> Table:
    names = {"accuracy": "accuracy, p = 1/2", "short": "without a short-tau unit", "long": "without a long-tau unit",
             "tau_long": "mean tau of the long", "half_weights": "half damage, weights", "half_tau": "half damage, tau",
             "exponent": "exponent", "fixed_points_0": "fixed points at 0", "fixed_points_1": "at 1"}
    cells = [(r["network"], r["n"], *(r.get(name, math.nan) for name in names)) for r in rows if r["last"]]
    return Table("The trained networks", ("network", "N", *names.values()), cells,
                 "relative accuracy without one unit, mean of 20; half damage: size of a random move")


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def _sd(values: np.ndarray) -> float:
    return float(np.nanstd(values, ddof=1)) if np.sum(np.isfinite(values)) > 1 else math.nan


def _draw_training(history: dict[str, np.ndarray], figure: Any) -> None:
    axes = figure.subplots(1, 3 if "tau_mean" in history else 2, squeeze=False)[0]
    figure.set_size_inches(4.2 * len(axes), 3.6)
    plots.learning_curve(history["n"], ylabel="N trained", ax=axes[0])
    plots.learning_curve(history["newest"], ylabel="accuracy at N", target=0.98, target_label="solved", ax=axes[1])
    if "tau_mean" in history:
        plots.learning_curve(history["tau_mean"], ylabel="mean time constant (steps)", ax=axes[2])


def _draw_timescales(rows: list[dict[str, Any]], figure: Any) -> None:
    left, right = figure.subplots(1, 2)
    figure.set_size_inches(9.0, 3.8)
    measures = {"time constants": lambda r: r["tau"].mean(), "activity": lambda r: _mean(r["tau_net"])}
    for style, (label, measure) in zip(("o-", "s--"), measures.items(), strict=True):
        for i, network in enumerate(sorted({r["network"] for r in rows})):
            own = [r for r in rows if r["network"] == network]
            left.plot([r["n"] for r in own], [measure(r) for r in own], style, color=plots.style.COLORS[i % 7],
                      label=label if i == 0 else None)
    left.set(xlabel="N", ylabel="mean timescale (steps)")
    left.legend(frameon=False)
    last = [r for r in rows if r["last"]]
    for i, r in enumerate(last):
        right.hist(r["tau"], bins=30, histtype="step", color=plots.style.COLORS[i % 7], label=f"network {r['network']}")
    right.set(xlabel="time constant of a unit (steps)", ylabel="units", title=f"at N = {last[0]['n']}" if last else "")
    if last:
        right.legend(frameon=False)


def summarise(config: Any, fit: Any, rows: list[dict[str, Any]]) -> Result:
    """The result of an experiment on bits."""
    solved, history = solved_in(fit), fit.history
    networks = config.first_network + np.arange(config.n_networks)
    data = {"solved": Variable(("network", "n"), solved, "epochs", "epoch in which N was solved"),
            "accuracy": Variable(("epoch", "network", "n"), history["accuracy"], "1", "test accuracy after an epoch"),
            "newest_n": Variable(("epoch", "network"), history["n"], "1", "largest N trained in an epoch"),
            "loss": Variable(("update", "network"), fit.loss.reshape(-1, config.n_networks), "1", "loss of an update")}
    for name in ("tau_mean", "tau_sd"):
        if name in history:
            data[name] = Variable(("epoch", "network"), history[name], "steps", f"{name} over the units")
    if rows:
        data |= {
            "tau": Variable(("case", "unit"), np.stack([r["tau"] for r in rows]), "steps", "time constant"),
            "tau_net": Variable(("case", "unit"), np.stack([r["tau_net"] for r in rows]), "steps", "of the activity"),
            "acf": Variable(("case", "lag", "unit"), np.stack([r["acf"] for r in rows]), "1", "autocorrelation"),
            "case_network": Variable(("case",), [r["network"] for r in rows], "1", "network of a case"),
            "case_n": Variable(("case",), [r["n"] for r in rows], "1", "N of a case"),
        }
    last = [r for r in rows if r["last"]]
    for what in ("weights", "tau"):
        if last and f"relative_{what}" in last[0]:
            data[f"relative_{what}"] = Variable(
                ("trained", f"size_{what}"), np.stack([r[f"relative_{what}"] for r in last]), "1",
                "relative accuracy after a random move")
    coords = {"network": Variable(("network",), networks, "1", "index of a network"),
              "n": Variable(("n",), FIRST_N + np.arange(solved.shape[1]), "bits", "N")}
    figures = {f"network_{r['network']}_{name}": float(value) for r in last for name, value in r.items()
               if isinstance(value, float)}
    for r in last:
        figures |= {f"network_{r['network']}_retrained_{n}": a for n, a in r.get("retrained", {}).items()}
    reached = np.sum(np.isfinite(solved), axis=1) + FIRST_N - 1
    figures |= {"epochs": float(fit.epochs), "smallest_n": float(reached.min()), "largest_n": float(reached.max())}
    plot_of = {"training": partial(_draw_training, history)}
    if rows:
        plot_of["timescales"] = partial(_draw_timescales, rows)
    tables = [_epoch_table(config, fit), *([_timescale_table(rows), _damage_table(rows)] if rows else [])]
    text = f"{config.curriculum} {config.task}: N = {', '.join(str(int(n)) for n in reached)} after {fit.epochs} epochs"
    return Result(figures, claims_of(config, fit, rows), tables, data, coords, plot_of, text)
