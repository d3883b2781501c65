"""Training in half precision: dtypes, gradients against float32, scale, sums over ticks, and what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dynlab import CTM, AttentiveLSTM, LeakyRNN, think, train, tree
from dynlab.models.synchronization import MAX_DECAY, Pairs, add, weighted, zero_sums
from dynlab.tasks import CumulativeParity

KEY = jax.random.key(0)
TASK = CumulativeParity(n_signs=4)
SIZES = {"n_inputs": 8, "n_tokens": 4, "n_symbols": 2, "positions": "rotation", "n_attention": 8, "n_heads": 2,
         "n_outputs": (4, 2)}
MODEL = CTM(**SIZES, n_units=16, n_history=3, n_hidden=4, n_out=6, n_action=6)
LIMITS = {name: train.projected(0.0, MAX_DECAY) for name in ("decay_out", "decay_action")}


@tree.dataclass
class Loss:
    """Parity; the model is a knob and its ticks are static."""

    model: object
    n_ticks: int = tree.static(default=5)

    def __call__(self, params, key):
        drawn = TASK.batch(key, 64)
        thought = think(self.model, params, drawn.symbols, self.n_ticks)
        found = train.two_ticks(thought.logits, thought.certainty, drawn.labels)
        return found.loss, {"sure": jnp.mean(thought.certainty)}


def gradients(loss, params):
    free, rule = train.trainable(params)
    return jax.jit(jax.value_and_grad(lambda values: loss(rule.build(values), KEY), has_aux=True))(free)


def apart(a, b):
    """Relative distance of two gradients, all entries together."""
    a, b = (np.concatenate([np.ravel(g[name]) for name in a]) for g in (a, b))
    return np.linalg.norm(a - b) / np.linalg.norm(a)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])
def test_value_and_gradient_are_float32_and_near_those_of_float32(dtype):
    params = MODEL.init(KEY)
    (value, _), gradient = gradients(Loss(MODEL), params)
    (half, report), found = gradients(train.mixed_precision(Loss(MODEL), dtype), params)
    assert {g.dtype for g in found.values()} == {half.dtype, report["sure"].dtype} == {jnp.dtype("float32")}
    digits = float(jnp.finfo(dtype).eps)
    assert 0 < abs(float(half - value)) < digits
    assert 0 < apart(gradient, found) < 8 * digits


def test_the_forward_pass_is_in_half_precision():
    seen = {}

    def loss(params, key):
        drawn = TASK.batch(key, 4)
        thought = think(MODEL, params, drawn.symbols, 3)
        seen.update(params=params, state=thought.state, logits=thought.logits)
        return jnp.mean(thought.logits)

    train.mixed_precision(loss)(MODEL.init(KEY), KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(seen["params"])} == {jnp.dtype("bfloat16"), jnp.dtype("int32")}
    assert seen["state"].active.dtype == seen["state"].history.dtype == seen["logits"].dtype == jnp.bfloat16
    assert seen["state"].out.alpha.dtype == seen["state"].action.beta.dtype == jnp.float32


def test_small_gradients_of_float16_want_a_scale():
    """Times 2^-18 they are below what float16 can hold; the scale brings them back and leaves the value alone."""
    params = MODEL.init(KEY)
    small = lambda p, key: (Loss(MODEL)(p, key)[0].astype(jnp.float32) * 2.0**-18, {})  # noqa: E731
    (value, _), gradient = gradients(small, params)
    (plain, _), lost = gradients(train.mixed_precision(small, jnp.float16, scale=1.0), params)
    (scaled, _), kept = gradients(train.mixed_precision(small, jnp.float16, scale=2.0**24), params)
    assert apart(gradient, lost) > 0.5
    assert apart(gradient, kept) < 0.02
    assert float(plain) == float(scaled) == pytest.approx(float(value), rel=1e-3)


def test_training_comes_to_the_same_loss_and_the_parameters_stay_float32():
    rule = optax.adamw(3e-3)
    options = {"optimiser": rule, "n_epochs": 3, "n_updates": 100, "constraints": LIMITS}
    params, loss = MODEL.init(KEY), Loss(MODEL)
    plain = train.fit(loss, params, KEY, **options)
    half = train.fit(train.mixed_precision(loss), params, KEY, **options)
    assert {leaf.dtype for leaf in jax.tree.leaves(half.params)} == {jnp.dtype("float32"), jnp.dtype("int32")}
    first, last, other = plain.loss[0, :10].mean(), plain.loss[-1].mean(), half.loss[-1].mean()
    assert last < 0.8 * first
    assert abs(other - last) < 0.1 * (first - last)
    np.testing.assert_array_equal(half.params.out.left, params.out.left)


def test_the_loss_of_a_leaky_network_and_its_workspace():
    """Inputs are float32 and drawn in the loss; 300 steps; the memory for them is handed on by fit."""
    model = LeakyRNN(n_inputs=2, n_units=12, tau=20.0)

    @tree.dataclass
    class Read:
        def parts(self, key):
            return jax.random.normal(key, (4, 300, 2)), lambda p: jax.vmap(lambda _: model.init_state(p))(jnp.arange(4))

        def workspace(self, params, key):
            inputs, states = self.parts(key)
            return train.workspace(model, params, states(params), inputs)

        def __call__(self, params, key, workspace=None):
            inputs, states = self.parts(key)
            last = train.last_state(model, params, states(params), inputs, workspace=workspace)
            return jnp.mean((last - 0.5).astype(jnp.float32) ** 2), {}

    params, loss = model.init(KEY), Read()
    half = train.mixed_precision(loss)
    assert jax.tree.leaves(half.workspace(params, KEY))[0].dtype == jnp.bfloat16
    (value, _), gradient = gradients(loss, params)
    (other, _), found = gradients(half, params)
    assert float(other) == pytest.approx(float(value), rel=0.02)
    assert apart(gradient, found) < 0.03
    rows = train.fit(half, params, KEY, optimiser=optax.sgd(0.1), n_epochs=1, n_updates=5)
    assert rows.params.weight_hh.dtype == jnp.float32
    assert rows.loss[0, -1] < rows.loss[0, 0]
    assert not hasattr(train.mixed_precision(Loss(MODEL)), "workspace")


@pytest.mark.parametrize("model", [
    MODEL.replace(window=True, n_heads=0, n_action=0, n_symbols=None, positions="none", pairing="dense"),
    MODEL.replace(private=False, n_history=1, n_hidden=None, synchrony=False, n_out=0, n_action=0, dropout=0.1),
    MODEL.replace(depth=3, pairing="random", coordinates="units"),
    MODEL.replace(n_symbols=None, n_tokens=(2, 2), positions="rotation_grid"),
    MODEL.replace(n_symbols=None, n_tokens=(2, 2), positions="multi_fourier"),
    AttentiveLSTM(**SIZES, n_units=12),
], ids=["window", "bare", "deep", "grid", "fourier", "lstm"])
def test_all_kinds_of_thinkers_run(model):
    """Vectors come as float32 and are cast where they enter."""
    shape = (3, 8) if not model.n_heads else (3, 4, 8)
    tokens = jnp.ones((3, 4), jnp.int32) if model.n_symbols else jax.random.normal(KEY, shape)

    def loss(params, key):
        return jnp.mean(think(model, params, tokens, 4, key=key).logits ** 2), {}

    keep = ("reader.positions",) if model.positions == "multi_fourier" else ()
    (value, _), gradient = gradients(loss, model.init(KEY))
    (half, _), found = gradients(train.mixed_precision(loss, keep=keep), model.init(KEY))
    assert half.dtype == jnp.float32
    assert float(half) == pytest.approx(float(value), rel=0.05)
    assert apart(gradient, found) < 0.1


def test_sums_over_ticks_are_float32():
    """bfloat16 counts to 256 and no further; 300 ticks against float64."""
    z = np.random.default_rng(0).normal(0.2, 0.5, (300, 2)).astype(jnp.bfloat16)
    pairs, decay = Pairs(jnp.array([0]), jnp.array([1])), jnp.zeros(1, jnp.bfloat16)
    tick = lambda s, row: (add(s, pairs.products(row), decay), None)  # noqa: E731
    sums = jax.lax.scan(tick, zero_sums(1, z.dtype), jnp.asarray(z))[0]
    exact = np.prod(z.astype(np.float64), axis=1).sum()
    assert float(sums.beta[0]) == 300
    assert float(sums.alpha[0]) == pytest.approx(exact, rel=1e-5)
    assert float(weighted(pairs.products(jnp.asarray(z)), decay)[0]) == pytest.approx(exact / np.sqrt(300), rel=1e-5)
    assert float(jax.lax.fori_loop(0, 300, lambda _, c: c + 1, jnp.bfloat16(0))) == 256  # why


def test_parts_that_are_kept():
    seen = []
    params = {"a": jnp.ones(2), "b": {"c": jnp.ones(2), "d": jnp.arange(2)}}

    def loss(p, key):
        seen.append(jax.tree.map(lambda leaf: str(leaf.dtype), p))
        return jnp.sum(p["a"]) + jnp.sum(p["b"]["c"])

    train.mixed_precision(loss, keep=("b",))(params, KEY)
    train.mixed_precision(loss, keep=("a",))(params, KEY)
    assert seen[0] == {"a": "bfloat16", "b": {"c": "float32", "d": "int32"}}
    assert seen[1] == {"a": "float32", "b": {"c": "bfloat16", "d": "int32"}}
    with pytest.raises(ValueError, match=r"keep must name parts of the parameters \(a, b.c, b.d\), got e"):
        train.mixed_precision(loss, keep=("e",))(params, KEY)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.int8, "half a float", None])
def test_other_types_are_refused(dtype):
    with pytest.raises(ValueError, match=r"dtype must be jnp.bfloat16 or jnp.float16, got"):
        train.mixed_precision(Loss(MODEL), dtype)


def test_other_options_are_refused():
    with pytest.raises(ValueError, match="scale must be finite"):
        train.mixed_precision(Loss(MODEL), scale=0.0)
    with pytest.raises(ValueError, match="keep must be a tuple of names, got 'reader'"):
        train.mixed_precision(Loss(MODEL), keep="reader")
