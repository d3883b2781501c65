"""Classifier readouts on Gaussian classes, against direct solutions; pooling over padded sequences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.readout.classifier import logistic, pool, ridge_classifier


@pytest.fixture(scope="module")
def classes():
    """Three classes in four dimensions of very different scales, 600 samples, overlapping a little."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    centres = np.array([[0, 0, 0, 0], [3, 0, 1, 0], [0, 3, 0, -1.0]])
    return (centres[y] + rng.normal(size=(600, 4))) * np.array([1.0, 100.0, 0.01, 1.0]) + 5.0, y


def test_ridge_classifier_is_ridge_on_one_hot(classes, tol):
    x, y = classes
    fit = ridge_classifier(x, y, 0.5)
    xc, t = x - x.mean(0), np.eye(3)[y]
    w = np.linalg.solve(xc.T @ xc + 0.5 * np.eye(4), xc.T @ (t - t.mean(0)))
    np.testing.assert_allclose(fit.scores(x), xc @ w + t.mean(0), atol=tol(1e-3, 1e-10))
    assert float(fit.score(x, y)) > 0.9
    assert fit.predict(x).dtype == jnp.int32
    with pytest.raises(TypeError, match="no probabilities"):
        fit.probabilities(x)


def test_logistic_is_at_the_optimum(classes, tol):
    """The gradient of the stated objective vanishes (NumPy, float64), and two classes equal Newton's method."""
    x, y = classes
    l2 = 1e-2
    fit = logistic(x, y, l2)
    assert bool(fit.converged)
    assert 3 < int(fit.steps) < 200
    p = np.asarray(fit.probabilities(x), float)
    np.testing.assert_allclose(p.sum(-1), 1.0, rtol=1e-5)
    z = (x - x.mean(0)) / x.std(0)
    w = np.asarray(fit.readout.weights, float) * x.std(0)[:, None]
    gradient = z.T @ (p - np.eye(3)[y]) / len(y) + l2 * w
    assert np.abs(gradient).max() < tol(3e-4, 1e-6)
    assert np.abs((p - np.eye(3)[y]).mean(0)).max() < tol(3e-4, 1e-6)
    assert float(fit.score(x, y)) > 0.91


def test_two_classes_equal_newton(classes, tol):
    x, y = classes[0][classes[1] < 2], classes[1][classes[1] < 2]
    z = np.hstack([(x - x.mean(0)) / x.std(0), np.ones((len(x), 1))])
    penalty = np.diag([0.05 / 2] * 4 + [0.0])  # softmax splits the difference w evenly: l2/2 * 2 |w/2|^2
    w = np.zeros(5)
    for _ in range(30):
        p = 1 / (1 + np.exp(-z @ w))
        hessian = (z * (p * (1 - p))[:, None]).T @ z / len(y) + penalty
        w -= np.linalg.solve(hessian, z.T @ (p - y) / len(y) + penalty @ w)
    fit = logistic(x, y, 0.05)
    got = np.asarray(fit.scores(x), float)
    np.testing.assert_allclose(got[:, 1] - got[:, 0], z @ w, atol=tol(2e-2, 1e-4))


def test_separable_classes_stay_finite_and_labels_may_have_gaps():
    x = np.array([[0.0], [0.1], [5.0], [5.1]])
    for fit in (logistic(x, [0, 0, 3, 3], n_classes=5), ridge_classifier(x, [0, 0, 3, 3], n_classes=5)):
        assert fit.readout.weights.shape == (1, 5)
        np.testing.assert_array_equal(fit.predict(x), [0, 0, 3, 3])
        assert np.all(np.isfinite(fit.readout.weights))


def test_inside_jit_and_vmap(classes):
    x, y = (jnp.asarray(a) for a in classes)
    accuracy = jax.jit(jax.vmap(lambda l2: logistic(x, y, l2, n_classes=3).score(x, y)))(jnp.array([1e-3, 10.0]))
    assert accuracy[0] > 0.91
    with pytest.raises(ValueError, match="n_classes must be given when labels are traced"):
        jax.jit(lambda y: ridge_classifier(x, y).readout)(y)


def test_pool_sees_valid_steps_only(tol):
    rng = np.random.default_rng(1)
    x, lengths = rng.normal(size=(3, 7, 2)), np.array([7, 1, 4])
    padded = x.copy()
    for i, n in enumerate(lengths):
        padded[i, n:] = np.nan
    expected = {
        "mean": lambda a: a.mean(0), "sum": lambda a: a.sum(0), "max": lambda a: a.max(0), "last": lambda a: a[-1]
    }
    for how, function in expected.items():
        want = np.stack([function(x[i, :n]) for i, n in enumerate(lengths)])
        np.testing.assert_allclose(pool(padded, lengths, how), want, rtol=tol(1e-5, 1e-12))
        np.testing.assert_allclose(pool(x[0], how=how), function(x[0]), rtol=tol(1e-5, 1e-12))
    np.testing.assert_allclose(jax.jit(pool)(x, lengths)[2], x[2, :4].mean(0), rtol=tol(1e-5, 1e-12))


X, Y = np.random.default_rng(2).normal(size=(6, 2)), np.array([0, 1, 0, 1, 2, 2])


@pytest.mark.parametrize("fit", [ridge_classifier, logistic])
@pytest.mark.parametrize(
    ("x", "y", "options", "error", "match"),
    [
        (X, Y.astype(float), {}, TypeError, "labels must be integers, got dtype float64"),
        (X, np.zeros(6, int), {}, ValueError, "labels must hold at least two classes, got only 0"),
        (X, Y - 1, {}, ValueError, r"labels must be in \[0, 1\], got values from -1 to 1"),
        (X, Y, {"n_classes": 2}, ValueError, r"labels must be in \[0, 1\], got values from 0 to 2"),
        (X, Y, {"n_classes": 1}, ValueError, "n_classes must be at least 2"),
        (X, Y[:5], {}, ValueError, r"labels must have shape \(6,\), got \(5,\)"),
        (X[None], Y, {}, ValueError, "pool sequences first"),
        (X * np.nan, Y, {}, ValueError, "features must be finite"),
    ],
)
def test_bad_input(fit, x, y, options, error, match):
    with pytest.raises(error, match=match):
        fit(x, y, **options)


def test_bad_options():
    with pytest.raises(ValueError, match="l2 must be finite and in"):
        logistic(X, Y, 0.0)
    with pytest.raises(ValueError, match=r"l2 must be one number, got shape \(2,\)"):
        logistic(X, Y, np.array([0.1, 1.0]))
    with pytest.raises(ValueError, match="ridge must be one number"):
        ridge_classifier(X, Y, [1.0, 2.0])
    with pytest.raises(ValueError, match="how must be one of"):
        pool(X, how="median")
    with pytest.raises(ValueError, match=r"lengths must be finite and in \[1, 6\]"):
        pool(X[None], np.array([7]))
    with pytest.raises(TypeError, match="lengths must be integers"):
        pool(X[None], np.array([2.0]))
    with pytest.raises(ValueError, match=r"labels must have shape \(6,\)"):
        ridge_classifier(X, Y).score(X, Y[:3])
