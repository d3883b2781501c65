"""Participation ratio, principal components, tangling: closed forms, NumPy roads, invariances."""

# ruff: noqa: E501
from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.analysis import geometry
from dynlab.analysis.geometry import participation_ratio, pca, pca_dim, tangling

RNG = np.random.default_rng(0)
SKEWED = RNG.exponential(size=(200, 6)) * np.array([3.0, 2.0, 1.0, 0.5, 0.1, 0.01]) + 2.0


def eigenvalue_ratio(x):
    values = np.linalg.eigvalsh(np.cov(np.asarray(x, float), rowvar=False))
    return values.sum() ** 2 / (values**2).sum()


def circle(steps, turns=1.0, radius=1.0, dt=1.0):
    """Positions and true velocities; the angular velocity too."""
    omega = 2 * np.pi * turns / (steps * dt)
    angle = omega * dt * np.arange(steps)
    position = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return position, radius * omega * np.stack([-np.sin(angle), np.cos(angle)], axis=1), omega


def distinct_index_ratio(x):
    """Averages over all distinct samples i, j, k, m: unbiased by construction, whatever the distribution."""
    total, square = 0.0, 0.0
    for i, j, k, m in itertools.permutations(range(len(x)), 4):
        a, b = x[i] - x[j], x[k] - x[m]
        total += (a @ a) * (b @ b)
        square += (a @ b) ** 2
    return total / square


@pytest.mark.conformance
def test_plain_ratio_is_that_of_the_eigenvalues(tol):
    for x in (SKEWED, SKEWED[:5]):  # the smaller Gram matrix is the other one
        np.testing.assert_allclose(participation_ratio(x, corrected=False), eigenvalue_ratio(x), rtol=tol(1e-5, 1e-12))


@pytest.mark.conformance
def test_corrected_ratio_is_that_of_the_unbiased_estimates(tol):
    for x in (SKEWED[:8], SKEWED[:5]):
        np.testing.assert_allclose(participation_ratio(x), distinct_index_ratio(x), rtol=tol(1e-4, 1e-10))


@pytest.mark.conformance
def test_isotropic_cloud():
    """n = 50, T = 100: 1/(1/50 + 1/100) = 33.3 without correction, 50 with."""
    x = np.random.default_rng(1).normal(size=(100, 100, 50))
    plain = jax.vmap(lambda v: participation_ratio(v, corrected=False))(x)
    corrected = jax.vmap(participation_ratio)(x)
    assert abs(plain.mean() - 33.3) < 0.5
    assert abs(corrected.mean() - 50.0) < 5 * corrected.std() / 10  # five standard errors of the mean of 100
    assert corrected.std() < 2.0


def test_correction_does_not_lean_on_a_normal_distribution():
    """States of a jumping unit: mostly 0, kurtosis about 100, where the correction for normal data is far off."""
    rng = np.random.default_rng(2)
    jumps = (rng.uniform(size=(100, 1000, 10)) < 0.01) * rng.normal(size=(100, 1000, 10))
    corrected = np.asarray(jax.vmap(participation_ratio)(jumps))
    h = 1.0 / np.asarray(jax.vmap(lambda v: participation_ratio(v, corrected=False))(jumps))
    normal_theory = (999 * h - 1) / (1000 - 2 * h)  # unbiased traces of normal data, T - 1 = 999
    assert abs(1.0 / np.mean(1.0 / corrected) - 10.0) < 0.5
    assert abs(1.0 / np.mean(normal_theory) - 10.0) > 0.5


@pytest.mark.conformance
def test_one_dimension_counts_as_one(tol):
    x = RNG.normal(size=(30, 1)) * RNG.normal(size=4)
    for corrected in (True, False):
        np.testing.assert_allclose(participation_ratio(x, corrected), 1.0, rtol=tol(1e-5, 1e-12))


@pytest.mark.parametrize("scale", [1e-18, 1e18])
def test_ratio_knows_no_scale_shift_or_rotation(scale):
    rotation = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
    other = (SKEWED @ rotation - 7.0) * scale
    np.testing.assert_allclose(participation_ratio(other), participation_ratio(SKEWED), rtol=1e-5)


