"""The loss of a model that answers at every tick: its best tick and its most certain one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree

Array = jax.Array


@tree.dataclass
class TwoTicks:
    """What :func:`two_ticks` returns for B answers.

    Attributes:
        loss: scalar. by_tick: (B, T), the cross-entropy of each answer at each tick.
        best, certain: (B,) int32, the tick of the smallest cross-entropy and that of the largest certainty.
    """

    loss: Array
    by_tick: Array
    best: Array
    certain: Array


def two_ticks(
    logits: Array, certainty: Array | None, labels: Any, mask: Any = None
) -> TwoTicks:
    r"""Mean of the cross-entropy at the best and at the most certain tick, chosen for each answer on its own.

    .. math:: L = \frac1B \sum_b \tfrac12 \big(L_b^{t_1} + L_b^{t_2}\big), \qquad t_1 = \arg\min_t L_b^t, \quad
              t_2 = \arg\max_t c_b^t

    with :math:`L_b^t` the cross-entropy (nats) averaged over the positions of the answer. So a model may answer early
    where it can and think on where it must. Source: Darlow et al. 2025, arXiv:2505.05522; their LSTM baselines take the
    last tick for the second (`certainty` None).

    Args:
        logits: (B, T, ..., C), classes last, positions between. certainty: (B, T), or None for the last tick.
        labels: (B, ...) integers in [0, C). mask: (B, ...), positions that count (0 or 1), or None for all; at least
            one in each answer.

    Raises:
        ValueError, TypeError: shapes that do not fit, labels that are not integers or, where concrete, out of range.
    """
    shape = jnp.shape(logits)
    if len(shape) < 3 or 0 in shape or jnp.shape(labels) != (shape[0], *shape[2:-1]):
        raise ValueError("logits must have shape (batch, ticks, ..., classes) and labels (batch, ...), got "
                         f"{shape} and {jnp.shape(labels)}")
    if certainty is not None and jnp.shape(certainty) != shape[:2]:
        raise ValueError(f"certainty must have shape {shape[:2]} (batch, ticks), got {jnp.shape(certainty)}")
    if mask is not None and jnp.shape(mask) != jnp.shape(labels):
        raise ValueError(f"mask must have the shape of labels, {jnp.shape(labels)}, got {jnp.shape(mask)}")
    if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        raise TypeError(f"labels must be integers, got dtype {jnp.result_type(labels)}")
    if not check.is_traced(labels):
        host = np.asarray(labels)
        if host.min() < 0 or host.max() >= shape[-1]:
            wrong = host[(host < 0) | (host >= shape[-1])].flat[0]
            raise ValueError(f"labels must be in [0, {shape[-1] - 1}], got {wrong}")
    log_p = jax.nn.log_softmax(logits.astype(check.wide(logits.dtype)))
    right = jnp.asarray(labels)[:, None, ..., None] == jnp.arange(shape[-1])  # a sum: no scatter in the gradient
    losses = -jnp.sum(jnp.where(right, log_p, 0.0), axis=-1).reshape(*shape[:2], -1)
    if mask is None:
        by_tick = jnp.mean(losses, axis=-1)
    else:
        counts = jnp.asarray(mask, losses.dtype).reshape(shape[0], 1, -1)
        by_tick = jnp.sum(counts * losses, axis=-1) / jnp.sum(counts, axis=-1)
    best = jnp.argmin(by_tick, axis=1).astype(jnp.int32)
    last = jnp.full(shape[0], shape[1] - 1, jnp.int32)
    certain = last if certainty is None else jnp.argmax(certainty, axis=1).astype(jnp.int32)
    at = lambda t: jnp.take_along_axis(by_tick, t[:, None], axis=1)[:, 0]  # noqa: E731
    return TwoTicks(jnp.mean(0.5 * (at(best) + at(certain))), by_tick, best, certain)
