"""Figures of spikes: each spike is one mark in its place, in the colour of its kind; rates and curves are the numbers."""

# ruff: noqa: E501
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dynlab.plots import spikes as plots

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.colors import to_rgba  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

RNG = np.random.default_rng(0)
SPIKES = (RNG.random((60, 10)) < 0.2).astype(float)
KINDS = np.array([1, -1, 1, 1, -1, 1, 1, 1, 1, 1])
INPUTS = RNG.random((60, 4)) < 0.3
V = RNG.normal(size=(60, 3)) - 60.0


def axes() -> Any:
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def marks(ax: Any, color: Any) -> np.ndarray:
    found = [line.get_xydata() for line in ax.lines if line.get_linestyle() == "None" and to_rgba(line.get_color()) == to_rgba(color)]
    return np.concatenate(found)


def panel(ax: Any) -> Any:
    return next(other for other in [*ax.figure.axes, *ax.child_axes] if other.get_label() == "rate")


def texts(ax: Any) -> list[str]:
    return [item.get_text() for item in ax.get_legend().get_texts()]


def test_every_spike_is_a_mark_of_its_kind() -> None:
    ax = axes()
    assert plots.raster(SPIKES, 0.5, KINDS, INPUTS, title="liquid", ax=ax) is ax
    for color, sign, first in ((plots.EXCITATORY, 1, 0), (plots.INHIBITORY, -1, 8)):
        step, unit = np.nonzero(SPIKES[:, sign == KINDS])
        np.testing.assert_allclose(marks(ax, color), np.stack([0.5 * step, first + unit], axis=1))
    below = marks(ax, plots.INPUT)
    assert len(below) == INPUTS.sum()
    assert np.all(below[:, 1] < -0.5)
    assert len(np.unique(below[:, 1])) == 4
    low, high = ax.get_ylim()
    assert low < below[:, 1].min() < 0
    assert high == 9.5
    assert all(0 <= tick < 10 for tick in ax.get_yticks())
    assert texts(ax) == ["excitatory", "inhibitory", "input (4 channels)"]
    top = panel(ax)
    assert (ax.get_xlabel(), top.get_title(), ax.get_title()) == ("time (ms)", "liquid", "")
    ax.figure.canvas.draw()
    assert top.title.get_window_extent().y1 <= ax.figure.bbox.height
    assert ax.get_window_extent().y1 < top.get_window_extent().y0


def test_rate_panel() -> None:
    """Mean of each kind in bins of 5 steps, in Hz with steps of 2 ms."""
    ax = axes()
    plots.raster(SPIKES, 2.0, KINDS, rate_width=10.0, ax=ax)
    stairs = panel(ax).patches
    for patch, sign in zip(stairs, (1, -1), strict=True):
        want = SPIKES[:, sign == KINDS].reshape(12, 5, -1).mean(axis=(1, 2)) / 2e-3
        np.testing.assert_allclose(patch.get_data().values, want)
        np.testing.assert_allclose(patch.get_data().edges, 10.0 * np.arange(13))
    ax = axes()
    plots.raster(SPIKES, rate_width=0, ax=ax)
    assert ax.figure.axes == [ax]
    assert ax.get_legend() is None
    step, unit = np.nonzero(SPIKES)
    np.testing.assert_allclose(marks(ax, "black"), np.stack([step, unit], axis=1))


def test_rate_panel_of_axes_without_a_place_in_a_grid() -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    ax = plots.raster(SPIKES, ax=figure.add_axes((0.1, 0.1, 0.8, 0.6)))
    assert panel(ax) in ax.child_axes
    figure.canvas.draw()
    assert ax.get_window_extent().y1 < panel(ax).get_window_extent().y0


def test_many_spikes_are_an_image() -> None:
    ax = axes()
    plots.raster(np.ones((150, 200)), ax=ax)
    assert ax.lines[0].get_rasterized()
    silent = plots.raster(np.zeros((5, 3)), ax=axes())
    silent.figure.canvas.draw()
    assert len(silent.lines[0].get_xydata()) == 0


