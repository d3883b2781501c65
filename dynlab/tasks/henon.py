"""The Hénon map."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.tasks.base import Trial, ahead

Array = jax.Array


def henon_map(state: Array, a: float = 1.4, b: float = 0.3) -> Array:
    """x' = 1 - a x^2 + y; y' = b x; state (2,) -> (2,).

    The Jacobian's determinant is -b everywhere, so the Lyapunov exponents sum to ``ln |b|``.
    Source: M. Hénon, Commun. Math. Phys. 50, 69 (1976), doi:10.1007/BF01608556.
    """
    x, y = state[0], state[1]
    return jnp.stack([1.0 - a * x * x + y, b * x])


@tree.dataclass
class Henon:
    """Forecast of the Hénon map, both coordinates observed, unscaled.

    The start is drawn from the key, uniform in [-0.1, 0.1]^2 (inside the basin of the classic attractor);
    `transient` iterations are discarded. Coefficients without a bounded attractor give infinite or NaN values.

    Attributes:
        a, b: coefficients (knobs).
        length: number of iterations kept (static).
        horizon: steps between input and target of :meth:`sample` (static).
        transient: discarded iterations (static).
    """

    a: float = 1.4
    b: float = 0.3
    length: int = tree.static(default=5000)
    horizon: int = tree.static(default=1)
    transient: int = tree.static(default=500)

    def series(self, key: Array) -> Array:
        """The orbit, (length, 2)."""
        _check(self, key)
        return _series(self, key, self.length)

    def sample(self, key: Array) -> Trial:
        """Prediction `horizon` steps ahead: inputs = series(key), (length, 2); targets (length, 2)."""
        _check(self, key)
        return ahead(_series(self, key, self.length + self.horizon), self.horizon)


def _check(task: Henon, key: Array) -> None:
    check.key("key", key)
    check.integer("length", task.length, 1)
    check.integer("horizon", task.horizon, 1)
    check.integer("transient", task.transient, 0)
    check.number("a", task.a)
    check.number("b", task.b)


@functools.partial(jax.jit, static_argnames="length")
def _series(task: Henon, key: Array, length: int) -> Array:
    dtype = check.default_float()
    start = jax.random.uniform(key, (2,), dtype, -0.1, 0.1)

    def step(state: Array, _: None) -> tuple[Array, Array]:
        return henon_map(state, task.a, task.b).astype(dtype), state

    return jax.lax.scan(step, start, None, length=task.transient + length)[1][task.transient :]
