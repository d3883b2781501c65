"""Avalanches by hand and by a loop; exponents of samples of known law, and the likelihood written out."""

# ruff: noqa: E501
from __future__ import annotations

import numpy as np
import pytest

from dynlab.analysis.avalanches import avalanches, power_law_exponent


def test_avalanches_by_hand():
    counts = [2, 0, 1, 3, 0, 0, 4, 0, 1, 1]
    got = avalanches(counts)
    np.testing.assert_array_equal(got.sizes, [4, 4])
    np.testing.assert_array_equal(got.durations, [2, 1])
    assert got.n_cut == 2  # the first and the last touch the ends
    wide = avalanches([0, 0, *counts], width=3)  # bins 2, 4, 4, 2
    assert (wide.sizes.size, wide.n_cut) == (0, 1)
    high = avalanches(counts, threshold=2.0)  # runs above 2, of the counts themselves
    np.testing.assert_array_equal(high.sizes, [3, 4])


def test_avalanches_of_trials_are_those_of_a_loop():
    counts = np.random.default_rng(0).poisson(0.7, (3, 400))
    sizes, durations = [], []
    for row in counts:
        run = []
        for i, c in enumerate(row):
            if c > 0:
                run.append((i, c))
            elif run:
                if run[0][0] > 0:
                    sizes.append(sum(c for _, c in run))
                    durations.append(len(run))
                run = []
    got = avalanches(counts)
    np.testing.assert_array_equal(got.sizes, sizes)
    np.testing.assert_array_equal(got.durations, durations)


@pytest.mark.parametrize(("alpha", "x_min"), [(1.6, 1), (2.5, 1), (2.5, 4), (3.2, 2)])
def test_exponent_of_a_power_law(alpha, x_min):
    values = np.random.default_rng(1).zipf(alpha, 30_000)
    values = values[values >= x_min]
    got = power_law_exponent(values, x_min=x_min)
    assert got.status == 0
    assert abs(got.exponent - alpha) < 4 * got.standard_error
    assert got.standard_error < 0.05
    assert got.distance < 1.7 / np.sqrt(values.size)


@pytest.mark.parametrize("x_max", [None, 40])
def test_exponent_is_the_maximum_of_the_likelihood(x_max):
    """The likelihood as an explicit sum, on a grid; the curvature gives the error (Cramer and Rao)."""
    values = np.random.default_rng(2).zipf(2.2, 4000)
    got = power_law_exponent(values, x_min=2, x_max=x_max)
    tail = values[(values >= 2) & (values <= (x_max or np.inf))].astype(float)
    assert got.n_tail == tail.size
    y = np.arange(2, (x_max or 2_000_000) + 1, dtype=float)
    grid = got.exponent + np.linspace(-0.02, 0.02, 5)
    like = np.array([-a * np.log(tail).sum() - tail.size * np.log((y**-a).sum()) for a in grid])
    fit = np.polyfit(grid - got.exponent, like, 2)
    assert -fit[1] / (2 * fit[0]) == pytest.approx(0.0, abs=2e-4)
    assert got.standard_error == pytest.approx(1 / np.sqrt(-2 * fit[0]), rel=0.01)
    p = y**-got.exponent / (y**-got.exponent).sum()
    seen = np.array([np.mean(tail <= v) for v in range(2, 200)])
    gap = np.abs(seen - np.cumsum(p)[:198] if x_max is None else seen[: x_max - 1] - np.cumsum(p)).max()
    assert got.distance == pytest.approx(gap, rel=1e-3)


def test_lower_end_is_found():
    """Uniform below 10 and a power law from there: Clauset's choice of x_min."""
    rng = np.random.default_rng(3)
    tail = rng.zipf(2.5, 400_000)
    tail = tail[tail >= 10]
    values = np.concatenate([rng.integers(1, 10, 4 * tail.size), tail])
    got = power_law_exponent(values)
    assert 9 <= got.x_min <= 16
    assert abs(got.exponent - 2.5) < 4 * got.standard_error
    assert power_law_exponent(values, x_min=1).distance > 10 * got.distance


def test_critical_branching_process_has_three_halves():
    """Galton-Watson trees with Poisson(1) offspring, cut at 2000: sizes 3/2, durations 2 (from their tails)."""
    rng = np.random.default_rng(4)
    sizes, durations = [], []
    for _ in range(20_000):
        alive, size, length = 1, 0, 0
        while alive and size < 2000:
            size, length, alive = size + alive, length + 1, rng.poisson(alive)
        if not alive:
            sizes.append(size)
            durations.append(length)
    got = power_law_exponent(sizes, x_min=10, x_max=1000)
    assert got.exponent == pytest.approx(1.5, abs=0.06)
    assert power_law_exponent(durations, x_min=12, x_max=40).exponent == pytest.approx(2.0, abs=0.3)


def test_too_few_and_no_power_law():
    few = power_law_exponent([1, 2, 3])
    assert few.status == 1
    assert np.isnan(few.exponent)
    assert few.n_tail == 3
    assert power_law_exponent([], x_min=1).status == 1
    assert power_law_exponent(np.full(100, 7)).status == 2
    rising = np.repeat(np.arange(1, 30), np.arange(1, 30))
    assert power_law_exponent(rising, x_min=1, x_max=29).status == 2
    assert power_law_exponent(np.random.default_rng(5).zipf(2.0, 500), x_min=10_000_000).status == 1


BAD = {
    "negative": (lambda: avalanches([1, -1]), ValueError, r"counts must be finite and in \[0.0, inf\]"),
    "shape": (lambda: avalanches(np.zeros((2, 3, 4))), ValueError, r"counts must have shape \(T,\) or \(trials, T\), not empty, got \(2, 3, 4\)"),
    "empty": (lambda: avalanches([]), ValueError, r"counts must have shape .* got \(0,\)"),
    "wide": (lambda: avalanches([1, 2], width=3), ValueError, r"width must be in \[1, 2\], got 3"),
    "threshold": (lambda: avalanches([1, 2], threshold=-1), ValueError, r"threshold must be finite and in \[0.0, inf\], got -1"),
    "zero": (lambda: power_law_exponent([0, 1]), ValueError, r"values must be finite and in \[1.0, inf\]"),
    "fraction": (lambda: power_law_exponent([1, 2.5]), ValueError, r"values must be whole numbers, got 2.5"),
    "range": (lambda: power_law_exponent([1, 2], x_min=5, x_max=5), ValueError, r"x_max must be at least 6, got 5"),
    "lower end": (lambda: power_law_exponent([1, 2], x_min=0), ValueError, r"x_min must be at least 1, got 0"),
    "samples": (lambda: power_law_exponent([1, 2], min_samples=1), ValueError, r"min_samples must be at least 2, got 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()
