"""NARMA-n: a driven nonlinear moving average, the usual test of memory with nonlinearity."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.tasks.base import Trial

Array = jax.Array


def narma_step(past: Array, inputs: Array, alpha: float, beta: float, gamma: float, delta: float) -> Array:
    """One step of the recursion.

    y(t+1) = alpha y(t) + beta y(t) sum_{i=0}^{n-1} y(t-i) + gamma u(t-n+1) u(t) + delta

    Args:
        past: y(t), y(t-1), ..., y(t-n+1), shape (n,), newest first.
        inputs: u(t), u(t-1), ..., u(t-n+1), shape (n,), newest first.
    """
    return alpha * past[0] + beta * past[0] * jnp.sum(past) + gamma * inputs[-1] * inputs[0] + delta


@tree.dataclass
class Narma:
    """NARMA of any order: follow y, given u (recursion in :func:`narma_step`).

    The input is u(t) ~ U[0, high); the target of step t is y(t+1), which needs u(t) and u(t-order+1) directly.
    y starts at zero and `transient` steps are discarded; the first `order` steps of the trial are masked, for
    their targets use inputs from before the trial.

    The recursion can diverge by chance. A run whose \\|y\\| exceeds `bound`, or is not finite, at any step up to
    ten orders after the trial's end (so that a divergence under way at the end is seen) is thrown away whole and
    redrawn with a fresh key, at most `max_tries` times. If every try diverged, inputs and targets are NaN and the
    mask is zero throughout: a diverged sequence is never handed out.

    Defaults are NARMA-10: A. F. Atiya and A. G. Parlos, IEEE Trans. Neural Netw. 11, 697 (2000),
    doi:10.1109/72.846741. Order 30 needs other coefficients, commonly alpha 0.2, beta 0.04, gamma 1.5,
    delta 0.001.

    Attributes:
        alpha, beta, gamma, delta: coefficients (knobs).
        high: upper bound of the input (knob).
        bound: limit on \\|y\\| past which a sequence counts as diverged (knob).
        length, order, transient, max_tries: steps, order, discarded steps, tries (static).
    """

    alpha: float = 0.3
    beta: float = 0.05
    gamma: float = 1.5
    delta: float = 0.1
    high: float = 0.5
    bound: float = 2.0
    length: int = tree.static(default=1000)
    order: int = tree.static(default=10)
    transient: int = tree.static(default=200)
    max_tries: int = tree.static(default=20)

    def sample(self, key: Array) -> Trial:
        """Draw a trial: inputs (length, 1), targets (length, 1), mask (length,).

        Raises:
            TypeError, ValueError: on an untyped key, a size below its least value or a coefficient not finite.
        """
        check.key("key", key)
        check.integer("order", self.order, 1)
        check.integer("length", self.length, self.order + 1)
        check.integer("transient", self.transient, 0)
        check.integer("max_tries", self.max_tries, 1)
        for name in ("alpha", "beta", "gamma", "delta"):
            check.number(name, getattr(self, name))
        check.number("high", self.high, 0.0, low_open=True)
        check.number("bound", self.bound, 0.0, low_open=True)
        return _sample(self, key)


def _run(task: Narma, key: Array) -> tuple[Array, Array, Array]:
    """One try: u and y(t+1) of the trial, each (length,), and whether the run stayed within bounds."""
    dtype = check.default_float()
    total = task.transient + task.length + 10 * task.order
    drive = jax.random.uniform(key, (total,), dtype, 0.0, task.high)

    def step(carry: tuple[Array, Array], now: Array) -> tuple[tuple[Array, Array], Array]:
        past, inputs = carry
        inputs = jnp.roll(inputs, 1).at[0].set(now)
        value = narma_step(past, inputs, task.alpha, task.beta, task.gamma, task.delta).astype(dtype)
        return (jnp.roll(past, 1).at[0].set(value), inputs), value

    zeros = jnp.zeros(task.order, dtype)
    output = jax.lax.scan(step, (zeros, zeros), drive)[1]
    fine = jnp.all(jnp.abs(output) <= task.bound)  # False for NaN as well
    keep = slice(task.transient, task.transient + task.length)
    return drive[keep], output[keep], fine


@jax.jit
def _sample(task: Narma, key: Array) -> Trial:
    dtype = check.default_float()
    blank = jnp.zeros(task.length, dtype)

    def again(state: tuple[Array, Array, Array, Array]) -> Array:
        return ~state[3] & (state[0] < task.max_tries)

    def redraw(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        return (state[0] + 1, *_run(task, jax.random.fold_in(key, state[0])))

    _, drive, output, fine = jax.lax.while_loop(again, redraw, (jnp.asarray(0), blank, blank, jnp.asarray(False)))
    mask = (jnp.arange(task.length) >= task.order) & fine
    inputs, targets = jnp.where(fine, drive, jnp.nan), jnp.where(fine, output, jnp.nan)
    return Trial(inputs=inputs[:, None], targets=targets[:, None], mask=mask.astype(dtype))
