"""dynlab.plots: draws on the axes given, shows what it is told, changes nothing global."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from dynlab import plots

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

TIME = np.arange(50.0)
WAVE = np.sin(TIME / 5)


def axes(count: int = 1) -> Any:
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    return figure.subplots(count, 1)


def texts(ax: Any) -> list[str]:
    return [item.get_text() for item in ax.get_legend().get_texts()]


def test_memory_curve_shows_totals() -> None:
    ax = axes()
    assert plots.memory_curve({"cycle": [1.0, 1.0, 0.5], "random": [0.5, 0.25, 0.0]}, ax=ax) is ax
    assert texts(ax) == ["cycle: 2.5", "random: 0.8"]
    assert ax.lines[0].get_xdata().tolist() == [1, 2, 3]
    ax.figure.canvas.draw()


def test_capacity_lines_show_median_and_spread() -> None:
    ax = axes()
    values = np.array([[1.0, 2.0], [3.0, 5.0], [2.0, 9.0]])
    plots.capacity_lines([0.1, 0.2], {"tanh": values}, xlabel="leak rate", bound=10.0, ax=ax)
    assert ax.lines[0].get_ydata().tolist() == [2.0, 5.0]
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 1.0
    assert band[:, 1].max() == 9.0
    assert texts(ax) == ["tanh", "bound"]
    assert ax.get_xlabel() == "leak rate"


def test_forecast_draws_error_and_valid_time() -> None:
    top, bottom = axes(2)
    plots.forecast(TIME, WAVE, {"esn": WAVE + 0.5}, valid_time=7.0, threshold=0.4, scale=0.25, ax=top, error_ax=bottom)
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), 2.0)
    assert all(any(list(line.get_xdata()) == [7.0, 7.0] for line in ax.lines) for ax in (top, bottom))
    assert texts(top) == ["truth", "esn", "valid prediction time"]
    top.figure.canvas.draw()


def test_heat_map_labels_cells_and_keeps_nan_blank() -> None:
    values = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]])
    ax = axes()
    plots.heat_map(values, [0.1, 0.2, 0.3], ["a", "b"], xlabel="x", ylabel="y", zlabel="capacity", ax=ax)
    shown = ax.images[0].get_array()
    assert bool(shown.mask[0, 1])
    assert shown[1, 2] == 6.0
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.1", "0.2", "0.3"]


def test_attractor_projects() -> None:
    ax = axes()
    orbit = np.stack([TIME, WAVE, -WAVE], axis=1)
    plots.attractor({"truth": orbit}, dims=(0, 2), labels=("x", "z"), ax=ax)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), -WAVE)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "z")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda ax: plots.memory_curve({"a": np.ones((2, 2))}, ax=ax), "curves\\['a'\\]"),
        (lambda ax: plots.capacity_lines([1, 2], {"a": [1, 2, 3]}, xlabel="x", ax=ax), "2 columns"),
        (lambda ax: plots.forecast(TIME, WAVE, {"a": WAVE[1:]}, ax=ax), "predictions\\['a'\\]"),
        (lambda ax: plots.heat_map([[1]], [1, 2], [1], xlabel="", ylabel="", zlabel="", ax=ax), r"\(1, 2\)"),
        (lambda ax: plots.attractor({"a": WAVE}, ax=ax), "trajectories\\['a'\\]"),
    ],
)
def test_wrong_shapes_are_named(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(axes())


def test_own_figure_when_no_axes_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    before = dict(matplotlib.rcParams)
    made = plots.forecast(TIME, WAVE, {"esn": WAVE}, threshold=0.4)
    assert len(made.figure.axes) == 2
    assert dict(matplotlib.rcParams) == before
    plt.close(made.figure)


def test_import_is_lazy() -> None:
    code = "import sys, dynlab.plots; assert 'matplotlib' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