def test_samples_that_cannot_tell_give_infinity():
    assert np.isinf(participation_ratio(np.eye(8)))  # a simplex: every pair of samples is as far apart


@pytest.mark.parametrize("value", [pytest.param(0.1, marks=pytest.mark.conformance), 1.0, 3.3])
def test_what_does_not_move_has_no_shape(value):
    """Also where the mean is not the value: 0.1 and 3.3 are no binary fractions."""
    still = np.full((64, 2), value)
    assert np.isnan(participation_ratio(still))
    assert np.isnan(tangling(still)).all()
    assert np.isnan(tangling(still, velocities=RNG.normal(size=still.shape))).all()


@pytest.mark.conformance
def test_pca_is_the_decomposition_of_the_covariance(tol):
    result = pca(SKEWED, 6)
    values, vectors = np.linalg.eigh(np.cov(SKEWED, rowvar=False))
    np.testing.assert_allclose(result.variance, values[::-1], rtol=tol(1e-4, 1e-10))
    np.testing.assert_allclose(np.abs(result.components @ vectors[:, ::-1]), np.eye(6), atol=tol(1e-4, 1e-12))
    np.testing.assert_allclose(result.total_variance, SKEWED.var(axis=0, ddof=1).sum(), rtol=tol(1e-6, 1e-12))
    np.testing.assert_allclose(result.ratio.sum(), 1.0, rtol=tol(1e-6, 1e-12))
    np.testing.assert_allclose(result.mean, SKEWED.mean(axis=0), rtol=tol(1e-6, 1e-12))
    assert result.status == 0
    assert np.all(np.asarray(result.components)[np.arange(6), np.abs(result.components).argmax(axis=1)] > 0)


@pytest.mark.conformance
def test_pca_dim_is_a_count():
    """Variances 8, 4, 2, 1, 1 of 16: cumulative 0.5, 0.75, 0.875, 0.9375, 1; above the threshold, not at it."""
    rng = np.random.default_rng(3)
    x = np.linalg.qr(rng.normal(size=(40, 6)) - 0.0)[0]
    x = np.linalg.qr(x - x.mean(axis=0))[0][:, :5] * np.sqrt([8.0, 4.0, 2.0, 1.0, 1.0])
    x = x @ np.linalg.qr(rng.normal(size=(5, 5)))[0] + 3.0
    wanted = {0.0: 1, 0.45: 1, 0.55: 2, 0.8: 3, 0.9: 4, 0.95: 5, 1.0: 5}
    for threshold, count in wanted.items():
        assert pca_dim(x, threshold) == count
    assert pca_dim(x) == 4
    assert pca_dim(np.outer(np.arange(40.0), np.arange(1.0, 6.0))) == 1  # a line: the index from 0 would say 0
    assert pca_dim(np.full((40, 5), 0.1)) == 0
    np.testing.assert_array_equal(jax.vmap(lambda t: pca_dim(x, t))(jnp.array(list(wanted))), list(wanted.values()))


def test_small_variances_survive_float32():
    """Standard deviations down to 1e-5 of the first; through a covariance in float32 the last would be noise."""
    sizes = np.geomspace(1.0, 1e-5, 6)
    cloud = RNG.normal(size=(200, 6))
    orthonormal = np.linalg.qr(cloud - cloud.mean(axis=0))[0]
    x = orthonormal * sizes @ np.linalg.qr(RNG.normal(size=(6, 6)))[0]
    np.testing.assert_allclose(np.sqrt(pca(x, 6).variance * 199), sizes, rtol=0.02)


