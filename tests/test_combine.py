"""Models made of models equal the same steps written out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import ESN, Hold, Stack, generate, simulate
from dynlab.readout.linear import Linear


@pytest.mark.conformance
def test_stack_feeds_features_forward(key, tol):
    first, second = ESN(n_units=8), ESN(n_inputs=8, n_units=6, leak_rate=0.5)
    model = Stack((first, second))
    params = model.init(key)
    u = jax.random.uniform(key, (60, 1))
    inner = simulate(first, params[0], u).outputs
    outer = simulate(second, params[1], inner).outputs
    both = simulate(model, params, u).outputs
    np.testing.assert_allclose(both, jnp.concatenate([inner, outer], axis=1), atol=tol(1e-5, 1e-12))
    last = Stack((first, second), observe_all=False)
    np.testing.assert_allclose(simulate(last, params, u).outputs, outer, atol=tol(1e-5, 1e-12))


def test_layers_of_a_stack_draw_differently(key):
    params = Stack((ESN(n_units=8), ESN(n_inputs=8, n_units=8))).init(key)
    assert not np.allclose(params[0].recurrent.dense(), params[1].recurrent.dense())


@pytest.mark.conformance
def test_hold_repeats_each_input(key, tol):
    inner = ESN(n_units=8, leak_rate=0.4)
    model = Hold(inner, n_ticks=3)
    params = model.init(key)
    u = jax.random.uniform(key, (20, 1))
    expected = simulate(inner, params, jnp.repeat(u, 3, axis=0)).outputs[2::3]
    np.testing.assert_allclose(simulate(model, params, u).outputs, expected, atol=tol(1e-5, 1e-12))
    assert model.dt == 3.0


@pytest.mark.conformance
def test_closed_loop_of_a_deep_model(key):
    model = Stack((ESN(n_inputs=2, n_units=8), ESN(n_inputs=8, n_units=6)))
    params = model.init(key)
    readout = Linear(0.1 * jax.random.normal(key, (14, 2)), jnp.zeros(2))
    run = generate(model, params, readout, 5, state=model.init_state(params))
    assert run.outputs.shape == (5, 2)
    np.testing.assert_array_equal(run.outputs[0], readout(jnp.zeros(14)))


def test_bad_stacks(key):
    with pytest.raises(ValueError, match="layers must hold at least one model"):
        Stack(()).init(key)
    with pytest.raises(ValueError, match=r"layers must share one dt, got \[1.0, 2.0\]"):
        Stack((ESN(), ESN(n_inputs=100, dt=2.0))).init(key)
    with pytest.raises(ValueError, match="n_ticks must be at least 1, got 0"):
        Hold(ESN(), n_ticks=0).init(key)
