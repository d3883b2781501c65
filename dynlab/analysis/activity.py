"""Measures of activity: rates, entropy, saturated and silent units, synchrony. All work under ``jit`` and ``vmap``."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check
from dynlab.analysis.centring import centred

Array = jax.Array


def _series(states: Any) -> Array:
    """Floats (..., T, N), neither axis empty."""
    out = check.array("states", states)
    if out.ndim < 2 or 0 in out.shape[-2:]:
        raise ValueError(f"states must have shape (..., time, units), none empty, got {out.shape}")
    return out


def firing_rates(states: Any) -> Array:
    """Mean over time: (..., T, N) -> (..., N). Of spikes (0 or 1 a step), the rate in spikes a step."""
    return jnp.mean(_series(states), axis=-2)


def rate_error(rates: Any, targets: Any) -> Array:
    r"""Mean over units of :math:`|r_i - \rho_i|`: (..., N) and a number, (N,) or (..., N) -> (...)."""
    rates, targets = check.array("rates", rates), check.array("targets", targets)
    if rates.ndim == 0 or targets.shape not in ((), rates.shape[-1:], rates.shape):
        raise ValueError(f"targets must be a number, (units,) or shaped like rates {rates.shape}, got {targets.shape}")
    return jnp.mean(jnp.abs(rates - targets), axis=-1)


def neuronal_entropy(states: Any, *, bins: int = 50, low: float = 0.0, high: float = 1.0) -> Array:
    r"""Mean over units of the entropy of a unit's values over time, in bits.

    .. math:: H_i = -\sum_b p_{ib} \log_2 p_{ib}

    with :math:`p_{ib}` the share of time in bin b of `bins` equal ones on [low, high]; values outside count in the bin
    at that end. At most log2(bins); the estimate from T samples is low by about (bins - 1) / (2 T ln 2) at most
    (Miller 1955).

    Args:
        states: (..., T, N).

    Returns:
        (...).
    """
    x = _series(states)
    check.integer("bins", bins, 1)
    check.scalar("low", low)
    check.scalar("high", high, -jnp.inf if check.is_traced(low) else float(low), low_open=True)
    return _entropy(x, low, high, bins=bins)


@partial(jax.jit, static_argnames="bins")
def _entropy(x: Array, low: Any, high: Any, *, bins: int) -> Array:
    index = jnp.clip(jnp.floor((x - low) / (high - low) * bins), 0, bins - 1).astype(jnp.int32)
    # a sorted search, bin by bin, would cost T log T; a sum per bin never holds a one-hot of (T, N, bins)
    share = jax.lax.map(lambda b: jnp.mean(index == b, axis=-2, dtype=x.dtype), jnp.arange(bins))
    terms = jnp.where(share > 0, -share * jnp.log2(jnp.where(share > 0, share, 1.0)), 0.0)
    entropy = jnp.mean(jnp.sum(terms, axis=0), axis=-1)
    return jnp.where(jnp.all(jnp.isfinite(x), axis=(-2, -1)), entropy, jnp.nan)


def saturated_fraction(states: Any, level: float = 0.95) -> Array:
    """Share of units whose mean over time is above `level`: (..., T, N) -> (...)."""
    return _share(firing_rates(states), jnp.greater, level)


def silent_fraction(states: Any, level: float = 0.05) -> Array:
    """Share of units whose mean over time is below `level`: (..., T, N) -> (...)."""
    return _share(firing_rates(states), jnp.less, level)


def _share(rates: Array, compare: Any, level: float) -> Array:
    check.number("level", level)
    share = jnp.mean(compare(rates, level), axis=-1, dtype=rates.dtype)
    return jnp.where(jnp.all(jnp.isfinite(rates), axis=-1), share, jnp.nan)


def synchrony(states: Any) -> Array:
    r"""How much of the units' variance the population mean has (Golomb and Rinzel 1993, doi:10.1103/PhysRevE.48.4810).

    .. math:: \chi = \sqrt{\frac{\mathrm{Var}_t(\langle x_i \rangle_i)}{\langle \mathrm{Var}_t(x_i) \rangle_i}}

    1 in unison, about :math:`1/\sqrt N` for independent units, 0 where nothing varies: (..., T, N) -> (...).
    """
    x = _series(states)
    # first: two close numbers squared lose all digits in float32, and the rounding of a constant is in unison
    x = jax.vmap(lambda one: centred(one)[0])(x.reshape(-1, *x.shape[-2:])).reshape(x.shape)
    common = jnp.mean(jnp.mean(x, axis=-1) ** 2, axis=-1)
    own = jnp.mean(x**2, axis=(-2, -1))
    chi = jnp.sqrt(common / jnp.where(own > 0, own, 1.0))
    return jnp.where(jnp.isfinite(own), chi, jnp.nan)
