"""The memory task: give back the input of k steps ago."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.tasks.base import Trial

Array = jax.Array


@tree.dataclass
class Delay:
    """Recall of an independent, uniformly distributed input (the short-term memory task).

    u(t) ~ U[low, high), independent; column k of the targets is u(t - k) for k = 0 .. max_delay. The first
    max_delay steps are masked, because their targets would lie before the first input; there the targets are
    zero. Source: H. Jaeger, "Short term memory in echo state networks", GMD report 152 (2001).

    Attributes:
        low, high: bounds of the input (knobs).
        length: number of steps (static).
        max_delay: largest delay, in steps (static).
    """

    low: float = -1.0
    high: float = 1.0
    length: int = tree.static(default=1000)
    max_delay: int = tree.static(default=20)

    def sample(self, key: Array) -> Trial:
        """Draw a trial: inputs (length, 1), targets (length, max_delay + 1), mask (length,).

        Raises:
            TypeError, ValueError: on an untyped key, bounds out of order, or max_delay >= length.
        """
        check.key("key", key)
        check.integer("length", self.length, 1)
        check.integer("max_delay", self.max_delay, 0)
        if self.max_delay >= self.length:
            raise ValueError(f"max_delay must be smaller than length ({self.length} steps), got {self.max_delay}")
        check.number("low", self.low)
        check.number("high", self.high)
        if not check.is_traced(self.low, self.high) and not np.all(np.asarray(self.low) < np.asarray(self.high)):
            raise ValueError(f"low must be smaller than high, got low={self.low!r} and high={self.high!r}")
        return _sample(self, key)


@jax.jit
def _sample(task: Delay, key: Array) -> Trial:
    dtype = check.default_float()
    inputs = jax.random.uniform(key, (task.length,), dtype, task.low, task.high)
    padded = jnp.concatenate([jnp.zeros(task.max_delay, dtype), inputs])
    index = jnp.arange(task.length)[:, None] + task.max_delay - jnp.arange(task.max_delay + 1)
    mask = (jnp.arange(task.length) >= task.max_delay).astype(dtype)
    return Trial(inputs=inputs[:, None], targets=padded[index] * mask[:, None], mask=mask)
