"""What the sweep tests run in other processes, and the function that they all sweep.

    python tests/sweep_jobs.py FOLDER [--devices D] [--seeds S] [--pause SECONDS] [--join ADDRESS PROCESSES PROCESS]
    python tests/sweep_jobs.py FOLDER --kill 20     # the full test of kills: see kills() below
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--join", nargs=3, default=None)
    parser.add_argument("--kill", type=int, default=0)
    options = parser.parse_args()
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={options.devices}"

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import ESN, ridge, simulate
from dynlab.sweep import Label, grid, initialize, store, sweep

ROOT = Path(__file__).resolve().parent.parent
T, LANES = 150, 4
RADII, LEAKS = (0.2, 0.6, 0.9, 1.4), (0.3, 1.0)
LABELS = {"tail": Label("1", "first unit at the end", dims=("time",))}


def member(model, key):
    """Error of a one-step memory and the end of the run."""
    params = model.init(jax.random.fold_in(key, 0))
    u = jax.random.uniform(jax.random.fold_in(key, 1), (T, 1))
    states = simulate(model, params, u).outputs
    readout = ridge(states[50:99], u[49:98], 1e-4, method="qr")
    error = jnp.mean((readout(states[100:]) - u[99:-1]) ** 2)
    return {"error": error, "tail": states[-3:, 0]}


def design(**more):
    return grid(ESN(n_units=16), spectral_radius=RADII, leak_rate=LEAKS, **more)


def command(folder: Path, **given: object) -> tuple[list[str], dict[str, str]]:
    """How to start this file: the same size of XLA's thread pool whatever the number of devices."""
    words = [sys.executable, str(Path(__file__)), str(folder)]
    for name, value in given.items():
        words += [f"--{name}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return words, {**os.environ, "NPROC": "8", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def start(folder: Path, **given: object) -> subprocess.Popen[bytes]:
    words, environment = command(folder, **given)
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[bytes]) -> None:
    text = process.communicate()[0].decode()
    assert process.returncode == 0, text


def stored(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every finished chunk: both change when a chunk is written again."""
    found = {}
    for path in (folder / store.CHUNKS).glob("[0-9]*.npz"):
        status = path.stat()
        found[path.name] = (status.st_ino, status.st_mtime_ns)
    return found


def same(one: Path, other: Path) -> None:
    """Both folders hold the same chunks and the same result, byte for byte.

    The result names the commit of this checkout; where that changed between the two runs, all else must be the same.
    """
    assert stored(one).keys() == stored(other).keys()
    for name in stored(one):
        assert (one / store.CHUNKS / name).read_bytes() == (other / store.CHUNKS / name).read_bytes(), f"{name} differs"
    described = [store.peek(folder)["provenance"] for folder in (one, other)]
    if described[0] == described[1]:
        assert (one / store.RESULT).read_bytes() == (other / store.RESULT).read_bytes(), "the results differ"
        return
    import xarray

    results = [xarray.load_dataset(folder / store.RESULT, engine="h5netcdf").drop_attrs() for folder in (one, other)]
    assert results[0].identical(results[1]), "the results differ"
    git = ("git_commit", "git_dirty")
    plain = [{key: value for key, value in each.items() if key not in git} for each in described]
    assert plain[0] == plain[1]


def kills(folder: Path, times: int, rng: random.Random, seeds: int = 20, pause: float = 0.03) -> dict[str, int]:
    """Kill a sweep `times` times with SIGKILL at random moments, starting it again each time; then let it end.

    Three in four kills wait for a new chunk and strike up to 0.3 s later, the others strike during the start.
    Asserts that no finished chunk is ever written again and that the folder's result equals, byte for byte, that of
    an uninterrupted run.
    """
    before: dict[str, tuple[int, int]] = {}
    during = 0
    for _ in range(times):
        process = start(folder, seeds=seeds, pause=pause)
        if rng.random() < 0.75:
            while process.poll() is None and stored(folder) == before:
                time.sleep(0.002)
            time.sleep(rng.uniform(0.0, 0.3))
        else:
            time.sleep(rng.uniform(0.0, 3.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        after = stored(folder)
        assert {name: after.get(name) for name in before} == before, "a finished chunk was lost or computed again"
        during += 0 < len(after) < 2 * seeds
        before = after
    finish(start(folder, seeds=seeds))
    after = stored(folder)
    assert {name: after.get(name) for name in before} == before, "a finished chunk was lost or computed again"
    whole = folder.with_name(folder.name + "-whole")
    finish(start(whole, seeds=seeds))
    same(folder, whole)
    return {"kills": times, "with part of the chunks stored": during, "chunks": len(after)}


def main() -> None:
    if options.kill:
        sys.stdout.write(f"{kills(options.folder, options.kill, random.Random(0), 40, 0.1)}\n")
        return
    if options.join:
        address, count, index = options.join
        initialize(address, int(count), int(index), heartbeat_seconds=10)
    write = store.Store.write

    def slowly(self, *args):
        time.sleep(options.pause)
        write(self, *args)

    store.Store.write = slowly
    key = jax.random.key(0)
    found = sweep(member, design(), key, seeds=options.seeds, lanes=LANES, out=options.folder, labels=LABELS)
    assert np.all(found.status == 0), found.summary()


if __name__ == "__main__":
    main()
