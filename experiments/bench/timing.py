"""Timing in turn: every contender runs once per round, so that a busy machine slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import jax


def in_turn(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each round for each contender, after one uncounted round (compilation, caches)."""
    for call in contenders.values():
        jax.block_until_ready(call())
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], slow: str, fast: str) -> float:
    """How many times faster `fast` is than `slow`: the median over rounds of the ratio within a round."""
    return median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))