@pytest.mark.conformance
def test_pca_projects_and_comes_back(tol):
    plane = RNG.normal(size=(50, 2)) @ RNG.normal(size=(2, 5)) + 3.0
    result = pca(plane, 2)
    scores = result.transform(plane)
    np.testing.assert_allclose(result.inverse(scores), plane, atol=tol(1e-5, 1e-12))
    np.testing.assert_allclose(np.var(scores, axis=0, ddof=1), result.variance, rtol=tol(1e-4, 1e-12))
    np.testing.assert_allclose(result.transform(plane[3]), scores[3], atol=tol(1e-5, 1e-12))
    wide = pca(SKEWED[:3], 3)  # fewer samples than dimensions
    np.testing.assert_allclose(wide.inverse(wide.transform(SKEWED[:3])), SKEWED[:3], atol=tol(1e-5, 1e-12))


def numpy_tangling(x, velocities, epsilon):
    floor = epsilon * x.var(axis=0).sum()
    speed = ((velocities[:, None] - velocities[None]) ** 2).sum(-1)
    return (speed / (((x[:, None] - x[None]) ** 2).sum(-1) + floor)).max(axis=1)


@pytest.mark.conformance
def test_tangling_is_the_definition(tol):
    x = np.cumsum(RNG.normal(size=(70, 4)), axis=0)
    for dt, epsilon in ((1.0, 0.1), (0.02, 0.01)):
        expected = numpy_tangling(x, np.gradient(x, dt, axis=0, edge_order=2), epsilon)
        np.testing.assert_allclose(tangling(x, dt, epsilon=epsilon, chunk=16), expected, rtol=tol(1e-4, 1e-10))


@pytest.mark.conformance
def test_tangling_of_a_circle(tol):
    """Q = w^2 4r^2 / (4r^2 + eps): the pair farthest apart; total variance r^2. The limit of a small eps is w^2."""
    x, velocities, omega = circle(64, radius=3.0, dt=0.1)
    for epsilon in (0.1, 1e-4):
        expected = omega**2 * 4 / (4 + epsilon)
        np.testing.assert_allclose(tangling(x, 0.1, velocities=velocities, epsilon=epsilon), expected, rtol=tol(1e-4, 1e-10))
    chord = np.sin(omega * 0.1) / 0.1  # what central differences make of the angular velocity
    inner = tangling(x, 0.1)[1:-1]
    np.testing.assert_allclose(inner, chord**2 / 1.025, rtol=0.01)  # up to the two ends, which are one-sided
    np.testing.assert_allclose(np.median(inner), chord**2 / 1.025, rtol=tol(1e-4, 1e-10))


def test_a_crossing_tangles_and_a_helix_does_not():
    angle = 2 * np.pi * np.arange(64) / 64
    eight = np.stack([np.sin(angle), np.sin(2 * angle)], axis=1)
    lifted = np.column_stack([eight, 2 * np.cos(angle)])
    assert tangling(eight).max() > 5 * tangling(lifted).max()


def test_conditions_are_compared_with_each_other():
    x, velocities, _ = circle(32)
    both = np.stack([x, x]), np.stack([velocities, -velocities])  # the same places, the other way round
    joint = tangling(both[0], velocities=both[1])
    assert joint.shape == (2, 32)
    expected = numpy_tangling(np.concatenate(both[0]), np.concatenate(both[1]), 0.1)
    np.testing.assert_allclose(joint.reshape(-1), expected, rtol=1e-4)
    assert joint.min() > 5 * tangling(x, velocities=velocities).max()


def test_vmap_is_the_loop():
    x = RNG.normal(size=(3, 20, 4))
    for call in (participation_ratio, tangling, lambda v: pca(v, 2).variance):
        np.testing.assert_allclose(jax.jit(jax.vmap(call))(x), np.stack([call(v) for v in x]), rtol=1e-4)


def test_a_second_call_does_not_compile(count_compilations):
    x = [jnp.asarray(SKEWED), jnp.asarray(SKEWED[::-1].copy())]
    for call in (participation_ratio, tangling, lambda v: pca(v, 2)):
        call(x[0])
        with count_compilations() as count:
            jax.block_until_ready(call(x[1]))
        assert count.compilations == 0


