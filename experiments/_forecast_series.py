"""The series of the forecast experiment: how each is cut into stretches, and a Lorenz truth that lasts long enough."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check
from dynlab.tasks import Lorenz
from experiments import _forecasting as engine

Array = jax.Array
SYSTEMS = ("mackey_glass", "lorenz")
LORENZ_LONGEST = 12.0  # Lyapunov times; the truth computed by `lorenz_truth` lasts longer (docs/data.md)
LORENZ_STEP = 0.0025  # internal step of that truth
REAL = {"santa_fe": "Santa Fe laser", "sunspots_monthly": "sunspots (monthly)"}


def validate_plan(name: str, config: Any) -> None:
    """Refuse a configuration whose stretches of one series cannot hold its forecasts."""
    used = plan(name, config)
    knob = f"shrink = {config.shrink}"
    if name in SYSTEMS:
        knob += f", {name}_exponent = {getattr(config, f'{name}_exponent'):g}"
    if not 1 <= used.horizon <= used.longest:
        raise ValueError(
            f"{knob}: the horizon of {name} must be in [1, {used.longest}] steps, its longest forecast, "
            f"got {used.horizon}"
        )
    for stretch, size, reach in (("validation", used.validation, used.horizon), ("test", used.test, used.longest)):
        if size <= reach:
            raise ValueError(
                f"{knob}: the {stretch} stretch of {name} must be longer than a forecast ({reach}), got {size}"
            )
        check.integer(f"n_starts ({stretch} stretch of {name})", config.n_starts, 1, size - reach)
    if max(config.lag_counts) > used.washout:
        raise ValueError(f"lag_counts must be at most {used.washout}, the washout of {name}, got {config.lag_counts}")


def plan(name: str, config: Any) -> engine.Plan:
    """How the series of that name is cut into stretches."""
    if name == "santa_fe":
        return engine.Plan(200, 4000, 1500, 2500, 25, 100, config.n_starts, config.threshold)
    if name == "sunspots_monthly":
        return engine.Plan(100, 1700, 600, 720, 60, 132, config.n_starts, config.threshold)
    if name == "lorenz":
        steps = 1 / config.lorenz_exponent / Lorenz().dt
        horizon, longest = round(steps), round(LORENZ_LONGEST / 0.9056 / Lorenz().dt)
    else:
        horizon, longest = 84, round(8 / 0.0052)
    cut = config.shrink
    longest //= cut
    return engine.Plan(
        200, 4000 // cut, 1500 // cut, longest + 2000 // cut, horizon, longest, config.n_starts, config.threshold
    )


def lorenz_truth(keys: Array, length: int) -> Array:
    """Trajectories (keys, length, 3) computed in float64 with a halved step, then rounded to the default dtype.

    In float32 a solution is right for fewer Lyapunov times than forecasts are followed (docs/data.md).
    """
    dtype = check.default_float()
    with jax.enable_x64(True):
        series = np.asarray(jax.vmap(Lorenz(length=length, max_step=LORENZ_STEP).series)(keys))
    return jnp.asarray(series, dtype)
