"""The figures of the experiments on E/I reservoirs."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynlab import plots
from experiments._ei_statistics import HIGHER, TITLES

COLORS = plots.COLORS


def overview(config: Any, values: Any, example: Any, figure: Any) -> None:
    """Performance against the global balance with the adapted networks beside it; balance and rates of one network."""
    figure.set_size_inches(11.0, 7.4)
    panels = figure.subplots(2, 2)
    for ax, name, letter in ((panels[0, 0], "memory", "a"), (panels[0, 1], "narma", "b")):
        _against_balance(ax, config, values, name)
        ax.set_title(f"({letter}) {TITLES[name]}", loc="left")
    _distributions(panels[1, 0], example)
    _rates(panels[1, 1], example)


def _against_balance(ax: Any, config: Any, values: Any, name: str) -> None:
    """Means over seeds with standard deviations; dashed: the better of the adapted networks at that input scaling."""
    for i, scaling in enumerate(config.input_scalings):
        found, color = values["global"][name][i], COLORS[i % len(COLORS)]
        mean, spread = found.mean(-1), found.std(-1)
        ax.fill_between(config.balances, mean - spread, mean + spread, color=color, alpha=0.2, lw=0)
        ax.plot(config.balances, mean, "o-", ms=3.5, lw=1.5, color=color, label=f"input scaling {scaling:g}")
        adapted = values["design"][name][i].mean(-1)
        ax.axhline(adapted.max() if HIGHER[name] else adapted.min(), color=color, ls="--", lw=1.3)
    ax.plot([], [], "--", color="0.3", lw=1.3, label="best adapted network")
    ax.axvline(0.0, color="0.6", lw=0.8)
    ax.set_xlabel("global balance of excitation and inhibition")
    ax.set_ylabel(TITLES[name])
    ax.set_ylim(0.0, None if HIGHER[name] else 1.2)
    ax.legend(frameon=False, fontsize=plots.LABEL_SIZE - 2, loc="upper left" if HIGHER[name] else "upper center",
              bbox_to_anchor=(0.0, 0.92) if HIGHER[name] else None)


def _distributions(ax: Any, example: Any) -> None:
    """Balance of the units before and after."""
    series = {"before": "balance_before", "equal targets": "balance_equal", "drawn targets": "balance_mixed"}
    low, high = np.percentile(np.concatenate([example[key] for key in series.values()]), [0.5, 99.5])
    edges = np.linspace(low, high, 41)
    for index, (label, key) in enumerate(series.items()):
        ax.hist(example[key], edges, histtype="step", lw=1.6, color=COLORS[index], label=label)
    ax.set_xlabel(r"balance of a unit, $\beta_i$")
    ax.set_ylabel("units")
    ax.set_yscale("log")
    ax.set_title("(c) balance before and after adaptation", loc="left")
    ax.legend(frameon=False, fontsize=plots.LABEL_SIZE - 2)


def _rates(ax: Any, example: Any) -> None:
    """Mean rates against drawn targets, before and after."""
    ax.plot([0, 1], [0, 1], color="0.6", lw=0.8)
    ax.plot(example["targets_mixed"], example["rates_before"], ".", ms=4, color=COLORS[0], alpha=0.5, label="before")
    ax.plot(example["targets_mixed"], example["rates_mixed"], ".", ms=4, color=COLORS[2], label="adapted")
    ax.set_xlabel("target rate")
    ax.set_ylabel("mean rate")
    ax.set_title("(d) rates against drawn targets", loc="left")
    ax.set_xlim(0.0, 1.0)
    ax.legend(fontsize=plots.LABEL_SIZE - 2, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def dynamics(config: Any, found: Any, figure: Any) -> None:
    """Exponent, timescale and capacity by degree of the networks compared."""
    figure.set_size_inches(11.0, 4.2)
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1.5), sharey=True)
    at, names = np.arange(len(found))[::-1], list(found)
    for ax, name, label in ((panels[0], "exponent", "largest exponent (nats / step)"),
                            (panels[1], "timescale", "timescale (steps)")):
        for y, one in zip(at, found.values(), strict=True):
            ax.plot(one[name], np.full(one[name].size, y), "o", ms=4, color=COLORS[0], alpha=0.6)
            ax.plot(one[name].mean(), y, "|", ms=16, mew=2, color="0.1")
        ax.set_xlabel(label)
    panels[0].axvline(0.0, color="0.6", lw=0.8)
    panels[0].set_yticks(at, names)
    panels[0].set_ylim(-0.6, len(found) - 0.4)
    left = np.zeros(len(found))
    shades = plots.degree_shades(len(config.max_delays))
    for degree, shade in enumerate(shades):
        part = np.array([one["capacity"][:, degree].mean() for one in found.values()])
        panels[2].barh(at, part, left=left, color=shade, label=f"degree {degree + 1}", height=0.6)
        left += part
    panels[2].set_xlabel("information processing capacity")
    panels[2].legend(frameon=False, fontsize=plots.LABEL_SIZE - 2, ncols=len(shades), loc="upper center",
                     bbox_to_anchor=(0.5, 1.14), columnspacing=1.0, handlelength=1.2)


def search(config: Any, rows: Any, figure: Any) -> None:
    """The largest improvement over the targets in every setting: a panel a measure and in-degree."""
    names = [name for name in HIGHER if any(row[0] == name for row, _ in rows)]
    figure.set_size_inches(2.6 * len(config.in_degrees) + 1.6, 2.1 * len(names) + 0.8)
    panels = figure.subplots(len(names), len(config.in_degrees), sharex=True, sharey=True, squeeze=False)
    for i, name in enumerate(names):
        for j, degree in enumerate(config.in_degrees):
            best = np.full((len(config.gains), len(config.input_scalings)), np.nan)
            for (measure, k, gain, scaling, *_), found in rows:
                if measure == name and k == degree:
                    at = config.gains.index(gain), config.input_scalings.index(scaling)
                    best[at] = np.fmax(best[at], found.improvement)
            ax = panels[i, j]
            ax.imshow(best, cmap="RdBu", vmin=-130.0, vmax=130.0, aspect="auto")
            for (y, x), value in np.ndenumerate(best):
                shown = "" if np.isnan(value) else f"{value:+.0f}" if value > -1000 else "< -999"
                ax.text(x, y, shown, ha="center", va="center",
                        fontsize=plots.LABEL_SIZE - 2, color="white" if abs(value) > 80 else "black")
            ax.set_xticks(range(len(config.input_scalings)), [f"{value:g}" for value in config.input_scalings])
            ax.set_yticks(range(len(config.gains)), [f"{value:g}" for value in config.gains])
            if i == 0:
                ax.set_title(f"in-degree {degree:g}")
            if i == len(names) - 1:
                ax.set_xlabel("input scaling")
            if j == 0:
                ax.set_ylabel(f"{TITLES[name]}\ngain", fontsize=plots.LABEL_SIZE - 1)
    figure.suptitle("largest improvement over the best global balance (%)")
