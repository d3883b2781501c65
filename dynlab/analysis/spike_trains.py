"""Measures of spike trains: intervals, correlations of counts, distances, Lempel-Ziv complexity.

Rates and synchrony are in :mod:`dynlab.analysis.activity`. All functions work under ``jit`` and ``vmap``.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree

Array = jax.Array


@tree.dataclass
class SpikeTimes:
    """Times of spikes, filled up to one length.

    Attributes:
        times: (..., N, max_spikes), ascending, inf after the last.
        count: int32 (..., N), spikes of the train, also of those for which there was no room.
        status: int32 (..., N): 0 all are there, 1 there was room for the first `max_spikes` only.
    """

    times: Array
    count: Array
    status: Array


def _trains(name: str, value: Any) -> Array:
    """Floats (..., T, N), not empty; concrete ones are 0 or 1."""
    out = check.array(name, value, finite=False)
    if out.ndim < 2 or 0 in out.shape[-2:]:
        raise ValueError(f"{name} must have shape (..., time, units), none empty, got {out.shape}")
    if not check.is_traced(out):
        host = np.asarray(out)
        if np.any((host != 0) & (host != 1)):
            raise ValueError(f"{name} must be 0 or 1, got {host[(host != 0) & (host != 1)][0]}")
    return out


@jax.jit
def _isi_cv(s: Array) -> Array:
    n_steps = s.shape[-2]
    steps = jnp.arange(n_steps, dtype=jnp.int32)[:, None]
    spike = s > 0
    latest = jax.lax.cummax(jnp.where(spike, steps, -1), axis=s.ndim - 2)
    before = jnp.concatenate([jnp.full_like(latest[..., :1, :], -1), latest[..., :-1, :]], axis=-2)
    closes = spike & (before >= 0)  # a spike that ends an interval
    interval = jnp.where(closes, steps - before, 0).astype(s.dtype)
    count = jnp.sum(closes, axis=-2)
    mean = jnp.sum(interval, axis=-2) / jnp.maximum(count, 1)
    spread = jnp.sum(jnp.where(closes, (interval - mean[..., None, :]) ** 2, 0.0), axis=-2) / jnp.maximum(count, 1)
    enough = (count >= 2) & jnp.all(jnp.isfinite(s), axis=-2)
    return jnp.where(enough, jnp.sqrt(spread) / jnp.where(mean > 0, mean, 1.0), jnp.nan)


def isi_cv(spikes: Any) -> Array:
    """Coefficient of variation of the intervals between spikes: standard deviation over mean.

    0 for a clock, 1 for a Poisson process, :math:`\\sqrt{1 - p}` for one spike a step with probability p. The standard
    deviation divides by the number of intervals; short records miss long intervals and give too little.

    Args:
        spikes: (..., T, N), 0 or 1.

    Returns:
        (..., N); NaN for a unit of fewer than three spikes (two intervals).
    """
    return _isi_cv(_trains("spikes", spikes))


@partial(jax.jit, static_argnames="width")
def _count_correlation(x: Array, *, width: int) -> Array:
    n_bins = x.shape[-2] // width
    counts = jnp.sum(x[..., : n_bins * width, :].reshape(*x.shape[:-2], n_bins, width, x.shape[-1]), axis=-2)
    counts = counts - jnp.mean(counts, axis=-2, keepdims=True)
    varies = jnp.max(jnp.abs(counts), axis=-2) > 0.5 / n_bins  # a constant count leaves its rounding
    size = jnp.sqrt(jnp.sum(counts**2, axis=-2))
    unit = counts / jnp.where(varies, size, jnp.nan)[..., None, :]
    return jnp.matmul(jnp.swapaxes(unit, -1, -2), unit, precision="highest")


def count_correlation(spikes: Any, width: int) -> Array:
    """Pearson correlation of the spike counts of all pairs, in bins of `width` steps.

    It grows with the width up to that of the common fluctuations, so give the width with the number. Steps left over
    at the end are dropped.

    Args:
        spikes: (..., T, N), 0 or 1, at least two bins.

    Returns:
        (..., N, N); NaN where the counts of either unit do not vary.
    """
    x = _trains("spikes", spikes)
    width = check.integer("width", width, 1)
    if x.shape[-2] < 2 * width:
        raise ValueError(f"width must leave at least two bins of {x.shape[-2]} steps, got {width}")
    return _count_correlation(x, width=width)


@partial(jax.jit, static_argnames="max_spikes")
def _spike_times(s: Array, dt: Any, *, max_spikes: int) -> SpikeTimes:
    spike = jnp.swapaxes(s, -1, -2) > 0
    count = jnp.sum(spike, axis=-1, dtype=jnp.int32)
    steps = jnp.arange(spike.shape[-1], dtype=s.dtype)
    first = jnp.sort(jnp.where(spike, steps * dt, jnp.inf), axis=-1)[..., :max_spikes]
    missing = max_spikes - first.shape[-1]
    times = jnp.pad(first, [(0, 0)] * (first.ndim - 1) + [(0, max(missing, 0))], constant_values=jnp.inf)
    return SpikeTimes(times, count, (count > max_spikes).astype(jnp.int32))


def spike_times(spikes: Any, max_spikes: int, dt: float | Array = 1.0) -> SpikeTimes:
    """The times t dt of the spikes of each train: (..., T, N) of 0 or 1 -> :class:`SpikeTimes`."""
    x = _trains("spikes", spikes)
    check.integer("max_spikes", max_spikes, 1)
    check.scalar("dt", dt, 0.0, low_open=True)
    return _spike_times(x, dt, max_spikes=max_spikes)


@jax.jit
def _van_rossum(a: Array, b: Array, tau: Any, dt: Any) -> Array:
    keep = jnp.exp(-dt / tau)
    lost = -jnp.expm1(-2.0 * dt / tau)  # 1 - keep^2, of the squared trace between two steps

    def body(carry: tuple[Array, Array], step: Array) -> tuple[tuple[Array, Array], None]:
        trace, total = carry
        trace = keep * trace + step
        return (trace, total + trace**2), None

    steps = jnp.moveaxis(a - b, -2, 0)
    zeros = jnp.zeros(steps.shape[1:], a.dtype)
    (trace, total), _ = jax.lax.scan(body, (zeros, zeros), steps)
    return 0.5 * (lost * (total - trace**2) + trace**2)  # the last trace decays for ever


def van_rossum(a: Any, b: Any, tau: float | Array, dt: float | Array = 1.0) -> Array:
    r"""The squared van Rossum distance of spike trains (2001, doi:10.1162/089976601300014321).

    .. math:: D^2 = \frac1\tau \int_0^\infty (f - g)^2\, dt, \qquad
              f(t) = \sum_{t_i \le t} e^{-(t - t_i)/\tau}

    with the integral to infinity taken exactly. One spike more is worth 1/2, two spikes far apart 1; a small `tau`
    counts coincidences, a large one compares numbers of spikes.

    Args:
        a, b: (..., T, N), spikes at the same steps; counts are welcome.
        tau: time constant, in the unit of `dt`.

    Returns:
        (..., N), one distance a unit. Sum over units for a labelled population.
    """
    x, y = check.array("a", a), check.array("b", b)
    if x.ndim < 2 or 0 in x.shape[-2:] or x.shape != y.shape:
        raise ValueError(f"a and b must have one shape (..., time, units), none empty, got {x.shape} and {y.shape}")
    check.scalar("tau", tau, 0.0, low_open=True)
    check.scalar("dt", dt, 0.0, low_open=True)
    return _van_rossum(x, y, tau, dt)


@jax.jit
def _victor_purpura(a: Array, b: Array, cost: Any) -> Array:
    column = jnp.arange(b.shape[0] + 1, dtype=b.dtype)
    n_b = jnp.sum(jnp.isfinite(b))

    def row(above: Array, time: Array) -> tuple[Array, None]:
        """One spike of a: the cheapest way to turn the spikes of a up to it into the first j of b, for all j."""
        there = jnp.isfinite(time)
        apart = jnp.where(there & jnp.isfinite(b), jnp.abs(jnp.where(there, time, 0.0) - b), 0.0)
        down = above + 1.0
        best = jnp.concatenate([down[:1], jnp.minimum(down[1:], above[:-1] + cost * apart)])
        # an insertion costs 1 a step to the right: a running minimum once that slope is taken off
        return jnp.where(there, column + jax.lax.cummin(best - column), above), None

    return jax.lax.scan(row, column, a)[0][n_b]


def victor_purpura(a: Any, b: Any, cost: float | Array) -> Array:
    r"""The Victor-Purpura distance of two spike trains (1996, doi:10.1152/jn.1996.76.2.1310).

    The least total cost of turning one train into the other, where to delete or insert a spike costs 1 and to move one
    by :math:`\Delta t` costs :math:`q |\Delta t|`. With q = 0 it is the difference of the counts; for large q the
    number of spikes that do not coincide. Spikes further apart than 2/q are never matched. By dynamic programming, one
    scan over the spikes of `a`, each step of which is one vector operation over those of `b`.

    Args:
        a, b: (n,) and (m,) ascending times, filled up with inf behind the last (:func:`spike_times` makes them). Batch
            by ``jax.vmap``.
        cost: q, at least 0, per unit of time.

    Returns:
        scalar.
    """
    trains = []
    for name, value in (("a", a), ("b", b)):
        x = check.array(name, value, finite=False)
        if x.ndim != 1:
            raise ValueError(f"{name} must have shape (spikes,), got {x.shape}: batch by jax.vmap")
        if not check.is_traced(x):
            host = np.asarray(x)
            with np.errstate(invalid="ignore"):
                steps = np.diff(host[np.isfinite(host)])
            if np.isnan(host).any() or np.any(steps < 0) or np.any(np.isfinite(host[1:]) & ~np.isfinite(host[:-1])):
                raise ValueError(f"{name} must be ascending times with inf behind the last, got {host}")
        trains.append(x)
    check.scalar("cost", cost, 0.0)
    return _victor_purpura(trains[0], trains[1], jnp.asarray(cost, trains[0].dtype))


@jax.jit
def _lz76(s: Array) -> Array:
    n = s.shape[0]
    # row i of the reversed, padded sequence from n - i on is s[i - 1], s[i - 2], ...: the symbol `lag` before i
    mirrored = jnp.concatenate([s[::-1], s])
    lags = 1 + jnp.arange(n)

    def body(runs: Array, i: Array) -> tuple[Array, Array]:
        """runs[lag]: how long s[i:] agrees with s[i - lag:]."""
        earlier = jax.lax.dynamic_slice(mirrored, (n - i,), (n,))
        runs = jnp.where((earlier == s[i]) & (lags <= i), runs + 1, 0)
        return runs, jnp.max(runs)

    longest = jax.lax.scan(body, jnp.zeros(n, jnp.int32), jnp.arange(n), reverse=True)[1]

    def parse(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        start, count = carry
        return start + longest[start] + 1, count + 1

    zero = jnp.zeros((), jnp.int32)
    return jax.lax.while_loop(lambda carry: carry[0] < n, parse, (zero, zero))[1]


def lz76(sequence: Any) -> Array:
    """Lempel-Ziv complexity (1976): the number of words of the exhaustive history.

    From left to right, each word is the shortest one that does not occur earlier (overlap with itself allowed); a rest
    at the end counts as a word. "0001101001000101" is 0.001.10.100.1000.101, so 6. Sources: Lempel and Ziv,
    doi:10.1109/TIT.1976.1055501; Kaspar and Schuster, doi:10.1103/PhysRevA.36.842.

    Args:
        sequence: (n,) integers or booleans, any alphabet. Batch by ``jax.vmap``. For the complexity of a population
            flatten spikes (T, N) step by step, ``spikes.ravel()``.

    Returns:
        int32 scalar. Time and vector operations grow as n squared, memory as n.
    """
    if not check.is_traced(sequence):
        sequence = np.asarray(sequence)
    if sequence.ndim != 1 or sequence.shape[0] == 0:
        raise ValueError(f"sequence must have shape (n,), not empty, got {sequence.shape}: batch by jax.vmap")
    if jnp.issubdtype(sequence.dtype, jnp.floating):  # spikes of a simulation
        check.number("sequence", sequence)
        if not check.is_traced(sequence) and np.any(sequence != np.round(sequence)):
            raise ValueError("sequence must hold whole numbers, got fractions: binarise it first")
    elif not (jnp.issubdtype(sequence.dtype, jnp.integer) or sequence.dtype == bool):
        raise TypeError(f"sequence must be whole numbers or booleans, got dtype {sequence.dtype}")
    return _lz76(jnp.asarray(sequence, jnp.int32))


def lzc_norm(sequence: Any, n_symbols: int = 2) -> Array:
    r"""Normalised Lempel-Ziv complexity :math:`c \log_k n / n`, which tends to the entropy rate (in units of log k).

    For random bits of a thousand steps it is still some 7 % above 1: the excess at short n belongs to the measure, so
    compare sequences of one length only.

    Args:
        sequence: as :func:`lz76`. n_symbols: k, size of the alphabet.
    """
    c = lz76(sequence)
    check.integer("n_symbols", n_symbols, 2)
    n = jnp.shape(sequence)[0]
    return c.astype(check.default_float()) * (math.log(n) / math.log(n_symbols) / n)
