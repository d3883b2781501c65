"""Run a model: driven by inputs (:func:`simulate`) or on its own output (:func:`generate`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Layout, with_layout_constraint

from dynlab import check, tree
from dynlab.combine import Feedback, FeedbackParams
from dynlab.keys import numbered
from dynlab.protocol import Map

Array = jax.Array
Record = str | None | Callable[[Any, Any, Any], Any]


@tree.dataclass
class Run:
    """What a simulation returns.

    Attributes:
        outputs: what `record` asked for, stacked over time (time - washout, ...), batch first; None for record=None.
        state: the last state, from which a run can go on.
        t: index of the next time step; pass it as `t0` when going on, so that noise continues its sequence.
    """

    outputs: Any
    state: Any
    t: Array


def _observer(record: Record, model: Map) -> Callable[[Any, Any, Any], Any]:
    if callable(record):
        return record
    if record == "features":
        return lambda params, state, x: model.observe(params, state)
    if record == "state":
        return lambda params, state, x: state
    return lambda params, state, x: None


def scan_steps(
    model: Map, params: Any, state: Any, xs: Any, key: Array | None, t0: Array | int, n_steps: int,
    observe: Callable[[Any, Any, Any], Any],
) -> tuple[Any, Any]:
    """The time loop, unbatched and un-jitted: the step at time t draws its noise from ``fold_in(key, t)``.

    Returns:
        ``(last state, stacked observe(params, state, x))``.
    """
    times = jnp.asarray(t0, jnp.int32) + jnp.arange(n_steps, dtype=jnp.int32)

    def body(carry: Any, tx: tuple[Array, Any]) -> tuple[Any, Any]:
        t, x = tx
        new = model.step(params, carry, x, numbered(key, t))
        return new, observe(params, new, x)

    if n_steps == 1:
        return _single_step(body, state, (times, xs))
    return jax.lax.scan(body, state, (times, xs), length=n_steps)


def _single_step(body: Callable[[Any, Any], tuple[Any, Any]], state: Any, txs: Any) -> tuple[Any, Any]:
    """A scan of length 1 that equals the same step of a longer scan bit for bit.

    XLA inlines a loop of one iteration and may then fuse, and so round, it otherwise. A loop of two iterations over
    the same input stays a loop; the second is dropped.
    """
    def both(carry: Any, tx: Any) -> tuple[Any, Any]:
        new, out = body(carry, tx)
        return new, (new, out)

    twice = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), txs)
    _, (states, outputs) = jax.lax.scan(both, state, twice, length=2)
    return jax.tree.map(lambda leaf: leaf[0], states), jax.tree.map(lambda leaf: leaf[:1], outputs)


def _minor(leaf: Array) -> Array:
    """The same values (batch, ...) with those of one unit side by side in memory."""
    if leaf.ndim < 2 or jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    return with_layout_constraint(leaf, Layout((*range(1, leaf.ndim), 0)))


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Steps of a model that is `batch_minor` for a batch: states (batch, ...), inputs (..., batch)."""

    model: Map

    def step(self, params: Any, state: Any, x: Any, key: Array | None = None) -> Any:
        new = jax.vmap(self.model.step, in_axes=(None, 0, -1, 0))(params, jax.tree.map(_minor, state), x, key)
        return jax.tree.map(_minor, new)


@partial(jax.jit, static_argnames=("washout", "n_steps", "record", "batched"))
def _simulate(
    model: Map, params: Any, inputs: Any, key: Array | None, state: Any, t0: Any, *,
    washout: int, n_steps: int, record: Record, batched: bool,
) -> Run:
    def run(model: Any, observe: Any, xs: Any, key: Array | None, state: Any) -> tuple[Any, Any]:
        if washout:
            head = jax.tree.map(lambda leaf: leaf[:washout], xs)
            state, _ = scan_steps(model, params, state, head, key, t0, washout, lambda *_: None)
        rest = jax.tree.map(lambda leaf: leaf[washout:], xs)
        return scan_steps(model, params, state, rest, key, t0 + washout, n_steps - washout, observe)

    observe, alike = _observer(record, model), state is None
    start = model.init_state(params) if alike else state
    if not batched:
        state, outputs = run(model, observe, inputs, key, start)
        return Run(outputs, state, t0 + n_steps)
    size = jax.tree.leaves(inputs)[0].shape[0]
    keys = None if key is None else jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(size))
    if getattr(model, "batch_minor", False):
        to_last, to_first = (partial(jax.tree.map, partial(jnp.moveaxis, source=a, destination=b))
                             for a, b in ((0, -1), (-1, 0)))
        if alike:
            start = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (size, *jnp.shape(leaf))), start)
        each = jax.vmap(observe, in_axes=(None, 0, -1), out_axes=-1)
        state, outputs = run(_Batch(model), each, to_last(inputs), keys, start)
        return Run(to_first(outputs), state, t0 + n_steps)
    every = jax.vmap(partial(run, model, observe), in_axes=(0, None if key is None else 0, None if alike else 0))
    state, outputs = every(inputs, keys, start)
    return Run(outputs, state, t0 + n_steps)


