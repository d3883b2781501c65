"""Continuous Thought Machines trained in PyTorch think the same here: recorded ones, and PyTorch where it is installed."""

# ruff: noqa: E501
from __future__ import annotations

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.interop import Foreign, ctm_from_torch, read_torch_file
from dynlab.models.ctm import CTM
from dynlab.models.layers import parameter_count
from dynlab.models.thinking import think

FIXTURES = Path(__file__).parent / "fixtures"
RECORDED = dict(np.load(FIXTURES / "ctm_torch.npz"))
TICKS = 10
# what a state_dict does not tell
ARGUMENTS = {
    "dense": {"n_heads": 2, "n_tokens": 4},
    "semi_dense": {"n_heads": 2, "n_tokens": 4},
    "random": {"n_heads": 2, "n_tokens": 4},
    "tutorial": {"n_heads": 2, "n_tokens": 4},
    "grid": {"n_heads": 2, "n_tokens": (2, 2), "n_outputs": (4, 3)},
    "sort": {},
}
FIELDS = {
    "dense": CTM(4, 4, 2, "rotation", 32, 4, 2, 5, 2, 3, 3, "dense", n_outputs=(4, 2)),
    "semi_dense": CTM(4, 4, 2, "rotation", 32, 4, 2, 5, 2, 3, 3, "semi_dense", n_outputs=(4, 2)),
    "random": CTM(4, 4, 2, "rotation", 32, 4, 2, 5, 2, 3, 3, "random", n_self=1, depth=3, n_outputs=(4, 2)),
    "tutorial": CTM(3, 4, None, "none", 20, 4, 2, 3, 2, 3, 3, "dense", n_outputs=(5,)),
    "grid": CTM(4, (2, 2), None, "rotation_grid", 20, 4, 2, 3, 2, 3, 3, "random", depth=2, n_outputs=(4, 3)),
    "sort": CTM(n_inputs=6, n_units=20, n_heads=0, n_history=3, n_hidden=None, n_out=3, n_action=0, pairing="random",
                n_outputs=(7,)),
}


def recorded(case, part):
    return RECORDED[f"{case}/{part}"]


def weights(case="dense", **changes):
    """A recorded state_dict with entries changed, or left out (None); dots of names are written "__"."""
    start = f"{case}/weights/"
    made = {name.removeprefix(start): value for name, value in RECORDED.items() if name.startswith(start)}
    made.update({name.replace("__", "."): value for name, value in changes.items()})
    return {name: value for name, value in made.items() if value is not None}


@functools.cache
def loaded(case):
    return ctm_from_torch(weights(case), **ARGUMENTS[case])


@pytest.mark.conformance
@pytest.mark.parametrize("case", FIELDS)
def test_recorded_machines_think_the_same(case, tol):
    model, params = loaded(case)
    assert model == FIELDS[case]
    tokens = recorded(case, "tokens")
    found = think(model, params, tokens, TICKS, record=("attention", "features") if model.n_heads else ("features",))
    parts = {"logits": found.logits, "certainty": found.certainty, "synchronization": found.records["features"]}
    if model.n_heads:
        parts["attention"] = found.records["attention"]
        assert np.std(recorded(case, "attention"), axis=1).max() > 1e-3  # it looks elsewhere from tick to tick
    for part, value in parts.items():
        want = recorded(case, part)
        np.testing.assert_allclose(value, want, rtol=0, atol=tol(1e-5, 1e-10), err_msg=part)
        assert np.std(want, axis=1).max() > 1000 * 1e-6  # it changes from tick to tick, far above the tolerance


@pytest.mark.parametrize("case", FIELDS)
def test_the_imported_model_can_also_be_drawn(case, key):
    model, params = loaded(case)
    drawn = jax.eval_shape(model.init, key)
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, params)
    assert jax.tree.map(lambda leaf: leaf.dtype, drawn) == jax.tree.map(lambda leaf: leaf.dtype, params)
    entries = {name: value for name, value in weights(case).items() if not name.startswith("backbone.")}
    count = sum(value.size for value in entries.values() if value.dtype.kind == "f")
    if case in ("dense", "semi_dense", "random"):
        count += weights(case)["backbone.embedding.weight"].size
    # without a scale in the tutorial's layout, two numbers that stay at 1 are added
    assert parameter_count(params) == count + (2 if case == "tutorial" else 0)


def test_decays_are_put_back_as_the_forward_pass_does():
    given = weights()["decay_params_out"]
    assert given[0] < 0
    assert given[-1] > 15
    np.testing.assert_array_equal(loaded("dense")[1].decay_out, np.clip(given, 0, 15))


