"""The conformance table: what every model of the zoo must satisfy, in float32 and in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import ZOO, Entry

from dynlab import simulate, tree
from dynlab.protocol import Map

pytestmark = pytest.mark.conformance
T = 40


@pytest.fixture(params=ZOO, ids=str)
def entry(request: pytest.FixtureRequest) -> Entry:
    return ZOO[request.param]


def close(a, b, tol: float) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tol, atol=tol), a, b)


def equal(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_is_a_map_with_static_dt_and_smooth(entry):
    model = entry.model
    assert isinstance(model, Map)
    assert isinstance(model.dt, float)
    assert isinstance(model.smooth, bool)
    hash(jax.tree.structure(model))


def test_init_is_the_same_under_jit_and_runs_under_vmap(entry, key):
    model = entry.model
    keys = jax.random.split(key, 3)
    many = jax.jit(jax.vmap(model.init))(keys)  # in a trace the spectral radius is an approximation
    for i in range(3):
        close(jax.tree.map(lambda leaf, i=i: leaf[i], many), model.init(keys[i]), 1e-3)


def test_step_reads_params_and_static_fields_only(entry, key):
    """A model whose knobs are all NaN steps and observes as before: every knob that acts is in params."""
    model = entry.model
    params = model.init(key)
    blank = jax.tree.map(lambda leaf: jnp.full_like(jnp.asarray(leaf, float), jnp.nan), model)
    inputs = entry.inputs(key, T)
    noise = key if entry.noisy else None
    equal(simulate(model, params, inputs, key=noise).outputs, simulate(blank, params, inputs, key=noise).outputs)


def test_step_keeps_structure_shapes_and_dtypes(entry, key):
    model, params = entry.model, entry.model.init(key)
    state = model.init_state(params)
    x = jax.tree.map(lambda leaf: leaf[0], entry.inputs(key, 1))
    new = jax.eval_shape(model.step, params, state, x, key if entry.noisy else None)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(state), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if jnp.issubdtype(a.dtype, jnp.floating):
            assert a.dtype == jnp.result_type(float)
    features = jax.eval_shape(model.observe, params, state)
    assert features.ndim == 1
    assert jnp.issubdtype(features.dtype, jnp.floating)


def test_step_is_pure_and_jit_changes_nothing(entry, key, tol):
    model, params = entry.model, entry.model.init(key)
    state = model.init_state(params)
    x = jax.tree.map(lambda leaf: leaf[0], entry.inputs(key, 1))
    noise = key if entry.noisy else None
    before = jax.tree.map(np.array, state)
    first = model.step(params, state, x, noise)
    equal(state, before)
    equal(model.step(params, state, x, noise), first)
    close(jax.jit(model.step)(params, state, x, noise), first, tol(1e-5, 1e-12))


def test_chunks_equal_the_whole_run_bit_for_bit(entry, key):
    model, params = entry.model, entry.model.init(key)
    inputs = entry.inputs(key, T)
    noise = key if entry.noisy else None
    whole = simulate(model, params, inputs, key=noise)
    state, t, parts = None, 0, []
    for size in (1, 7, 2, T - 10):
        piece = jax.tree.map(lambda leaf, t=t, size=size: leaf[t : t + size], inputs)
        run = simulate(model, params, piece, key=noise, state=state, t0=t)
        state, t = run.state, t + size
        parts.append(run.outputs)
    equal(jnp.concatenate(parts), whole.outputs)
    equal(state, whole.state)
    assert int(run.t) == int(whole.t) == T


def test_washout_only_drops_rows(entry, key):
    model, params = entry.model, entry.model.init(key)
    inputs = entry.inputs(key, T)
    noise = key if entry.noisy else None
    whole = simulate(model, params, inputs, key=noise)
    late = simulate(model, params, inputs, key=noise, washout=11)
    equal(late.outputs, whole.outputs[11:])
    equal(late.state, whole.state)


def test_a_batch_equals_its_series_one_by_one(entry, key, tol):
    model, params = entry.model, entry.model.init(key)
    series = [entry.inputs(k, T) for k in jax.random.split(key, 3)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *series)
    noise = key if entry.noisy else None
    run = simulate(model, params, batch, washout=5, key=noise)
    keys = [noise if noise is None else jax.random.fold_in(noise, b) for b in range(3)]
    one_by_one = [simulate(model, params, xs, washout=5, key=k).outputs for xs, k in zip(series, keys, strict=True)]
    close(run.outputs, jnp.stack(one_by_one), tol(1e-4, 1e-11))


def test_vmap_over_every_knob_equals_a_loop(entry, key, tol):
    model = entry.model
    factors = jnp.array([0.8, 0.9, 1.0])
    inputs, noise = entry.inputs(key, T), key if entry.noisy else None
    models = jax.tree.map(lambda leaf: factors.reshape(-1, *[1] * jnp.ndim(leaf)) * jnp.asarray(leaf, float), model)

    def run(member):
        return simulate(member, member.init(key), inputs, key=noise).outputs

    together = jax.jit(jax.vmap(run))(models)
    alone = [run(jax.tree.map(lambda leaf, i=i: leaf[i], models)) for i in range(3)]
    close(together, jnp.stack(alone), tol(1e-4, 1e-10))


def test_equal_models_and_other_knobs_share_one_compilation(entry, key, count_compilations):
    model, params = entry.model, entry.model.init(key)
    inputs = entry.inputs(key, T)
    noise = key if entry.noisy else None
    simulate(model, params, inputs, key=noise)
    twin = jax.tree.map(lambda leaf: leaf * 1, model)
    other = jax.tree.map(lambda leaf: leaf * 0.9, model)
    with count_compilations() as count:
        simulate(twin, params, inputs, key=noise)
        simulate(other, params, inputs, key=noise)
    assert count.compilations == 0


def test_phase_space(entry, key):
    model, params = entry.model, entry.model.init(key)
    state = simulate(model, params, entry.inputs(key, 5), key=key if entry.noisy else None).state
    vector, restore = tree.phase(state)
    assert vector.shape == (entry.n_phase,)
    equal(restore(vector), state)
    moved = restore(vector + 1.0)
    equal(tree.phase(moved)[0], vector + 1.0)
    assert jax.tree.structure(moved) == jax.tree.structure(state)


def test_noise_needs_its_key_and_follows_it(entry, key):
    if not entry.noisy:
        pytest.skip("no noise in this model")
    model, params = entry.model, entry.model.init(key)
    inputs = entry.inputs(key, T)
    other = simulate(model, params, inputs, key=jax.random.key(1)).outputs
    mine = simulate(model, params, inputs, key=key).outputs
    equal(mine, simulate(model, params, inputs, key=key).outputs)
    assert not np.array_equal(mine, other)


def test_tangent_is_the_derivative_of_the_step(entry, key, x64):
    model = entry.model
    if not model.smooth:
        pytest.skip("not smooth: has no meaningful tangent")
    params = model.init(key)
    state = simulate(model, params, entry.inputs(key, 5), key=key if entry.noisy else None).state
    vector, restore = tree.phase(state)
    x = jax.tree.map(lambda leaf: leaf[0], entry.inputs(key, 1))
    flow = jax.jit(lambda v: tree.phase(model.step(params, restore(v), x, None))[0])
    direction = jnp.cos(jnp.arange(vector.size, dtype=vector.dtype))
    _, tangent = jax.jvp(flow, (vector,), (direction,))
    h = 1e-6 if x64 else 1e-2
    numeric = (flow(vector + h * direction) - flow(vector - h * direction)) / (2 * h)
    np.testing.assert_allclose(tangent, numeric, atol=1e-6 if x64 else 1e-3)


def test_gradient_through_a_run_is_finite(entry, key):
    model = entry.model
    if not model.smooth or type(model).__name__ == "FlowMap":  # the forward adjoint has no vjp, see test_discretize
        pytest.skip("not smooth, or a solver set up for tangents")
    params = model.init(key)
    inputs = entry.inputs(key, T)
    noise = key if entry.noisy else None
    floats, rebuild = _floating(params)
    grads = jax.grad(lambda leaves: jnp.mean(simulate(model, rebuild(leaves), inputs, key=noise).outputs ** 2))(floats)
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in grads)
    assert any(bool(jnp.any(g != 0)) for g in grads)


def _floating(params):
    """The floating leaves of params, and the function that puts them back (a gather holds integer indices)."""
    leaves, treedef = jax.tree.flatten(params)
    spots = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]

    def rebuild(new):
        out = list(leaves)
        for i, leaf in zip(spots, new, strict=True):
            out[i] = leaf
        return jax.tree.unflatten(treedef, out)

    return [leaves[i] for i in spots], rebuild
