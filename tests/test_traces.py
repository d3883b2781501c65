"""Attention paths, rhythms and dead units on traces made by hand, and against NumPy loops."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from dynlab.analysis.attention_path import attention_path
from dynlab.analysis.traces import dead_units, trace_periodicity, trace_similarity

RNG = np.random.default_rng(0)
T, N = 12, 6
TICKS = np.arange(T)


def one_hot(places):
    return np.eye(N)[places]


@pytest.mark.conformance
def test_attention_that_sweeps(tol):
    """Head 0 goes forward a token every other tick, head 1 backward in one jump, head 2 looks everywhere."""
    weights = np.stack([one_hot(TICKS // 2), one_hot(np.where(TICKS < 6, 5, 1)), np.full((T, N), 1 / N)], axis=1)
    found = attention_path(weights)
    limit = tol(1e-5, 1e-12)
    np.testing.assert_allclose(found.centre[:, 0], TICKS // 2, atol=limit)
    np.testing.assert_allclose(found.centre[:, 2], (N - 1) / 2, atol=limit)
    np.testing.assert_allclose(found.entropy, np.broadcast_to([0, 0, np.log(N)], (T, 3)), atol=limit)
    np.testing.assert_array_equal(found.peak[:, :2], np.stack([TICKS // 2, np.where(TICKS < 6, 5, 1)], 1))
    lines = [np.polyfit(TICKS, centre, 1)[0] for centre in np.asarray(found.centre).T]
    np.testing.assert_allclose(found.slope, lines, atol=limit)
    assert float(found.direction[0]) == pytest.approx(np.corrcoef(TICKS, TICKS // 2)[0, 1], abs=limit)
    assert float(found.direction[1]) == pytest.approx(-np.corrcoef(TICKS, TICKS >= 6)[0, 1], abs=limit)
    assert np.isnan(found.direction[2])
    assert float(found.slope[2]) == pytest.approx(0, abs=limit)


def test_attention_equals_a_loop():
    weights = RNG.dirichlet(np.ones(N), size=(3, T, 2))
    places = np.array([10.0, 11, 13, 16, 20, 25])
    found = attention_path(2.0 * weights, places)  # dropout scales weights: their sum does not matter
    for b, t, h in np.ndindex(3, T, 2):
        w = weights[b, t, h]
        assert float(found.centre[b, t, h]) == pytest.approx(w @ places, abs=1e-4)
        assert float(found.entropy[b, t, h]) == pytest.approx(-sum(w * np.log(w)), abs=1e-5)
    for b, h in np.ndindex(3, 2):
        centre = weights[b, :, h] @ places
        assert float(found.slope[b, h]) == pytest.approx(np.polyfit(TICKS, centre, 1)[0], abs=1e-4)
        assert float(found.direction[b, h]) == pytest.approx(np.corrcoef(TICKS, centre)[0, 1], abs=1e-4)
    swept = jax.vmap(attention_path)(weights)
    np.testing.assert_allclose(swept.slope, attention_path(weights).slope, atol=1e-5)
    assert np.all(np.isnan(attention_path(np.zeros((T, 1, N))).centre))


@pytest.mark.conformance
def test_rhythms(tol):
    t = np.arange(40)
    sine, faster = np.sin(2 * np.pi * 4 * t / 40), np.cos(2 * np.pi * 10 * t / 40 + 0.3)
    z = np.stack([sine + 5.0, 2 * sine + faster, (-1.0) ** t, np.full(40, 0.1), 0.25 * t + 0.5 * sine], axis=1)
    found = trace_periodicity(z, dt=0.5)
    limit = tol(1e-5, 1e-12)
    np.testing.assert_allclose(found.frequency[:3], [0.2, 0.2, 1.0], atol=limit)  # 1 / (2 dt) at most
    np.testing.assert_allclose(found.share[:3], [1.0, 4 / 5, 1.0], atol=limit)
    assert np.isnan(found.frequency[3])
    assert np.isnan(found.share[3])
    assert float(found.frequency[4]) == pytest.approx(1 / 20, abs=limit)  # the drift, unless it is taken off
    level = trace_periodicity(z, dt=0.5, detrend="line")
    assert float(level.frequency[4]) == pytest.approx(0.2, abs=limit)
    assert np.isnan(trace_periodicity(0.3 * t[:, None], detrend="line").share[0])
    batch = trace_periodicity(np.stack([z[:, :2], z[:, 1::-1]]), 0.5)
    np.testing.assert_allclose(batch.share[1], batch.share[0, ::-1], atol=limit)


def test_rhythm_equals_the_periodogram_and_chance_is_as_said():
    z = RNG.normal(size=(61, 400))
    found = trace_periodicity(z)
    power = np.abs(np.fft.fft(z - z.mean(0), axis=0)) ** 2
    half = 2 * power[1:31]
    np.testing.assert_allclose(found.share, half.max(0) / power.sum(0), atol=1e-5)
    np.testing.assert_allclose(found.frequency, (1 + half.argmax(0)) / 61, atol=1e-6)
    np.testing.assert_allclose(np.mean(found.share), (np.log(61 / 2) + 0.58) / (61 / 2), rtol=0.06)


def test_dead_units():
    z = RNG.normal(size=(5, T, 4))
    z[..., 0] = 0.7
    z[..., 1] = 3 * np.sin(TICKS)  # alive, but blind to the input
    z[..., 2] = 0.7 + 1e-5 * z[..., 2]
    found = dead_units(z)
    np.testing.assert_array_equal(found.constant, [True, False, True, False])
    np.testing.assert_array_equal(found.unresponsive, [True, True, True, False])
    np.testing.assert_allclose(found.spread, np.ptp(z, axis=(0, 1)), atol=1e-6)
    np.testing.assert_allclose(found.input_spread, np.ptp(z, axis=0).max(0), atol=1e-6)
    assert not np.any(dead_units(z, 0.0).constant[1:])
    np.testing.assert_array_equal(dead_units(1e4 * z).constant, found.constant)  # whatever the scale
    assert np.all(dead_units(np.zeros((2, 3, 4))).constant)


def test_similarity_equals_a_loop():
    z = RNG.normal(size=(3, T, 4)) + 0.5
    z[:, :, 3] = z[:1, :, 3]  # the same for all inputs
    found = trace_similarity(z)

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    want = [[np.mean([cosine(z[b, :, i], z[b, :, j]) for b in range(3)]) for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(found.units, want, atol=1e-5)
    pairs = [(0, 1), (0, 2), (1, 2)]
    want = [np.mean([cosine(z[a, :, d], z[b, :, d]) for a, b in pairs]) for d in range(4)]
    np.testing.assert_allclose(found.inputs, want, atol=1e-5)
    assert float(found.inputs[3]) == pytest.approx(1.0, abs=1e-5)
    alone = trace_similarity(z[:1])
    assert np.all(np.isnan(alone.inputs))
    dark = z.copy()
    dark[1, :, 2] = 0
    assert np.isnan(trace_similarity(dark).inputs[2])


W = np.ones((T, 2, N))
BAD = {
    "axes": (lambda: attention_path(np.ones((T, N))), ValueError, r"weights must have shape .*got \(12, 6\)"),
    "one tick": (lambda: attention_path(W[:1]), ValueError, r"at least 2 ticks"),
    "negative": (lambda: attention_path(-W), ValueError, r"weights must be finite and in \[0.0, inf\]"),
    "places": (lambda: attention_path(W, np.ones(5)), ValueError, r"coordinates must have shape \(6,\).*got \(5,\)"),
    "short": (lambda: trace_periodicity(np.ones((3, 2))), ValueError, r"at least 4 ticks .*got \(3, 2\)"),
    "one trace": (lambda: trace_periodicity(np.ones(9)), ValueError, r"z must have shape \(..., ticks, units\)"),
    "trend": (lambda: trace_periodicity(np.ones((9, 1)), detrend="sine"), ValueError, r"detrend must be one of 'mean'"),
    "NaN": (lambda: trace_periodicity(np.full((9, 1), np.nan)), ValueError, r"z must be finite"),
    "no inputs": (lambda: dead_units(np.ones((T, 4))), ValueError, r"z must have shape \(inputs, ticks, units\)"),
    "tolerance": (lambda: dead_units(W, -1.0), ValueError, r"tolerance must be finite and in \[0.0, inf\]"),
    "batch": (lambda: trace_similarity(W[None]), ValueError, r"z must have shape \(inputs, ticks, units\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
