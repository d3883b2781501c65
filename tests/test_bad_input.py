"""Every bad input: an error that names the argument, its value and what is allowed, before anything is compiled."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo_models import RateFlow

import dynlab.readout.ridge as ridge_module
from dynlab import ESN, Stack, esn_from_arrays, generate, memory_capacity, ridge, simulate, simulation
from dynlab.analysis import capacity
from dynlab.models import weights

KEY = jax.random.key(0)
MODEL = ESN(n_units=10)
PARAMS = MODEL.init(KEY)
DEEP = Stack((ESN(n_units=10, noise=0.1), ESN(n_inputs=10, n_units=5)))
FEEDBACK = ESN(n_units=10, n_feedback=2)
U = np.zeros((50, 1))
X = np.random.default_rng(0).normal(size=(50, 3))
WITH_NAN = np.where(np.arange(50)[:, None] == 7, np.nan, U)

CASES = {
    # simulate
    "wrong input width": (lambda: simulate(MODEL, PARAMS, np.zeros((50, 2))), ValueError, r"inputs must have 1 features, got 2"),
    "1-D input": (lambda: simulate(MODEL, PARAMS, np.zeros(50)), ValueError, r"inputs must have shape .*\(50,\).*inputs\[:, None\]"),
    "4-D input": (lambda: simulate(MODEL, PARAMS, np.zeros((1, 1, 5, 1))), ValueError, r"inputs must have shape .*\(1, 1, 5, 1\)"),
    "empty series": (lambda: simulate(MODEL, PARAMS, np.zeros((0, 1))), ValueError, r"inputs must not be empty, got shape \(0, 1\)"),
    "empty batch": (lambda: simulate(MODEL, PARAMS, np.zeros((0, 5, 1))), ValueError, r"inputs must not be empty"),
    "washout = length": (lambda: simulate(MODEL, PARAMS, U, washout=50), ValueError, r"washout must be smaller than the series \(50 steps\), got 50"),
    "negative washout": (lambda: simulate(MODEL, PARAMS, U, washout=-1), ValueError, r"washout must be at least 0, got -1"),
    "float washout": (lambda: simulate(MODEL, PARAMS, U, washout=1.5), TypeError, r"washout must be an integer, got 1.5"),
    "NaN in input": (lambda: simulate(MODEL, PARAMS, WITH_NAN), ValueError, r"inputs must be finite, got nan at index \(7, 0\)"),
    "inf in input": (lambda: simulate(MODEL, PARAMS, U + np.inf), ValueError, r"inputs must be finite, got inf .*50 of 50"),
    "complex input": (lambda: simulate(MODEL, PARAMS, U + 1j), TypeError, r"inputs must be real numbers .*complex128"),
    "text input": (lambda: simulate(MODEL, PARAMS, U.astype(str)), TypeError, r"inputs must be real numbers .*<U"),
    "unknown record": (lambda: simulate(MODEL, PARAMS, U, record="spikes"), ValueError, r"record must be one of 'features', 'state', None, got 'spikes'"),
    "old-style key": (lambda: simulate(MODEL, PARAMS, U, key=np.zeros(2, np.uint32)), TypeError, r"key must be a typed key from jax.random.key"),
    "noise without key": (lambda: simulate(MODEL, ESN(n_units=10, noise=0.1).init(KEY), U), ValueError, r"key must be given for a model with noise"),
    "no input, no length": (lambda: simulate(MODEL, PARAMS, None), TypeError, r"n_steps must be an integer, got None"),
    "missing feedback": (lambda: simulate(FEEDBACK, FEEDBACK.init(KEY), U), ValueError, r"inputs must have the structure"),
    "feedback of other length": (lambda: simulate(FEEDBACK, FEEDBACK.init(KEY), (U, np.zeros((49, 2)))), ValueError, r"inputs must agree in batch and time axes, got \[\(49,\), \(50,\)\]"),
    "state of another batch": (lambda: simulate(MODEL, PARAMS, np.zeros((3, 5, 1)), state=jnp.zeros((2, 10))), ValueError, r"state must be one state of the model, with a leading batch axis of 3"),
    "state of another size": (lambda: simulate(ESN(n_units=10, topology="cycle"), PARAMS, U, state=jnp.ones((3, 10))), ValueError, r"state must be one state of the model, unbatched: shapes \(10,\), got \(3, 10\)"),
    "fractional t0": (lambda: simulate(MODEL, PARAMS, U, t0=1.5), ValueError, r"t0 must be one integer, got 1.5"),
    "overflow in float32": (lambda: simulate(MODEL, PARAMS, U + 1e39), ValueError, r"inputs must be finite, got inf"),
    "a flow": (lambda: simulate(RateFlow(), PARAMS, U), TypeError, r"model must be a Map: wrap a flow in Euler, ExpEuler or FlowMap, got RateFlow"),
    "not a model": (lambda: simulate(3, PARAMS, U), TypeError, r"model must be a Map, an object with step"),
    "noise of a layer without key": (lambda: simulate(DEEP, DEEP.init(KEY), U), ValueError, r"key must be given for a model with noise"),
    "noise knob in vmap without key": (lambda: jax.vmap(lambda v: simulate(MODEL, MODEL.replace(noise=v).init(KEY), U).state)(jnp.ones(2)), ValueError, r"key must be given for a model with noise"),
    "given weights cannot be drawn": (lambda: esn_from_arrays(np.eye(3), np.ones((3, 1)))[0].init(KEY), ValueError, r"params must be given for a model made from arrays"),
    "Dale network of two": (lambda: ESN(n_units=2, topology="dale").init(KEY), ValueError, r"excitatory must leave at least one unit of each sign, got 0.8 of 2 units"),
    "no external input to the loop": (lambda: generate(FEEDBACK, FEEDBACK.init(KEY), jax.tree_util.Partial(lambda x: x[:2]), 5, state=PARAMS.bias, route="feedback"), ValueError, r"inputs must have 1 features, got None"),
    # generate
    "no steps": (lambda: generate(MODEL, PARAMS, jax.tree_util.Partial(lambda x: x[:1]), 0, state=PARAMS.bias), ValueError, r"n_steps must be at least 1, got 0"),
    "readout of wrong width": (lambda: generate(MODEL, PARAMS, jax.tree_util.Partial(lambda x: x[:2]), 5, state=PARAMS.bias), ValueError, r"readout must give 1 channels to feed back, got 2"),
    "batched start": (lambda: generate(MODEL, PARAMS, jax.tree_util.Partial(lambda x: x[:1]), 5, state=jnp.zeros((3, 10))), ValueError, r"state must be one state of the model, unbatched"),
    "unknown route": (lambda: generate(MODEL, PARAMS, jax.tree_util.Partial(lambda x: x[:1]), 5, state=PARAMS.bias, route="out"), ValueError, r"route must be one of 'input', 'feedback', got 'out'"),
    "route without feedback": (lambda: generate(MODEL, PARAMS, jax.tree_util.Partial(lambda x: x[:1]), 5, state=PARAMS.bias, route="feedback"), ValueError, r"route must be 'input'"),
    # model
    "negative radius": (lambda: ESN(spectral_radius=-0.1).init(KEY), ValueError, r"spectral_radius must be finite and in \[0.0, inf\], got -0.1"),
    "NaN radius": (lambda: ESN(spectral_radius=np.nan).init(KEY), ValueError, r"spectral_radius must be finite"),
    "leak 0": (lambda: ESN(leak_rate=0.0).init(KEY), ValueError, r"leak_rate must be finite and in \(0.0, 1.0\], got 0.0"),
    "leak above 1": (lambda: ESN(leak_rate=1.1).init(KEY), ValueError, r"leak_rate must be .*got 1.1"),
    "leak as text": (lambda: ESN(leak_rate="fast").init(KEY), TypeError, r"leak_rate must be a real number, got 'fast'"),
    "leak of wrong shape": (lambda: ESN(n_units=10, leak_rate=np.ones(3)).init(KEY), ValueError, r"leak_rate must be a scalar or of shape \(10,\), got shape \(3,\).*vmap"),
    "connectivity 0": (lambda: ESN(connectivity=0.0).init(KEY), ValueError, r"connectivity must be finite and in \(0.0, 1.0\], got 0.0"),
    "connectivity above 1": (lambda: ESN(connectivity=1.5).init(KEY), ValueError, r"connectivity must be .*got 1.5"),
    "ignored connectivity": (lambda: ESN(topology="cycle", connectivity=0.5).init(KEY), ValueError, r"connectivity must be None for topology 'cycle'"),
    "input connectivity": (lambda: ESN(input_connectivity=0.0).init(KEY), ValueError, r"input_connectivity must be"),
    "unknown activation": (lambda: ESN(activation="selu").init(KEY), ValueError, r"activation must be one of 'tanh', 'identity', 'relu', 'sigmoid', 'leaky_relu', 'softplus', got 'selu'"),
    "unknown topology": (lambda: ESN(topology="torus").init(KEY), ValueError, r"topology must be one of 'random', .*got 'torus'"),
    "topology of wrong type": (lambda: ESN(topology=3).init(KEY), TypeError, r"topology must be a name .*got 3"),
    "unknown recurrence": (lambda: ESN(recurrence="csr").init(KEY), ValueError, r"recurrence must be one of 'auto'"),
    "impossible recurrence": (lambda: ESN(topology="orthogonal", recurrence="gather").init(KEY), ValueError, r"recurrence must be 'auto' or 'dense' for this topology"),
    "no units": (lambda: ESN(n_units=0).init(KEY), ValueError, r"n_units must be at least 1, got 0"),
    "fractional units": (lambda: ESN(n_units=10.0).init(KEY), TypeError, r"n_units must be an integer, got 10.0"),
    "no input at all": (lambda: ESN(n_inputs=0).init(KEY), ValueError, r"n_inputs must be positive"),
    "integer key": (lambda: ESN().init(3), TypeError, r"key must be a typed key from jax.random.key\(seed\), got int"),
    "many keys": (lambda: ESN().init(jax.random.split(KEY)), ValueError, r"key must be one key, got an array of keys"),
    "nilpotent draw": (lambda: ESN(n_units=1, topology=weights.Modular(n_modules=1, within=0.0)).init(KEY), ValueError, r"spectral radius 0"),
    "distribution": (lambda: ESN(input_distribution="cauchy").init(KEY), ValueError, r"distribution must be one of"),
    "matrix not square": (lambda: esn_from_arrays(np.ones((3, 2)), np.ones((3, 1))), ValueError, r"matrix must be square"),
    "w_in of other size": (lambda: esn_from_arrays(np.eye(3), np.ones((2, 1))), ValueError, r"w_in must have shape \(3, n_inputs\), got \(2, 1\)"),
    # ridge
    "negative ridge": (lambda: ridge(X, U, -1e-3), ValueError, r"ridge must be .*got -0.001"),
    "NaN ridge": (lambda: ridge(X, U, np.nan), ValueError, r"ridge must be finite"),
    "target of other length": (lambda: ridge(X, U[:40]), ValueError, r"(features|targets).*same length.*\(50,\).*\(40,\)|.*\(40,\).*\(50,\)"),
    "NaN in target": (lambda: ridge(X, WITH_NAN), ValueError, r"targets must be finite, got nan at index \(7, 0\)"),
    "NaN in features": (lambda: ridge(X * np.nan, U), ValueError, r"features must be finite"),
    "1-D target": (lambda: ridge(X, U[:, 0]), ValueError, r"targets must have shape .*targets\[:, None\]"),
    "empty fit": (lambda: ridge(X[:0], U[:0]), ValueError, r"features must not be empty"),
    "ridge washout": (lambda: ridge(X, U, washout=50), ValueError, r"washout must be smaller than the series \(50 steps\), got 50"),
    # capacity
    "capacity: two channels": (lambda: memory_capacity(ESN(n_inputs=2), KEY), ValueError, r"model must have one input channel"),
    "capacity: no delay": (lambda: memory_capacity(MODEL, KEY, max_delay=0), ValueError, r"max_delay must be at least 1, got 0"),
    "capacity: amplitude": (lambda: memory_capacity(MODEL, KEY, amplitude=0.0), ValueError, r"amplitude must be"),
    "capacity: ridge array": (lambda: memory_capacity(MODEL, KEY, ridge=jnp.ones(3)), ValueError, r"ridge must be one number, got shape \(3,\).*vmap"),
    "capacity: ridge": (lambda: memory_capacity(MODEL, KEY, ridge=-1.0), ValueError, r"ridge must be"),
}


PROGRAMS = (simulation._simulate, simulation._generate, ridge_module._fit, capacity._memory_capacity)


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case):
    call, error, message = CASES[case]
    compiled = [program._cache_size() for program in PROGRAMS]
    with pytest.raises(error, match=message):
        call()
    assert compiled == [program._cache_size() for program in PROGRAMS]


def test_integer_and_boolean_series_are_welcome():
    a = simulate(MODEL, PARAMS, np.ones((5, 1), int)).outputs
    np.testing.assert_array_equal(a, simulate(MODEL, PARAMS, np.ones((5, 1), bool)).outputs)
    np.testing.assert_array_equal(a, simulate(MODEL, PARAMS, [[1.0]] * 5).outputs)
