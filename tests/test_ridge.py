"""Ridge: against augmented QR in float64 NumPy, in float32 on ill-conditioned states, its forms and derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import Linear, ridge


def reference(x, y, lam, intercept=True):
    """Augmented QR (np.linalg.lstsq) in float64: (weights, intercept)."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    xm, ym = (x.mean(0), y.mean(0)) if intercept else (np.zeros(x.shape[1]), np.zeros(y.shape[1]))
    n = x.shape[1]
    a = np.vstack([x - xm, np.sqrt(lam) * np.eye(n)])
    q, r = np.linalg.qr(a)
    w = np.linalg.solve(r, q[: len(x)].T @ (y - ym))
    return w, ym - xm @ w


def linear_reservoir(n, radius, n_steps, n_lags, seed=0):
    """States of a random linear reservoir (float64), with the delayed inputs as targets."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(n, n))
    w *= radius / np.abs(np.linalg.eigvals(w)).max()
    w_in, u, x = rng.uniform(-1, 1, n), rng.uniform(-1, 1, n_steps + 500), np.zeros(n)
    states = []
    for value in u:
        x = w @ x + w_in * value
        states.append(x)
    targets = np.stack([u[500 - k : 500 - k + n_steps] for k in range(1, n_lags + 1)], axis=1)
    return np.array(states[500:]), targets


def capacity(w, b, x, y):
    p = np.asarray(x, float) @ np.asarray(w, float) + np.asarray(b, float)
    p, z = p - p.mean(0), y - y.mean(0)
    return float(((p * z).sum(0) ** 2 / ((p * p).sum(0) * (z * z).sum(0))).sum())


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 12)) @ rng.normal(size=(12, 12)) + 3.0
    return x, rng.normal(size=(80, 3)) + 1.0


@pytest.mark.conformance
@pytest.mark.parametrize(
    ("method", "n", "intercept"),
    [("auto", 80, True), ("auto", 8, True), ("cholqr", 8, True), ("dual", 80, True), ("qr", 80, True), ("qr", 8, True),
     ("svd", 80, True), ("svd", 8, True), ("auto", 80, False), ("auto", 8, False)],
)
def test_every_form_equals_augmented_qr(data, method, intercept, n, tol):
    x, y = data[0][:n], data[1][:n]
    fit = ridge(x, y, 0.3, method=method, intercept=intercept)
    w, b = reference(x, y, 0.3, intercept)
    scale = np.abs(w).max()
    np.testing.assert_allclose(fit.weights, w, atol=scale * tol(1e-4, 2e-13))
    np.testing.assert_allclose(fit(x), x @ w + b, atol=tol(1e-4, 1e-12))
    assert intercept or not np.any(fit.intercept)


@pytest.mark.conformance
@pytest.mark.parametrize("method", ["auto", "dual", "svd"])
def test_ridge_array_equals_single_values(data, method, tol):
    values = np.array([1e-3, 0.1, 100.0])
    x, y = (jnp.asarray(a, jnp.result_type(float)) for a in data)
    many = ridge(x, y, values, method=method)
    assert many.weights.shape == (3, 12, 3)
    assert many.intercept.shape == (3, 3)
    for i, value in enumerate(values):
        one = ridge(x, y, value, method=method)
        np.testing.assert_allclose(many.weights[i], one.weights, atol=tol(1e-4, 1e-11))
        np.testing.assert_allclose(many.intercept[i], one.intercept, atol=tol(1e-3, 1e-11))


@pytest.mark.conformance
def test_stacked_readouts_predict_along_a_leading_axis(data, tol):
    """As many ridge values as samples: the intercepts must not be added along time; also squares, inputs and vmap."""
    x, y = data
    u, values = x[:, :2], np.array([1e-3, 0.1, 1.0, 100.0])
    many = ridge(x, y, values, squares="all", inputs=u)
    for features, inputs in ((x[:4], u[:4]), (x[:7], u[:7]), (x[0], u[0]), (x[None, :4], u[None, :4])):
        got = many(features, inputs)
        assert got.shape == (4, *features.shape[:-1], 3)
        for i in range(4):
            one = Linear(many.weights[i], many.intercept[i], squares="all", with_input=True)
            np.testing.assert_allclose(got[i], one(features, inputs), atol=tol(1e-3, 1e-11))
    series = jnp.stack([jnp.asarray(x), 2.0 * jnp.asarray(x)])
    fits = jax.vmap(lambda x: ridge(x, y, values))(series)
    assert fits.weights.shape == (2, 4, 12, 3)
    assert fits.intercept.shape == (2, 4, 3)
    each = jax.vmap(lambda fit, x: fit(x[:4]))(fits, series)
    assert each.shape == (2, 4, 4, 3)
    np.testing.assert_allclose(each[1, 2], ridge(2.0 * x, y, values[2])(2.0 * x[:4]), atol=tol(1e-3, 1e-10))
    assert fits(series[0, :5]).shape == (2, 4, 5, 3)


@pytest.mark.conformance
@pytest.mark.parametrize("lam", [1e-8, 1e-3])
def test_capacity_of_ill_conditioned_states(lam):
    """Condition number 4e16; float32 normal equations give NaN or lose a quarter of the capacity."""
    x, y = linear_reservoir(100, 0.9, 6000, 100)
    train, test = slice(0, 2000), slice(2000, None)
    expected = capacity(*reference(x[train], y[train], lam), x[test], y[test])
    for method in ("auto", "qr"):
        fit = ridge(x[train], y[train], lam, method=method)
        got = capacity(fit.weights, fit.intercept, x[test], y[test])
        assert got == pytest.approx(expected, rel=2e-3 if method == "qr" else 5e-4)
    short = slice(0, 60)  # fewer samples than units: the dual form
    w, b = reference(x[short], y[short], lam)
    fit = ridge(x[short], y[short], lam)
    np.testing.assert_allclose(fit(x[test]), x[test] @ w + b, atol=0.03)


@pytest.mark.conformance
def test_batched_series_are_pooled_with_washout_per_series(data, tol):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(4, 30, 5)), rng.normal(size=(4, 30, 2))
    fit = ridge(x, y, 0.1, washout=10)
    spoiled = x.copy()
    spoiled[:, :10] = 1e4
    pooled = ridge(x[:, 10:].reshape(-1, 5), y[:, 10:].reshape(-1, 2), 0.1)
    np.testing.assert_allclose(fit.weights, pooled.weights, atol=tol(1e-6, 1e-14))
    np.testing.assert_array_equal(ridge(spoiled, y, 0.1, washout=10).weights, fit.weights)


@pytest.mark.conformance
@pytest.mark.parametrize(("squares", "with_input"), [("none", True), ("all", True), ("even", False)])
def test_expansion_is_the_same_when_fitting_and_predicting(squares, with_input, tol):
    rng = np.random.default_rng(4)
    x, u = rng.normal(size=(200, 4)), rng.normal(size=(200, 2))
    even = np.stack([x[:, 0], x[:, 1] ** 2, x[:, 2], x[:, 3] ** 2], axis=1)
    phi = {"none": x, "all": np.hstack([x, x**2]), "even": even}[squares]
    phi = np.hstack([phi, u]) if with_input else phi
    y = phi @ rng.normal(size=(phi.shape[1], 3)) + 0.7
    fit = ridge(x, y, 1e-8, inputs=u if with_input else None, squares=squares)
    assert fit.weights.shape == (phi.shape[1], 3)
    np.testing.assert_allclose(fit(x, u), y, atol=tol(1e-3, 1e-8))
    if with_input:
        with pytest.raises(ValueError, match="inputs must be given"):
            fit(x)


@pytest.mark.conformance
@pytest.mark.parametrize(("method", "lam"), [("auto", 0.0), ("auto", 1e-12), ("svd", 0.0)])
def test_deficient_rank_is_finite_and_fits(method, lam, tol):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(100, 6))
    x = np.hstack([x, x[:, :2], np.zeros((100, 1)), np.ones((100, 1))])  # copies, a dead unit, a constant unit
    y = x[:, :6] @ rng.normal(size=(6, 2)) + 2.0
    fit = ridge(x, y, lam, method=method)
    assert np.all(np.isfinite(fit.weights))
    np.testing.assert_allclose(fit(x), y, atol=tol(1e-3, 1e-6))
    if method == "svd" and lam == 0:
        least = np.linalg.pinv(x - x.mean(0)) @ (y - y.mean(0))
        np.testing.assert_allclose(fit.weights, least, atol=tol(1e-4, 1e-10))


@pytest.mark.conformance
@pytest.mark.parametrize(("method", "n"), [("auto", 30), ("auto", 5), ("svd", 30)])
def test_derivatives_against_finite_differences(method, n, tol):
    rng = np.random.default_rng(6)
    dtype = jnp.result_type(float)
    point, way = (
        (jnp.asarray(rng.normal(size=(n, 8)), dtype), jnp.asarray(rng.normal(size=(n, 2)), dtype), jnp.array(ridges))
        for ridges in ([0.7, 3.0], [0.1, -0.2])
    )
    back = jnp.asarray(rng.normal(size=(2, 8, 2)), dtype)

    @jax.jit
    def fit(x, y, lam):
        return ridge(x, y, lam, method=method).weights

    step = tol(1e-2, 1e-5)
    ends = [fit(*(p + sign * step * d for p, d in zip(point, way, strict=True))) for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * step)
    forward = jax.jit(lambda point, way: jax.jvp(fit, point, way)[1])(point, way)
    np.testing.assert_allclose(forward, expected, atol=tol(2e-3, 1e-9))
    gradient = jax.jit(jax.grad(lambda point: jnp.vdot(back, fit(*point))))(point)
    along = sum(jnp.vdot(g, d) for g, d in zip(gradient, way, strict=True))
    np.testing.assert_allclose(along, jnp.vdot(back, forward), rtol=tol(1e-3, 1e-11))


@pytest.mark.conformance
def test_gradient_is_finite_on_ill_conditioned_states():
    x, y = linear_reservoir(60, 0.9, 1000, 40)

    def loss(x, lam):
        fit = ridge(x[:600], y[:600], lam)
        return jnp.mean((fit(x[600:]) - y[600:]) ** 2)

    x = jnp.asarray(x, jnp.result_type(float))
    grads = jax.grad(loss, argnums=(0, 1))(x, jnp.asarray(1e-6))
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in grads)


@pytest.mark.conformance
def test_under_jit_and_nested_vmap(data, tol):
    x, y = (jnp.asarray(a, jnp.result_type(float)) for a in data)
    scales, ridges = jnp.array([0.5, 1.0, 2.0]), jnp.array([0.1, 1.0])

    def fit(scale, lam):
        return ridge(scale * x, y, lam).weights

    grid = jax.jit(jax.vmap(jax.vmap(fit, in_axes=(None, 0)), in_axes=(0, None)))(scales, ridges)
    assert grid.shape == (3, 2, 12, 3)
    np.testing.assert_allclose(grid[2, 1], fit(2.0, 1.0), atol=tol(1e-5, 1e-13))
    slope = jax.vmap(jax.grad(lambda s: fit(s, 0.1).sum()))(scales)
    np.testing.assert_allclose(slope[1], jax.grad(lambda s: fit(s, 0.1).sum())(1.0), rtol=tol(1e-3, 1e-10))


def test_second_call_does_not_compile(data, count_compilations):
    x, y = (jnp.asarray(a, jnp.result_type(float)) for a in data)
    ridge(x, y, 0.1)
    with count_compilations() as count:
        ridge(2 * x, y, 0.2)
    assert count.compilations <= 1  # the eager 2 * x


def test_refit_forgets_the_old_fit(data):
    x, y = data
    first = ridge(x, y)
    second = ridge(x, 100 * y)
    np.testing.assert_allclose(second(x), 100 * first(x), rtol=1e-3, atol=1e-2)


X, Y = np.ones((10, 2)), np.ones((10, 1))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: ridge(X[:, 0], Y), r"features must have shape .*\[:, None\]"),
        (lambda: ridge(X, Y[:9]), "targets and features must have the same length"),
        (lambda: ridge(X * np.nan, Y), "features must be finite, got nan at index"),
        (lambda: ridge(X, Y / 0), "targets must be finite"),
        (lambda: ridge(X, Y, -1.0), "ridge must be finite and in"),
        (lambda: ridge(X, Y, [[1.0]]), "ridge must be a number or a one-dimensional array"),
        (lambda: ridge(X, Y, []), "ridge must be a number or a one-dimensional array"),
        (lambda: ridge(X, Y, washout=10), "washout must be smaller than the series"),
        (lambda: ridge(X, Y, inputs=X[:5]), "inputs and features must have the same length"),
        (lambda: ridge(X, Y, method="lu"), "method must be one of"),
        (lambda: ridge(X, Y, squares="odd"), "squares must be one of"),
        (lambda: ridge(X, Y)(np.ones((10, 3))), "features must expand to 2 regressors, got 3"),
        (lambda: Linear(jnp.ones((2, 1)), jnp.ones(1), squares="x")(X), "squares must be one of"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_bad_dtype():
    with pytest.raises(TypeError, match="features must be real numbers"):
        ridge(X + 1j, Y)
