"""Delayed recall and sine generation against loops over their definitions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.tasks import Recall, Sine

RECALL = Recall(shortest=3, longest=7, max_delay=9, n_symbols=5, n_items=4)  # 18 steps
SINE = Sine(length=60, n_frequencies=4, dt=0.5, transient=5.0)


@jax.jit
def sample_many(task, keys):
    return jax.vmap(task.sample)(keys)


def keys(n):
    return jax.random.split(jax.random.key(3), n)


@pytest.fixture(scope="module")
def recalls():
    return jax.tree.map(np.asarray, sample_many(RECALL, keys(2000)))


@pytest.mark.conformance
def test_recall_is_its_timeline(recalls):
    assert recalls.inputs.dtype == recalls.targets.dtype == recalls.mask.dtype == jnp.result_type(float)
    assert recalls.inputs.shape == (2000, 18, 7)
    for i in range(200):
        symbols, delay = recalls.truth["symbols"][i], int(recalls.truth["delay"][i])
        shown = [*symbols, *[5] * delay, 6, *[5] * 4]
        asked = [5] * (4 + delay + 1) + [*symbols]
        end = len(shown)
        inputs, targets, mask = np.zeros((18, 7)), np.zeros((18, 6)), np.zeros(18)
        inputs[np.arange(end), shown], targets[np.arange(end), asked], mask[:end] = 1.0, 1.0, 1.0
        np.testing.assert_array_equal(recalls.inputs[i], inputs)
        np.testing.assert_array_equal(recalls.targets[i], targets)
        np.testing.assert_array_equal(recalls.mask[i], mask)
        assert recalls.truth["end"][i] == end
        assert recalls.truth["recall"][i] == 4 + delay + 1


def test_recall_draws_all_symbols_and_delays_alike(recalls):
    assert set(recalls.truth["delay"]) == {3, 4, 5, 6, 7}
    assert np.bincount(recalls.truth["delay"])[3:] / 2000 == pytest.approx(0.2, abs=0.04)
    assert np.bincount(recalls.truth["symbols"].ravel()) / 8000 == pytest.approx(0.2, abs=0.02)
    assert np.max(np.abs(np.corrcoef(recalls.truth["symbols"].T) - np.eye(4))) < 0.1


def test_the_delay_is_swept_without_another_program(recalls, count_compilations):
    many = keys(2000)
    with count_compilations() as count:
        trials = sample_many(RECALL.replace(shortest=9, longest=9), many)
    assert count.compilations == 0
    assert set(np.asarray(trials.truth["delay"])) == {9}
    assert set(np.asarray(trials.truth["end"])) == {18}


def test_recall_score_is_the_part_recalled(recalls):
    score = jax.jit(jax.vmap(RECALL.score))
    np.testing.assert_array_equal(score(recalls, recalls.targets), 1.0)
    np.testing.assert_array_equal(score(recalls, np.zeros_like(recalls.targets)), 0.0)
    always = np.zeros_like(recalls.targets)
    always[..., 2] = 1.0
    np.testing.assert_allclose(score(recalls, always), np.mean(recalls.truth["symbols"] == 2, axis=1))


@pytest.fixture(scope="module")
def sines():
    return jax.tree.map(np.asarray, sample_many(SINE, keys(400)))


@pytest.mark.conformance
def test_sine_has_the_frequency_that_the_input_says(sines):
    assert sines.inputs.dtype == sines.targets.dtype == sines.mask.dtype == jnp.result_type(float)
    levels = sines.inputs[:, 0, 0]
    np.testing.assert_array_equal(sines.inputs, np.broadcast_to(levels[:, None, None], (400, 60, 1)))
    np.testing.assert_allclose(np.unique(levels), [0.5, 0.75, 1.0, 1.25])
    assert np.unique(levels, return_counts=True)[1] / 400 == pytest.approx(0.25, abs=0.1)
    omega = np.array([0.1, 0.1 + 0.5 / 3, 0.1 + 1.0 / 3, 0.6])[np.round(levels * 4).astype(int) - 2]
    wave = np.sin(omega[:, None] * 0.5 * np.arange(60))
    np.testing.assert_allclose(sines.targets[..., 0], wave, atol=1e-5)
    np.testing.assert_array_equal(sines.mask, np.tile(np.arange(60) >= 10, (400, 1)))


def test_sine_score(sines):
    score = jax.jit(jax.vmap(SINE.score))
    np.testing.assert_array_equal(score(sines, sines.targets), 1.0)
    np.testing.assert_array_equal(score(sines, np.zeros_like(sines.targets)), 0.0)
    early = np.where(sines.mask[..., None] > 0, 0.5 * sines.targets, np.nan)  # what does not count may be anything
    np.testing.assert_allclose(score(sines, early), 0.75, rtol=1e-5)


KEY = jax.random.key(0)
TRIAL = jax.eval_shape(RECALL.sample, KEY)
BAD = {
    "seed": (lambda: Recall().sample(0), TypeError, r"key must be a typed key"),
    "one symbol": (lambda: Recall(n_symbols=1).sample(KEY), ValueError, r"n_symbols must be at least 2, got 1"),
    "no item": (lambda: Recall(n_items=0).sample(KEY), ValueError, r"n_items must be at least 1, got 0"),
    "too long": (lambda: Recall(longest=21).sample(KEY), ValueError, r"longest must be finite and in \[0, 20\]"),
    "part of a step": (lambda: Recall(shortest=0.5).sample(KEY), ValueError, r"shortest must be a whole number"),
    "order": (lambda: Recall(shortest=9, longest=8).sample(KEY), ValueError, r"shortest must be at most longest"),
    "outputs": (lambda: RECALL.score(TRIAL, jnp.zeros((18, 7))), ValueError, r"outputs must have the shape.*\(18, 6\)"),
    "sine seed": (lambda: Sine().sample(0), TypeError, r"key must be a typed key"),
    "no frequency": (lambda: Sine(n_frequencies=0).sample(KEY), ValueError, r"n_frequencies must be at least 1"),
    "no steps": (lambda: Sine(length=0).sample(KEY), ValueError, r"length must be at least 1"),
    "aliased": (lambda: Sine(high=7.0, dt=1.0).sample(KEY), ValueError, r"high must be finite and in \(0.0, 3.14"),
    "frequencies": (lambda: Sine(low=0.7).sample(KEY), ValueError, r"low must be at most high"),
    "transient": (lambda: SINE.replace(transient=30.0).sample(KEY), ValueError, r"transient must be at most 29.5"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
