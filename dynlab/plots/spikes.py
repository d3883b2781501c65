"""Figures of spiking networks: rasters, membrane potentials, the branching factor along a sweep."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynlab.plots.style import COLORS, LABEL_SIZE, MARKERS, _axes, _finish

EXCITATORY, INHIBITORY, INPUT = COLORS[0], COLORS[1], "0.45"
BAND = 0.22  # height of the input band over that of the units
MANY = 20_000  # spikes above which a vector figure holds them as an image


def _binary(name: str, value: Any) -> np.ndarray:
    out = np.asarray(value)
    if out.ndim != 2 or 0 in out.shape:
        raise ValueError(f"{name} must have shape (time, units), not empty, got {out.shape}")
    return out > 0


def _groups(kinds: Any, n: int) -> list[tuple[str, str, np.ndarray]]:
    """Label, colour and units of each kind, from the bottom up."""
    if kinds is None:
        return [("", "black", np.arange(n))]
    signs = np.asarray(kinds)
    if signs.shape != (n,) or not np.isin(signs, (-1, 1)).all():
        raise ValueError(f"kinds must be 1 (excitatory) or -1 (inhibitory), shape ({n},), got {signs!r}")
    both = (("excitatory", EXCITATORY, 1), ("inhibitory", INHIBITORY, -1))
    return [(label, color, np.flatnonzero(signs == sign)) for label, color, sign in both if (signs == sign).any()]


def _dots(ax: Any, spikes: np.ndarray, dt: float, heights: np.ndarray, color: str, label: str | None) -> None:
    step, unit = np.nonzero(spikes)
    size = float(np.clip(150.0 / len(heights), 1.4, 8.0))
    mark, edge = ("|", 0.8) if size > 2.0 else ("o", 0.0)
    ax.plot(step * dt, heights[unit], ls="", marker=mark, ms=size, mew=edge, color=color, label=label,
            rasterized=step.size > MANY)


def _rates(panel: Any, spikes: np.ndarray, dt: float, groups: Any, width: float, per: float) -> None:
    """Mean rate of each group in bins of `width`."""
    steps = min(max(1, round(width / dt)), spikes.shape[0])
    n_bins = spikes.shape[0] // steps
    edges = dt * steps * np.arange(n_bins + 1)
    for _, color, units in groups:
        counts = spikes[: n_bins * steps][:, units].reshape(n_bins, steps, -1).sum(axis=1)
        panel.stairs(counts.mean(axis=1) / (steps * dt) * per, edges, color=color, lw=1.4)


def _panel_above(ax: Any) -> Any:
    """New axes that share the place of `ax` in its figure, a fifth of it, or lie over it where it has no such place."""
    place = ax.get_subplotspec()
    if place is None:
        panel = ax.inset_axes([0.0, 1.04, 1.0, 0.24], sharex=ax)
    else:
        rows = place.subgridspec(2, 1, height_ratios=(1, 4))
        ax.set_subplotspec(rows[1])
        panel = ax.figure.add_subplot(rows[0], sharex=ax)
    panel.set_label("rate")
    return panel


def raster(
    spikes: Any,
    dt: float = 1.0,
    kinds: Any = None,
    inputs: Any = None,
    *,
    rate_width: float | None = None,
    unit: str = "ms",
    rate_unit: str = "Hz",
    per: float = 1000.0,
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """Spikes as marks, time against unit, with the mean rate above and the input spikes in a band below.

    Args:
        spikes: (T, N), a spike where above 0.
        dt: time of a step.
        kinds: (N,), 1 for excitatory and -1 for inhibitory units: these are then drawn above those, each kind in the
            order given, in a colour of its own.
        inputs: (T, C), input spikes, drawn in grey in a band of fixed height below the units.
        rate_width: width of the bins of the rate panel, in the unit of `dt`; None: a fiftieth of the record; 0: no
            panel.
        unit: of `dt`. rate_unit, per: name of the unit of the rate and how many `unit` it has; Hz and 1000 for ms.
        title: over the panel.
        ax: axes to draw on.

    Returns:
        The axes of the spikes; the rate panel, which takes a fifth of the place of `ax`, has the label "rate".
    """
    fired = _binary("spikes", spikes)
    n_steps, n = fired.shape
    groups = _groups(kinds, n)
    given = None if inputs is None else _binary("inputs", inputs)
    if given is not None and len(given) != n_steps:
        raise ValueError(f"inputs must have {n_steps} steps like spikes, got {len(given)}")
    if not dt > 0:
        raise ValueError(f"dt must be positive, got {dt!r}")
    width = n_steps * dt / 50 if rate_width is None else rate_width
    if not 0 <= width <= n_steps * dt:
        raise ValueError(f"rate_width must be in [0, {n_steps * dt:g}], got {rate_width!r}")

    ax = _axes(ax, (6.8, 4.8))
    height = 0
    for label, color, units in groups:
        _dots(ax, fired[:, units], dt, height + np.arange(len(units)), color, label or None)
        height += len(units)
    bottom = -0.5
    if given is not None:
        depth, gap = BAND * n, 0.03 * n
        places = -0.5 - gap - depth * (np.arange(given.shape[1]) + 0.5) / given.shape[1]
        _dots(ax, given, dt, places, INPUT, f"input ({given.shape[1]} channels)")
        ax.axhline(-0.5 - 0.5 * gap, color="0.7", lw=0.8)
        bottom = -0.5 - gap - depth - 0.01 * n
    ax.set_ylim(bottom, n - 0.5)
    ax.set_xlim(-0.5 * dt, (n_steps - 0.5) * dt)
    ax.get_yaxis().get_major_locator().set_params(integer=True)
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick < n])
    if kinds is not None or given is not None:
        marks = [ax.plot([], [], ls="", marker="s", ms=6, color=line.get_color(), label=line.get_label())[0]
                 for line in list(ax.lines) if not str(line.get_label()).startswith("_")]
        ax.legend(handles=marks, frameon=False, fontsize=LABEL_SIZE - 2, loc="upper center",
                  bbox_to_anchor=(0.5, -0.13), ncols=3)
    panel = _panel_above(ax) if width > 0 else None
    if panel is not None:
        _rates(panel, fired, dt, groups, width, per)
        panel.tick_params(labelbottom=False)
        panel.set_ylim(bottom=0.0)
        _finish(panel, "", f"rate ({rate_unit})", title)
    return _finish(ax, f"time ({unit})", "unit", None if panel else title)


def membranes(
    v: Any,
    dt: float = 1.0,
    *,
    spikes: Any = None,
    threshold: float | None = None,
    kinds: Any = None,
    labels: Any = None,
    unit: str = "ms",
    ylabel: str = "membrane potential",
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """Membrane potentials of a few units, one above the other, each on the same scale.

    Args:
        v: (T, N). dt: time of a step.
        spikes: (T, N), drawn as marks over each trace.
        threshold: drawn as a dashed line in each trace.
        kinds: (N,), 1 or -1: colours as in :func:`raster`.
        labels: N names; None: 0, 1, ...
        unit: of `dt`. ylabel: what is drawn, with the unit of the scale bar.
        title: over the axes.
        ax: axes to draw on.
    """
    v = np.asarray(v, dtype=float)
    if v.ndim != 2 or 0 in v.shape:
        raise ValueError(f"v must have shape (time, units), not empty, got {v.shape}")
    fired = None if spikes is None else _binary("spikes", spikes)
    if fired is not None and fired.shape != v.shape:
        raise ValueError(f"spikes must have shape {v.shape} like v, got {fired.shape}")
    names = [str(i) for i in range(v.shape[1])] if labels is None else list(labels)
    if len(names) != v.shape[1]:
        raise ValueError(f"labels must have {v.shape[1]} entries, got {len(names)}")
    colors = np.empty(v.shape[1], dtype=object)
    for _, color, units in _groups(kinds, v.shape[1]):
        colors[units] = color
    ax = _axes(ax, (6.8, 1.2 + 0.7 * v.shape[1]))
    low = np.nanmin(v)
    high = np.nanmax(v) if threshold is None else max(np.nanmax(v), threshold)
    height = (high - low) or 1.0
    lift = 1.3 * height
    time = dt * np.arange(len(v))
    for i in range(v.shape[1]):
        base = i * lift - low
        ax.plot(time, v[:, i] + base, color=colors[i], lw=1.0)
        if threshold is not None:
            ax.axhline(threshold + base, color="0.6", ls="--", lw=0.8, zorder=0)
        if fired is not None:
            when = time[fired[:, i]]
            mark = {"marker": "|", "ms": 7, "mew": 1.2, "color": colors[i]}
            ax.plot(when, np.full(when.size, i * lift + 1.08 * height), ls="", **mark)
    ax.set_yticks(lift * np.arange(v.shape[1]) + 0.5 * height, names)
    ax.tick_params(axis="y", length=0)
    bar = float(f"{0.5 * height:.0e}")
    right = time[-1] + 0.02 * (time[-1] or dt)
    ax.plot([right, right], [0.0, bar], color="black", lw=2.5, clip_on=False)
    ax.text(right + 0.01 * (time[-1] or dt), 0.5 * bar, f"{bar:g}", va="center", fontsize=LABEL_SIZE - 2)
    ax.set_xlim(time[0], right)
    return _finish(ax, f"time ({unit})", ylabel, title)


def _band(ax: Any, knob: np.ndarray, values: np.ndarray, color: str, marker: str, label: str) -> None:
    rows = np.atleast_2d(values)
    if len(rows) > 1:
        ax.fill_between(knob, rows.min(axis=0), rows.max(axis=0), color=color, alpha=0.2, lw=0)
    ax.plot(knob, np.median(rows, axis=0), marker=marker, ms=5, lw=1.5, color=color, label=label)


def branching_curve(
    knob: Any,
    factor: Any,
    *,
    accuracy: Any = None,
    reference: Any = None,
    reference_label: str = "published",
    xlabel: str = "synaptic weight w",
    ylabel: str = "branching factor",
    accuracy_label: str = "accuracy",
    log: bool = False,
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """The branching factor along a knob, perhaps with the accuracy on a second axis.

    Args:
        knob: (n,), in order.
        factor: (n,), or (networks, n): the median, with a band from smallest to largest.
        accuracy: the same shape, drawn on the right-hand axis.
        reference: pairs (knob, factor), (m, 2), to compare with: open symbols. A third column is the half length of
            their error bars.
        reference_label: their name in the legend.
        xlabel, ylabel, accuracy_label: names and units.
        log: logarithmic x axis, with ticks at the knob's values.
        title: over the axes.
        ax: axes to draw on.
    """
    knob, values = np.asarray(knob, dtype=float), np.asarray(factor, dtype=float)
    series = {"factor": values} | ({} if accuracy is None else {"accuracy": np.asarray(accuracy, dtype=float)})
    for name, rows in series.items():
        if rows.ndim not in (1, 2) or rows.shape[-1] != knob.size or rows.size == 0:
            raise ValueError(f"{name} must have shape ({knob.size},) or (networks, {knob.size}), got {rows.shape}")
    points = None if reference is None else np.asarray(reference, dtype=float)
    if points is not None and (points.ndim != 2 or points.shape[1] not in (2, 3)):
        raise ValueError(f"reference must have shape (m, 2) or (m, 3), got {points.shape}")
    ax = _axes(ax)
    _band(ax, knob, values, COLORS[0], MARKERS[0], ylabel)
    if points is not None:
        error = points[:, 2] if points.shape[1] == 3 else None
        ax.errorbar(points[:, 0], points[:, 1], yerr=error, ls="", marker="D", ms=6, mfc="white", mec="black",
                    ecolor="black", capsize=3, label=reference_label, zorder=4)
    if log:
        ax.set_xscale("log")
        ax.minorticks_off()
        ax.set_xticks(knob, [f"{value:g}" for value in knob])
    _finish(ax, xlabel, ylabel, title)
    handles, names = ax.get_legend_handles_labels()
    if accuracy is not None:
        right = ax.twinx()
        _band(right, knob, series["accuracy"], COLORS[1], MARKERS[1], accuracy_label)
        right.set_ylabel(accuracy_label, fontsize=LABEL_SIZE, color=COLORS[1])
        right.tick_params(axis="y", colors=COLORS[1])
        right.spines["top"].set_visible(False)
        more, labels = right.get_legend_handles_labels()
        handles, names = handles + more, names + labels
    if len(handles) > 1:
        ax.legend(handles, names, frameon=False, fontsize=LABEL_SIZE - 2, loc="upper center",
                  bbox_to_anchor=(0.5, -0.16), ncols=3)
    return ax