def test_a_checkpoint_of_a_training_script():
    """Its args say what the state_dict does not; the numbers are those of the recorded case."""
    path = FIXTURES / "ctm_checkpoint.pt"
    held = read_torch_file(path, objects=True)
    assert isinstance(held["args"], Foreign)
    assert held["args"].attributes["neuron_select_type"] == "first-last"
    assert held["iteration"] == 3
    np.testing.assert_array_equal(held["optimizer_state_dict"]["state"][0]["exp_avg"], np.zeros(32))
    want = loaded("dense")
    named = {"model_state_dict": weights(), "args": {"heads": 2, "parity_sequence_length": 4}}
    wrapped = {f"ctm.{name}": value for name, value in weights().items()}
    compiled = {name.replace("synapses.", "synapses._orig_mod."): value for name, value in weights().items()}
    for source, arguments in (
        (path, {}), (str(path), {"n_heads": 2, "n_tokens": 4}), (held, {}), (named, {}),
        (wrapped, {**ARGUMENTS["dense"], "prefix": "ctm"}), (compiled, ARGUMENTS["dense"]),
    ):
        model, params = ctm_from_torch(source, **arguments)
        assert model == want[0]
        jax.tree.map(np.testing.assert_array_equal, params, want[1])
    with pytest.raises(ValueError, match=r"which a state_dict has not"):
        read_torch_file(path)


def test_foreign_objects_do_and_hold_nothing(tmp_path):
    """Names that a file may ask for are never looked up: the object only stands there."""
    torch = pytest.importorskip("torch")

    class Evil:
        def __reduce__(self):
            return eval, ("__import__('pathlib').Path('ran').touch()",)

    torch.save({"evil": Evil(), "w": torch.ones(2)}, tmp_path / "x.pt")
    found = read_torch_file(tmp_path / "x.pt", objects=True)
    assert found["evil"].attributes == {}
    np.testing.assert_array_equal(found["w"], np.ones(2))
    assert not Path("ran").exists()


@pytest.mark.parametrize("several", [False, True])
def test_fourier_codes_by_their_formula(several):
    rng, width, scales = np.random.default_rng(1), 4, 3 if several else 1
    at = [f"positional_embedding.embedders.{i}." for i in range(3)] if several else ["positional_embedding."]
    code: dict[str, np.ndarray] = {}
    for name in at:
        for entry, shape in (("Wr.weight", (128, 2)), ("mlp.0.weight", (128, 256)), ("mlp.0.bias", (128,)),
                             ("mlp.2.weight", (width, 64)), ("mlp.2.bias", (width,)), ("mlp.3.weight", (width,)),
                             ("mlp.3.bias", (width,))):
            code[name + entry] = rng.normal(size=shape) / np.sqrt(shape[-1])
    mixture = rng.normal(size=scales)
    if several:
        code["positional_embedding.combination"] = mixture
    old = {name: value for name, value in weights("grid").items() if not name.startswith("positional")}
    model, params = ctm_from_torch({**old, **code}, n_heads=2, n_tokens=(2, 3), n_outputs=(12,))
    assert model.positions == ("multi_fourier" if several else "fourier")
    points = np.array([(x / 2, y) for y in (0.0, 1.0) for x in range(3)])
    want = np.zeros((6, width))
    for name, share in zip(at, np.exp(mixture) / np.exp(mixture).sum(), strict=True):
        phase = points @ code[name + "Wr.weight"].T
        hidden = np.concatenate([np.cos(phase), np.sin(phase)], 1) / 16 @ code[name + "mlp.0.weight"].T
        hidden += code[name + "mlp.0.bias"]
        hidden = hidden[:, :64] / (1 + np.exp(-hidden[:, 64:]))
        out = hidden @ code[name + "mlp.2.weight"].T + code[name + "mlp.2.bias"]
        out = (out - out.mean(1, keepdims=True)) / np.sqrt(out.var(1, keepdims=True) + 1e-5)
        want += share * (out * code[name + "mlp.3.weight"] + code[name + "mlp.3.bias"])
    np.testing.assert_allclose(params.reader.positions.table((2, 3)), want, atol=2e-5)


@pytest.mark.parametrize("positions", [True, False])
def test_many_symbols_are_read_as_few(positions):
    """Up to four symbols are put in all places before a sample is read, more are looked up: two roads to one number."""
    given = {name: value for name, value in weights().items() if positions or not name.startswith("positional")}
    more = np.concatenate([given["backbone.embedding.weight"], np.ones((4, 4), np.float32)])
    tokens = recorded("dense", "tokens")
    few, many = (think(*ctm_from_torch(source, **ARGUMENTS["dense"]), tokens, TICKS).logits
                 for source in (given, {**given, "backbone.embedding.weight": more}))
    np.testing.assert_allclose(few, many, rtol=0, atol=2e-6)


