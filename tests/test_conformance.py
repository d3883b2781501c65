"""The conformance table: what every model of the zoo must satisfy, in float32 and in float64.

Nearly all of the time is tracing and compilation. So the tests of one step run on every entry, those of whole runs on
one entry a family (``alike`` in zoo.py), whose tests follow each other and share one program of T steps; and what does
not depend on the precision runs in float32 only.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import FAMILIES, ZOO

from dynlab import simulate, tree
from dynlab.protocol import Map
from dynlab.train.unroll import Parts

T, WASHOUT = 40, 11
X64 = jnp.result_type(float) == jnp.float64


class Given(NamedTuple):
    """A model, its parameters, a series for it, and its noise key where it has noise."""

    model: Any
    params: Any
    inputs: Any
    noise: jax.Array | None


@functools.cache
def given(name: str) -> Given:
    entry, key = ZOO[name], jax.random.key(0)
    return Given(entry.model, entry.model.init(key), entry.inputs(key, T), key if entry.noisy else None)


class Driven(NamedTuple):
    """The same, and the run over that series."""

    model: Any
    params: Any
    inputs: Any
    noise: jax.Array | None
    run: Any


@functools.cache
def drive(name: str) -> Driven:
    model, params, inputs, noise = given(name)
    return Driven(model, params, inputs, noise, simulate(model, params, inputs, key=noise))


@pytest.fixture(scope="module", params=FAMILIES if X64 else ZOO, ids=str)  # a wide scope keeps a model's tests together
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def driven(request: pytest.FixtureRequest) -> Driven:
    return drive(request.param)


@pytest.fixture(scope="module", params=[name for name in FAMILIES if ZOO[name].noisy], ids=str)
def noisy(request: pytest.FixtureRequest) -> Driven:
    return drive(request.param)


@pytest.fixture(scope="module", params=[name for name in FAMILIES if ZOO[name].model.smooth], ids=str)
def smooth(request: pytest.FixtureRequest) -> Driven:
    return drive(request.param)


def close(a, b, tol: float) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tol, atol=tol), a, b)


def equal(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


# ---- one step: every entry ----

def test_is_a_map_with_static_dt_and_smooth(name):
    model = ZOO[name].model
    assert isinstance(model, Map)
    assert isinstance(model.dt, float)
    assert isinstance(model.smooth, bool)
    hash(jax.tree.structure(model))


@pytest.mark.conformance
def test_step_keeps_structure_shapes_and_dtypes(name):
    model, params, inputs, noise = given(name)
    state = model.init_state(params)
    new = jax.eval_shape(model.step, params, state, first(inputs), noise)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(state), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if jnp.issubdtype(a.dtype, jnp.floating):
            assert a.dtype == jnp.result_type(float)
    features = jax.eval_shape(model.observe, params, state)
    assert features.ndim == 1
    assert jnp.issubdtype(features.dtype, jnp.floating)
    assert tree.phase(state)[0].shape == (ZOO[name].n_phase,)


@pytest.mark.conformance
def test_step_is_pure_and_jit_changes_nothing(name, tol):
    model, params, inputs, noise = given(name)
    state, x = model.init_state(params), first(inputs)
    before = jax.tree.map(np.array, state)
    new = model.step(params, state, x, noise)
    equal(state, before)
    equal(model.step(params, state, x, noise), new)
    close(jax.jit(model.step)(params, state, x, noise), new, tol(1e-5, 1e-12))


def first(inputs):
    """The input of the first step, cut on the host: it compiles nothing."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], inputs)


# ---- init in a trace and whole runs: one entry a family ----

def test_init_is_the_same_under_jit_and_runs_under_vmap(driven, key):
    """Every topology of an ESN, in both precisions: test_esn.py."""
    init, keys = driven.model.init, jax.random.split(key, 2)
    many = jax.jit(jax.vmap(init))(keys)  # in a trace the spectral radius is an approximation
    for i in range(2):
        close(jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], many), init(keys[i]), 1e-3)


def test_step_reads_params_and_static_fields_only(driven):
    """A model whose knobs are all NaN steps and observes as before: every knob that acts is in params."""
    model, params, inputs, noise, run = driven
    blank = jax.tree.map(lambda leaf: leaf * np.nan, model)  # a number stays a number: the same program
    assert all(np.all(np.isnan(leaf)) for leaf in jax.tree.leaves(blank))
    equal(simulate(blank, params, inputs, key=noise).outputs, run.outputs)


