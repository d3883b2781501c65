"""Networks from elsewhere have the outputs of the original: recorded ones, and those of PyTorch where it is installed."""

# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynlab
from dynlab import Stack, interop, simulate, tree
from dynlab.interop import from_linen, from_step, from_torch, linear_from_torch, read_torch_file, rnn_from_arrays

FIXTURES = Path(__file__).parent / "fixtures"
NETWORKS = Path(__file__).parent.parent / "experiments" / "networks"
TORCH, LINEN = (dict(np.load(FIXTURES / name)) for name in ("torch.npz", "linen.npz"))
# 3 inputs, 5 units, 1 or 2 layers, 20 steps and dt = 0.5 everywhere: one compilation for each kind of network
D, N, T, DT = 3, 5, 20, 0.5


def networks(recorded):
    return sorted({name.split("/")[0] for name in recorded} - {"x"})


def part(recorded, network):
    """The entries of one network, and its output."""
    entries = {key.partition("/")[2]: value for key, value in recorded.items() if key.startswith(network + "/")}
    return entries, entries.pop("output")


def linen_params(network):
    entries, output = part(LINEN, network)
    params: dict = {}
    for name, value in entries.items():
        layer, _, kind = name.partition("/")
        params.setdefault(layer, {})[kind] = value
    return params, output


@pytest.mark.conformance
@pytest.mark.parametrize("network", networks(TORCH))
def test_recorded_torch_networks(network):
    state_dict, output = part(TORCH, network)
    nonlinearity = "relu" if network.startswith("relu") else "tanh"
    model, params = from_torch(state_dict, nonlinearity=nonlinearity, dt=DT)
    assert isinstance(model, Stack) == ("deep" in network)
    assert model.dt == DT
    found = simulate(model, params, TORCH["x"]).outputs
    np.testing.assert_allclose(found, output, rtol=0, atol=1e-5)
    assert np.std(output) > 1000 * 1e-5  # the tolerance is small against the signal


@pytest.mark.conformance
@pytest.mark.parametrize("network", networks(LINEN))
def test_recorded_linen_cells(network):
    params, output = linen_params(network)
    nonlinearity = "relu" if network == "relu" else "tanh"
    model, made = from_linen(params, nonlinearity=nonlinearity, dt=DT)
    np.testing.assert_allclose(simulate(model, made, LINEN["x"]).outputs, output, rtol=2e-6, atol=1e-5)
    for given in ({"params": params}, {"params": {"cell": params}}):
        again = from_linen(given, nonlinearity=nonlinearity, dt=DT)
        assert again[0] == model
        jax.tree.map(np.testing.assert_array_equal, again[1], made)


def test_saved_file_and_checkpoint():
    """A file, its own reader's mapping and a checkpoint's entry are one network; the readout comes along."""
    path = FIXTURES / "state_dict.pt"
    model, params = from_torch(path)
    assert [type(layer).__name__ for layer in model.layers] == ["GRU", "GRU"]
    for source in (str(path), read_torch_file(path), read_torch_file(FIXTURES / "checkpoint.pt")["state_dict"]):
        for prefix in ("", "rnn", "rnn."):
            other = from_torch(source, prefix=prefix)
            assert other[0] == model
            jax.tree.map(np.testing.assert_array_equal, other[1], params)
    entries = read_torch_file(path)
    readout = linear_from_torch(path)
    features = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_allclose(readout(features), features @ entries["head.weight"].T + entries["head.bias"], atol=1e-6)
    unbiased = linear_from_torch({"head.weight": entries["head.weight"]}, "head")
    np.testing.assert_allclose(unbiased(features), features @ entries["head.weight"].T, atol=1e-6)


def test_the_imported_model_can_also_be_drawn(key):
    model, params = from_torch(FIXTURES / "state_dict.pt")
    assert jax.tree.map(jnp.shape, jax.eval_shape(model.init, key)) == jax.tree.map(jnp.shape, params)


