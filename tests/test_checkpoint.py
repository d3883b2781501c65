"""A training run that is killed goes on from its folder with the same numbers."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from dynlab import train

pytest.importorskip("orbax.checkpoint")
TESTS = Path(__file__).parent
RUN = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
import test_checkpoint as own

own.run(sys.argv[1], 4, on_epoch=lambda epoch, *_: os.kill(os.getpid(), signal.SIGKILL) if epoch == 2 else None)
"""
ADAM = optax.adam(0.05)
KEYS = jax.random.split(jax.random.key(1), 2)


def loss(params, key, stage):
    x = jax.random.normal(key, (6, 3))
    return jax.numpy.mean((x @ params["w"] - x[:, 0]) ** 2) * stage


def advance(stage, report, params):
    return stage * 0.9


def run(folder, n_epochs, keys=KEYS, identity=None, **options):
    params = {"w": jax.numpy.ones((2, 3))}
    checkpoint = None if folder is None else train.Checkpoint(folder, identity=identity)
    return train.fit(loss, params, keys, optimiser=ADAM, n_epochs=n_epochs, n_updates=4, stage=jax.numpy.ones(2),
                     advance=advance, checkpoint=checkpoint, **options)


def test_a_killed_run_resumes_to_the_last_bit_and_loses_no_reported_epoch(tmp_path):
    command = [sys.executable, "-c", RUN, str(tmp_path / "run"), str(TESTS)]
    killed = subprocess.run(command, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    seen = []
    resumed = run(tmp_path / "run", 4, on_epoch=lambda epoch, *_: seen.append(epoch))
    assert seen == [3, 4]
    whole = run(None, 4)
    np.testing.assert_array_equal(resumed.loss, whole.loss)
    jax.tree.map(np.testing.assert_array_equal, resumed.progress, whole.progress)
    again = run(tmp_path / "run", 4, on_epoch=lambda epoch, *_: seen.append(epoch))
    assert seen == [3, 4]
    np.testing.assert_array_equal(again.loss, whole.loss)
    with pytest.raises(ValueError, match="a run with another key"):
        run(tmp_path / "run", 4, keys=KEYS[::-1])
    with pytest.raises(ValueError, match=r"holds a run of None, not of \{'n': 3\}"):
        run(tmp_path / "run", 4, identity={"n": 3})


def test_keep_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        train.Checkpoint(tmp_path, keep=0)