@pytest.mark.conformance
def test_chunks_equal_the_whole_run_bit_for_bit(driven):
    model, params, inputs, noise, whole = driven
    state, t, parts = None, 0, []
    for size in (1, 13, 13, T - 27):
        piece = jax.tree.map(lambda leaf, t=t, size=size: np.asarray(leaf)[t : t + size], inputs)
        run = simulate(model, params, piece, key=noise, state=state, t0=t)
        state, t = run.state, t + size
        parts.append(run.outputs)
    equal(np.concatenate(parts), whole.outputs)
    equal(state, whole.state)
    assert int(run.t) == int(whole.t) == T


@pytest.mark.conformance
def test_washout_only_drops_rows(driven):
    model, params, inputs, noise, whole = driven
    late = simulate(model, params, inputs, key=noise, washout=WASHOUT)
    equal(late.outputs, np.asarray(whole.outputs)[WASHOUT:])
    equal(late.state, whole.state)


@pytest.mark.conformance
def test_a_batch_equals_its_series_one_by_one(driven, tol):
    """Three series: the one of the other tests, that one backwards, and with the sign changed."""
    model, params, inputs, noise, _ = driven
    host = jax.tree.map(np.asarray, inputs)
    series = [host, jax.tree.map(np.flip, host), jax.tree.map(np.negative, host)]
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *series)
    run = simulate(model, params, batch, washout=WASHOUT, key=noise)
    for b, xs in enumerate(series):
        own = None if noise is None else jax.random.fold_in(noise, b)
        alone = simulate(model, params, xs, washout=WASHOUT, key=own)
        close(np.asarray(run.outputs)[b], alone.outputs, tol(1e-4, 1e-11))


@pytest.mark.conformance
def test_vmap_over_every_knob_equals_a_loop(driven, tol):
    model, _, inputs, noise, _ = driven
    models = [jax.tree.map(lambda leaf, factor=factor: factor * leaf, model) for factor in (0.8, 1.0)]

    def run(member):
        return simulate(member, member.init(jax.random.key(0)), inputs, key=noise).outputs

    together = jax.vmap(run)(jax.tree.map(lambda *leaves: np.stack(leaves), *models))
    close(together, np.stack([run(member) for member in models]), tol(1e-4, 1e-10))


def test_equal_models_and_other_knobs_share_one_compilation(driven, count_compilations):
    model, params, inputs, noise, _ = driven
    twin = jax.tree.map(lambda leaf: leaf * 1, model)
    other = jax.tree.map(lambda leaf: leaf * 0.9, model)
    with count_compilations() as count:
        simulate(twin, params, inputs, key=noise)
        simulate(other, params, inputs, key=noise)
    assert count.compilations == 0


@pytest.mark.conformance
def test_phase_space(driven):
    state = driven.run.state
    vector, restore = tree.phase(state)
    equal(restore(vector), state)
    moved = restore(vector + 1.0)
    equal(tree.phase(moved)[0], vector + 1.0)
    assert jax.tree.structure(moved) == jax.tree.structure(state)


def test_noise_needs_its_key_and_follows_it(noisy):
    model, params, inputs, noise, run = noisy
    equal(run.outputs, simulate(model, params, inputs, key=noise).outputs)
    assert not np.array_equal(run.outputs, simulate(model, params, inputs, key=jax.random.key(1)).outputs)


@pytest.mark.conformance
def test_tangent_is_the_derivative_of_the_step(smooth, x64):
    model, params, inputs, _, run = smooth
    vector, restore = tree.phase(run.state)
    x = first(inputs)
    flow = jax.jit(lambda v: tree.phase(model.step(params, restore(v), x, None))[0])
    direction = jnp.cos(jnp.arange(vector.size, dtype=vector.dtype))
    _, tangent = jax.jvp(flow, (vector,), (direction,))
    h = 1e-6 if x64 else 1e-2
    numeric = (flow(vector + h * direction) - flow(vector - h * direction)) / (2 * h)
    np.testing.assert_allclose(tangent, numeric, atol=1e-6 if x64 else 1e-3)


@pytest.mark.conformance
def test_gradient_through_a_run_is_finite(smooth):
    model, params, inputs, noise, _ = smooth
    if type(model).__name__ == "FlowMap":  # the forward adjoint has no vjp, see test_discretize
        pytest.skip("a solver set up for tangents")
    split = Parts(params)  # a gather holds integer indices
    floats, rest = split.cut(params)
    run = lambda leaves: simulate(model, split.join(leaves, rest), inputs, key=noise)  # noqa: E731
    grads = jax.grad(lambda leaves: jnp.mean(run(leaves).outputs ** 2))(floats)
    assert all(np.all(np.isfinite(g)) for g in grads)
    assert any(np.any(np.asarray(g) != 0) for g in grads)
