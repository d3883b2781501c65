"""Figures of a thought: accuracy by tick and position, attention, traces of units, early exit, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dynlab.plots.style import COLORS, LABEL_SIZE, MARKERS, _axes, _finish, _labelled, _name

STYLES = ("-", "--", "-.", ":")


def position_accuracy(accuracy: Any, *, chance: float = 0.0, title: str | None = None, ax: Any = None) -> Any:
    """Accuracy of each position of an answer after each tick, as a heat map.

    Args:
        accuracy: (T, positions), between 0 and 1; more axes of positions are laid out in a row.
        chance: the lower end of the colours; what is below it has the same colour.
        title: over the axes.
        ax: axes to draw on.
    """
    values = np.asarray(accuracy, dtype=float)
    if values.ndim < 2 or values.size == 0:
        raise ValueError(f"accuracy must have shape (ticks, positions), got {values.shape}")
    if not 0.0 <= chance < 1.0:
        raise ValueError(f"chance must be in [0, 1), got {chance}")
    return _map(values.reshape(len(values), -1).T, "position", "accuracy", (chance, 1.0), title, _axes(ax))


def attention_map(
    weights: Any, *, head: int | None = None, centre: bool = False, title: str | None = None, ax: Any = None
) -> Any:
    """Attention weights of one sample over the ticks, as a heat map.

    Args:
        weights: (T, heads, N), or (T, N). head: which head; None takes the mean over heads.
        centre: draws the centre of mass of what is shown.
        title: over the axes.
        ax: axes to draw on.
    """
    values = np.asarray(weights, dtype=float)
    if values.ndim not in (2, 3) or values.size == 0:
        raise ValueError(f"weights must have shape (ticks, heads, tokens) or (ticks, tokens), got {values.shape}")
    if head is not None and (values.ndim != 3 or not 0 <= head < values.shape[1]):
        raise ValueError(f"head must be below the number of heads of weights {values.shape}, got {head}")
    if values.ndim == 3:
        values = values.mean(axis=1) if head is None else values[:, head]
    ax = _map(values.T, "token", "attention", (0.0, float(values.max())), title, _axes(ax))
    if centre:
        middle = values @ np.arange(values.shape[1]) / values.sum(axis=1)
        ax.plot(1 + np.arange(len(values)), middle, color=COLORS[1], lw=1.8, label="centre of mass")
        ax.legend(frameon=True, fontsize=LABEL_SIZE - 2)
    return ax


def attention_heads(weights: Any, *, columns: int = 4, title: str | None = None, figure: Any = None) -> Any:
    """A small heat map for each head, all in the same colours.

    Args:
        weights: (T, heads, N). columns: panels in a row. title: over the figure.
        figure: matplotlib figure to draw on; a new one when None.

    Returns:
        The axes, an array of `heads` of them.
    """
    values = np.asarray(weights, dtype=float)
    if values.ndim != 3 or values.size == 0:
        raise ValueError(f"weights must have shape (ticks, heads, tokens), got {values.shape}")
    panels = _grid(values.shape[1], columns, title, figure, (2.2, 1.8))
    image = None
    for head, ax in enumerate(panels):
        image = _image(ax, values[:, head].T, 0.0, values.max())
        ax.set_title(f"head {head}", fontsize=LABEL_SIZE - 2)
    bar = panels[0].figure.colorbar(image, ax=list(panels), label="attention")
    bar.ax.yaxis.label.set_fontsize(LABEL_SIZE - 1)
    _outer_labels(panels, columns, "tick", "token")
    return panels


def tick_curves(
    accuracy: Any,
    certainty: Any = None,
    *,
    chance: float | None = None,
    ylabel: str = "accuracy",
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """Accuracy and certainty after each tick, counted from 1.

    Args:
        accuracy: (T,) or (seeds, T): the median, with a band from smallest to largest; or label -> such an array.
        certainty: (T,) or (samples, T): the mean, with a band from the 10th to the 90th percentile, in grey; both run
            from 0 to 1.
        chance: draws a horizontal line.
        ylabel: name of the accuracy.
        title: over the axes.
        ax: axes to draw on.
    """
    series = {label: np.atleast_2d(np.asarray(values, dtype=float)) for label, values in _labelled(accuracy).items()}
    for label, values in series.items():
        if values.ndim != 2 or values.size == 0:
            raise ValueError(f"{_name('accuracy', label)} must have shape (ticks,) or (seeds, ticks), got "
                             f"{values.shape}")
    ax = _axes(ax)
    if certainty is not None:
        sure = np.atleast_2d(np.asarray(certainty, dtype=float))
        if sure.ndim != 2 or sure.size == 0:
            raise ValueError(f"certainty must have shape (ticks,) or (samples, ticks), got {sure.shape}")
        ticks = 1 + np.arange(sure.shape[1])
        if len(sure) > 1:
            low, high = np.percentile(sure, [10, 90], axis=0)
            ax.fill_between(ticks, low, high, color="0.5", alpha=0.2, lw=0)
        ax.plot(ticks, sure.mean(axis=0), color="0.45", lw=1.6, ls=(0, (4, 2)), label="certainty")
    for index, (label, values) in enumerate(series.items()):
        ticks = 1 + np.arange(values.shape[1])
        color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
        if len(values) > 1:
            ax.fill_between(ticks, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, lw=0)
        ax.plot(ticks, np.median(values, axis=0), STYLES[index // len(COLORS) % 4], marker=marker, ms=3.5,
                markevery=max(1, ticks.size // 20), color=color, lw=1.6, label=label or ylabel)
    if chance is not None:
        ax.axhline(chance, color="0.6", ls=":", lw=1.2, label="chance")
    ax.set_ylim(-0.03, 1.03)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, fontsize=LABEL_SIZE - 2)
    return _finish(ax, "tick", f"{ylabel}, certainty" if certainty is not None else ylabel, title)


def unit_traces(
    z: Any,
    units: Sequence[int] | None = None,
    *,
    columns: int = 8,
    shared: bool = False,
    title: str | None = None,
    figure: Any = None,
) -> Any:
    """A grid of traces z_d(t), each unit in a panel of its own.

    Args:
        z: (T, D), or (samples, T, D): one thin line a sample, all in one colour.
        units: which units, in the order of the panels; the first 32 when None.
        columns: panels in a row.
        shared: True gives all panels the same vertical scale; otherwise each fills its panel, and the range is written
            into it.
        title: over the figure.
        figure: matplotlib figure to draw on; a new one when None.

    Returns:
        The axes, an array with one for each unit.
    """
    z = np.asarray(z, dtype=float)
    if z.ndim not in (2, 3) or z.size == 0:
        raise ValueError(f"z must have shape (ticks, units) or (samples, ticks, units), got {z.shape}")
    z = z[None] if z.ndim == 2 else z
    chosen = np.arange(min(32, z.shape[2])) if units is None else np.asarray(units)
    if chosen.ndim != 1 or chosen.size == 0 or chosen.min() < 0 or chosen.max() >= z.shape[2]:
        raise ValueError(f"units must be a sequence of numbers from 0 to {z.shape[2] - 1}, got {units!r}")
    panels = _grid(len(chosen), columns, title, figure, (1.5, 1.0))
    ticks = 1 + np.arange(z.shape[1])
    limits = np.array([z[..., chosen].min(), z[..., chosen].max()])
    for unit, ax in zip(chosen, panels, strict=True):
        ax.plot(ticks, z[:, :, unit].T, color=COLORS[0], lw=1.2 if len(z) == 1 else 0.6,
                alpha=1.0 if len(z) == 1 else max(0.15, 1.0 / len(z) ** 0.5))
        low, high = limits if shared else (z[:, :, unit].min(), z[:, :, unit].max())
        room = 0.08 * (high - low) or 0.5
        ax.set_ylim(low - room, high + room)
        ax.set_title(f"{unit}" if shared else f"{unit}: {low:.2g} to {high:.2g}", fontsize=7, pad=2)
        ax.set_yticks([])
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right", "left"]].set_visible(False)
        _integers(ax, y=False)
    _outer_labels(panels, columns, "tick", None)
    return panels


def early_exit(
    curves: Any, *, n_ticks: int | None = None, ylabel: str = "accuracy", title: str | None = None, ax: Any = None
) -> Any:
    """Accuracy against mean thinking time, along the thresholds of certainty.

    Args:
        curves: (mean ticks (K,), accuracy (K,)), or label -> such a pair.
        n_ticks: all ticks there are: the point of each curve with the most ticks is then told in the legend.
        ylabel: name of the accuracy.
        title: over the axes.
        ax: axes to draw on.
    """
    ax = _axes(ax)
    for index, (label, pair) in enumerate(_labelled(curves).items()):
        name = _name("curves", label)
        if len(pair) != 2:
            raise ValueError(f"{name} must be the pair (mean ticks, accuracy), got {len(pair)} parts")
        ticks, accuracy = (np.asarray(part, dtype=float) for part in pair)
        if ticks.ndim != 1 or ticks.shape != accuracy.shape or ticks.size == 0:
            raise ValueError(f"{name} must be two arrays of one shape (K,), got {ticks.shape} and {accuracy.shape}")
        order = np.argsort(ticks, kind="stable")
        ticks, accuracy = ticks[order], accuracy[order]
        text = label
        if n_ticks is not None:
            text = f"{label}: " if label else ""
            text += f"{accuracy[-1]:.3f} after {ticks[-1]:.3g} of {n_ticks} ticks"
        ax.plot(ticks, accuracy, STYLES[index // len(COLORS) % 4], marker=MARKERS[index % len(MARKERS)], ms=4,
                markevery=max(1, ticks.size // 25), color=COLORS[index % len(COLORS)], lw=1.6, label=text or None)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False, fontsize=LABEL_SIZE - 2)
    return _finish(ax, "mean number of ticks", ylabel, title)


def reliability_diagram(
    confidence: Any,
    accuracy: Any,
    count: Any = None,
    *,
    error: Any = None,
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """Accuracy against confidence by bins, with the diagonal of an honest network and the share of answers in each bin.

    Args:
        confidence, accuracy: (bins,), NaN for an empty bin; or label -> (bins,), the same labels in both.
        count: (bins,), or label -> (bins,): grey steps (lines for several) at the foot, as shares of all answers.
        error: the expected calibration error, for the legend: a number, or label -> number.
        title: over the axes.
        ax: axes to draw on.
    """
    series, others = _labelled(confidence), _labelled(accuracy)
    counts, errors = ({} if given is None else _labelled(given) for given in (count, error))
    if set(series) != set(others) or not set(counts) <= set(series) or not set(errors) <= set(series):
        raise ValueError(f"confidence, accuracy, count and error must have the same labels, got {sorted(series)}, "
                         f"{sorted(others)}, {sorted(counts)} and {sorted(errors)}")
    ax = _axes(ax, (4.8, 4.6))
    ax.plot([0, 1], [0, 1], color="0.5", ls="--", lw=1.2, zorder=1)
    for index, label in enumerate(series):
        conf, acc = (np.asarray(values[label], dtype=float) for values in (series, others))
        if conf.ndim != 1 or conf.shape != acc.shape or conf.size == 0:
            raise ValueError(f"{_name('accuracy', label)} must have shape (bins,) like confidence {conf.shape}, got "
                             f"{acc.shape}")
        color = COLORS[index % len(COLORS)]
        if label in counts:
            number = np.asarray(counts[label], dtype=float)
            if number.shape != conf.shape:
                raise ValueError(f"{_name('count', label)} must have shape {conf.shape}, got {number.shape}")
            share = number / max(number.sum(), 1.0)
            alone = len(series) == 1
            ax.stairs(share, np.linspace(0, 1, conf.size + 1), fill=alone, color="0.8" if alone else color, alpha=0.8,
                      zorder=0, label="share of answers" if index == 0 else None)
        text = f"error {float(errors[label]):.3f}" if label in errors else ""
        text = ": ".join(part for part in (label, text) if part)
        seen = np.isfinite(conf) & np.isfinite(acc)
        ax.plot(conf[seen], acc[seen], marker=MARKERS[index % len(MARKERS)], ms=5, color=color, lw=1.6,
                label=text or None, zorder=3)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    ax.set_aspect("equal", adjustable="box")
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False, fontsize=LABEL_SIZE - 2, loc="upper left")
    return _finish(ax, "confidence", "accuracy", title)


def _integers(ax: Any, *, y: bool = True) -> None:
    for axis in (ax.xaxis, ax.yaxis) if y else (ax.xaxis,):
        axis.get_major_locator().set_params(integer=True)


def _map(
    values: np.ndarray, ylabel: str, zlabel: str, limits: tuple[float, float], title: str | None, ax: Any
) -> Any:
    """A heat map (rows, T) with the ticks to the right, counted from 1."""
    if not np.isfinite(values).all():
        raise ValueError(f"{zlabel} must be finite, got {int((~np.isfinite(values)).sum())} NaN or infinite")
    image = _image(ax, values, *limits)
    ax.figure.colorbar(image, ax=ax).set_label(zlabel, fontsize=LABEL_SIZE)
    return _finish(ax, "tick", ylabel, title)


def _image(ax: Any, values: np.ndarray, low: float, high: float) -> Any:
    """(rows, T) in place: row 0 at the bottom, the first tick at 1."""
    rows, n_ticks = values.shape
    image = ax.imshow(values, origin="lower", aspect="auto", cmap="cividis", vmin=low, vmax=high,
                      interpolation="nearest", extent=(0.5, n_ticks + 0.5, -0.5, rows - 0.5))
    _integers(ax)
    return image


def _grid(count: int, columns: int, title: str | None, figure: Any, panel: tuple[float, float]) -> np.ndarray:
    """`count` axes in rows of `columns`, on `figure` or a new one."""
    if isinstance(columns, bool) or not isinstance(columns, (int, np.integer)) or columns < 1:
        raise ValueError(f"columns must be a positive integer, got {columns!r}")
    columns = min(int(columns), count)
    rows = -(-count // columns)
    if figure is None:
        first = _axes(None, (panel[0] * columns + 0.8, panel[1] * rows + 0.6))
        figure = first.figure
        first.remove()
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for ax in panels[count:]:
        ax.remove()
    if title:
        figure.suptitle(title, fontsize=LABEL_SIZE + 1)
    return panels[:count]


def _outer_labels(panels: np.ndarray, columns: int, xlabel: str, ylabel: str | None) -> None:
    """Names of the axes below the lowest panel of each column and left of each row."""
    columns = min(columns, len(panels))
    for index, ax in enumerate(panels):
        if index + columns >= len(panels):
            ax.set_xlabel(xlabel, fontsize=LABEL_SIZE - 2)
            ax.tick_params(labelbottom=True)
        if ylabel and index % columns == 0:
            ax.set_ylabel(ylabel, fontsize=LABEL_SIZE - 2)
