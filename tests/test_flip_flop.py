"""The flip-flop task against a loop over its definition."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.tasks import FlipFlop

LENGTH, BITS = 300, 4  # of every trial here: two programs, one trial and many, serve all tests


def sample(probability, key):
    return FlipFlop(length=LENGTH, n_bits=BITS, pulse_probability=probability).sample(key)


@pytest.fixture(scope="module")
def many():
    """60 trials: the probability is 0, 1 or, in all others, 0.2."""
    keys, knobs = jax.random.split(jax.random.key(0), 60), np.r_[0.0, 1.0, np.full(58, 0.2)]
    return keys, knobs, jax.tree.map(np.asarray, jax.jit(jax.vmap(sample))(jnp.asarray(knobs), keys))


@pytest.mark.conformance
def test_targets_hold_the_last_pulse(key):
    trial = sample(0.1, key)
    inputs = np.asarray(trial.inputs)
    assert trial.inputs.dtype == trial.targets.dtype == trial.mask.dtype == jnp.result_type(float)
    assert set(np.unique(inputs)) == {-1.0, 0.0, 1.0}
    held, expected = np.zeros(BITS), []
    for now in inputs:
        for i in range(BITS):
            if now[i] != 0:
                held[i] = now[i]
        expected.append(held.copy())
    np.testing.assert_array_equal(trial.targets, expected)
    assert np.all(inputs[0] != 0)
    assert np.all(np.asarray(trial.mask) == 1)


def test_pulses_come_as_often_as_asked_with_both_signs(many):
    inputs = many[2].inputs[2:, 1:].reshape(-1, BITS)
    assert np.mean(inputs != 0) == pytest.approx(0.2, abs=0.01)  # 69,368 draws: standard error 0.0015
    assert np.mean(inputs[inputs != 0] > 0) == pytest.approx(0.5, abs=0.02)
    assert np.max(np.abs(np.corrcoef(inputs.T) - np.eye(BITS))) < 0.03


def test_never_and_always(many):
    inputs, targets = many[2].inputs, many[2].targets
    assert not np.any(inputs[0, 1:])
    np.testing.assert_array_equal(targets[0], np.tile(inputs[0, 0], (LENGTH, 1)))
    assert np.all(inputs[1] != 0)
    np.testing.assert_array_equal(targets[1], inputs[1])


def test_runs_under_vmap_over_keys_and_knob(many):
    keys, knobs, trials = many
    for i in range(3):
        one = sample(float(knobs[i]), keys[i])
        np.testing.assert_array_equal(trials.inputs[i], one.inputs)
        np.testing.assert_array_equal(trials.targets[i], one.targets)


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
