"""The sample autocorrelation of one series or of several trials."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check
from dynlab.analysis.centring import centred

Array = jax.Array


def stacked(name: str, x: Any, trials: bool | None, *, min_length: int = 2) -> tuple[Array, tuple[int, ...]]:
    """A series or trials of one as (trials, time, channels), and the shape of the channels."""
    x = check.array(name, x)
    if trials is None:
        trials = x.ndim == 3
    if x.ndim < 1 + trials:
        want = "(trials, time, ...)" if trials else "(time, ...)"
        raise ValueError(f"{name} must have shape {want}, got {x.shape}")
    if 0 in x.shape:
        raise ValueError(f"{name} must not be empty, got shape {x.shape}")
    if not trials:
        x = x[None]
    if x.shape[1] < min_length:
        raise ValueError(f"{name} must have at least {min_length} time steps, got {x.shape[1]}")
    return x.reshape(*x.shape[:2], -1), x.shape[2:]


def scaled(x: Array) -> tuple[Array, Array]:
    """Trials (M, T, F) with the mean of each taken off, scaled to at most 1, and which channels vary (F,)."""
    y, constant = centred(x)
    size = jnp.max(jnp.abs(y), axis=(0, 1))
    varies = ~constant & jnp.isfinite(size)
    return y / jnp.where(varies, size, 1.0), varies


def fast_length(n: int) -> int:
    """The smallest 2^a 3^b 5^c of at least n: a good length for a Fourier transform."""
    powers = (2**a * 3**b * 5**c for a in range(n.bit_length() + 1) for b in range(9) for c in range(6))
    return min(length for length in powers if length >= n)


@partial(jax.jit, static_argnames="lags")
def trial_autocorrelation(x: Array, *, lags: int) -> Array:
    """The compiled part of :func:`autocorrelation`: (M, T, F) -> (lags + 1, F)."""
    y, varies = scaled(x)
    n_steps = x.shape[1]
    length = fast_length(n_steps + lags)
    power = jnp.sum(jnp.abs(jnp.fft.rfft(y, length, axis=1)) ** 2, axis=0)
    count = n_steps - np.arange(lags + 1)[:, None]
    covariance = jnp.fft.irfft(power, length, axis=0)[: lags + 1] / count.astype(x.dtype)
    return jnp.where(varies, covariance / jnp.where(varies, covariance[0], 1.0), jnp.nan)


def autocorrelation(x: Any, lags: int, *, trials: bool | None = None) -> Array:
    r"""Sample autocorrelation along time.

    .. math:: \hat\rho_k = \frac{\hat c_k}{\hat c_0}, \qquad
        \hat c_k = \frac{1}{M (T-k)} \sum_{m=1}^{M} \sum_{t=1}^{T-k} (x^m_t - \bar x^m)(x^m_{t+k} - \bar x^m)

    The mean of each trial is taken off, products are divided by their number T - k ("unbiased"), averaged over trials,
    and the result is divided by lag 0. Taking off the sample mean shifts the expected values by about
    :math:`-2\tau/T`, however many trials are averaged: fit with an offset (:func:`dynlab.fit_timescales`).
    By a zero-padded Fourier transform, so no lag wraps around.

    Args:
        x: (T, ...), or (trials, T, ...) where `trials` says so; by default a 3-D array is (trials, T, n), and any other
            has time first.
        lags: the largest lag in steps (static), at most T - 1.
        trials: True or False overrules the default.

    Returns:
        (lags + 1, ...), lag 0 first (1 by construction). NaN in channels that are constant or not finite (concrete data
        that are not finite are refused).

    Raises:
        ValueError, TypeError: wrong shape, NaN or infinity, lags not in [1, T - 1].
    """
    series, channels = stacked("x", x, trials)
    lags = check.integer("lags", lags, 1, series.shape[1] - 1)
    return trial_autocorrelation(series, lags=lags).reshape(lags + 1, *channels)
