"""Figures of dynamics: what is drawn is what was given, in the right place, under the right name."""

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
PLANE = np.linalg.qr(RNG.normal(size=(6, 2)))[0].T  # two directions in six dimensions
RUNS = (RNG.normal(size=(4, 50, 2)) * np.array([3.0, 1.0])) @ PLANE + 5.0
POINTS = np.array([[2.0, 0.0], [0.0, 1.0], [-2.0, 0.0]]) @ PLANE + 5.0


def axes(projection: str | None = None) -> Any:
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot(projection=projection)


def texts(ax: Any) -> list[str]:
    return [item.get_text() for item in ax.get_legend().get_texts()]


def ink(ax: Any) -> int:
    """Pixels that are not white, of the axes alone."""
    ax.figure.canvas.draw()
    return int((np.asarray(ax.figure.canvas.buffer_rgba())[..., :3] < 250).any(axis=-1).sum())


def test_fixed_points_lie_in_the_plane_of_the_trajectories() -> None:
    ax = axes()
    blank = ink(ax)
    assert plots.fixed_point_map(POINTS, RUNS, [0, 1, 0], title="map", ax=ax) is ax
    assert texts(ax) == ["stable (2)", "1 unstable direction (1)"]
    shown = np.concatenate([np.asarray(group.get_offsets()) for group in ax.collections])
    expected = POINTS[[0, 2, 1]]  # the stable ones first
    apart = np.linalg.norm(expected[:, None] - expected[None], axis=-1)  # the plane holds them, so distances stay
    np.testing.assert_allclose(np.linalg.norm(shown[:, None] - shown[None], axis=-1), apart, rtol=1e-9, atol=1e-9)
    curve = np.asarray(ax.lines[0].get_xydata())
    assert curve.shape == (4 * 51, 2)  # a gap after each trajectory
    assert np.isnan(curve[50::51]).all()
    assert np.nanvar(curve[:, 0]) > np.nanvar(curve[:, 1])
    assert ax.get_xlabel().startswith("PC 1 (")
    shares = [int(label.split("(")[1].split(" ")[0]) for label in (ax.get_xlabel(), ax.get_ylabel())]
    assert sum(shares) == 100
    assert ax.get_title() == "map"
    assert ink(ax) > blank + 500


def test_directions_are_lines_through_the_unstable_points() -> None:
    ax = axes()
    directions = np.stack([PLANE[0], PLANE[1] * 7j + PLANE[0], np.full(6, np.nan)])
    plots.fixed_point_map(POINTS, RUNS, [0, 2, 1], directions=directions, length=0.1, ax=ax)
    assert len(ax.lines) == 2  # the trajectories, and the one unstable point that has a direction
    first, second = np.asarray(ax.lines[1].get_xydata())
    extent = max(np.ptp(np.asarray(ax.lines[0].get_xydata())[:, i][~np.isnan(ax.lines[0].get_xdata())]) for i in (0, 1))
    np.testing.assert_allclose(np.linalg.norm(second - first), 0.2 * extent, rtol=1e-9)
    middle = [group.get_offsets()[0] for group in ax.collections if group.get_label().startswith("2 unstable")]
    np.testing.assert_allclose((first + second) / 2, np.asarray(middle[0]), atol=1e-9)


def test_fixed_points_alone_and_in_three_dimensions() -> None:
    ax = axes()
    plots.fixed_point_map(POINTS, ax=ax)
    assert texts(ax) == ["fixed points (3)"]
    ax = axes("3d")
    plots.fixed_point_map(POINTS, RUNS[0], [0, 1, 2], dims=3, ax=ax)
    assert ax.get_zlabel() == "PC 3 (0 %)"
    assert texts(ax) == ["stable (1)", "1 unstable direction (1)", "2 unstable directions (1)"]
    ax.figure.canvas.draw()


