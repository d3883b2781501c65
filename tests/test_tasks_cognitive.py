"""Perceptual decision, context-dependent decision and match-to-sample against NumPy loops over their definitions."""

from __future__ import annotations

from math import erf

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.tasks import ContextDecision, MatchToSample, PerceptualDecision, weighted_squares

MANY = 4000
PERCEPT = PerceptualDecision(
    coherences=(0.1, 0.4), fixation=(60.0, 150.0), stimulus=(200.0, 410.0), delay=(0.0, 100.0), response=100.0,
    grace=30.0, length=38, noise=0.1,
)  # fmt: skip
CONTEXT = ContextDecision(
    fixation=(60.0, 60.0), stimulus=(100.0, 300.0), delay=(0.0, 60.0), response=100.0, grace=40.0, length=26,
)  # fmt: skip
MATCH = MatchToSample(
    fixation=(60.0, 100.0), sample_time=(40.0, 60.0), delay=(100.0, 300.0), test_time=(40.0, 40.0), response=100.0,
    grace=40.0, length=30, n_items=3, match_probability=0.4,
)  # fmt: skip
TASKS = {"percept": PERCEPT, "context": CONTEXT, "match": MATCH}


@jax.jit
def sample_many(task, keys):
    return jax.vmap(task.sample)(keys)


@pytest.fixture(scope="module")
def drawn():
    keys = jax.random.split(jax.random.key(7), MANY)
    return {name: jax.tree.map(np.asarray, sample_many(task, keys)) for name, task in TASKS.items()}


def expected_answer(trial, i, length, grace):
    """Fixation cue, targets and mask of trial i, step by step."""
    go, end, choice = (int(trial.truth[name][i]) for name in ("go", "end", "choice"))
    cue, targets, mask = np.zeros(length), np.zeros((length, 3)), np.zeros(length)
    for t in range(end):
        if t < go:
            cue[t] = targets[t, 0] = 1.0
        else:
            targets[t, 1 + choice] = 1.0
        mask[t] = 0.0 if go <= t < go + grace else 1.0
    return cue, targets, mask


@pytest.mark.conformance
@pytest.mark.parametrize(("name", "grace"), [("percept", 1), ("context", 2), ("match", 2)])
def test_answer_is_asked_for_after_the_go_signal(drawn, name, grace):
    trial, length = drawn[name], TASKS[name].length
    assert trial.inputs.dtype == trial.targets.dtype == trial.mask.dtype == jnp.result_type(float)
    for i in range(100):
        cue, targets, mask = expected_answer(trial, i, length, grace)
        np.testing.assert_array_equal(trial.inputs[i, :, 0], cue)
        np.testing.assert_array_equal(trial.targets[i], targets)
        np.testing.assert_array_equal(trial.mask[i], mask)
        assert not trial.inputs[i, int(trial.truth["end"][i]) :].any()
    assert np.all(trial.truth["end"] - trial.truth["go"] == 5)
    assert trial.truth["end"].max() <= length
    assert len(set(trial.truth["end"])) > 4
    np.testing.assert_array_equal(trial.channel_weights[0], np.ones(3))


def test_phases_are_cut_to_whole_steps_one_by_one(drawn):
    """At dt 20: U(60, 150) ms is 3 to 7 steps, U(200, 410) is 10 to 20 and U(0, 100) is 0 to 4."""
    truth = drawn["percept"].truth
    phases = truth["stimulus_on"], truth["stimulus_off"] - truth["stimulus_on"], truth["go"] - truth["stimulus_off"]
    assert [set(x) for x in phases] == [set(range(3, 8)), set(range(10, 21)), set(range(5))]
    part = np.mean(phases[0] == 7)  # 140 to 150 of 60 to 150 ms
    assert part == pytest.approx(1 / 9, abs=0.02)
    truth = drawn["match"].truth
    assert set(truth["sample_off"] - truth["sample_on"]) == {2}  # 40 to 60 ms, the 60 left out
    assert set(truth["test_on"] - truth["sample_off"]) == set(range(5, 15))


def windows(trial, on, off):
    now = np.arange(trial.inputs.shape[1])
    return (now >= trial.truth[on][:, None]) & (now < trial.truth[off][:, None])


