"""Timescales without a fit: from lag 1, from the area under an autocorrelation, from where it crosses a level."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.analysis.autocorrelation import scaled, stacked

Array = jax.Array
INVERSE_E = float(np.exp(-1.0))


@tree.dataclass
class LagOneTimescale:
    """Timescales from the autocorrelation at lag 1, -dt / ln phi, with and without corrections; (...,) each.

    Attributes:
        tau: corrected for the number of trials there are. tau_uncorrected: from phi as it is.
        tau_pooled, tau_single: corrected as if for very many trials, and as for one.
        phi: the sample autocorrelation at lag 1, uncorrected.
        status: int32: 0 fine; 1 where the corrected phi is not in (0, 1): tau is infinite at 1 and above, NaN at 0 and
            below; 2 where the series is constant or not finite (NaN).
    """

    tau: Array
    tau_uncorrected: Array
    tau_pooled: Array
    tau_single: Array
    phi: Array
    status: Array


@tree.dataclass
class AreaTimescale:
    """A timescale read off an autocorrelation without a fit.

    Attributes:
        tau: (...,). lag: (...,), where the sum was cut or the level crossed, in steps.
        status: int32 (...,): 0 fine; 1 the lags given do not reach that far, or the area is not positive (an
            autocorrelation that swings below 0 at once), which is no timescale; 2 not finite (NaN).
    """

    tau: Array
    lag: Array
    status: Array


def lag_one(x: Array, dt: Any) -> LagOneTimescale:
    """(M, T, F) -> (F,) each. 1 - phi is formed from differences: exact for slow series in float32."""
    y, varies = scaled(x)
    n_trials, n_steps = x.shape[:2]
    power = jnp.sum(jnp.sum(y * y, axis=1), axis=0)
    change = jnp.sum(jnp.sum(jnp.diff(y, axis=1) ** 2, axis=1), axis=0)
    ends = jnp.sum(y[:, 0] ** 2 + y[:, -1] ** 2, axis=0)
    safe = jnp.where(varies, power, 1.0)
    gap = ((change + ends) / 2 / safe - 1.0 / n_steps) * (n_steps / (n_steps - 1.0))
    gap = jnp.where(varies, gap, jnp.nan)

    def tau(weight: float) -> Array:  # phi + (1 + phi)/T + weight 2 phi/T; gap is 1 - phi
        corrected = gap - (2.0 - gap) / n_steps - weight * 2.0 * (1.0 - gap) / n_steps
        return _decay(corrected, dt)

    raw, here = _decay(gap, dt), tau(1.0 / n_trials)
    status = jnp.where(varies, jnp.where(jnp.isfinite(here), 0, 1), 2).astype(jnp.int32)
    return LagOneTimescale(here, raw, tau(0.0), tau(1.0), 1.0 - gap, status)


def _decay(gap: Array, dt: Any) -> Array:
    """-dt / ln(1 - gap): infinite for gap <= 0, NaN for gap >= 1 (and for NaN)."""
    inside = (gap > 0) & (gap < 1)
    tau = -dt / jnp.log1p(-jnp.where(inside, gap, 0.5))
    return jnp.where(inside, tau, jnp.where(gap <= 0, jnp.inf, jnp.nan))


def integrated(acf: Array, dt: Any, window: Any) -> AreaTimescale:
    """(L, F) -> (F,) each."""
    sums = 0.5 + jnp.cumsum(acf[1:], axis=0)
    lags = jnp.arange(1, acf.shape[0], dtype=acf.dtype)[:, None]
    enough = lags >= window * sums
    found = jnp.any(enough, axis=0)
    at = jnp.where(found, jnp.argmax(enough, axis=0), acf.shape[0] - 2)
    tau = dt * jnp.take_along_axis(sums, at[None], axis=0)[0]
    good = jnp.all(jnp.isfinite(acf), axis=0)
    status = jnp.where(good, jnp.where(found & (tau > 0), 0, 1), 2).astype(jnp.int32)
    return AreaTimescale(jnp.where(good, tau, jnp.nan), jnp.where(good, at + 1.0, jnp.nan).astype(acf.dtype), status)


def crossing(acf: Array, dt: Any, level: Any) -> AreaTimescale:
    """(L, F) -> (F,) each; between two lags the logarithm is taken as straight, which is exact for an exponential."""
    below = acf[1:] <= level
    found = jnp.any(below, axis=0)
    at = jnp.argmax(below, axis=0)[None]  # the last lag above the level
    high = jnp.take_along_axis(acf, at, axis=0)[0]
    low = jnp.take_along_axis(acf, at + 1, axis=0)[0]
    positive = (low > 0) & found
    steep = jnp.log(jnp.where(positive, high / jnp.where(positive, low, 1.0), 2.0))
    part = jnp.where(positive, jnp.log(jnp.where(found, high, 1.0) / level) / steep, (high - level) / (high - low))
    lag = at[0] + part
    good = jnp.all(jnp.isfinite(acf), axis=0)
    lag = jnp.where(good & found, lag, jnp.nan).astype(acf.dtype)
    status = jnp.where(good, jnp.where(found, 0, 1), 2).astype(jnp.int32)
    return AreaTimescale(-dt * lag / jnp.log(level), lag, status)


def unflatten(result: Any, channels: tuple[int, ...], skip: int = 0) -> Any:
    """Put the shape of the channels back where the flat channel axis is."""
    return jax.tree.map(lambda leaf: leaf.reshape(*leaf.shape[:skip], *channels, *leaf.shape[skip + 1 :]), result)


_lag_one = jax.jit(lag_one)
_integrated = jax.jit(integrated)
_crossing = jax.jit(crossing)


def _columns(acf: Any) -> tuple[Array, tuple[int, ...]]:
    acf = check.array("acf", acf, finite=False)
    if acf.ndim == 0 or acf.size == 0 or acf.shape[0] < 2:
        raise ValueError(f"acf must have shape (lags + 1, ...) with at least 1 lag, got {acf.shape}")
    return acf.reshape(acf.shape[0], -1), acf.shape[1:]


def lag_one_timescale(x: Any, dt: float | Array = 1.0, *, trials: bool | None = None) -> LagOneTimescale:
    r"""The timescale of a first-order process, :math:`\tau = -\Delta t / \ln \varphi`, from lag 1 alone.

    :math:`\hat\varphi = \hat\rho_1` (:func:`dynlab.autocorrelation`) is too small: by :math:`(1+\varphi)/T` since the
    mean of each trial is taken off, and by :math:`2\varphi/(TM)` since it is a ratio of two estimates from M trials.
    `tau` corrects both; for M = 1 that is :math:`\hat\varphi + (1 + 3\hat\varphi)/T` (Marriott and Pope 1954,
    doi:10.1093/biomet/41.3-4.390), for many trials :math:`\hat\varphi + (1+\hat\varphi)/T`.

    From one trial its scatter is a fifth (T = 50 tau) to a half (T = 500 tau) of that of a curve fit. It is wrong for a
    mixture of timescales and with noise of the measurement, which lowers phi: then fit from lag 1 on
    (``fit_timescales(acf, first_lag=1)``).

    Args:
        x, trials: as in :func:`dynlab.autocorrelation`. dt: time per step.

    Returns:
        :class:`LagOneTimescale`.
    """
    series, channels = stacked("x", x, trials, min_length=3)
    check.scalar("dt", dt, 0.0, low_open=True)
    return unflatten(_lag_one(series, dt), channels)


def integrated_timescale(acf: Any, dt: float | Array = 1.0, *, window: float | Array = 5.0) -> AreaTimescale:
    r"""The area under an autocorrelation, cut where it becomes noise.

    .. math:: \tau = \Delta t \Big(\tfrac12 + \sum_{k=1}^{K} \hat\rho_k\Big)

    up to the first lag K that is at least `window` times the sum so far in steps (Sokal's automatic window,
    doi:10.1007/978-1-4899-0319-8_6). For an exponential it is :math:`\tau(1 - e^{-5})`, 0.7 % low, and 0.08 (dt/tau)^2
    high for the step; the shift :math:`-2\tau/T` of a sample autocorrelation lowers it by about 10 tau/T more.

    Args:
        acf: (L, ...), lag 0 first. dt: time per lag. window: in timescales.

    Returns:
        :class:`AreaTimescale`; status 1 where the window is not reached (the sum over all lags) or the area is not
        positive.
    """
    flat, channels = _columns(acf)
    check.scalar("dt", dt, 0.0, low_open=True)
    check.scalar("window", window, 0.0, low_open=True)
    return unflatten(_integrated(flat, dt, window), channels)


def crossing_timescale(acf: Any, dt: float | Array = 1.0, *, level: float | Array = INVERSE_E) -> AreaTimescale:
    r"""The time at which an autocorrelation first falls to `level`, over :math:`-\ln(\mathrm{level})`.

    At the default 1/e it is that time itself; at 0.5 the half-life over ln 2. An exponential gives tau at any level.

    Args:
        acf: (L, ...), lag 0 first. dt: time per lag. level: in (0, 1).

    Returns:
        :class:`AreaTimescale`; status 1 and NaN where the level is not reached.
    """
    flat, channels = _columns(acf)
    check.scalar("dt", dt, 0.0, low_open=True)
    if np.ndim(level) != 0:
        raise ValueError(f"level must be one number, got shape {np.shape(level)}; to try several use jax.vmap")
    check.number("level", level, 0.0, 1.0, low_open=True, high_open=True)
    return unflatten(_crossing(flat, dt, level), channels)
