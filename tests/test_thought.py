"""Measures of a thought: answers made by hand with known results, and independent NumPy loops on random ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.analysis.calibration import calibration_curve, certainty_histogram, reliability, running_confidence
from dynlab.analysis.thought import early_exit_curve, prediction_modes, thinking_time, tick_accuracy
from dynlab.models.thinking import certainty, exit_tick

RNG = np.random.default_rng(0)
# 2 samples, 4 ticks, 3 classes: what the network says at each tick, and how sure it is
SAID = np.array([[0, 2, 1, 1], [2, 2, 2, 0]])
HAND = 2.0 * np.eye(3)[SAID]
SURE = np.array([[0.1, 0.8, 0.3, 0.9], [0.5, 0.5, 0.2, 0.1]])
LABELS = np.array([1, 2])
# 7 samples, 6 ticks, 3 by 2 positions, 4 classes
LOGITS = RNG.normal(size=(7, 6, 3, 2, 4)).cumsum(axis=1)
WANTED = RNG.integers(0, 4, (7, 3, 2))


def sureness(logits):
    return np.asarray(certainty(jnp.asarray(logits), logits.ndim - 2))


def softmax(y):
    e = np.exp(y - y.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_prediction_modes_by_hand():
    found = prediction_modes(HAND, SURE)
    np.testing.assert_array_equal(found.at_tick, np.asarray(HAND, found.at_tick.dtype))
    # sample 0: tick 1 is surer than 0, tick 2 is not, tick 3 is; sample 1: the first of two equals stays
    np.testing.assert_array_equal(np.argmax(found.most_certain, -1), [[0, 2, 2, 1], [2, 2, 2, 2]])
    np.testing.assert_allclose(found.mean[0, 2], [2 / 3, 2 / 3, 2 / 3], atol=1e-6)
    np.testing.assert_allclose(found.weighted[0, 1], [0.2 / 0.9, 0, 1.6 / 0.9], atol=1e-6)
    none = prediction_modes(HAND, np.zeros((2, 4)))
    np.testing.assert_allclose(none.weighted, none.mean, atol=1e-6)


@pytest.mark.conformance
def test_prediction_modes_equal_a_loop(tol):
    sure = sureness(LOGITS)
    found = prediction_modes(LOGITS, sure)
    limit = tol(1e-5, 1e-12)
    for b in range(7):
        for t in range(6):
            c = sure[b, : t + 1]
            np.testing.assert_allclose(found.most_certain[b, t], LOGITS[b, np.argmax(c)], atol=limit)
            np.testing.assert_allclose(found.mean[b, t], LOGITS[b, : t + 1].mean(0), atol=limit)
            want = np.average(LOGITS[b, : t + 1], axis=0, weights=c)
            np.testing.assert_allclose(found.weighted[b, t], want, atol=limit)


def test_accuracy_by_tick_and_position():
    found = tick_accuracy(HAND, LABELS)
    np.testing.assert_allclose(found.by_tick, [0.5, 0.5, 1.0, 0.5])
    np.testing.assert_allclose(found.whole, found.by_tick)  # one position
    found = tick_accuracy(LOGITS, WANTED)
    hits = LOGITS.argmax(-1) == WANTED[:, None]
    np.testing.assert_allclose(found.by_position, hits.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.by_tick, [hits[:, t].mean() for t in range(6)], atol=1e-6)
    easy = WANTED.copy()
    easy[:5] = LOGITS[:5, 3].argmax(-1)
    assert float(tick_accuracy(LOGITS, easy).whole[3]) == pytest.approx(5 / 7)
    modes = jax.vmap(tick_accuracy, in_axes=(0, None))(jnp.stack([LOGITS, -LOGITS]), WANTED)  # over read-outs
    np.testing.assert_allclose(modes.by_tick[0], found.by_tick, atol=1e-6)


def test_thinking_time_by_hand():
    found = thinking_time(HAND, SURE, LABELS)
    np.testing.assert_array_equal(found.settled, [2, 3])
    np.testing.assert_array_equal(found.most_certain, [3, 0])
    np.testing.assert_array_equal(found.least_loss, [2, 0])  # the first of the right answers
    assert thinking_time(HAND, SURE).least_loss is None
    still = thinking_time(HAND[:, :1], SURE[:, :1])
    np.testing.assert_array_equal(still.settled, [0, 0])


def test_thinking_time_equals_a_loop():
    sure = sureness(LOGITS)
    found = thinking_time(LOGITS, sure, WANTED)
    said = LOGITS.argmax(-1)
    loss = -np.log(np.take_along_axis(softmax(LOGITS), WANTED[:, None, ..., None], -1)[..., 0]).mean((2, 3))
    for b in range(7):
        first = next(t for t in range(6) if all(np.array_equal(said[b, t], said[b, s]) for s in range(t, 6)))
        assert int(found.settled[b]) == first
        for place in np.ndindex(3, 2):
            trace = said[(b, slice(None), *place)]
            assert int(found.settled_position[(b, *place)]) == next(t for t in range(6) if len(set(trace[t:])) == 1)
        assert int(found.least_loss[b]) == np.argmin(loss[b])
        assert int(found.most_certain[b]) == np.argmax(sure[b])
    assert len(set(np.asarray(found.settled))) > 1


def test_early_exit_by_hand():
    found = early_exit_curve(HAND, SURE, LABELS, [0.0, 0.4, 0.85, 1.0])
    np.testing.assert_allclose(found.ticks, [1.0, 1.5, 4.0, 4.0])
    # from 0.4: sample 0 says 2 at tick 1 (wrong), sample 1 says 2 at tick 0; from 0.85 both say the last answer
    np.testing.assert_allclose(found.accuracy, [0.5, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(found.stopped, [1.0, 1.0, 0.5, 0.0])
    np.testing.assert_allclose(early_exit_curve(HAND, SURE, [1, 0], [0.0, 0.85]).accuracy, [0.0, 1.0])


def test_early_exit_stops_where_the_model_would():
    sure = sureness(LOGITS)
    thresholds = np.quantile(sure, [0.0, 0.3, 0.6, 0.9, 1.0])
    found = early_exit_curve(LOGITS, sure, WANTED, thresholds)
    hits = LOGITS.argmax(-1) == WANTED[:, None]
    for k, threshold in enumerate(np.asarray(found.threshold)):
        ticks = np.asarray(exit_tick(jnp.asarray(sure), threshold))
        there = hits[np.arange(7), ticks]
        assert float(found.ticks[k]) == pytest.approx(np.mean(ticks + 1))
        assert float(found.accuracy[k]) == pytest.approx(there.mean(), abs=1e-6)
        assert float(found.whole[k]) == pytest.approx(there.all((1, 2)).mean(), abs=1e-6)
    assert np.all(np.diff(found.ticks) >= 0)
    assert float(found.ticks[-1]) > float(found.ticks[0]) == 1.0


@pytest.mark.conformance
def test_reliability_by_hand(tol):
    """Bins (0, .5] and (.5, 1]: the first has confidence .4 and accuracy .5, the second .9 and 2/3."""
    found = reliability([0.3, 0.5, 0.8, 0.9, 1.0], [True, False, True, True, False], bins=2)
    np.testing.assert_allclose(found.confidence, [0.4, 0.9], atol=tol(1e-6, 1e-12))
    np.testing.assert_allclose(found.accuracy, [0.5, 2 / 3], atol=tol(1e-6, 1e-12))
    np.testing.assert_array_equal(found.count, [2, 3])
    assert float(found.error) == pytest.approx((2 * 0.1 + 3 * (0.9 - 2 / 3)) / 5, abs=tol(1e-6, 1e-12))
    np.testing.assert_allclose(found.edges, [0, 0.5, 1])
    empty = reliability([0.0, 1.0], [0, 1], bins=4)
    np.testing.assert_array_equal(empty.count, [1, 0, 0, 1])
    assert np.isnan(empty.accuracy[1])
    assert float(empty.error) == 0


def test_calibration_of_an_honest_and_a_boasting_network():
    """Answers drawn from the softmax itself are calibrated up to sampling; with doubled logits they boast."""
    y = RNG.normal(size=(20_000, 1, 4)) * 1.5
    labels = (softmax(y[:, 0]).cumsum(-1) > RNG.random((20_000, 1))).argmax(-1)
    honest, boasting = (calibration_curve(scale * y, labels) for scale in (1.0, 2.0))
    assert float(honest.error[0]) < 0.012
    assert float(boasting.error[0]) > 0.1
    filled = np.asarray(boasting.count[0]) > 200
    assert np.all(np.asarray(boasting.confidence - boasting.accuracy)[0][filled][1:] > 0.03)


def test_calibration_by_tick_equals_a_loop():
    found = calibration_curve(LOGITS, WANTED, bins=5)
    p, said = softmax(LOGITS), LOGITS.argmax(-1)
    for t in range(6):
        mean = p[:, : t + 1].mean(1)
        conf = np.take_along_axis(mean, said[:, t, ..., None], -1)[..., 0]
        np.testing.assert_allclose(running_confidence(LOGITS)[:, t], conf, atol=1e-5)
        conf, hit = conf.ravel(), (said[:, t] == WANTED).ravel()
        error = 0.0
        for k in range(5):
            mine = (conf > k / 5) & (conf <= (k + 1) / 5)
            assert int(found.count[t, k]) == mine.sum()
            if mine.any():
                np.testing.assert_allclose(found.accuracy[t, k], hit[mine].mean(), atol=1e-5)
                np.testing.assert_allclose(found.confidence[t, k], conf[mine].mean(), atol=1e-5)
                error += mine.mean() * abs(hit[mine].mean() - conf[mine].mean())
        assert float(found.error[t]) == pytest.approx(error, abs=1e-5)


def test_certainty_histogram():
    found = certainty_histogram(SURE, bins=2)
    np.testing.assert_array_equal(found, [[2, 0], [1, 1], [2, 0], [1, 1]])  # 0.5 belongs below


def test_all_under_jit_and_compiled_once(count_compilations):
    def everything(logits, sure, labels, thresholds):
        return (prediction_modes(logits, sure), thinking_time(logits, sure, labels), tick_accuracy(logits, labels),
                early_exit_curve(logits, sure, labels, thresholds), calibration_curve(logits, labels))

    run = jax.jit(everything)
    args = [jnp.asarray(a) for a in (LOGITS, sureness(LOGITS), WANTED, np.linspace(0, 1, 5))]
    for inside, outside in zip(jax.tree.leaves(run(*args)), jax.tree.leaves(everything(*args)), strict=True):
        np.testing.assert_allclose(inside, outside, atol=1e-5)
    other = [args[0] + 1, args[1] * 0.9, args[2], args[3] * 0.5]
    with count_compilations() as count:
        jax.block_until_ready((run(*other), everything(*other)))
    assert count.compilations == 0


BAD = {
    "axes": (lambda: tick_accuracy(np.ones((3, 2)), [0, 0, 0]), ValueError, r"logits must have shape .*got \(3, 2\)"),
    "empty": (lambda: running_confidence(np.ones((3, 0, 2))), ValueError, r"logits must have .*got \(3, 0, 2\)"),
    "NaN": (lambda: tick_accuracy(HAND * np.nan, LABELS), ValueError, r"logits must be finite"),
    "labels": (lambda: tick_accuracy(LOGITS, LABELS), ValueError, r"labels must have shape \(7, 3, 2\) .*got \(2,\)"),
    "real labels": (lambda: tick_accuracy(HAND, LABELS * 1.0), TypeError, r"labels must be integers, got dtype float"),
    "no class": (lambda: calibration_curve(HAND, [0, 3]), ValueError, r"labels must be finite and in \[0, 2\]"),
    "certainties": (lambda: prediction_modes(HAND, SURE[:, :3]), ValueError,
                    r"certainties must have shape \(2, 4\) .*got \(2, 3\)"),
    "certainty": (lambda: thinking_time(HAND, SURE * np.inf), ValueError, r"certainties must be finite"),
    "threshold": (lambda: early_exit_curve(HAND, SURE, LABELS, 0.5), ValueError, r"thresholds must have shape \(K,\)"),
    "bins": (lambda: calibration_curve(HAND, LABELS, 0), ValueError, r"bins must be at least 1, got 0"),
    "shapes": (lambda: reliability([0.5, 0.5], [1]), ValueError, r"must have one shape.*got \(2,\) and \(1,\)"),
    "confidence": (lambda: reliability([1.5], [1]), ValueError, r"confidence must be finite and in \[0.0, 1.0\]"),
    "histogram": (lambda: certainty_histogram(SURE[0]), ValueError, r"certainties must have shape \(batch, ticks\)"),
    "too certain": (lambda: certainty_histogram(SURE * 2), ValueError, r"certainties must be finite and in"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
