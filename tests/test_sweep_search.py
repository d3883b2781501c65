"""Search in vmapped batches, dead workers, successive halving."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import ESN
from dynlab.sweep import halving, program, search

SPACE = {"leak_rate": (0.05, 1.0), "spectral_radius": (0.01, 10.0, "log")}


def bowl(model, key):
    """Smallest at leak 0.3 and radius 1, with a little noise that differs between seeds."""
    noise = 1e-3 * jax.random.normal(key)
    return (model.leak_rate - 0.3) ** 2 + jnp.log10(model.spectral_radius) ** 2 + noise


def hole(model, key):
    """NaN on one side."""
    return {"score": jnp.where(model.leak_rate < 0.5, jnp.nan, model.leak_rate), "pair": jnp.zeros(2)}


def test_tpe_in_batches_is_one_compiled_call_and_beats_random(key):
    optuna = pytest.importorskip("optuna")
    del optuna
    before = program.compilations()
    found = search(bowl, ESN(), key, space=SPACE, n_trials=96, batch=16, seeds=2)
    assert program.compilations() - before == 1
    assert found.trials["value"].shape == (96,)
    by_chance = search(bowl, ESN(), key, space=SPACE, n_trials=96, batch=16, seeds=2, sampler="random")
    assert found.value < by_chance.value
    assert found.best["leak_rate"] == pytest.approx(0.3, abs=0.2)
    top = int(np.argmin(found.trials["value"]))
    assert found.trials["spectral_radius"][top] == found.best["spectral_radius"]
    alone = np.mean([bowl(ESN(**found.best), jax.random.fold_in(key, s)) for s in range(2)])
    assert found.value == pytest.approx(float(alone), rel=1e-4)
    first = found.trials["leak_rate"][:16]
    assert len(set(first.tolist())) == 16


def test_failed_trials_count_and_the_study_goes_on(key, tmp_path):
    pytest.importorskip("optuna")
    given = {"space": {"leak_rate": (0.1, 1.0)}, "output": "score", "storage": tmp_path / "journal", "batch": 8}
    found = search(hole, ESN(), key, n_trials=16, sampler="random", **given)
    assert 0 < np.isnan(found.trials["value"]).sum() < 16
    assert found.value >= 0.5
    more = search(hole, ESN(), key, n_trials=20, sampler="random", sampler_seed=1, **given)
    np.testing.assert_array_equal(more.trials["leak_rate"][:16], found.trials["leak_rate"])
    assert more.trials["value"].shape == (20,)
    with pytest.raises(RuntimeError, match="every one of the 4 trials failed"):
        search(hole, ESN(), key, space={"leak_rate": (0.1, 0.4)}, output="score", n_trials=4, batch=4)


DIES = """
import os, signal, sys
from dynlab.sweep import search
held = search.__globals__["_study"](sys.argv[1], "dynlab", "minimize", "random", 7)
for _ in range(5):
    search.__globals__["_ask"](held, {"leak_rate": (0.05, 1.0, False)}, search.__globals__["_worker"]())
os.kill(os.getpid(), signal.SIGKILL)
"""
WORKS = """
import sys
sys.path.insert(0, sys.argv[2])
import jax
from dynlab import ESN
from test_sweep_search import SPACE, bowl
from dynlab.sweep import search
found = search(bowl, ESN(), jax.random.key(0), space=SPACE, n_trials=48, batch=8, storage=sys.argv[1],
               sampler_seed=int(sys.argv[3]))
