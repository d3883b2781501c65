"""Run a batch of sequences so that its gradient is cheap: backpropagation through time for any model.

``jax.lax.scan`` runs every step of the padded length and keeps what each step wants kept. Here the loop begins where
the sequences begin, so that padding on the left costs nothing and a longer task needs no other program, and only
states and drives are kept.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check
from dynlab.simulation import check_model

Array = jax.Array
NETWORKS = "networks"  # the axis over which dynlab.train.fit maps networks that train together


def earliest(start: Any) -> tuple[Array, bool]:
    """``(first, shared)``: the smallest start among the networks that train together, and whether there is one only.

    Inside :func:`dynlab.train.fit` the networks are a mapped axis; the smallest start over it is one number for all, so
    a loop that begins there stays a loop.
    """
    start = jnp.asarray(start, jnp.int32)
    try:
        return jax.lax.pmin(start, NETWORKS), jax.lax.axis_size(NETWORKS) == 1
    except NameError:  # not inside fit
        return start, True


def common_key(key: Array) -> Array:
    """One key for all networks that train side by side: that of the first. Elsewhere the key itself.

    For what all may share at no cost to any, such as the lengths of their sequences: a loop over several networks runs
    as long as the longest sequence among them.
    """
    try:
        own = jax.lax.axis_index(NETWORKS) == 0
    except NameError:
        return key
    data = jnp.where(own, jax.random.key_data(key), 0)
    return jax.random.wrap_key_data(jax.lax.psum(data, NETWORKS), impl=jax.random.key_impl(key))


class Parts:
    """A pytree cut into floating leaves, which have a gradient, and the others; hashable, equal by structure."""

    def __init__(self, tree: Any) -> None:
        leaves, self.treedef = jax.tree.flatten(tree)
        self.floating = tuple(bool(jnp.issubdtype(jnp.result_type(leaf), jnp.floating)) for leaf in leaves)

    def __hash__(self) -> int:
        return hash((self.treedef, self.floating))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parts) and (self.treedef, self.floating) == (other.treedef, other.floating)

    def cut(self, tree: Any) -> tuple[list[Any], list[Any]]:
        """(floating leaves, other leaves)."""
        pairs = list(zip(jax.tree.leaves(tree), self.floating, strict=True))
        return [jnp.asarray(leaf) for leaf, f in pairs if f], [leaf for leaf, f in pairs if not f]

    def join(self, floats: list[Any], others: list[Any]) -> Any:
        """The pytree again."""
        first, second = iter(floats), iter(others)
        return jax.tree.unflatten(self.treedef, [next(first) if f else next(second) for f in self.floating])


def last_state(
    model: Any, params: Any, states: Any, inputs: Array, start: Any = 0, *, key: Array | None = None,
    remat: int | None = None, workspace: Any = None,
) -> Any:
    """The states after the last input of a batch of sequences that begin at `start`; before, the state is held.

    Equal to simulating ``inputs[:, start:]`` from `states`, in value and gradient, but `start` may be traced: one
    program serves all lengths, and padding is not computed.

    Args:
        model: a Map. One with ``drive`` and ``update`` (see :mod:`dynlab.protocol`) needs three recurrent products a
            step for value and gradient, another four. params: of the model, one for the batch.
        states: the states before the first input, a pytree with a leading axis B (as by ``jax.vmap(init_state)``).
        inputs: (B, T, D).
        start: first step that counts, one number for the batch, 0 <= start < T. Inside :func:`dynlab.train.fit` it may
            differ between networks.
        key: drives the noise, as ``simulate(..., key=key)`` does; None for none.
        remat: keep the states of every `remat`-th step only and compute the rest again for the gradient (static):
            memory falls from T to T / remat + remat steps, time rises by a third. None keeps all.
        workspace: memory from :func:`workspace`, to be filled instead of new memory, which is cleared first; its
            "gradient" is the same memory again, to be handed to the next update (:func:`dynlab.train.fit` does so for a
            loss with a ``workspace`` method). Not with `remat`.

    Returns:
        States like `states`.

    Raises:
        ValueError, TypeError: not a Map, inputs that are not (B, T, D), states of another batch size.
    """
    if workspace is not None and remat is not None:
        raise ValueError("workspace must be None with remat, which keeps little")
    return _unroll(model, params, states, inputs, start, key, remat, stack=False, room=workspace)[0]


def workspace(model: Any, params: Any, states: Any, inputs: Any) -> Any:
    """Memory for what :func:`last_state` keeps; arguments as there, arrays or their shapes.

    Raises:
        ValueError: a model whose state holds integers, which have no gradient to come back by.
    """
    if not all(Parts(states).floating):
        raise ValueError(f"model must have a state of floating leaves only, got {type(model).__name__}")
    xs = jax.eval_shape(lambda x: jnp.swapaxes(_like(x, states), 0, 1), inputs)

    def kept(params: Any, states: Any, xs: Array) -> Any:
        in_params, in_state = Parts(params), Parts(states)
        (p, p_rest), (s, s_rest) = in_params.cut(params), in_state.cut(states)
        zero = jnp.int32(0)
        steps = _Steps((in_params, in_state, True, False, True), (model, p_rest, s_rest, (zero, zero, zero), None))
        return s, s_rest, steps.drive(s_rest, xs[0], zero, p, s)

    return _room(jax.eval_shape(kept, params, states, xs), xs.shape[0])


def all_states(
    model: Any, params: Any, states: Any, inputs: Array, start: Any = 0, *, key: Array | None = None,
    remat: int | None = None,
) -> Any:
    """The states after every input, a pytree with leading axes (B, T); arguments as :func:`last_state`.

    Rows before `start` hold the first state.
    """
    rows = _unroll(model, params, states, inputs, start, key, remat, stack=True)[1]
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), rows)


def _unroll(
    model: Any, params: Any, states: Any, inputs: Array, start: Any, key: Array | None, remat: int | None, *,
    stack: bool, room: Any = None,
) -> tuple[Any, Any]:
    """Check, pad to a multiple of remat, run: (last states, states of every step or None)."""
    check_model(model)
    if getattr(inputs, "ndim", 0) != 3 or 0 in inputs.shape[:2]:
        raise ValueError(f"inputs must have shape (batch, time, features), got {np.shape(inputs)}")
    size, length = inputs.shape[:2]
    wrong = [np.shape(leaf) for leaf in jax.tree.leaves(states) if np.shape(leaf)[:1] != (size,)]
    if wrong:
        raise ValueError(f"states must have the batch axis of inputs ({size}), got shapes {wrong}")
    if not check.is_traced(start):
        check.integer("start", int(start), 0, length - 1)
    first, shared = earliest(start)
    keys = None if key is None else jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(size))
    xs = jnp.swapaxes(_like(inputs, states), 0, 1)
    if remat is None or remat >= length:
        return _segment(model, params, states, xs, (start, first, jnp.int32(0)), keys, shared, stack, room)
    check.integer("remat", remat, 1)
    pad = -length % remat
    xs = jnp.concatenate([jnp.zeros((pad, *xs.shape[1:]), xs.dtype), xs]).reshape(-1, remat, *xs.shape[1:])

    @jax.checkpoint
    def piece(states: Any, part: tuple[Array, Array]) -> tuple[Any, Any]:
        i, x = part
        begin = i * remat - pad  # of this piece, in steps of the given inputs
        bounds = (jnp.clip(start - begin, 0, remat), jnp.clip(first - begin, 0, remat), begin)
        return _segment(model, params, states, x, bounds, keys, shared, stack)

    last, rows = jax.lax.scan(piece, states, (jnp.arange(xs.shape[0]), xs))
    return last, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[pad:], rows)


def _like(inputs: Array, states: Any) -> Array:
    """Inputs in half precision where the states are."""
    floats = [leaf.dtype for leaf in jax.tree.leaves(states) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    half = bool(floats) and max(dtype.itemsize for dtype in floats) < 4
    return inputs.astype(jnp.result_type(*floats)) if half else inputs


def _segment(
    model: Any, params: Any, states: Any, xs: Array, bounds: Any, keys: Any, shared: bool, stack: bool, room: Any = None
) -> tuple[Any, Any]:
    in_params, in_state = Parts(params), Parts(states)
    (p, p_rest), (s, s_rest) = in_params.cut(params), in_state.cut(states)
    rest = (model, p_rest, s_rest, bounds, keys)
    last, others, rows = _loop((in_params, in_state, shared, stack, room is not None), p, s, xs, room, rest)
    rows = in_state.join(*rows) if stack else None
    return in_state.join(last, others), rows


class _Steps:
    """The step of a batch, as `_loop` needs it: on lists of floating leaves."""

    def __init__(self, spec: tuple[Parts, Parts, bool, bool, bool], rest: Any) -> None:
        self.params, self.state, self.shared, self.stack, self.given = spec
        self.model, self.p_rest, _, (self.start, self.first, self.begin), self.keys = rest
        self.split = hasattr(self.model, "drive")

    def batch(self, method: Any, others: list[Array], p: list[Array], s: list[Array], *more: Any) -> Any:
        params = self.params.join(p, self.p_rest)
        axes = (0, *(None if m is None else 0 for m in more))
        return jax.vmap(lambda state, *m: method(params, state, *m), in_axes=axes)(self.state.join(s, others), *more)

    def drive(self, others: list[Array], x: Array, t: Array, p: list[Array], s: list[Array]) -> Any:
        """The drive, or nothing where the model has none of its own."""
        if not self.split:
            return ()
        return self.batch(self.model.drive, others, p, s, x, self.key(t))

    def update(
        self, others: list[Array], x: Array, t: Array, p: list[Array], s: list[Array], u: Any
    ) -> tuple[Any, Any]:
        """(floating leaves, others) of the new state."""
        if self.split:
            new = self.batch(self.model.update, others, p, s, u)
        else:
            new = self.batch(self.model.step, others, p, s, x, self.key(t))
        floats, rest = self.state.cut(new)
        if not self.shared:
            keep = lambda a, b: jnp.where(t >= self.start, a, b)  # noqa: E731
            floats, rest = jax.tree.map(keep, floats, s), jax.tree.map(keep, rest, others)
        return floats, rest

    def key(self, t: Array) -> Any:
        return None if self.keys is None else jax.vmap(partial(jax.random.fold_in, data=self.begin + t))(self.keys)


def _put(buffers: Any, values: Any, t: Array) -> Any:
    return jax.tree.map(lambda b, v: jax.lax.dynamic_update_index_in_dim(b, v, t, 0), buffers, values)


def _get(buffers: Any, t: Array) -> Any:
    return jax.tree.map(lambda b: jax.lax.dynamic_index_in_dim(b, t, 0, keepdims=False), buffers)


def _room(values: Any, length: int, fill: bool = False) -> Any:
    """Buffers for `length` values, filled with the value itself where they are read before they are written."""
    if fill:
        return jax.tree.map(lambda v: jnp.broadcast_to(v, (length, *v.shape)), values)
    return jax.tree.map(lambda v: jax.lax.empty((length, *v.shape), v.dtype), values)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loop(spec: Any, p: list[Array], s: list[Array], xs: Array, room: Any, rest: Any) -> tuple[Any, Any, Any]:
    """(floating leaves, other leaves) of the last state, and of every step where the spec says so."""
    return _forward(spec, p, s, xs, room, rest)[0]


def _forward(spec: Any, p: list[Array], s: list[Array], xs: Array, room: Any, rest: Any) -> tuple[Any, Any]:
    steps, length = _Steps(spec, rest), xs.shape[0]
    others = rest[2]
    if room is None:
        room = _room(jax.eval_shape(lambda: (s, others, steps.drive(others, xs[0], jnp.int32(0), p, s))), length)
    rows = _room((s, others), length, fill=True) if steps.stack else None

    def body(t: Array, carry: Any) -> Any:
        now, kind, kept, rows = carry
        u = steps.drive(kind, xs[t], t, p, now)
        new, new_kind = steps.update(kind, xs[t], t, p, now, u)
        kept = _put(kept, (now, kind, u), t)
        return new, new_kind, kept, _put(rows, (new, new_kind), t) if steps.stack else None

    carry = (s, others, room, rows)
    last, kind, kept, rows = jax.lax.fori_loop(steps.first, length, body, carry)
    return (last, kind, rows), (p, xs, rest, kept)


def _backward(spec: Any, residual: Any, cotangent: Any) -> Any:
    p, xs, rest, kept = residual
    steps, length = _Steps(spec, rest), xs.shape[0]
    g_last, _, g_rows = cotangent

    def body(i: Array, carry: Any) -> Any:
        g, dp, dxs = carry
        t = length - 1 - i
        now, kind, u = _get(kept, t)
        if steps.stack:
            g = jax.tree.map(jnp.add, g, _get(g_rows[0], t))
        _, pull = jax.vjp(lambda *a: steps.update(kind, a[3], t, *a[:3])[0], p, now, u, xs[t])
        dp_update, g_now, g_u, dx = pull(g)
        if steps.split:  # linear in p and state: its value is not needed for the pull back and not computed
            _, pull = jax.vjp(lambda p, s, x: steps.drive(kind, x, t, p, s), p, now, xs[t])
            dp_drive, g_more, dx = pull(g_u)
            dp_update, g_now = jax.tree.map(jnp.add, (dp_update, g_now), (dp_drive, g_more))
        return g_now, jax.tree.map(jnp.add, dp, dp_update), _put(dxs, dx, t)

    sums = [jnp.zeros(leaf.shape, check.wide(leaf.dtype)) for leaf in p]  # of many steps: never in half precision
    carry = (g_last, sums, jnp.zeros_like(xs))
    g, dp, dxs = jax.lax.fori_loop(0, length - steps.first, body, carry)
    if steps.stack:  # rows that were held show the first state
        held = lambda rows: jnp.where(jnp.arange(length).reshape(-1, *[1] * (rows.ndim - 1)) < steps.first, rows, 0.0)  # noqa: E731
        g = jax.tree.map(lambda a, rows: a + jnp.sum(held(rows), axis=0), g, g_rows[0])
    dp = [total.astype(leaf.dtype) for total, leaf in zip(dp, p, strict=True)]
    return dp, g, dxs, kept if steps.given else None, None


_loop.defvjp(_forward, _backward)