def test_pairing_is_read_off_indices_and_decays():
    one = {"out_neuron_indices_left": np.array([7]), "out_neuron_indices_right": np.array([9]),
           "decay_params_out": np.zeros(1), "output_projector__0__weight": np.ones((8, 1))}
    assert ctm_from_torch(weights("dense", **one), **ARGUMENTS["dense"])[0].pairing == "semi_dense"
    assert ctm_from_torch(weights("random", **one), **ARGUMENTS["random"])[0].pairing == "random"
    lone = {name: None for name in weights("dense") if "neuron_indices" in name}
    assert ctm_from_torch(weights("dense", **lone), **ARGUMENTS["dense"])[0] == FIELDS["dense"]


def load(case="dense", arguments=None, **changes):
    return lambda: ctm_from_torch(weights(case, **changes), **(ARGUMENTS[case] if arguments is None else arguments))


LEFT = np.arange(3)
BAD = {
    "a list": (lambda: ctm_from_torch([1]), TypeError, r"source must be a state_dict .* of the published ContinuousThoughtMachine, .*got list"),
    "nothing": (lambda: ctm_from_torch({}), ValueError, r"source must be a state_dict .*begin with ''"),
    "prefix": (lambda: ctm_from_torch(weights(), prefix="net"), ValueError, r"names begin with 'net\.'; got the entries start_activated_state"),
    "prefix no string": (lambda: ctm_from_torch(weights(), prefix=1), TypeError, r"prefix must be a string, got int"),
    "another network": (lambda: ctm_from_torch({"fc.weight": np.ones((2, 2))}), ValueError, r"start_trace is missing; .*entries fc\.weight"),
    "no heads": (load(arguments={"n_tokens": 4}), ValueError, r"n_heads must be given, a divisor of the attention's width 4.*got None"),
    "odd heads": (load(arguments={"n_tokens": 4, "n_heads": 3}), ValueError, r"n_heads must be given, a divisor .* 4.*got 3"),
    "no tokens": (load(arguments={"n_heads": 2}), ValueError, r"n_tokens must be given: N, or \(H, W\)"),
    "heads of the args": (lambda: ctm_from_torch(FIXTURES / "ctm_checkpoint.pt", n_heads=1), ValueError, r"n_heads must be 2, as the checkpoint's args say, got 1"),
    "tokens of the args": (lambda: ctm_from_torch(FIXTURES / "ctm_checkpoint.pt", n_tokens=5), ValueError, r"n_tokens must be 4, as the checkpoint's args say, got 5"),
    "outputs": (load(arguments={**ARGUMENTS["dense"], "n_outputs": (3, 2)}), ValueError, r"n_outputs must be a tuple of sizes with product 8, .*got \(3, 2\)"),
    "other tokens": (load(arguments={"n_heads": 2, "n_tokens": 5}), ValueError, r"product 8, .*got \(5, 2\)"),
    "no grid": (load("grid", {"n_heads": 2, "n_tokens": 4}), ValueError, r"n_tokens must be \(height, width\).*rotation_grid"),
    "no time": (load(arguments={**ARGUMENTS["dense"], "dt": 0}), ValueError, r"dt must be finite and in \(0"),
    "missing weight": (load(q_proj__bias=None), ValueError, r"q_proj\.bias is missing"),
    "missing with prefix": (lambda: ctm_from_torch({f"a.{name}": value for name, value in weights(q_proj__bias=None).items()}, prefix="a.", **ARGUMENTS["dense"]), ValueError, r"a\.q_proj\.bias is missing"),
    "missing block": (load("random", synapses__up_projections__1__2__weight=None), ValueError, r"synapses\.up_projections\.1\.2\.weight is missing"),
    "missing second layer": (load(trace_processor__0__2__b1=None), ValueError, r"trace_processor\.0\.2\.b1 is missing"),
    "unexpected": (load(thought_query__weight=np.ones((2, 2))), ValueError, r"source must hold no entries besides .*got thought_query\.weight"),
    "normalised histories": (load(trace_processor__0__0__layernorm__weight=np.ones(5)), ValueError, r"layernorm\.weight; a normalisation of histories \(do_layernorm_nlm\) is not supported"),
    "history": (load(start_trace=np.ones((32, 6))), ValueError, r"trace_processor\.0\.0\.w1 must have shape \(6, any, 32\), got \(5, 4, 32\)"),
    "start": (load(start_activated_state=np.ones(31)), ValueError, r"start_activated_state must have shape \(32\), got \(31,\)"),
    "bias of neurons": (load(trace_processor__0__0__b1=np.ones((32, 4))), ValueError, r"trace_processor\.0\.0\.b1 must have shape \(1, 32, 4\), got \(32, 4\)"),
    "odd hidden": (load(trace_processor__0__0__w1=np.ones((5, 3, 32)), trace_processor__0__0__b1=np.ones((1, 32, 3))), ValueError, r"trace_processor\.0\.0\.w1 must have an even number of outputs, got 3"),
    "attention": (load(attention__in_proj_weight=np.ones((8, 4))), ValueError, r"attention\.in_proj_weight must have shape \(12, 4\), got \(8, 4\)"),
    "query": (load(q_proj__weight=np.ones((4, 5))), ValueError, r"q_proj\.weight must have shape \(any, 6\), got \(4, 5\)"),
    "embedding": (load(backbone__embedding__weight=np.ones((2, 5))), ValueError, r"backbone\.embedding\.weight must have shape \(any, 4\), got \(2, 5\)"),
    "synapses": (load(synapses__1__weight=np.ones((64, 40))), ValueError, r"synapses\.1\.weight must have shape \(64, 36\), got \(64, 40\)"),
    "nothing to read": (load("sort", synapses__1__weight=np.ones((40, 20))), ValueError, r"synapses\.1\.weight must have more than 20 columns"),
    "U-Net widths": (load("random", synapses__down_projections__0__1__weight=np.ones((20, 32))), ValueError, r"synapses\.down_projections\.0\.1\.weight must have shape \(24, 32\), got \(20, 32\)"),
    "head": (load(output_projector__0__weight=np.ones((8, 5))), ValueError, r"output_projector\.0\.weight must have shape \(8, 6\), got \(8, 5\)"),
    "NaN": (load(kv_proj__1__bias=np.full(4, np.nan)), ValueError, r"kv_proj\.1\.bias must be finite"),
    "integers": (load(kv_proj__1__bias=np.ones(4, int)), ValueError, r"kv_proj\.1\.bias must hold floating-point numbers, got dtype int64"),
    "decays": (load(decay_params_out=np.ones(5)), ValueError, r"decay_params_out must have J or J \(J \+ 1\) / 2 entries for the J = 3 units"),
    "two pairings": (load(decay_params_out=np.ones(3)), ValueError, r"decay_params_out and decay_params_action must both have one entry a pair .*\[\(3, 3\), \(3, 6\)\]"),
    "one side longer": (load(out_neuron_indices_right=np.arange(4)), ValueError, r"the J = 3 units of out_neuron_indices_left .*got 6 and 4"),
    "one side missing": (load(out_neuron_indices_right=None), ValueError, r"out_neuron_indices_right is missing"),
    "index too large": (load(out_neuron_indices_left=LEFT + 30), ValueError, r"out_neuron_indices_left must be in \[0, 31\], got 30 to 32"),
    "index negative": (load(action_neuron_indices_left=LEFT - 1), ValueError, r"action_neuron_indices_left must be in \[0, 31\], got -1 to 1"),
    "index no integer": (load(out_neuron_indices_left=LEFT + 0.0), ValueError, r"out_neuron_indices_left must be integers of shape \(J,\), got dtype float64"),
    "no triangle": (load("tutorial", decay_params_out=np.ones(5)), ValueError, r"out_neuron_indices_left is missing: without it decay_params_out must have J \(J \+ 1\) / 2 entries"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


def test_against_torch_itself():
    torch = pytest.importorskip("torch")
    from experiments.bench.ctm_torch import Sizes, ThoughtMachine

    machine = ThoughtMachine(Sizes(pairing="random", n_units=24, depth=2), seed=3)
    tokens = torch.randint(0, 2, (3, 4))
    with torch.no_grad():
        want = machine(tokens)
    model, params = ctm_from_torch(machine.state_dict(), n_heads=2, n_tokens=4)
    found = think(model, params, tokens.numpy(), TICKS, record=("attention",))
    np.testing.assert_allclose(found.logits, want.logits, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.records["attention"], want.attention, rtol=0, atol=1e-5)
    lean = ThoughtMachine(machine.sizes, seed=3, lean=True)
    with torch.no_grad():
        np.testing.assert_allclose(lean(tokens).logits, want.logits, rtol=0, atol=1e-5)
    with pytest.raises(TypeError, match=r"got ThoughtMachine: give its state_dict\(\)"):
        ctm_from_torch(machine)
