"""Figures of a thought: what is drawn is what was given, in the right place, under the right name."""

# ruff: noqa: E501
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dynlab import plots

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.colors import to_rgba  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

RNG = np.random.default_rng(0)
T, N = 8, 5
ACCURACY = RNG.uniform(0.5, 1.0, (T, N))
WEIGHTS = RNG.dirichlet(np.ones(N), size=(T, 3))
Z = RNG.normal(size=(4, T, 6))


def new_figure() -> Any:
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def axes() -> Any:
    return new_figure().add_subplot()


def texts(ax: Any) -> list[str]:
    return [item.get_text() for item in ax.get_legend().get_texts()]


def ink(figure: Any) -> int:
    figure.canvas.draw()
    return int((np.asarray(figure.canvas.buffer_rgba())[..., :3] < 250).any(axis=-1).sum())


def test_accuracy_by_position_has_ticks_to_the_right() -> None:
    ax = axes()
    assert plots.position_accuracy(ACCURACY, chance=0.5, title="parity", ax=ax) is ax
    image = ax.images[0]
    np.testing.assert_allclose(image.get_array(), ACCURACY.T)
    assert image.get_extent() == [0.5, T + 0.5, -0.5, N - 0.5]  # the first tick is 1, the first position 0
    assert image.get_clim() == (0.5, 1.0)
    assert image.origin == "lower"
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("tick", "position", "parity")
    assert ax.figure.axes[1].get_ylabel() == "accuracy"
    ax.figure.canvas.draw()
    grid = axes()
    plots.position_accuracy(RNG.random((T, 2, 3)), ax=grid)
    assert grid.images[0].get_array().shape == (6, T)


def test_attention_of_one_head_or_of_the_mean() -> None:
    ax = axes()
    plots.attention_map(WEIGHTS, centre=True, ax=ax)
    np.testing.assert_allclose(ax.images[0].get_array(), WEIGHTS.mean(1).T)
    want = np.stack([1 + np.arange(T), WEIGHTS.mean(1) @ np.arange(N)], axis=1)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), want)
    ax = axes()
    plots.attention_map(WEIGHTS, head=2, ax=ax)
    np.testing.assert_allclose(ax.images[0].get_array(), WEIGHTS[:, 2].T)
    assert not ax.lines
    assert ax.figure.axes[1].get_ylabel() == "attention"
    ax = axes()
    plots.attention_map(WEIGHTS[:, 0], ax=ax)
    np.testing.assert_allclose(ax.images[0].get_array(), WEIGHTS[:, 0].T)


def test_each_head_has_a_panel_in_the_same_colours() -> None:
    figure = new_figure()
    panels = plots.attention_heads(WEIGHTS, columns=2, title="heads", figure=figure)
    assert len(panels) == 3
    for head, ax in enumerate(panels):
        np.testing.assert_allclose(ax.images[0].get_array(), WEIGHTS[:, head].T)
        assert ax.images[0].get_clim() == (0.0, WEIGHTS.max())
        assert ax.get_title() == f"head {head}"
    assert [ax.get_xlabel() for ax in panels] == ["", "tick", "tick"]  # the lowest of each column
    assert [ax.get_ylabel() for ax in panels] == ["token", "", "token"]
    assert figure.get_suptitle() == "heads"
    assert ink(figure) > 1000


def test_accuracy_and_certainty_by_tick() -> None:
    ax = axes()
    seeds = RNG.random((3, T))
    sure = RNG.random((50, T))
    plots.tick_curves({"net": ACCURACY[:, 0], "seeds": seeds}, sure, chance=0.5, ax=ax)
    grey, net, many, chance = ax.lines
    ticks = 1 + np.arange(T)
    np.testing.assert_allclose(grey.get_xydata(), np.stack([ticks, sure.mean(0)], 1))
    np.testing.assert_allclose(net.get_xydata(), np.stack([ticks, ACCURACY[:, 0]], 1))
    np.testing.assert_allclose(many.get_ydata(), np.median(seeds, 0))
    assert list(chance.get_ydata()) == [0.5, 0.5]
    bands = [np.asarray(band.get_paths()[0].vertices)[:, 1] for band in ax.collections]
    low, high = np.percentile(sure, [10, 90], axis=0)
    assert (bands[0].min(), bands[0].max()) == pytest.approx((low.min(), high.max()))
    assert (bands[1].min(), bands[1].max()) == pytest.approx((seeds.min(), seeds.max()))
    assert texts(ax) == ["certainty", "net", "seeds", "chance"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("tick", "accuracy, certainty")
    alone = axes()
    plots.tick_curves(ACCURACY[:, 0], ax=alone)
    assert texts(alone) == [alone.get_ylabel()] == ["accuracy"]


def test_each_unit_has_a_panel() -> None:
    figure = new_figure()
    panels = plots.unit_traces(Z, [4, 0, 5], columns=2, figure=figure)
    for unit, ax in zip([4, 0, 5], panels, strict=True):
        assert len(ax.lines) == 4
        for sample, line in enumerate(ax.lines):
            np.testing.assert_allclose(line.get_xydata(), np.stack([1 + np.arange(T), Z[sample, :, unit]], 1))
        low, high = Z[..., unit].min(), Z[..., unit].max()
        assert ax.get_title() == f"{unit}: {low:.2g} to {high:.2g}"
        bottom, top = ax.get_ylim()
        assert bottom < low < high < top
    assert ink(figure) > 500
    same = plots.unit_traces(Z[0], shared=True, figure=new_figure())
    assert len(same) == 6
    assert len({ax.get_ylim() for ax in same}) == 1
    assert [ax.get_title() for ax in same] == [str(d) for d in range(6)]
    flat = plots.unit_traces(np.full((T, 1), 0.3), figure=new_figure())[0]  # a dead unit still has a scale
    assert flat.get_ylim() == pytest.approx((-0.2, 0.8))
    assert len(plots.unit_traces(RNG.random((T, 50)), figure=new_figure())) == 32


def test_early_exit_runs_from_few_ticks_to_many() -> None:
    ax = axes()
    ticks, accuracy = np.array([8.0, 1.0, 4.0]), np.array([0.9, 0.5, 0.8])
    plots.early_exit({"a": (ticks, accuracy), "b": (ticks[:2], accuracy[:2])}, n_ticks=8, ax=ax)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[1, 0.5], [4, 0.8], [8, 0.9]])
    assert texts(ax) == ["a: 0.900 after 8 of 8 ticks", "b: 0.900 after 8 of 8 ticks"]
    assert ax.get_xlabel() == "mean number of ticks"
    alone = axes()
    plots.early_exit((ticks, accuracy), ax=alone)
    assert alone.get_legend() is None
    ax.figure.canvas.draw()


