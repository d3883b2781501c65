"""Paired comparison of adapted networks with the best global balance, on the same seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.stats

from experiments._statistics import student_reach

HIGHER = {"memory": True, "narma": False, "mackey_glass": False, "mackey_glass_valid": True, "lorenz": False,
          "lorenz_valid": True}
"""Measure -> whether more is better."""
TITLES = {"memory": "memory capacity", "narma": "NARMA-10 NRMSE", "mackey_glass": "Mackey-Glass NRMSE",
          "mackey_glass_valid": "Mackey-Glass valid steps", "lorenz": "Lorenz NRMSE",
          "lorenz_valid": "Lorenz valid steps"}


@dataclass(frozen=True)
class Comparison:
    """Adapted against global on n paired seeds.

    Attributes:
        best: index of the best global setting, chosen by the mean on these very seeds (which favours the global one).
        base, adapted: means over seeds. improvement: mean over seeds of the relative change in percent, positive where
            the adapted network is better; deviation: its standard deviation; low, high: 95 % interval of that mean
            (Student). n: seeds that both finished. p: two-sided paired t test of the difference.
    """

    best: int
    base: float
    adapted: float
    improvement: float
    deviation: float
    low: float
    high: float
    p: float
    n: int


def best_index(values: np.ndarray, higher: bool) -> int:
    """Index of the best setting of values (settings, seeds), by the mean over seeds; one with a failed seed only where
    all have some."""
    means = np.mean(values, axis=-1)
    if not np.isfinite(means).any():
        means = np.nanmean(values, axis=-1)
    return int(np.nanargmax(means) if higher else np.nanargmin(means))


def compare(overall: np.ndarray, adapted: np.ndarray, higher: bool) -> Comparison:
    """Compare adapted (seeds,) with the best row of overall (settings, seeds)."""
    best = best_index(overall, higher)
    base = overall[best]
    change = (adapted - base if higher else base - adapted) / np.abs(base) * 100.0
    n = np.isfinite(change).sum()
    mean, deviation = float(np.nanmean(change)), float(np.nanstd(change, ddof=1)) if n > 1 else float("nan")
    reach = student_reach(deviation, int(n))
    p = float(scipy.stats.ttest_rel(adapted, base, nan_policy="omit").pvalue) if n > 1 else float("nan")
    return Comparison(best, float(np.nanmean(base)), float(np.nanmean(adapted)), mean, deviation, mean - reach,
                      mean + reach, p, int(n))
