"""The Lorenz-63 flow."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.tasks.base import Trial, ahead, check_flow, integrate, n_transient

Array = jax.Array


def lorenz_field(state: Array, sigma: float = 10.0, rho: float = 28.0, beta: float = 8.0 / 3.0) -> Array:
    """dx/dt = sigma (y - x); dy/dt = x (rho - z) - y; dz/dt = x y - beta z; state (3,) -> (3,).

    The divergence is -(sigma + 1 + beta) everywhere, so the Lyapunov exponents sum to it.
    Source: E. N. Lorenz, J. Atmos. Sci. 20, 130 (1963), doi:10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2.
    """
    x, y, z = state[0], state[1], state[2]
    return jnp.stack([sigma * (y - x), x * (rho - z) - y, x * y - beta * z])


@tree.dataclass
class Lorenz:
    """Forecast of the Lorenz-63 system, all three coordinates observed, unscaled.

    Integrator: classical RK4, each sampling interval `dt` cut into equal steps of at most `max_step`. The start
    is drawn from the key, uniform in [-10, 10] x [-10, 10] x [15, 35]; `transient` units of time are discarded.

    Ground truth ends where two right solutions part. From 256 starts on the attractor, the time until the error
    against float64 with the step halved, root mean square over coordinates in units of their standard deviations,
    exceeds 0.4, in Lyapunov times (1 / 0.9056): the default step in float32: median 12.3 (least 6.4), in float64:
    15.7 (11.7). Until it exceeds 0.01, float32: 8.8 (4.1). A smaller step gains nothing in float32 (step 0.0025:
    12.0), in float64 it does (18.2, least 13.4). Measured by ``experiments/bench/horizon.py``. A forecast scored
    beyond that horizon is scored against rounding.

    Attributes:
        sigma, rho, beta: coefficients (knobs).
        length: number of samples (static).
        horizon: steps between input and target of :meth:`sample` (static).
        dt: sampling interval (static).
        max_step: longest internal step (static).
        transient: discarded time (static).
    """

    sigma: float = 10.0
    rho: float = 28.0
    beta: float = 8.0 / 3.0
    length: int = tree.static(default=5000)
    horizon: int = tree.static(default=1)
    dt: float = tree.static(default=0.02)
    max_step: float = tree.static(default=0.005)
    transient: float = tree.static(default=40.0)

    def series(self, key: Array) -> Array:
        """The trajectory, (length, 3)."""
        _check(self, key)
        return _series(self, key, self.length)

    def sample(self, key: Array) -> Trial:
        """Prediction `horizon` steps ahead: inputs = series(key), (length, 3); targets (length, 3)."""
        _check(self, key)
        return ahead(_series(self, key, self.length + self.horizon), self.horizon)


def _check(task: Lorenz, key: Array) -> None:
    check.key("key", key)
    check_flow(task)
    for name in ("sigma", "rho", "beta"):
        check.number(name, getattr(task, name))


@functools.partial(jax.jit, static_argnames="length")
def _series(task: Lorenz, key: Array, length: int) -> Array:
    dtype = check.default_float()
    low, high = jnp.asarray([-10.0, -10.0, 15.0], dtype), jnp.asarray([10.0, 10.0, 35.0], dtype)
    start = jax.random.uniform(key, (3,), dtype, low, high)

    def field(state: Array) -> Array:
        return lorenz_field(state, task.sigma, task.rho, task.beta).astype(dtype)

    skip = n_transient(task.transient, task.dt)
    return integrate(field, start, task.dt, skip + length, task.max_step)[skip:]
