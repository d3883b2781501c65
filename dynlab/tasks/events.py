"""Lists of events, as from an event camera or a silicon cochlea, to frames on a grid of steps. No event is lost."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree

Array = jax.Array
OUTSIDE = ("raise", "count")


@tree.dataclass
class Events:
    """Events on a grid; events in = sum of the frames + `outside` + `merged`.

    Attributes:
        frames: (T, C): numbers of events, or 0 and 1.
        outside: int32, events before the first step, after the last, or of no channel.
        merged: int32, events that share a step and channel with an earlier one, for 0 and 1; 0 for numbers.
        status: int32; 0 when all events are in the range, 1 when some are outside.
    """

    frames: Array
    outside: Array
    merged: Array
    status: Array


@partial(jax.jit, static_argnames=("n_steps", "n_channels", "binary"))
def _frames(step: Array, channel: Array, *, n_steps: int, n_channels: int, binary: bool) -> Events:
    inside = (step >= 0) & (step < n_steps) & (channel >= 0) & (channel < n_channels)
    row = jnp.where(inside, step, n_steps)  # beyond the end: dropped by the sum, and counted
    column = jnp.where(inside, channel, 0)
    counts = jnp.zeros((n_steps, n_channels), jnp.int32).at[row, column].add(1, mode="drop")
    outside = jnp.sum(~inside, dtype=jnp.int32)
    merged = jnp.sum(jnp.maximum(counts - 1, 0)) if binary else jnp.zeros((), jnp.int32)
    frames = (jnp.minimum(counts, 1) if binary else counts).astype(check.default_float())
    return Events(frames, outside, merged.astype(jnp.int32), (outside > 0).astype(jnp.int32))


def _steps(times: Any, dt: Any, start: Any, n_steps: int) -> Array:
    """The step of each time, -1 or n_steps outside: in whole numbers where all are, else in float64 on the host."""
    xp = jnp if check.is_traced(times, dt, start) else np
    t, dt, start = xp.asarray(times), xp.asarray(dt), xp.asarray(start)
    if all(xp.issubdtype(x.dtype, xp.integer) for x in (t, dt, start)):
        step = (t - start) // dt if xp is jnp else (t.astype(np.int64) - start.astype(np.int64)) // int(dt)
    else:
        since = (t - start) / dt
        # a time on the edge of a step, such as 0.3 with steps of 0.1, must not fall below it by rounding
        step = xp.floor(since + 4 * xp.finfo(since.dtype).eps * (xp.abs(t) + xp.abs(start)) / dt)
        step = xp.where(xp.isfinite(step), step, -1)
    return jnp.asarray(xp.clip(step, -1, n_steps), jnp.int32)


def _events(
    times: Any, channels: Any, n_steps: Any, n_channels: Any, dt: Any, start: Any, outside: str, binary: bool
) -> Events:
    check.integer("n_steps", n_steps, 1)
    check.integer("n_channels", n_channels, 1)
    check.scalar("dt", dt, 0.0, low_open=True)
    check.scalar("start", start)
    check.choice("outside", outside, OUTSIDE)
    check.number("times", times)
    index = channels if check.is_traced(channels) else np.asarray(channels)
    if np.ndim(times) != 1 or np.shape(times) != index.shape:
        raise ValueError(f"times and channels must both have shape (events,), got {np.shape(times)} and {index.shape}")
    if index.shape[0] and not jnp.issubdtype(index.dtype, jnp.integer):
        raise TypeError(f"channels must be integers, got dtype {index.dtype}")
    step = _steps(times, dt, start, n_steps)
    if isinstance(index, np.ndarray):
        index = np.clip(index, -1, n_channels)  # whole numbers of any width, also unsigned
    result = _frames(step, jnp.asarray(index, jnp.int32), n_steps=n_steps, n_channels=n_channels, binary=binary)
    if outside == "raise" and not check.is_traced(result.outside) and int(result.outside):
        bad = (np.asarray(step) < 0) | (np.asarray(step) >= n_steps) | (np.asarray(index) < 0)
        bad |= np.asarray(index) >= n_channels
        first = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"times must be in [{start}, {start} + {n_steps} * {dt}) and channels in [0, {n_channels - 1}]: "
            f"{int(bad.sum())} of {bad.size} events are not, the first at index {first} (time "
            f"{np.asarray(times)[first]}, channel {np.asarray(channels)[first]}); outside='count' counts them apart"
        )
    return result


def events_to_counts(
    times: Any, channels: Any, n_steps: int, n_channels: int, *, dt: Any = 1, start: Any = 0, outside: str = "raise"
) -> Events:
    r"""Events (time, channel) as numbers of events in each step: step k holds the times in [start + k dt, start +
    (k + 1) dt).

    Whole numbers (microseconds, with a whole `dt`) are divided exactly; other times outside of ``jit`` are divided in
    float64. Inside ``jit``, times are in the default precision: in float32, count microseconds in integers.

    Args:
        times, channels: (n,); channels are integers. For pixels (x, y, polarity) make one number with
            ``np.ravel_multi_index``.
        dt: time of a step, in the unit of `times`. start: time at which the first step begins.
        outside: "raise" refuses events outside the grid; "count" leaves them out and counts them (also under ``jit``,
            where nothing can be refused).

    Returns:
        :class:`Events`, with the sum of its frames + ``outside`` = n.
    """
    return _events(times, channels, n_steps, n_channels, dt, start, outside, False)


def events_to_spikes(
    times: Any, channels: Any, n_steps: int, n_channels: int, *, dt: Any = 1, start: Any = 0, outside: str = "raise"
) -> Events:
    """As :func:`events_to_counts`, but 0 and 1: several events in one step and channel make one spike, and ``merged``
    counts the others."""
    return _events(times, channels, n_steps, n_channels, dt, start, outside, True)