def check_model(model: Any) -> None:
    """Require a Map; say what to do with a Flow."""
    if not hasattr(model, "step"):
        flow = hasattr(model, "vector_field")
        hint = ": wrap a flow in Euler, ExpEuler or FlowMap" if flow else ", an object with step(params, state, x, key)"
        raise TypeError(f"model must be a Map{hint}, got {type(model).__name__}")


def check_inputs(model: Map, inputs: Any, batched: bool | None = None) -> tuple[Any, bool]:
    """Validate an input pytree against ``model.input_sizes`` (where the model has it); return it as arrays.

    Every leaf is (time, features) or, batched, (batch, time, features); leaves of other rank need `batched` said.
    """
    sizes = getattr(model, "input_sizes", None)
    if isinstance(inputs, list):  # rows of numbers; a pair of series is a tuple
        inputs = check.series("inputs", inputs)
    leaves, treedef = jax.tree.flatten_with_path(inputs)
    structure: Any = jax.tree.structure(sizes)
    if sizes is not None and structure != treedef:
        raise ValueError(
            f"inputs must have the structure {structure} for {type(model).__name__} "
            f"(features {sizes}), got {treedef}"
        )
    if not leaves:
        raise ValueError("inputs must hold at least one array; for a model without input give n_steps and inputs=None")
    wanted = [None] * len(leaves) if sizes is None else jax.tree.leaves(sizes)
    out = []
    for (path, leaf), size in zip(leaves, wanted, strict=True):
        name = "inputs" + jax.tree_util.keystr(path)
        if batched is None or sizes is not None:
            out.append(check.series(name, leaf, n_features=size, batched=batched))
        else:
            out.append(check.array(name, leaf))
        if getattr(model, "takes_spikes", False):
            _check_spikes(name, out[-1])
    if batched is None:
        batched = out[0].ndim == 3
    lengths = {leaf.shape[: 1 + batched] for leaf in out}
    if len(lengths) > 1:
        raise ValueError(f"inputs must agree in batch and time axes, got {sorted(lengths)}")
    if 0 in next(iter(lengths)):
        raise ValueError(f"inputs must not be empty, got leading axes {next(iter(lengths))}")
    return jax.tree.unflatten(treedef, out), batched


def _check_spikes(name: str, value: Array) -> None:
    """Require spikes, where the values are known."""
    if check.is_traced(value):
        return
    host = np.asarray(value)
    odd = host[(host != 0) & (host != 1)]
    if odd.size:
        raise ValueError(f"{name} must be 0 or 1 for a model whose inputs are spikes (input_layer='direct'), got "
                         f"{odd.flat[0]:.4g}")


def _noises(params: Any) -> Iterator[Any]:
    """Every field called noise in a parameter pytree (a stack or a closed loop holds those of its parts)."""
    if dataclasses.is_dataclass(params):
        for field in dataclasses.fields(params):
            value = getattr(params, field.name)
            if field.name == "noise" and value is not None:
                yield value
            else:
                yield from _noises(value)
    elif isinstance(params, (tuple, list)):
        for part in params:
            yield from _noises(part)


def check_noise(params: Any, key: Array | None) -> None:
    """Require a key where the parameters have noise: a noise that is silently left out is no noise knob."""
    if key is not None:
        check.key("key", key)
        return
    for noise in _noises(params):
        if check.is_traced(noise) or np.any(np.asarray(noise) > 0):
            raise ValueError(f"key must be given for a model with noise (params.noise = {noise}), got None; "
                             "a model without noise has noise=None")


def check_state(model: Map, params: Any, state: Any, batch: int | None = None) -> Any:
    """Require a start state shaped like the model's own (with a leading batch axis in a batch); return it as arrays."""
    want = jax.eval_shape(model.init_state, params)
    lead = () if batch is None else (batch,)
    shapes = jax.tree.map(lambda leaf: (*lead, *leaf.shape), want)
    got = jax.tree.map(jnp.shape, state)
    if shapes != got:
        axis = "unbatched" if batch is None else f"with a leading batch axis of {batch}"
        raise ValueError(f"state must be one state of the model, {axis}: shapes {shapes}, got {got}")
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), state, want)


def check_time(t0: Any) -> None:
    """Require the time index to be one integer."""
    if jnp.shape(t0) != () or not jnp.issubdtype(jnp.result_type(t0), jnp.integer):
        raise ValueError(f"t0 must be one integer, got {t0!r}")


