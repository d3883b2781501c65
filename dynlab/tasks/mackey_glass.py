"""The Mackey-Glass delay equation."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.tasks.base import Trial, ahead, check_flow, n_substeps, n_transient

Array = jax.Array
History = Callable[[Array], Array]


def mackey_glass_field(
    state: Array, delayed: Array, beta: float = 0.2, gamma: float = 0.1, exponent: float = 10.0
) -> Array:
    """dx/dt = beta x(t - tau) / (1 + x(t - tau)^exponent) - gamma x(t), elementwise.

    Source: M. C. Mackey and L. Glass, Science 197, 287 (1977), doi:10.1126/science.267326.
    """
    return beta * delayed / (1.0 + delayed**exponent) - gamma * state


def mackey_glass_solve(
    history: History, n_steps: int, step: float, tau: float, beta: float, gamma: float, exponent: float
) -> Array:
    """The solution at times 0, step, ..., (n_steps - 1) step, for x(t) = history(t) at t <= 0.

    RK4 in time. The delayed value of each stage comes from `history` before time 0 and from the cubic Hermite
    interpolant of the solution and its derivative after it (error O(step^4)), so tau need be no multiple of the
    step. The whole solution is kept as the delay's buffer, which is why tau may be traced.

    Args:
        history: x at times <= 0, scalar -> scalar.
        n_steps: number of values returned.
        step: internal step; the delayed value lies in the past only if step <= tau (not checked here).

    Returns:
        (n_steps,)
    """
    start = jnp.asarray(history(jnp.zeros(())))
    dtype = start.dtype
    delay = jnp.asarray(tau / step, dtype)
    # delayed position of the stages at 0, 1/2 and 1 of a step, in steps from the step's start: whole + fraction,
    # apart, so that no precision is lost at late times
    position = jnp.asarray([0.0, 0.5, 1.0], dtype) - delay
    whole = jnp.floor(position).astype(jnp.int32)
    fraction = position - whole

    def field(state: Array, delayed: Array) -> Array:
        return mackey_glass_field(state, delayed, beta, gamma, exponent).astype(dtype)

    def delayed(nodes: Array, index: Array, x: Array, k1: Array | float) -> Array:
        """The three delayed values, from the stored (value, slope) at the ends of their intervals, (3, 2, 2)."""
        left = index + whole
        newest = (left[:, None] + jnp.arange(2) == index)[..., None]  # known now, not stored yet
        nodes = jnp.where(newest, jnp.stack([x, jnp.asarray(k1, dtype)]), nodes)
        (x0, m0), (x1, m1) = nodes[:, 0].T, nodes[:, 1].T
        m0, m1, s = step * m0, step * m1, fraction
        cubic = x0 + s * (m0 + s * (3.0 * (x1 - x0) - 2.0 * m0 - m1 + s * (2.0 * (x0 - x1) + m0 + m1)))
        before = jax.vmap(history)(jnp.minimum((left + s) * step, 0.0))
        return jnp.where(left < 0, before, cubic).astype(dtype)

    def advance(carry: tuple[Array, Array], index: Array) -> tuple[tuple[Array, Array], None]:
        path, x = carry
        # every read comes before the one write: otherwise XLA copies the whole buffer at each step
        nodes = path[index + whole[:, None] + jnp.arange(2)]  # (3, 2, 2); clamped where `history` is used
        k1 = field(x, delayed(nodes, index, x, 0.0)[0])
        _, middle, end = delayed(nodes, index, x, k1)
        k2 = field(x + 0.5 * step * k1, middle)
        k3 = field(x + 0.5 * step * k2, middle)
        k4 = field(x + step * k3, end)
        path = jax.lax.dynamic_update_slice(path, jnp.stack([x, k1])[None], (index, jnp.zeros_like(index)))
        return (path, x + (step / 6.0) * (k1 + 2.0 * k2 + 2.0 * k3 + k4)), None

    path = jnp.zeros((n_steps, 2), dtype)
    return jax.lax.scan(advance, (path, start), jnp.arange(n_steps))[0][0][:, 0]


@tree.dataclass
class MackeyGlass:
    """Forecast of the Mackey-Glass equation, (length, 1), unscaled.

    Integrator: RK4 with cubic Hermite interpolation of the delayed value (:func:`mackey_glass_solve`); each
    sampling interval `dt` is cut into equal steps of at most `max_step`, so neither changes the attractor: at
    tau = 17 the series stays in 0.418 .. 1.318, mean 0.93, standard deviation 0.225 to 0.227. The history before
    time 0 is drawn from the key (four Fourier modes of random amplitude and phase about a random level, between
    0.3 and 1.5); `transient` units of time are discarded.

    Attributes:
        tau, beta, gamma, exponent: delay and coefficients (knobs); tau must be at least the internal step, and
            the series is NaN where a traced tau is not.
        length: number of samples (static).
        horizon: steps between input and target of :meth:`sample` (static).
        dt: sampling interval (static).
        max_step: longest internal step (static).
        transient: discarded time (static).
    """

    tau: float = 17.0
    beta: float = 0.2
    gamma: float = 0.1
    exponent: float = 10.0
    length: int = tree.static(default=5000)
    horizon: int = tree.static(default=1)
    dt: float = tree.static(default=1.0)
    max_step: float = tree.static(default=0.1)
    transient: float = tree.static(default=1000.0)

    def series(self, key: Array) -> Array:
        """The solution, (length, 1)."""
        _check(self, key)
        return _series(self, key, self.length)

    def sample(self, key: Array) -> Trial:
        """Prediction `horizon` steps ahead: inputs = series(key), (length, 1); targets (length, 1)."""
        _check(self, key)
        return ahead(_series(self, key, self.length + self.horizon), self.horizon)


def _check(task: MackeyGlass, key: Array) -> None:
    check.key("key", key)
    check_flow(task)
    step = task.dt / n_substeps(task.dt, task.max_step)
    check.number("tau", task.tau, 0.0, low_open=True)
    if not check.is_traced(task.tau) and np.any(np.asarray(task.tau) < step):
        raise ValueError(f"tau must be at least the internal step {step:g}, got {task.tau!r}: lower max_step")
    for name in ("beta", "gamma", "exponent"):
        check.number(name, getattr(task, name), 0.0)


@functools.partial(jax.jit, static_argnames="length")
def _series(task: MackeyGlass, key: Array, length: int) -> Array:
    dtype = check.default_float()
    level_key, size_key, phase_key = jax.random.split(key, 3)
    level = jax.random.uniform(level_key, (), dtype, 0.7, 1.1)
    size = jax.random.uniform(size_key, (4,), dtype, 0.0, 0.1)
    phase = jax.random.uniform(phase_key, (4,), dtype, 0.0, 2.0 * jnp.pi)
    modes = 2.0 * jnp.pi * jnp.arange(1, 5, dtype=dtype) / task.tau

    def history(time: Array) -> Array:
        return (level + jnp.sum(size * jnp.sin(modes * time + phase))).astype(dtype)

    count, skip = n_substeps(task.dt, task.max_step), n_transient(task.transient, task.dt)
    step = task.dt / count
    n_steps = (skip + length - 1) * count + 1
    fine = mackey_glass_solve(history, n_steps, step, task.tau, task.beta, task.gamma, task.exponent)
    series = fine[::count][skip:, None]
    return jnp.where(jnp.asarray(task.tau) >= step, series, jnp.nan)
