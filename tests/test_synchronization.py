"""Synchronization: its three forms, the pairs, and decays that start on the edge of what is allowed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import tree
from dynlab.models.synchronization import (
    HeldSums,
    Pairs,
    add,
    draw_pairs,
    project_decays,
    sync_direct,
    sync_recursive,
    weighted,
)

TICKS, D, J = 50, 64, 6
KEY = jax.random.key(0)
Z = np.random.default_rng(0).normal(size=(TICKS, D))
recursive, direct = jax.jit(sync_recursive), jax.jit(sync_direct, static_argnames="window")


def by_hand(z, decay, pairs, window=None):
    """The formula, pair by pair in float64."""
    left, right = np.asarray(pairs.left), np.asarray(pairs.right)
    if pairs.crossed:
        left, right = np.array([(left[i], right[j]) for i in range(len(left)) for j in range(i, len(left))]).T
    out = np.zeros((len(z), len(left)))
    for t in range(len(z)):
        first = 0 if window is None else max(0, t + 1 - window)
        for k, (i, j) in enumerate(zip(left, right, strict=True)):
            w = np.exp(-decay[k] * (t - np.arange(first, t + 1)))
            out[t, k] = np.sum(w * z[first : t + 1, i] * z[first : t + 1, j]) / np.sqrt(w.sum())
    return out


@pytest.mark.conformance
@pytest.mark.parametrize("pairing", ["dense", "semi_dense", "random"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_three_forms_give_the_same_numbers(pairing, seed, tol):
    pairs = draw_pairs(jax.random.key(seed), pairing, D, J, n_self=2 if pairing == "random" else 0)
    z = np.random.default_rng(seed).normal(size=(TICKS, D))
    limit = tol(1e-5, 1e-12)
    for value in (0.0, 0.1, 1.0, 15.0, None):
        decay = np.random.default_rng(9).uniform(0, 2, pairs.size) if value is None else np.full(pairs.size, value)
        want = by_hand(z, decay, pairs)
        np.testing.assert_allclose(recursive(z, decay, pairs), want, rtol=0, atol=limit)
        np.testing.assert_allclose(direct(z, decay, pairs), want, rtol=0, atol=limit)
        np.testing.assert_allclose(direct(z, decay, pairs, window=TICKS), want, rtol=0, atol=limit)
    np.testing.assert_allclose(direct(z, decay, pairs, window=7), by_hand(z, decay, pairs, 7), rtol=0, atol=limit)
    last = weighted(pairs.products(jnp.asarray(z[-7:])), jnp.asarray(decay))
    np.testing.assert_allclose(last, direct(z, decay, pairs, window=7)[-1], rtol=0, atol=limit)


@pytest.mark.conformance
def test_the_start_at_the_first_product_is_the_start_from_zero(tol):
    """alpha = z_i z_j and beta = 1 at the first tick, as published."""
    pairs = draw_pairs(KEY, "random", D, J)
    products, decay = pairs.products(jnp.asarray(Z)), jnp.linspace(0, 1, J)
    sums = HeldSums(products[0], jnp.ones(J))
    for t in range(1, 5):
        sums = add(sums, products[t], decay)
    np.testing.assert_allclose(sums.value(), sync_recursive(Z, decay, pairs)[4], rtol=0, atol=tol(1e-6, 1e-14))


def test_a_decay_of_zero_divides_by_the_root_of_the_ticks():
    pairs = Pairs(jnp.array([0]), jnp.array([0]))
    np.testing.assert_allclose(sync_recursive(np.ones((9, 1)), 0.0, pairs)[:, 0], np.sqrt(np.arange(1, 10)), rtol=1e-6)


def test_pairs_are_what_their_names_say():
    dense, last = draw_pairs(KEY, "dense", 10, 3), draw_pairs(KEY, "dense", 10, 3, last=True)
    np.testing.assert_array_equal(dense.left, [0, 1, 2])
    np.testing.assert_array_equal(last.right, [7, 8, 9])
    z = jnp.arange(1.0, 11.0)
    np.testing.assert_array_equal(dense.products(z), [1, 2, 3, 4, 6, 9])
    semi = draw_pairs(KEY, "semi_dense", 10, 3)
    a, b = np.asarray(z)[np.asarray(semi.left)], np.asarray(z)[np.asarray(semi.right)]
    np.testing.assert_array_equal(semi.products(z), [a[0] * b[0], a[0] * b[1], a[0] * b[2], a[1] * b[1], a[1] * b[2],
                                                     a[2] * b[2]])
    many = draw_pairs(KEY, "random", 10, 4000, n_self=7)  # with replacement: more pairs than units
    assert many.size == 4000
    np.testing.assert_array_equal(many.left[:7], many.right[:7])
    same = np.mean(np.asarray(many.left)[7:] == np.asarray(many.right)[7:])
    assert 0.05 < same < 0.15  # one in ten by chance
    for side in (many.left, many.right):
        np.testing.assert_allclose(np.bincount(np.asarray(side), minlength=10), 400, atol=100)  # five deviations
    assert dense.size == semi.size == 6
    assert not np.array_equal(semi.left, semi.right)


def test_projected_descent_leaves_the_edge_and_comes_back_to_it():
    pairs = draw_pairs(KEY, "random", D, J)

    @jax.jit
    def slope(decay, target):
        return jax.grad(lambda r: jnp.mean((sync_recursive(Z, r, pairs) - target) ** 2))(decay)

    def descend(decay, target, n=400):
        passed = 0
        for _ in range(n):
            g = slope(decay, target)
            moved = decay - 0.02 * g / (jnp.abs(g) + 1e-2)
            decay = project_decays(moved)
            assert np.all(np.asarray(decay) >= 0)
            passed += int(np.sum(np.asarray(moved) < 0))
        return np.asarray(decay), passed

    away = sync_direct(Z, jnp.full(J, 0.5), pairs)
    assert np.all(np.asarray(slope(jnp.zeros(J), away)) != 0)  # the gradient reaches decays at 0
    np.testing.assert_allclose(descend(jnp.zeros(J), away)[0], 0.5, atol=0.02)
    back = sync_direct(Z, jnp.zeros(J), pairs)
    found, passed = descend(jnp.full(J, 0.05), back)
    np.testing.assert_allclose(found, 0.0, atol=0.01)
    assert passed > 0  # without the projection some would have left
    np.testing.assert_array_equal(project_decays(jnp.array([-1e-9, 3.0, 16.0])), [0.0, 3.0, 15.0])
    np.testing.assert_array_equal(project_decays(jnp.array([5.0]), 4.0), 4.0)


def test_what_is_phase_space():
    pairs = draw_pairs(KEY, "random", D, J)
    assert HeldSums.__dataclass_fields__["alpha"].metadata["auxiliary"]
    with pytest.raises(ValueError, match="no phase-space coordinate"):
        tree.phase(HeldSums(jnp.zeros(pairs.size), jnp.zeros(pairs.size)))


BAD = {
    "pairing": (lambda: draw_pairs(KEY, "all", D, 3), ValueError, r"pairing must be one of 'dense', .*got 'all'"),
    "J above D": (lambda: draw_pairs(KEY, "dense", 4, 5), ValueError, r"n must be in \[1, 4\], got 5"),
    "J above D, drawn": (lambda: draw_pairs(KEY, "semi_dense", 4, 5), ValueError, r"n must be in \[1, 4\], got 5"),
    "self pairs": (lambda: draw_pairs(KEY, "random", 4, 5, n_self=6), ValueError, r"n_self must be in \[0, 5\], got 6"),
    "self, dense": (lambda: draw_pairs(KEY, "dense", 4, 2, n_self=1), ValueError, r"n_self must be in \[0, 0\], got 1"),
    "window": (lambda: sync_direct(Z, 0.0, draw_pairs(KEY, "dense", D, 2), 0), ValueError, r"window must be at least"),
    "decay": (lambda: sync_direct(Z, np.ones(2), draw_pairs(KEY, "dense", D, 2)), ValueError,
              r"decay must be a scalar or of shape \(3,\)"),
    "z": (lambda: sync_recursive(Z[0], 0.0, draw_pairs(KEY, "dense", D, 2)), ValueError, r"z must have shape \(ticks"),
    "too few units": (lambda: sync_recursive(Z[:, :3], 0.0, Pairs(jnp.array([5]), jnp.array([1]))), ValueError,
                      r"z must have at least 6 units for these pairs, got 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
