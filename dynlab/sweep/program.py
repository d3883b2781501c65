"""The one compiled program of a sweep: a block of lanes on each device.

A block is a fixed number of members: in a grid `lanes` knob settings by `seeds` seeds, for points `lanes` members.
The arithmetic of a member depends on the shape of its block (products of other shapes round otherwise), so a block is
also the unit that stays the same whatever the number of devices: a call computes one block on each device, and more
blocks are more calls. No loop inside the program depends on the number of devices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dynlab import check

Array = jax.Array
AXIS = "sweep"


def concrete(model: Any, statics: Mapping[str, Any]) -> Any:
    """The model with its static fields set and its leaves as arrays, ready to be an argument of the program."""

    def leaf(value: Any) -> Any:
        if isinstance(value, (bool, np.bool_)) or np.asarray(value).dtype.kind in "iub":
            return np.asarray(value)
        return np.asarray(value, check.default_float())

    return jax.tree.map(leaf, dataclasses.replace(model, **statics))


def block(fn: Callable[[Any, Array], Any], paired: bool, model: Any, knobs: Mapping[str, Array], ids: Array,
          root: Array) -> Any:
    """One block, for one device: every result leaf has leading axes (seeds, lanes).

    Args:
        knobs: name -> (lanes,). ids: (seeds,) in a grid, (lanes,) for points: what is folded into the root key.
        root: key data.
    """
    key = jax.random.wrap_key_data(root)

    def one(values: Mapping[str, Array], number: Array) -> Any:
        return fn(dataclasses.replace(model, **values), jax.random.fold_in(key, number))

    if paired:
        return jax.tree.map(lambda leaf: leaf[None], jax.vmap(one)(knobs, ids))
    lanes = len(next(iter(knobs.values()))) if knobs else 1
    # the key is shared by the lanes: so is every matrix drawn from it
    over_knobs = jax.vmap(one, in_axes=(0, None), axis_size=lanes)
    if ids.shape[0] == 1:
        return jax.tree.map(lambda leaf: leaf[None], over_knobs(knobs, ids[0]))
    return jax.vmap(over_knobs, in_axes=(None, 0))(knobs, ids)


def mesh_of(devices: Any) -> Mesh:
    """A mesh with one Auto axis over the given devices (None: all)."""
    return Mesh(np.asarray(jax.devices() if devices is None else list(devices)), (AXIS,))


@lru_cache(maxsize=32)
def _jitted(fn: Callable[[Any, Array], Any], paired: bool, mesh: Mesh) -> Any:
    def local(model: Any, knobs: Any, ids: Array, root: Array) -> Any:
        values = {name: value[0] for name, value in knobs.items()}
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], block(fn, paired, model, values, ids[0], root))

    spread, whole = PartitionSpec(AXIS), PartitionSpec()
    return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(whole, spread, spread, whole), out_specs=spread,
                                 check_vma=False))


@lru_cache(maxsize=64)
def _compiled(fn: Any, paired: bool, mesh: Mesh, treedef: Any, avals: tuple[tuple[Any, ...], ...]) -> Any:
    leaves = [jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec)) for shape, dtype, spec in avals]
    return _jitted(fn, paired, mesh).lower(*jax.tree.unflatten(treedef, leaves)).compile()


def compilations() -> int:
    """How many programs this process has compiled for sweeps."""
    return _compiled.cache_info().misses


class Program:
    """A compiled block of one group on a mesh; equal programs are compiled once a process."""

    def __init__(self, fn: Any, paired: bool, mesh: Mesh, model: Any, root: np.ndarray, lanes: int, seeds: int,
                 names: tuple[str, ...]) -> None:
        self.mesh = mesh
        put = partial(_put, sharding=NamedSharding(mesh, PartitionSpec()))
        self.model, self.root = jax.tree.map(put, model), put(root)
        d, dtype = mesh.size, check.default_float()
        knobs = {name: np.zeros((d, lanes), dtype) for name in names}
        ids = np.zeros((d, lanes if paired else seeds), np.uint32)
        args = (self.model, knobs, ids, self.root)
        spread, whole = PartitionSpec(AXIS), PartitionSpec()
        specs = [*[whole] * len(jax.tree.leaves(model)), *[spread] * (len(names) + 1), whole]
        avals = tuple((np.shape(leaf), np.dtype(leaf.dtype), spec)
                      for leaf, spec in zip(jax.tree.leaves(args), specs, strict=True))
        self.compiled = _compiled(fn, paired, mesh, jax.tree.structure(args), avals)

    def bytes_per_device(self) -> int | None:
        """What the compiler says one device needs for one call; None where it does not say."""
        analysis = self.compiled.memory_analysis()
        if analysis is None:
            return None
        return int(analysis.temp_size_in_bytes + analysis.output_size_in_bytes + analysis.argument_size_in_bytes)

    def __call__(self, knobs: Mapping[str, np.ndarray], ids: np.ndarray) -> Any:
        """Start a call: knobs name -> (devices, lanes), ids (devices, seeds or lanes); does not wait."""
        put = partial(_put, sharding=NamedSharding(self.mesh, PartitionSpec(AXIS)))
        dtype = check.default_float()
        values = {name: put(np.asarray(value, dtype)) for name, value in knobs.items()}
        return self.compiled(self.model, values, put(np.asarray(ids, np.uint32)), self.root)


def _put(value: Any, sharding: NamedSharding) -> Array:
    host = np.asarray(value)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def fetch(out: Any) -> Any:
    """Wait for a call and bring its result to the host, on every process."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, jax.block_until_ready(out))
    from jax.experimental import multihost_utils

    return jax.tree.map(np.asarray, multihost_utils.process_allgather(out, tiled=True))


def result_shapes(fn: Any, model: Any, names: tuple[str, ...], root: np.ndarray) -> Any:
    """Shapes and dtypes of ``fn`` for one member."""
    knobs = {name: jax.ShapeDtypeStruct((), check.default_float()) for name in names}

    def one(model: Any, knobs: Any, root: Array) -> Any:
        out = fn(dataclasses.replace(model, **knobs), jax.random.wrap_key_data(root))
        return jax.tree.map(jnp.asarray, out)

    return jax.eval_shape(one, model, knobs, root)


def traced(fn: Any, paired: bool, model: Any, names: tuple[str, ...], root: np.ndarray, lanes: int, seeds: int) -> Any:
    """The jaxpr of one block."""
    knobs = {name: jax.ShapeDtypeStruct((lanes,), check.default_float()) for name in names}
    ids = jax.ShapeDtypeStruct((lanes if paired else seeds,), jnp.uint32)
    return jax.make_jaxpr(partial(block, fn, paired))(model, knobs, ids, root)
