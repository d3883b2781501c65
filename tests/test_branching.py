"""Branching factor and branching ratio: loops over spikes, processes whose m is known, and each other's absence."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.analysis.branching import branching_factor, branching_ratio

RNG = np.random.default_rng(0)


def wiring(n, density, seed=0):
    post, pre = np.nonzero(np.random.default_rng(seed).random((n, n)) < density)
    keep = pre != post
    return pre[keep].astype(np.int32), post[keep].astype(np.int32)


def loop(spikes, pre, post, window, margin):
    """Per sample, spike by spike, from lists of neighbours."""
    targets, sources = {}, {}
    for a, b in zip(pre, post, strict=True):
        targets.setdefault(a, []).append(b)
        sources.setdefault(b, []).append(a)
    out = []
    for s in spikes:
        kept = [(t, i) for t, i in zip(*np.nonzero(s), strict=True) if margin <= t < len(s) - margin]
        unit_means = []
        for n in range(s.shape[1]):
            ratios = []
            for t, i in kept:
                if i != n or not margin + window <= t < len(s) - margin - window:
                    continue
                after = sum(t + 1 <= u <= t + window and j in targets.get(n, []) for u, j in kept)
                before = sum(t - window <= u <= t - 1 and j in sources.get(n, []) for u, j in kept)
                ratios.append(after / max(1, before))
            if ratios:
                unit_means.append(np.mean(ratios))
        out.append(np.mean(unit_means) if unit_means else np.nan)
    return np.array(out)


@pytest.mark.conformance
@pytest.mark.parametrize(("window", "margin", "n_steps"), [(4, 25, 70), (2, 0, 20)])
def test_branching_factor_is_that_of_the_loop(window, margin, n_steps, tol):
    pre, post = wiring(12, 0.3)
    spikes = (RNG.random((3, n_steps, 12)) < 0.15).astype(float)
    spikes[1, :, :6] = 0.0  # units without a spike are left out of the mean
    spikes[2] = 0.0
    got = branching_factor(spikes, pre, post, window=window, margin=margin)
    want = loop(spikes, pre, post, window, margin)
    np.testing.assert_allclose(got.per_sample, want, rtol=tol(1e-5, 1e-12))
    assert float(got.value) == pytest.approx(np.nanmean(want), rel=1e-5)
    assert (int(got.n_silent), int(got.status)) == (1, 0)
    assert np.isnan(got.per_unit[1, :6]).all()


def test_branching_factor_by_hand():
    """0 -> 1, 0 -> 2, 3 -> 0. Unit 0 fires at 5 after one source spike in the window; three target spikes follow."""
    s = np.zeros((11, 4))
    s[5, 0] = 1
    s[[1, 4, 6], 3] = 1  # step 1 is in the window of length 4, 6 is after
    s[[6, 9, 10], 1] = 1  # 10 is out of the window
    s[7, 2] = 1
    edges = (np.array([0, 0, 3]), np.array([1, 2, 0]))
    got = branching_factor(s, *edges, window=4, margin=0)
    assert float(got.per_unit[0, 0]) == 3 / 2  # 6 and 9 of unit 1, 7 of unit 2, over 1 and 4 of unit 3
    assert float(branching_factor(s, *edges, window=2, margin=0).per_unit[0, 0]) == 2.0
    assert float(branching_factor(s, *edges, window=2, margin=3).per_unit[0, 0]) == 2.0  # only t = 5 is left
    assert float(got.per_unit[0, 3]) == (1 + 0) / 2  # spikes at 4 (then unit 0 at 5) and 6; 1 is no reference


def test_branching_factor_batches_and_filled_up_lists(count_compilations):
    spikes = jnp.asarray(RNG.random((2, 60, 10)) < 0.2, float)
    lists = [wiring(10, density, seed) for seed, density in enumerate((0.2, 0.4))]
    length = max(len(pre) for pre, _ in lists)
    full = [jnp.asarray([np.pad(pair[i], (0, length - len(pair[i])), constant_values=-1) for pair in lists]) for i in (0, 1)]
    batch = jax.jit(jax.vmap(branching_factor, in_axes=(None, 0, 0)))(spikes, *full)
    for member, pair in enumerate(lists):
        alone = branching_factor(spikes, *pair)
        np.testing.assert_allclose(batch.value[member], alone.value, rtol=1e-6)
    with count_compilations() as count:
        branching_factor(spikes, *lists[0])
    assert count.compilations == 0


def test_branching_factor_of_nothing_and_of_nan():
    pre, post = wiring(5, 0.5)
    assert int(branching_factor(np.zeros((60, 5)), pre, post).status) == 1
    bad = np.zeros((60, 5))
    bad[3, 2] = np.nan  # a run that diverged: outside the kept steps, and yet no number
    got = branching_factor(bad, pre, post)
    assert int(got.status) == 2
    assert np.isnan(got.value)


def branching_process(m, n_steps, drive=20.0, seed=1):
    """A(t + 1) = Poisson(m A(t)) + Poisson(h): each unit has a Poisson number of offspring."""
    rng = np.random.default_rng(seed)
    a = np.empty(n_steps)
    a[0] = drive / (1 - m)
    for t in range(1, n_steps):
        a[t] = rng.poisson(m * a[t - 1]) + rng.poisson(drive)
    return a


@pytest.mark.parametrize(("m", "max_lag", "error"), [(0.5, 6, 0.05), (0.9, 30, 0.02), (0.98, 120, 0.01)])
def test_branching_ratio_of_a_branching_process(m, max_lag, error):
    got = branching_ratio(branching_process(m, 40_000), max_lag=max_lag)
    assert int(got.status) == 0
    assert float(got.m) == pytest.approx(m, abs=error)
    assert float(got.b) == pytest.approx(1.0, abs=0.1)
    assert float(got.tau) == pytest.approx(-1 / np.log(float(got.m)), rel=1e-4)


def test_branching_ratio_of_a_part():
    """Of each unit's spikes one in twenty is seen: the slope at lag 1 is far too small, m is not."""
    a = branching_process(0.95, 100_000)
    seen = np.random.default_rng(2).binomial(a.astype(int), 0.05)
    got = branching_ratio(seen, max_lag=60)
    b = np.var(a) * 0.05**2 / np.var(seen)  # cov(seen) = p^2 cov(A), var(seen) = p^2 var + p (1 - p) mean
    assert float(got.slopes[0]) < 0.6
    assert float(got.m) == pytest.approx(0.95, abs=0.015)
    assert float(got.b) == pytest.approx(b, abs=0.03)


