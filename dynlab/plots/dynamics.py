"""Figures of dynamics: fixed points, eigenvalues, Lyapunov spectra, autocorrelations, capacities by degree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dynlab.plots.style import COLORS, LABEL_SIZE, MARKERS, _axes, _finish, _labelled, _name


def _finite(name: str, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite: leave out what did not converge")
    return values


def _principal(cloud: np.ndarray, dims: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (n,), first principal axes (dims, n) and their share of the variance (dims,)."""
    mean = cloud.mean(axis=0)
    # the decomposition of the covariance, in float64, is good enough for the largest axes
    values, vectors = np.linalg.eigh((cloud - mean).T @ (cloud - mean))
    axes = vectors[:, ::-1][:, :dims].T
    axes = axes * np.where(axes[np.arange(dims), np.abs(axes).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    return mean, axes, values[::-1][:dims] / max(values.sum(), np.finfo(float).tiny)


def _kind(count: int) -> str:
    return "stable" if count == 0 else f"{count} unstable direction{'s' if count > 1 else ''}"


def _draw_points(ax: Any, shown: np.ndarray, counts: np.ndarray | None) -> None:
    style = {"s": 46, "edgecolors": "white", "linewidths": 0.7, "zorder": 4}
    if ax.name == "3d":
        style["depthshade"] = False
    if counts is None:
        ax.scatter(*shown.T, color="black", marker="o", label=f"fixed points ({len(shown)})", **style)
        return
    unstable = np.unique(counts[counts > 0])  # the first style is for stable points alone
    for count in np.unique(counts):
        mine = shown[counts == count]
        index = 0 if count == 0 else 1 + int(np.searchsorted(unstable, count)) % (len(COLORS) - 1)
        label = f"{_kind(int(count))} ({len(mine)})"
        ax.scatter(*mine.T, color=COLORS[index], marker=MARKERS[index], label=label, **style)


def fixed_point_map(
    points: Any,
    trajectories: Any = None,
    n_unstable: Any = None,
    *,
    directions: Any = None,
    length: float = 0.1,
    dims: int = 2,
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """Fixed points over trajectories, in the plane of the principal components of the trajectories.

    Args:
        points: (P, n).
        trajectories: (T, n) or (..., T, n), drawn as thin lines; without them the components are those of `points`.
        n_unstable: (P,), the number of unstable directions of each point: its colour and marker.
        directions: (P, n), a direction of each point (its leading unstable one), drawn as a short line through it; of
            complex ones the real part. Points that `n_unstable` calls stable, and rows with NaN, get none.
        length: half the length of these lines, over the largest extent of the cloud. A line that leaves the plane
            looks shorter.
        dims: 2 or 3 components.
        title: over the axes.
        ax: axes to draw on; with ``projection="3d"`` for three.
    """
    points = _finite("points", np.asarray(points, dtype=float))
    if points.ndim != 2 or 0 in points.shape:
        raise ValueError(f"points must have shape (P, n), got {points.shape}")
    n = points.shape[1]
    if dims not in (2, 3) or dims > n:
        raise ValueError(f"dims must be 2 or 3 and at most n = {n}, got {dims!r}")
    if ax is not None and (ax.name == "3d") != (dims == 3):
        raise ValueError(f"ax must have projection {'3d' if dims == 3 else None!r} for dims = {dims}, got {ax.name!r}")
    counts = None if n_unstable is None else np.asarray(n_unstable)
    if counts is not None and counts.shape != points.shape[:1]:
        raise ValueError(f"n_unstable must have shape {points.shape[:1]} like points, got {counts.shape}")
    if directions is not None and np.shape(directions) != points.shape:
        raise ValueError(f"directions must have shape {points.shape} like points, got {np.shape(directions)}")
    runs = None if trajectories is None else _finite("trajectories", np.asarray(trajectories, dtype=float))
    if runs is not None and (runs.ndim < 2 or runs.shape[-1] != n):
        raise ValueError(f"trajectories must have shape (..., T, {n}), got {runs.shape}")

    ax = _axes(ax, (5.6, 4.6), "3d" if dims == 3 else None)
    cloud = points if runs is None else runs.reshape(-1, n)
    mean, axes, share = _principal(cloud, dims)
    if runs is not None:
        lines = (runs.reshape(-1, *runs.shape[-2:]) - mean) @ axes.T
        broken = np.concatenate([lines, np.full((len(lines), 1, dims), np.nan)], axis=1).reshape(-1, dims)
        ax.plot(*broken.T, color="0.55", lw=0.6, alpha=0.6, zorder=1)
    shown = (points - mean) @ axes.T
    if directions is not None:
        vectors = np.real(np.asarray(directions)).astype(float)
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        reach = length * np.ptp((cloud - mean) @ axes.T, axis=0).max() * (vectors @ axes.T)
        wanted = np.isfinite(reach).all(axis=1) & (True if counts is None else counts > 0)
        for place, step in zip(shown[wanted], reach[wanted], strict=True):
            ax.plot(*np.stack([place - step, place + step]).T, color="0.1", lw=1.5, zorder=3)
    _draw_points(ax, shown, counts)
    labels = [f"PC {i + 1} ({100 * part:.0f} %)" for i, part in enumerate(share)]
    if dims == 3:
        ax.set_zlabel(labels[2], fontsize=LABEL_SIZE)
        ax.grid(False)  # its lines would look like trajectories
        ax.locator_params(nbins=4)
    below = (0.5, 0.0 if dims == 3 else -0.13)
    ax.legend(frameon=False, fontsize=LABEL_SIZE - 2, loc="upper center", bbox_to_anchor=below, ncols=2)
    return _finish(ax, labels[0], labels[1], title)


def eigenvalue_plane(
    eigenvalues: Any, *, continuous: bool = False, title: str | None = None, ax: Any = None
) -> Any:
    """Eigenvalues in the complex plane with the border of stability; unstable ones are filled and counted.

    Args:
        eigenvalues: complex (n,), or label -> (n,).
        continuous: the border is the imaginary axis, of a flow, instead of the unit circle, of a map.
        title: over the axes.
        ax: axes to draw on.
    """
    series = {label: np.asarray(values) for label, values in _labelled(eigenvalues).items()}
    for label, values in series.items():
        if values.ndim != 1 or values.size == 0:
            raise ValueError(f"{_name('eigenvalues', label)} must have shape (n,), got {values.shape}")
        _finite(_name("eigenvalues", label), values)
    ax = _axes(ax, (4.8, 4.6))
    ax.axhline(0.0, color="0.85", lw=0.8, zorder=0)
    ax.axvline(0.0, color="0.4" if continuous else "0.85", ls="--" if continuous else "-", lw=1.2, zorder=0)
    if not continuous:
        angle = np.linspace(0.0, 2.0 * np.pi, 361)
        ax.plot(np.cos(angle), np.sin(angle), color="0.4", ls="--", lw=1.2, zorder=0)
    for index, (label, values) in enumerate(series.items()):
        unstable = values.real > 0 if continuous else np.abs(values) > 1
        color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
        style = {"s": 24, "marker": marker, "edgecolors": color, "linewidths": 1.0, "zorder": 3}
        stable = values[~unstable]
        ax.scatter(stable.real, stable.imag, facecolors="none", **style)
        text = f"{unstable.sum()} of {values.size} unstable"
        outside = values[unstable]
        ax.scatter(outside.real, outside.imag, facecolors=color, label=f"{label}: {text}" if label else text, **style)
    ax.set_aspect("equal", adjustable="datalim")
    ax.legend(frameon=False, fontsize=LABEL_SIZE - 2, loc="upper center", bbox_to_anchor=(0.5, -0.13))
    return _finish(ax, r"Re $\lambda$", r"Im $\lambda$", title)


def spectrum(
    exponents: Any,
    *,
    kaplan_yorke: Any = None,
    ylabel: str = "Lyapunov exponent (nats per step)",
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """Lyapunov spectra, largest first, with the line of zero.

    Args:
        exponents: (k,) or, for several seeds, (seeds, k): the median, with a band from smallest to largest. Or
            label -> such an array.
        kaplan_yorke: the dimension, for the legend: a number, or label -> number.
        ylabel: name and unit of the exponents.
        title: over the axes.
        ax: axes to draw on.
    """
    series = {label: np.atleast_2d(np.asarray(values, dtype=float)) for label, values in _labelled(exponents).items()}
    dimensions = {} if kaplan_yorke is None else _labelled(kaplan_yorke)
    for label, values in series.items():
        if values.ndim != 2 or values.size == 0:
            raise ValueError(f"{_name('exponents', label)} must have shape (k,) or (seeds, k), got {values.shape}")
    if unknown := set(dimensions) - set(series):
        raise ValueError(f"kaplan_yorke must have the labels of exponents, {sorted(series)}, got {sorted(unknown)}")
    ax = _axes(ax)
    ax.axhline(0.0, color="0.4", ls="--", lw=1.2)
    for index, (label, values) in enumerate(series.items()):
        order = 1 + np.arange(values.shape[1])
        color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
        dimension = f"$D_{{KY}}$ = {float(dimensions[label]):.2f}" if label in dimensions else ""
        text = ": ".join(part for part in (label, dimension) if part)
        if len(values) > 1:
            ax.fill_between(order, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, lw=0)
        size = 4 if values.shape[1] <= 60 else 2
        ax.plot(order, np.median(values, axis=0), marker=marker, ms=size, color=color, lw=1.2, label=text or None)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False, fontsize=LABEL_SIZE - 2)
    ax.xaxis.get_major_locator().set_params(integer=True)
    return _finish(ax, "index i", ylabel, title)


def autocorrelation_fit(
    acf: Any,
    dt: float = 1.0,
    fits: Mapping[str, Any] | None = None,
    *,
    unit: str = "steps",
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """An autocorrelation and the curves fitted to it.

    Args:
        acf: (L + 1,) from lag 0 on; or (units, L + 1): their mean, with a band from the 10th to the 90th percentile.
        dt: time between lags.
        fits: label -> curve (L + 1,) at the same lags; NaN where the fit was not made. Put the timescale in the label.
        unit: of `dt`.
        title: over the axes.
        ax: axes to draw on.
    """
    acf = np.asarray(acf, dtype=float)
    if acf.ndim not in (1, 2) or acf.size == 0:
        raise ValueError(f"acf must have shape (lags,) or (units, lags), got {acf.shape}")
    curves = {label: np.asarray(values, dtype=float) for label, values in (fits or {}).items()}
    for label, values in curves.items():
        if values.shape != acf.shape[-1:]:
            raise ValueError(f"fits[{label!r}] must have shape {acf.shape[-1:]} like acf, got {values.shape}")
    ax = _axes(ax)
    lags = float(dt) * np.arange(acf.shape[-1])
    ax.axhline(0.0, color="0.8", lw=0.8, zorder=0)
    if acf.ndim == 2:
        low, high = np.percentile(acf, [10, 90], axis=0)
        ax.fill_between(lags, low, high, color="0.5", alpha=0.25, lw=0, label="10 to 90 % of units")
    mean = acf if acf.ndim == 1 else acf.mean(axis=0)
    every = max(1, lags.size // 60)
    ax.plot(lags, mean, "o", ms=4, mfc="white", mec="0.25", markevery=every, label="autocorrelation", zorder=2)
    for index, (label, values) in enumerate(curves.items()):
        style = ("-", "--", "-.", ":")[index % 4]
        ax.plot(lags, values, style, color=COLORS[index % len(COLORS)], lw=1.8, label=label, zorder=3)
    ax.legend(frameon=False, fontsize=LABEL_SIZE - 2)
    return _finish(ax, f"lag ({unit})", "autocorrelation", title)


def degree_shades(count: int) -> np.ndarray:
    """Colours (count, 4) for capacities by degree, dark to light."""
    from matplotlib import colormaps

    return colormaps["cividis"](np.linspace(0.05, 0.95, max(count, 2)))[:count]


def capacity_by_degree(
    knob: Any,
    per_degree: Any,
    *,
    xlabel: str,
    degrees: Any = None,
    bound: float | None = None,
    bound_label: str = "bound N",
    ylabel: str = "information processing capacity",
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """The capacity at each degree of nonlinearity against a knob, stacked: the upper edge is the total.

    Args:
        knob: values of the knob, in order (n,).
        per_degree: (n, D), or (seeds, n, D): then the mean over seeds.
        xlabel: name and unit of the knob.
        degrees: (D,), the degrees, for the legend; 1 to D when None.
        bound: draws a horizontal line, such as the number of units.
        bound_label: its name in the legend.
        ylabel: name and unit of the measure.
        title: over the axes.
        ax: axes to draw on.
    """
    knob, values = np.asarray(knob), np.asarray(per_degree, dtype=float)
    if values.ndim not in (2, 3) or values.shape[-2] != knob.size or values.shape[-1] == 0:
        raise ValueError(f"per_degree must have shape ({knob.size}, D) or (seeds, {knob.size}, D), got {values.shape}")
    values = values if values.ndim == 2 else values.mean(axis=0)
    degrees = 1 + np.arange(values.shape[1]) if degrees is None else np.asarray(degrees)
    if degrees.shape != values.shape[1:]:
        raise ValueError(f"degrees must have shape {values.shape[1:]} like the last axis, got {degrees.shape}")
    ax = _axes(ax)
    shades = degree_shades(values.shape[1])
    labels = [f"degree {degree}" for degree in degrees]
    ax.stackplot(knob, values.T, labels=labels, colors=shades, edgecolor="white", linewidth=0.6)
    if bound is not None:
        ax.axhline(bound, color="0.4", ls="--", lw=1.2, label=bound_label)
    handles, texts = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], texts[::-1], frameon=False, fontsize=LABEL_SIZE - 2, loc="center left",
              bbox_to_anchor=(1.0, 0.5))
    ax.set_xlim(knob.min(), knob.max())
    ax.set_ylim(bottom=0.0)
    return _finish(ax, xlabel, ylabel, title)
