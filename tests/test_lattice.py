"""Wiring: synapse counts against the exact expectation, distances, signs, input; products in every form."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.models import synapses as syn
from dynlab.models.lattice import PAIRS, Lattice, RandomInput, expected_synapse_count, lattice_sites
from dynlab.models.spike import SURROGATES, spike

KEY = jax.random.key(0)


def test_expected_counts_are_the_published_sums():
    """For 8,000, 343 and 1,000 units; rounded as the sum of all probabilities gives them."""
    for side, total, parts in ((20, 178_349, (117_668, 14_711, 44_132, 1_838)), (7, 4374, (2875, 363, 1090, 45)), (10, 16722, (11029, 1380, 4141, 172))):
        found = expected_synapse_count(Lattice(shape=(side,) * 3))
        assert found["total"] == pytest.approx(total, rel=1e-4)
        np.testing.assert_allclose([found[pair] for pair in PAIRS], parts, rtol=1e-4, atol=1.0)


def test_drawn_networks_have_these_counts():
    """1,000 units: 16,722 +- 520 in total, each type within four standard deviations; exactly 117,600 inputs."""
    lattice, wanted = Lattice(), expected_synapse_count(Lattice())
    for seed in range(3):
        w = np.asarray(lattice.matrix(jax.random.key(seed)))
        assert abs((w != 0).sum() - 16722) < 520
        kinds = np.arange(1000) >= 800
        for pair, source, target in (("EE", 0, 0), ("EI", 0, 1), ("IE", 1, 0), ("II", 1, 1)):
            count = (w[kinds == target][:, kinds == source] != 0).sum()
            assert abs(count - wanted[pair]) < 4 * np.sqrt(wanted[pair]) + 0.02 * wanted[pair]
        assert (w[:, :800] >= 0).all()
        assert (w[:, 800:] <= 0).all()
        assert (np.diagonal(w) == 0).all()
    inputs = np.asarray(RandomInput(0.15).matrix(KEY, 784, 1000))
    assert (inputs != 0).sum() == 117_600
    assert abs((inputs > 0).sum() - 58_800) < 4 * np.sqrt(117_600 / 4)


def test_probability_falls_with_distance_and_a_torus_wraps():
    line = Lattice(shape=(9,), probabilities=(1.0, 1.0, 1.0, 1.0), length=2.0)
    chance = np.asarray(line.chances(jnp.asarray(lattice_sites((9,)))))
    assert chance[0, 3] == pytest.approx(np.exp(-9 / 4), rel=1e-5)
    wrapped = np.asarray(Lattice(shape=(9,), probabilities=(1.0,) * 4, length=2.0, torus=True).chances(jnp.asarray(lattice_sites((9,)))))
    assert wrapped[0, 8] == pytest.approx(np.exp(-1 / 4), rel=1e-5)
    assert len({tuple(site) for site in np.asarray(Lattice(shape=(3, 4, 2)).positions(KEY))}) == 24


def test_weights_differ_by_type():
    w = np.asarray(Lattice(shape=(5, 5, 5), sizes=(1.0, 2.0, 3.0, 4.0), probabilities=(1.0,) * 4, length=50.0).matrix(KEY))
    assert set(w[:100, :100].ravel()) == {0.0, 1.0}
    assert set(w[100:, :100].ravel()) == {0.0, 2.0}
    assert set(w[:100, 100:].ravel()) == {0.0, -3.0}
    assert set(w[100:, 100:].ravel()) == {0.0, -4.0}


@pytest.mark.parametrize("delayed", [False, True])
def test_products_of_all_forms(delayed):
    """Whole-number weights: exact sums, so equal to a loop over synapses in every form."""
    rng = np.random.default_rng(0)
    e, n_pre, n_post, depth = 60, 7, 9, 4
    pre, post, weight = rng.integers(0, n_pre, e), rng.integers(0, n_post, e), rng.integers(-3, 4, e).astype(float)
    delay = rng.integers(0, depth, e) if delayed else None
    listed = syn.synapses(pre, post, weight, n_pre, n_post, delay)
    past = rng.integers(0, 5, (depth, n_pre)).astype(float)  # row k: k steps ago
    want = np.zeros(n_post)
    for i in range(e):
        want[post[i]] += weight[i] * past[delay[i] if delayed else 0, pre[i]]
    head = 2
    depth = syn.max_delay(listed) + 1
    ring = np.zeros((depth, n_pre))
    for k in range(depth):
        ring[(head % depth - k) % depth] = past[k]
    given = syn.Past(jnp.asarray(past[0]), jnp.asarray(ring) if delayed else None, jnp.asarray(head % depth) if delayed else None)
    for form in syn.FORMS:
        if form == "csr" and delayed:
            with pytest.raises(ValueError, match="'edges' with delays, got 'csr'"):
                syn.to_form(listed, form)
        else:
            np.testing.assert_array_equal(syn.to_form(listed, form).apply(given), want)
    back = syn.from_dense(np.asarray(syn.to_form(syn.synapses(pre, post, weight, n_pre, n_post), "dense").matrix[0]))
    assert back.n_pre == n_pre
    assert (np.diff(np.asarray(back.post)) >= 0).all()


@pytest.mark.parametrize("name", SURROGATES)
def test_surrogate_derivatives(name):
    """The step forwards, the named curve backwards; 0 without a name."""
    x = jnp.array([-0.5, -0.01, 0.0, 0.02, 0.3])
    slope = SURROGATES[name][1]
    np.testing.assert_array_equal(spike(x, name), [0, 0, 1, 1, 1])
    got = jax.vmap(jax.grad(lambda v: spike(v, name)))(x)
    z = np.asarray(x, float)
    want = {"atan": slope / 2 / (1 + (np.pi / 2 * slope * z) ** 2), "fast_sigmoid": 1 / (1 + slope * np.abs(z)) ** 2,
            "superspike": 1 / (1 + slope * np.abs(z)) ** 2, "triangular": np.maximum(0, 1 - slope * np.abs(z))}[name]
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert float(jax.grad(lambda v: spike(v))(0.1)) == 0.0


BAD = {
    "three probabilities": (lambda: Lattice(probabilities=(1, 1, 1)).validate(), ValueError, r"probabilities must hold four values"),  # type: ignore[arg-type]
    "probability above 1": (lambda: Lattice(probabilities=(1.5, 0, 0, 0)).validate(), ValueError, r"probabilities must be finite and in \[0.0, 1.0\]"),
    "no shape": (lambda: Lattice(shape=()).validate(), ValueError, r"shape must hold at least one length"),
    "share 0": (lambda: RandomInput(0.0).matrix(KEY, 3, 3), ValueError, r"share must be finite and in \(0.0, 1.0\], got 0.0"),
    "source out of range": (lambda: syn.synapses([3], [0], 1.0, 3, 3), ValueError, r"pre must be in \[0, 2\], got 3 to 3"),
    "negative delay": (lambda: syn.synapses([0], [0], 1.0, 3, 3, [-1]), ValueError, r"delay must be in \[0, inf\], got -1"),
    "fractional index": (lambda: syn.synapses([0.5], [0], 1.0, 3, 3), TypeError, r"pre must be whole numbers"),
    "lengths": (lambda: syn.synapses([0, 1], [0], 1.0, 3, 3), ValueError, r"post must have shape \(2,\) like pre, got \(1,\)"),
    "NaN weight": (lambda: syn.synapses([0], [0], [np.nan], 3, 3), ValueError, r"weight must be finite"),
    "unknown surrogate": (lambda: spike(jnp.zeros(1), "step"), ValueError, r"surrogate must be one of 'atan', .* got 'step'"),
    "slope 0": (lambda: spike(jnp.zeros(1), "atan", 0.0), ValueError, r"slope must be finite and in \(0.0, inf\], got 0.0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()
