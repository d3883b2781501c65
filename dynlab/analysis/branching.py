"""Two measures of how activity spreads, which share a name in the literature and nothing else.

:func:`branching_factor` is a ratio read off the wiring: spikes of a unit's targets after each of its spikes, over
spikes of its sources before. :func:`branching_ratio` is the parameter m of a branching process, estimated from the
total activity alone. Neither can stand for the other: only m is 1 at the critical point of a branching process.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.analysis.centring import centred

Array = jax.Array

FINE, NOTHING, NOT_FINITE, AT_BOUND = 0, 1, 2, 3
SMALLEST, LARGEST = 1e-3, 1.5  # m: a series that grows faster is no stationary one
GRID, HALVINGS = 48, 40  # values of m on either side of 1; a bracket of float64 needs 40 or so


@tree.dataclass
class BranchingFactor:
    """Spikes of the targets over spikes of the sources, around each spike.

    Attributes:
        value: scalar, mean of `per_sample` over the samples in which some unit spikes.
        per_sample: (samples,), mean of `per_unit` over the units that spike; NaN where none does.
        per_unit: (samples, N), mean over the unit's spikes; NaN for a unit without.
        n_silent: int32, samples in which no unit spikes, which `value` leaves out.
        status: int32; 0 fine, 1 no sample has a spike (NaN), 2 `spikes` were not finite (NaN).
    """

    value: Array
    per_sample: Array
    per_unit: Array
    n_silent: Array
    status: Array


@tree.dataclass
class BranchingRatio:
    r"""The branching ratio of the total activity.

    Attributes:
        m: scalar, the branching ratio.
        b: scalar, the factor of :math:`r_k = b\, m^k`; below 1 where only a part of the units was seen.
        tau: scalar, the autocorrelation time :math:`-\Delta t / \ln m`; inf for m of 1 and more.
        slopes: (max_lag - min_lag + 1,), :math:`r_k`.
        residual: scalar, root mean square of :math:`r_k - b\, m^k`. Compare it with b: a series whose slopes are no
            single exponential (input that changes in time, oscillations) has no m.
        status: int32; 0 fine, 1 the activity does not vary (NaN), 2 not finite (NaN), 3 m is at the end of its range
            (0.001 to 1.5) or b is not positive: the slopes do not decay as a branching process's do; the numbers are
            given as they came out.
    """

    m: Array
    b: Array
    tau: Array
    slopes: Array
    residual: Array
    status: Array


def _mean_where(x: Array, use: Array, axis: int) -> Array:
    """Mean of the entries to use; NaN where there are none."""
    count = jnp.sum(use, axis=axis)
    return jnp.where(count > 0, jnp.sum(jnp.where(use, x, 0.0), axis=axis) / jnp.maximum(count, 1), jnp.nan)


@partial(jax.jit, static_argnames=("window", "margin"))
def _branching_factor(spikes: Array, pre: Array, post: Array, *, window: int, margin: int) -> BranchingFactor:
    n_steps, n = spikes.shape[-2:]
    first, last = margin + window, n_steps - margin - window
    real = (pre >= 0) & (pre < n) & (post >= 0) & (post < n)
    pre, post = jnp.where(real, pre, n), jnp.where(real, post, n)  # n: dropped by the sum, zero in the read

    def summed(x: Array, read: Array, write: Array) -> Array:
        """(N, T) -> (N, T): the sum of x over the partners of each unit."""
        return jax.ops.segment_sum(x.at[read].get(mode="fill", fill_value=0.0), write, n)

    def one(s: Array) -> Array:
        s = s.T
        shifted = lambda k: s[:, first + k : last + k]  # noqa: E731
        after = jnp.sum(jnp.stack([shifted(k) for k in range(1, window + 1)]), axis=0)
        before = jnp.sum(jnp.stack([shifted(-k) for k in range(1, window + 1)]), axis=0)
        ratio = summed(after, post, pre) / jnp.maximum(summed(before, pre, post), 1.0)
        here = shifted(0)
        count = jnp.sum(here, axis=1)
        return jnp.where(count > 0, jnp.sum(here * ratio, axis=1) / jnp.where(count > 0, count, 1.0), jnp.nan)

    # one sample at a time: the sums hold a row of steps for each synapse
    per_unit = jax.lax.map(one, spikes)
    per_sample = _mean_where(per_unit, ~jnp.isnan(per_unit), -1)
    spiking = ~jnp.isnan(per_sample)
    finite = jnp.all(jnp.isfinite(spikes))
    blank = lambda x: jnp.where(finite, x, jnp.nan)  # noqa: E731
    value = blank(_mean_where(per_sample, spiking, 0))
    status = jnp.where(finite, jnp.where(jnp.any(spiking), FINE, NOTHING), NOT_FINITE).astype(jnp.int32)
    return BranchingFactor(value, blank(per_sample), blank(per_unit), jnp.sum(~spiking, dtype=jnp.int32), status)


def _indices(name: str, value: Any, n_units: int) -> Array:
    if not check.is_traced(value):
        value = np.asarray(value)
    if value.ndim != 1:
        raise ValueError(f"{name} must have shape (synapses,), got {value.shape}")
    if not jnp.issubdtype(value.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers, got dtype {value.dtype}")
    check.number(name, value, -1, n_units - 1)
    return jnp.asarray(value, jnp.int32)


def branching_factor(spikes: Any, pre: Any, post: Any, *, window: int = 4, margin: int = 25) -> BranchingFactor:
    r"""The topological branching factor: spikes of the targets after a spike, over spikes of the sources before it.

    For each spike of unit i at time t

    .. math:: \beta_i(t) = \frac{\sum_{j:\, i \to j} \sum_{k=1}^{\Delta} s_j(t + k)}
              {\max\big(1,\ \sum_{j:\, j \to i} \sum_{k=1}^{\Delta} s_j(t - k)\big)},

    averaged over the spikes of a unit, then over the units that spike, then over the samples. Spikes outside
    [margin, T - margin) are left out, and t runs over the steps whose windows lie inside: with the defaults and 250
    steps, [25, 225) and [29, 221). Source: Ivanov and Michmizos, NeurIPS 2021, arXiv:2111.01760 (their code).

    This is **not** the branching ratio m of a branching process (:func:`branching_ratio`): every target counts for
    every source, so that a unit's spikes are counted again and again, and the value at a critical point is not 1 by
    construction.

    Args:
        spikes: (T, N), or (samples, T, N), 0 or 1 (a count counts so many times).
        pre, post: (E,) integers: synapse e leads from unit ``pre[e]`` to unit ``post[e]``, both among the N units
            (input synapses do not belong here). -1 in either marks no synapse, so that lists of several networks can be
            filled up to one length and batched by ``jax.vmap``.
        window: :math:`\Delta` in steps. margin: steps left out at either end.

    Returns:
        :class:`BranchingFactor`; works under jit and vmap.

    Raises:
        ValueError, TypeError: fewer than 2 (margin + window) + 1 steps, indices out of range or not integer.
    """
    x = check.series("spikes", spikes, finite=False)
    check.number("spikes", jnp.nan_to_num(x) if not check.is_traced(x) else x, 0.0)
    window, margin = check.integer("window", window, 1), check.integer("margin", margin, 0)
    if x.shape[-2] <= 2 * (margin + window):
        raise ValueError(f"spikes must have more than 2 (margin + window) = {2 * (margin + window)} steps, "
                         f"got {x.shape[-2]}")
    pre, post = _indices("pre", pre, x.shape[-1]), _indices("post", post, x.shape[-1])
    if pre.shape != post.shape:
        raise ValueError(f"post must have shape {pre.shape} like pre, got {post.shape}")
    return _branching_factor(x if x.ndim == 3 else x[None], pre, post, window=window, margin=margin)


def _slope(a: Array, k: Array) -> Array:
    """The least-squares slope of A(t + k) on A(t), over all t and trials: (trials, T) -> scalar."""
    n = a.shape[-1]
    use = jnp.arange(n) < n - k
    later = jnp.roll(a, -k, axis=-1)
    count = a.shape[0] * (n - k).astype(a.dtype)
    x = jnp.where(use, a - jnp.sum(jnp.where(use, a, 0.0)) / count, 0.0)
    y = jnp.where(use, later - jnp.sum(jnp.where(use, later, 0.0)) / count, 0.0)
    power = jnp.sum(x * x)
    return jnp.sum(x * y) / jnp.where(power > 0, power, 1.0)


def _fit_decay(r: Array, k: Array) -> tuple[Array, Array, Array]:
    """Least squares of b m^k on r: ``(log m, b, at the end of the range)``.

    b is linear, so m is the only unknown: the best of a grid, then the root of the slope between its neighbours.
    """
    steps = np.geomspace(1e-6, 1.0, GRID)
    grid = jnp.asarray([*(np.log(SMALLEST) * steps[::-1]), 0.0, *(np.log(LARGEST) * steps)], r.dtype)

    def shaped(log_m: Array) -> tuple[Array, Array]:
        """The curve that is 1 at the first lag, since m^k itself underflows, and its factor."""
        curve = jnp.exp((k - k[0]) * log_m)
        return curve, jnp.sum(curve * r) / jnp.sum(curve * curve)

    def loss(log_m: Array) -> Array:
        curve, factor = shaped(log_m)
        return jnp.sum((factor * curve - r) ** 2)

    def halve(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        curve, factor = shaped(middle)
        rising = factor * jnp.sum((factor * curve - r) * (k - k[0]) * curve) > 0  # the factor's own change adds nothing
        return jnp.where(rising, low, middle), jnp.where(rising, middle, high)

    best = jnp.argmin(jax.vmap(loss)(grid))
    edge = (best == 0) | (best == grid.size - 1)
    start = grid[jnp.maximum(best - 1, 0)], grid[jnp.minimum(best + 1, grid.size - 1)]
    low, high = jax.lax.fori_loop(0, HALVINGS, halve, start)
    log_m = jnp.where(edge, grid[best], 0.5 * (low + high))
    b = shaped(log_m)[1] * jnp.exp(-k[0] * log_m)
    return log_m, b, edge | ~(b > 0)


@partial(jax.jit, static_argnames=("min_lag", "max_lag"))
def _branching_ratio(a: Array, dt: Any, *, min_lag: int, max_lag: int) -> BranchingRatio:
    finite = jnp.all(jnp.isfinite(a))
    flat, constant = centred(jnp.where(finite, a, 0.0).reshape(-1, 1))
    varies = ~constant[0]
    a = flat.reshape(a.shape) / jnp.where(varies, jnp.max(jnp.abs(flat)), 1.0)
    lags = jnp.arange(min_lag, max_lag + 1)
    r = jax.lax.map(partial(_slope, a), lags)
    k = lags.astype(a.dtype)
    log_m, b, edge = _fit_decay(r, k)
    m, curve = jnp.exp(log_m), b * jnp.exp(k * log_m)
    good = finite & varies
    status = jnp.where(finite, jnp.where(varies, jnp.where(edge, AT_BOUND, FINE), NOTHING), NOT_FINITE)
    blank = lambda x: jnp.where(good, x, jnp.nan)  # noqa: E731
    tau = jnp.where(log_m < 0, -dt / jnp.where(log_m < 0, log_m, -1.0), jnp.inf)
    return BranchingRatio(blank(m), blank(b), blank(tau), blank(r), blank(jnp.sqrt(jnp.mean((curve - r) ** 2))),
                          status.astype(jnp.int32))


def branching_ratio(
    counts: Any, *, max_lag: int, min_lag: int = 1, dt: float | Array = 1.0
) -> BranchingRatio:
    r"""The branching ratio m by multistep regression, which holds when only a part of the units is seen.

    In a branching process with drive h, :math:`\langle A(t+1) \mid A(t) \rangle = m A(t) + h`, the slope of the
    regression of A(t + k) on A(t) is :math:`r_k = b\, m^k`, where b is 1 when all units are seen and smaller when some
    are: the slope at k = 1 alone is then too small, the decay with k is not (Wilting and Priesemann 2018,
    doi:10.1038/s41467-018-04725-4). b and m are fitted to :math:`r_k` by least squares, k = min_lag ... max_lag.

    Slopes of T steps are low by some :math:`(1 + 3m)/T` (Marriott and Pope 1954, doi:10.1093/biomet/41.3-4.390), so use
    series of many autocorrelation times. The topological ratio of the same name
    is :func:`branching_factor`.

    Args:
        counts: (T,), the activity of all units seen in each step; or (trials, T), of one stationary process, whose
            regressions share their means.
        max_lag: largest k; a few autocorrelation times. min_lag: smallest.
        dt: time of a step, the unit of ``tau``.

    Returns:
        :class:`BranchingRatio`; works under jit and vmap.

    Raises:
        ValueError, TypeError: fewer than max_lag + 2 steps, fewer than 2 lags, dt not positive.
    """
    a = check.array("counts", counts)
    if a.ndim not in (1, 2) or 0 in a.shape:
        raise ValueError(f"counts must have shape (T,) or (trials, T), not empty, got {a.shape}")
    min_lag = check.integer("min_lag", min_lag, 1)
    max_lag = check.integer("max_lag", max_lag, min_lag + 1)
    if a.shape[-1] < max_lag + 2:
        raise ValueError(f"counts must have at least max_lag + 2 = {max_lag + 2} steps, got {a.shape[-1]}")
    check.scalar("dt", dt, 0.0, low_open=True)
    return _branching_ratio(a if a.ndim == 2 else a[None], dt, min_lag=min_lag, max_lag=max_lag)
