"""How the members of a sweep are dealt into blocks and chunks; fixed before anything is compiled."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from dynlab import check
from dynlab.sweep import program
from dynlab.sweep.grid import Design
from dynlab.sweep.memory import peak_bytes

LANES = {"cpu": 64}  # members a block; accelerators take more at once
LANES_ELSEWHERE = 1024
CPU_BUDGET = 1 << 30
MAX_CHUNKS = 1024


@dataclasses.dataclass(frozen=True)
class Group:
    """The members that share one program.

    Attributes:
        statics: the static fields that the sweep sets. rows: indices of the settings.
        lanes: settings in a block. seeds: seeds in a block. blocks: number of blocks. chunk: blocks in a stored chunk.
        bytes: estimated memory of one block.
    """

    statics: Mapping[str, Any]
    rows: np.ndarray
    lanes: int
    seeds: int
    blocks: int
    chunk: int
    bytes: int

    def block(self, number: int, n_seeds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Settings (lanes,), seeds (seeds,), and which of the block's members are not padding (seeds, lanes)."""
        across = math.ceil(len(self.rows) / self.lanes)
        lane = number % across * self.lanes + np.arange(self.lanes)
        seed = number // across * self.seeds + np.arange(self.seeds)
        real = (seed < n_seeds)[:, None] & (lane < len(self.rows))
        return self.rows[np.minimum(lane, len(self.rows) - 1)], np.minimum(seed, n_seeds - 1), real


@dataclasses.dataclass(frozen=True)
class Plan:
    """Groups in the order in which they run; `n_seeds` is 1 for points."""

    groups: tuple[Group, ...]
    n_seeds: int

    @property
    def members(self) -> int:
        return self.n_seeds * sum(len(group.rows) for group in self.groups)

    def chunks(self) -> Iterator[tuple[int, int, range]]:
        """``(chunk number, group number, blocks)`` for every chunk."""
        number = 0
        for g, group in enumerate(self.groups):
            for start in range(0, group.blocks, group.chunk):
                yield number, g, range(start, min(start + group.chunk, group.blocks))
                number += 1

    def lines(self) -> list[str]:
        """What will be compiled and run, one line a program."""
        out: list[str] = []
        for group in self.groups:
            fixed = ", ".join(f"{name}={value}" for name, value in group.statics.items())
            seeds = f" x {group.seeds} seeds" if group.seeds > 1 else ""
            out.append(
                f"program {len(out) + 1} of {len(self.groups)}{f' ({fixed})' if fixed else ''}: "
                f"{self.n_seeds * len(group.rows):,} members in {group.blocks:,} blocks of {group.lanes} lanes{seeds}, "
                f"at most about {group.bytes / 2**20:,.0f} MiB a device"
            )
        return out

    def record(self) -> list[dict[str, Any]]:
        """What fixes the arithmetic, for the store."""
        return [{"lanes": group.lanes, "seeds": group.seeds, "chunk": group.chunk} for group in self.groups]


def budget_of(device: Any, given: int | None) -> int:
    """Bytes that a block may take on one device."""
    if given is not None:
        return check.integer("memory_budget", given, 1)
    if device.platform == "cpu":
        return CPU_BUDGET
    stats = device.memory_stats() or {}
    return int(0.5 * stats.get("bytes_limit", 16 << 30))


def make(
    fn: Callable[..., Any], design: Design, n_seeds: int, root: np.ndarray, *, lanes: int | None, chunk: int | None,
    memory_budget: int | None, device: Any, stored: list[dict[str, Any]] | None,
) -> Plan:
    """Choose block and chunk sizes; those of an existing store win over automatic ones."""
    budget = budget_of(device, memory_budget)
    groups = []
    for g, (statics, rows) in enumerate(design.groups()):
        model = program.concrete(design.model, statics)
        names = tuple(name for name in design.names if name not in design.static)
        kept = stored[g] if stored is not None and g < len(stored) else {}

        def needed(lanes: int, seeds: int, model: Any = model, names: tuple[str, ...] = names) -> int:
            return peak_bytes(program.traced(fn, design.kind == "points", model, names, root, lanes, seeds))

        if lanes is None and kept:
            n_lanes, n_per = kept["lanes"], kept["seeds"]
            size = needed(n_lanes, n_per)
        else:
            n_lanes, n_per, size = _fit(needed, design.kind, len(rows), n_seeds, lanes, budget, device)
        blocks = math.ceil(len(rows) / n_lanes) * math.ceil(n_seeds / n_per)
        if chunk is not None:
            per_chunk = math.ceil(check.integer("chunk", chunk, 1) / (n_lanes * n_per))
        else:
            per_chunk = kept.get("chunk") or math.ceil(blocks / MAX_CHUNKS)
        groups.append(Group(statics, rows, n_lanes, n_per, blocks, per_chunk, size))
    return Plan(tuple(groups), n_seeds)


def _fit(
    needed: Callable[[int, int], int], kind: str, n_rows: int, n_seeds: int, lanes: int | None, budget: int, device: Any
) -> tuple[int, int, int]:
    """Lanes and seeds of a block that stays within the budget, and its estimated bytes."""
    target = LANES.get(device.platform, LANES_ELSEWHERE) if lanes is None else check.integer("lanes", lanes, 1)
    while True:
        n_lanes = math.ceil(n_rows / math.ceil(n_rows / target))  # blocks of equal size: little padding
        n_per = 1 if kind == "points" else max(1, min(n_seeds, target // n_lanes))
        n_per = math.ceil(n_seeds / math.ceil(n_seeds / n_per))
        size = needed(n_lanes, n_per)
        if size <= budget or lanes is not None or target == 1:
            break
        target = max(1, min(target - 1, int(target * budget / size)))
    if size > budget and lanes is None:
        raise ValueError(
            f"memory_budget is {budget:,} bytes a device, but one member alone is estimated to need {size:,}: "
            "raise memory_budget, or let fn record less"
        )
    return n_lanes, n_per, size


def device_of(mesh: Any) -> Any:
    """A device of the mesh that belongs to this process."""
    mine = [device for device in mesh.devices.flat if device.process_index == jax.process_index()]
    return mine[0] if mine else mesh.devices.flat[0]
