"""Accuracy of a network that answers at every step of one long stream of bits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.analysis.perturb import CHANCE
from dynlab.analysis.stimulus import noise_key
from dynlab.keys import named
from dynlab.protocol import Map
from dynlab.simulation import check_model, scan_steps

Array = jax.Array
Task = str | Callable[[Array, Array], Array]


def parity_labels(bits: Array, n: Any) -> Array:
    """The parity, 0 or 1, of the last `n` of the bits (T,) at every step; bits before the first count as 0."""
    total = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(bits.astype(jnp.int32))])
    end = jnp.arange(1, bits.shape[0] + 1)
    return (total[end] - total[jnp.maximum(end - n, 0)]) % 2


def dms_labels(bits: Array, n: Any) -> Array:
    """1 where bit t equals bit t - n + 1 of the bits (T,), else 0; steps t < n - 1 compare with the first bit."""
    return (bits == bits[jnp.maximum(jnp.arange(bits.shape[0]) - n + 1, 0)]).astype(jnp.int32)


LABELS: dict[str, Callable[[Array, Any], Array]] = {"parity": parity_labels, "dms": dms_labels}


@tree.dataclass
class Stream:
    """What is streamed and scored: knobs are leaves, the rest shapes the program."""

    n: Any
    head: Any
    values: Any
    task: Task = tree.static()
    warmup: int = tree.static()
    n_steps: int = tree.static()
    random_start: bool = tree.static()


def _n_heads(readout: Any) -> int:
    """Heads of two logits each: weights (heads, F, 2), or (F, 2 heads)."""
    shape = jnp.shape(readout.weights)
    if len(shape) not in (2, 3) or shape[-1] % 2 or (len(shape) == 3 and shape[-1] != 2):
        raise ValueError(f"readout must have weights (F, 2 heads) or (heads, F, 2), two logits a head, got {shape}")
    return shape[0] if len(shape) == 3 else shape[-1] // 2


def one_head(readout: Any, head: Any) -> Any:
    w, b = readout.weights, readout.intercept
    if jnp.ndim(w) == 3:
        return readout.replace(weights=w[head], intercept=jnp.broadcast_to(b, (w.shape[0], 2))[head])
    pick = partial(jax.lax.dynamic_slice_in_dim, start_index=2 * head, slice_size=2, axis=-1)
    return readout.replace(weights=pick(w), intercept=pick(jnp.broadcast_to(b, w.shape[-1:])))


def score(model: Map, params: Any, readout: Any, key: Array, stream: Stream) -> tuple[Array, Array]:
    """(accuracy, share of answers that are not finite) of one stream; `readout` is that of one head."""
    length = stream.warmup + stream.n_steps
    bits = jax.random.bernoulli(named(key, "bits"), 0.5, (length,)).astype(jnp.int32)
    xs = jnp.asarray(stream.values, check.default_float())[bits][:, None]
    state = model.init_state(params, named(key, "state") if stream.random_start else None)
    with_input = getattr(readout, "with_input", False)

    def answer(params: Any, state: Any, x: Array) -> Array:
        return readout(model.observe(params, state), x if with_input else None)

    noise = noise_key(model, params, named(key, "noise"))
    logits = scan_steps(model, params, state, xs, noise, 0, length, answer)[1][stream.warmup :]
    label = LABELS[stream.task] if isinstance(stream.task, str) else stream.task
    wanted = label(bits, stream.n)[stream.warmup :]
    finite = jnp.all(jnp.isfinite(logits), axis=-1)
    right = jnp.where(finite, (jnp.argmax(logits, axis=-1) == wanted).astype(logits.dtype), CHANCE)
    return jnp.mean(right), jnp.mean(~finite, dtype=logits.dtype)


def valid(accuracy: Array, readout: Any, stream: Stream) -> Array:
    """NaN where a traced n or head is out of range (concrete ones are refused)."""
    lowest = 2 if stream.task == "dms" else 1
    good = (stream.n >= lowest) & (stream.n <= stream.warmup + 1)
    return jnp.where(good & (stream.head >= 0) & (stream.head < _n_heads(readout)), accuracy, jnp.nan)


@jax.jit
def _accuracy(model: Map, params: Any, readout: Any, key: Array, stream: Stream) -> Array:
    accuracy, _ = score(model, params, one_head(readout, stream.head), key, stream)
    return valid(accuracy, readout, stream)


def prepare(
    model: Map, readout: Any, key: Array, n: Any, head: Any, task: Task, values: Any, warmup: int, n_steps: int,
    random_start: bool,
) -> Stream:
    check_model(model)
    check.key("key", key)
    if getattr(model, "input_sizes", None) not in (None, 1):
        raise ValueError(f"model must have one input channel, got input sizes {model.input_sizes}")  # type: ignore[attr-defined]
    if not callable(task):
        check.choice("task", task, LABELS)
    warmup, n_steps = check.integer("warmup", warmup, 0), check.integer("n_steps", n_steps, 1)
    values = check.array("values", values)
    if values.shape != (2,):
        raise ValueError(f"values must be two numbers, the inputs for bit 0 and bit 1, got shape {values.shape}")
    heads = _n_heads(readout)
    n = _index("n", n, 2 if task == "dms" else 1, warmup + 1, f"warmup + 1 ({warmup + 1})")
    head = _index("head", n - 2 if head is None else head, 0, heads - 1, f"the number of heads - 1 ({heads - 1})")
    return Stream(n, head, values, task, warmup, n_steps, bool(random_start))


def _index(name: str, value: Any, low: int, high: int, why: str) -> Any:
    """One integer in [low, high], traced or not."""
    if jnp.ndim(value) != 0:
        raise ValueError(f"{name} must be one integer, got {value!r}; for several use jax.vmap")
    if not jnp.issubdtype(jnp.result_type(value), jnp.integer):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if check.is_traced(value):
        return value
    if not low <= int(value) <= high:
        raise ValueError(f"{name} must be at least {low} and at most {why}, got {int(value)}")
    return np.int32(value)


def streaming_accuracy(
    model: Map, params: Any, readout: Any, key: Array, *, n: Any, head: Any = None, task: Task = "parity",
    values: Any = (0.0, 1.0), warmup: int = 100, n_steps: int = 1000, random_start: bool = True,
) -> Array:
    r"""The share of right answers of one head, read at every step of one long stream of fair bits.

    .. math:: y_t = \Big(\sum_{k=0}^{n-1} b_{t-k}\Big) \bmod 2 \quad\text{("parity")}, \qquad
              y_t = [b_{t-n+1} = b_t] \quad\text{("dms")}

    The answer is the larger of the head's two logits. A step whose logits are not finite counts as half right: a
    network that diverges is at chance. Bits have p = 0.5; on the sequences of the training of Khajehabdollahi et al.
    (ICLR 2024, arXiv:2309.12927), each with its own p, the same network scores higher.

    Args:
        model: a Map of one input channel. params: what ``model.init(key)`` returned, or trained ones.
        readout: :class:`dynlab.Linear` with two logits a head: weights (F, 2 heads), head h in columns 2h and 2h + 1,
            or (heads, F, 2).
        key: draws bits, start state and noise.
        n: bits that the answer depends on, 1 <= n <= warmup + 1 (2 <= n for "dms"); may be traced: one program serves
            all n.
        head: which head is read, from 0; n - 2 when None. May be traced.
        task: "parity", "dms" or a function (bits (T,), n) -> labels (T,) of 0 and 1 (define it once).
        values: the inputs that stand for bit 0 and bit 1.
        warmup: first steps, not scored (static). n_steps: scored steps (static).
        random_start: start from ``model.init_state(params, key)``, else from ``model.init_state(params)`` (static).

    Returns:
        scalar. NaN where a traced `n` or `head` is out of range. One compiled program for all values; for damaged
        networks ``vmap`` over params and readout, or take :func:`ablation` and :func:`perturbation`.

    Raises:
        ValueError, TypeError: a model with other inputs, a readout without two logits a head, n or head out of range,
            an untyped key, an unknown task.
    """
    stream = prepare(model, readout, key, n, head, task, values, warmup, n_steps, random_start)
    return _accuracy(model, params, readout, key, stream)
