"""What a network answers from tick to tick: accuracy by tick and position, thinking time, early exit.

The answers are logits (B, T, ..., C): batch, ticks, the positions of an answer if it has several, classes; with
certainties (B, T). :func:`dynlab.models.thinking.think` makes both, and any other network that answers several times
will do. Ticks count from 0. All functions work under ``jit`` and ``vmap``.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree

Array = jax.Array


@tree.dataclass
class PredictionModes:
    """Four ways to read an answer at tick t from the ticks up to it; logits (B, T, ..., C) each.

    Attributes:
        at_tick: those of tick t. most_certain: of the most certain tick so far, the first of equals.
        mean: of all ticks so far. weighted: the mean weighted by certainty; where all weights are 0, the plain one.
    """

    at_tick: Array
    most_certain: Array
    mean: Array
    weighted: Array


@tree.dataclass
class TickAccuracy:
    """Share of right answers after each tick.

    Attributes:
        by_tick: (T,), over samples and positions. by_position: (T, ...), over samples.
        whole: (T,), share of samples with every position right (a maze solved, a sequence sorted).
    """

    by_tick: Array
    by_position: Array
    whole: Array


@tree.dataclass
class ThinkingTime:
    """Ticks at which a thought is done, int32, from 0.

    Attributes:
        settled: (B,), the first from which no position changes its class any more. It says nothing of ticks to come:
            T - 1 is a thought that was still changing.
        settled_position: (B, ...), the same of each position.
        most_certain: (B,), t2 of the loss, the first of equals.
        least_loss: (B,), t1, of the cross-entropy averaged over positions; None without labels.
    """

    settled: Array
    settled_position: Array
    most_certain: Array
    least_loss: Array | None


@tree.dataclass
class EarlyExit:
    """Accuracy against thinking time, one entry for each of K thresholds.

    Attributes:
        threshold: (K,), least certainty to stop at. ticks: (K,), mean number of ticks, between 1 and T.
        accuracy: (K,), over samples and positions, at the tick where each sample stopped. whole: (K,), all right.
        stopped: (K,), share of samples that were certain at some tick; the others take the last one.
    """

    threshold: Array
    ticks: Array
    accuracy: Array
    whole: Array
    stopped: Array


def prediction_modes(logits: Any, certainties: Any) -> PredictionModes:
    r"""The answer at tick t: of that tick, of the most certain one up to it, or a mean up to it.

    .. math:: y_t, \quad y_{\arg\max_{\tau \le t} c_\tau}, \quad \frac{1}{t} \sum_{\tau \le t} y_\tau, \quad
              \frac{\sum_{\tau \le t} c_\tau y_\tau}{\sum_{\tau \le t} c_\tau}

    Source: Darlow et al. 2025, arXiv:2505.05522.

    Args:
        logits: (B, T, ..., C). certainties: (B, T).

    Returns:
        :class:`PredictionModes`.

    Raises:
        ValueError: shapes that do not fit, NaN or infinity.
    """
    logits = check_logits(logits)
    return _modes(logits, _certainties(certainties, logits))


def tick_accuracy(logits: Any, labels: Any) -> TickAccuracy:
    """How often the largest logit is the right class, after each tick.

    Args:
        logits: (B, T, ..., C). labels: (B, ...), integers below C.

    Returns:
        :class:`TickAccuracy`.

    Raises:
        ValueError, TypeError: shapes that do not fit, labels that are no class or no integers, NaN or infinity.
    """
    logits = check_logits(logits)
    return _accuracy(right(logits, check_labels(labels, logits)))


def thinking_time(logits: Any, certainties: Any, labels: Any = None) -> ThinkingTime:
    """When an answer stands, when it is most certain, and when its loss is least.

    Args:
        logits: (B, T, ..., C). certainties: (B, T). labels: (B, ...), for the tick of least loss.

    Returns:
        :class:`ThinkingTime`. The first certain tick is :func:`dynlab.models.thinking.exit_tick`.

    Raises:
        ValueError, TypeError: as :func:`tick_accuracy`.
    """
    logits = check_logits(logits)
    labels = None if labels is None else check_labels(labels, logits)
    return _time(logits, _certainties(certainties, logits), labels)


def early_exit_curve(logits: Any, certainties: Any, labels: Any, thresholds: Any) -> EarlyExit:
    """Accuracy and mean thinking time if each sample stops at its first tick of at least a threshold's certainty.

    Args:
        logits: (B, T, ..., C). certainties: (B, T). labels: (B, ...).
        thresholds: (K,), for example ``jnp.linspace(0, 1, 101)``; 0 stops after one tick, above 1 never.

    Returns:
        :class:`EarlyExit`.

    Raises:
        ValueError, TypeError: as :func:`tick_accuracy`; thresholds that are not (K,).
    """
    logits = check_logits(logits)
    thresholds = check.array("thresholds", thresholds)
    if thresholds.ndim != 1 or thresholds.size == 0:
        raise ValueError(f"thresholds must have shape (K,), not empty, got {thresholds.shape}")
    return _exits(right(logits, check_labels(labels, logits)), _certainties(certainties, logits), thresholds)


def check_logits(logits: Any) -> Array:
    """Floats (B, T, ..., C), none empty."""
    logits = check.array("logits", logits)
    if logits.ndim < 3 or 0 in logits.shape:
        raise ValueError("logits must have shape (batch, ticks, classes) or (batch, ticks, positions, classes), none "
                         f"empty, got {logits.shape}")
    return logits


def check_labels(labels: Any, logits: Array) -> Array:
    """Classes (B, ...) for logits (B, T, ..., C)."""
    want = (logits.shape[0], *logits.shape[2:-1])
    labels = jnp.asarray(labels)
    if labels.shape != want:
        raise ValueError(f"labels must have shape {want} for logits {logits.shape}, got {labels.shape}")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
    check.number("labels", labels, 0, logits.shape[-1] - 1)
    return labels


def _certainties(certainties: Any, logits: Array) -> Array:
    certainties = check.array("certainties", certainties)
    if certainties.shape != logits.shape[:2]:
        raise ValueError(f"certainties must have shape {logits.shape[:2]} (batch, ticks) like logits, got "
                         f"{certainties.shape}")
    return certainties


@jax.jit
def right(logits: Array, labels: Array) -> Array:
    """(B, T, ...) bool: the first of the largest logits is the label's."""
    return jnp.argmax(logits, axis=-1) == labels[:, None]


