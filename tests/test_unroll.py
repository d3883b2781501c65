"""Backpropagation through time by hand equals the gradient of simulate, for models of every kind."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import ZOO

from dynlab import GRU, simulate, train
from dynlab.models.leaky_rnn import LeakyRNN
from dynlab.train.unroll import Parts

B, T = 3, 9
LIF = ZOO["lif"].model
LIF_STATES = jax.tree.map(lambda leaf: np.zeros((B, *leaf.shape), leaf.dtype), jax.eval_shape(
    lambda k: LIF.init_state(LIF.init(k)), jax.random.key(0)))
NAMES = ("leaky_rnn", "lstm", "gru", "gru_reset_before", "esn_gather", "lif")


def score(states):
    """A number that every floating leaf enters."""
    leaves = [leaf for leaf in jax.tree.leaves(states) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return sum(jnp.sum(jnp.sin(leaf + 0.3)) for leaf in leaves)


def problem(name, key):
    entry = ZOO[name]
    params = entry.model.init(key)
    states = jax.vmap(lambda k: entry.model.init_state(params, k))(jax.random.split(key, B))
    inputs = jax.vmap(lambda k: entry.inputs(k, T))(jax.random.split(key, B))
    noise = key if entry.noisy else None
    split = Parts(params)
    floats, rest = split.cut(params)
    cut_state = Parts(states)
    s_floats, s_rest = cut_state.cut(states)
    rules = (entry.model, noise, lambda f: split.join(f, rest), lambda s: cut_state.join(s, s_rest))
    return rules, (floats, s_floats, inputs)


@pytest.mark.conformance
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_equal_those_of_simulate(name, key, tol):
    (model, noise, params_of, state_of), arguments = problem(name, key)
    start = 2

    def direct(floats, s_floats, inputs):
        run = simulate(model, params_of(floats), inputs[:, start:], key=noise, state=state_of(s_floats), t0=start,
                       record="state")
        return score(run.state) + score(jax.tree.map(lambda leaf: leaf[:, 3], run.outputs))

    def ours(start, floats, s_floats, inputs):
        args = (model, params_of(floats), state_of(s_floats), inputs, start)
        rows = train.all_states(*args, key=noise)
        last = train.last_state(*args, key=noise, remat=4)
        return score(last) + score(jax.tree.map(lambda leaf: leaf[:, start + 3], rows))

    want, want_gradients = jax.jit(jax.value_and_grad(direct, (0, 1, 2)))(*arguments)
    got, gradients = jax.jit(jax.value_and_grad(ours, (1, 2, 3)))(start, *arguments)
    np.testing.assert_allclose(got, want, rtol=tol(1e-5, 1e-12))
    for a, b in zip(jax.tree.leaves(gradients), jax.tree.leaves(want_gradients), strict=True):
        np.testing.assert_allclose(a, b, rtol=tol(1e-4, 1e-10), atol=tol(1e-5, 1e-12) * (1 + np.abs(b).max()))


def test_held_steps_are_the_first_state_and_pass_its_gradient(key):
    model = GRU(n_inputs=1, n_units=4)
    params = model.init(key)
    states = jax.random.normal(key, (B, 4))
    inputs = jax.random.normal(key, (B, T, 1))
    rows, pull = jax.vjp(lambda s: train.all_states(model, params, s, inputs, 5), states)
    np.testing.assert_array_equal(rows[:, :5], np.repeat(np.asarray(states)[:, None], 5, axis=1))
    only_held = jnp.zeros_like(rows).at[:, :5].set(1.0)
    np.testing.assert_array_equal(pull(only_held)[0], np.full((B, 4), 5.0))


def test_padding_on_the_left_gives_the_shorter_run_exactly(key):
    """What is held until `start` is the process of the sequence alone, whatever lies before."""
    model = LeakyRNN(n_units=5, activation="leaky_relu", placement="outside", tau_spread=1.0)
    params = model.init(key)
    states = jax.random.uniform(key, (B, 5))
    inputs = jax.random.normal(key, (B, T, 1))
    run = jax.jit(lambda inputs, start: train.last_state(model, params, states, inputs, start))
    padded = run(inputs, 4)
    np.testing.assert_array_equal(padded, run(inputs.at[:, :4].set(7.0), 4))
    np.testing.assert_allclose(padded, simulate(model, params, inputs[:, 4:], state=states).state, rtol=1e-6)


def test_growing_sequences_are_one_program(key):
    model = LeakyRNN(n_units=5)
    params = model.init(key)
    states = jnp.zeros((B, 5))
    inputs = jnp.zeros((B, 64, 1))
    run = jax.jit(jax.grad(lambda p, start: jnp.sum(train.last_state(model, p, states, inputs, start) ** 2)))
    run(params, 60)
    size = run._cache_size()
    for start in (0, 30, 63):
        run(params, start)
    assert run._cache_size() == size


def test_given_memory_changes_nothing_and_comes_back_as_its_gradient(key):
    model = ZOO["lstm"].model
    params, inputs = model.init(key), jax.random.normal(key, (B, T, 2))
    states = jax.vmap(lambda k: model.init_state(params, k))(jax.random.split(key, B))
    room = train.workspace(model, params, states, inputs)

    def loss(params, room):
        return score(train.last_state(model, params, states, inputs, 3, workspace=room))

    plain = jax.jit(jax.value_and_grad(lambda p: loss(p, None)))(params)
    value, (gradient, room) = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, room)
    again = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, room)  # with what the first has left in it
    for got in ((value, gradient), (again[0], again[1][0])):
        jax.tree.map(np.testing.assert_array_equal, got, plain)
    kept = jax.tree.leaves(room)
    assert all(leaf.shape[:2] == (T, B) for leaf in kept)
    assert all(np.any(np.asarray(leaf)[3:] != 0) for leaf in kept)


BAD = {
    "not a map": (lambda a: train.last_state(object(), *a), TypeError, "model must be a Map"),
    "one series": (lambda a: train.last_state(GRU(), a[0], a[1], a[2][0]), ValueError, "inputs must have shape"),
    "batch": (lambda a: train.last_state(GRU(), a[0], a[1][:2], a[2]), ValueError, r"batch axis of inputs \(3\)"),
    "start": (lambda a: train.last_state(GRU(), *a, T), ValueError, r"start must be in \[0, 8\], got 9"),
    "memory": (lambda a: train.workspace(LIF, LIF.init(jax.random.key(0)), LIF_STATES, a[2]), ValueError, "LIF"),
    "both": (lambda a: train.last_state(GRU(), *a, remat=2, workspace=()), ValueError, "workspace must be None"),
    "remat": (lambda a: train.last_state(GRU(), *a, remat=0), ValueError, "remat must be at least 1, got 0"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call((None, np.zeros((B, 100)), np.zeros((B, T, 1))))