def test_reliability_leaves_out_empty_bins() -> None:
    ax = axes()
    confidence, accuracy = [0.2, np.nan, 0.8], [0.1, np.nan, 0.7]
    plots.reliability_diagram(confidence, accuracy, [30, 0, 70], error=0.1, ax=ax)
    diagonal, curve = ax.lines
    np.testing.assert_allclose(diagonal.get_xydata(), [[0, 0], [1, 1]])
    np.testing.assert_allclose(curve.get_xydata(), [[0.2, 0.1], [0.8, 0.7]])
    np.testing.assert_allclose(ax.patches[0].get_data().values, [0.3, 0, 0.7])
    np.testing.assert_allclose(ax.patches[0].get_data().edges, [0, 1 / 3, 2 / 3, 1])
    assert texts(ax) == ["share of answers", "error 0.100"]
    two = axes()
    plots.reliability_diagram({"x": confidence, "y": accuracy}, {"x": accuracy, "y": accuracy}, {"x": [1, 0, 1], "y": [0, 0, 4]}, ax=two)
    assert texts(two) == ["share of answers", "x", "y"]
    assert to_rgba(two.lines[1].get_color()) != to_rgba(two.lines[2].get_color())
    bare = axes()
    plots.reliability_diagram(confidence, accuracy, ax=bare)
    assert bare.get_legend() is None
    two.figure.canvas.draw()


def test_without_axes_they_make_their_own() -> None:
    import matplotlib.pyplot as plt

    try:
        assert plots.tick_curves(ACCURACY[:, 0]).figure.axes
        assert len(plots.unit_traces(Z, [0, 1])[0].figure.axes) == 2
        assert len(plots.attention_heads(WEIGHTS)[0].figure.axes) == 4  # and the bar
    finally:
        plt.close("all")


BAD = {
    "one axis": (lambda: plots.position_accuracy(ACCURACY[0]), r"accuracy must have shape \(ticks, positions\), got \(5,\)"),
    "NaN": (lambda: plots.position_accuracy(ACCURACY * np.nan, ax=axes()), r"accuracy must be finite, got 40 NaN"),
    "chance": (lambda: plots.position_accuracy(ACCURACY, chance=1.0), r"chance must be in \[0, 1\), got 1.0"),
    "weights": (lambda: plots.attention_map(WEIGHTS[None]), r"weights must have shape .*got \(1, 8, 3, 5\)"),
    "head": (lambda: plots.attention_map(WEIGHTS, head=3), r"head must be below the number of heads .*got 3"),
    "no heads": (lambda: plots.attention_heads(WEIGHTS[:, 0]), r"weights must have shape \(ticks, heads, tokens\)"),
    "columns": (lambda: plots.attention_heads(WEIGHTS, columns=0, figure=new_figure()), r"columns must be a positive integer, got 0"),
    "accuracy": (lambda: plots.tick_curves({"a": ACCURACY[None]}), r"accuracy\['a'\] must have shape \(ticks,\)"),
    "certainty": (lambda: plots.tick_curves(ACCURACY[:, 0], Z, ax=axes()), r"certainty must have shape .*got \(4, 8, 6\)"),
    "z": (lambda: plots.unit_traces(Z[0, 0]), r"z must have shape \(ticks, units\).*got \(6,\)"),
    "unit": (lambda: plots.unit_traces(Z, [6]), r"units must be a sequence of numbers from 0 to 5, got \[6\]"),
    "pair": (lambda: plots.early_exit({"a": [np.ones(2)]}, ax=axes()), r"curves\['a'\] must be the pair"),
    "lengths": (lambda: plots.early_exit((np.ones(2), np.ones(3)), ax=axes()), r"curves must be two arrays of one shape"),
    "labels": (lambda: plots.reliability_diagram({"a": [0.1]}, {"b": [0.1]}), r"must have the same labels, got \['a'\], \['b'\]"),
    "bins": (lambda: plots.reliability_diagram([0.1, 0.2], [0.1], ax=axes()), r"accuracy must have shape \(bins,\) like confidence \(2,\)"),
    "count": (lambda: plots.reliability_diagram([0.1], [0.1], [1, 2], ax=axes()), r"count must have shape \(1,\), got \(2,\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