@pytest.mark.conformance
def test_branching_ratio_is_least_squares(tol):
    """Slopes by np.polyfit over trials; m and b no better by SciPy from the solution on."""
    from scipy.optimize import curve_fit

    a = np.stack([branching_process(0.8, 600, seed=s) for s in (3, 4)]) + 1e4
    got = branching_ratio(a, max_lag=10, min_lag=2, dt=4.0)
    lags = np.arange(2, 11)
    slopes = [np.polyfit(a[:, :-k].ravel(), a[:, k:].ravel(), 1)[0] for k in lags]
    np.testing.assert_allclose(got.slopes, slopes, rtol=tol(2e-3, 1e-8))
    (b, m), _ = curve_fit(lambda k, b, m: b * m**k, lags, np.asarray(got.slopes, float), p0=[1.0, 0.7])
    assert float(got.m) == pytest.approx(m, abs=tol(1e-4, 1e-7))
    assert float(got.b) == pytest.approx(b, abs=tol(1e-3, 1e-6))
    assert float(got.tau) == pytest.approx(-4 / np.log(m), rel=tol(1e-3, 1e-6))
    assert float(got.residual) == pytest.approx(np.sqrt(np.mean((b * m**lags - got.slopes) ** 2)), rel=1e-2)


def test_branching_ratio_status_and_batches(count_compilations):
    a = jnp.asarray(np.stack([branching_process(0.7, 2000, seed=s) for s in (5, 6)]))
    many = jax.jit(jax.vmap(lambda x: branching_ratio(x, max_lag=8)))
    batch = many(a)
    np.testing.assert_allclose(batch.m[1], branching_ratio(a[1], max_lag=8).m, rtol=1e-4)
    with count_compilations() as count:
        branching_ratio(a[0], max_lag=8)
    assert count.compilations == 0
    assert int(branching_ratio(np.full(2000, 0.1), max_lag=8).status) == 1
    bad = many(a.at[0, 3].set(jnp.nan))
    assert int(bad.status[1]) == 0
    bad = jax.tree.map(lambda x: x[0], bad)
    assert int(bad.status) == 2
    assert np.isnan(bad.m)
    alternating = branching_ratio(np.tile([0.0, 1.0], 1000), max_lag=8)  # slopes -1, 1, ..., 1: no branching process
    np.testing.assert_allclose(alternating.slopes, np.tile([-1.0, 1.0], 4), atol=1e-3)
    assert int(alternating.status) == 3  # the best b m^k grows as fast as it may


S, E = np.zeros((60, 4)), np.array([0, 1])
BAD = {
    "short": (lambda: branching_factor(S[:58], E, E), ValueError, r"spikes must have more than 2 \(margin \+ window\) = 58 steps, got 58"),
    "one unit": (lambda: branching_factor(S[:, 0], E, E), ValueError, r"spikes must have shape .*got \(60,\)"),
    "negative": (lambda: branching_factor(S - 1, E, E), ValueError, r"spikes must be finite and in \[0.0, inf\]"),
    "index": (lambda: branching_factor(S, E, E + 3), ValueError, r"post must be finite and in \[-1, 3\]"),
    "float index": (lambda: branching_factor(S, E * 1.0, E), TypeError, r"pre must be integers, got dtype float64"),
    "matrix": (lambda: branching_factor(S, np.eye(4, dtype=int), E), ValueError, r"pre must have shape \(synapses,\), got \(4, 4\)"),
    "lengths": (lambda: branching_factor(S, E, E[:1]), ValueError, r"post must have shape \(2,\) like pre, got \(1,\)"),
    "window": (lambda: branching_factor(S, E, E, window=0), ValueError, r"window must be at least 1, got 0"),
    "margin": (lambda: branching_factor(S, E, E, margin=2.0), TypeError, r"margin must be an integer, got 2.0"),
    "counts shape": (lambda: branching_ratio(np.zeros((2, 3, 4)), max_lag=2), ValueError, r"counts must have shape \(T,\) or \(trials, T\), not empty, got \(2, 3, 4\)"),
    "few steps": (lambda: branching_ratio(np.zeros(10), max_lag=9), ValueError, r"counts must have at least max_lag \+ 2 = 11 steps, got 10"),
    "one lag": (lambda: branching_ratio(np.zeros(10), max_lag=1), ValueError, r"max_lag must be at least 2, got 1"),
    "dt": (lambda: branching_ratio(np.zeros(10), max_lag=3, dt=0.0), ValueError, r"dt must be finite and in \(0.0, inf\], got 0.0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()
