"""The k-bit flip-flop: hold the sign of the last pulse on each channel."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.tasks.base import Trial

Array = jax.Array


@tree.dataclass
class FlipFlop:
    r"""Memory of k bits, each set by pulses on a channel of its own.

    .. math::
        u_i(t) \in \{-1, 0, 1\}, \qquad y_i(t) = u_i(t)\ \text{if}\ u_i(t) \neq 0,\ \text{else}\ y_i(t-1)

    Pulses come independently at every step and on every channel with probability `pulse_probability`, with equally
    likely signs. The first step pulses every channel, so that the memory is defined from there on and every step
    counts. Source: D. Sussillo and O. Barak, "Opening the black box", Neural Computation 25, 626 (2013),
    doi:10.1162/NECO_a_00409, whose networks hold the 2^k memories in as many stable fixed points.

    Attributes:
        pulse_probability: in [0, 1] (knob).
        length: number of steps (static).
        n_bits: k, channels of input and target (static).
    """

    pulse_probability: float = 0.15
    length: int = tree.static(default=256)
    n_bits: int = tree.static(default=3)

    def sample(self, key: Array) -> Trial:
        """Draw a trial: inputs and targets (length, n_bits), mask (length,) of ones.

        Raises:
            TypeError, ValueError: on an untyped key, a probability outside [0, 1], or a size below 1.
        """
        check.key("key", key)
        check.integer("length", self.length, 1)
        check.integer("n_bits", self.n_bits, 1)
        check.scalar("pulse_probability", self.pulse_probability, 0.0, 1.0)
        return _sample(self, key)


@jax.jit
def _sample(task: FlipFlop, key: Array) -> Trial:
    shape, dtype = (task.length, task.n_bits), check.default_float()
    when, sign = jax.random.split(key)
    steps = jnp.arange(task.length)[:, None]
    pulse = jax.random.bernoulli(when, task.pulse_probability, shape) | (steps == 0)
    inputs = jnp.where(pulse, jax.random.rademacher(sign, shape, dtype), 0.0)
    last = jax.lax.cummax(jnp.where(pulse, steps, 0), axis=0)  # when the pulse came that is still held
    return Trial(inputs=inputs, targets=jnp.take_along_axis(inputs, last, axis=0), mask=jnp.ones(task.length, dtype))