def test_the_first_style_is_for_stable_points_alone() -> None:
    looks = []
    for counts in ([0, 1, 2], [7, 14, 2]):
        ax = axes()
        plots.fixed_point_map(POINTS, RUNS, counts, ax=ax)
        looks.append([(tuple(group.get_facecolor()[0]), group.get_paths()[0].vertices.tobytes()) for group in ax.collections])
    stable, *others = looks[0]
    assert stable not in others + looks[1]
    assert len(set(looks[1])) == 3


def test_eigenvalues_outside_the_circle_are_filled() -> None:
    ax = axes()
    values = np.array([0.5 + 0.5j, 0.5 - 0.5j, -1.5, 1.0])
    plots.eigenvalue_plane(values, ax=ax)
    assert texts(ax) == ["1 of 4 unstable"]
    inside, outside = ax.collections
    np.testing.assert_array_equal(outside.get_offsets(), [[-1.5, 0.0]])
    assert len(inside.get_offsets()) == 3
    assert len(inside.get_facecolor()) == 0  # hollow
    circle = max(ax.lines, key=lambda line: len(line.get_xdata()))
    np.testing.assert_allclose(np.hypot(*np.asarray(circle.get_xydata()).T), 1.0)
    ax.figure.canvas.draw()
    ax = axes()
    plots.eigenvalue_plane({"a": values, "b": values - 1.0}, continuous=True, ax=ax)
    assert texts(ax) == ["a: 3 of 4 unstable", "b: 0 of 4 unstable"]


def test_spectrum_shows_median_band_zero_and_dimension() -> None:
    ax = axes()
    many = np.array([[0.3, -0.1], [0.1, -0.3], [0.2, -0.9]])
    plots.spectrum({"net": many, "other": [0.0, -1.0, -2.0]}, kaplan_yorke={"net": 1.5}, ax=ax)
    zero, net, other = ax.lines
    assert list(zero.get_ydata()) == [0.0, 0.0]
    np.testing.assert_allclose(net.get_xydata(), [[1, 0.2], [2, -0.3]])
    np.testing.assert_allclose(other.get_xydata(), [[1, 0.0], [2, -1.0], [3, -2.0]])
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (-0.9, 0.3)
    assert texts(ax) == ["net: $D_{KY}$ = 1.50", "other"]
    assert ax.get_ylabel() == "Lyapunov exponent (nats per step)"
    ax.figure.canvas.draw()
    ax = plots.spectrum([0.9, 0.0, -14.6], kaplan_yorke=2.062, ax=axes())
    assert texts(ax) == ["$D_{KY}$ = 2.06"]
    assert plots.spectrum([0.9, 0.0], ax=axes()).get_legend() is None


def test_autocorrelation_in_units_of_time() -> None:
    decay = np.exp(-np.arange(20) / 5)
    units = np.stack([decay, 0.5 * decay])
    ax = plots.autocorrelation_fit(units, 2.0, {"tau = 10 ms": decay}, unit="ms", ax=axes())
    dots, fit = ax.lines[1:]
    np.testing.assert_allclose(dots.get_ydata(), 0.75 * decay)
    np.testing.assert_allclose(fit.get_xydata(), np.column_stack([2.0 * np.arange(20), decay]))
    assert texts(ax) == ["10 to 90 % of units", "autocorrelation", "tau = 10 ms"]
    assert ax.get_xlabel() == "lag (ms)"
    assert texts(plots.autocorrelation_fit(decay, ax=axes())) == ["autocorrelation"]


def test_capacities_are_stacked_to_their_total() -> None:
    ax = axes()
    values = np.array([[1.0, 2.0], [3.0, 1.0], [5.0, 0.0]])
    seeds = np.stack([values - 0.5, values + 0.5])
    plots.capacity_by_degree([0.1, 0.2, 0.3], seeds, xlabel="radius", degrees=[1, 3], bound=9.0, ax=ax)
    lower, upper = (layer.get_paths()[0].vertices for layer in ax.collections)
    for knob, row in zip((0.1, 0.2, 0.3), values, strict=True):
        assert max(lower[lower[:, 0] == knob, 1]) == row[0]
        assert max(upper[upper[:, 0] == knob, 1]) == row.sum()
    assert texts(ax) == ["bound N", "degree 3", "degree 1"]
    assert list(ax.lines[0].get_ydata()) == [9.0, 9.0]
    assert ax.get_xlabel() == "radius"
    colors = {to_rgba(layer.get_facecolor()[0]) for layer in ax.collections}
    assert len(colors) == 2


