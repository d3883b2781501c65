"""Timescales of measured or simulated series: several estimators, side by side, with their bias."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import numpy as np

from dynlab import check, tree
from dynlab.analysis.autocorrelation import stacked, trial_autocorrelation
from dynlab.analysis.decay_estimates import (
    INVERSE_E,
    AreaTimescale,
    LagOneTimescale,
    crossing,
    integrated,
    lag_one,
    unflatten,
)
from dynlab.analysis.exponentials import ExponentialFit, choose, fit_columns, flags, separated

Array = jax.Array
FITTED = ("exp", "exp+offset", "two exp+offset")
MIN_LAGS = 5  # the fit of two exponentials with an offset has five parameters


@tree.dataclass
class Timescales:
    r"""Every estimate of the timescale of a series, in the unit of dt; (...,) is the shape of its channels.

    Attributes:
        exp, exp_offset, two_exp_offset: fits (:class:`dynlab.ExponentialFit`) of a exp(-t/tau), of the same with an
            offset (the default to trust), and of two exponentials with an offset.
        n_exponentials: int32 (...,), 1 or 2 by BIC between the fits with offset (see
            :func:`dynlab.compare_exponentials` for what that is worth); 0 where there is no fit.
        lag_one, integrated, one_over_e, half_life: see :func:`dynlab.lag_one_timescale`,
            :func:`dynlab.integrated_timescale` and :func:`dynlab.crossing_timescale`; the last is divided by ln 2.
        length: (...,), T / tau, the length of a trial in timescales, with tau of `exp_offset`.
        expected_offset: (...,), :math:`-2\tau/T`, by which taking off the sample mean shifts the autocorrelation, to
            first order in tau/T; compare ``exp_offset.offset``. Estimates without an offset are too small for it, by
            6 to 15 % at T = 50 tau (measured).
        acf: (lags + 1, ...), the autocorrelation that was fitted.
        status: int32 (...,), that of `exp_offset`.
    """

    exp: ExponentialFit
    exp_offset: ExponentialFit
    two_exp_offset: ExponentialFit
    n_exponentials: Array
    lag_one: LagOneTimescale
    integrated: AreaTimescale
    one_over_e: AreaTimescale
    half_life: AreaTimescale
    length: Array
    expected_offset: Array
    acf: Array
    status: Array

    @property
    def tau(self) -> Array:
        """The default estimate (...,): one exponential with an offset."""
        return self.exp_offset.tau[..., 0]

    def table(self) -> dict[str, np.ndarray]:
        """Columns with one row a channel, for ``pandas.DataFrame``."""
        columns = {
            "exp_offset": self.tau, "exp": self.exp.tau[..., 0], "lag_one": self.lag_one.tau,
            "lag_one_uncorrected": self.lag_one.tau_uncorrected, "integrated": self.integrated.tau,
            "one_over_e": self.one_over_e.tau, "half_life": self.half_life.tau,
            "two_slow": self.two_exp_offset.tau[..., 0], "two_fast": self.two_exp_offset.tau[..., 1],
            "n_exponentials": self.n_exponentials, "length": self.length, "offset": self.exp_offset.offset,
            "expected_offset": self.expected_offset, "status": self.status,
        }
        return {name: np.ravel(np.asarray(column)) for name, column in columns.items()}


@partial(jax.jit, static_argnames="lags")
def all_timescales(x: Array, dt: Any, *, lags: int) -> Timescales:
    """The compiled part of :func:`timescales`: (M, T, F) -> (F,) each."""
    acf = trial_autocorrelation(x, lags=lags)
    duration = x.shape[1] * dt
    exp, offset, two = separated(fit_columns(acf, dt, duration, *flags(*FITTED), 0), *FITTED)
    tau = offset.tau[:, 0]
    return Timescales(
        exp, offset, two, choose(offset, two).bic_number, lag_one(x, dt), integrated(acf, dt, 5.0),
        crossing(acf, dt, INVERSE_E), crossing(acf, dt, 0.5), duration / tau, -2.0 * tau / duration, acf,
        offset.status,
    )


def default_lags(n_steps: int) -> int:
    """A tenth of the series, at least 20 and at most 1,000 lags."""
    return max(MIN_LAGS, min(max(n_steps // 10, 20), 1000, n_steps - 1))


def reshaped(result: Timescales, channels: tuple[int, ...]) -> Timescales:
    """Timescales of (F,) channels with the shape of the channels put back."""
    flat = dataclasses.replace(result, acf=result.status)  # the one leaf with another axis first
    return dataclasses.replace(unflatten(flat, channels), acf=unflatten(result.acf, channels, 1))


def timescales(
    x: Any, dt: float | Array = 1.0, *, lags: int | None = None, trials: bool | None = None
) -> Timescales:
    """Every estimate of the timescale of each channel, side by side, with the bias to expect.

    The autocorrelation of all trials together (the mean of each taken off) is fitted with one exponential, with one and
    an offset, and with two and an offset; beside them stand the lag-one estimate, the area, and the crossings of 1/e
    and 1/2. Works under ``jit`` and ``vmap``: of ``simulate(...).outputs`` mapped over a knob it is one program.

    Args:
        x: (T,), (T, n), or trials (M, T, n); see :func:`dynlab.autocorrelation` for `trials`.
        dt: time per step: every tau is in its unit.
        lags: the largest lag in steps (static); default T/10, at least 20 and at most 1,000. A few tau is best.

    Returns:
        :class:`Timescales`. A channel that is constant or not finite has status 2 and NaN; 1 says that tau came out
        below one step or above the length of a trial.

    Raises:
        ValueError, TypeError: wrong shape, NaN or infinity, fewer than 7 steps, lags not in [5, T - 1], dt <= 0.
    """
    series, channels = stacked("x", x, trials, min_length=MIN_LAGS + 2)
    check.scalar("dt", dt, 0.0, low_open=True)
    n_steps = series.shape[1]
    lags = check.integer("lags", default_lags(n_steps) if lags is None else lags, MIN_LAGS, n_steps - 1)
    return reshaped(all_timescales(series, dt, lags=lags), channels)
