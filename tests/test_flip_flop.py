"""The flip-flop task against a loop over its definition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.tasks import FlipFlop


@pytest.mark.conformance
def test_targets_hold_the_last_pulse(key):
    trial = FlipFlop(length=300, n_bits=4, pulse_probability=0.1).sample(key)
    inputs = np.asarray(trial.inputs)
    assert trial.inputs.dtype == trial.targets.dtype == trial.mask.dtype == jnp.result_type(float)
    assert set(np.unique(inputs)) == {-1.0, 0.0, 1.0}
    held, expected = np.zeros(4), []
    for now in inputs:
        for i in range(4):
            if now[i] != 0:
                held[i] = now[i]
        expected.append(held.copy())
    np.testing.assert_array_equal(trial.targets, expected)
    assert np.all(inputs[0] != 0)
    assert np.all(trial.mask == 1)


def test_pulses_come_as_often_as_asked_with_both_signs(key):
    inputs = np.asarray(FlipFlop(length=20_000, pulse_probability=0.2).sample(key).inputs[1:])
    assert np.mean(inputs != 0) == pytest.approx(0.2, abs=0.01)  # 60,000 draws: standard error 0.0016
    assert np.mean(inputs[inputs != 0] > 0) == pytest.approx(0.5, abs=0.02)
    assert np.max(np.abs(np.corrcoef(inputs.T) - np.eye(3))) < 0.03


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_never_and_always(probability, share, key):
    trial = FlipFlop(length=50, pulse_probability=probability).sample(key)
    assert np.mean(np.asarray(trial.inputs[1:]) != 0) == share
    np.testing.assert_array_equal(trial.targets, trial.inputs if share else np.tile(trial.inputs[0], (50, 1)))


def test_runs_under_vmap_over_keys_and_knob(key):
    keys = jax.random.split(key, 3)
    many = jax.vmap(lambda k, p: FlipFlop(pulse_probability=p, length=20).sample(k))(keys, jnp.array([0.1, 0.5, 0.9]))
    for i, p in enumerate((0.1, 0.5, 0.9)):
        one = FlipFlop(pulse_probability=p, length=20).sample(keys[i])
        np.testing.assert_array_equal(many.inputs[i], one.inputs)
        np.testing.assert_array_equal(many.targets[i], one.targets)


KEY = jax.random.key(0)
BAD = {
    "seed": (lambda: FlipFlop().sample(0), TypeError, r"key must be a typed key"),
    "no steps": (lambda: FlipFlop(length=0).sample(KEY), ValueError, r"length must be at least 1, got 0"),
    "no bits": (lambda: FlipFlop(n_bits=0).sample(KEY), ValueError, r"n_bits must be at least 1, got 0"),
    "too often": (lambda: FlipFlop(1.5).sample(KEY), ValueError, r"pulse_probability must be finite and in"),
    "NaN": (lambda: FlipFlop(np.nan).sample(KEY), ValueError, r"pulse_probability must be finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
