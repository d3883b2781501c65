"""The experiment contract: command line, result folder, config round trip; on a tiny experiment made here."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from experiments import catalogue, cli, config, contract, store

ROOT = Path(__file__).resolve().parent.parent

TOY = '''"""Does a coin toss average one half?

A toy for the tests.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from experiments.contract import Result, Table, Variable, near, within


@dataclass(frozen=True)
class Config:
    n_tosses: int = 1000
    """Tosses."""
    radii: tuple[float, ...] = (0.5, 0.9)
    """Radii."""
    pause: float = 0.0
    """Seconds to sleep."""

    @staticmethod
    def smoke() -> Config:
        return Config(n_tosses=100)


def validate(config):
    if config.n_tosses < 1:
        raise ValueError(f"n_tosses must be at least 1, got {config.n_tosses}")


def run(config, key, progress):
    for _ in progress(range(2), "tossing"):
        time.sleep(config.pause)
    tosses = jax.random.bernoulli(key, 0.5, (len(config.radii), config.n_tosses))
    mean = jnp.mean(tosses, axis=1)

    def draw(figure):
        figure.subplots().plot(mean)

    return Result(
        figures={"mean": mean[0], "undefined": float("nan"), "infinite": float("inf")},
        claims=[
            near("mean is one half", "arithmetic", 0.5, float(mean[0]), 0.2),
            within("mean is above two", "nobody", 2.0, 3.0, float(mean[0])),
        ],
        tables=[Table("Tosses", ("radius", "mean"), list(zip(config.radii, mean.tolist())))],
        data={"mean": Variable(("radius",), mean, "1", "average of the tosses")},
        coords={"radius": Variable(("radius",), config.radii, "1", "spectral radius")},
        plots={"tosses": draw},
        headline=f"mean {float(mean[0]):.2f}",
    )
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "toys"
    made.mkdir()
    (made / "toy.py").write_text(TOY, encoding="utf-8")
    (made / "_toy.py").write_text(TOY, encoding="utf-8")
    (made / "helpers.py").write_text("class Config:\n    pass\n", encoding="utf-8")
    return made


