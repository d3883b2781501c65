"""Shared fixtures, and the strictness that the library itself must not impose."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: several processes on few cores starve each other
os.environ.setdefault("MPLBACKEND", "Agg")

import contextlib
import gc
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

# Only typed keys (jax.random.key): an old-style uint32 key that slips in is an error.
jax.config.update("jax_legacy_prng_key", "error")


def pytest_collection_finish() -> None:
    """Tracing makes very many small objects that live on in caches; Python's own thresholds look through them often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


MAPPINGS = 40_000  # Linux allows a process 65,530; each compiled program takes about ten, and beyond jax crashes


def mappings() -> int:
    """Memory mappings of this process; 0 where the system does not say."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return 0


_ended: Iterator[int] = itertools.count(1)


def pytest_runtest_teardown() -> None:
    """Let go of compiled programs before there are too many."""
    if next(_ended) % 10 == 0 and mappings() > MAPPINGS:
        jax.clear_caches()
        gc.collect()


@dataclass
class Compilations:
    """How often jax traced and compiled inside one ``with`` block."""

    traces: int = 0
    compilations: int = 0


_counters: list[Compilations] = []


def _listen(event: str, duration: float, **kwargs: object) -> None:
    del duration, kwargs
    for counter in _counters:
        if event == "/jax/core/compile/jaxpr_trace_duration":
            counter.traces += 1
        elif event == "/jax/core/compile/backend_compile_duration":
            counter.compilations += 1


jax.monitoring.register_event_duration_secs_listener(_listen)  # once: jax has no public way to take a listener back


@contextlib.contextmanager
def counted() -> Iterator[Compilations]:
    """Count every trace and compilation of the block, those of eager jax.numpy calls included.

    Make keys and arrays before the block: a first ``jnp.ones((3, 3))`` compiles too.
    """
    counter = Compilations()
    _counters.append(counter)
    try:
        yield counter
    finally:
        _counters.remove(counter)


@pytest.fixture
def count_compilations() -> Callable[[], contextlib.AbstractContextManager[Compilations]]:
    """``with count_compilations() as count: ...``, then ``count.compilations == 0``."""
    return counted


@pytest.fixture
def key() -> jax.Array:
    """A typed key, the same in every test."""
    return jax.random.key(0)


@pytest.fixture
def x64() -> bool:
    """True in the second run, with JAX_ENABLE_X64=1."""
    return jnp.result_type(float) == jnp.float64


@pytest.fixture
def tol(x64: bool) -> Callable[[float, float], float]:
    """``tol(1e-5, 1e-12)``: the first in float32, the second in float64."""
    return lambda single, double: double if x64 else single
