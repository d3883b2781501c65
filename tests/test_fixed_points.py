"""Fixed and slow points against answers known from outside: closed forms, published points, optimistix, NumPy."""

# ruff: noqa: E501
from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo_models import LIF

from dynlab import ESN, rms_step
from dynlab.analysis import fixed_points as module
from dynlab.analysis.classify import classify
from dynlab.analysis.fixed_points import distinct, draw_starts, fixed_points, speed
from dynlab.analysis.linearize import phase_map
from dynlab.tasks import henon_map, lorenz_field

Partial = jax.tree_util.Partial


def rotated(n: int) -> np.ndarray:
    """The ground-truth network of FixedPointFinder's tests: row i is -roll(linspace(-1, 1, n), -i)."""
    return -np.stack([np.roll(np.linspace(-1, 1, n), -i) for i in range(n)])


def tanh_rows(weights, z):
    return jnp.tanh(z @ weights)


def tanh_units(gain, z):
    return jnp.tanh(gain * z)


def linear(matrix, z):
    return matrix @ z


def ghost(epsilon, z):
    return z - 0.1 * (z**2 + epsilon)


def plrnn(params, z):
    a, w, h = params
    return a * z + w @ jax.nn.relu(z) + h


def tanh_columns(weights, z):
    return jnp.tanh(weights @ z)


def normal(key, *shape):
    return jax.random.normal(key, shape)


PUBLISHED = {  # decoded from the files FixedPointFinder ships
    2: ([[0.957504, -0.957504]], 0.166372, 2.0),
    3: ([[0.949796, -0.425502, -0.879894]], 1.006406, 1.732051),
}


@pytest.mark.conformance
@pytest.mark.parametrize("n", [2, 3])
def test_published_points_of_the_rotated_network(n, key, tol):
    """Source: Golub & Sussillo 2018, doi:10.21105/joss.01003, test networks of 2 and 3 units."""
    f = Partial(tanh_rows, jnp.asarray(rotated(n), jnp.result_type(float)))
    found = fixed_points(f, normal(key, 256, n), bounded=True)
    points = classify(f, found)
    outer, radius, radius_at_zero = PUBLISHED[n]
    want = np.array([[0.0] * n, *outer, *(-np.array(outer))])
    np.testing.assert_allclose(sorted(points.z.tolist()), sorted(want.tolist()), atol=2e-6)
    at_zero = np.abs(points.z).max(axis=1) < 1e-3
    moduli = np.abs(points.modes.eigenvalues).max(axis=1)
    np.testing.assert_allclose(moduli[at_zero], radius_at_zero, atol=2e-6)
    np.testing.assert_allclose(moduli[~at_zero], radius, atol=3e-6)
    assert points.fixed.all()
    assert float(found.completeness.index_sum) == 1.0
    assert int(found.completeness.status) == 0
    assert np.max(points.speed) <= tol(1e-6, 1e-14)


@pytest.mark.conformance
def test_uncoupled_units_have_all_243_points(key):
    """Five units tanh(1.5 x): 3^5 combinations of (0, +-x*), 2^5 of them stable."""
    f = Partial(tanh_units, jnp.asarray(1.5, jnp.result_type(float)))
    found = fixed_points(f, 1.5 * normal(key, 8192, 5), bounded=True)
    points = classify(f, found)
    assert points.fixed.sum() == 243
    counts = np.bincount(points.n_unstable)
    assert counts.tolist() == [32, 80, 80, 40, 10, 1]
    assert points.kind.count("stable") == 32
    assert points.kind.count("unstable") == 1
    np.testing.assert_array_equal(points.index, (-1) ** points.n_unstable)
    assert float(found.completeness.index_sum) == 1.0
    assert int(found.hits.sum()) == int(np.sum(np.asarray(found.label) >= 0))


