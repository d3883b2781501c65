"""What the cognitive tasks share: times in milliseconds, the shape of a trial with a choice, and its score.

A trial draws all its uniform numbers in [0, 1) at once and turns them into signs, members of sets and times: one random
array compiles several times faster than a dozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check
from dynlab.tasks.base import CognitiveTrial, same_shape

Array = jax.Array
ALMOST = 1.0 + 1e-6  # 0.3 / 0.1 is three steps, whatever the rounding


def whole_steps(time: Any, dt: float) -> Array:
    """The number of whole steps of `dt` in `time`: cut off, not rounded; a ratio 1e-6 below a whole number is whole."""
    return jnp.floor(jnp.asarray(time, check.default_float()) / dt * ALMOST).astype(int)


def between(draws: Array, low: Any, high: Any) -> Array:
    """Uniform numbers in [low, high) from uniform numbers in [0, 1)."""
    return (low + draws * (high - low)).astype(draws.dtype)


def sign(draws: Array) -> Array:
    """-1 or 1, equally likely, from uniform numbers in [0, 1)."""
    return jnp.where(draws < 0.5, -1.0, 1.0).astype(draws.dtype)


def member(draws: Array, count: Any) -> Array:
    """Whole numbers 0 .. count - 1, equally likely, from uniform numbers in [0, 1)."""
    return jnp.minimum(jnp.floor(draws * count).astype(int), jnp.asarray(count) - 1)


def boundaries(draws: Array, spans: Sequence[Any], dt: float) -> Array:
    """When consecutive phases end, in steps: each lasts U[low, high) ms, cut to whole steps one by one.

    Args:
        draws: (n,), independent, uniform in [0, 1).
        spans: (low, high) of each of n phases, in ms; low = high is a fixed time.
        dt: ms.

    Returns:
        (n,) integers, not decreasing.
    """
    dtype = check.default_float()
    low = jnp.stack([jnp.asarray(span[0], dtype) for span in spans])
    high = jnp.stack([jnp.asarray(span[1], dtype) for span in spans])
    return jnp.cumsum(whole_steps(between(draws, low, high), dt))


def white_noise(task: Any, key: Array, n_channels: int) -> Array:
    """(length, n_channels) of noise `noise` per square root of a second, whatever dt (ms)."""
    dtype = check.default_float()
    spread = jnp.asarray(task.noise, dtype) * (1000.0 / task.dt) ** 0.5
    return spread * jax.random.normal(key, (task.length, n_channels), dtype)


def pick(draws: Array, options: Any) -> Array:
    """Equally likely members of a set of numbers (a tuple or an array, also a traced one), from uniform numbers."""
    values = jnp.asarray(options, check.default_float()).reshape(-1)
    return values[member(draws, values.shape[0])]


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of an array, or of a tuple of numbers, some of them traced (NumPy cannot read those)."""
    if isinstance(value, (tuple, list)):
        return (len(value), *(np.shape(value[0]) if value else ()))
    return np.shape(value)


def check_options(name: str, value: Any, low: float = 0.0, high: float = np.inf) -> None:
    """Require a set of at least one number in [low, high]."""
    if len(shape_of(value)) != 1 or shape_of(value)[0] == 0:
        raise ValueError(f"{name} must be a sequence of at least one number, got {value!r}")
    check.number(name, value, low, high)


def check_times(task: Any, spans: Sequence[str], shortest: dict[str, int]) -> None:
    """Check dt, length, the (low, high) pairs `spans`, `response` and `grace`, and that the longest trial fits.

    Args:
        task: has those fields.
        spans: names of the pairs.
        shortest: least number of steps of a span, by name (0 if absent).
    """
    check.number("dt", task.dt, 0.0, low_open=True)
    check.integer("length", task.length, 1)
    longest: float = 0.0
    for name in spans:
        value = getattr(task, name)
        if shape_of(value) != (2,):
            raise ValueError(f"{name} must be a pair (low, high) in ms, got {value!r}")
        check.number(name, value, 0.0)
        if check.is_traced(value):
            continue
        steps = np.floor(np.asarray(value, float) / task.dt * ALMOST)
        if value[0] > value[1] or steps[0] < shortest.get(name, 0):
            least = f" and at least {shortest[name]} step of {task.dt} ms" if name in shortest else ""
            raise ValueError(f"{name} must be a pair (low, high) in ms with low <= high{least}, got {value!r}")
        longest += steps[1]
    check.scalar("response", task.response, task.dt)
    check.scalar("grace", task.grace, 0.0)
    if check.is_traced(task.response):
        return
    response = np.floor(float(task.response) / task.dt * ALMOST)
    if not check.is_traced(task.grace) and np.floor(float(task.grace) / task.dt * ALMOST) >= response:
        raise ValueError(f"grace must be shorter than response ({task.response!r} ms), got {task.grace!r}")
    if longest + response > task.length:
        raise ValueError(
            f"length must be at least {int(longest + response)}, the steps of the longest trial, got {task.length}"
        )


def choice_trial(task: Any, stimuli: Array, go: Array, choice: Array, truth: dict[str, Array]) -> CognitiveTrial:
    """Put the fixation cue before the stimuli and build the targets of a two-way choice.

    Fixation (input and target 0) is 1 before `go` and 0 from there on; target ``1 + choice`` is 1 from `go` to the
    end. The mask is 1, but 0 in the first `grace` ms after `go` and after the end.

    Args:
        task: has `dt`, `length`, `response` and `grace`.
        stimuli: (length, n), of any value after the end.
        go: step at which the answer is due.
        choice: 0 or 1.
        truth: what else to keep; "go", "end" and "choice" are added.

    Returns:
        inputs (length, 1 + n), targets (length, 3). A trial longer than `length`, which only traced times can make,
        has NaN inputs and targets and a mask of zeros.
    """
    dtype = check.default_float()
    end = go + whole_steps(task.response, task.dt)
    now = jnp.arange(task.length)
    inside, before = now < end, now < go
    answer = (inside & ~before)[:, None] & (jnp.arange(2) == choice)
    inputs = jnp.where(inside[:, None], jnp.concatenate([before[:, None].astype(dtype), stimuli], axis=1), 0.0)
    targets = jnp.concatenate([before[:, None], answer], axis=1).astype(dtype)
    mask = inside & (before | (now >= go + whole_steps(task.grace, task.dt)))
    fits = end <= task.length
    return CognitiveTrial(
        inputs=jnp.where(fits, inputs, jnp.nan),
        targets=jnp.where(fits, targets, jnp.nan),
        mask=(mask & fits).astype(dtype),
        channel_weights=jnp.ones(3, dtype),
        truth={**truth, "go": go, "end": end, "choice": choice},
    )


def choice_score(trial: CognitiveTrial, outputs: Array) -> Array:
    """1 if at the trial's last step output 0 (fixation) is below 0.5 and the right choice is above the other, else 0.

    Args:
        trial: one trial; batches by ``jax.vmap``.
        outputs: (time, 3).

    Raises:
        ValueError: if `outputs` has another shape than the targets.
    """
    same_shape(trial, outputs)
    last = outputs[trial.truth["end"] - 1]
    choice = trial.truth["choice"]
    right = (last[0] < 0.5) & (last[1 + choice] > last[2 - choice])
    return (right & jnp.any(trial.mask > 0)).astype(check.default_float())
