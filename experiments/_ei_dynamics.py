"""What adaptation does to the dynamics: exponent, capacity by degree, timescale; and one network before and after."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import (
    EIReservoir,
    balance,
    check,
    information_processing_capacity,
    integrated_timescale,
    lyapunov,
    phase_map,
    simulate,
)
from dynlab.analysis.activity import firing_rates
from dynlab.analysis.autocorrelation import autocorrelation
from dynlab.keys import named
from dynlab.plasticity import adapt_inhibition, phases
from experiments._ei_measures import Adapted, Protocol, adapt

Array = jax.Array
N_STEPS, WARMUP, LAGS = 2000, 300, 200


def conditions(config: Any, best: float) -> dict[str, Any]:
    """Name -> reservoir with a global balance, or adapted reservoir."""
    knobs = {"in_degree": config.in_degree, "gain": config.gain, "input_scaling": config.dynamics_scaling}
    base = EIReservoir(n_units=config.n_units, **knobs)
    widest = max(config.heterogeneities)
    out = {"balance 0": base, f"best balance, {best:g}": base.replace(balance=best)}
    out["targets 0.5"] = Adapted(base, **knobs)
    if widest > 0:
        out[f"targets 0.5, heterogeneity {widest:g}"] = Adapted(base, **knobs, heterogeneity=widest)
    return out


@partial(jax.jit, static_argnames=("n_samples", "max_delays"))
def _measure(setting: Any, keys: Array, n_samples: int, max_delays: tuple[int, ...]) -> dict[str, Array]:
    def one(key: Array) -> dict[str, Array]:
        if isinstance(setting, Adapted):
            model, (params, *_) = setting.reservoir(), adapt(setting, Protocol(), key)
        else:
            model, params = setting, setting.init(named(key, "network"))
        u = jax.random.uniform(named(key, "dynamics"), (N_STEPS, 1), check.default_float(), -1.0, 1.0)
        spectrum = lyapunov(phase_map(model, params), u, k=1, warmup=WARMUP, key=named(key, "tangent"))
        found = information_processing_capacity(model, named(key, "capacity"), params=params,
                                                max_degree=len(max_delays), max_delays=max_delays,
                                                n_samples=n_samples, washout=WARMUP)
        states = simulate(model, params, u, washout=WARMUP).outputs
        area = integrated_timescale(autocorrelation(states, LAGS))
        of_units = jnp.where(area.status == 0, area.tau, jnp.nan)
        return {"exponent": spectrum.exponents[0], "capacity": found.per_degree,
                "timescale": jnp.nanmedian(of_units), "rate": jnp.mean(states)}

    return jax.lax.map(one, keys)


def measure(setting: Any, keys: Array, n_samples: int, max_delays: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Largest conditional exponent, capacity by degree, median timescale of a unit, mean rate: a row a network."""
    found = _measure(setting, keys, n_samples, max_delays)
    return {name: np.asarray(value, float) for name, value in found.items()}


def example(config: Any, key: Array) -> dict[str, np.ndarray]:
    """One network under the local rule: rates and balance of every unit before and after.

    Equal targets of 0.5 and, as "mixed", drawn ones of the largest heterogeneity.
    """
    scaling = config.dynamics_scaling
    base = EIReservoir(n_units=config.n_units)
    setting, spread = (Adapted(base, config.in_degree, config.gain, scaling, heterogeneity=wide)
                       for wide in (0.0, max(config.heterogeneities)))
    model = setting.reservoir()
    params = model.init(named(key, "network"))
    rule = config.protocol(False).adaptation
    rates = phases(*rule)
    u = jax.random.uniform(named(key, "input"), (rates.shape[0], 1), check.default_float(), -1.0, 1.0)
    mixed = spread.targets(named(key, "targets"))
    out = {"balance_before": balance(model, params).per_unit,
           "rates_before": firing_rates(simulate(model, params, u, washout=u.shape[0] // 5).outputs)}
    for name, targets in (("equal", jnp.full(config.n_units, 0.5)), ("mixed", mixed)):
        found = adapt_inhibition(model, params, u, targets, learning_rate=rates, every=max(1, u.shape[0] // 100))
        last = max(1, found.rates.shape[0] // 5)
        out |= {f"balance_{name}": found.balance[-1], f"rates_{name}": jnp.mean(found.rates[-last:], axis=0),
                f"targets_{name}": targets}
    return {name: np.asarray(value, float) for name, value in out.items()}