@pytest.mark.conformance
def test_henon_and_lorenz(key, tol):
    """Henon: x = (-0.7 +- sqrt(0.49 + 5.6)) / 2.8, both unstable. Lorenz: 0 and the two wings; at rho 22 those are stable."""
    found = fixed_points(henon_map, normal(key, 64, 2))
    points = classify(henon_map, found)
    want = (-0.7 + np.array([-1.0, 1.0]) * np.sqrt(0.49 + 5.6)) / 2.8
    np.testing.assert_allclose(np.sort(points.z[:, 0]), want, atol=tol(1e-6, 1e-12))
    assert set(points.kind) == {"saddle"}
    assert int(found.completeness.status) == 2  # not bounded: the index sum is not defined
    assert np.isnan(found.completeness.index_sum)
    starts = normal(key, 128, 3) * jnp.array([10.0, 10.0, 5.0]) + jnp.array([0.0, 0.0, 20.0])
    for rho, stable in ((22.0, 2), (28.0, 0)):
        system = phase_map(LorenzFlow(), jnp.asarray(rho, starts.dtype))
        points = classify(system.at(), fixed_points(system.at(), starts))
        wing = np.sqrt(8 * (rho - 1) / 3)
        want = [[0, 0, 0], [wing, wing, rho - 1], [-wing, -wing, rho - 1]]
        np.testing.assert_allclose(sorted(points.z.tolist()), sorted(want), atol=tol(2e-4, 1e-11))
        assert points.kind.count("stable") == stable
        assert points.kind.count("saddle") == 3 - stable
    at_zero = np.argmin(np.linalg.norm(points.z, axis=1))  # at 0: -beta and (-(s + 1) +- sqrt((s - 1)^2 + 4 s rho)) / 2
    root = np.sqrt(81 + 40 * 28)
    np.testing.assert_allclose(
        points.modes.eigenvalues[at_zero].real, [(-11 + root) / 2, -8 / 3, (-11 - root) / 2], rtol=tol(1e-4, 1e-10)
    )


class LorenzFlow:
    """The Lorenz field as a Flow whose parameter is rho."""

    smooth = True

    def init_state(self, params, key=None):
        return jnp.zeros(3)

    def vector_field(self, params, state, x):
        return lorenz_field(state, rho=params)


jax.tree_util.register_static(LorenzFlow)


@pytest.mark.conformance
def test_piecewise_linear_network_has_its_one_point(key):
    """The network of SCYFI's test (Eisenmann et al. 2023, arXiv:2310.17561): one fixed point, units on and off."""
    params = (jnp.array([-0.0222311, 0.96461297]), jnp.array([[0.0, -0.64375], [0.52505308, 0.0]]),
              jnp.array([0.37298253, -0.97931491]))
    f = Partial(plrnn, params)
    points = classify(f, fixed_points(f, 10 * normal(key, 128, 2)))
    a, w, h = (np.asarray(p, np.float64) for p in params)
    on = np.diag([1.0, 0.0])  # by hand: z = (I - A - W D)^-1 h for the pattern (on, off)
    np.testing.assert_allclose(points.z, [np.linalg.solve(np.eye(2) - np.diag(a) - w @ on, h)], rtol=1e-5)
    np.testing.assert_allclose(points.z, [[0.36487, -22.261]], atol=1e-3)
    assert not points.kink.any()


@pytest.mark.conformance
def test_line_of_fixed_points_stays_a_line(key, tol):
    """One unit eigenvalue: every start keeps its place along the null direction; no index sum is claimed."""
    f = Partial(linear, jnp.diag(jnp.array([1.0] + [0.5] * 7)))
    starts = normal(key, 64, 8)
    found = fixed_points(f, starts, bounded=True)
    np.testing.assert_allclose(found.z[:, 0], starts[:, 0], atol=tol(1e-5, 1e-12))
    np.testing.assert_allclose(found.z[:, 1:], 0.0, atol=tol(1e-5, 1e-12))
    assert np.all(found.status == 0)
    assert int(found.completeness.status) == 2
    assert "not regular" in classify(f, found).verdict


@pytest.mark.conformance
def test_ghost_is_a_slow_point_and_no_fixed_point(key, tol):
    """x - 0.1 (x^2 + eps) has no root: the slow point is 0 with speed 0.1 eps."""
    f = Partial(ghost, jnp.asarray(1e-4, jnp.result_type(float)))
    starts = normal(key, 32, 1)
    assert not fixed_points(f, starts).keep.any()
    points = classify(f, fixed_points(f, starts, max_speed=1e-3), step_scale=0.01)
    assert points.z.shape == (1, 1)
    np.testing.assert_allclose(points.z, 0.0, atol=tol(1e-4, 1e-6))
    np.testing.assert_allclose(points.speed, 1e-5, rtol=1e-3)
    np.testing.assert_allclose(points.relative_speed, 1e-3, rtol=1e-3)
    assert not points.fixed.any()
    assert "no fixed point found" in points.verdict
    assert "1 slow point" in str(points)