def simulate(
    model: Map, params: Any, inputs: Any, *, key: Array | None = None, state: Any = None, washout: int = 0,
    record: Record = "features", t0: int | Array = 0, n_steps: int | None = None, batched: bool | None = None,
) -> Run:
    """Drive a model with a series (or a batch of series) in one compiled scan.

    Args:
        model: any :class:`dynlab.protocol.Map`; `params`: what ``model.init(key)`` returned.
        inputs: (time, features) or (batch, time, features), or a pytree of such where the model's step takes one;
            None with `n_steps` for a model without input.
        key: noise key; None runs without noise. Step t uses ``fold_in(key, t)`` (series b: ``fold_in(key, b)``
            first), so a run in chunks (``state=run.state, t0=run.t``) equals the whole run bit for bit when called
            directly (inside a program of your own, XLA may round a chunk otherwise).
        state: start; None takes ``model.init_state(params)``. In a batch it has a leading batch axis.
        washout: first steps, of every series, that are run but not recorded nor stored.
        record: "features" (``model.observe``), "state", None (keep only the last state) or a function
            ``(params, state, x) -> pytree`` (define it once: a new lambda at each call compiles again).
        t0: time index of the first input.
        batched: needed only for inputs whose leaves are not series of vectors.

    Returns:
        :class:`Run`; ``outputs[i]`` belongs to input ``washout + i``, which the state has seen.

    Raises:
        ValueError, TypeError: wrong shape, width, dtype, NaN or infinity in the input, washout >= length, noise
            without a key; before anything is compiled.
    """
    check_model(model)
    if inputs is None:
        n_steps, batched = check.integer("n_steps", n_steps, 1), False
    else:
        inputs, batched = check_inputs(model, inputs, batched)
        length = jax.tree.leaves(inputs)[0].shape[int(batched)]
        if n_steps is not None and n_steps != length:
            raise ValueError(f"n_steps must be None or the length of inputs ({length}), got {n_steps}")
        n_steps = length
    washout = check.washout(washout, n_steps)
    if not callable(record):
        check.choice("record", record, ("features", "state", None))
    check_noise(params, key)
    check_time(t0)
    if state is not None:
        state = check_state(model, params, state, jax.tree.leaves(inputs)[0].shape[0] if batched else None)
    return _simulate(model, params, inputs, key, state, t0,
                     washout=washout, n_steps=n_steps, record=record, batched=batched)


@partial(jax.jit, static_argnames="n_steps")
def _generate(
    loop: Feedback, params: FeedbackParams, inputs: Any, key: Array | None, state: Any, t0: Any, *, n_steps: int
) -> Run:
    def body(carry: Any, tx: tuple[Array, Any]) -> tuple[Any, Array]:
        t, x = tx
        return loop.step(params, carry, x, numbered(key, t)), loop.observe(params, carry)

    times = jnp.asarray(t0, jnp.int32) + jnp.arange(n_steps, dtype=jnp.int32)
    state, outputs = jax.lax.scan(body, state, (times, inputs), length=n_steps)
    return Run(outputs, state, t0 + n_steps)


def generate(
    model: Map, params: Any, readout: Any, n_steps: int | None = None, *, state: Any, inputs: Any = None,
    route: str = "input", key: Array | None = None, t0: int | Array = 0,
) -> Run:
    """Run a trained model in closed loop: each output is the next input.

    ``outputs[0] = readout(features of state)``: with a readout trained to predict u(t+1) from the state that has seen
    u(t), it is the forecast of the sample right after the last one that drove `state`; ``outputs[i]`` lies i samples
    further on.

    Args:
        model, params: as in :func:`simulate`. readout: a function (n_features,) -> (n_outputs,) that is a pytree, such
            as :class:`dynlab.Linear`; trained without the input as a feature.
        n_steps: length of the run (may be left out when `inputs` is given).
        state: the state to start from, usually ``simulate(...).state``; unbatched (use vmap for batches).
        inputs: external inputs (n_steps, D) of a loop that has them, else None.
        route: "input": the output is the model's input (after any external input channels);
            "feedback": the model's step takes (external input, output).
        key, t0: noise, as in :func:`simulate`.

    Returns:
        :class:`Run` with outputs (n_steps, n_outputs) and the state after the last step.
    """
    if inputs is not None:
        inputs = check.series("inputs", inputs, batched=False)
        if n_steps not in (None, inputs.shape[0]):
            raise ValueError(f"n_steps must be None or the length of inputs ({inputs.shape[0]}), got {n_steps}")
        n_steps = inputs.shape[0]
    n_steps = check.integer("n_steps", n_steps, 1)
    check_model(model)
    check_noise(params, key)
    check_time(t0)
    state = check_state(model, params, state)
    loop = Feedback(model, readout, route)
    loop_params = FeedbackParams(params, readout)
    loop.check(loop_params, state, inputs)
    return _generate(loop, loop_params, inputs, key, state, t0, n_steps=n_steps)
