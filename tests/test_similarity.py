"""Procrustes, kernel alignment, subspace angles: closed forms, SciPy and NumPy roads, invariances, small angles."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.spatial

from dynlab.analysis import similarity
from dynlab.analysis.similarity import cka, procrustes, subspace_angles

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)) * np.array([4.0, 3.0, 2.0, 1.0, 0.5]) + 1.0
Y = X @ RNG.normal(size=(5, 3)) + RNG.normal(size=(60, 3))


def orthogonal(n):
    return np.linalg.qr(RNG.normal(size=(n, n)))[0]


def centred(x):
    return x - x.mean(axis=0)


@pytest.mark.conformance
def test_a_rotated_copy_is_the_same(tol):
    turned = X @ orthogonal(5)
    result = procrustes(X, turned)
    assert result.angle < tol(2e-6, 1e-14)
    assert result.distance < tol(2e-6, 1e-14) * np.linalg.norm(X)
    np.testing.assert_allclose(centred(turned) @ result.rotation, centred(X), atol=tol(2e-5, 1e-12))
    np.testing.assert_allclose(cka(X, turned), 1.0, atol=tol(2e-6, 1e-12))
    np.testing.assert_allclose(cka(X, turned, debiased=True), 1.0, atol=tol(2e-6, 1e-12))
    np.testing.assert_allclose(subspace_angles(X, turned), 0.0, atol=tol(3e-6, 1e-13))


@pytest.mark.conformance
def test_procrustes_in_closed_form(tol):
    """Nuclear norm of x'y, on the host; SciPy's disparity is sin^2 of the angle."""
    a, b = centred(X), np.column_stack([centred(Y), np.zeros((60, 2))])
    nuclear = scipy.linalg.svdvals(a.T @ b).sum()
    size_a, size_b = np.linalg.norm(a), np.linalg.norm(b)
    for result in (procrustes(X, Y), procrustes(X, np.column_stack([Y, np.zeros((60, 2))]))):
        np.testing.assert_allclose(result.angle, np.arccos(nuclear / size_a / size_b), rtol=tol(1e-5, 1e-12))
        np.testing.assert_allclose(result.distance, np.sqrt(size_a**2 + size_b**2 - 2 * nuclear), rtol=tol(1e-5, 1e-12))
        np.testing.assert_allclose(np.sin(result.angle) ** 2, scipy.spatial.procrustes(X, b)[2], rtol=tol(1e-5, 1e-12))
        np.testing.assert_allclose(result.rotation @ result.rotation.T, np.eye(5), atol=tol(1e-5, 1e-12))
        np.testing.assert_allclose(np.linalg.norm(a - b @ result.rotation), result.distance, rtol=tol(1e-5, 1e-12))
        assert result.status == 0


def test_procrustes_is_a_metric():
    sets = (X, np.column_stack([Y, X[:, :2]]), np.tanh(X))
    for name in ("angle", "distance"):
        d = np.array([[getattr(procrustes(a, b), name) for b in sets] for a in sets])
        np.testing.assert_allclose(d, d.T, rtol=1e-4, atol=1e-4)
        assert d[0, 2] <= d[0, 1] + d[1, 2]
        assert d[0, 1] <= d[0, 2] + d[2, 1]
        assert d[1, 2] <= d[1, 0] + d[0, 2]


def test_what_procrustes_looks_past():
    base = procrustes(X, Y)
    moved = procrustes(X + 9.0, Y @ orthogonal(3) - 4.0)
    np.testing.assert_allclose([moved.angle, moved.distance], [base.angle, base.distance], rtol=1e-4)
    np.testing.assert_allclose(procrustes(X, 1e12 * Y).angle, base.angle, rtol=1e-4)  # angle: no scale
    np.testing.assert_allclose(procrustes(X, 3.0 * X).distance, 2.0 * np.linalg.norm(centred(X)), rtol=1e-5)
    apart = procrustes(X, X + np.array([0, 0, 0, 0, 2.0]), center=False)  # a shift counts without centring
    assert 0.01 < apart.distance <= 2.0 * np.sqrt(60)


@pytest.mark.conformance
@pytest.mark.parametrize("condition", [1e2, 1e7])
def test_small_procrustes_angles(condition, tol):
    """States whose directions differ in size by `condition`, moved by a little: the float64 answer in float32 too."""
    n, size = 30, 1e-4
    rng = np.random.default_rng(1)
    frame = np.linalg.qr(centred(rng.normal(size=(200, n))))[0]
    x = frame * np.geomspace(1, 1 / condition, n) @ orthogonal(n)
    noise = centred(rng.normal(size=x.shape))
    # what lies outside the span of x is out of reach of every rotation, so the distance is known without a fit
    noise -= frame @ (frame.T @ noise)
    noise *= size * np.linalg.norm(x) / np.linalg.norm(noise)
    result = procrustes(x, (x + noise) @ orthogonal(n))
    host = x, (x + noise)
    u, _, vt = scipy.linalg.svd(host[1].T @ host[0], lapack_driver="gesvd")
    expected = np.linalg.norm(host[0] - host[1] @ (u @ vt))
    np.testing.assert_allclose(result.distance, expected, rtol=tol(5e-3, 1e-5))
    assert procrustes(x, x @ orthogonal(n)).angle < tol(3e-6, 1e-10)


def hsic(k, m, debiased):
    """Of Gram matrices. Biased: trace of the centred; unbiased: equation 5 of Song et al. 2007."""
    n = len(k)
    if not debiased:
        h = np.eye(n) - 1.0 / n
        return np.trace(h @ k @ h @ m)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    return (np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ k @ m @ one) / (n * (n - 3))


@pytest.mark.conformance
@pytest.mark.parametrize("debiased", [False, True])
def test_cka_from_kernels(debiased, tol):
    for rows in (60, 4):  # more rows than columns, and fewer
        k, m = X[:rows] @ X[:rows].T, Y[:rows] @ Y[:rows].T
        parts = [hsic(a, b, debiased) for a, b in ((k, m), (k, k), (m, m))]
        np.testing.assert_allclose(
            cka(X[:rows], Y[:rows], debiased), parts[0] / np.sqrt(parts[1] * parts[2]), rtol=tol(1e-4, 1e-10)
        )


def test_cka_of_independent_data():
    """n = m = 40 units in T = 100 samples: (n/T) / (1 + n/T) when biased, mean near 0 when not."""
    x, y = np.random.default_rng(3).normal(size=(2, 50, 100, 40))
    plain = np.asarray(jax.vmap(cka)(x, y))
    debiased = np.asarray(jax.vmap(lambda a, b: cka(a, b, debiased=True))(x, y))
    assert abs(plain.mean() - 0.4 / 1.4) < 0.01
    assert abs(debiased.mean()) < 5 * debiased.std() / np.sqrt(50)
    assert debiased.min() < 0.0


def test_what_cka_looks_past():
    np.testing.assert_allclose(cka(3e15 * X + 5e15, Y @ orthogonal(3)), cka(X, Y), rtol=1e-5)
    np.testing.assert_allclose(cka(Y, X), cka(X, Y), rtol=1e-6)
    assert cka(X @ np.diag([1.0, 1, 1, 1, 50.0]), X) < 0.9  # but not past the sizes of the columns


def planes(angles, n=40):
    """Bases (n, k) of two spaces at these principal angles, mixed and turned at random."""
    k = len(angles)
    first, second = np.eye(n)[:, :k], np.eye(n)[:, k : 2 * k]
    other = first * np.cos(angles) + second * np.sin(angles)
    turn = orthogonal(n)
    return turn @ first @ orthogonal(k), turn @ other @ orthogonal(k)


@pytest.mark.conformance
def test_subspace_angles_that_are_known(tol):
    known = np.array([np.pi / 2, 1.2, 0.7, 1e-2, 1e-4, 1e-5, 0.0])
    x, y = planes(known)
    found = subspace_angles(x, y)
    np.testing.assert_allclose(found, known, atol=tol(1e-6, 1e-14), rtol=tol(1e-6, 1e-14))
    np.testing.assert_allclose(scipy.linalg.subspace_angles(x, y), known, atol=1e-7)  # SciPy: 3e-8 for the last, 0
    np.testing.assert_allclose(subspace_angles(y, x), found, atol=tol(1e-6, 1e-14))
    np.testing.assert_allclose(subspace_angles(x[:, :3], y), scipy.linalg.subspace_angles(x[:, :3], y), atol=tol(2e-6, 1e-12))


@pytest.mark.conformance
def test_dependent_columns_give_fewer_angles(tol):
    x, y = planes(np.array([1.2, 0.7, 0.1]))
    doubled = np.column_stack([y, y @ np.array([1.0, 2.0, 3.0])])
    four = np.column_stack([x, np.ones(40)])
    found = subspace_angles(four, doubled)
    np.testing.assert_allclose(found[:3], scipy.linalg.subspace_angles(four, y), atol=tol(1e-5, 1e-12))
    assert np.isnan(found[3])
    np.testing.assert_allclose(subspace_angles(doubled, four)[:3], found[:3], atol=tol(1e-5, 1e-12))
    np.testing.assert_allclose(subspace_angles(RNG.normal(size=(3, 5)), RNG.normal(size=(3, 6))), 0.0, atol=1e-6)


CALLS = {
    "procrustes angle": lambda a, b: procrustes(a, b).angle,
    "procrustes distance": lambda a, b: procrustes(a, b).distance,
    "cka": cka,
    "subspace_angles": subspace_angles,
}


@pytest.mark.parametrize("name", CALLS)
def test_vmap_is_the_loop_and_nothing_compiles_twice(name, count_compilations):
    call = CALLS[name]
    x, y = jnp.asarray(RNG.normal(size=(3, 20, 4))), jnp.asarray(RNG.normal(size=(3, 20, 2)))
    pairs = [(x[i], y[i]) for i in range(3)]
    call(*pairs[0])
    with count_compilations() as count:
        looped = [call(*pair) for pair in pairs]
    assert count.compilations == 0
    np.testing.assert_allclose(jax.jit(jax.vmap(call))(x, y), jnp.stack(looped), rtol=1e-4)


def test_nothing_raises_inside_a_trace():
    broken = np.array(X)
    broken[3, 1] = np.inf
    result = jax.jit(procrustes)(broken, Y)
    assert result.status == 1
    assert all(np.isnan(leaf).all() for leaf in (result.angle, result.distance, result.rotation))
    assert np.isnan(jax.jit(cka)(broken, Y))
    assert np.isnan(jax.jit(subspace_angles)(broken, Y)).all()


@pytest.mark.parametrize("value", [pytest.param(0.1, marks=pytest.mark.conformance), 1.0, 3.3])
def test_a_set_that_does_not_vary(value):
    still = np.full((60, 5), value)
    for result in (procrustes(still, Y), procrustes(X, still[:, :3])):
        assert result.status == 1
        assert np.isnan(result.angle)
    assert np.isnan(cka(still, Y))
    assert np.isnan(cka(still, Y, debiased=True))


WITH_NAN = np.where(np.arange(60)[:, None] == 7, np.nan, Y)
CASES = {}
for _name, _call in {"procrustes": procrustes, "cka": cka, "subspace_angles": subspace_angles}.items():
    CASES |= {
        f"{_name}: NaN": (lambda f=_call: f(X, WITH_NAN), ValueError, r"y must be finite, got nan at index \(7, 0\)"),
        f"{_name}: 1-D": (lambda f=_call: f(X[:, 0], Y), ValueError, r"x must have shape \(time, features\), got \(60,\)"),
        f"{_name}: length": (lambda f=_call: f(X, Y[1:]), ValueError, r"x and y must have the same length: got \(60,\) and \(59,\)"),
        f"{_name}: batch": (lambda f=_call: f(X, Y[None]), ValueError, r"y must have shape \(time, features\), got \(1, 60, 3\)"),
        f"{_name}: text": (lambda f=_call: f(X.astype(str), Y), TypeError, r"x must be real numbers"),
        f"{_name}: empty": (lambda f=_call: f(X[:, :0], Y), ValueError, r"x must not be empty, got shape \(60, 0\)"),
    }
CASES |= {
    "procrustes: short": (lambda: procrustes(X[:1], Y[:1]), ValueError, r"x must have at least 2 time steps, got 1"),
    "procrustes: center": (lambda: procrustes(X, Y, center="mean"), ValueError, r"center must be one of True, False, got 'mean'"),
    "cka: short": (lambda: cka(X[:3], Y[:3], debiased=True), ValueError, r"x must have at least 4 time steps, got 3"),
    "cka: debiased": (lambda: cka(X, Y, debiased="yes"), ValueError, r"debiased must be one of True, False, got 'yes'"),
}
PROGRAMS = (similarity._procrustes, similarity._cka, similarity._subspace_angles)


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case):
    call, error, message = CASES[case]
    compiled = [program._cache_size() for program in PROGRAMS]
    with pytest.raises(error, match=message):
        call()
    assert compiled == [program._cache_size() for program in PROGRAMS]
