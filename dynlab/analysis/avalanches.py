"""Neuronal avalanches: sizes and durations of bursts, and the exponent of a discrete power law by maximum likelihood.

Lists of avalanches have no fixed length, so these functions run on the host, in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dynlab import check, tree

FINE, TOO_FEW, NO_FINITE_EXPONENT = 0, 1, 2
SHALLOWEST, STEEPEST = 1.0 + 1e-6, 20.0  # the range in which an exponent is looked for


@tree.dataclass
class Avalanches:
    """The avalanches of a record, in order of time (NumPy arrays).

    Attributes:
        sizes: (n,), spikes of each. durations: (n,) int64, its bins.
        n_cut: avalanches that touch either end of a record, which are left out: their size is not known.
    """

    sizes: np.ndarray
    durations: np.ndarray
    n_cut: int


@tree.dataclass
class PowerLaw:
    r"""A discrete power law :math:`p(x) \propto x^{-\alpha}` fitted to the tail of a sample.

    Attributes:
        exponent: alpha. standard_error: of alpha, from the curvature of the likelihood.
        x_min, x_max: the range of the fit, ends included; x_max is inf without an upper end.
        n_tail: how many values lie in it.
        distance: of Kolmogorov and Smirnov, the largest gap between the distributions of sample and fit. It says how
            well the law fits, not whether it is the right one: a log-normal may fit as well.
        status: 0 fine; 1 fewer than `min_samples` values in the range (numbers NaN); 2 the likelihood has no maximum
            inside (1, 20): all values equal, or a tail too flat for a power law (numbers NaN).
    """

    exponent: float
    standard_error: float
    x_min: int
    x_max: float
    n_tail: int
    distance: float
    status: int


def avalanches(counts: Any, *, width: int = 1, threshold: float = 0.0) -> Avalanches:
    """Cut activity into avalanches: runs of bins above `threshold` between bins that are not (Beggs and Plenz 2003).

    Sizes and durations depend on the width of a bin, so give it with every number; the mean interval between spikes of
    the whole population is a usual choice. Source: doi:10.1523/JNEUROSCI.23-35-11167.2003.

    Args:
        counts: (T,), or (trials, T), spikes of all units in each step.
        width: steps in a bin; steps left over at the end are dropped. threshold: at least 0.

    Returns:
        :class:`Avalanches`.

    Raises:
        ValueError, TypeError: wrong shape, negative or not finite counts, fewer than one bin.
    """
    check.number("counts", counts, 0.0)
    values = np.asarray(counts, dtype=float)
    if values.ndim not in (1, 2) or 0 in values.shape:
        raise ValueError(f"counts must have shape (T,) or (trials, T), not empty, got {values.shape}")
    check.integer("width", width, 1, values.shape[-1])
    check.scalar("threshold", threshold, 0.0)
    values = np.atleast_2d(values)
    n_bins = values.shape[1] // width
    bins = values[:, : n_bins * width].reshape(-1, n_bins, width).sum(axis=-1)
    sizes, durations, n_cut = [], [], 0
    for row in bins:
        edges = np.diff(np.concatenate([[0], row > threshold, [0]]).astype(int))
        starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        whole = (starts > 0) & (ends < n_bins)
        n_cut += int((~whole).sum())
        total = np.concatenate([[0.0], np.cumsum(row)])
        sizes.append((total[ends] - total[starts])[whole])
        durations.append((ends - starts)[whole])
    return Avalanches(np.concatenate(sizes), np.concatenate(durations).astype(np.int64), n_cut)


def _above(alpha: float, x: Any, x_max: float) -> Any:
    """The sum of y^-alpha from x to x_max."""
    from scipy.special import zeta  # where it is used: importing dynlab stays light

    return zeta(alpha, x) - (zeta(alpha, x_max + 1) if np.isfinite(x_max) else 0.0)


def _mass(alpha: float, x_min: int, x_max: float) -> float:
    """The sum of x^-alpha over the range."""
    return float(_above(alpha, x_min, x_max))


def _distance(tail: np.ndarray, alpha: float, x_min: int, x_max: float) -> float:
    values, number = np.unique(tail, return_counts=True)
    fitted = 1.0 - _above(alpha, values + 1.0, x_max) / _mass(alpha, x_min, x_max)
    seen = np.cumsum(number) / tail.size
    # between two values seen, the law rises and the sample does not: look just below each value too
    just_below = fitted - values**-alpha / _mass(alpha, x_min, x_max)
    seen_below = np.concatenate([[0.0], seen[:-1]])
    return float(max(np.abs(seen - fitted).max(), np.abs(seen_below - just_below).max()))


def _fit(tail: np.ndarray, x_min: int, x_max: float, min_samples: int) -> PowerLaw:
    def failed(status: int) -> PowerLaw:
        return PowerLaw(np.nan, np.nan, x_min, x_max, int(tail.size), np.nan, status)

    if tail.size < min_samples:
        return failed(TOO_FEW)
    from scipy.optimize import minimize_scalar

    mean_log = float(np.mean(np.log(tail)))

    def cost(alpha: float) -> float:
        return float(alpha * mean_log + np.log(_mass(alpha, x_min, x_max)))

    found = minimize_scalar(cost, bounds=(SHALLOWEST, STEEPEST), method="bounded", options={"xatol": 1e-8})
    alpha = float(found.x)
    if min(alpha - SHALLOWEST, STEEPEST - alpha) < 1e-3:
        return failed(NO_FINITE_EXPONENT)
    step = 1e-3
    curvature = (cost(alpha + step) - 2.0 * cost(alpha) + cost(alpha - step)) / step**2
    error = 1.0 / np.sqrt(tail.size * curvature)
    return PowerLaw(alpha, float(error), x_min, x_max, int(tail.size), _distance(tail, alpha, x_min, x_max), FINE)


def power_law_exponent(
    values: Any, *, x_min: int | None = None, x_max: int | None = None, min_samples: int = 50
) -> PowerLaw:
    r"""The exponent of a discrete power law, by maximum likelihood (Clauset, Shalizi and Newman 2009).

    .. math:: p(x) = \frac{x^{-\alpha}}{\sum_{y = x_{min}}^{x_{max}} y^{-\alpha}}

    Source: doi:10.1137/070710111. A line through a log-log histogram is biased and is not offered. Sizes of avalanches
    in a critical branching process have alpha = 3/2, their durations 2.

    Args:
        values: (n,) whole numbers of at least 1, such as sizes or durations of avalanches.
        x_min: the smallest value of the fit; None: the one whose fit is closest to its tail (least distance of
            Kolmogorov and Smirnov), among tails of at least `min_samples` values.
        x_max: the largest, such as the number of units where sizes are cut off; None: no upper end.
        min_samples: fewer values than this in the range give status 1.

    Returns:
        :class:`PowerLaw`.

    Raises:
        ValueError, TypeError: values that are not whole numbers of at least 1, an empty range.
    """
    check.number("values", values, 1.0)
    sample = np.asarray(values, dtype=float).ravel()
    if np.any(sample != np.round(sample)):
        first = sample[sample != np.round(sample)][0]
        raise ValueError(f"values must be whole numbers, got {first}")
    check.integer("min_samples", min_samples, 2)
    if x_min is not None:
        check.integer("x_min", x_min, 1)
    if x_max is not None:
        check.integer("x_max", x_max, (x_min or 1) + 1)
    top = float("inf") if x_max is None else float(x_max)
    sample = np.sort(sample[sample <= top])
    if x_min is not None:
        return _fit(sample[sample >= x_min], x_min, top, min_samples)
    starts = np.unique(sample[: max(sample.size - min_samples + 1, 0)]).astype(int)  # each leaves min_samples or more
    fits = [_fit(sample[sample >= start], int(start), top, min_samples) for start in starts if start < top]
    fits = [fit for fit in fits if fit.status == FINE]
    if fits:
        return min(fits, key=lambda fit: fit.distance)
    return _fit(sample, int(sample[0]) if sample.size else 1, top, min_samples)
