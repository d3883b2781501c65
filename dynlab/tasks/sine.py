"""Sine generation: a constant input says which frequency to produce."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.tasks.base import Trial, same_shape

Array = jax.Array


@tree.dataclass
class Sine:
    r"""Turn the level of a constant input into the frequency of a sine wave.

    .. math::
        u(t) = \frac{j}{n} + \text{offset}, \qquad y(t) = \sin(\omega_j t), \qquad
        \omega_j = \text{low} + (\text{high} - \text{low}) \frac{j - 1}{n - 1}, \qquad j \in \{1, ..., n\}

    with t = 0, dt, 2 dt, ...; for n = 1, omega = low. j is equally likely 1 .. n. The times before `transient` do not
    count. The network is to hold one oscillation (a fixed point with a slow complex pair, or a limit cycle) for each
    input level. Source of the task: D. Sussillo and O. Barak, Neural Computation 25, 626 (2013),
    doi:10.1162/NECO_a_00409.

    Attributes:
        low, high: angular frequencies, in rad per unit of time, 0 < low <= high <= pi / dt (knobs).
        offset: added to the input (knob).
        transient: time before the first step that counts (knob).
        length: steps (static).
        n_frequencies: n (static).
        dt: time a step (static).
    """

    low: float = 0.1
    high: float = 0.6
    offset: float = 0.25
    transient: float = 0.0
    length: int = tree.static(default=500)
    n_frequencies: int = tree.static(default=51)
    dt: float = tree.static(default=0.2)

    def sample(self, key: Array) -> Trial:
        """Draw a trial: inputs (length, 1), targets (length, 1), mask (length,).

        Raises:
            TypeError, ValueError: on an untyped key, a size below 1, frequencies out of order or above pi / dt, or a
                transient that leaves no step.
        """
        check.key("key", key)
        check.integer("length", self.length, 1)
        check.integer("n_frequencies", self.n_frequencies, 1)
        check.number("dt", self.dt, 0.0, low_open=True)
        for name in ("low", "high"):
            check.scalar(name, getattr(self, name), 0.0, np.pi / self.dt, low_open=True)
        if not check.is_traced(self.low, self.high) and float(self.low) > float(self.high):
            raise ValueError(f"low must be at most high, got low={self.low!r} and high={self.high!r}")
        check.scalar("offset", self.offset)
        check.scalar("transient", self.transient, 0.0)
        if not check.is_traced(self.transient) and float(self.transient) > (self.length - 1) * self.dt:
            last = (self.length - 1) * self.dt
            raise ValueError(f"transient must be at most {last:g}, the time of the last step, got {self.transient!r}")
        return _sample(self, key)

    def score(self, trial: Trial, outputs: Array) -> Array:
        r"""1 minus the squared error over the power of the target, on the steps that count.

        1 for a perfect output, 0 for zeros, negative for worse; outputs (length, 1).

        Raises:
            ValueError: if `outputs` has another shape than the targets.
        """
        same_shape(trial, outputs)
        counts = trial.mask[:, None] > 0
        error = jnp.sum(jnp.where(counts, outputs - trial.targets, 0.0) ** 2)
        power = jnp.sum(jnp.where(counts, trial.targets, 0.0) ** 2)
        return 1.0 - error / jnp.maximum(power, jnp.finfo(trial.targets.dtype).tiny)


@jax.jit
def _sample(task: Sine, key: Array) -> Trial:
    dtype, n = check.default_float(), task.n_frequencies
    low, high = jnp.asarray(task.low, dtype), jnp.asarray(task.high, dtype)
    index = jax.random.randint(key, (), 0, n).astype(dtype)
    omega = low + (high - low) * index / max(n - 1, 1)
    now = jnp.arange(task.length, dtype=dtype) * jnp.asarray(task.dt, dtype)
    inputs = jnp.full((task.length, 1), (index + 1.0) / n, dtype) + jnp.asarray(task.offset, dtype)
    first = jnp.ceil(jnp.asarray(task.transient, dtype) / task.dt - 1e-4)
    mask = (jnp.arange(task.length) >= first).astype(dtype)
    return Trial(inputs=inputs, targets=jnp.sin(omega * now)[:, None], mask=mask)
