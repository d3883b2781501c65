"""Losses: answers read at the last step from several heads, and errors over the steps that count."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check

Array = jax.Array


def head_losses(logits: Array, labels: Any) -> tuple[Array, Array]:
    r"""Cross-entropy and accuracy of every head, averaged over the batch.

    .. math:: L_k = -\frac1B \sum_b \ln \mathrm{softmax}(z_{bk})_{y_{bk}}

    Args:
        logits: (B, K, C). labels: (B, K) integers in [0, C).

    Returns:
        ``(losses, accuracies)``, (K,) each.

    Raises:
        ValueError, TypeError: shapes that do not fit, labels that are not integers or, where concrete, out of range.
    """
    if jnp.ndim(logits) != 3 or jnp.shape(labels) != jnp.shape(logits)[:2]:
        raise ValueError("logits must have shape (batch, heads, classes) and labels (batch, heads), got "
                         f"{jnp.shape(logits)} and {jnp.shape(labels)}")
    if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        raise TypeError(f"labels must be integers, got dtype {jnp.result_type(labels)}")
    classes = logits.shape[-1]
    if not check.is_traced(labels):
        host = np.asarray(labels)
        if host.size and (host.min() < 0 or host.max() >= classes):
            wrong = host[(host < 0) | (host >= classes)].flat[0]
            raise ValueError(f"labels must be in [0, {classes - 1}], got {wrong}")
    log_p = jax.nn.log_softmax(logits)
    right = labels[..., None] == jnp.arange(classes)  # a sum over the classes: no scatter in the gradient
    losses = -jnp.mean(jnp.sum(jnp.where(right, log_p, 0.0), axis=-1), axis=0)
    hits = (jnp.argmax(logits, axis=-1) == labels).astype(logits.dtype)
    return losses, jnp.mean(hits, axis=0)


def squared_error(outputs: Array, targets: Array, mask: Array, channel_weights: Any = None) -> Array:
    r"""Mean over the steps that count of the squared error.

    .. math:: L = \frac{\sum_{t} \sum_c \big(m_t w_c (y_{tc} - \hat y_{tc})\big)^2}{C \sum_t [m_t \neq 0]}

    The mask multiplies the error before it is squared, as published for the tasks whose masks are not 0 or 1 (Yang et
    al. 2019, doi:10.1038/s41593-018-0310-2). Rows with mask 0 may hold NaN. For one
    cognitive trial :func:`dynlab.tasks.weighted_squares` divides by all steps of the trial instead.

    Args:
        outputs, targets: (..., T, C). mask: (..., T). channel_weights: (C,) or None for ones.

    Raises:
        ValueError: shapes that do not fit.
    """
    if jnp.shape(outputs) != jnp.shape(targets) or jnp.shape(mask) != jnp.shape(targets)[:-1]:
        raise ValueError("outputs and targets must have shape (..., time, channels) and mask (..., time), got "
                         f"{jnp.shape(outputs)}, {jnp.shape(targets)} and {jnp.shape(mask)}")
    weights = mask[..., None] * (1.0 if channel_weights is None else channel_weights)
    counts = mask != 0
    error = jnp.where(counts[..., None], outputs - jnp.where(counts[..., None], targets, 0.0), 0.0)
    return jnp.sum((weights * error) ** 2) / (outputs.shape[-1] * jnp.maximum(jnp.sum(counts), 1))
