"""State pytrees: which leaves are phase-space coordinates, and the only ravel in the library.

A state is any pytree. A field of a state class that is marked ``auxiliary()`` (a refractory counter, the head
of a ring buffer, an accumulator that feeds nothing back) is carried along but is no coordinate of the phase
space; neither is any integer or boolean leaf. Analyses see the state through :func:`phase`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, dataclass_transform

import jax
import jax.numpy as jnp

Array = jax.Array
Restore = Callable[[Array], Any]


def static(**kwargs: Any) -> Any:
    """A field that shapes the program (a size, a name, dt): compared by value, never traced or swept."""
    return dataclasses.field(metadata={"pytree_node": False}, **kwargs)


def auxiliary(**kwargs: Any) -> Any:
    """A state field that is carried but is no phase-space coordinate."""
    return dataclasses.field(metadata={"auxiliary": True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(static, auxiliary, dataclasses.field))
def dataclass(cls: type) -> Any:
    """A frozen dataclass registered as a pytree, with ``replace(**changes)``.

    The same as ``flax.struct.dataclass``, on jax alone: importing flax costs more than half as much as jax itself, and
    its releases pull in excluded versions of jax.
    """
    made: Any = dataclasses.dataclass(frozen=True)(cls)
    fields = dataclasses.fields(made)
    made.replace = dataclasses.replace
    leaves = [f.name for f in fields if f.metadata.get("pytree_node", True)]
    meta = [f.name for f in fields if not f.metadata.get("pytree_node", True)]
    return jax.tree_util.register_dataclass(made, leaves, meta)


def _flags(tree: Any, coordinate: bool) -> Any:
    """A pytree of bools shaped like `tree`: True where a leaf is a phase-space coordinate."""
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        changes = {}
        for field in dataclasses.fields(tree):
            if field.metadata.get("pytree_node", True):
                inner = coordinate and not field.metadata.get("auxiliary", False)
                changes[field.name] = _flags(getattr(tree, field.name), inner)
        return dataclasses.replace(tree, **changes)
    # one level at a time, so that dataclasses inside containers keep their marks
    children, treedef = jax.tree.flatten(tree, is_leaf=lambda node: node is not tree)
    if not children:  # None or an empty container
        return tree
    if jax.tree_util.treedef_is_leaf(treedef):
        if coordinate and jnp.issubdtype(jnp.result_type(tree), jnp.complexfloating):
            raise TypeError("a phase-space coordinate must be real, got a complex leaf: keep real and imaginary parts")
        return coordinate and jnp.issubdtype(jnp.result_type(tree), jnp.floating)
    return jax.tree.unflatten(treedef, [_flags(child, coordinate) for child in children])


def phase(state: Any) -> tuple[Array, Restore]:
    """The phase-space vector of a state and the function that puts a vector back.

    Args:
        state: one (unbatched) state pytree.

    Returns:
        ``(vector, restore)``: `vector` of shape (n,) holds every floating leaf that is not auxiliary, in pytree
        order; ``restore(vector)`` is `state` with those leaves replaced, all others kept. Works under jit, vmap
        and differentiation.
    """
    leaves, treedef = jax.tree.flatten(state)
    flags = jax.tree.leaves(_flags(state, True))
    chosen = [jnp.asarray(leaf) for leaf, flag in zip(leaves, flags, strict=True) if flag]
    if not chosen:
        raise ValueError("the state has no phase-space coordinate: every leaf is integer or marked auxiliary()")
    dtype = jnp.result_type(*chosen)
    vector = jnp.concatenate([jnp.ravel(leaf).astype(dtype) for leaf in chosen])

    def restore(vec: Array) -> Any:
        if vec.shape != vector.shape:
            raise ValueError(f"a phase vector must have shape {vector.shape}, got {vec.shape}")
        out, start = [], 0
        for leaf, flag in zip(leaves, flags, strict=True):
            if not flag:
                out.append(leaf)
                continue
            size = jnp.size(leaf)
            out.append(vec[start : start + size].reshape(jnp.shape(leaf)))
            start += size
        return jax.tree.unflatten(treedef, out)

    return vector, restore
