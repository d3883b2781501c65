"""``--sweep`` on the command line, and the driven stability measured by the experiment esn_sweep."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import numpy_esn
import pytest

from dynlab import ESN
from experiments import cli, sweeping
from experiments.esn_sweep import conditional_exponent

TOY = '''"""What is the product of two numbers?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from experiments.contract import Result


@dataclass(frozen=True)
class Config:
    a: float = 2.0
    n: int = 3
    name: str = "x"

    @staticmethod
    def smoke() -> Config:
        return Config()


def validate(config):
    if config.a > 5:
        raise ValueError(f"a must be at most 5, got {config.a}")


def run(config, key, progress):
    log = Path("calls")
    log.write_text((log.read_text() if log.exists() else "") + f"{config.a} {config.n}\\n")
    return Result(figures={"product": config.a * config.n, "inverse": float("nan") if config.a == 0 else 1 / config.a})
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.chdir(tmp_path)
    return lambda *words: cli.main(["toy", *words, "--out", "out"], tmp_path)


def test_sweep_of_two_fields(toy, tmp_path):
    xarray = pytest.importorskip("xarray")
    assert toy("--sweep", "a=0:4:3", "--sweep", "n=1,5") == 0
    with xarray.open_dataset("out/results.nc", engine="h5netcdf") as data:
        assert data["product"].dims == ("a", "n")
        np.testing.assert_array_equal(data["a"], [0.0, 2.0, 4.0])
        np.testing.assert_array_equal(data["product"], [[0, 0], [2, 10], [4, 20]])
        assert np.isnan(data["inverse"][0]).all()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["sweep"] == {"a": [0.0, 2.0, 4.0], "n": [1, 5]}
    calls = (tmp_path / "calls").read_text()
    assert len(calls.splitlines()) == 6
    (tmp_path / "out" / "members" / "000002.json").unlink()  # as after an interrupt
    assert toy("--sweep", "a=0:4:3", "--sweep", "n=1,5") == 0
    assert (tmp_path / "calls").read_text() == calls + "2.0 1\n"


@pytest.mark.parametrize(("words", "says"), [
    (("b=0:1:2",), "'b' is no numeric field; there are a, n"),
    (("name=0:1:2",), "'name' is no numeric field"),
    (("a=0:inf:2",), "finite bounds"),
    (("a=nan,1",), "finite bounds"),
    (("a=0:1:0",), "at least one value"),
    (("a=0:1",), "must be FIELD=START:STOP:N"),
    (("a=x",), "must be FIELD=START:STOP:N"),
    (("n=0:1:3",), "n is an integer"),
    (("a=1,1",), "must differ"),
    (("a=1", "--sweep", "a=2"), "names a field twice"),
    (("a=4:6:3",), "a must be at most 5, got 6.0"),
])
def test_bad_sweeps_compute_nothing(toy, tmp_path, capsys, words, says):
    assert toy("--sweep", *words) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "calls").exists()


def test_integers_stay_integers():
    from experiments.esn_sweep import Config

    assert sweeping.read("n-units=10:30:3", Config()).values == (10, 20, 30)


def test_exponent_of_linear_networks_is_that_of_their_matrix(key):
    """Linear units: ln of the spectral radius of (1 - a) + a rho W, whatever the input. No recurrence: ln(1 - a)."""
    u = jax.random.uniform(key, (3000, 1))
    model = ESN(n_units=30, spectral_radius=0.8, leak_rate=0.6, activation="identity", topology="cycle")
    params = model.init(key)
    matrix = 0.4 * np.eye(30) + 0.6 * 0.8 * np.asarray(params.recurrent.dense(), np.float64)
    exact = np.log(np.abs(np.linalg.eigvals(matrix)).max())
    assert float(conditional_exponent(model, params, u, key, 1000)) == pytest.approx(exact, abs=2e-3)
    still = model.replace(spectral_radius=0.0)
    assert float(conditional_exponent(still, still.init(key), u, key, 10)) == pytest.approx(np.log(0.4), abs=1e-5)


def test_exponent_equals_that_of_two_trajectories(key):
    """A driven network of radius above 1 that is stable: a NumPy loop of two runs, brought near again at each step."""
    model = ESN(n_units=30, spectral_radius=1.2, recurrence="dense")
    params = model.init(key)
    u = np.random.default_rng(0).uniform(-1.0, 1.0, (3000, 1))
    one, apart, logs = np.zeros(30), np.full(30, 1e-7), []
    for row in u:
        one, other = (numpy_esn.run(params, row[None], start=z)[0] for z in (one, one + apart))
        logs.append(np.log(np.linalg.norm(other - one) / 1e-7))
        apart = (other - one) * 1e-7 / np.linalg.norm(other - one)
    found = float(conditional_exponent(model, params, jnp.asarray(u), key, 1000))
    assert found == pytest.approx(np.mean(logs[1000:]), abs=1e-3)
    assert -0.5 < found < 0
