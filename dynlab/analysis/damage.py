"""What damage costs: the accuracy of a network without single units, or with its weights or time constants moved."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.analysis import perturb
from dynlab.analysis.streaming import Stream, Task, one_head, prepare, score, valid
from dynlab.keys import named
from dynlab.protocol import Map

Array = jax.Array
Change = str | Callable[[Any, Array, Array], Any]


@tree.dataclass
class Ablation:
    """Accuracy without single units, on the same streams as the baseline.

    Attributes:
        units: (U,). accuracy: (U, repeats). baseline: (repeats,), of the whole network.
        diverged: (U, repeats), share of the scored steps whose answer is not finite; they count as half right.
    """

    units: Array
    accuracy: Array
    baseline: Array
    diverged: Array

    @property
    def relative(self) -> Array:
        """(U,), :func:`dynlab.relative_accuracy` of the means over repeats."""
        return _relative(self)

    def table(self) -> dict[str, np.ndarray]:
        """Columns for ``pandas.DataFrame``, one row a unit; accuracy and diverged are means over repeats."""
        return _columns("unit", self.units, self)


@tree.dataclass
class Perturbation:
    """Accuracy after random moves of parameters, on the same streams and in the same directions at every size.

    Attributes:
        sizes: (S,). accuracy: (S, repeats); repeat r has its own direction and stream. baseline: (repeats,).
        diverged: (S, repeats), share of the scored steps whose answer is not finite; they count as half right.
    """

    sizes: Array
    accuracy: Array
    baseline: Array
    diverged: Array

    @property
    def relative(self) -> Array:
        """(S,), :func:`dynlab.relative_accuracy` of the means over repeats."""
        return _relative(self)

    @property
    def half_damage(self) -> Array:
        """The size at which half of the relative accuracy is lost (:func:`dynlab.half_damage`)."""
        return perturb.half_damage(self.sizes, self.relative)

    def table(self) -> dict[str, np.ndarray]:
        """Columns for ``pandas.DataFrame``, one row a size; accuracy and diverged are means over repeats."""
        return _columns("size", self.sizes, self)


def _relative(result: Any) -> Array:
    return perturb.relative_accuracy(jnp.mean(result.accuracy, -1), jnp.mean(result.baseline, -1)[..., None])


def _columns(name: str, rows: Any, result: Any) -> dict[str, np.ndarray]:
    accuracy = np.asarray(result.accuracy, float)
    spread = accuracy.std(axis=-1, ddof=1) if accuracy.shape[-1] > 1 else np.full(accuracy.shape[:-1], np.nan)
    return {
        name: np.asarray(rows), "accuracy": accuracy.mean(axis=-1), "sd": spread,
        "relative": np.asarray(result.relative), "diverged": np.asarray(result.diverged).mean(axis=-1),
    }


def _repeats(key: Array, count: int) -> Array:
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count))


def _by_chunks(function: Callable[[Array], Any], xs: Array, chunk: int) -> Any:
    """``vmap(function)(xs)``, `chunk` rows at a time, with one copy of `function` in the program."""
    count = xs.shape[0]
    chunk = min(chunk, count)
    rows = jnp.concatenate([xs, jnp.broadcast_to(xs[-1], (-count % chunk,))]).reshape(-1, chunk)
    out = jax.lax.map(jax.vmap(function), rows)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], out)


@partial(jax.jit, static_argnames=("repeats", "chunk"))
def _ablation(
    model: Map, params: Any, readout: Any, key: Array, units: Array, stream: Stream, *, repeats: int, chunk: int
) -> Ablation:
    keys, one = _repeats(key, repeats), one_head(readout, stream.head)

    def without(unit: Array) -> tuple[Array, Array]:
        cut, blind = perturb.ablate(params, unit), perturb.ablate_readout(one, unit)
        return jax.vmap(lambda k: score(model, cut, blind, k, stream))(keys)

    nobody = jnp.full(1, readout.weights.shape[-2], units.dtype)  # an index past the end: writes to it are dropped
    accuracy, diverged = _by_chunks(without, jnp.concatenate([nobody, units]), chunk)
    accuracy = valid(accuracy, readout, stream)
    return Ablation(units, accuracy[1:], accuracy[0], diverged[1:])


def ablation(
    model: Map, params: Any, readout: Any, key: Array, units: Any, *, n: Any, head: Any = None, repeats: int = 10,
    task: Task = "parity", values: Any = (0.0, 1.0), warmup: int = 100, n_steps: int = 1000, random_start: bool = True,
    chunk: int = 2,
) -> Ablation:
    """The accuracy of a network without each of the given units, one at a time.

    Each unit is cut from the network and from the readout (:func:`dynlab.ablate`, :func:`dynlab.ablate_readout`) and
    the head is scored by :func:`streaming_accuracy`, on the same `repeats` streams with and without it.

    Args:
        units: indices (U,), such as those of :func:`dynlab.ablation_groups`.
        repeats: streams. chunk: units whose networks (N^2 weights each) are run at once: small on a CPU, all on a GPU.
        model, params, readout, key, n, head, task, values, warmup, n_steps, random_start: as for
            :func:`streaming_accuracy`.

    Returns:
        :class:`Ablation`, with ``relative`` and ``table()``.

    Raises:
        ValueError, TypeError: as :func:`streaming_accuracy` and :func:`dynlab.ablate`; `units` not of shape (U,).
    """
    stream = prepare(model, readout, key, n, head, task, values, warmup, n_steps, random_start)
    units = perturb.check_units(units, perturb.n_units_of(params))
    if units.ndim != 1 or units.size == 0:
        raise ValueError(f"units must have shape (U,) and not be empty, got {units.shape}")
    check.integer("repeats", repeats, 1)
    check.integer("chunk", chunk, 1)
    return _ablation(model, params, readout, key, units, stream, repeats=int(repeats), chunk=int(chunk))


CHANGES: dict[str, Callable[[Any, Array, Any], Any]] = {
    "weights": perturb.perturb_weights, "tau": perturb.perturb_tau,
}


@partial(jax.jit, static_argnames=("what", "repeats", "chunk"))
def _perturbation(
    model: Map, params: Any, readout: Any, key: Array, sizes: Array, stream: Stream, *, what: Change, repeats: int,
    chunk: int,
) -> Perturbation:
    keys, one = _repeats(key, repeats), one_head(readout, stream.head)
    change = CHANGES[what] if isinstance(what, str) else what

    def moved(size: Array) -> tuple[Array, Array]:
        return jax.vmap(lambda k: score(model, change(params, named(k, "direction"), size), one, k, stream))(keys)

    accuracy, diverged = _by_chunks(moved, jnp.concatenate([jnp.zeros(1, sizes.dtype), sizes]), chunk)
    accuracy = valid(accuracy, readout, stream)
    return Perturbation(sizes, accuracy[1:], accuracy[0], diverged[1:])


def perturbation(
    model: Map, params: Any, readout: Any, key: Array, sizes: Any, *, what: Change = "weights", n: Any,
    head: Any = None, repeats: int = 10, task: Task = "parity", values: Any = (0.0, 1.0), warmup: int = 100,
    n_steps: int = 1000, random_start: bool = True, chunk: int = 1,
) -> Perturbation:
    """The accuracy of a network whose weights or time constants are moved by each of the given sizes.

    Args:
        sizes: (S,), relative to the norm of what is moved; rising where ``half_damage`` is asked for.
        what: "weights" (:func:`dynlab.perturb_weights`), "tau" (:func:`dynlab.perturb_tau`) or a function
            (params, key, size) -> params, the identity at size 0 (define it once).
        repeats: directions, each with a stream of its own. chunk: sizes run at once (repeats N^2 weights each).
        model, params, readout, key, n, head, task, values, warmup, n_steps, random_start: as for
            :func:`streaming_accuracy`.

    Returns:
        :class:`Perturbation`, with ``relative``, ``half_damage`` and ``table()``.

    Raises:
        ValueError, TypeError: as :func:`streaming_accuracy`; sizes not of shape (S,), negative or not finite; params
            that do not have what is to be moved.
    """
    stream = prepare(model, readout, key, n, head, task, values, warmup, n_steps, random_start)
    if not callable(what):
        check.choice("what", what, CHANGES)
    sizes = check.array("sizes", sizes)
    if sizes.ndim != 1 or sizes.size == 0:
        raise ValueError(f"sizes must have shape (S,) and not be empty, got {sizes.shape}")
    check.number("sizes", sizes, 0.0)
    check.integer("repeats", repeats, 1)
    check.integer("chunk", chunk, 1)
    return _perturbation(model, params, readout, key, sizes, stream, what=what, repeats=int(repeats), chunk=int(chunk))
