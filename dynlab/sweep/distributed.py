"""Several processes that compute one sweep together, through ``jax.distributed``; process 0 writes the store.

There is no recovery inside a job: when a process dies, the others end within the heartbeat time, and the whole job is
started again and goes on from the store. docs/sweeps.md shows the launch under Slurm and on a TPU pod.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dynlab import check


def initialize(
    address: str | None = None, n_processes: int | None = None, process: int | None = None, *,
    heartbeat_seconds: int = 20,
) -> None:
    """Join the processes of a job; call it before anything else of jax, in every process.

    Args:
        address: host:port of process 0. Under Slurm, Open MPI and on Cloud TPU all three are found by themselves.
        n_processes, process: their number and this one's index from 0.
        heartbeat_seconds: how soon the others end when a process dies (jax waits 100 s otherwise).
    """
    heartbeat = check.integer("heartbeat_seconds", heartbeat_seconds, 1)
    if n_processes is not None:
        n_processes = check.integer("n_processes", n_processes, 1)
    if process is not None:
        process = check.integer("process", process, 0, None if n_processes is None else n_processes - 1)
    jax.distributed.initialize(address, n_processes, process, heartbeat_timeout_seconds=heartbeat)


def leads() -> bool:
    """True in the process that owns the store."""
    return jax.process_index() == 0


def share(make: Callable[[], Any]) -> Any:
    """Run `make` in process 0 and give its JSON-able result to all; an exception there is raised everywhere."""
    if jax.process_count() == 1:
        return make()
    from jax.experimental import multihost_utils

    error, message = None, b"null"
    if leads():
        try:
            message = json.dumps({"value": make()}).encode()
        except Exception as caught:
            error, message = caught, json.dumps({"error": f"process 0: {caught}"}).encode()
    size = int(multihost_utils.broadcast_one_to_all(np.int64(len(message)).astype(np.int32)))
    data = np.zeros(size, np.uint8)
    if leads():
        data[:] = np.frombuffer(message, np.uint8)
    answer = json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(data)).astype(np.uint8)))
    if error is not None:
        raise error
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer["value"]


def share_arrays(arrays: Any) -> Any:
    """Give process 0's arrays (a pytree, of the same shapes everywhere) to all."""
    if jax.process_count() == 1:
        return arrays
    from jax.experimental import multihost_utils

    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(arrays))
