"""Think for many ticks about one input, and say when a thought is certain enough to stop.

What these functions take is a *thinker*: a :class:`dynlab.protocol.Map` that also has ``encode(params, tokens)`` (the
input of every tick, made once), ``tick(params, state, x, key) -> (state, attention weights)`` and
``logits(params, state)``: a :class:`dynlab.models.ctm.CTM` or a
:class:`dynlab.models.ctm_baselines.AttentiveLSTM`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.keys import numbered
from dynlab.models.reader import check_tokens

Array = jax.Array
RECORDS = ("attention", "features", "state")


@tree.dataclass
class Thought:
    """What :func:`think` returns; leading axis the batch, if there was one.

    Attributes:
        logits: ``(T, *n_outputs)``. certainty: (T,). state: the last one.
        records: for each name asked for, (T, ...): "attention" weights (T, n_heads, N), "features" (T, n_features),
            "state" (T, ...).
    """

    logits: Array
    certainty: Array
    state: Any
    records: dict[str, Any]


def certainty(logits: Array, n_axes: int = 1) -> Array:
    r"""One minus the entropy of the answer as a share of its largest value, averaged over the positions of an answer.

    .. math:: c = 1 - \Big\langle \frac{-\sum_k p_k \ln p_k}{\ln C} \Big\rangle, \qquad p = \mathrm{softmax}(y)

    Args:
        logits: (..., C) for n_axes 1, (..., positions, C) for 2, and so on. n_axes: trailing axes of one answer.

    Returns:
        (...), between 0 and 1.

    Raises:
        ValueError: fewer than two classes, or fewer axes than `n_axes`.
    """
    check.integer("n_axes", n_axes, 1, jnp.ndim(logits))
    logits = logits.astype(check.wide(logits.dtype))
    classes = logits.shape[-1]
    if classes < 2:
        raise ValueError(f"logits must have at least two classes, got {classes}")
    log_p = jax.nn.log_softmax(logits, axis=-1)
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1) / jnp.log(jnp.asarray(classes, logits.dtype))
    return 1.0 - jnp.mean(entropy, axis=tuple(range(-(n_axes - 1), 0)))


def exit_tick(certainties: Array, threshold: Any) -> Array:
    """The first tick (from 0) at which a thought is certain: (..., T) -> (...) int32; the last if there is none.

    Args:
        certainties: of :func:`think`. threshold: least certainty to stop at, one number (vmap over it for a curve).
    """
    check.scalar("threshold", threshold)
    certainties = jnp.asarray(certainties)
    enough = certainties >= threshold
    last = certainties.shape[-1] - 1
    return jnp.where(jnp.any(enough, axis=-1), jnp.argmax(enough, axis=-1), last).astype(jnp.int32)


def think(
    model: Any, params: Any, tokens: Any, n_ticks: int, *, key: Array | None = None, record: tuple[str, ...] = (),
    remat: int | None = None,
) -> Thought:
    """All ticks about one sample or a batch, in one compiled scan.

    Args:
        model, params: a thinker. tokens: one sample as ``model.encode`` takes it, or a batch of them.
        n_ticks: T. key: draws the dropout, ``fold_in(key, b)`` for sample b, ``fold_in(key, t)`` for its tick t.
        record: names of what to keep of every tick besides the answers (static).
        remat: keep the states of every `remat`-th tick only and compute the rest again for the gradient (static). For
            few ticks 1 is best, for many their square root: 75 published ones take 302 MiB with 9, 597 with 1 and 838
            with None, which keeps all.

    Raises:
        ValueError, TypeError: fewer than one tick, another number or width of tokens, an unknown record.
    """
    check.integer("n_ticks", n_ticks, 1)
    tokens, batched = check_tokens(model, tokens, batched=None)
    for name in record:
        check.choice("record", name, RECORDS)
    if remat is not None:
        remat = min(check.integer("remat", remat, 1), n_ticks)
    if key is not None:
        check.key("key", key)
    return _think(model, params, tokens, key, n_ticks=n_ticks, record=tuple(record), remat=remat, batched=batched)


def _over(batched: bool, one: Any, tokens: Array, key: Array | None) -> Any:
    """Map over the batch, each sample with its key."""
    if not batched:
        return one(tokens, key)
    keys = None if key is None else jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(tokens.shape[0]))
    return jax.vmap(one, in_axes=(0, None if key is None else 0))(tokens, keys)


def _in_pieces(body: Any, state: Any, n_ticks: int, size: int | None) -> tuple[Any, Any]:
    """A scan over the ticks; with a size it keeps, for the gradient, the states between pieces of so many ticks."""

    def piece(state: Any, ticks: Array) -> tuple[Any, Any]:
        return jax.lax.scan(body, state, ticks)

    ticks = jnp.arange(n_ticks, dtype=jnp.int32)
    if size is None:
        return piece(state, ticks)
    if size == 1:
        return jax.lax.scan(jax.checkpoint(body), state, ticks)
    whole = n_ticks // size
    state, rows = jax.lax.scan(jax.checkpoint(piece), state, ticks[: whole * size].reshape(whole, size))
    rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)
    if whole * size < n_ticks:
        state, last = jax.checkpoint(piece)(state, ticks[whole * size :])
        rows = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), rows, last)
    return state, rows


@partial(jax.jit, static_argnames=("n_ticks", "record", "remat", "batched"))
def _think(
    model: Any, params: Any, tokens: Array, key: Array | None, *, n_ticks: int, record: tuple[str, ...],
    remat: int | None, batched: bool,
) -> Thought:
    def one(tokens: Array, key: Array | None) -> Thought:
        x = model.encode(params, tokens)

        def body(state: Any, t: Array) -> tuple[Any, Any]:
            state, weights = model.tick(params, state, x, numbered(key, t))
            kept: dict[str, Any] = {"attention": weights, "state": state}
            if "features" in record:
                kept["features"] = model.observe(params, state)
            return state, (model.logits(params, state), {name: kept[name] for name in record})

        state, (logits, records) = _in_pieces(body, model.init_state(params), n_ticks, remat)
        return Thought(logits, certainty(logits, logits.ndim - 1), state, records)

    return _over(batched, one, tokens, key)


def think_until(
    model: Any, params: Any, tokens: Any, threshold: Any, max_ticks: int, *, key: Array | None = None
) -> tuple[Array, Array, Array]:
    """Think until certain and no longer: the answer that :func:`exit_tick` picks, without the ticks after it.

    A batch is computed until its last sample is certain. The loop has no reverse-mode gradient.

    Args:
        model, params, tokens, key: as in :func:`think`.
        threshold: least certainty to stop at. max_ticks: at most so many.

    Returns:
        ``(logits, certainty, tick)`` of the last tick of each sample, ``(*n_outputs)``, () and () int32, counted from
        0.

    Raises:
        As :func:`think`.
    """
    check.integer("max_ticks", max_ticks, 1)
    check.scalar("threshold", threshold)
    tokens, batched = check_tokens(model, tokens, batched=None)
    if key is not None:
        check.key("key", key)
    return _think_until(model, params, tokens, threshold, key, max_ticks=max_ticks, batched=batched)


@partial(jax.jit, static_argnames=("max_ticks", "batched"))
def _think_until(
    model: Any, params: Any, tokens: Array, threshold: Any, key: Array | None, *, max_ticks: int, batched: bool
) -> tuple[Array, Array, Array]:
    def one(tokens: Array, key: Array | None) -> tuple[Array, Array, Array]:
        x = model.encode(params, tokens)

        def tick(carry: Any) -> Any:
            state, _, _, t = carry
            state, _ = model.tick(params, state, x, numbered(key, t))
            logits = model.logits(params, state)
            return state, logits, certainty(logits, logits.ndim), t + 1

        def unsure(carry: Any) -> Array:
            return (carry[2] < threshold) & (carry[3] < max_ticks)

        start = model.init_state(params)
        first = tick((start, None, None, jnp.int32(0)))
        _, logits, sure, t = jax.lax.while_loop(unsure, tick, first)
        return logits, sure, t - 1

    return _over(batched, one, tokens, key)
