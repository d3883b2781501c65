"""Figures of training: a measure along the epochs."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from dynlab.plots.style import COLORS, LABEL_SIZE, MARKERS, _axes, _finish, _labelled, _name


def learning_curve(
    values: Any,
    *,
    epochs: Any = None,
    target: float | None = None,
    target_label: str = "target",
    log: bool = False,
    xlabel: str = "epoch",
    ylabel: str = "loss",
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """A measure after each epoch: of several networks each as a thin line, their median as a thick one.

    Args:
        values: (epochs,), (epochs, networks), or label -> such an array, as in ``fit.history`` of
            :func:`dynlab.train.fit`. NaN, where a network has stopped, leaves a gap; the median is of those that go on.
        epochs: (epochs,), where each row stands on the x axis; 1, 2, ... when None.
        target: draws a horizontal line, such as the accuracy to reach.
        target_label: its name in the legend.
        log: logarithmic y axis. Zeros and values below are left out of it.
        xlabel: name of the x axis.
        ylabel: name and unit of the measure.
        title: over the axes.
        ax: axes to draw on.
    """
    series = {label: np.asarray(rows, dtype=float) for label, rows in _labelled(values).items()}
    place = None if epochs is None else np.asarray(epochs)
    for label, rows in series.items():
        want = "(epochs,) or (epochs, networks)" if place is None else f"({place.size},) or ({place.size}, networks)"
        if rows.ndim not in (1, 2) or rows.size == 0 or (place is not None and rows.shape[0] != place.size):
            raise ValueError(f"{_name('values', label)} must have shape {want}, got {rows.shape}")
    ax = _axes(ax)
    for index, (label, rows) in enumerate(series.items()):
        rows = np.where(rows > 0, rows, np.nan) if log else rows
        where = 1 + np.arange(rows.shape[0]) if place is None else place
        color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
        style = {"marker": marker, "ms": 4, "markevery": max(1, rows.shape[0] // 20), "color": color}
        if rows.ndim == 2 and rows.shape[1] > 1:
            ax.plot(where, rows, color=color, lw=0.8, alpha=0.45)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # an epoch without any network has no median
            middle = rows if rows.ndim == 1 else np.nanmedian(rows, axis=1)
        ax.plot(where, middle, lw=1.8, label=label or None, **style)
    if target is not None:
        ax.axhline(target, color="0.4", ls="--", lw=1.2, label=target_label)
    if place is None:
        ax.xaxis.get_major_locator().set_params(integer=True)
    if log:
        ax.set_yscale("log")
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False, fontsize=LABEL_SIZE - 2)
    return _finish(ax, xlabel, ylabel, title)
