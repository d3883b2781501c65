"""The store of a sweep: what is refused, what survives, and every bad argument."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from dynlab import ESN
from dynlab.sweep import Label, StoreError, StoreMismatch, grid, points, random_points, sobol_points, store, sweep

GRID = {"leak_rate": [0.2, 0.5, 1.0], "spectral_radius": [0.3, 0.9]}


def draw(model, key):
    """Cheap to compile; a different number for every knob and key."""
    return {"draw": jax.random.uniform(key) * model.leak_rate + model.spectral_radius}


def run(out, *, base=None, fn=draw, knobs=GRID, key=0, **more):
    given = {"seeds": 4, "lanes": 2, **more}
    return sweep(fn, grid(base or ESN(), **knobs), jax.random.key(key), out=out, **given)


def test_stored_equals_not_stored_and_a_second_call_computes_nothing(tmp_path, monkeypatch):
    first, plain = run(tmp_path / "a"), run(None)
    np.testing.assert_array_equal(first.values["draw"], plain.values["draw"])
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a" / "chunks").iterdir()}
    assert len(before) == 12
    monkeypatch.setattr("dynlab.sweep.program.Program.__call__", None)  # any computation would fail
    again = run(tmp_path / "a")
    np.testing.assert_array_equal(first.values["draw"], again.values["draw"])
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "a" / "chunks").iterdir()} == before


def test_result_file_is_labelled(tmp_path):
    xarray = pytest.importorskip("xarray")
    found = run(tmp_path, labels={"draw": Label("ms", "a draw"), "leak_rate": Label("1", "leak")})
    with xarray.open_dataset(tmp_path / store.RESULT, engine="h5netcdf") as data:
        assert data["draw"].dims == ("leak_rate", "spectral_radius", "seed")
        assert data["draw"].attrs == {"units": "ms", "long_name": "a draw"}
        assert data["leak_rate"].attrs["long_name"] == "leak"
        np.testing.assert_array_equal(data["draw"], found.values["draw"])
        assert {"versions", "device", "dtype", "key", "git_commit"} <= json.loads(data.attrs["provenance"]).keys()


def other(model, key):
    return {"draw": jax.random.uniform(key) - model.leak_rate}


@pytest.mark.parametrize(("change", "named"), [
    ({"base": ESN(n_units=7)}, "model.n_units: stored 100, now 7"),
    ({"base": ESN(input_scaling=0.5)}, "model.input_scaling"),
    ({"knobs": {**GRID, "leak_rate": [0.2, 0.5, 0.9]}}, "knobs.leak_rate"),
    ({"knobs": {"leak_rate": [0.2, 0.5, 1.0]}}, "spectral_radius"),
    ({"seeds": 5}, "seeds"),
    ({"key": 1}, "key: stored"),
    ({"lanes": 3}, "blocks"),
    ({"chunk": 4}, "blocks"),
    ({"fn": other}, "fn.name"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_another_configuration_is_refused_by_name(tmp_path, change, named):
    run(tmp_path)
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if p.name != "lock")
    with pytest.raises(StoreMismatch, match=named):
        run(tmp_path, **change)
    assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if p.name != "lock") == before
    run(tmp_path)


def test_lanes_of_the_store_win_over_automatic_ones(tmp_path):
    run(tmp_path)
    found = run(tmp_path, lanes=None)
    assert found.provenance["blocks"] == [{"lanes": 2, "seeds": 1, "chunk": 1}]


def test_store_of_another_version(tmp_path):
    run(tmp_path)
    manifest = json.loads((tmp_path / store.MANIFEST).read_text())
    (tmp_path / store.MANIFEST).write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(StoreMismatch, match="store format 99, this version reads format 1"):
        run(tmp_path)
    (tmp_path / store.MANIFEST).write_text("[]")
    with pytest.raises(StoreMismatch, match="not the manifest"):
        run(tmp_path)


def test_interrupt_leaves_a_store_to_go_on_from(tmp_path, monkeypatch):
    write, written = store.Store.write, []

    def interrupted(self, chunk, *args):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(chunk)
        write(self, chunk, *args)

    with monkeypatch.context() as patch:
        patch.setattr(store.Store, "write", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            run(tmp_path)
    assert "10 of 24 members are stored" in caught.value.__notes__[0]
    assert "the same call goes on from there" in caught.value.__notes__[0]
    later = []

    def counting(self, chunk, *args):
        later.append(chunk)
        write(self, chunk, *args)

    monkeypatch.setattr(store.Store, "write", counting)
    found = run(tmp_path)
    assert sorted(written + later) == list(range(12))
    np.testing.assert_array_equal(found.values["draw"], run(None).values["draw"])


FULL = """
import resource, signal, sys
sys.path.insert(0, {tests!r})
from test_sweep_store import GRID, StoreError, run
run(None)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, -1))  # as a quota would: no file grows beyond
try:
    run({out!r}, chunk=8)
except StoreError as error:
    print(error)