def test_membranes() -> None:
    ax = axes()
    assert plots.membranes(V, 0.1, spikes=SPIKES[:, :3], threshold=-58.0, kinds=[1, -1, 1], labels=["a", "b", "c"], title="v", ax=ax) is ax
    traces = [line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 60]
    assert len(traces) == 3
    for i, line in enumerate(traces):
        np.testing.assert_allclose(np.diff(line.get_ydata()), np.diff(V[:, i]), atol=1e-9)  # one scale for all
    bottoms = [line.get_ydata().mean() for line in traces]
    assert bottoms[0] < bottoms[1] < bottoms[2]
    np.testing.assert_allclose(np.unique(marks(ax, plots.INHIBITORY)[:, 0]), 0.1 * np.flatnonzero(SPIKES[:, 1]))
    dashed = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(np.array(dashed) - [line.get_ydata()[0] for line in traces], -58.0 - V[0], atol=1e-9)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b", "c"]
    assert float(ax.texts[0].get_text()) == pytest.approx(np.ptp(ax.lines[-1].get_ydata()))  # the scale bar
    ax.figure.canvas.draw()


def test_branching_curve() -> None:
    ax = axes()
    w = np.array([0.4, 0.8, 1.2])
    factor = np.array([[0.3, 1.0, 1.4], [0.4, 0.9, 1.5], [0.5, 1.1, 1.3]])
    plots.branching_curve(w, factor, accuracy=[0.95, 0.96, 0.94], reference=[[0.4, 0.369, 0.02], [0.8, 1.002, 0.02]], log=True, title="t", ax=ax)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), np.stack([w, [0.4, 1.0, 1.4]], axis=1))
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.3)
    assert band[:, 1].max() == pytest.approx(1.5)
    assert texts(ax) == ["branching factor", "published", "accuracy"]
    right = next(other for other in ax.figure.axes if other is not ax)
    np.testing.assert_allclose(right.lines[0].get_ydata(), [0.95, 0.96, 0.94])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.4", "0.8", "1.2"]
    assert plots.branching_curve(w, factor[0], ax=axes()).get_legend() is None
    ax.figure.canvas.draw()


BAD = {
    "shape": (lambda: plots.raster(np.zeros(5)), r"spikes must have shape \(time, units\), not empty, got \(5,\)"),
    "kinds": (lambda: plots.raster(SPIKES, 1.0, [1, 2]), r"kinds must be 1 \(excitatory\) or -1 \(inhibitory\), shape \(10,\)"),
    "names": (lambda: plots.raster(SPIKES, 1.0, ["E"] * 10), r"kinds must be 1 \(excitatory\) or -1"),
    "input steps": (lambda: plots.raster(SPIKES, inputs=INPUTS[:5]), r"inputs must have 60 steps like spikes, got 5"),
    "dt": (lambda: plots.raster(SPIKES, 0.0), r"dt must be positive, got 0.0"),
    "width": (lambda: plots.raster(SPIKES, rate_width=61.0), r"rate_width must be in \[0, 60\], got 61.0"),
    "trace": (lambda: plots.membranes(V[:, 0]), r"v must have shape \(time, units\), not empty, got \(60,\)"),
    "trace spikes": (lambda: plots.membranes(V, spikes=SPIKES), r"spikes must have shape \(60, 3\) like v, got \(60, 10\)"),
    "trace labels": (lambda: plots.membranes(V, labels=["a"]), r"labels must have 3 entries, got 1"),
    "curve": (lambda: plots.branching_curve([1, 2], [1, 2, 3]), r"factor must have shape \(2,\) or \(networks, 2\), got \(3,\)"),
    "accuracy": (lambda: plots.branching_curve([1, 2], [1, 2], accuracy=[1]), r"accuracy must have shape \(2,\) or \(networks, 2\), got \(1,\)"),
    "reference": (lambda: plots.branching_curve([1, 2], [1, 2], reference=[1, 2]), r"reference must have shape \(m, 2\) or \(m, 3\), got \(2,\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
