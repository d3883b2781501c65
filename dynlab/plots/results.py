"""Figures of the usual results: memory, capacities, forecasts, sweeps, attractors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dynlab.plots.style import COLORS, LABEL_SIZE, MARKERS, _axes, _finish


def memory_curve(curves: Mapping[str, Any], *, first_delay: int = 1, title: str | None = None, ax: Any = None) -> Any:
    """Forgetting curves: the capacity of each delay; the legend gives each total.

    Args:
        curves: label -> per-delay capacities (max_delay,).
        first_delay: the delay of the first entry, in steps.
        title: over the axes.
        ax: axes to draw on.
    """
    ax = _axes(ax)
    for index, (label, values) in enumerate(curves.items()):
        values = np.asarray(values)
        if values.ndim != 1:
            raise ValueError(f"curves[{label!r}] must have shape (max_delay,), got {values.shape}")
        delays = first_delay + np.arange(values.size)
        style = ("-", "--", "-.", ":")[index // len(COLORS) % 4]
        text = f"{label}: {values.sum():.1f}"
        ax.plot(delays, values, style, color=COLORS[index % len(COLORS)], lw=1.8, label=text)
    ax.set_ylim(-0.03, 1.05)
    ax.legend(title="total", frameon=False, fontsize=LABEL_SIZE - 2)
    return _finish(ax, "delay k (steps)", "capacity MC$_k$", title)


def capacity_lines(
    knob: Any,
    curves: Mapping[str, Any],
    *,
    xlabel: str,
    ylabel: str = "memory capacity (steps)",
    bound: float | None = None,
    bound_label: str = "bound",
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """A measure against a knob: the median over seeds as a line, smallest to largest seed as a band.

    Args:
        knob: values of the knob (n,).
        curves: label -> values (n,) or (seeds, n).
        xlabel: name and unit of the knob.
        ylabel: name and unit of the measure.
        bound: draws a horizontal line.
        bound_label: its name in the legend.
        title: over the axes.
        ax: axes to draw on.
    """
    ax = _axes(ax)
    knob = np.asarray(knob)
    for index, (label, values) in enumerate(curves.items()):
        values = np.atleast_2d(np.asarray(values))
        if values.shape[1] != knob.size:
            raise ValueError(f"curves[{label!r}] must have {knob.size} columns like knob, got shape {values.shape}")
        color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
        if values.shape[0] > 1:
            ax.fill_between(knob, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, lw=0)
        ax.plot(knob, np.median(values, axis=0), marker=marker, ms=4, color=color, lw=1.6, label=label)
    if bound is not None:
        ax.axhline(bound, color="0.4", ls="--", lw=1.2, label=bound_label)
    ax.legend(frameon=False, fontsize=LABEL_SIZE - 2)
    return _finish(ax, xlabel, ylabel, title)


def forecast(
    time: Any,
    truth: Any,
    predictions: Mapping[str, Any],
    *,
    valid_time: float | None = None,
    threshold: float | None = None,
    scale: float | None = None,
    xlabel: str = "time (steps)",
    ylabel: str = "value",
    title: str | None = None,
    ax: Any = None,
    error_ax: Any = None,
) -> Any:
    """Forecasts over the truth and, below it, their absolute error in standard deviations of the truth.

    Args:
        time: (n,), in the unit that `xlabel` names.
        truth: (n,).
        predictions: label -> (n,).
        valid_time: marked by a vertical line, in the unit of `time`.
        threshold: marked in the error panel, in standard deviations.
        scale: the standard deviation that the error is divided by; that of `truth` when None.
        xlabel: name and unit of the time axis.
        ylabel: name and unit of the values.
        title: over the axes.
        ax: axes of the upper panel; when None a figure with both panels is made.
        error_ax: axes of the error panel; left out when `ax` is given without it.
    """
    if ax is None:
        first = _axes(None, (7.2, 4.2))
        figure = first.figure
        first.remove()
        ax, error_ax = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    time, truth = np.asarray(time), np.asarray(truth)
    spread = float(np.std(truth)) if scale is None else float(scale)
    ax.plot(time, truth, color="0.15", lw=2.4, alpha=0.55, label="truth")
    for index, (label, values) in enumerate(predictions.items()):
        values = np.asarray(values)
        if values.shape != truth.shape:
            raise ValueError(f"predictions[{label!r}] must have shape {truth.shape} like truth, got {values.shape}")
        color = COLORS[index % len(COLORS)]
        style = ("-", "--", "-.", ":")[index % 4]
        ax.plot(time, values, style, color=color, lw=1.5, label=label)
        if error_ax is not None:
            error_ax.plot(time, np.abs(values - truth) / spread, style, color=color, lw=1.3)
    for panel in (ax, error_ax):
        if panel is not None and valid_time is not None:
            name = "valid prediction time" if panel is ax else None
            top = 0.84 if panel is ax else 1.0  # below the legend
            panel.axvline(valid_time, ymax=top, color=COLORS[2], ls=":", lw=1.8, label=name)
    # room above the curves for the legend
    low, high = float(truth.min()), float(truth.max())
    ax.set_ylim(low - 0.12 * (high - low), high + 0.42 * (high - low))
    ax.legend(frameon=False, fontsize=LABEL_SIZE - 2, ncols=4, loc="upper left")
    _finish(ax, "" if error_ax is not None else xlabel, ylabel, title)
    if error_ax is not None:
        if threshold is not None:
            error_ax.axhline(threshold, color="0.4", ls="--", lw=1.0)
        error_ax.set_ylim(bottom=0.0)
        _finish(error_ax, xlabel, "error (s.d.)", None)
    return ax


def heat_map(
    values: Any,
    x: Sequence[Any],
    y: Sequence[Any],
    *,
    xlabel: str,
    ylabel: str,
    zlabel: str,
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """A measure over two knobs, `values` (len(y), len(x)), with a colour bar; NaN cells stay grey."""
    values = np.asarray(values, dtype=float)
    if values.shape != (len(y), len(x)):
        raise ValueError(f"values must have shape (len(y), len(x)) = {(len(y), len(x))}, got {values.shape}")
    ax = _axes(ax)
    ax.set_facecolor("0.8")
    image = ax.imshow(np.ma.masked_invalid(values), origin="lower", aspect="auto", cmap="cividis")
    for axis, ticks in ((ax.xaxis, x), (ax.yaxis, y)):
        step = max(1, -(-len(ticks) // 9))
        places = list(range(0, len(ticks), step))
        texts = [f"{ticks[i]:.3g}" if isinstance(ticks[i], (int, float, np.number)) else str(ticks[i]) for i in places]
        axis.set_ticks(places, texts)
    bar = ax.figure.colorbar(image, ax=ax)
    bar.set_label(zlabel, fontsize=LABEL_SIZE)
    _finish(ax, xlabel, ylabel, title)
    return ax


def attractor(
    trajectories: Mapping[str, Any],
    *,
    labels: tuple[str, str] = ("x", "y"),
    dims: tuple[int, int] = (0, 1),
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """Trajectories in the plane of two of their coordinates.

    Args:
        trajectories: label -> (time, features).
        labels: axis labels, with units where there are any.
        dims: which two features to show.
        title: over the axes.
        ax: axes to draw on.
    """
    ax = _axes(ax, (4.8, 4.4))
    for index, (label, values) in enumerate(trajectories.items()):
        values = np.asarray(values)
        if values.ndim != 2 or values.shape[1] <= max(dims):
            raise ValueError(f"trajectories[{label!r}] must be (time, features > {max(dims)}), got {values.shape}")
        color = "0.15" if index == 0 else COLORS[(index - 1) % len(COLORS)]
        ax.plot(values[:, dims[0]], values[:, dims[1]], color=color, lw=0.8, alpha=0.75, label=label)
    ax.legend(frameon=False, fontsize=LABEL_SIZE - 2, loc="best")
    return _finish(ax, labels[0], labels[1], title)
