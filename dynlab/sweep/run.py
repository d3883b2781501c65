"""`sweep`: the host loop over blocks and chunks."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dynlab import check
from dynlab.sweep import distributed, identity, plan, program, result, store
from dynlab.sweep.grid import Design
from dynlab.sweep.progress import Meter

Array = jax.Array
Leaves = list[np.ndarray]


def sweep(
    fn: Callable[[Any, Array], Any], design: Design, key: Array, *, seeds: int | Sequence[int] = 1,
    out: str | os.PathLike[str] | None = None, lanes: int | None = None, chunk: int | None = None,
    memory_budget: int | None = None, devices: Sequence[Any] | None = None, progress: bool | None = None,
    labels: Mapping[str, result.Label] | None = None,
) -> result.SweepResult:
    """Run ``fn(model, key)`` for every setting of a design and every seed, as one compiled program.

    In a grid the member at seed s has the key ``fold_in(key, s)``: all settings of a seed share their random draws,
    so that one matrix serves them all and their recurrent products are one matrix-matrix product. Points use
    ``fold_in(key, member)``. Results therefore do not depend on order, devices or restarts.

    Args:
        fn: pure; returns a pytree of scalars and arrays. Define it once, at module level: the compiled program is
            kept by its identity. Networks are drawn inside the program.
        design: from :func:`grid` or :func:`points`. key: the root key.
        seeds: their number, or a list of seed indices (grid only).
        out: folder of the store. The same call with the same folder goes on where the last one stopped.
        lanes: members a device computes at once (None: 64 on a CPU, up to 1,024 elsewhere, fewer if the budget is
            short). It is part of the arithmetic, so it is stored: numbers differ in the last digits between values.
        chunk: members stored together, rounded up to whole blocks; None for at most 1,024 chunks.
        memory_budget: bytes that a block may take on each device (None: 1 GiB on a CPU, else half of the memory).
        devices: None for all of the job. progress: None shows it in a terminal only.
        labels: units, descriptions and dimension names of outputs and knobs.

    Returns:
        :class:`SweepResult`. Members that diverged or whose knob is not finite have a status and NaN.

    Raises:
        ValueError, TypeError: bad arguments, before anything is compiled. StoreMismatch: `out` holds another sweep.
        StoreError: `out` cannot be written; what is stored stays valid.
    """
    job = _Job(fn, design, key, seeds, lanes, chunk, memory_budget, devices, labels or {}, out)
    opened = job.open()
    try:
        return job.run(progress)
    except KeyboardInterrupt as stop:
        stop.add_note(job.farewell())
        raise
    finally:
        if opened is not None:
            opened.close()


class _Job:
    """One call of `sweep`."""

    def __init__(
        self, fn: Any, design: Any, key: Any, seeds: Any, lanes: Any, chunk: Any, memory_budget: Any, devices: Any,
        labels: Mapping[str, result.Label], out: Any,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"fn must be a function (model, key) -> results, got {fn!r}")
        if not isinstance(design, Design):
            raise TypeError(f"design must come from grid() or points(), got {type(design).__name__}")
        self.fn, self.design, self.labels = fn, design, labels
        self.paired = design.kind == "points"
        self.seeds = _seeds(seeds, self.paired)
        self.root = _root(key)
        self.folder = None if out is None else Path(out)
        self.mesh = program.mesh_of(devices)
        manifest = None if self.folder is None else distributed.share(lambda: store.peek(self.folder))  # type: ignore[arg-type]
        self.models = [program.concrete(design.model, statics) for statics, _ in design.groups()]
        self.names = tuple(name for name in design.names if name not in design.static)
        shapes = [program.result_shapes(fn, model, self.names, self.root) for model in self.models]
        self.trees = [jax.tree.structure(one) for one in shapes]
        self.outputs = result.merged([result.outputs_of(one, design) for one in shapes])
        result.check_labels(labels, self.outputs, design)
        self.plan = plan.make(
            fn, design, len(self.seeds), self.root, lanes=lanes, chunk=chunk, memory_budget=memory_budget,
            device=plan.device_of(self.mesh), stored=None if manifest is None else manifest["config"]["blocks"],
        )
        self.store: store.Store | None = None
        self.kept: dict[int, tuple[Leaves, np.ndarray]] = {}  # finished chunks, when there is no folder
        self.finished: set[int] = set()
        self.provenance = identity.provenance(fn, self.root, self.plan)

    def open(self) -> store.Store | None:
        """Open the store (in process 0) and learn which chunks it has."""
        if self.folder is None:
            return None
        config = identity.config(self.fn, self.design, self.seeds, self.root, self.plan, self.outputs)

        def opening() -> Any:
            self.store = store.Store.open(self.folder, config, self.provenance)  # type: ignore[arg-type]
            return [sorted(self.store.done()), self.store.manifest["provenance"]]

        done, self.provenance = distributed.share(opening)
        self.finished = set(done)
        return self.store

    def members(self, chunk: tuple[int, int, range]) -> int:
        group = self.plan.groups[chunk[1]]
        return sum(int(group.block(b, len(self.seeds))[2].sum()) for b in chunk[2])

    def run(self, progress: bool | None) -> result.SweepResult:
        chunks = list(self.plan.chunks())
        before = sum(self.members(c) for c in chunks if c[0] in self.finished)
        meter = Meter(self.plan.members, before, progress if distributed.leads() else False)
        started, resumed = time.perf_counter(), len(self.finished)
        for line in self.plan.lines():
            meter.note(line)
        try:
            for g in range(len(self.plan.groups)):
                pending = [c for c in chunks if c[1] == g and c[0] not in self.finished]
                if pending:
                    self._group(g, pending, meter)
        finally:
            meter.stop()
            if self.store is not None:
                self.store.log({"start": resumed, "end": len(self.finished), "chunks": len(chunks),
                                "seconds": round(time.perf_counter() - started, 3), "devices": self.mesh.size,
                                "processes": jax.process_count()})
        return self._collect(chunks)

    def _group(self, g: int, pending: list[tuple[int, int, range]], meter: Meter) -> None:
        """Compute and keep the pending chunks of one program, one block a device and call."""
        group = self.plan.groups[g]
        compiled = program.Program(self.fn, self.paired, self.mesh, self.models[g], self.root, group.lanes,
                                   group.seeds, self.names)
        size = compiled.bytes_per_device()
        if size is not None:
            meter.note(f"compiled: {size / 2**20:,.0f} MiB a device")
        meter.start()
        runner = _Runner(compiled, self, group)
        todo = [(c, b) for c in pending for b in c[2]]
        ready: dict[int, list[tuple[Leaves, np.ndarray]]] = {}
        d = self.mesh.size
        ahead = None
        overlap = self.mesh.devices.flat[0].platform != "cpu"  # a CPU would run both at once, in twice the memory
        for at in range(0, len(todo), d):
            batch = todo[at : at + d]
            numbers = [b for _, b in batch]
            call = ahead if ahead is not None else runner.start(numbers)
            following = [b for _, b in todo[at + d : at + 2 * d]]
            ahead = runner.start(following) if overlap and following else None
            for (c, _), block in zip(batch, runner.finish(call, numbers), strict=True):
                got = ready.setdefault(c[0], [])
                got.append(block)
                if len(got) == len(c[2]):
                    self._keep(c[0], ready.pop(c[0]))
                    meter.add(self.members(c))

    def _keep(self, chunk: int, blocks: list[tuple[Leaves, np.ndarray]]) -> None:
        leaves = [np.stack(parts) for parts in zip(*(leaves for leaves, _ in blocks), strict=True)]
        failed = np.stack([lost for _, lost in blocks])
        if self.folder is None:
            self.kept[chunk] = leaves, failed
        else:
            distributed.share(lambda: self.store.write(chunk, leaves, failed))  # type: ignore[union-attr]
        self.finished.add(chunk)

    def _collect(self, chunks: list[tuple[int, int, range]]) -> result.SweepResult:
        assembly = result.Assembly(self.design, self.plan, self.outputs)

        def gather() -> None:
            for number, g, blocks in chunks:
                leaves, failed = self.kept[number] if self.store is None else self.store.read(number, len(self.outputs))
                for i, b in enumerate(blocks):
                    assembly.add(g, b, [leaf[i] for leaf in leaves], failed[i])

        if self.folder is None:
            gather()
        else:
            distributed.share(gather)
        values, status = distributed.share_arrays(assembly.finish())
        made = result.SweepResult(self.design, self.seeds, values, status, self.labels, self.provenance, self.folder)
        if self.folder is not None and all(importlib.util.find_spec(name) for name in ("xarray", "h5netcdf")):
            distributed.share(lambda: str(self.store.write_result(made.dataset)))  # type: ignore[union-attr]
        return made

    def farewell(self) -> str:
        """What is stored, and how to go on."""
        done = sum(self.members(c) for c in self.plan.chunks() if c[0] in self.finished)
        if self.folder is None:
            return f"interrupted after {done:,} of {self.plan.members:,} members; nothing is stored (out was not given)"
        return (f"interrupted: {done:,} of {self.plan.members:,} members are stored in {str(self.folder)!r}; "
                "the same call goes on from there")


class _Runner:
    """Starts calls and brings their blocks back; isolates members that make a block fail."""

    def __init__(self, compiled: program.Program, job: _Job, group: plan.Group) -> None:
        self.compiled, self.job, self.group = compiled, job, group
        columns = job.design.columns()
        self.columns = {name: np.asarray(columns[name], float) for name in job.names}

    def _inputs(self, number: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        rows, seeds, _ = self.group.block(number, len(self.job.seeds))
        ids = rows if self.job.paired else self.job.seeds[seeds]
        return {name: v[rows] for name, v in self.columns.items()}, ids

    def _call(self, blocks: list[tuple[dict[str, np.ndarray], np.ndarray]]) -> Any:
        blocks = blocks + blocks[-1:] * (self.job.mesh.size - len(blocks))  # idle devices repeat the last block
        knobs = {name: np.stack([block[0][name] for block in blocks]) for name in self.columns}
        return self.compiled(knobs, np.stack([ids for _, ids in blocks]))

    def start(self, numbers: list[int]) -> Any:
        """Start the call for these blocks; an error that it meets at once is kept for `finish`."""
        try:
            return self._call([self._inputs(number) for number in numbers])
        except jax.errors.JaxRuntimeError as error:
            return error

    def finish(self, call: Any, numbers: list[int]) -> list[tuple[Leaves, np.ndarray]]:
        """Results of each block: leaves (seeds, lanes, ...) and which lanes failed (lanes,)."""
        try:
            if isinstance(call, jax.errors.JaxRuntimeError):
                raise call
            leaves = jax.tree.leaves(program.fetch(call))
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() > 1:
                raise
            if "RESOURCE_EXHAUSTED" in str(error):
                error.add_note(f"a block of {self.group.lanes} lanes does not fit: give a smaller memory_budget")
                raise
            return [self._isolate(number, error) for number in numbers]
        none = np.zeros(self.group.lanes, bool)
        return [([leaf[i] for leaf in leaves], none) for i in range(len(numbers))]

    def _attempt(self, knobs: dict[str, np.ndarray], ids: np.ndarray) -> Leaves | None:
        try:
            return [leaf[0] for leaf in jax.tree.leaves(program.fetch(self._call([(knobs, ids)])))]
        except jax.errors.JaxRuntimeError:
            return None

    def _isolate(self, number: int, error: Exception) -> tuple[Leaves, np.ndarray]:
        """Find the lanes that fail, one by one, and compute the block with a good lane in their place.

        Raises the error itself when no lane works alone: then it is not a matter of single members.
        """
        knobs, ids = self._inputs(number)
        lanes = np.arange(self.group.lanes)

        def only(lane: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
            pick = np.full(lanes.size, lane)
            return {name: v[pick] for name, v in knobs.items()}, ids[pick] if self.job.paired else ids

        leaves = self._attempt(knobs, ids)
        if leaves is not None:
            return leaves, np.zeros(lanes.size, bool)
        failed = np.asarray([self._attempt(*only(lane)) is None for lane in lanes.tolist()])
        if failed.all():
            raise error
        pick = np.where(failed, np.flatnonzero(~failed)[0], lanes)
        leaves = self._attempt({name: v[pick] for name, v in knobs.items()}, ids[pick] if self.job.paired else ids)
        if leaves is None:
            raise error
        return leaves, failed


def _seeds(seeds: Any, paired: bool) -> np.ndarray:
    if isinstance(seeds, (int, np.integer)) and not isinstance(seeds, bool):
        out = np.arange(check.integer("seeds", seeds, 1), dtype=np.uint32)
    else:
        if isinstance(seeds, (str, bool)) or not hasattr(seeds, "__iter__"):
            raise TypeError(f"seeds must be an integer or a list of seed indices, got {seeds!r}")
        out = np.asarray([check.integer("seeds", s, 0, 2**32 - 1) for s in seeds], np.uint32)
        if not out.size or len(set(out.tolist())) != out.size:
            raise ValueError(f"seeds must hold distinct indices, at least one, got {seeds!r}")
    if paired and not (out.size == 1 and out[0] == 0):
        raise ValueError(f"seeds must be 1 for points, whose members each have their own key, got {seeds!r}")
    return out


def _root(key: Any) -> np.ndarray:
    check.key("key", key)
    if jax.random.key_impl(key) != jax.random.key_impl(jax.random.key(0)):
        raise ValueError(f"key must be of jax's default kind, got {jax.random.key_impl(key)}")
    return np.asarray(jax.random.key_data(key))
