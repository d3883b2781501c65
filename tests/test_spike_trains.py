"""Measures of spike trains against loops over spikes, closed forms and the definitions written out."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.analysis.spike_trains import (
    count_correlation,
    isi_cv,
    lz76,
    lzc_norm,
    spike_times,
    van_rossum,
    victor_purpura,
)

RNG = np.random.default_rng(0)


@pytest.mark.conformance
def test_isi_cv_is_that_of_the_loop(tol):
    spikes = (RNG.random((2, 300, 5)) < [0.3, 0.1, 0.05, 0.0, 0.5]).astype(float)
    spikes[0, :, 3] = 0
    spikes[0, [10, 17], 3] = 1  # one interval has no variation
    spikes[1, :, 4] = np.arange(300) % 7 == 3
    got = np.asarray(isi_cv(spikes))
    for sample in range(2):
        for unit in range(5):
            isi = np.diff(np.flatnonzero(spikes[sample, :, unit]))
            want = isi.std() / isi.mean() if isi.size >= 2 else np.nan
            assert got[sample, unit] == pytest.approx(want, rel=tol(1e-5, 1e-12), nan_ok=True)
    assert got[1, 4] == 0.0
    assert np.isnan(got[:, 3]).all()


def test_isi_cv_of_a_bernoulli_train():
    """Geometric intervals: sqrt(1 - p)."""
    spikes = (np.random.default_rng(1).random((20_000, 2)) < [0.3, 0.02]).astype(float)
    np.testing.assert_allclose(isi_cv(spikes), np.sqrt([0.7, 0.98]), atol=0.06)
    assert np.isnan(jax.jit(isi_cv)(jnp.full((9, 1), jnp.nan)))


def test_count_correlation():
    spikes = (RNG.random((205, 4)) < 0.3).astype(float)
    spikes[:, 3] = 1.0
    got = np.asarray(count_correlation(spikes, 10))
    counts = spikes[:200].reshape(20, 10, 4).sum(1)
    np.testing.assert_allclose(got[:3, :3], np.corrcoef(counts[:, :3].T), atol=1e-5)
    assert np.isnan(got[3]).all()
    assert np.isnan(got[:, 3]).all()
    np.testing.assert_allclose(count_correlation(np.stack([spikes, spikes]), 10)[1, :3, :3], got[:3, :3])


@pytest.mark.conformance
def test_van_rossum_is_the_sum_over_pairs(tol):
    """D^2 = 1/2 sum over all pairs of sign(i) sign(j) exp(-|ti - tj| / tau), the integral done by hand."""
    tau, dt = 12.0, 0.5
    a, b = ((RNG.random((3, 200, 2)) < 0.1).astype(float) for _ in range(2))
    got = np.asarray(van_rossum(a, b, tau, dt))
    for sample in range(3):
        for unit in range(2):
            signed = (a - b)[sample, :, unit]
            t = np.arange(200) * dt
            want = 0.5 * signed @ np.exp(-np.abs(t[:, None] - t) / tau) @ signed
            assert got[sample, unit] == pytest.approx(want, rel=tol(1e-4, 1e-11))
    one, none = np.zeros((400, 1)), np.zeros((400, 1))
    one[7] = 1
    other = np.roll(one, 350, axis=0)
    assert float(van_rossum(one, none, 5.0)[0]) == pytest.approx(0.5, rel=1e-5)
    assert float(van_rossum(one, other, 5.0)[0]) == pytest.approx(1.0, rel=1e-5)
    assert float(van_rossum(one, one, 5.0)[0]) == 0.0


def test_spike_times():
    spikes = np.zeros((6, 2))
    spikes[[1, 4, 5], 0] = 1
    got = spike_times(spikes, 2, dt=0.5)
    np.testing.assert_array_equal(got.times, [[0.5, 2.0], [np.inf, np.inf]])
    np.testing.assert_array_equal(got.count, [3, 0])
    np.testing.assert_array_equal(got.status, [1, 0])
    np.testing.assert_array_equal(spike_times(spikes, 8).times[0], [1, 4, 5, *[np.inf] * 5])


def edit_distance(a, b, q):
    """The recursion itself, cell by cell."""
    g = np.zeros((len(a) + 1, len(b) + 1))
    g[:, 0], g[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            g[i, j] = min(g[i - 1, j] + 1, g[i, j - 1] + 1, g[i - 1, j - 1] + q * abs(a[i - 1] - b[j - 1]))
    return g[-1, -1]


def best_matching(a, b, q):
    """All ways to match spikes in order (a peer that knows no recursion over cells)."""
    from itertools import combinations

    best = np.inf
    for k in range(min(len(a), len(b)) + 1):
        for left in combinations(a, k):
            for right in combinations(b, k):
                moved = q * np.abs(np.array(left) - np.array(right)).sum()
                best = min(best, len(a) + len(b) - 2 * k + moved)
    return best


@pytest.mark.conformance
def test_victor_purpura(tol):
    fill = lambda x: np.pad(x, (0, 12 - len(x)), constant_values=np.inf)  # noqa: E731
    trains = [np.sort(RNG.random(n) * 10) for n in (0, 1, 4, 5, 9, 12)]
    pairs = [(a, b, q) for a in trains for b in trains for q in (0.0, 0.3, 2.0, 1e3)]
    left, right, cost = (np.stack([fill(a) for a, _, _ in pairs]), np.stack([fill(b) for _, b, _ in pairs]), np.array([q for *_, q in pairs]))
    got = np.asarray(jax.vmap(victor_purpura)(jnp.asarray(left), jnp.asarray(right), jnp.asarray(cost)))
    want = [edit_distance(a, b, q) for a, b, q in pairs]
    np.testing.assert_allclose(got, want, rtol=tol(1e-5, 1e-12), atol=tol(1e-4, 1e-10))
    assert edit_distance(trains[2], trains[3], 0.3) == pytest.approx(best_matching(trains[2], trains[3], 0.3))
    zero = [abs(len(a) - len(b)) for a, b, q in pairs if q == 0]
    np.testing.assert_allclose(got[cost == 0], zero, atol=1e-5)
    assert float(victor_purpura(trains[4], trains[2], 0.3)) == pytest.approx(edit_distance(trains[4], trains[2], 0.3), rel=1e-5)


STRINGS = {"0001101001000101": 6, "0" * 16: 2, "01" * 8: 3, "0110" * 4: 4, "1" + "0" * 15: 3, "0": 1, "01": 2, "00": 2}


def naive_lz76(s):
    """Words as substrings: extend while the word occurs in what comes before its last symbol."""
    count, start = 0, 0
    while start < len(s):
        end = start + 1
        while end <= len(s) and s[start:end] in s[: end - 1]:
            end += 1
        count, start = count + 1, end
    return count


@pytest.mark.conformance
def test_lz76_of_strings():
    for text, want in STRINGS.items():
        assert int(lz76(np.array(list(text), int))) == want == naive_lz76(text)
    batch = RNG.integers(0, 3, (20, 60))
    want = [naive_lz76("".join(map(str, row))) for row in batch]
    np.testing.assert_array_equal(jax.vmap(lz76)(jnp.asarray(batch)), want)
    assert int(lz76(np.array([True, False] * 8))) == 3
    assert int(lz76(np.tile([0.0, 1.0], 8))) == 3


@pytest.mark.parametrize(("p", "means", "spreads"), [(0.5, (1.141, 1.066), (0.041, 0.015)), (0.2, (0.849, 0.755), (0.07, 0.04)), (0.05, (0.363, 0.296), (0.07, 0.035))])
def test_lzc_of_bernoulli_trains(p, means, spreads):
    """Means of 20 draws, which a program of its own gave with other draws: within 3 standard errors of both."""
    rng = np.random.default_rng(7)
    for n, mean, spread in zip((250, 1000), means, spreads, strict=True):
        draws = jnp.asarray(rng.random((20, n)) < p, jnp.int32)
        got = jax.vmap(lzc_norm)(draws)
        assert float(jnp.mean(got)) == pytest.approx(mean, abs=3 * spread * np.sqrt(2 / 20) + 5e-4)
    assert float(got[0]) == pytest.approx(int(lz76(draws[0])) * np.log2(1000) / 1000, rel=1e-6)
    assert float(lzc_norm(draws[0], 4)) == pytest.approx(float(got[0]) / 2, rel=1e-6)


def test_second_call_does_not_compile(count_compilations):
    spikes = jnp.asarray(RNG.random((50, 3)) < 0.3, float)
    train = jnp.asarray([1.0, 2.0, jnp.inf])
    calls = (lambda: isi_cv(spikes), lambda: count_correlation(spikes, 5), lambda: van_rossum(spikes, spikes, 3.0), lambda: victor_purpura(train, train, 0.5), lambda: spike_times(spikes, 9), lambda: lz76(np.arange(9)))
    for call in calls:
        call()
    with count_compilations() as count:
        for call in calls:
            call()
    assert count.compilations == 0


S, T = np.zeros((20, 2)), np.array([1.0, 2.0])
BAD = {
    "shape": (lambda: isi_cv(np.zeros(5)), ValueError, r"spikes must have shape \(..., time, units\), none empty, got \(5,\)"),
    "no spikes": (lambda: isi_cv(S + 0.5), ValueError, r"spikes must be 0 or 1, got 0.5"),
    "one bin": (lambda: count_correlation(S, 11), ValueError, r"width must leave at least two bins of 20 steps, got 11"),
    "width": (lambda: count_correlation(S, 0), ValueError, r"width must be at least 1, got 0"),
    "room": (lambda: spike_times(S, 0), ValueError, r"max_spikes must be at least 1, got 0"),
    "lengths": (lambda: van_rossum(S, S[:5], 1.0), ValueError, r"a and b must have one shape .* got \(20, 2\) and \(5, 2\)"),
    "tau": (lambda: van_rossum(S, S, 0.0), ValueError, r"tau must be finite and in \(0.0, inf\], got 0.0"),
    "dt": (lambda: van_rossum(S, S, 1.0, -1.0), ValueError, r"dt must be finite and in \(0.0, inf\], got -1.0"),
    "order": (lambda: victor_purpura(T[::-1], T, 1.0), ValueError, r"a must be ascending times with inf behind the last"),
    "gap": (lambda: victor_purpura(T, np.array([np.inf, 1.0]), 1.0), ValueError, r"b must be ascending times"),
    "batch": (lambda: victor_purpura(T[None], T, 1.0), ValueError, r"a must have shape \(spikes,\), got \(1, 2\): batch by jax.vmap"),
    "cost": (lambda: victor_purpura(T, T, -1.0), ValueError, r"cost must be finite and in \[0.0, inf\], got -1.0"),
    "empty": (lambda: lz76(np.zeros(0, int)), ValueError, r"sequence must have shape \(n,\), not empty, got \(0,\)"),
    "fractions": (lambda: lz76(np.array([0.5, 1.0])), ValueError, r"sequence must hold whole numbers"),
    "text": (lambda: lz76(np.array(["a", "b"])), TypeError, r"sequence must be whole numbers or booleans, got dtype <U1"),
    "alphabet": (lambda: lzc_norm(np.array([0, 1]), 1), ValueError, r"n_symbols must be at least 2, got 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()
