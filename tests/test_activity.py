"""Measures of activity and balance on closed forms."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import (
    ESN,
    EIReservoir,
    balance,
    firing_rates,
    linearised_spectral_radius,
    neuronal_entropy,
    rate_error,
    saturated_fraction,
    silent_fraction,
    synchrony,
)

KEY = jax.random.key(0)


@pytest.mark.conformance
def test_rates_and_error(tol):
    states = np.stack([np.linspace(0, 1, 101), np.full(101, 0.25)], axis=1)
    np.testing.assert_allclose(firing_rates(states), [0.5, 0.25], atol=tol(1e-6, 1e-14))
    assert float(rate_error(firing_rates(states), 0.5)) == pytest.approx(0.125, abs=1e-6)
    assert float(rate_error(firing_rates(states), jnp.array([0.6, 0.05]))) == pytest.approx(0.15, abs=1e-6)


def test_entropy():
    """Uniform values have log2(bins), a constant 0, two values in turn 1 bit; a bin's edge belongs above."""
    bins = 8
    uniform = (np.arange(800) % bins + 0.5) / bins
    two = np.tile([0.0, 1.0], 400)
    assert float(neuronal_entropy(uniform[:, None], bins=bins)) == pytest.approx(3.0, abs=1e-5)
    assert float(neuronal_entropy(np.full((50, 1), 0.3))) == 0.0
    assert float(neuronal_entropy(two[:, None])) == pytest.approx(1.0, abs=1e-6)
    both = np.stack([uniform, two], axis=1)
    assert float(neuronal_entropy(both, bins=bins)) == pytest.approx(2.0, abs=1e-5)
    noise = jax.random.uniform(KEY, (3, 400, 5), minval=-0.5, maxval=1.5)  # a batch, with values outside
    want = []
    for unit in np.clip(np.asarray(noise), 0, 1).transpose(0, 2, 1).reshape(15, 400):
        p = np.histogram(unit, 50, (0, 1))[0] / 400
        want.append(-np.sum(p[p > 0] * np.log2(p[p > 0])))
    np.testing.assert_allclose(neuronal_entropy(noise), np.reshape(want, (3, 5)).mean(1), atol=1e-5)
    assert np.isnan(jax.jit(neuronal_entropy)(jnp.full((5, 2), jnp.nan)))  # a member of a sweep that diverged


def test_entropy_compiles_once(count_compilations):
    states = jax.random.uniform(KEY, (30, 4))
    neuronal_entropy(states)
    with count_compilations() as count:
        neuronal_entropy(states)
    assert count.compilations == 0
    swept = jax.vmap(lambda low: neuronal_entropy(states, low=low))(jnp.array([0.0, -1.0]))
    np.testing.assert_allclose(swept[1], neuronal_entropy(states, low=-1.0), rtol=1e-5)


def test_saturated_and_silent():
    states = np.tile([0.99, 0.96, 0.5, 0.01], (20, 1))
    assert float(saturated_fraction(states)) == 0.5
    assert float(silent_fraction(states)) == 0.25
    assert float(saturated_fraction(states, 0.98)) == 0.25


def test_synchrony():
    """One shared signal 1, independent noise 1/sqrt(N), opposite halves 0, nothing that varies 0; float32 with offset."""
    t = np.arange(2000)
    wave = 1e-3 * np.sin(0.1 * t)[:, None] + 0.9
    assert float(synchrony(np.repeat(wave, 7, axis=1))) == pytest.approx(1.0, abs=1e-3)
    noise = np.random.default_rng(0).normal(size=(2000, 100))
    assert float(synchrony(noise)) == pytest.approx(0.1, rel=0.05)
    assert float(synchrony(np.concatenate([wave, 1.8 - wave], axis=1))) < 1e-2
    assert float(synchrony(np.ones((10, 3)))) == 0.0
    assert float(synchrony(np.full((1000, 7), 0.1))) == 0.0  # its mean over time is rounded
    both = synchrony(np.stack([np.full((1000, 7), 0.1), np.repeat(np.sin(np.arange(1000.0))[:, None], 7, axis=1)]))
    np.testing.assert_allclose(both, [0.0, 1.0], atol=1e-5)  # a constant member beside one that varies


def test_balance_of_given_matrices():
    model = EIReservoir(n_units=4, in_degree=2, excitatory=0.5)
    params = model.init(KEY).replace(excitation=jnp.array([[1.0, 1.0], [2.0, 0.0], [0.0, 0.0], [1.0, 3.0]]),
                                     inhibition=jnp.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [4.0, 1.0]]))
    found = balance(model, params.replace(balance=jnp.float32(0.5)))  # inhibition acts halved
    np.testing.assert_allclose(found.per_unit, np.array([1.5, 2.0, -1.0, 1.5]) / 2.0)
    assert float(found.overall) == pytest.approx(0.5)


def test_linearised_radius_is_that_of_the_formula():
    """c diag(r(1 - r)) (A^E - A^I) at the rates that a step gives."""
    model = EIReservoir(n_units=30, in_degree=10, gain=5.0, balance=-0.2)
    params = model.init(KEY)
    state, x = jnp.full(30, 0.4), jnp.array([0.3])
    r = np.asarray(model.step(params, state, x), float)
    w = np.concatenate([params.excitation, -1.2 * np.asarray(params.inhibition)], axis=1)
    want = np.abs(np.linalg.eigvals(5.0 * (r * (1 - r))[:, None] * w)).max()
    assert linearised_spectral_radius(model, params, state, x) == pytest.approx(want, rel=1e-4)


BAD = {
    "balance of an ESN": (lambda: balance(ESN(), ESN().init(KEY)), TypeError, r"model must have the methods excitation, inhibition, .*ESN lacks excitation, inhibition"),
    "no time axis": (lambda: firing_rates(np.ones(3)), ValueError, r"states must have shape \(..., time, units\), none empty, got \(3,\)"),
    "empty": (lambda: synchrony(np.ones((0, 3))), ValueError, r"states must have shape .* got \(0, 3\)"),
    "a column of targets": (lambda: rate_error(np.ones(3), np.ones((3, 1))), ValueError, r"targets must be a number, .* got \(3, 1\)"),
    "no bins": (lambda: neuronal_entropy(np.ones((3, 3)), bins=0), ValueError, r"bins must be at least 1, got 0"),
    "empty range": (lambda: neuronal_entropy(np.ones((3, 3)), low=1.0), ValueError, r"high must be finite and in \(1.0, inf\], got 1.0"),
    "NaN level": (lambda: silent_fraction(np.ones((3, 3)), np.nan), ValueError, r"level must be finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()
