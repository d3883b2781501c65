"""Statistics that several experiments report."""

from __future__ import annotations

import math

import scipy.stats


def student_reach(deviation: float, n: int) -> float:
    """Half the 95 % interval of a mean of n values with this standard deviation; NaN for fewer than two."""
    return float(scipy.stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n) if n > 1 else math.nan