print(len(found.trials["value"]), len(set(found.trials["leak_rate"].tolist())))
"""


def child(code, *words):
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_trials_of_a_killed_worker_are_failed_and_run_again(kind, key, tmp_path):
    optuna = pytest.importorskip("optuna")
    storage = tmp_path / "journal" if kind == "journal" else f"sqlite:///{tmp_path / 'study.db'}"
    dead = child(DIES, storage)
    text = dead.communicate()
    assert dead.returncode == -signal.SIGKILL, text
    found = search(bowl, ESN(), key, space={"leak_rate": (0.05, 1.0)}, n_trials=8, batch=8, storage=storage)
    assert found.requeued == 5
    assert found.trials["value"].shape == (8,)
    assert np.isfinite(found.trials["value"]).all()
    if kind == "sqlite":
        trials = optuna.load_study(study_name="dynlab", storage=storage).trials
        failed = [t.params["leak_rate"] for t in trials if t.state == optuna.trial.TrialState.FAIL]
        done = [t.params["leak_rate"] for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
        assert len(failed) == 5
        assert set(failed) <= set(done)


def test_two_workers_share_a_study(tmp_path):
    pytest.importorskip("optuna")
    workers = [child(WORKS, tmp_path / "journal", os.path.dirname(__file__), i) for i in range(2)]
    for worker in workers:
        text, errors = worker.communicate()
        assert worker.returncode == 0, errors
        total, distinct = map(int, text.split())
        assert (total, distinct) == (48, 48)


@pytest.mark.parametrize(("change", "error", "says"), [
    ({"space": {"leak": (0.1, 1.0)}}, ValueError, "no knob 'leak'"),
    ({"space": {"leak_rate": (0.1, float("inf"))}}, ValueError, "leak_rate bounds"),
    ({"space": {"n_units": (10, 20)}}, ValueError, "n_units is static"),
    ({"space": {}}, ValueError, "at least one knob"),
    ({"output": "error"}, ValueError, "output must name a scalar"),
    ({"fn": hole, "output": "pair"}, ValueError, "output must name a scalar"),
    ({"direction": "down"}, ValueError, "direction must be one of"),
    ({"n_trials": 0}, ValueError, "n_trials must be at least 1"),
    ({"storage": "nowhere/at/all"}, ValueError, "storage must lie in a folder that exists"),
])
def test_bad_input(change, error, says, key):
    pytest.importorskip("optuna")
    given = {"fn": bowl, "space": SPACE, "n_trials": 4, **change}
    with pytest.raises(error, match=says):
        search(given.pop("fn"), ESN(), key, **given)


def start(candidate, key):
    return jnp.zeros(()) + 0.01 * jax.random.normal(key)


def descend(candidate, state, key):
    return state - candidate["rate"] * (state - 1.0)


def distance(candidate, state):
    return jnp.abs(state - 1.0)


def test_halving_keeps_the_best_and_saves_steps(key):
    """Gradient descent on a parabola: rate 0.5 of the list is best; survivors' courses are those of a full run."""
    rates = np.array([0.01, 0.5, 0.02, 0.3, 1.99, 2.5, 0.1, 0.05], np.float32)
    found = halving(start, descend, distance, {"rate": rates}, key, rungs=(4, 4, 8), keep=0.5)
    whole = halving(start, descend, distance, {"rate": rates}, key, rungs=(16,))
    assert int(found.best) == 1
    assert found.steps == 8 * 4 + 4 * 4 + 2 * 8
    assert whole.steps == 8 * 16
    assert np.isfinite(found.scores[0]).all()
    assert np.isfinite(found.scores[1]).sum() == 4
    assert found.survivors.tolist() == [1, 3]
    for lane in (1, 3):
        assert float(found.scores[2, lane]) == pytest.approx(float(whole.scores[0, lane]), rel=1e-5, abs=1e-7)
    assert float(found.score) == pytest.approx(abs(float(found.state) - 1.0), abs=1e-7)


def test_halving_drops_nan_and_refuses_nonsense(key):
    found = halving(start, descend, distance, {"rate": np.array([np.nan, 0.5], np.float32)}, key, rungs=(2, 2))
    assert found.survivors.tolist() == [1]
    for change, says in (({"rungs": ()}, "at least one number of steps"), ({"rungs": (0,)}, "rungs must be at least 1"),
                         ({"keep": 1.0}, "keep must be")):
        with pytest.raises(ValueError, match=says):
            halving(start, descend, distance, {"rate": np.ones(3)}, key, **{"rungs": (2,), **change})
    with pytest.raises(ValueError, match="one common leading axis"):
        halving(start, descend, distance, {"a": np.ones(3), "b": np.ones(2)}, key, rungs=(2,))
