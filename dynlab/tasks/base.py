"""What every task hands out, and the fixed-step integrator that the flows share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree

Array = jax.Array
Field = Callable[[Array], Array]


@tree.dataclass
class Trial:
    """One draw of a task: what goes in, what should come out, and which steps count.

    All arrays have the library's default float dtype. A loss or score takes the steps where `mask` is 1;
    rows where it is 0 hold values without meaning (zeros, or NaN where a draw failed), so select with
    ``jnp.where`` or by indexing, never by multiplying.
    """

    inputs: Array  # (time, n_in)
    targets: Array  # (time, n_out), targets[t] belongs to the state that has seen inputs[t]
    mask: Array  # (time,), 1.0 where the step counts, 0.0 where not


@tree.dataclass
class CognitiveTrial:
    r"""One draw of a cognitive task: a :class:`Trial` with weights for each channel and the truth behind the draw.

    All trials of a task have one static number of steps, T. A trial that ends earlier (``truth["end"]`` steps) has
    zeros after its end, in inputs, targets and mask: durations differ from trial to trial and nothing compiles anew.
    `mask` is a weight of the error, not only 0 or 1; :func:`weighted_squares` is the loss that it belongs to.
    """

    inputs: Array  # (time, n_in)
    targets: Array  # (time, n_out), targets[t] belongs to the state that has seen inputs[t]
    mask: Array  # (time,), weight of the error at each step, 0.0 where the step does not count
    channel_weights: Array  # (n_out,), weight of the error on each output
    truth: dict[str, Array]  # what was drawn; the task says which entries; "end" is always there


def weighted_squares(trial: CognitiveTrial, outputs: Array) -> Array:
    r"""The squared error of one trial, weighted **before** squaring, averaged over its steps and channels.

    .. math::
        L = \frac{1}{T_{end}\, n_{out}} \sum_{t < T_{end}} \sum_j \big(m_t w_j (\hat y_{tj} - y_{tj})\big)^2

    A mask of 5 thus counts 25-fold. Source: G. R. Yang et al., Nature Neuroscience 22, 297 (2019),
    doi:10.1038/s41593-018-0310-2 (their code; there all trials of a batch have one length).

    Args:
        trial: one trial; batches by ``jax.vmap``.
        outputs: (time, n_out).

    Returns:
        scalar. Steps of weight 0 add nothing, whatever they hold.

    Raises:
        ValueError: if `outputs` has another shape than the targets.
    """
    same_shape(trial, outputs)
    weights = trial.mask[:, None] * trial.channel_weights
    errors = jnp.where(weights > 0, weights * (outputs - trial.targets), 0.0)
    return jnp.sum(errors**2) / jnp.maximum(trial.truth["end"] * outputs.shape[-1], 1)


def same_shape(trial: Trial | CognitiveTrial, outputs: Array) -> None:
    """Require outputs of the shape of one trial's targets."""
    if jnp.shape(outputs) != jnp.shape(trial.targets) or jnp.ndim(outputs) != 2:
        raise ValueError(
            f"outputs must have the shape of one trial's targets, (time, n_out), here {jnp.shape(trial.targets)}, "
            f"got {jnp.shape(outputs)}; for a batch use jax.vmap"
        )


def ahead(series: Array, horizon: int) -> Trial:
    """Prediction `horizon` steps ahead: of T rows, T - horizon inputs with targets[t] = series[t + horizon]."""
    inputs, targets = series[:-horizon], series[horizon:]
    return Trial(inputs=inputs, targets=targets, mask=jnp.ones(inputs.shape[0], inputs.dtype))


def n_substeps(dt: float, max_step: float) -> int:
    """The least number of equal internal steps that divide dt into pieces no longer than max_step."""
    return max(1, math.ceil(dt / max_step - 1e-9))


def n_transient(transient: float, dt: float) -> int:
    """The least number of samples that covers `transient` units of time."""
    return math.ceil(transient / dt - 1e-9)


def rk4_step(field: Field, state: Array, step: float | Array) -> Array:
    """One classical fourth-order Runge-Kutta step of dx/dt = field(x); local error O(step^5).

    Args:
        field: the vector field, (n,) -> (n,).
        state: (n,).
        step: the step, in the time unit of the field.
    """
    k1 = field(state)
    k2 = field(state + 0.5 * step * k1)
    k3 = field(state + 0.5 * step * k2)
    k4 = field(state + step * k3)
    return state + (step / 6.0) * (k1 + 2.0 * k2 + 2.0 * k3 + k4)


def integrate(field: Field, state: Array, dt: float, length: int, max_step: float) -> Array:
    """The solution of dx/dt = field(x) at times 0, dt, ..., (length - 1) dt, by RK4.

    Args:
        field: the vector field, (n,) -> (n,).
        state: the state at time 0, (n,).
        dt: sampling interval; cut into ``n_substeps(dt, max_step)`` equal RK4 steps.
        length: number of samples.
        max_step: longest internal step.

    Returns:
        (length, n); row 0 is `state`.
    """
    count = n_substeps(dt, max_step)
    step = dt / count

    def sample(now: Array, _: None) -> tuple[Array, Array]:
        return jax.lax.fori_loop(0, count, lambda _, x: rk4_step(field, x, step), now), now

    return jax.lax.scan(sample, state, None, length=length)[1]


def check_flow(task: Any) -> None:
    """Check the static fields that every sampled flow has."""
    check.integer("length", task.length, 1)
    check.integer("horizon", task.horizon, 1)
    check.number("dt", task.dt, 0.0, low_open=True)
    check.number("max_step", task.max_step, 0.0, low_open=True)
    check.number("transient", task.transient, 0.0)