@pytest.mark.parametrize("kind", ["gru", "rnn"])
def test_shipped_flip_flop_networks_hold_their_bits(kind):
    path = NETWORKS / f"flipflop_{kind}.pt"
    model, params = from_torch(path)
    rng = np.random.default_rng(0)
    pulses = np.where(rng.random((1000, 3)) < 0.15, rng.choice([-1.0, 1.0], (1000, 3)), 0.0)
    pulses[0] = 1.0
    targets = [pulses[0]]
    for now in pulses[1:]:
        targets.append(np.where(now != 0, now, targets[-1]))
    outputs = linear_from_torch(path)(simulate(model, params, pulses).outputs)
    assert np.mean(np.sign(np.asarray(outputs)) != targets) < 0.01


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bias": False}], ids=str)
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_against_torch_itself(kind, options, tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(7)
    module = getattr(torch.nn, kind)(D, N, **options)
    x = torch.randn(T, D)
    torch.save(module.state_dict(), tmp_path / "net.pt")
    with torch.no_grad():
        expected = module(x)[0].numpy()
    model, params = from_torch(module.state_dict(), dt=DT)
    np.testing.assert_allclose(simulate(model, params, x.numpy()).outputs, expected, rtol=0, atol=1e-5)
    for source in (dict(module.named_parameters()), tmp_path / "net.pt"):
        again = from_torch(source, dt=DT)
        assert again[0] == model
        jax.tree.map(np.testing.assert_array_equal, again[1], params)


def test_torch_tensors_of_other_kinds():
    torch = pytest.importorskip("torch")
    module = torch.nn.GRU(2, 3).to(torch.bfloat16)
    _, params = from_torch(module.state_dict())
    np.testing.assert_array_equal(params.weight_hh, module.weight_hh_l0.detach().float().numpy())
    both = torch.nn.RNN(2, 3, bidirectional=True).state_dict()
    with pytest.raises(ValueError, match=r"weight_ih_l0_reverse: a bidirectional network.*bidirectional=False"):
        from_torch(both)
    with pytest.raises(ValueError, match=r"weight_hr_l0: an LSTM with projections .*proj_size=0"):
        from_torch(torch.nn.LSTM(2, 4, proj_size=3).state_dict())
    with pytest.raises(TypeError, match=r"got a module \(GRU\): give its state_dict\(\)"):
        from_torch(module)
    sparse = dict(torch.nn.RNN(2, 3).state_dict())
    sparse["weight_hh_l0"] = sparse["weight_hh_l0"].to_sparse()
    with pytest.raises(ValueError, match=r"weight_hh_l0 must be a dense array"):
        from_torch(sparse)


def test_rnn_from_arrays_equals_the_esn_without_leak():
    rng = np.random.default_rng(2)
    w, w_in, b = 0.3 * rng.normal(size=(6, 6)), rng.normal(size=(6, 2)), rng.normal(size=6)
    u = rng.normal(size=(30, 2))
    for bias in (b, None):
        esn = simulate(*dynlab.esn_from_arrays(w, w_in, bias=bias), u).outputs
        np.testing.assert_allclose(simulate(*rnn_from_arrays(w, w_in, bias), u).outputs, esn, atol=1e-5)


# from_step


def leaky(params, h, x):
    return (1 - params["leak"]) * h + params["leak"] * jnp.tanh(params["w"] @ h + params["v"] @ x)


def rotate(params, state, x):
    q, p = state
    return (q + params * p, p - params * (q + params * p))


def count_and_decay(params, state, x):
    return {"h": params * state["h"], "n": state["n"] + 1}


@pytest.mark.conformance
def test_from_step_runs_the_function(tol):
    rng = np.random.default_rng(0)
    params = {"w": rng.normal(size=(4, 4)) / 2, "v": rng.normal(size=(4, 2)), "leak": 0.3}
    model, as_arrays = from_step(leaky, 4, params, n_inputs=2, dt=0.1)
    u, h, expected = rng.normal(size=(25, 2)), np.zeros(4), []
    for row in u:
        h = 0.7 * h + 0.3 * np.tanh(params["w"] @ h + params["v"] @ row)
        expected.append(h)
    np.testing.assert_allclose(simulate(model, as_arrays, u).outputs, expected, atol=tol(1e-5, 1e-12))
    assert (model.dt, model.smooth, model.input_sizes) == (0.1, True, 2)
    assert model.init(jax.random.key(0)) is model.params


def test_from_step_takes_any_state_and_no_input():
    start = (np.ones(2), np.zeros(2))
    model, params = from_step(rotate, start, 0.1)
    run = simulate(model, params, None, n_steps=50)
    assert run.outputs.shape == (50, 4)
    q, p = np.ones(2), np.zeros(2)
    for _ in range(50):
        q = q + 0.1 * p
        p = p - 0.1 * q
    np.testing.assert_allclose(run.outputs[-1], [*q, *p], atol=1e-5)
    counting, params = from_step(count_and_decay, {"h": np.ones(3), "n": np.int32(0)}, 0.5,
                                 observe=lambda params, state: state["h"][:1], smooth=False)
    run = simulate(counting, params, None, n_steps=4)
    np.testing.assert_allclose(run.outputs[:, 0], 0.5 ** np.arange(1, 5))
    assert int(run.state["n"]) == 4
    assert tree.phase(run.state)[0].shape == (3,)
    assert not counting.smooth
    with pytest.raises(ValueError, match="inputs must be None for a step made without n_inputs"):
        simulate(model, 0.1, np.zeros((5, 1)))


def test_from_step_maps_over_params_and_compiles_once(count_compilations):
    model, params = from_step(leaky, 2, {"w": np.eye(2), "v": np.eye(2), "leak": 0.5}, n_inputs=2)
    u = jnp.ones((5, 2))
    leaks = jnp.array([0.1, 0.5])
    many = jax.vmap(lambda leak: simulate(model, {**params, "leak": leak}, u).outputs)(leaks)
    np.testing.assert_allclose(many[1], simulate(model, params, u).outputs, atol=1e-6)
    again, other = from_step(leaky, 2, {"w": np.eye(2), "v": np.eye(2), "leak": 0.7}, n_inputs=2)
    with count_compilations() as count:
        simulate(again, other, u)
    assert count.compilations == 0


def entries(network="gru_deep", **changes):
    """A recorded state_dict with entries changed, or left out (None)."""
    made = {**part(TORCH, network)[0], **changes}
    return {name: value for name, value in made.items() if value is not None}


def linen(network="gru", **changes):
    made = {**linen_params(network)[0], **changes}
    return {name: value for name, value in made.items() if value is not None}


W5, NAN = TORCH["gru_deep/weight_hh_l0"], np.full((15, 5), np.nan, np.float32)
BAD = {
    "empty mapping": (lambda: from_torch({}), ValueError, r"source must be a state_dict .*got an empty mapping"),
    "no mapping": (lambda: from_torch([1]), TypeError, r"source must be a state_dict .*got list"),
    "number as key": (lambda: from_torch({0: W5}), ValueError, r"source must have names as keys, got 0"),
    "no recurrent part": (lambda: from_torch({"fc.weight": W5}), ValueError, r"hold a recurrent network .*entries fc\.weight"),
    "two recurrent parts": (lambda: from_torch({"a.weight_ih_l0": W5, "b.weight_ih_l0": W5}), ValueError, r"prefix must be given to choose a recurrent network: one of 'a\.', 'b\.'"),
    "unknown prefix": (lambda: from_torch(entries(), prefix="rnn."), ValueError, r"prefix must begin the name of an entry, got 'rnn\.'"),
    "prefix of a container": (lambda: from_torch({"a.rnn.weight_ih_l0": W5}, prefix="a"), ValueError, r"prefix must be that of a recurrent network itself, got 'a\.'"),
    "prefix no string": (lambda: from_torch(entries(), prefix=3), TypeError, r"prefix must be a string, got int"),
    "missing weight": (lambda: from_torch(entries(weight_hh_l1=None)), ValueError, r"weight_hh_l1 is missing"),
    "missing bias": (lambda: from_torch(entries(bias_hh_l0=None)), ValueError, r"bias_hh_l0 is missing.*both"),
    "missing layer": (lambda: from_torch({name.replace("l1", "l2"): value for name, value in entries().items()}), ValueError, r"weight_ih_l1 is missing: layers go from 0 .*got \[0, 2\]"),
    "bidirectional": (lambda: from_torch(entries(weight_ih_l0_reverse=W5)), ValueError, r"weight_ih_l0_reverse: a bidirectional"),
    "projection": (lambda: from_torch(entries("lstm_plain", weight_hr_l0=W5)), ValueError, r"weight_hr_l0: an LSTM with projections"),
    "unexpected entry": (lambda: from_torch(entries(h0=W5)), ValueError, r"h0 is no entry of nn\.RNN, nn\.GRU or nn\.LSTM"),
    "cell beside network": (lambda: from_torch(entries(weight_ih=W5)), ValueError, r"weight_ih must not stand beside weight_ih_l0"),
    "two gates": (lambda: from_torch(entries(weight_hh_l0=W5[:10])), ValueError, r"weight_hh_l0 must have N, 3 N or 4 N rows and N columns .*\(10, 5\)"),
    "odd rows": (lambda: from_torch(entries(weight_hh_l0=W5[:7])), ValueError, r"weight_hh_l0 must have N, 3 N or 4 N rows"),
    "vector": (lambda: from_torch(entries(weight_hh_l0=W5[0])), ValueError, r"weight_hh_l0 must have shape \(any, any\), got \(5,\)"),
    "rows disagree": (lambda: from_torch(entries(weight_ih_l0=W5[:5])), ValueError, r"weight_ih_l0 must have shape \(15, any\), got \(5, 5\)"),
    "layers disagree": (lambda: from_torch(entries(weight_ih_l1=W5[:, :3])), ValueError, r"weight_ih_l1 must have shape \(15, 5\), got \(15, 3\)"),
    "bias too long": (lambda: from_torch(entries(bias_ih_l0=W5)), ValueError, r"bias_ih_l0 must have shape \(15\), got \(15, 5\)"),
    "layers of two kinds": (lambda: from_torch({**entries(), **{n: v for n, v in entries("rnn_deep").items() if n.endswith("l1")}}), ValueError, r"weight_hh_l1 must be of the same kind .*\(GRU\), got the shape of a RNN"),
    "NaN": (lambda: from_torch(entries(weight_hh_l1=NAN)), ValueError, r"weight_hh_l1 must be finite, got nan at index \(0, 0\) \(75 of 75"),
    "infinite bias": (lambda: from_torch(entries(bias_ih_l0=np.full(15, np.inf))), ValueError, r"bias_ih_l0 must be finite, got inf"),
    "complex": (lambda: from_torch(entries(weight_hh_l0=W5 + 0j)), ValueError, r"weight_hh_l0 must hold floating-point numbers, got dtype complex64"),
    "integers": (lambda: from_torch(entries(weight_hh_l0=W5.astype(np.int8))), ValueError, r"weight_hh_l0 must hold floating-point numbers, got dtype int8"),
    "objects": (lambda: from_torch(entries(weight_hh_l0="x")), ValueError, r"weight_hh_l0 must hold floating-point numbers, got dtype <U1"),
    "quantised entries": (lambda: from_torch({"rnn._all_weight_values.0.param": W5}), ValueError, r"got the quantised entry 'rnn\._all_weight"),
    "nonlinearity": (lambda: from_torch(entries(), nonlinearity="gelu"), ValueError, r"nonlinearity must be one of 'tanh', 'relu', got 'gelu'"),
    "relu in a GRU": (lambda: from_torch(entries(), nonlinearity="relu"), ValueError, r"nonlinearity must be 'tanh' for an nn\.GRU, got 'relu'"),
    "no time": (lambda: from_torch(entries(), dt=0), ValueError, r"dt must be finite and in \(0"),
    "whole module": (lambda: from_torch(FIXTURES / "module.pt"), ValueError, r"torch\.save\(model\.state_dict\(\), path\)"),
    "checkpoint": (lambda: from_torch(FIXTURES / "checkpoint.pt"), ValueError, r"checkpoint with the mappings \['state_dict'\]"),
    "no linear layer": (lambda: linear_from_torch(entries()), ValueError, r"source must hold a linear layer"),
    "two linear layers": (lambda: linear_from_torch({"a.weight": W5, "b.weight": W5}), ValueError, r"choose a linear layer: one of 'a\.', 'b\.'"),
    "recurrent as linear": (lambda: linear_from_torch(FIXTURES / "state_dict.pt", "rnn"), ValueError, r"rnn\.weight must be in the source"),
    "linear bias": (lambda: linear_from_torch({"weight": W5, "bias": W5[0]}), ValueError, r"bias must have shape \(15\), got \(5,\)"),
    "linen: no mapping": (lambda: from_linen(W5), TypeError, r"params must be a dictionary of layers .*got ndarray"),
    "linen: another module": (lambda: from_linen({"params": {"Dense_0": {}, "Dense_1": {}}}), ValueError, r"params\['params'\] must be the parameters of one of SimpleCell, GRUCell.*Dense_0"),
    "linen: missing layer": (lambda: from_linen(linen(hn=None)), ValueError, r"for a GRUCell; missing \['hn'\], not among them \[\]"),
    "linen: more layers": (lambda: from_linen(linen("lstm", out={})), ValueError, r"for a LSTMCell; missing \[\], not among them \['out'\]"),
    "linen: missing kernel": (lambda: from_linen(linen(iz={"bias": W5[0]})), ValueError, r"params\['iz'\]\['kernel'\] must be there, got \['bias'\]"),
    "linen: shape": (lambda: from_linen(linen(hz={"kernel": W5[:4]})), ValueError, r"params\['hz'\]\['kernel'\] must have shape \(5, 5\), got \(4, 5\)"),
    "linen: NaN": (lambda: from_linen(linen(hz={"kernel": NAN[:5]})), ValueError, r"params\['hz'\]\['kernel'\] must be finite"),
    "linen: relu in a GRU": (lambda: from_linen(linen(), nonlinearity="relu"), ValueError, r"nonlinearity must be 'tanh' for a GRUCell"),
    "arrays: not square": (lambda: rnn_from_arrays(W5, W5), ValueError, r"w must have shape \(N, N\), got \(15, 5\)"),
    "arrays: w_in": (lambda: rnn_from_arrays(W5[:5], W5), ValueError, r"w_in must have shape \(5, n_inputs\), got \(15, 5\)"),
    "arrays: bias": (lambda: rnn_from_arrays(W5[:5], W5[:5], W5), ValueError, r"bias must have shape \(5,\), got \(15, 5\)"),
    "arrays: NaN": (lambda: rnn_from_arrays(NAN[:5], W5[:5]), ValueError, r"w must be finite, got nan"),
    "arrays: activation": (lambda: rnn_from_arrays(W5[:5], W5[:5], activation="gelu"), ValueError, r"activation must be one of"),
    "step: no function": (lambda: from_step(3, 2), TypeError, r"step must be a function step\(params, state, x\)"),
    "step: no size": (lambda: from_step(rotate, 0), ValueError, r"n_state must be at least 1, got 0"),
    "step: float size": (lambda: from_step(rotate, 2.0), TypeError, r"n_state must be a size \(an integer\) or a state of arrays, got 2\.0"),
    "step: bool size": (lambda: from_step(rotate, True), TypeError, r"n_state must be a size"),
    "step: NaN in the start": (lambda: from_step(leaky, np.array([np.nan])), ValueError, r"n_state must be finite"),
    "step: complex start": (lambda: from_step(leaky, np.array([1j])), TypeError, r"n_state must be real numbers"),
    "step: no coordinate": (lambda: from_step(leaky, np.array([1])), ValueError, r"no phase-space coordinate"),
    "step: it fails": (lambda: from_step(leaky, 3, {"w": np.eye(2), "v": np.eye(2), "leak": 1.0}, n_inputs=2), TypeError, r"step must take \(params, state, x\) with the state float32\[3\] and x float32\[2\]: it raised TypeError"),
    "step: other shape": (lambda: from_step(lambda p, h, x: h[:1], 3), TypeError, r"step must return a state like the one it takes, float32\[3\], got float32\[1\]"),
    "step: other dtype": (lambda: from_step(lambda p, h, x: h > 0, 3), TypeError, r"got bool\[3\]"),
    "step: other structure": (lambda: from_step(lambda p, h, x: (h,), 3), TypeError, r"got \(float32\[3\],\)"),
    "step: no features": (lambda: from_step(lambda p, h, x: h, 3, observe=lambda p, h: h[0]), TypeError, r"observe must return one array of shape \(n_features,\), got float32\[\]"),
    "step: observe fails": (lambda: from_step(lambda p, h, x: h, 3, observe=lambda p: p), TypeError, r"observe must take \(params, state\)"),
    "step: observe no function": (lambda: from_step(lambda p, h, x: h, 3, observe="h"), TypeError, r"observe must be None or a function"),
    "step: text in params": (lambda: from_step(leaky, 3, {"w": "tanh"}), TypeError, r"params\['w'\] must be a number or an array, got 'tanh'"),
    "step: inputs": (lambda: from_step(leaky, 3, n_inputs=0), ValueError, r"n_inputs must be at least 1, got 0"),
    "step: inputs by name": (lambda: from_step(leaky, 3, n_inputs={"a": 1}), TypeError, r"n_inputs must be None, an integer or a tuple"),
    "step: dt": (lambda: from_step(leaky, 3, dt=-1.0), ValueError, r"dt must be finite and in \(0"),
    "step: smooth": (lambda: from_step(leaky, 3, smooth=1), TypeError, r"smooth must be True or False, got 1"),
    "step: traced start": (lambda: jax.vmap(lambda h: from_step(leaky, h)[1])(jnp.ones((2, 3))), TypeError, r"n_state must be concrete"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    if jnp.result_type(float) == jnp.float64:
        message = message.replace("float32", "float64")
    with pytest.raises(error, match=message):
        call()


def test_names_stay_where_they_were():
    assert {"RESERVOIRPY_NAMES", "esn_from_reservoirpy", "esn_from_reservoirpy_names"} <= set(interop.__all__)
    assert all(getattr(interop, name).__doc__ for name in interop.__all__ if name != "RESERVOIRPY_NAMES")