def test_percept_is_evidence_for_the_choice(drawn):
    trial = drawn["percept"]
    shown = windows(trial, "stimulus_on", "stimulus_off")
    evidence, choice, coherence = trial.inputs[..., 1:], trial.truth["choice"], trial.truth["coherence"]
    assert not evidence[~shown].any()
    assert set(np.round(coherence.astype(float), 6)) == {0.1, 0.4}
    assert np.mean(coherence > 0.2) == pytest.approx(0.5, abs=0.03)
    assert np.mean(choice) == pytest.approx(0.5, abs=0.03)
    mean = np.where(np.arange(2) == choice[:, None], 0.5 + coherence[:, None] / 2, 0.5 - coherence[:, None] / 2)
    noise = (evidence - mean[:, None])[shown]
    assert np.std(noise) == pytest.approx(0.1 * np.sqrt(50), rel=0.02)
    assert np.mean(noise) == pytest.approx(0.0, abs=0.01)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.02
    # the observer who sums, against the formula of the docstring
    right = (np.sum(evidence[..., 1] - evidence[..., 0], axis=1) > 0) == (choice == 1)
    seconds = 0.02 * (trial.truth["stimulus_off"] - trial.truth["stimulus_on"])
    theory = np.mean([0.5 * (1 + erf(c * np.sqrt(d) / (2 * 0.1))) for c, d in zip(coherence, seconds, strict=True)])
    assert np.mean(right) == pytest.approx(theory, abs=0.025)


def test_context_says_which_signal_counts(drawn):
    trial = drawn["context"]
    shown, (context, values, choice) = windows(trial, "stimulus_on", "stimulus_off"), (
        trial.truth[name] for name in ("context", "coherences", "choice")
    )  # fmt: skip
    inside = np.arange(26) < trial.truth["end"][:, None]
    np.testing.assert_array_equal(
        trial.inputs[..., 3][inside], np.broadcast_to(context[:, None] == 0, (MANY, 26))[inside]
    )
    np.testing.assert_array_equal(
        trial.inputs[..., 4][inside], np.broadcast_to(context[:, None] == 1, (MANY, 26))[inside]
    )
    for i in range(300):
        assert choice[i] == int(values[i, context[i]] > 0)
    assert set(np.round(values.astype(float).ravel(), 6)) == {-0.5, -0.15, -0.05, 0.05, 0.15, 0.5}
    counts = np.histogram2d(values[:, 0], values[:, 1], bins=[-1, -0.3, -0.1, 0, 0.1, 0.3, 1])[0]
    assert np.min(counts) > 60  # 36 pairs of signals: 111 each, standard error 10
    noise = (trial.inputs[..., 1:3] - values[:, None])[shown]
    assert np.std(noise) == pytest.approx(0.1 * np.sqrt(50), rel=0.02)
    assert not trial.inputs[..., 1:3][~shown].any()


def test_ignoring_the_context_gives_three_quarters(drawn):
    truth = drawn["context"].truth
    for gap in (truth["coherences"].sum(axis=1), truth["coherences"][:, 0]):
        right = np.where(np.abs(gap) < 1e-6, 0.5, (gap > 0) == (truth["choice"] == 1))
        assert np.mean(right) == pytest.approx(0.75, abs=0.025)  # standard error 0.006


def test_match_is_the_same_item_twice(drawn):
    trial = drawn["match"]
    sample, test, choice = (trial.truth[name] for name in ("sample", "test", "choice"))
    np.testing.assert_array_equal(choice, (sample != test).astype(int))
    assert np.mean(choice == 0) == pytest.approx(0.4, abs=0.03)
    pairs = np.histogram2d(sample, test, bins=[0, 1, 2, 3])[0] / MANY
    np.testing.assert_allclose(pairs, np.where(np.eye(3) > 0, 0.4 / 3, 0.1), atol=0.02)
    items = np.zeros((MANY, 30, 3))
    for k, (on, off) in enumerate((("sample_on", "sample_off"), ("test_on", "go"))):
        shown = windows(trial, on, off)
        items += shown[..., None] * (np.arange(3) == (sample, test)[k][:, None, None])
    inside = np.arange(30) < trial.truth["end"][:, None]
    noise = (trial.inputs[..., 1:] - items)[inside]
    assert np.std(noise) == pytest.approx(0.01 * np.sqrt(50), rel=0.02)
    assert np.max(np.abs(noise)) < 0.5


