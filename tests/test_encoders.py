"""Encoders: laws of random trains, formulas by hand, signals rebuilt from events, and no event lost."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.analysis.spike_trains import lzc_norm
from dynlab.tasks.encoders import (
    bernoulli_encode,
    delta_encode,
    latency_encode,
    markov_entropy_rate,
    markov_spikes,
    nalsm_rates,
    nalsm_scale,
    poisson_encode,
    population_encode,
)
from dynlab.tasks.events import events_to_counts, events_to_spikes

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def test_bernoulli_rates(key):
    p = np.array([[0.0, 0.2, 1.0], [0.5, 0.01, 0.9]])
    spikes = np.asarray(bernoulli_encode(key, p, 4000))
    assert spikes.shape == (2, 4000, 3)
    assert set(np.unique(spikes)) == {0.0, 1.0}
    assert np.all(np.abs(spikes.mean(1) - p) <= 4 * np.sqrt(p * (1 - p) / 4000))  # 0 and 1 exactly
    in_time = np.repeat([[0.1, 1.0]], 5, axis=0)
    in_time[3] = 0.0
    changing = np.asarray(bernoulli_encode(key, in_time))
    np.testing.assert_array_equal(changing[:, 1], [1, 1, 1, 0, 1])
    lag = spikes[1, 1:, 0] @ spikes[1, :-1, 0] / 3999
    assert lag == pytest.approx(0.25, abs=0.04)  # independent steps


def test_poisson_rates(key):
    """Rates in Hz, steps in seconds; a step of 1 / rate has a spike with probability 1 - 1/e."""
    rate, n = np.array([20.0, 1000.0, 0.0]), 8000
    spikes, counts = (np.asarray(poisson_encode(key, rate, 1e-3, n, counts=c)) for c in (False, True))
    want = 1 - np.exp(-rate * 1e-3)
    assert np.all(np.abs(spikes.mean(0) - want) <= 4 * np.sqrt(want / n))
    assert spikes.max() == 1
    assert counts.max() > 2
    np.testing.assert_allclose(counts.mean(0), rate * 1e-3, atol=4 * np.sqrt(1.0 / n))
    assert counts[:, 1].var() == pytest.approx(1.0, abs=0.1)
    ramp = np.linspace(0, 100.0, 2000)[:, None] * np.ones(5)
    trend = np.asarray(poisson_encode(key, ramp, 1e-3))
    assert trend[1000:].sum() == pytest.approx(3 * trend[:1000].sum(), rel=0.25)


@pytest.mark.conformance
def test_latency():
    x = np.array([1.0, 0.5, 0.02, 0.01, 0.0])
    spikes = np.asarray(latency_encode(x, 11))
    when = [np.flatnonzero(spikes[:, i]).tolist() for i in range(5)]
    assert when == [[0], [5], [10], [10], []]
    logs = np.asarray(latency_encode(np.stack([x, x]), 11, kind="log", threshold=0.2, tau=5.3))
    assert logs.shape == (2, 11, 5)
    want = [int(5.3 * np.log(v / (v - 0.2))) if v > 0.2 else None for v in x]
    assert [np.flatnonzero(logs[1, :, i]).tolist() for i in range(5)] == [[] if w is None else [w] for w in want]
    assert latency_encode([0.2001], 11, kind="log", threshold=0.2).sum() == 0  # would come at step 38


@pytest.mark.conformance
def test_population(tol):
    x = np.array([[0.3, -1.0], [1.0, 2.0]])
    got = np.asarray(population_encode(x, 5, low=np.array([0.0, -2.0]), high=np.array([1.0, 2.0]), beta=1.5))
    for row in range(2):
        want = []
        for channel, (low, high) in enumerate(((0.0, 1.0), (-2.0, 2.0))):
            for i in range(1, 6):
                centre, sigma = low + (2 * i - 3) / 2 * (high - low) / 3, (high - low) / 3 / 1.5
                want.append(np.exp(-((x[row, channel] - centre) ** 2) / (2 * sigma**2)))
        np.testing.assert_allclose(got[row], want, rtol=tol(1e-5, 1e-12))


@pytest.mark.conformance
def test_delta_rebuilds_the_signal(tol):
    signal = np.cumsum(RNG.normal(size=(2, 500, 3)), axis=1) + 100.0
    threshold = np.array([0.3, 0.5, 2.0])
    events = np.asarray(delta_encode(signal, threshold))
    assert events.shape == (2, 500, 6)
    rebuilt = signal[:, :1] + threshold * np.cumsum(events[..., :3] - events[..., 3:], axis=1)
    assert np.max(np.abs(rebuilt - signal) / threshold) < 1 + tol(1e-3, 1e-12)
    assert np.all(events[..., :3] * events[..., 3:] == 0)
    assert events[:, 0].sum() == 0
    slow = np.asarray(delta_encode([[0.0], [2.5], [2.5], [2.5], [-0.5]], 1.0, single=True))
    np.testing.assert_array_equal(slow, [[0, 0], [1, 0], [1, 0], [0, 0], [0, 1]])
    np.testing.assert_array_equal(delta_encode([[0.0], [2.5], [-0.5]], 1.0), [[0, 0], [2, 0], [0, 2]])


def test_markov_law(key):
    """Rate and correlation of a two-state chain, over many short trains from the first step on."""
    on, off = np.array([0.05, 0.3, 0.0]), np.array([0.2, 0.7, 0.0])
    spikes = np.asarray(markov_spikes(key, np.tile(on, (4000, 1)), off, 12))
    assert spikes.shape == (4000, 12, 3)
    rate = np.array([0.2, 0.3])
    for step in (0, 11):
        np.testing.assert_allclose(spikes[:, step, :2].mean(0), rate, atol=4 * np.sqrt(0.21 / 4000))
    both = (spikes[:, 0, :2] * spikes[:, 3, :2]).mean(0) - rate**2
    np.testing.assert_allclose(both, rate * (1 - rate) * (1 - on[:2] - off[:2]) ** 3, atol=0.02)
    assert spikes[..., 2].sum() == 0


@pytest.mark.conformance
def test_markov_entropy_rate(tol):
    """Against the entropy of all words of 10 steps less that of 9, and the complexity of a long train."""
    on, off = 0.05, 0.2
    p = np.array([[1 - on, on], [off, 1 - off]])
    start = np.array([0.8, 0.2])

    def block(n):
        words = start
        for _ in range(n - 1):
            words = (words.reshape(-1, 2)[:, :, None] * p).reshape(-1)
        return -np.sum(words * np.log2(words))

    h = float(markov_entropy_rate([on], [off])[0])
    assert h == pytest.approx(block(10) - block(9), rel=tol(1e-5, 1e-10))
    np.testing.assert_allclose(markov_entropy_rate([0.5, 0.2, 0.0, 1.0], [0.5, 0.8, 0.3, 1.0]), [1.0, 0.721928, 0.0, 0.0], atol=1e-6)


def test_complexity_tells_trains_of_one_rate_apart(key):
    """Markov and Bernoulli trains of rate 0.2: complexity comes down to the entropy rates, 0.374 and 0.722 bits a step."""
    want = np.asarray(markov_entropy_rate([0.05, 0.2], [0.2, 0.8]))
    excess = []
    for n in (1000, 8000):
        trains = markov_spikes(key, np.tile([0.05, 0.2], (6, 1)), np.array([0.2, 0.8]), n).astype(jnp.int32)
        got = np.asarray(jax.vmap(jax.vmap(lzc_norm, in_axes=1))(trains))
        assert got[:, 0].max() < got[:, 1].min() - 0.1  # the rates cannot tell them apart
        excess.append(got.mean(0) / want - 1)
    assert np.all(excess[0] > excess[1])
    assert np.all(excess[1] > 0)
    assert np.all(excess[1] < 0.12)  # it goes as 1 / log n


def test_nalsm_rates(key):
    images = RNG.random((50, 30)) ** 4
    images[7] = 0.0
    scale = nalsm_scale(images)
    total = images.sum(1, keepdims=True)
    assert scale == pytest.approx(np.nanmax(images / np.where(total > 0, total, np.nan)), rel=1e-6)
    rates = np.asarray(nalsm_rates(images, scale))
    np.testing.assert_allclose(rates, np.nan_to_num(images / np.where(total > 0, total, 1) / scale), rtol=1e-5)
    assert rates.max() == pytest.approx(1.0, rel=1e-6)
    np.testing.assert_allclose(np.delete(rates.sum(1), 7), 1 / scale, rtol=1e-5)
    np.testing.assert_allclose(nalsm_rates(images[:5], scale), rates[:5], rtol=1e-6)  # a part has the rates of the whole
    assert float(nalsm_rates(np.eye(3)[0], 0.5).max()) == 1.0  # cut, so that it can be encoded
    assert bernoulli_encode(key, rates, 20).shape == (50, 20, 30)


def histogram(times, channels, n_steps, n_channels, dt, start):
    out = np.zeros((n_steps, n_channels))
    for t, c in zip(times.tolist(), channels.tolist(), strict=True):
        out[(t - start) // dt, c] += 1
    return out


@pytest.mark.conformance
def test_no_event_is_lost():
    """Microseconds beyond 2^24, where float32 no longer counts: each event is in its step."""
    n, start = 5000, 50_000_000
    times = start + RNG.integers(0, 300_000, n)
    times[:3] = start, start + 999, start + 299_999  # both ends of the grid
    channels = RNG.integers(0, 8, n).astype(np.uint16)
    got = events_to_counts(times, channels, 300, 8, dt=1000, start=start)
    assert (int(got.frames.sum()), int(got.outside), int(got.merged), int(got.status)) == (n, 0, 0, 0)
    np.testing.assert_array_equal(got.frames, histogram(times, channels, 300, 8, 1000, start))
    binary = events_to_spikes(times, channels, 300, 8, dt=1000, start=start)
    np.testing.assert_array_equal(binary.frames, np.minimum(got.frames, 1))
    assert int(binary.frames.sum()) + int(binary.merged) == n
    assert int(binary.merged) > 0
    jitted = jax.jit(lambda t, c: events_to_counts(t, c, 300, 8, dt=1000, start=start))(jnp.asarray(times, jnp.int32), jnp.asarray(channels))
    np.testing.assert_array_equal(jitted.frames, got.frames)


def test_times_on_the_edge_of_a_step():
    """0.1 k with steps of 0.1: one event in each step (a plain floor puts 0.3 into step 2)."""
    k = np.arange(1000)
    assert np.any(np.floor(0.1 * k / 0.1) != k)
    assert np.all(events_to_counts(0.1 * k, 0 * k, 1000, 1, dt=0.1).frames == 1)
    assert np.all(events_to_counts(0.1 * (k + 70), 0 * k, 1000, 1, dt=0.1, start=7.0).frames == 1)


def test_events_outside_are_counted():
    times, channels = np.array([-1, 0, 9, 10, 5, 5, 3]), np.array([0, 0, 1, 1, 2, -1, 1])
    got = events_to_counts(times, channels, 10, 2, outside="count")
    assert (int(got.frames.sum()), int(got.outside), int(got.status)) == (3, 4, 1)
    traced = jax.jit(lambda t, c: events_to_spikes(t, c, 10, 2))(times, channels)  # nothing can be refused there
    assert (int(traced.frames.sum()), int(traced.outside), int(traced.merged), int(traced.status)) == (3, 4, 0, 1)
    none = events_to_counts(np.zeros(0), np.zeros(0, int), 10, 2)
    assert (float(none.frames.sum()), int(none.status)) == (0.0, 0)
    huge = events_to_counts(np.array([2**40, 1]), np.array([0, 2**40]), 10, 2, outside="count")
    assert int(huge.outside) == 2


def test_encoders_compile_once_and_batch(key, count_compilations):
    p = jnp.full((3, 4), 0.3)
    x = jnp.ones((7, 4))
    keys = jax.random.split(key, 2)
    calls = (
        lambda: bernoulli_encode(key, p, 10), lambda: poisson_encode(key, p, 0.1, 10), lambda: latency_encode(p, 10),
        lambda: delta_encode(x, 0.5), lambda: markov_spikes(key, p, p, 10),
    )
    for call in calls:
        call()
    with count_compilations() as count:
        for call in calls:
            call()
    assert count.compilations == 0
    together = jax.jit(jax.vmap(lambda k, q: bernoulli_encode(k, q, 10)))(keys, jnp.stack([p, p]))
    np.testing.assert_array_equal(together[1], bernoulli_encode(keys[1], p, 10))


P, T, C = np.full(3, 0.5), np.array([1, 2]), np.array([0, 1])
BAD = {
    "probability": (lambda: bernoulli_encode(KEY, P + 0.6, 5), ValueError, r"probability must be finite and in \[0.0, 1.0\]"),
    "key": (lambda: bernoulli_encode(0, P, 5), TypeError, r"key must be a typed key"),
    "number": (lambda: bernoulli_encode(KEY, 0.5, 5), ValueError, r"probability must have shape \(..., channels\), not empty, got \(\)"),
    "no time": (lambda: bernoulli_encode(KEY, P), ValueError, r"probability must have shape \(..., time, channels\) when n_steps is None, got \(3,\)"),
    "steps": (lambda: bernoulli_encode(KEY, P, 0), ValueError, r"n_steps must be at least 1, got 0"),
    "rate": (lambda: poisson_encode(KEY, -P, 1.0, 5), ValueError, r"rate must be finite and in \[0.0, inf\]"),
    "dt": (lambda: poisson_encode(KEY, P, 0.0, 5), ValueError, r"dt must be finite and in \(0.0, inf\], got 0.0"),
    "latency kind": (lambda: latency_encode(P, 5, kind="sqrt"), ValueError, r"kind must be one of 'linear', 'log', got 'sqrt'"),
    "latency value": (lambda: latency_encode(P + 1, 5), ValueError, r"values must be finite and in \[0.0, 1.0\]"),
    "latency threshold": (lambda: latency_encode(P, 5, kind="log", threshold=0.0), ValueError, r"threshold must be finite and in \(0.0, inf\], got 0.0"),
    "fields": (lambda: population_encode(P, 2), ValueError, r"n_fields must be at least 3, got 2"),
    "range": (lambda: population_encode(P, 5, low=1.0), ValueError, r"high must be above low \(1.0\), got 1.0"),
    "delta threshold": (lambda: delta_encode(np.zeros((5, 2)), 0.0), ValueError, r"threshold must be finite and in \(0.0, inf\], got 0.0"),
    "delta thresholds": (lambda: delta_encode(np.zeros((5, 2)), np.ones(3)), ValueError, r"threshold must be a number or of shape \(2,\), got shape \(3,\)"),
    "delta shape": (lambda: delta_encode(np.zeros(5), 1.0), ValueError, r"signal must have shape \(..., time, channels\), not empty, got \(5,\)"),
    "chance": (lambda: markov_spikes(KEY, P, P + 1, 5), ValueError, r"p_off must be finite and in \[0.0, 1.0\]"),
    "black": (lambda: nalsm_scale(np.zeros((2, 3))), ValueError, r"images must not all be black"),
    "scale": (lambda: nalsm_rates(P, 0.0), ValueError, r"scale must be finite and in \(0.0, inf\], got 0.0"),
    "late event": (lambda: events_to_counts(T, C, 2, 2), ValueError, r"times must be in \[0, 0 \+ 2 \* 1\) and channels in \[0, 1\]: 1 of 2 events are not, the first at index 1 \(time 2, channel 1\)"),
    "no channel": (lambda: events_to_spikes(T, C + 1, 3, 2), ValueError, r"channels in \[0, 1\]: 1 of 2 events are not.*channel 2"),
    "float channel": (lambda: events_to_spikes(T, C * 1.0, 3, 2), TypeError, r"channels must be integers, got dtype float64"),
    "event lengths": (lambda: events_to_spikes(T, C[:1], 3, 2), ValueError, r"times and channels must both have shape \(events,\), got \(2,\) and \(1,\)"),
    "event dt": (lambda: events_to_spikes(T, C, 3, 2, dt=0), ValueError, r"dt must be finite and in \(0.0, inf\], got 0"),
    "NaN time": (lambda: events_to_spikes(np.array([np.nan, 1.0]), C, 3, 2), ValueError, r"times must be finite"),
    "outside": (lambda: events_to_spikes(T, C, 3, 2, outside="drop"), ValueError, r"outside must be one of 'raise', 'count', got 'drop'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()
