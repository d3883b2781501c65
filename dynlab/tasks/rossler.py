"""The Rössler flow."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.tasks.base import Trial, ahead, check_flow, integrate, n_transient

Array = jax.Array


def rossler_field(state: Array, a: float = 0.2, b: float = 0.2, c: float = 5.7) -> Array:
    """dx/dt = -y - z; dy/dt = x + a y; dz/dt = b + z (x - c); state (3,) -> (3,).

    The divergence is a + x - c, so the Lyapunov exponents sum to its mean along the trajectory.
    Source: O. E. Rössler, Phys. Lett. A 57, 397 (1976), doi:10.1016/0375-9601(76)90101-8.
    """
    x, y, z = state[0], state[1], state[2]
    return jnp.stack([-y - z, x + a * y, b + z * (x - c)])


@tree.dataclass
class Rossler:
    """Forecast of the Rössler system, all three coordinates observed, unscaled.

    Integrator: classical RK4, each sampling interval `dt` cut into equal steps of at most `max_step`. The start
    is drawn from the key, uniform in [-5, 5] x [-5, 5] x [0, 1]; `transient` units of time are discarded.

    Ground truth ends where two right solutions part. From 64 starts on the attractor, the time until the error,
    root mean square over coordinates in units of their standard deviations, exceeds 0.4, in Lyapunov times
    (1 / 0.0714): the default step in float32 against float64 with the step halved: median 11.5 (least 6.5);
    float64 against float64 with the step halved: median 11.5 (least 6.5).

    Attributes:
        a, b, c: coefficients (knobs).
        length: number of samples (static).
        horizon: steps between input and target of :meth:`sample` (static).
        dt: sampling interval (static).
        max_step: longest internal step (static).
        transient: discarded time (static).
    """

    a: float = 0.2
    b: float = 0.2
    c: float = 5.7
    length: int = tree.static(default=5000)
    horizon: int = tree.static(default=1)
    dt: float = tree.static(default=0.1)
    max_step: float = tree.static(default=0.025)
    transient: float = tree.static(default=200.0)

    def series(self, key: Array) -> Array:
        """The trajectory, (length, 3)."""
        _check(self, key)
        return _series(self, key, self.length)

    def sample(self, key: Array) -> Trial:
        """Prediction `horizon` steps ahead: inputs = series(key), (length, 3); targets (length, 3)."""
        _check(self, key)
        return ahead(_series(self, key, self.length + self.horizon), self.horizon)


def _check(task: Rossler, key: Array) -> None:
    check.key("key", key)
    check_flow(task)
    for name in ("a", "b", "c"):
        check.number(name, getattr(task, name))


@functools.partial(jax.jit, static_argnames="length")
def _series(task: Rossler, key: Array, length: int) -> Array:
    dtype = check.default_float()
    low, high = jnp.asarray([-5.0, -5.0, 0.0], dtype), jnp.asarray([5.0, 5.0, 1.0], dtype)
    start = jax.random.uniform(key, (3,), dtype, low, high)

    def field(state: Array) -> Array:
        return rossler_field(state, task.a, task.b, task.c).astype(dtype)

    skip = n_transient(task.transient, task.dt)
    return integrate(field, start, task.dt, skip + length, task.max_step)[skip:]
