"""A scan over time that keeps a mean for each window instead of a value for each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array


def scan_windows(
    step: Callable[[Any, Any], tuple[Any, Array]], carry: Any, series: Any, every: int, look: Callable[[Any], Any]
) -> tuple[Any, tuple[Array, Any]]:
    """Scan ``step(carry, now) -> (carry, observed)`` over `series`, in windows of `every` steps.

    The first (T mod every) steps are in no window.

    Args:
        look: what to keep of the carry at the end of each window.

    Returns:
        ``(last carry, (mean of observed (n_windows, ...), look(carry) of each window))``.
    """
    length = jax.tree.leaves(series)[0].shape[0]
    first = length % every

    def window(carry: Any, now: Any) -> tuple[Any, tuple[Array, Any]]:
        def both(pair: Any, now: Any) -> tuple[Any, None]:
            carry, observed = step(pair[0], now)
            return (carry, pair[1] + observed), None

        shape = jax.eval_shape(step, carry, jax.tree.map(lambda leaf: leaf[0], now))[1]
        n_steps = jax.tree.leaves(now)[0].shape[0]
        (carry, total), _ = jax.lax.scan(both, (carry, jnp.zeros(shape.shape, shape.dtype)), now)
        return carry, (total / n_steps, look(carry))

    if first:
        carry, _ = window(carry, jax.tree.map(lambda leaf: leaf[:first], series))
    windows = jax.tree.map(lambda leaf: leaf[first:].reshape(-1, every, *leaf.shape[1:]), series)
    return jax.lax.scan(window, carry, windows)