"""


def test_full_disk_loses_nothing(tmp_path):
    """No file may grow beyond 700 bytes: the manifest fits not; with 4,000, manifest and chunks do, the result not."""
    for limit, says in ((700, "cannot write into out="), (4000, "cannot write .*results.nc.*nothing is computed anew")):
        code = FULL.format(tests=os.path.dirname(__file__), limit=limit, out=str(tmp_path / str(limit)))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert re.search(says, done.stdout.replace("\n", " ")), done.stdout
    assert len(list((tmp_path / "4000" / "chunks").glob("*.npz"))) == 3
    assert not list(tmp_path.rglob("*.tmp*"))


def test_full_disk_in_the_middle(tmp_path, monkeypatch):
    fsync, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 8:
            raise OSError(28, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"No space left on device. The \d+ chunks stored so far stay valid"):
            run(tmp_path)
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "chunks").glob("*.npz")}
    assert kept
    found = run(tmp_path)
    np.testing.assert_array_equal(found.values["draw"], run(None).values["draw"])
    assert all((tmp_path / "chunks" / name).stat().st_mtime_ns == time for name, time in kept.items())


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write into out=|cannot read"):
        run(tmp_path / "file" / "folder")


def test_two_writers_at_once(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / store.LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another process is writing"):
            run(tmp_path)
    run(tmp_path)


def test_damaged_chunk_is_named(tmp_path):
    run(tmp_path)
    path = tmp_path / "chunks" / "000003.npz"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StoreError, match=r"000003\.npz is damaged"):
        run(tmp_path)
    path.unlink()
    np.testing.assert_array_equal(run(tmp_path).values["draw"], run(None).values["draw"])


ROOT_KEY = jax.random.key(0)
SMALL, PAIRED = grid(ESN(), leak_rate=[0.5]), points(ESN(), leak_rate=[0.5])
WRONG = {"draw": Label(dims=("t",))}
BAD = {
    "unknown knob": (lambda: grid(ESN(), spectral_radios=[1.0]), ValueError, "did you mean spectral_radius"),
    "no knob": (lambda: grid(ESN()), ValueError, "at least one knob"),
    "empty knob": (lambda: grid(ESN(), leak_rate=[]), ValueError, "leak_rate must hold at least one value"),
    "scalar knob": (lambda: grid(ESN(), leak_rate=0.5), TypeError, "leak_rate must be a list or 1-D array"),
    "text for a leaf": (lambda: grid(ESN(), leak_rate=["a"]), TypeError, "leak_rate must be real numbers"),
    "matrix": (lambda: grid(ESN(), leak_rate=np.ones((2, 2))), ValueError, r"shape \(2, 2\)"),
    "out of range": (lambda: grid(ESN(), leak_rate=[0.5, 1.5]), ValueError, r"leak_rate must be finite and in \(0"),
    "bad size": (lambda: grid(ESN(), n_units=[10, 0], leak_rate=[1.0]), ValueError, "n_units must be at least 1"),
    "bad topology": (lambda: grid(ESN(), topology=["ring"], leak_rate=[1.0]), ValueError, "topology"),
    "no dataclass": (lambda: grid(3, a=[1]), TypeError, "model must be an instance of a dataclass"),
    "unequal columns": (lambda: points(ESN(), leak_rate=[0.5], noise=[0.1, 0.2]), ValueError, "same length"),
    "infinite bound": (lambda: random_points(ESN(), 5, 0, leak_rate=(0.1, np.inf)), ValueError, "leak_rate bounds"),
    "NaN bound": (lambda: sobol_points(ESN(), 5, 0, leak_rate=(np.nan, 1.0)), ValueError, "leak_rate bounds"),
    "log of zero": (lambda: sobol_points(ESN(), 5, 0, noise=(0.0, 1.0, "log")), ValueError, "0 < low < high"),
    "reversed bounds": (lambda: random_points(ESN(), 5, 0, noise=(1.0, 0.0)), ValueError, "low < high"),
    "no points": (lambda: random_points(ESN(), 0, 0, noise=(0.0, 1.0)), ValueError, "n must be at least 1"),
    "no function": (lambda: sweep(3, SMALL, ROOT_KEY), TypeError, "fn must be a function"),
    "no design": (lambda: sweep(draw, ESN(), ROOT_KEY), TypeError, "design must come from grid"),
    "no key": (lambda: sweep(draw, SMALL, 0), TypeError, "key must be a typed key"),
    "no seeds": (lambda: sweep(draw, SMALL, ROOT_KEY, seeds=0), ValueError, "seeds must be at least 1"),
    "seeds twice": (lambda: sweep(draw, SMALL, ROOT_KEY, seeds=[1, 1]), ValueError, "distinct"),
    "seeds of points": (lambda: sweep(draw, PAIRED, ROOT_KEY, seeds=2), ValueError, "seeds must be 1"),
    "no lanes": (lambda: sweep(draw, SMALL, ROOT_KEY, lanes=0), ValueError, "lanes must be at least 1"),
    "no chunk": (lambda: sweep(draw, SMALL, ROOT_KEY, chunk=0), ValueError, "chunk must be at least 1"),
    "no memory": (lambda: sweep(draw, SMALL, ROOT_KEY, memory_budget=1), ValueError, "memory_budget is 1 bytes"),
    "no output": (lambda: sweep(lambda m, k: {}, SMALL, ROOT_KEY), ValueError, "fn must return at least one"),
    "unknown label": (lambda: sweep(draw, SMALL, ROOT_KEY, labels={"x": Label()}), ValueError, "no output or knob"),
    "label of other rank": (lambda: sweep(draw, SMALL, ROOT_KEY, labels=WRONG), ValueError, "0 axes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_before_anything_is_compiled(name):
    from dynlab.sweep import program

    call, error, says = BAD[name]
    before = program.compilations()
    with pytest.raises(error, match=says):
        call()
    assert program.compilations() == before
