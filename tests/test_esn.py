"""The echo state network against a NumPy loop, its three recurrences, and the form of its compiled step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpy_esn
import pytest

from dynlab import ESN, esn_from_arrays, simulate
from dynlab.models.activations import ACTIVATIONS
from dynlab.models.weights import TOPOLOGIES, Random

T = 1000


@pytest.fixture
def u(key):
    return np.random.default_rng(1).uniform(-1, 1, (T, 2))


@pytest.mark.conformance
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_equals_a_numpy_loop_for_every_topology(topology, key, u, tol):
    model = ESN(n_inputs=2, n_units=40, topology=topology, leak_rate=0.6, bias_scaling=0.2,
                input_scaling=jnp.array([0.5, 1.5]))
    params = model.init(key)
    run = simulate(model, params, u)
    np.testing.assert_allclose(run.outputs, numpy_esn.run(params, u), atol=tol(1e-5, 1e-12))


@pytest.mark.conformance
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equals_a_numpy_loop_for_every_activation(activation, key, u, tol):
    model = ESN(n_inputs=2, n_units=40, activation=activation, spectral_radius=0.5, leak_rate=jnp.linspace(0.2, 1, 40))
    params = model.init(key)
    expected = numpy_esn.run(params, u, activation=activation)
    np.testing.assert_allclose(simulate(model, params, u).outputs, expected, atol=tol(1e-5, 1e-12))


@pytest.mark.conformance
def test_equals_a_numpy_loop_with_feedback_and_in_a_batch(key, tol):
    rng = np.random.default_rng(2)
    u, y = rng.uniform(-1, 1, (3, T, 2)), rng.uniform(-1, 1, (3, T, 1))
    model = ESN(n_inputs=2, n_units=40, n_feedback=1, feedback_scaling=0.7)
    params = model.init(key)
    run = simulate(model, params, (u, y), washout=100)
    expected = np.stack([numpy_esn.run(params, u[b], y=y[b])[100:] for b in range(3)])
    np.testing.assert_allclose(run.outputs, expected, atol=tol(1e-5, 1e-12))
    np.testing.assert_allclose(run.state, expected[:, -1], atol=tol(1e-5, 1e-12))


@pytest.mark.conformance
def test_start_state_is_used(key, u, tol):
    model = ESN(n_inputs=2, n_units=40)
    params = model.init(key)
    start = model.init_state(params, key)
    np.testing.assert_allclose(simulate(model, params, u, state=start).outputs, numpy_esn.run(params, u, start=start),
                               atol=tol(1e-5, 1e-12))


@pytest.mark.conformance
@pytest.mark.parametrize(("topology", "forms"), [("random", ("gather",)), ("cycle", ("roll", "gather")),
                                                 ("delay_line", ("roll", "gather")), ("small_world", ("gather",))])
def test_recurrences_give_equal_results(topology, forms, key, u, tol):
    dense = ESN(n_inputs=2, n_units=50, topology=topology, recurrence="dense")
    expected = simulate(dense, dense.init(key), u).outputs
    for form in forms:
        model = dense.replace(recurrence=form)
        params = model.init(key)
        assert type(params.recurrent).__name__.lower() == form
        np.testing.assert_allclose(simulate(model, params, u).outputs, expected, atol=tol(1e-5, 1e-12))


@pytest.mark.conformance
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_unit_spectral_radius_and_one_draw_also_in_a_trace(topology, key, tol):
    model = ESN(n_inputs=2, n_units=40, topology=topology, recurrence="dense")
    keys = jax.random.split(key, 2)
    traced = jax.tree.map(np.asarray, jax.jit(jax.vmap(model.init))(keys))
    for i in range(2):
        params = model.init(keys[i])
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-3), traced, params)
        if topology != "delay_line":  # nilpotent
            for matrix, error in ((params.recurrent.matrix, tol(1e-6, 1e-12)), (traced.recurrent.matrix[i], 5e-4)):
                radius = np.abs(np.linalg.eigvals(np.asarray(matrix, np.float64))).max()
                assert radius == pytest.approx(1.0, abs=error)


def test_radius_of_large_networks(key):
    """Above 1,000 units ARPACK takes over, for dense and sparse weights; inside a trace the power estimate."""
    sparse = ESN(n_units=1100, connectivity=0.01)
    params = sparse.init(key)
    eigenvalues = np.linalg.eigvals(np.asarray(params.recurrent.dense(), np.float64))
    assert np.abs(eigenvalues).max() == pytest.approx(1.0, abs=1e-5)
    traced = jax.jit(sparse.replace(recurrence="gather").init)(key).recurrent.dense()
    ratio = np.asarray(traced)[params.recurrent.dense() != 0] / np.asarray(params.recurrent.dense())[
        params.recurrent.dense() != 0]
    assert np.median(ratio) == pytest.approx(1.0, abs=1e-2)


def test_connectivity_is_the_fraction_of_non_zeros(key):
    for connectivity in (0.05, 0.3, 1.0):
        w = np.asarray(ESN(n_units=200, connectivity=connectivity).init(key).recurrent.dense())
        assert np.mean(w != 0) == pytest.approx(connectivity, abs=1e-12)
        assert np.all((w != 0).sum(1) == round(200 * connectivity))


def test_large_sparse_draw_has_distinct_inputs(key):
    drawn = Random(connectivity=0.002).draw(key, 5000)
    indices = np.sort(np.asarray(drawn.indices), axis=0)
    assert drawn.indices.shape == (10, 5000)
    assert np.all(np.diff(indices, axis=0) > 0)
    assert indices.min() >= 0
    assert indices.max() < 5000
    counts = np.bincount(indices.ravel(), minlength=5000)
    assert counts.std() == pytest.approx(np.sqrt(10), rel=0.1)  # uniform: close to Poisson


def test_dale_signs(key):
    w = np.asarray(ESN(n_units=100, topology="dale").init(key).recurrent.dense())
    assert np.all(w[:, :80] >= 0)
    assert np.all(w[:, 80:] <= 0)
    assert (w[:, 80:] < 0).any()


def test_low_rank_has_its_rank(key):
    w = np.asarray(ESN(n_units=60, topology="low_rank").init(key).recurrent.dense(), np.float64)
    assert np.linalg.matrix_rank(w, tol=1e-4) == 2


def test_knobs_share_one_matrix_and_one_draw(key):
    base = ESN(n_units=30).init(key)
    other = ESN(n_units=30, spectral_radius=0.1, leak_rate=0.2, input_scaling=3.0, noise=0.5).init(key)
    np.testing.assert_array_equal(base.recurrent.dense(), other.recurrent.dense())
    np.testing.assert_array_equal(base.input_weights, other.input_weights)


def _products(jaxpr, found):
    """Every dot_general with its operand shapes inside scan bodies."""
    for equation in jaxpr.eqns:
        for value in equation.params.values():
            for inner in jax.tree.leaves(value, is_leaf=lambda v: hasattr(v, "jaxpr") or hasattr(v, "eqns")):
                if hasattr(inner, "jaxpr"):
                    _products(inner.jaxpr, found)
                elif hasattr(inner, "eqns"):
                    _products(inner, found)
        if equation.primitive.name == "dot_general":
            found.append(tuple(tuple(v.aval.shape) for v in equation.invars))
    return found


def test_a_sweep_over_knobs_is_one_matrix_matrix_product(key, u):
    """vmap over spectral radius, leak and input scaling at one key: one (N, N) x (N, B) product a step, no other."""
    n, b = 50, 7
    values = jnp.linspace(0.1, 0.9, b)
    models = ESN(n_inputs=2, n_units=n, spectral_radius=values, leak_rate=values, input_scaling=values)
    axes = jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) else None, models)

    def sweep(models):
        return jax.vmap(lambda m: simulate(m, m.init(key), u).outputs, in_axes=(axes,))(models)

    products = _products(jax.make_jaxpr(sweep)(models).jaxpr, [])
    recurrent = [shapes for shapes in products if (n, n) in shapes]
    assert [sorted(shapes) for shapes in recurrent] == [sorted([(n, n), (b, n)])]
    assert all(len(shape) == 2 for shapes in products for shape in shapes)  # no batched matrix-vector product
    u, axes = u[:, :1], axes.replace(n_inputs=1)
    one_channel = _products(jax.make_jaxpr(sweep)(models.replace(n_inputs=1)).jaxpr, [])
    assert [sorted(shapes) for shapes in one_channel] == [sorted([(n, n), (b, n)])]  # and no other product at all


@pytest.mark.conformance
def test_one_channel_equals_a_numpy_loop(key, u, tol):
    model = ESN(n_units=40, leak_rate=0.6, input_scaling=jnp.array([0.7]), n_feedback=1)
    params = model.init(key)
    run = simulate(model, params, (u[:, :1], u[:, 1:]))
    np.testing.assert_allclose(run.outputs, numpy_esn.run(params, u[:, :1], y=u[:, 1:]), atol=tol(1e-5, 1e-12))


def test_second_call_compiles_nothing(key, u, count_compilations):
    model = ESN(n_inputs=2, n_units=40)
    params = model.init(key)
    simulate(model, params, u)
    simulate(model, params, u, state=params.bias)
    equal = ESN(n_inputs=2, n_units=40)
    with count_compilations() as count:
        simulate(model, params, u)
        simulate(equal, params, u)
        simulate(equal.replace(spectral_radius=0.3), params, u)
        simulate(model, params, u, state=params.bias)
    assert count.compilations == 0


@pytest.mark.conformance
def test_from_arrays(key, u, tol):
    rng = np.random.default_rng(3)
    w, w_in, bias = rng.normal(size=(20, 20)) / 6, rng.normal(size=(20, 2)), rng.normal(size=20)
    model, params = esn_from_arrays(w, w_in, bias=bias, leak_rate=0.4)
    x, states = np.zeros(20), []
    for t in range(T):
        x = 0.6 * x + 0.4 * np.tanh(w @ x + w_in @ u[t] + bias)
        states.append(x)
    np.testing.assert_allclose(simulate(model, params, u).outputs, states, atol=tol(1e-5, 1e-12))
    assert float(params.spectral_radius) == pytest.approx(np.abs(np.linalg.eigvals(w)).max(), rel=1e-6)