def summary(out: Path) -> dict:
    def refuse(name: str) -> None:
        raise AssertionError(f"bare {name} in summary.json")

    return json.loads((out / "summary.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_every_experiment_keeps_the_contract() -> None:
    found = catalogue.entries()
    assert {"memory_capacity", "forecast"} <= {entry.name for entry in found}
    for entry in found:
        assert entry.question.endswith("?"), f"{entry.name}: the first docstring line must be a question"
        module = catalogue.load(entry)
        assert dataclasses.is_dataclass(module.Config)
        assert module.Config.__dataclass_params__.frozen
        assert isinstance(module.Config.smoke(), module.Config)
        assert callable(module.main)
        for base in (module.Config(), module.Config.smoke()):
            stored = json.loads(json.dumps(store.plain(base)))
            assert config.convert(stored, module.Config, "config") == base
            assert cli.parse(entry.name, module, []).config == module.Config()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", [entry.name for entry in catalogue.entries()])
def test_smoke_run(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    xarray = pytest.importorskip("xarray")
    assert cli.main([name, "--smoke", "--out", str(tmp_path)]) == 0
    told = summary(tmp_path)
    assert told["figures"]
    assert told["claims"]
    assert all(claim["measured"] is not None for claim in told["claims"])
    assert list(tmp_path.glob("*.png"))
    with xarray.open_dataset(tmp_path / "results.nc", engine="h5netcdf") as data:
        assert all({"units", "long_name"} <= set(data[item].attrs) for item in data.variables)
    assert "plot: " in capsys.readouterr().out


def test_listing_needs_no_jax() -> None:
    code = "import sys; from experiments.cli import main; main([]); assert 'jax' not in sys.modules, 'jax imported'"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "memory_capacity" in done.stdout
    assert "forecast" in done.stdout


def test_discovery(folder: Path) -> None:
    assert [(entry.name, entry.question) for entry in catalogue.entries(folder)] == [
        ("toy", "Does a coin toss average one half?")
    ]


def test_run_writes_the_whole_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    xarray = pytest.importorskip("xarray")
    out = tmp_path / "out"
    assert cli.main(["toy", "--out", str(out), "--seed", "3", "--radii", "0.1", "0.2", "0.3"], folder) == 0
    assert {path.name for path in out.iterdir()} == {"config.json", "summary.json", "results.nc", "tosses.png"}
    shown = capsys.readouterr().out
    assert "NOT HELD" in shown
    assert "expected 2 to 3" in shown
    assert shown.rstrip().splitlines()[-1].startswith("mean 0.")
    told = summary(out)
    assert told["figures"]["undefined"] is None
    assert told["figures"]["infinite"] is None
    assert [claim["holds"] for claim in told["claims"]] == [True, False]
    assert told["provenance"]["seed"] == 3
    assert told["provenance"]["dtype"] in ("float32", "float64")
    assert {"dynlab", "jax", "jaxlib", "numpy", "python"} <= set(told["provenance"]["versions"])
    with xarray.open_dataset(out / "results.nc", engine="h5netcdf") as data:
        assert data["mean"].dims == ("radius",)
        assert data["mean"].attrs["units"] == "1"
        assert data["radius"].values.tolist() == [0.1, 0.2, 0.3]
        assert data["mean"].values[0] == pytest.approx(told["figures"]["mean"])
    assert (out / "tosses.png").read_bytes().startswith(b"\x89PNG")


def test_config_file_repeats_the_run(folder: Path, tmp_path: Path) -> None:
    first, second, third = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    assert cli.main(["toy", "--smoke", "--out", str(first), "--seed", "5", "--pause", "0.001"], folder) == 0
    stored = str(first / "config.json")
    assert cli.main(["toy", "--config", stored, "--out", str(second)], folder) == 0
    assert summary(first)["figures"] == summary(second)["figures"]
    assert (first / "config.json").read_text() == (second / "config.json").read_text()
    assert cli.main(["toy", f"--config={stored}", "--out", str(third), "--n-tosses", "7", "--seed", "1"], folder) == 0
    changed = json.loads((third / "config.json").read_text())
    assert changed["seed"] == 1
    assert changed["config"]["n_tosses"] == 7
    assert changed["config"]["pause"] == 0.001


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tois"], ["tois", "did you mean toy"]),
        (["zzz"], ["zzz", "there are: toy"]),
        (["toy", "--n-tosses", "0"], ["n_tosses", "at least 1", "got 0"]),
        (["toy", "--seed", "-1"], ["--seed", "-1"]),
        (["toy", "--config", "nowhere.json"], ["nowhere.json"]),
        (["toy", "--smoke", "--config", "a.json"], ["--smoke", "--config"]),
    ],
)
def test_mistakes_end_with_code_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    out = tmp_path / "out"
    extra = ["--out", str(out)] if arguments[0] == "toy" else []
    assert cli.main([*arguments, *extra], folder) == 2
    shown = capsys.readouterr().err
    assert all(word in shown for word in words)
    assert "Traceback" not in shown
    assert not out.exists()


@pytest.mark.parametrize("arguments", [["--n-tosses", "abc"], ["--no-such-flag", "1"]])
def test_a_bad_value_names_the_flag(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["toy", *arguments], folder)
    shown = capsys.readouterr()
    assert stopped.value.code == 2
    assert arguments[0] in shown.err + shown.out


def test_unwritable_out_is_refused_before_computing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    started = time.perf_counter()
    assert cli.main(["toy", "--pause", "30", "--out", str(tmp_path / "file" / "out")], folder) == 2
    assert time.perf_counter() - started < 20
    assert "cannot write into --out" in capsys.readouterr().err


def test_missing_extra_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(store.EXTRAS, "no_such_package", "results")
    assert cli.main(["toy", "--out", str(tmp_path / "out")], folder) == 2
    shown = capsys.readouterr().err
    assert "no_such_package" in shown
    assert "dynlab[results,plots]" in shown


def test_interrupt_ends_cleanly(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = "import signal, sys; from pathlib import Path; from experiments.cli import main; "
    code += "signal.signal(signal.SIGINT, signal.default_int_handler); "  # a job in the background ignores it
    code += f"sys.exit(main(['toy', '--pause', '60', '--out', {str(out)!r}], Path({str(folder)!r})))"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "coin toss" in process.stdout.readline()  # printed right before the experiment starts
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert list(out.iterdir()) == []


def test_a_failed_write_leaves_no_summary_and_no_temporary_file(tmp_path: Path) -> None:
    def broken(figure: object) -> None:
        raise RuntimeError("cannot draw")

    (tmp_path / "summary.json").write_text("{}", encoding="utf-8")
    result = contract.Result(figures={}, plots={"broken": broken})
    with pytest.raises(RuntimeError, match="cannot draw"):
        store.write(tmp_path, result, {"experiment": "x", "seed": 0, "config": {}}, {})
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "results.nc"}


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 1.0


@dataclasses.dataclass(frozen=True)
class Outer:
    size: int = 1
    name: Literal["a", "b"] = "a"
    limit: float | None = None
    pair: tuple[int, float] = (1, 2.0)
    inner: Inner = Inner()


def test_config_conversion() -> None:
    for value in (Outer(), Outer(3, "b", 0.5, (2, 1.0), Inner(4.0))):
        assert config.convert(json.loads(json.dumps(store.plain(value))), Outer, "config") == value
    assert config.convert({"limit": 2}, Outer, "config") == Outer(limit=2.0)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"size": 1.5}, "config.size must be int, got 1.5"),
        ({"size": True}, "config.size"),
        ({"name": "c"}, "config.name"),
        ({"pair": [1]}, "config.pair"),
        ({"inner": {"rate": "fast"}}, "config.inner.rate must be float, got 'fast'"),
        ({"sise": 1}, "unknown entries sise; allowed: size, name"),
        ([], "config must be an object"),
    ],
)
def test_bad_config_entries_are_named(stored: object, words: str) -> None:
    with pytest.raises(ValueError, match="config") as caught:
        config.convert(stored, Outer, "config")
    assert words in str(caught.value)


def test_plain_json() -> None:
    given = {"a": np.float32(0.5), "b": np.array([1.0, np.nan]), "c": (True, None), "d": Path}
    with pytest.raises(TypeError, match="as JSON"):
        store.plain(given)
    given.pop("d")
    assert store.plain(given) == {"a": 0.5, "b": [1.0, None], "c": [True, None]}


def test_claims() -> None:
    assert contract.near("x", "s", 1.0, 1.05, 0.1).holds
    assert not contract.near("x", "s", 1.0, float("nan"), 0.1).holds
    assert contract.within("x", "s", -float("inf"), 2.0, 1.0).expected == "at most 2"
    assert not contract.within("x", "s", 0.0, 2.0, 2.5).holds


def test_git_state() -> None:
    state = store.git_state()
    assert set(state) == {"git_commit", "git_dirty"}
    assert state["git_commit"] is None or (len(state["git_commit"]) >= 40 and isinstance(state["git_dirty"], bool))
