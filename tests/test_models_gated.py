"""RNN, GRU and LSTM against plain NumPy loops written from the papers' formulas, and their default initialisation."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import simulate
from dynlab.models.gates import GateParams
from dynlab.models.gru import GRU
from dynlab.models.lstm import LSTM, LSTMState
from dynlab.models.rnn import RNN

D, N, T = 3, 7, 30
U = np.random.default_rng(1).normal(size=(T, D))
ACTIVATIONS = {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0), "identity": lambda a: a,
               "sigmoid": lambda a: 1 / (1 + np.exp(-a))}
sigmoid = ACTIVATIONS["sigmoid"]


def host(params: GateParams, gates: int) -> tuple[list[np.ndarray], ...]:
    """Every array cut into its gates, in float64."""
    return tuple(np.split(np.asarray(getattr(params, name), np.float64), gates)
                 for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


def loop_rnn(params: GateParams, activation: str) -> np.ndarray:
    (w,), (v,), (b,), (c,) = host(params, 1)
    h, out = np.zeros(N), []
    for u in U:
        h = ACTIVATIONS[activation](w @ u + b + v @ h + c)
        out.append(h)
    return np.array(out)


def loop_gru(params: GateParams, reset: str) -> np.ndarray:
    w, v, b, c = host(params, 3)
    h, out = np.zeros(N), []
    for u in U:
        r = sigmoid(w[0] @ u + b[0] + v[0] @ h + c[0])
        z = sigmoid(w[1] @ u + b[1] + v[1] @ h + c[1])
        recurrent = r * (v[2] @ h + c[2]) if reset == "after" else v[2] @ (r * h) + c[2]
        h = (1 - z) * np.tanh(w[2] @ u + b[2] + recurrent) + z * h
        out.append(h)
    return np.array(out)


def loop_lstm(params: GateParams) -> tuple[np.ndarray, np.ndarray]:
    w, v, b, c = host(params, 4)
    h, cell, out = np.zeros(N), np.zeros(N), []
    for u in U:
        i, f, g, o = (w[k] @ u + b[k] + v[k] @ h + c[k] for k in range(4))
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(cell)
        out.append(h)
    return np.array(out), cell


def weights(gates: int, scale: float) -> GateParams:
    """As PyTorch draws them, times `scale`: 3 takes the gates out of the middle of their range."""
    rng, bound = np.random.default_rng(2), scale / np.sqrt(N)
    shapes = ((gates * N, D), (gates * N, N), (gates * N,), (gates * N,))
    return GateParams(*(jnp.asarray(rng.uniform(-bound, bound, shape)) for shape in shapes))


@functools.cache
def run(model, gates, scale=3.0):
    """Weights and the run; each model is compiled once."""
    params = weights(gates, scale)
    return params, simulate(model, params, U)


@pytest.mark.conformance
@pytest.mark.parametrize("reset", ["after", "before"])
def test_gru_equals_a_loop(reset, tol):
    params, found = run(GRU(D, N, reset=reset), 3)
    np.testing.assert_allclose(found.outputs, loop_gru(params, reset), rtol=0, atol=tol(1e-5, 1e-12))


@pytest.mark.conformance
def test_lstm_equals_a_loop(tol):
    params, found = run(LSTM(D, N), 4)
    h, c = loop_lstm(params)
    np.testing.assert_allclose(found.outputs, h, rtol=0, atol=tol(1e-5, 1e-12))
    np.testing.assert_allclose(found.state.c, c, rtol=0, atol=tol(1e-5, 1e-12))


@pytest.mark.conformance
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_rnn_equals_a_loop(activation, tol):
    params, found = run(RNN(D, N, activation=activation), 1, 1.0)  # linear units with larger weights grow without bound
    np.testing.assert_allclose(found.outputs, loop_rnn(params, activation), rtol=0, atol=tol(1e-5, 1e-12))


def test_the_two_resets_differ():
    after, before = (np.asarray(run(GRU(D, N, reset=reset), 3)[1].outputs) for reset in ("after", "before"))
    assert np.max(np.abs(after - before)) > 0.1


draw = jax.jit(lambda model, key: model.init(key))


@pytest.mark.parametrize(("model", "gates"), [(RNN(D, 400), 1), (GRU(D, 400), 3), (LSTM(D, 400), 4)],
                         ids=["rnn", "gru", "lstm"])
def test_init_is_uniform_in_the_range_of_pytorch(model, gates, key):
    params, bound = jax.tree.map(np.asarray, draw(model, key)), 1 / np.sqrt(400)
    assert params.weight_ih.shape == (400 * gates, D)
    assert params.weight_hh.shape == (400 * gates, 400)
    assert params.bias_ih.shape == params.bias_hh.shape == (400 * gates,)
    leaves = [leaf.ravel() for leaf in jax.tree.leaves(params)]
    assert all(np.all(np.abs(leaf) <= bound) for leaf in leaves)
    drawn = np.concatenate(leaves)
    assert np.max(drawn) > 0.99 * bound
    assert np.std(drawn) == pytest.approx(bound / np.sqrt(3), rel=0.02)
    assert not np.array_equal(params.bias_ih, params.bias_hh)
    twice = draw(model.replace(init_scale=2.0), key)
    np.testing.assert_allclose(twice.weight_hh, 2 * params.weight_hh, rtol=1e-6)


@pytest.mark.parametrize(("model", "gates"), [(RNN(D, N), 1), (GRU(D, N), 3), (LSTM(D, N), 4)],
                         ids=["rnn", "gru", "lstm"])
def test_start_is_zero_or_drawn(model, gates, key):
    params = weights(gates, 1.0)
    assert all(not np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(model.init_state(params)))
    drawn = [np.asarray(leaf) for leaf in jax.tree.leaves(model.init_state(params, key))]
    assert all(leaf.shape == (N,) and 0 < np.max(np.abs(leaf)) <= 1 for leaf in drawn)
    assert len(drawn) == 1 or not np.array_equal(*drawn)


def test_what_is_known_to_be_bounded():
    assert GRU().bounded is LSTM().bounded is RNN().bounded is True
    assert RNN(activation="relu").bounded is None
    params = GateParams(np.zeros((4, 1)), np.zeros((4, 1)), np.full(4, 5.0), np.zeros(4))
    c = jax.jit(LSTM(1, 1).step)(params, LSTMState(np.zeros(1), np.full(1, 1e3)), np.zeros(1)).c
    assert 0 < float(c[0]) < 1e3  # the forget gate is below 1


KEY = jax.random.key(0)
BAD = {
    "no inputs": (lambda: GRU(0, N).init(KEY), ValueError, r"n_inputs must be at least 1, got 0"),
    "half a unit": (lambda: LSTM(D, 2.5).init(KEY), TypeError, r"n_units must be an integer, got 2.5"),
    "unknown reset": (lambda: GRU(D, N, reset="cudnn").init(KEY), ValueError, r"reset must be one of 'after'"),
    "unknown activation": (lambda: RNN(D, N, activation="gelu").init(KEY), ValueError, r"activation must be one of"),
    "negative scale": (lambda: RNN(D, N, init_scale=-1.0).init(KEY), ValueError, r"init_scale must be finite and in"),
    "several scales": (lambda: GRU(D, N, init_scale=np.ones(3)).init(KEY), ValueError, r"init_scale must be one"),
    "no time": (lambda: LSTM(D, N, dt=0.0).init(KEY), ValueError, r"dt must be finite and in \(0"),
    "a seed": (lambda: GRU(D, N).init(0), TypeError, r"key must be a typed key"),
    "wrong input": (lambda: simulate(GRU(D, N), weights(3, 1.0), U[:, :2]), ValueError, r"must have 3 features"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
