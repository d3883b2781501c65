"""Whether a network's confidence is its accuracy: reliability by bins, expected calibration error, certainties."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.analysis.thought import check_labels, check_logits, right

Array = jax.Array


@tree.dataclass
class Reliability:
    """Answers sorted by confidence into equal bins (k / bins, (k + 1) / bins], 0 in the first; leading axes the ticks.

    Attributes:
        confidence: (..., bins), mean confidence. accuracy: (..., bins), share of right answers. NaN in an empty bin.
        count: int32 (..., bins), answers. edges: (bins + 1,).
        error: (...), expected calibration error: mean of ``|accuracy - confidence|`` over bins, weighted by counts.
    """

    confidence: Array
    accuracy: Array
    count: Array
    edges: Array
    error: Array


def reliability(confidence: Any, correct: Any, bins: int = 10) -> Reliability:
    r"""Accuracy against confidence, and the expected calibration error.

    .. math:: E = \sum_b \frac{n_b}{n}\, |\mathrm{acc}_b - \mathrm{conf}_b|

    (Guo et al. 2017, arXiv:1706.04599.) It is not 0 for a perfect forecaster: with n_b answers in a bin, accuracy
    scatters by :math:`\sqrt{p (1 - p) / n_b}`.

    Args:
        confidence: any shape, between 0 and 1, all one sample. correct: the same shape, bool or 0 and 1.
        bins: number of equal bins (static).

    Returns:
        :class:`Reliability` without leading axes.

    Raises:
        ValueError, TypeError: different or empty shapes, values outside [0, 1], fewer than one bin.
    """
    check.integer("bins", bins, 1)
    confidence, correct = check.array("confidence", confidence), check.array("correct", correct)
    if confidence.shape != correct.shape or confidence.size == 0:
        raise ValueError(f"confidence and correct must have one shape, not empty, got {confidence.shape} and "
                         f"{correct.shape}")
    check.number("confidence", confidence, 0.0, 1.0)
    check.number("correct", correct, 0.0, 1.0)
    return _reliability(confidence.ravel(), correct.ravel(), bins=bins)


def calibration_curve(logits: Any, labels: Any, bins: int = 10) -> Reliability:
    r"""Calibration after each tick. The confidence at tick t is the running mean of the predicted class's probability.

    .. math:: \hat k = \arg\max_k y_{t,k}, \qquad p_t = \frac1t \sum_{\tau \le t} \mathrm{softmax}(y_\tau)_{\hat k}

    Source: Darlow et al. 2025, arXiv:2505.05522, where this is what makes the network well calibrated.

    Args:
        logits: (B, T, ..., C). labels: (B, ...). bins: of confidence (static).

    Returns:
        :class:`Reliability` with the ticks in front, over samples and positions.

    Raises:
        ValueError, TypeError: as :func:`dynlab.analysis.thought.tick_accuracy`; fewer than one bin.
    """
    check.integer("bins", bins, 1)
    logits = check_logits(logits)
    return _by_tick(_running(logits), right(logits, check_labels(labels, logits)), bins=bins)


def running_confidence(logits: Any) -> Array:
    """The confidence of :func:`calibration_curve`: logits (B, T, ..., C) -> (B, T, ...)."""
    return _running(check_logits(logits))


@jax.jit
def _running(logits: Array) -> Array:
    p = jax.nn.softmax(logits, axis=-1)
    ticks = jnp.arange(1, p.shape[1] + 1, dtype=p.dtype).reshape(-1, *[1] * (p.ndim - 2))
    predicted = jnp.argmax(logits, axis=-1)[..., None]
    mean = jnp.take_along_axis(jnp.cumsum(p, axis=1) / ticks, predicted, axis=-1)[..., 0]
    return jnp.minimum(mean, 1.0)


def certainty_histogram(certainties: Any, bins: int = 20) -> Array:
    """How many samples have a certainty in each of equal bins on [0, 1], by tick: (B, T) -> int32 (T, bins).

    Bins are those of :class:`Reliability`. To compare right with wrong answers call it on the rows of each.

    Raises:
        ValueError: not (B, T), NaN, more than rounding outside [0, 1], fewer than one bin.
    """
    check.integer("bins", bins, 1)
    certainties = check.array("certainties", certainties)
    if certainties.ndim != 2 or certainties.size == 0:
        raise ValueError(f"certainties must have shape (batch, ticks), not empty, got {certainties.shape}")
    check.number("certainties", certainties, -1e-5, 1.0 + 1e-5)
    return _histogram(certainties, bins=bins)


def _bin(values: Array, bins: int) -> Array:
    return jnp.clip(jnp.ceil(values * bins) - 1, 0, bins - 1).astype(jnp.int32)


@partial(jax.jit, static_argnames="bins")
def _histogram(certainties: Array, *, bins: int) -> Array:
    return jax.vmap(lambda row: jnp.bincount(_bin(row, bins), length=bins), in_axes=1)(certainties).astype(jnp.int32)


@partial(jax.jit, static_argnames="bins")
def _reliability(confidence: Array, correct: Array, *, bins: int) -> Reliability:
    index = _bin(confidence, bins)
    count = jnp.bincount(index, length=bins)
    filled = count > 0
    safe = jnp.where(filled, count, 1).astype(confidence.dtype)
    means = [jax.ops.segment_sum(values, index, bins) / safe for values in (confidence, correct)]
    error = jnp.sum(count * jnp.abs(means[1] - means[0])) / confidence.size
    edges = jnp.asarray(np.linspace(0.0, 1.0, bins + 1), confidence.dtype)
    conf, acc = (jnp.where(filled, mean, jnp.nan) for mean in means)
    return Reliability(conf, acc, count.astype(jnp.int32), edges, error.astype(confidence.dtype))


@partial(jax.jit, static_argnames="bins")
def _by_tick(confidence: Array, hits: Array, *, bins: int) -> Reliability:
    one = lambda conf, hit: _reliability(conf.ravel(), hit.ravel().astype(conf.dtype), bins=bins)  # noqa: E731
    found = jax.vmap(one, in_axes=1)(confidence, hits)
    return found.replace(edges=found.edges[0])