def test_agrees_with_optimistix(key):
    """The library solver, started where ours was, ends in the same points."""
    optimistix = pytest.importorskip("optimistix")
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(8, 8)) * 2 / np.sqrt(8), jnp.result_type(float))
    f = Partial(tanh_columns, weights)
    starts = normal(key, 64, 8)
    solver = optimistix.LevenbergMarquardt(rtol=1e-6, atol=1e-6)

    def solve(z):
        return optimistix.least_squares(lambda z, _: f(z) - z, solver, z, max_steps=100, throw=False).value

    theirs = jax.jit(jax.vmap(solve))(starts)
    found = fixed_points(f, starts, bounded=True)
    ours = np.asarray(found.z)[np.asarray(found.keep)]
    good = np.asarray(speed(f, theirs)) < 1e-5
    assert good.sum() > 32
    distance = np.linalg.norm(np.asarray(theirs)[good][:, None] - ours[None], axis=-1).min(axis=1)
    assert distance.max() < 1e-3


def test_a_bad_start_harms_no_other(key):
    f = Partial(tanh_rows, jnp.asarray(rotated(3), jnp.result_type(float)))
    starts = normal(key, 256, 3)
    spoiled = starts.at[5].set(jnp.nan).at[7].set(jnp.inf)
    a, b = fixed_points(f, starts, bounded=True), fixed_points(f, spoiled, bounded=True)
    assert b.status[5] == b.status[7] == 2
    assert b.label[5] == b.label[7] == -1
    rest = np.array([i for i in range(256) if i not in (5, 7)])
    np.testing.assert_allclose(a.z[rest], b.z[rest], atol=1e-6)
    assert int(b.completeness.status) == 0


def test_distinct_is_the_greedy_rule(key):
    """Against a plain loop: slowest first, label of the nearest kept point within the radius."""
    z = np.asarray(jax.random.randint(key, (60, 2), 0, 4), float) + 0.01 * np.asarray(normal(key, 60, 2))
    speeds = np.abs(np.asarray(normal(key, 60)))
    speeds[3] = np.nan
    keep, label, hits = distinct(jnp.asarray(z), jnp.asarray(speeds), jnp.asarray(speeds <= 1.0), 0.1)
    kept: list[int] = []
    want = np.full(60, -1)
    for i in np.argsort(np.where(np.isnan(speeds), np.inf, speeds), kind="stable"):
        if np.isnan(speeds[i]):
            continue
        near = [j for j in kept if np.linalg.norm(z[i] - z[j]) <= 0.1]
        if near:
            want[i] = min(near, key=lambda j: np.linalg.norm(z[i] - z[j]))
        elif speeds[i] <= 1.0:
            kept.append(i)
            want[i] = i
    assert sorted(np.flatnonzero(keep)) == sorted(kept)
    np.testing.assert_array_equal(label, want)
    np.testing.assert_array_equal(hits, [np.sum(want == i) if i in kept else 0 for i in range(60)])


def test_starts_are_states_or_mixtures(key):
    states = np.asarray(normal(key, 50, 3))
    single = np.asarray(draw_starts(key, states, 4000, noise=0.0, mixed=0.0))
    inside = lambda rows: np.any(np.all(np.isclose(rows[:, None], states), axis=2), axis=1)  # noqa: E731
    assert inside(single).all()
    half = np.asarray(draw_starts(key, states, 4000, noise=0.0))
    assert inside(half).sum() == 2000
    assert np.all(half <= states.max(axis=0) + 1e-6)
    mean, var = half[:2000].mean(axis=0), half[:2000].var(axis=0)
    np.testing.assert_allclose(mean, states.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(var, 0.4 * states.var(axis=0), rtol=0.15)  # E sum w_j^2 = 2 / 5 for 4 uniform weights
    noisy = np.asarray(draw_starts(key, states, 4000, noise=0.5, mixed=0.0))
    spread = np.sqrt(np.mean((states - states.mean(axis=0)) ** 2))
    np.testing.assert_allclose(noisy.var(axis=0), states.var(axis=0) + (0.5 * spread) ** 2, rtol=0.2)


def test_rms_step():
    states = np.cumsum(np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]), axis=0)
    np.testing.assert_allclose(rms_step(states), np.sqrt((25 + 1) / 2), rtol=1e-6)