@pytest.mark.parametrize("name", TASKS)
def test_score(drawn, name):
    trial, score = drawn[name], jax.jit(jax.vmap(TASKS[name].score))
    targets, going = trial.targets, np.zeros_like(trial.targets)
    np.testing.assert_array_equal(score(trial, targets), 1.0)
    np.testing.assert_array_equal(score(trial, going), 0.0)
    going[..., 1] = 1.0  # always choice 0
    np.testing.assert_array_equal(score(trial, going), trial.truth["choice"] == 0)
    np.testing.assert_array_equal(score(trial, targets + np.array([1.0, 0.0, 0.0])), 0.0)  # still fixating
    assert weighted_squares(jax.tree.map(lambda x: x[0], trial), targets[0]) == 0.0


def test_context_can_be_given(key):
    """Only the truth is computed, which compiles fast."""
    given = jax.jit(lambda context: CONTEXT.sample(key, context).truth)
    for context in (0, 1):
        truth = given(context)
        assert truth["context"] == context
        assert truth["choice"] == (truth["coherences"][context] > 0)
    drawn = jax.jit(lambda: CONTEXT.sample(key, 1).truth)()
    assert drawn["context"] == 1


def test_a_traced_trial_that_is_too_long_is_not_handed_out(count_compilations):
    """In `sample_many` the response time is traced: it is another value of the same program."""
    keys = jax.random.split(jax.random.key(7), MANY)
    sample_many(PERCEPT, keys)
    with count_compilations() as count:
        trials = sample_many(PERCEPT.replace(response=360.0), keys)
    assert count.compilations == 0
    inputs, mask, long = (np.asarray(x) for x in (trials.inputs, trials.mask, trials.truth["end"] > 38))
    assert 0.1 < np.mean(long) < 0.9  # 18 steps of response after 13 to 31 of the rest
    assert np.isnan(inputs[long]).all()
    assert np.isfinite(inputs[~long]).all()
    assert not mask[long].any()
    assert np.all(mask[~long].any(axis=1))


KEY = jax.random.key(0)
TRIAL = jax.eval_shape(PERCEPT.sample, KEY)
BAD = {
    "seed": (lambda: PERCEPT.sample(0), TypeError, r"key must be a typed key"),
    "coherence": (lambda: PERCEPT.replace(coherences=(1.1,)).sample(KEY), ValueError, r"coherences must be finite and"),
    "no coherence": (lambda: PERCEPT.replace(coherences=0.1).sample(KEY), ValueError, r"coherences must be a sequence"),
    "noise": (lambda: PERCEPT.replace(noise=-0.1).sample(KEY), ValueError, r"noise must be finite and in"),
    "one time": (lambda: PERCEPT.replace(delay=100.0).sample(KEY), ValueError, r"delay must be a pair"),
    "order": (lambda: PERCEPT.replace(delay=(2.0, 1.0)).sample(KEY), ValueError, r"delay must be a pair.*low <= high"),
    "short": (lambda: PERCEPT.replace(stimulus=(9.0, 90.0)).sample(KEY), ValueError, r"stimulus.*at least 1 step"),
    "length": (lambda: PERCEPT.replace(length=36).sample(KEY), ValueError, r"length must be at least 37"),
    "response": (lambda: PERCEPT.replace(response=10.0).sample(KEY), ValueError, r"response must be finite and in"),
    "grace": (lambda: PERCEPT.replace(grace=100.0).sample(KEY), ValueError, r"grace must be shorter than response"),
    "dt": (lambda: PERCEPT.replace(dt=0.0).sample(KEY), ValueError, r"dt must be finite and in"),
    "context": (lambda: CONTEXT.sample(KEY, 2), ValueError, r"context must be one of 0, 1, got 2"),
    "one item": (lambda: MATCH.replace(n_items=1).sample(KEY), ValueError, r"n_items must be at least 2"),
    "probability": (lambda: MATCH.replace(match_probability=2.0).sample(KEY), ValueError, r"match_probability must be"),
    "outputs": (lambda: PERCEPT.score(TRIAL, jnp.zeros((38, 2))), ValueError, r"outputs must have the shape"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