NAN = np.full((3, 6), np.nan)
BAD = {
    "points 1-D": (lambda ax: plots.fixed_point_map(POINTS[0], ax=ax), r"points must have shape \(P, n\), got \(6,\)"),
    "points NaN": (lambda ax: plots.fixed_point_map(NAN, ax=ax), r"points must be finite"),
    "trajectories": (lambda ax: plots.fixed_point_map(POINTS, RUNS[..., :5], ax=ax), r"trajectories must have shape \(..., T, 6\), got \(4, 50, 5\)"),
    "n_unstable": (lambda ax: plots.fixed_point_map(POINTS, RUNS, [0, 1], ax=ax), r"n_unstable must have shape \(3,\) like points, got \(2,\)"),
    "directions": (lambda ax: plots.fixed_point_map(POINTS, directions=POINTS[:2], ax=ax), r"directions must have shape \(3, 6\) like points, got \(2, 6\)"),
    "dims": (lambda ax: plots.fixed_point_map(POINTS, dims=4, ax=ax), r"dims must be 2 or 3 and at most n = 6, got 4"),
    "flat axes": (lambda ax: plots.fixed_point_map(POINTS, dims=3, ax=ax), r"ax must have projection '3d' for dims = 3"),
    "eigenvalues": (lambda ax: plots.eigenvalue_plane({"J": np.eye(2)}, ax=ax), r"eigenvalues\['J'\] must have shape \(n,\), got \(2, 2\)"),
    "eigenvalues NaN": (lambda ax: plots.eigenvalue_plane([np.nan], ax=ax), r"eigenvalues must be finite"),
    "exponents": (lambda ax: plots.spectrum(np.ones((2, 2, 2)), ax=ax), r"exponents must have shape \(k,\) or \(seeds, k\), got \(2, 2, 2\)"),
    "dimension": (lambda ax: plots.spectrum({"a": [1.0]}, kaplan_yorke={"b": 1.0}, ax=ax), r"kaplan_yorke must have the labels of exponents, \['a'\], got \['b'\]"),
    "acf": (lambda ax: plots.autocorrelation_fit(np.ones((2, 2, 2)), ax=ax), r"acf must have shape"),
    "fit": (lambda ax: plots.autocorrelation_fit(np.ones(5), 1.0, {"a": np.ones(4)}, ax=ax), r"fits\['a'\] must have shape \(5,\) like acf, got \(4,\)"),
    "per_degree": (lambda ax: plots.capacity_by_degree([1, 2, 3], np.ones((2, 3)), xlabel="x", ax=ax), r"per_degree must have shape \(3, D\) or \(seeds, 3, D\), got \(2, 3\)"),
    "degrees": (lambda ax: plots.capacity_by_degree([1, 2], np.ones((2, 3)), xlabel="x", degrees=[1], ax=ax), r"degrees must have shape \(3,\) like the last axis, got \(1,\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_shapes_are_named(case: str) -> None:
    call, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        call(axes())


def test_own_figure_when_no_axes_are_given() -> None:
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    before = dict(matplotlib.rcParams)
    for made in (plots.fixed_point_map(POINTS, dims=3), plots.eigenvalue_plane([0.5j]), plots.spectrum([0.1, -0.1])):
        assert made.figure.axes == [made]
        plt.close(made.figure)
    assert dict(matplotlib.rcParams) == before


def test_every_name_is_exported() -> None:
    for name in plots.__all__:
        assert getattr(plots, name) is not None
    assert {"memory_curve", "capacity_lines", "forecast", "heat_map", "attractor"} <= set(plots.__all__)