def test_a_second_search_does_not_compile_again(key):
    model = ESN(n_units=6)
    params, starts = model.init(key), normal(key, 64, 6)
    for radius, u in ((0.5, 0.0), (1.5, 0.1)):
        f = phase_map(model, params.replace(spectral_radius=jnp.asarray(radius))).at(jnp.full(1, u))
        jax.block_until_ready(fixed_points(f, starts))
        size = module._fixed_points._cache_size()
    assert module._fixed_points._cache_size() == size


MODEL = ESN(n_units=6)
PARAMS = MODEL.init(jax.random.key(0))
F = phase_map(MODEL, PARAMS).at(jnp.zeros(1))
BAD_PARAMS = PARAMS.replace(bias=PARAMS.bias.at[2].set(jnp.nan))
LIF_MODEL = LIF(n_units=4)

BAD = {
    "non-finite weights": (lambda: phase_map(MODEL, BAD_PARAMS), ValueError, r"params\.bias must be finite, got 1 NaN or infinite of 6"),
    "spiking model": (lambda: phase_map(LIF_MODEL, LIF_MODEL.init(jax.random.key(0))), TypeError, r"LIF with smooth=False: use two_trajectory_exponent"),
    "not a model": (lambda: phase_map(3, PARAMS), TypeError, r"model must be a Map or a Flow.*from_step"),
    "input of a pair for one vector": (lambda: phase_map(MODEL, PARAMS).at((jnp.zeros(1), jnp.zeros(2))), ValueError, r"x must be one input of shape \(1,\), got shape \(\(1,\), \(2,\)\)"),
    "flow with dt": (lambda: classify(F, fixed_points(F, np.zeros((4, 6))), flow=True, dt=0.1), ValueError, r"dt must be None for a flow"),
    "no input": (lambda: phase_map(MODEL, PARAMS).at(), ValueError, r"x must be given for a model with input"),
    "input of other width": (lambda: phase_map(MODEL, PARAMS).at(jnp.zeros(2)), ValueError, r"x must be one input of shape \(1,\), got shape \(2,\)"),
    "starts of wrong width": (lambda: fixed_points(F, np.zeros((8, 5))), ValueError, r"starts must have 6 columns, the phase-space dimension of ESN, got shape \(8, 5\)"),
    "one start as a vector": (lambda: fixed_points(F, np.zeros(6)), ValueError, r"starts must have shape \(n_starts, n\)"),
    "no starts": (lambda: fixed_points(F, np.zeros((0, 6))), ValueError, r"starts must have shape .*got \(0, 6\)"),
    "only NaN": (lambda: fixed_points(F, np.full((4, 6), np.nan)), ValueError, r"starts must hold at least one finite row"),
    "no steps": (lambda: fixed_points(F, np.zeros((4, 6)), steps=0), ValueError, r"steps must be at least 1, got 0"),
    "negative tol": (lambda: fixed_points(F, np.zeros((4, 6)), tol=-1.0), ValueError, r"tol must be .*got -1.0"),
    "chunk 0": (lambda: fixed_points(F, np.zeros((4, 6)), chunk=0), ValueError, r"chunk must be at least 1, got 0"),
    "map without its input": (lambda: fixed_points(phase_map(MODEL, PARAMS), np.zeros((4, 6))), TypeError, r"fix its input with .at\(x\)"),
    "f changes the width": (lambda: fixed_points(Partial(linear, jnp.ones((3, 2))), np.zeros((4, 2))), ValueError, r"f must map \(n,\) to \(n,\), got \(2,\) to \(3,\)"),
    "not a function": (lambda: fixed_points(3, np.zeros((4, 6))), TypeError, r"must be a function of z"),
    "noise of starts": (lambda: draw_starts(jax.random.key(0), np.zeros((5, 2)), noise=-1.0), ValueError, r"noise must be"),
    "share of mixtures": (lambda: draw_starts(jax.random.key(0), np.zeros((5, 2)), mixed=1.5), ValueError, r"mixed must be .*got 1.5"),
    "state as one vector": (lambda: draw_starts(jax.random.key(0), np.zeros(5)), ValueError, r"states must have shape \(..., n\)"),
    "one state has no step": (lambda: rms_step(np.zeros((1, 3))), ValueError, r"T at least 2"),
    "batch of searches": (lambda: classify(F, jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), fixed_points(F, np.zeros((4, 6))))), ValueError, r"found must be one search"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


def test_everything_is_refused_inside_a_trace_only_where_it_must(key):
    with pytest.raises(TypeError, match="classify runs on the host"):
        jax.jit(lambda starts: partial(classify, F)(fixed_points(F, starts)))(jnp.zeros((4, 6)))
