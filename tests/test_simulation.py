"""simulate and generate: what is recorded, what is stored, which sample is the first forecast."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo_models import MeanReadout, RateFlow

from dynlab import ESN, Feedback, FeedbackParams, FlowMap, generate, simulate


@pytest.fixture
def esn(key):
    model = ESN(n_units=20)
    return model, model.init(key)


def test_record_choices(esn, key):
    model, params = esn
    u = jax.random.uniform(key, (30, 1))
    features = simulate(model, params, u)
    assert features.outputs.shape == (30, 20)
    np.testing.assert_array_equal(simulate(model, params, u, record="state").outputs, features.outputs)
    nothing = simulate(model, params, u, record=None)
    assert nothing.outputs is None
    np.testing.assert_array_equal(nothing.state, features.state)
    mean = simulate(model, params, u, record=_mean_and_input)
    np.testing.assert_allclose(mean.outputs[0], features.outputs.mean(1), atol=1e-6)
    np.testing.assert_array_equal(mean.outputs[1], u)


def _mean_and_input(params, state, x):
    return jnp.mean(state), x


def _biggest(jaxpr):
    sizes = [v.aval.size for e in jaxpr.eqns for v in e.outvars]
    for e in jaxpr.eqns:
        for value in e.params.values():
            inner = getattr(value, "jaxpr", None)
            if inner is not None:
                sizes.append(_biggest(inner))
    return max(sizes, default=0)


def test_what_is_not_asked_for_is_not_stored(esn):
    model, params = esn
    u = jnp.zeros((5000, 1))
    lean = jax.make_jaxpr(lambda u: simulate(model, params, u, record=None).state)(u)
    assert _biggest(lean.jaxpr) <= 5000
    late = jax.make_jaxpr(lambda u: simulate(model, params, u, washout=4900).outputs)(u)
    assert _biggest(late.jaxpr) <= 5000


def test_batched_noise_differs_between_series_and_equals_fold_in(key):
    model = ESN(n_units=20, noise=0.1)
    params = model.init(key)
    u = jnp.zeros((2, 30, 1))
    run = simulate(model, params, u, key=key)
    assert not np.allclose(run.outputs[0], run.outputs[1])
    alone = simulate(model, params, u[1], key=jax.random.fold_in(key, 1))
    np.testing.assert_allclose(run.outputs[1], alone.outputs, atol=1e-5)


def test_first_generated_sample_is_the_readout_of_the_start_state(esn, key):
    model, params = esn
    readout = MeanReadout(0.3 * jax.random.normal(key, (1, 20)))
    state = simulate(model, params, jax.random.uniform(key, (30, 1))).state
    run = generate(model, params, readout, 5, state=state)
    expected, x = [], state
    for _ in range(5):
        y = readout(x)
        expected.append(y)
        x = model.step(params, x, y)
    np.testing.assert_allclose(run.outputs, jnp.stack(expected), atol=1e-5)
    np.testing.assert_allclose(run.state, x, atol=1e-5)
    going_on = generate(model, params, readout, 3, state=generate(model, params, readout, 2, state=state).state)
    np.testing.assert_array_equal(going_on.outputs, run.outputs[2:])


def test_closed_loop_on_the_teacher_path_equals_open_loop(key):
    """A loop whose readout reproduces its own teacher exactly runs on as if driven by the teacher."""
    model = ESN(n_inputs=1, n_units=20, n_feedback=2)
    params = model.init(key)
    readout = MeanReadout(0.2 * jax.random.normal(key, (2, 20)))
    u = jax.random.uniform(key, (40, 1))
    free = generate(model, params, readout, state=model.init_state(params), inputs=u, route="feedback")
    driven = simulate(model, params, (u, free.outputs))
    np.testing.assert_allclose(driven.state, free.state, atol=1e-6)


def test_feedback_takes_effect(key):
    model = ESN(n_inputs=1, n_units=20, n_feedback=1)
    params = model.init(key)
    u, y = jnp.ones((20, 1)), jax.random.uniform(key, (20, 1))
    with_y, without = simulate(model, params, (u, y)).outputs, simulate(model, params, (u, 0 * y)).outputs
    assert float(jnp.abs(with_y - without).max()) > 0.1


def test_changed_knobs_are_not_ignored(esn, key):
    model, params = esn
    u = jax.random.uniform(key, (50, 1))
    base = simulate(model, params, u).outputs
    for knob, value in (("leak_rate", 0.3), ("spectral_radius", 0.1), ("input_scaling", 2.0)):
        for changed in (params.replace(**{knob: jnp.asarray(value)}), model.replace(**{knob: value}).init(key)):
            assert float(jnp.abs(simulate(model, changed, u).outputs - base).max()) > 0.01, knob


def test_batched_warm_up_is_per_series(esn, key):
    """A corrupted warm-up of each series must not reach what is recorded beyond the memory of the network."""
    model, params = esn
    u = jax.random.uniform(key, (3, 400, 1))
    clean = simulate(model, params, u, washout=200)
    dirty = simulate(model, params, u.at[:, :100].set(100.0), washout=200)
    assert clean.outputs.shape == (3, 200, 20)
    np.testing.assert_allclose(dirty.outputs[:, 100:], clean.outputs[:, 100:], atol=1e-3)


def test_external_input_beside_the_fed_back_one(key):
    model = ESN(n_inputs=3, n_units=20)
    params = model.init(key)
    readout = MeanReadout(0.1 * jax.random.normal(key, (2, 20)))
    u = jax.random.uniform(key, (10, 1))
    run = generate(model, params, readout, state=model.init_state(params), inputs=u)
    loop = Feedback(model, readout)
    again = simulate(loop, FeedbackParams(params, readout), u)
    np.testing.assert_allclose(run.state, again.state, atol=1e-6)


def test_noise_in_closed_loop_continues_its_sequence(key):
    model = ESN(n_units=20, noise=0.1)
    params = model.init(key)
    readout = MeanReadout(0.1 * jax.random.normal(key, (1, 20)))
    whole = generate(model, params, readout, 10, state=params.bias, key=key)
    first = generate(model, params, readout, 4, state=params.bias, key=key)
    rest = generate(model, params, readout, 6, state=first.state, key=key, t0=first.t)
    np.testing.assert_array_equal(rest.outputs, whole.outputs[4:])


def test_solver_adjoints_serve_tangents_and_training(key):
    inputs = jnp.ones((5, 2))
    for adjoint, transform in (("forward", jax.jacfwd), ("checkpoint", jax.grad)):
        model = FlowMap(RateFlow(), dt=0.5, adjoint=adjoint)
        params = model.init(key)

        def loss(w, model=model, params=params):
            return jnp.sum(simulate(model, {**params, "w": w}, inputs).outputs)

        assert bool(jnp.all(jnp.isfinite(transform(loss)(params["w"]))))
    with pytest.raises(ValueError, match="key must be None for FlowMap"):
        simulate(model, params, inputs, key=key)


def test_solver_that_runs_out_of_steps_gives_nan(key):
    model = FlowMap(RateFlow(tau=1e-4), dt=10.0, max_steps=3)
    assert bool(jnp.all(jnp.isnan(simulate(model, model.init(key), jnp.ones((2, 2))).outputs)))
