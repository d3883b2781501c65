"""Features of spikes by hand and by a loop; softmax regression on soft labels at its optimum."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.readout.classifier import logistic, pool
from dynlab.readout.spikes import exponential_filter, l1_normalise, soft_label_readout, soft_labels, spike_counts

RNG = np.random.default_rng(0)
SPIKES = (RNG.random((3, 40, 5)) < 0.2).astype(float)


@pytest.mark.conformance
def test_counts_and_shares(tol):
    counts = np.array(spike_counts(SPIKES))
    np.testing.assert_array_equal(counts, SPIKES.sum(1))
    np.testing.assert_array_equal(counts, pool(SPIKES, how="sum"))
    np.testing.assert_array_equal(spike_counts(SPIKES[0]), counts[0])
    counts[1] = 0.0  # a silent sample
    shares = np.asarray(l1_normalise(counts, scale=0.5))
    np.testing.assert_allclose(shares.sum(1), [2.0, 0.0, 2.0], rtol=tol(1e-6, 1e-14))
    np.testing.assert_allclose(shares[0], counts[0] / counts[0].sum() / 0.5, rtol=tol(1e-6, 1e-14))
    np.testing.assert_allclose(l1_normalise(counts[:1], scale=0.5)[0], shares[0])  # whatever else is in the batch
    assert np.isnan(l1_normalise(jnp.array([jnp.nan, 1.0]))).all()
    gradient = jax.grad(lambda x: jnp.sum(l1_normalise(x) ** 2))(jnp.zeros(3))
    assert np.all(np.isfinite(gradient))


@pytest.mark.conformance
def test_exponential_filter_is_a_sum_over_spikes(tol):
    tau, dt = np.array([3.0, 30.0, 7.0, 1.0, 200.0]), 0.5
    got = np.asarray(exponential_filter(SPIKES, tau, dt))
    t = np.arange(40) * dt
    since = (t[:, None] - t)[..., None]  # (time, spike time, unit)
    kernel = np.where(since >= 0, np.exp(-np.abs(since) / tau), 0.0)
    np.testing.assert_allclose(got, np.einsum("tsn,bsn->btn", kernel, SPIKES), rtol=tol(1e-5, 1e-12), atol=tol(1e-6, 1e-14))
    steady = exponential_filter(np.ones((4000, 1)), 30.0)[-1, 0]
    assert float(steady) == pytest.approx(1 / (1 - np.exp(-1 / 30.0)), rel=1e-5)


def test_soft_labels():
    q = np.asarray(soft_labels(np.array([3, 0]), 10))
    want = np.exp([1.0] + [-1.0] * 9) / np.exp([1.0] + [-1.0] * 9).sum()
    np.testing.assert_allclose(q[1], want, rtol=1e-6)
    np.testing.assert_allclose(q[0, 3], 0.4509, atol=5e-5)
    np.testing.assert_allclose(np.delete(q[0], 3), 0.0610, atol=5e-5)
    assert -np.sum(q[0] * np.log(q[0])) == pytest.approx(1.8949, abs=5e-5)
    np.testing.assert_array_equal(jax.jit(soft_labels, static_argnums=1)(jnp.array([3, 0]), 10), q)


def samples(n=400, seed=1):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    centres = np.array([[0, 0, 0, 0], [3, 0, 1, 0], [0, 3, 0, -1.0]])
    return (centres[y] + rng.normal(size=(n, 4))) * np.array([1.0, 100.0, 0.01, 1.0]) + 5.0, y


def test_soft_label_readout_is_at_the_optimum(tol, count_compilations):
    """The gradient of the stated loss vanishes (NumPy, float64); the loss is above the entropy of the targets."""
    x, y = samples()
    q, l2 = np.asarray(soft_labels(y, 3), float), 1e-2
    fit = soft_label_readout(x, q, l2)
    assert bool(fit.converged)
    p = np.asarray(fit.probabilities(x), float)
    w = np.asarray(fit.readout.weights, float) * x.std(0)[:, None]
    gradient = ((x - x.mean(0)) / x.std(0)).T @ (p - q) / len(y) + l2 * w
    assert np.abs(gradient).max() < tol(3e-4, 1e-6)
    assert np.abs((p - q).mean(0)).max() < tol(3e-4, 1e-6)
    assert float(fit.score(x, y)) > 0.9
    loss, floor = -np.mean(np.sum(q * np.log(p), 1)), -np.mean(np.sum(q * np.log(q), 1))
    assert floor < loss < floor + 0.3
    arrays = jnp.asarray(x), jnp.asarray(q)
    with count_compilations() as count:
        soft_label_readout(*arrays, l2)
    assert count.compilations == 0


def test_loss_comes_down_to_its_floor_where_it_can():
    """One feature a class: the logits 1 and -1 can be reached, and the loss is the entropy of the targets, 1.8949."""
    y = np.tile(np.arange(10), 3)
    q = np.asarray(soft_labels(y, 10), float)
    fit = soft_label_readout(np.eye(10)[y], q, 1e-7, tolerance=1e-6)
    p = np.asarray(fit.probabilities(np.eye(10)[y]), float)
    assert -np.mean(np.sum(q * np.log(p), 1)) == pytest.approx(1.8949, abs=1e-4)
    np.testing.assert_allclose(p, q, atol=2e-3)


def test_hard_targets_are_logistic(tol):
    x, y = samples(seed=2)
    soft, hard = soft_label_readout(x, np.eye(3)[y], 1e-2), logistic(x, y, 1e-2)
    np.testing.assert_allclose(soft.probabilities(x), hard.probabilities(x), atol=tol(2e-3, 1e-5))


Q = np.full((4, 2), 0.5)
BAD = {
    "no time": (lambda: spike_counts(np.zeros(3)), ValueError, r"spikes must have shape \(..., time, units\), none empty, got \(3,\)"),
    "empty": (lambda: exponential_filter(np.zeros((0, 3)), 1.0), ValueError, r"spikes must have shape .* got \(0, 3\)"),
    "tau": (lambda: exponential_filter(SPIKES, 0.0), ValueError, r"tau must be finite and in \(0.0, inf\], got 0.0"),
    "taus": (lambda: exponential_filter(SPIKES, np.ones(4)), ValueError, r"tau must be a number or of shape \(5,\), got shape \(4,\)"),
    "dt": (lambda: exponential_filter(SPIKES, 1.0, -1.0), ValueError, r"dt must be finite and in \(0.0, inf\], got -1.0"),
    "scale": (lambda: l1_normalise(np.ones(3), 0.0), ValueError, r"scale must be finite and in \(0.0, inf\], got 0.0"),
    "one count": (lambda: l1_normalise(3.0), ValueError, r"counts must have shape \(..., units\), not empty, got \(\)"),
    "label": (lambda: soft_labels([2], 2), ValueError, r"labels must be finite and in \[0, 1\]"),
    "float label": (lambda: soft_labels([1.0], 2), TypeError, r"labels must be integers, got dtype float64"),
    "one class": (lambda: soft_labels([0], 1), ValueError, r"n_classes must be at least 2, got 1"),
    "labels for targets": (lambda: soft_label_readout(np.ones((4, 3)), np.arange(4)), ValueError, r"targets must have shape \(4, classes\) with at least 2 classes, got \(4,\)"),
    "no probabilities": (lambda: soft_label_readout(np.ones((4, 3)), Q * 1.5), ValueError, r"targets must have rows of sum 1, got \[0.75 0.75\]"),
    "negative": (lambda: soft_label_readout(np.ones((4, 3)), Q - 1), ValueError, r"targets must be finite and in \[0.0, 1.0\]"),
    "features": (lambda: soft_label_readout(np.ones(4), Q), ValueError, r"features must have shape \(samples, features\), got \(4,\)"),
    "l2": (lambda: soft_label_readout(np.ones((4, 3)), Q, 0.0), ValueError, r"l2 must be finite and in \(0.0, inf\], got 0.0"),
    "steps": (lambda: soft_label_readout(np.ones((4, 3)), Q, max_steps=0), ValueError, r"max_steps must be at least 1, got 0"),
    "tolerance": (lambda: soft_label_readout(np.ones((4, 3)), Q, tolerance=0.0), ValueError, r"tolerance must be finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()