def test_nothing_raises_inside_a_trace():
    broken = np.array(SKEWED)
    broken[3, 1] = np.nan
    result = jax.jit(lambda v: pca(v, 2))(broken)
    assert result.status == 1
    assert all(np.isnan(leaf).all() for leaf in (result.components, result.variance, result.mean))
    assert np.isnan(jax.jit(participation_ratio)(broken))
    assert np.isnan(jax.jit(tangling)(broken)).all()


WITH_NAN = np.where(np.arange(200)[:, None] == 7, np.nan, SKEWED)
CASES = {
    "ratio: NaN": (lambda: participation_ratio(WITH_NAN), ValueError, r"x must be finite, got nan at index \(7, 0\)"),
    "ratio: 1-D": (lambda: participation_ratio(SKEWED[:, 0]), ValueError, r"x must have shape \(time, features\), got \(200,\)"),
    "ratio: batch": (lambda: participation_ratio(SKEWED[None]), ValueError, r"x must have shape \(time, features\), got \(1, 200, 6\)"),
    "ratio: short": (lambda: participation_ratio(SKEWED[:3]), ValueError, r"x must have at least 4 time steps, got 3"),
    "ratio: very short": (lambda: participation_ratio(SKEWED[:1], corrected=False), ValueError, r"at least 2 time steps, got 1"),
    "ratio: corrected": (lambda: participation_ratio(SKEWED, corrected="units"), ValueError, r"corrected must be one of True, False, got 'units'"),
    "ratio: complex": (lambda: participation_ratio(SKEWED + 1j), TypeError, r"x must be real numbers"),
    "pca: k > n": (lambda: pca(SKEWED, 7), ValueError, r"k must be in \[1, 6\], got 7"),
    "pca: k > T": (lambda: pca(SKEWED[:3], 4), ValueError, r"k must be in \[1, 3\], got 4"),
    "pca: k = 0": (lambda: pca(SKEWED, 0), ValueError, r"k must be in \[1, 6\], got 0"),
    "pca: k as float": (lambda: pca(SKEWED, 2.0), TypeError, r"k must be an integer, got 2.0"),
    "pca: NaN": (lambda: pca(WITH_NAN, 2), ValueError, r"x must be finite"),
    "pca: 1-D": (lambda: pca(SKEWED[:, 0], 1), ValueError, r"x must have shape \(time, features\), got \(200,\)"),
    "pca: other width": (lambda: pca(SKEWED, 2).transform(np.ones((3, 5))), ValueError, r"x must have 6 entries along its last axis, got shape \(3, 5\)"),
    "pca: scores": (lambda: pca(SKEWED, 2).inverse(np.ones(3)), ValueError, r"scores must have 2 entries along its last axis, got shape \(3,\)"),
    "tangling: short": (lambda: tangling(SKEWED[:2]), ValueError, r"x must have at least 3 time steps, got 2"),
    "tangling: 1-D": (lambda: tangling(SKEWED[:, 0]), ValueError, r"x must have shape .*got \(200,\)"),
    "tangling: NaN": (lambda: tangling(WITH_NAN), ValueError, r"x must be finite"),
    "tangling: dt": (lambda: tangling(SKEWED, 0.0), ValueError, r"dt must be finite and in \(0.0, inf\], got 0.0"),
    "tangling: epsilon": (lambda: tangling(SKEWED, epsilon=0.0), ValueError, r"epsilon must be finite and in \(0.0, inf\], got 0.0"),
    "tangling: chunk": (lambda: tangling(SKEWED, chunk=0), ValueError, r"chunk must be at least 1, got 0"),
    "tangling: velocities": (lambda: tangling(SKEWED, velocities=SKEWED[1:]), ValueError, r"velocities must have the shape of x, \(200, 6\), got \(199, 6\)"),
}
PROGRAMS = (geometry._participation_ratio, geometry._pca, geometry._tangling)


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case):
    call, error, message = CASES[case]
    if case not in ("pca: other width", "pca: scores"):
        compiled = [program._cache_size() for program in PROGRAMS]
        with pytest.raises(error, match=message):
            call()
        assert compiled == [program._cache_size() for program in PROGRAMS]
    else:
        with pytest.raises(error, match=message):
            call()
