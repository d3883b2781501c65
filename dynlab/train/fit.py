"""Train by gradients: whole epochs as one compiled program, one network or many at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.keys import named
from dynlab.train.constraints import Trainable, trainable
from dynlab.train.unroll import NETWORKS

Array = jax.Array
FINISHED, STOPPED, NOT_FINITE = 0, 1, 2


class NotFiniteError(FloatingPointError):
    """The loss or its gradient became NaN or infinite in every network; ``fit`` holds the last good parameters."""

    def __init__(self, message: str, fit: Fit) -> None:
        self.args = (message,)
        self.fit = fit


@tree.dataclass
class Progress:
    """What training carries from epoch to epoch (with a leading axis S for S networks).

    Attributes:
        free: trained values by name. optimiser: its state. stage: of the curriculum, or None.
        failed: int32, the update whose loss or gradient was not finite, -1 for none: the network stays as it was.
        done: bool, the stop rule holds: the network stays as it is.
    """

    free: dict[str, Array]
    optimiser: Any
    stage: Any
    failed: Array
    done: Array


@dataclasses.dataclass(frozen=True)
class Fit:
    """What :func:`fit` returns; with S networks everything has that axis where S stands.

    Attributes:
        params: trained parameters in natural units, with axis (S,) first. stage: last stage of the curriculum.
        loss: (epochs, updates[, S]), NaN for updates not made.
        history: of each epoch, by name: what the loss reports (mean over updates) and what `evaluate` returns,
            (epochs[, S], ...).
        status: (S,) or scalar: 0 all epochs done, 1 stopped by the stop rule, 2 not finite.
        failed: (S,) or scalar, the update that was not finite, or -1. epochs: epochs done.
        progress: from which :func:`fit` can go on (``fit(..., resume=result)``).
    """

    params: Any
    stage: Any
    loss: np.ndarray
    history: dict[str, np.ndarray]
    status: np.ndarray
    failed: np.ndarray
    epochs: int
    progress: Progress

    def table(self) -> dict[str, np.ndarray]:
        """Columns for ``pandas.DataFrame``, a row an epoch (and network): loss and every history that is one number."""
        mean = _mean(self.loss, 1)
        shape = mean.shape
        grid = np.indices(shape)
        columns = {"epoch": grid[0] + 1, **({"network": grid[1]} if len(shape) == 2 else {}), "loss": mean}
        columns |= {name: rows for name, rows in self.history.items() if rows.shape == shape}
        return {name: np.ravel(column) for name, column in columns.items()}


def _mean(loss: np.ndarray, axis: int) -> np.ndarray:
    """The mean over the updates that were made, NaN where none was."""
    made = np.isfinite(loss)
    return np.where(made, loss, 0.0).sum(axis) / np.where(made.any(axis), made.sum(axis), np.nan)


def _call(function: Any, params: Any, key: Array, stage: Any) -> Any:
    return function(params, key) if stage is None else function(params, key, stage)


def _update(
    loss: Any, rule: Trainable, optimiser: Any, carry: tuple[Progress, Any], key: Array, step: Array
) -> tuple[tuple[Progress, Any], Any]:
    """One update; a network that has failed or is done stays."""
    import optax

    now, room = carry

    def value_of(free: dict[str, Array], room: Any) -> tuple[Array, dict[str, Array]]:
        function = loss if room is None else partial(loss, workspace=room)
        out = _call(function, rule.build(free), jax.random.fold_in(key, step), now.stage)
        return out if isinstance(out, tuple) else (out, {})

    (value, metrics), (gradient, room) = jax.value_and_grad(value_of, (0, 1), has_aux=True)(now.free, room)
    change, state = optimiser.update(gradient, now.optimiser, now.free)
    new = rule.project(optax.apply_updates(now.free, change))
    finite = jnp.isfinite(value) & jnp.all(jnp.asarray([jnp.all(jnp.isfinite(g)) for g in gradient.values()]))
    finite &= jnp.all(jnp.asarray([jnp.all(jnp.isfinite(v)) for v in new.values()]))
    moving = (now.failed < 0) & ~now.done
    keep = lambda a, b: jax.tree.map(lambda x, y: jnp.where(moving & finite, x, y), a, b)  # noqa: E731
    failed = jnp.where(moving & ~finite, step, now.failed)
    after = Progress(keep(new, now.free), keep(state, now.optimiser), now.stage, failed, now.done)
    return (after, room), jax.tree.map(lambda m: jnp.where(moving, m, jnp.nan), (value, metrics))


@partial(jax.jit, static_argnames=("optimiser", "n_updates", "stop", "together"))
def _epoch(
    functions: Any, rule: Trainable, now: Progress, key: Array, epoch: Array, *,
    optimiser: Any, n_updates: int, stop: Any, together: bool | None,
) -> tuple[Progress, Array, dict[str, Array]]:
    """All updates of an epoch, then the evaluation and the next stage."""
    loss, evaluate, advance = functions

    def one(rule: Trainable, now: Progress, key: Array) -> tuple[Progress, Array, dict[str, Array]]:
        steps = epoch * n_updates + jnp.arange(n_updates, dtype=jnp.int32)
        body = lambda p, step: _update(loss, rule, optimiser, p, named(key, "updates"), step)  # noqa: E731
        room = _call(loss.workspace, rule.build(now.free), key, now.stage) if hasattr(loss, "workspace") else None
        (new, _), (losses, metrics) = jax.lax.scan(body, (now, room), steps)
        report = jax.tree.map(lambda m: jnp.nanmean(m, axis=0), metrics)
        params = rule.build(new.free)
        if evaluate is not None:
            test_key = jax.random.fold_in(named(key, "evaluate"), epoch)
            report |= _call(evaluate, params, test_key, new.stage)
        stage = new.stage
        if advance is not None:
            moved = advance(stage, report, params)
            stage = jax.tree.map(lambda a, b: jnp.where((new.failed < 0) & ~new.done, a, b), moved, stage)
        done = new.done if stop is None else new.done | stop(stage)
        return dataclasses.replace(new, stage=stage, done=done), losses, report

    if together is None:
        return one(rule, now, key)
    if together:
        return jax.vmap(one, axis_name=NETWORKS, out_axes=(0, 1, 0))(rule, now, key)
    new, losses, report = jax.lax.map(lambda args: one(*args), (rule, now, key))
    return new, losses.T, report


def _argument(function: Any) -> Any:
    """A function as an argument of a compiled program: equal ones share it."""
    is_tree = not jax.tree_util.all_leaves([function])  # None is an empty one
    return function if is_tree else jax.tree_util.Partial(function)


def fit(
    loss: Callable[..., Any], params: Any, key: Array, *, optimiser: Any, n_epochs: int, n_updates: int = 100,
    constraints: Mapping[str, Any] | None = None, evaluate: Callable[..., dict[str, Array]] | None = None,
    stage: Any = None, advance: Callable[..., Any] | None = None, stop: Callable[[Any], Array] | None = None,
    together: bool = True, checkpoint: Any = None, resume: Fit | None = None,
    on_epoch: Callable[[int, Progress, dict[str, Any]], None] | None = None,
    progress: Callable[[Iterable[int], str], Iterable[int]] | None = None,
) -> Fit:
    """Minimise `loss` by an optax optimiser, an epoch of `n_updates` at a time in one compiled program.

    Each update gets a key of its own, from which `loss` draws a fresh batch on the device; nothing is sent to the host
    within an epoch. Given S keys, S networks train together, each with its own batches; a network whose loss is not
    finite stops where it was and does not disturb the others.

    Args:
        loss: ``loss(params, key)``, or ``loss(params, key, stage)`` with a stage, -> a scalar, or a scalar and a
            dictionary of scalars to report. A module-level function, or a dataclass of :mod:`dynlab.tree` with
            ``__call__``, whose leaves are knobs; a new lambda compiles again. If it has a method ``workspace``, called
            with the same arguments, the memory this returns is handed to it as ``workspace=`` in every update, for
            :func:`dynlab.train.last_state`.
        params: what is trained, any pytree (with leading axis S for S networks).
        key: one key, or S of them.
        optimiser: an ``optax.GradientTransformation``; put clipping in it (``optax.chain(optax.clip_by_global_norm(2.),
            ...)``). Make it once: a new one compiles again.
        n_epochs: epochs in all, those of `resume` and `checkpoint` included. n_updates: in an epoch.
        constraints: see :func:`dynlab.train.trainable`.
        evaluate: ``evaluate(params, key[, stage])`` -> a dictionary of arrays, after each epoch.
        stage: what the loss is told besides, such as the stage of a curriculum (leading axis S for S networks).
        advance: ``advance(stage, report, params) -> stage`` after each epoch; `report` holds the epoch's history.
        stop: ``stop(stage) -> bool``; a network for which it holds is not changed any more.
        together: how S networks are computed (static): True, side by side by ``vmap``, best for small networks and on
            GPUs; False, an epoch of each in turn, best for large networks on a CPU. Equal up to rounding.
        checkpoint: a :class:`dynlab.train.Checkpoint`: saved after every epoch, before the epoch is reported; training
            goes on from what it holds. resume: an earlier result to go on from.
        on_epoch: called on the host after each epoch with (epochs done, :class:`Progress`, the epoch's report and
            mean loss).
        progress: wraps the iterable of epochs, as a bar.

    Returns:
        :class:`Fit`.

    Raises:
        NotFiniteError: the loss or gradient of every network was not finite.
        ValueError, TypeError: a key that is not typed, sizes below 1, an axis S that does not fit, constraints.
    """
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)) or key.ndim > 1:
        raise TypeError(f"key must be a typed key or a vector of them, got {type(key).__name__}")
    check.integer("n_epochs", n_epochs, 1)
    check.integer("n_updates", n_updates, 1)
    if (advance is not None or stop is not None) and stage is None:
        raise ValueError("stage must be given with advance or stop, got None")
    mapped = key.ndim == 1
    now, rule = _begin(params, key, optimiser, constraints, stage, mapped)
    records: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    if resume is not None:
        now, records = _taken(resume, now)
    elif checkpoint is not None:
        now, records = checkpoint.load(now, jax.random.key_data(key))
    functions = tuple(_argument(f) for f in (loss, evaluate, advance))
    run = partial(_epoch, functions, rule, optimiser=optimiser, n_updates=n_updates, stop=stop,
                  together=together if mapped else None)
    epochs: Iterable[int] = range(len(records), n_epochs)
    for epoch in epochs if progress is None else progress(epochs, "epochs"):
        if np.all(np.asarray(now.done) | (np.asarray(now.failed) >= 0)):
            break
        now, losses, report = run(now=now, key=key, epoch=jnp.int32(epoch))
        records.append((np.asarray(losses), {name: np.asarray(value) for name, value in report.items()}))
        if checkpoint is not None:
            checkpoint.save(now, records, jax.random.key_data(key))
        if on_epoch is not None:
            on_epoch(epoch + 1, now, {"loss": _mean(records[-1][0], 0), **records[-1][1]})
    result = _result(now, rule, records, n_updates, mapped)
    if np.all(result.failed >= 0):
        raise NotFiniteError(_advice(result, n_updates, checkpoint), result)
    return result


def _begin(
    params: Any, key: Array, optimiser: Any, constraints: Any, stage: Any, mapped: bool
) -> tuple[Progress, Trainable]:
    """The start, with axis S on every leaf for S networks."""
    free, rule = trainable(params, constraints)
    n = key.shape[0] if mapped else None
    if mapped:
        wrong = [name for name, value in free.items() if value.shape[:1] != (n,)]
        if wrong:
            raise ValueError(f"params must have one network a key, leading axis {n}, got {wrong[0]} of shape "
                             f"{free[wrong[0]].shape}: draw them by jax.vmap(model.init)(keys)")
    strong = lambda t: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), t)  # noqa: E731 - else twice
    free, stage, rest = strong(free), strong(stage), strong(rule.rest)
    start = jax.vmap(optimiser.init) if mapped else optimiser.init
    blank = jnp.zeros(() if n is None else n, jnp.int32)
    rule = dataclasses.replace(rule, rest=rest, constraints=strong(rule.constraints))
    if mapped:  # bounds are shared, masks and signs already have the axis of what they bound
        spread = lambda leaf: leaf if leaf.ndim else jnp.broadcast_to(leaf, (n,))  # noqa: E731
        rule = dataclasses.replace(rule, constraints=jax.tree.map(spread, rule.constraints))
    return Progress(free, start(free), stage, blank - 1, blank > 0), rule


def _taken(resume: Fit, start: Progress) -> tuple[Progress, list[Any]]:
    """Progress and records of an earlier result, checked against the start of this one."""
    shapes = lambda t: jax.tree.map(jnp.shape, t)  # noqa: E731
    if shapes(resume.progress) != shapes(start):
        raise ValueError("resume must be of the same parameters, optimiser and stage: its shapes are others")
    history = [{name: rows[i] for name, rows in resume.history.items()} for i in range(resume.epochs)]
    return resume.progress, list(zip(resume.loss, history, strict=True))


def _result(now: Progress, rule: Trainable, records: list[Any], n_updates: int, mapped: bool) -> Fit:
    build = jax.vmap(Trainable.build) if mapped else Trainable.build
    failed, done = np.asarray(now.failed), np.asarray(now.done)
    loss = np.stack([loss for loss, _ in records]) if records else np.zeros((0, n_updates, *failed.shape))
    history = {name: np.stack([row[name] for _, row in records]) for name in (records[0][1] if records else ())}
    status = np.where(failed >= 0, NOT_FINITE, np.where(done, STOPPED, FINISHED))
    return Fit(build(rule, now.free), now.stage, loss, history, status, failed, len(records), now)


def _advice(result: Fit, n_updates: int, checkpoint: Any) -> str:
    update = int(np.max(result.failed))
    where = "fit.params of this error"
    if checkpoint is not None:
        where += f" and in {checkpoint.folder}"
    return (f"loss or gradient not finite at update {update} (epoch {update // n_updates + 1}); the parameters before "
            f"it are in {where}. Lower the learning rate, clip the gradient (optax.clip_by_global_norm), or look at "
            "the inputs of that update: the loss of key fold_in(named(key, 'updates'), update)")