def _over(values: Array, like: Array) -> Array:
    """(B, T) with axes of size 1 up to those of `like`."""
    return values.reshape(*values.shape, *[1] * (like.ndim - 2))


@jax.jit
def _modes(logits: Array, certainties: Array) -> PredictionModes:
    n_ticks = logits.shape[1]
    ticks = jnp.arange(n_ticks, dtype=jnp.int32)
    best = jax.lax.cummax(certainties, axis=1)
    record = jnp.concatenate([jnp.ones_like(best[:, :1], bool), best[:, 1:] > best[:, :-1]], axis=1)
    where = jax.lax.cummax(jnp.where(record, ticks, 0), axis=1)
    chosen = jnp.take_along_axis(logits, _over(where, logits), axis=1)
    mean = jnp.cumsum(logits, axis=1) / _over(1.0 + ticks[None], logits).astype(logits.dtype)
    total = _over(jnp.cumsum(certainties, axis=1), logits)
    positive = total > 0
    sums = jnp.cumsum(_over(certainties, logits) * logits, axis=1)
    weighted = jnp.where(positive, sums / jnp.where(positive, total, 1.0), mean)
    return PredictionModes(logits, chosen, mean, weighted)


@jax.jit
def _accuracy(hits: Array) -> TickAccuracy:
    share = jnp.mean(hits, axis=0, dtype=check.default_float())
    inner = tuple(range(1, share.ndim))
    whole = jnp.mean(_all_right(hits), axis=0, dtype=share.dtype)
    return TickAccuracy(jnp.mean(share, axis=inner), share, whole)


def _all_right(hits: Array) -> Array:
    return jnp.all(hits, axis=tuple(range(2, hits.ndim)))


@jax.jit
def _time(logits: Array, certainties: Array, labels: Array | None) -> ThinkingTime:
    classes = jnp.argmax(logits, axis=-1)
    n_ticks = classes.shape[1]
    ticks = _over(jnp.arange(1, n_ticks, dtype=jnp.int32)[None], classes)
    changes = jnp.where(classes[:, 1:] != classes[:, :-1], ticks, 0)
    position = jnp.max(changes, axis=1, initial=0)
    settled = jnp.max(position, axis=tuple(range(1, position.ndim)))
    sure = jnp.argmax(certainties, axis=1).astype(jnp.int32)
    if labels is None:
        return ThinkingTime(settled, position, sure, None)
    log_p = jax.nn.log_softmax(logits, axis=-1)
    loss = -jnp.take_along_axis(log_p, labels[:, None, ..., None], axis=-1)[..., 0]
    loss = jnp.mean(loss, axis=tuple(range(2, loss.ndim)))
    return ThinkingTime(settled, position, sure, jnp.argmin(loss, axis=1).astype(jnp.int32))


@jax.jit
def _exits(hits: Array, certainties: Array, thresholds: Array) -> EarlyExit:
    dtype = certainties.dtype
    share = jnp.mean(hits, axis=tuple(range(2, hits.ndim)), dtype=dtype)  # (B, T)
    solved = _all_right(hits).astype(dtype)
    last = certainties.shape[1] - 1

    def one(threshold: Array) -> tuple[Array, ...]:
        enough = certainties >= threshold
        stops = jnp.any(enough, axis=1)
        tick = jnp.where(stops, jnp.argmax(enough, axis=1), last)
        there = lambda values: jnp.mean(jnp.take_along_axis(values, tick[:, None], axis=1))  # noqa: E731
        return jnp.mean(tick + 1.0, dtype=dtype), there(share), there(solved), jnp.mean(stops, dtype=dtype)

    return EarlyExit(thresholds, *jax.vmap(one)(thresholds))
