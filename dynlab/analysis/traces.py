"""Traces of units over ticks: rhythms, units that do nothing, likeness between units and between inputs."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.analysis.centring import centred

Array = jax.Array
TRENDS = ("mean", "line")


@tree.dataclass
class Periodicity:
    """The strongest rhythm of each trace, (..., D) each; NaN for a constant trace.

    Attributes:
        frequency: cycles per unit of dt, a multiple of 1 / (T dt). share: of the variance that it has, in (0, 1].
    """

    frequency: Array
    share: Array


@tree.dataclass
class DeadUnits:
    """Units that carry nothing, (D,) each.

    Attributes:
        constant: bool, the same value for all inputs at all ticks.
        unresponsive: bool, the same trace whatever the input (constant units included).
        spread: largest minus smallest value over inputs and ticks. input_spread: over inputs, at the tick where it is
            largest.
    """

    constant: Array
    unresponsive: Array
    spread: Array
    input_spread: Array


@tree.dataclass
class TraceSimilarity:
    """Cosines between traces; NaN where a trace is 0.

    Attributes:
        units: (D, D), between two units on the same input, mean over inputs.
        inputs: (D,), between two inputs in the same unit, mean over pairs of different inputs; NaN for one input.
    """

    units: Array
    inputs: Array


def trace_periodicity(z: Any, dt: float | Array = 1.0, *, detrend: str = "mean") -> Periodicity:
    r"""The dominant frequency of each trace and its share of the variance, from the power spectrum.

    A sine of whole periods has share 1; white noise of T steps about :math:`(\ln(T/2) + 0.58) / (T/2)`. A sine between
    two multiples of 1 / (T dt) keeps about 0.4 of its variance in the stronger one. A slow drift shows up as the
    lowest frequency: take a line off.

    Args:
        z: (..., T, D), at least 4 ticks. dt: time per tick.
        detrend: "mean" or "line", what is taken off each trace first (static).

    Returns:
        :class:`Periodicity`. Works under jit and vmap.

    Raises:
        ValueError, TypeError: fewer than 4 ticks, an empty axis, NaN, dt not positive, an unknown trend.
    """
    z = _traces(z, 2, 4, "(..., ticks, units)")
    check.scalar("dt", dt, 0.0, low_open=True)
    check.choice("detrend", detrend, TRENDS)
    return _periodicity(z, dt, detrend=detrend)


def dead_units(z: Any, tolerance: float | Array = 1e-3) -> DeadUnits:
    """Units whose trace varies by no more than a tolerance over inputs and ticks, or not with the input.

    Args:
        z: (B, T, D), inputs, ticks and units.
        tolerance: largest spread (maximum minus minimum) of a unit that counts as constant, in units of the root mean
            square of all entries of z.

    Returns:
        :class:`DeadUnits`. With one input every unit is unresponsive.

    Raises:
        ValueError: another shape, NaN, a negative tolerance.
    """
    z = _traces(z, 3, 1, "(inputs, ticks, units)", exact=True)
    check.scalar("tolerance", tolerance, 0.0)
    return _dead(z, tolerance)


def trace_similarity(z: Any) -> TraceSimilarity:
    """Cosine of traces across units and across inputs: (B, T, D) -> :class:`TraceSimilarity`.

    Nothing is taken off: traces of one sign are alike by that alone. Take off the mean for correlations.

    Raises:
        ValueError: another shape, NaN.
    """
    return _similarity(_traces(z, 3, 1, "(inputs, ticks, units)", exact=True))


def _traces(z: Any, n_axes: int, n_ticks: int, shape: str, *, exact: bool = False) -> Array:
    z = check.array("z", z)
    if z.ndim < n_axes or (exact and z.ndim > n_axes) or 0 in z.shape or z.shape[-2] < n_ticks:
        least = f" with at least {n_ticks} ticks" if n_ticks > 1 else ""
        raise ValueError(f"z must have shape {shape}{least} and not be empty, got {z.shape}")
    return z


@partial(jax.jit, static_argnames="detrend")
def _periodicity(z: Array, dt: Any, *, detrend: str) -> Periodicity:
    flat = z.reshape(-1, *z.shape[-2:])
    n_ticks = z.shape[-2]
    y, constant = jax.vmap(centred)(flat)
    if detrend == "line":
        ticks = jnp.arange(n_ticks, dtype=z.dtype)[:, None] - (n_ticks - 1) / 2
        y = y - ticks * jnp.sum(ticks * y, axis=-2, keepdims=True) / jnp.sum(ticks**2)
        rest, size = jnp.max(jnp.abs(y), axis=-2), jnp.max(jnp.abs(flat), axis=-2)
        constant |= rest <= 4 * jnp.finfo(z.dtype).eps * size * jnp.sqrt(1.0 * n_ticks)
    power = jnp.abs(jnp.fft.rfft(y, axis=-2)) ** 2
    k = jnp.arange(power.shape[-2])[:, None]
    power = jnp.where(k == 0, 0.0, jnp.where(2 * k == n_ticks, 1.0, 2.0)) * power  # each frequency stands for its twin
    best = jnp.argmax(power, axis=-2)
    total = jnp.sum(power, axis=-2)
    share = jnp.max(power, axis=-2) / jnp.where(constant, 1.0, total)
    frequency = best.astype(z.dtype) / (n_ticks * dt)
    shape = (*z.shape[:-2], z.shape[-1])
    frequency, share = (jnp.where(constant, jnp.nan, value).reshape(shape) for value in (frequency, share))
    return Periodicity(frequency, share)


@jax.jit
def _dead(z: Array, tolerance: Any) -> DeadUnits:
    level = tolerance * jnp.sqrt(jnp.mean(z**2))
    spread = jnp.max(z, axis=(0, 1)) - jnp.min(z, axis=(0, 1))
    across = jnp.max(jnp.max(z, axis=0) - jnp.min(z, axis=0), axis=0)
    return DeadUnits(spread <= level, across <= level, spread, across)


@jax.jit
def _similarity(z: Array) -> TraceSimilarity:
    size = jnp.sqrt(jnp.sum(z**2, axis=1, keepdims=True))
    unit = z / jnp.where(size > 0, size, jnp.nan)
    n = z.shape[0]
    units = jnp.einsum("btd,bte->de", unit, unit, precision="highest") / n
    total = jnp.sum(jnp.sum(unit, axis=0) ** 2, axis=0)  # n on the diagonal, and every pair twice
    inputs = (total - n) / (n * (n - 1)) if n > 1 else jnp.full_like(total, jnp.nan)
    return TraceSimilarity(jnp.clip(units, -1.0, 1.0), jnp.clip(inputs, -1.0, 1.0))
