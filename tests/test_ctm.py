"""The thought machine: its published sizes, a NumPy loop, thinking and stopping, positions, and what it refuses."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_ctm
import optax
import pytest

from dynlab import phase_map, simulate, tree
from dynlab.models.ctm import CTM
from dynlab.models.ctm_baselines import AttentiveLSTM, FeedForward, match_width, model_size
from dynlab.models.layers import parameter_count
from dynlab.models.positions import POSITIONS, half_turn, positional_code, sinusoid
from dynlab.models.thinking import certainty, exit_tick, think, think_until

KEY = jax.random.key(0)
SMALL = CTM(n_inputs=3, n_tokens=5, n_symbols=2, positions="rotation", n_units=20, n_attention=4, n_heads=2,
            n_history=4, n_hidden=3, n_out=4, n_action=3, n_outputs=(5, 2))
VARIANTS = {
    "semi-dense": SMALL,
    "dense, U-Net": SMALL.replace(pairing="dense", depth=3),
    "random, shallow": SMALL.replace(pairing="random", n_self=2, n_hidden=None),
    "window, two gates": SMALL.replace(n_symbols=None, positions="none", n_heads=0, n_action=0, window=True, n_gates=2,
                                       pairing="dense"),
    "no attention": SMALL.replace(n_symbols=None, positions="none", n_heads=0, n_action=0, pairing="random", depth=2),
}
SYMBOLS = np.array([1, 0, 0, 1, 1])
BATCH = np.array([[1, 0, 0, 1, 1], [0, 1, 0, 1, 0], [1, 1, 1, 1, 0]])
TICKS = 9


@functools.cache
def drawn(model):
    """Parameters with lively units in which nothing is at a special value: no bias 0, no scale 1, decays in (0, 1)."""
    params = jax.jit(model.init)(KEY)
    leaves, treedef = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    moved = [leaf + 0.1 * jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype)
             if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf for leaf in leaves]
    params = jax.tree.unflatten(treedef, moved)
    neurons = jax.tree.map(lambda leaf: 3.0 * leaf if leaf.ndim == 3 else leaf, params.neurons)
    params = params.replace(neurons=neurons)
    if params.reader is not None:  # a query that matters
        query = params.reader.query
        query = query.replace(weight=6.0 * query.weight, bias=6.0 * query.bias)
        params = params.replace(reader=params.reader.replace(query=query))
    decays = {name: jnp.asarray(rng.uniform(0, 1, getattr(params, name).shape), params.start_active.dtype)
              for name in ("decay_action", "decay_out") if getattr(params, name) is not None}
    return params.replace(**decays)


def sample(model):
    return SYMBOLS if model.n_heads else np.array([0.3, -1.2, 0.8])


# ---- sizes ----

PARITY = CTM(n_inputs=512, n_tokens=64, n_symbols=2, positions="rotation", n_units=1024, n_attention=512, n_heads=8,
             n_hidden=16, n_out=32, n_action=32, n_outputs=(64, 2))
CONTROL = CTM(n_inputs=128, n_heads=0, n_action=0, n_units=128, n_history=10, n_hidden=4, n_out=16, pairing="dense",
              n_gates=2, window=True, max_decay=4.0, n_outputs=None)


def linear(a, b):
    return a * b + b


def convolution(channels_in, channels_out, batch_norm=True, size=3):
    return channels_in * channels_out * size**2 + (2 * channels_out if batch_norm else channels_out)


def heads(n, actions):
    """Actor and critic, 64 and 64 wide."""
    return sum(linear(n, 64) + linear(64, 64) + linear(64, out) for out in (actions, 1))


def gates(a, d):
    """Two gated layers with normalisation, in front of the machine in control tasks."""
    return linear(a, 2 * d) + 2 * d + linear(d, 2 * d) + 2 * d


@pytest.mark.parametrize(("history", "published"), [(1, 4_908_706), (5, 5_043_874), (10, 5_212_834), (25, 5_719_714),
                                                    (50, 6_564_514)])
def test_size_of_the_parity_model(history, published):
    assert model_size(PARITY.replace(n_history=history)) == published


def test_sizes_of_the_other_published_models():
    """What stands in front of and behind the machine (images, observations, actor and critic) is counted here."""
    digits = CTM(n_inputs=64, n_units=1024, n_attention=64, n_heads=4, n_history=3, n_hidden=16, n_out=32, n_action=32,
                 n_outputs=(10,))
    front = convolution(1, 64) + 64 + convolution(64, 64) + 64 + 2 * 64  # both with bias and norm; 2 operators
    assert model_size(digits) + front == 2_501_388
    assert model_size(CONTROL) + gates(4, 128) + heads(136, 2) == 175_437
    acrobot = CONTROL.replace(n_inputs=64, n_units=256, n_history=5)
    assert model_size(acrobot) + gates(6, 64) + heads(136, 3) == 350_094
    rooms = CONTROL.replace(n_inputs=49 * 128, n_units=512, n_hidden=16, n_out=32)
    grid = 8 * (11 + 6 + 3 + 49) + gates(32, 128)  # embeddings of objects, colours, states and places
    assert model_size(rooms) + grid + heads(528, 7) == 7_802_690
    sort = CTM(n_inputs=30, n_heads=0, n_action=0, n_units=512, n_history=25, n_hidden=4, n_out=32, pairing="random",
               depth=4, n_outputs=(31,))
    assert model_size(sort) == 897_197
    images = CTM(n_inputs=64, n_units=256, n_attention=64, n_heads=16, n_history=15, n_hidden=64, n_out=256,
                 n_action=512, pairing="random", depth=5, n_outputs=(10,))
    stage = convolution(3, 3, False, 1) + convolution(3, 64) + 4 * convolution(64, 64)
    assert model_size(images) + stage == 1_032_648


def test_size_counts_what_init_draws():
    assert parameter_count(drawn(SMALL)) == model_size(SMALL) == model_size(SMALL.replace(dropout=0.1))


LSTM_PARITY = AttentiveLSTM(n_inputs=512, n_tokens=64, n_symbols=2, positions="rotation", n_attention=512, n_heads=8,
                            n_outputs=(64, 2))


@pytest.mark.parametrize(("history", "width", "published"), [(1, 669, 4_912_710), (5, 686, 5_050_716),
                                                             (25, 765, 5_722_374), (50, 857, 6_567_486)])
def test_the_matched_lstm_has_the_published_width(history, width, published):
    target = model_size(PARITY.replace(n_history=history))
    assert match_width(lambda n: LSTM_PARITY.replace(n_units=n), target) == width
    assert model_size(LSTM_PARITY.replace(n_units=width)) == published


def test_the_matched_feed_forward_network_is_the_smallest_that_is_large_enough():
    net = FeedForward(n_inputs=3, n_tokens=5, n_symbols=2, positions="rotation", n_outputs=(5, 2), pool="flat")
    target = model_size(SMALL)
    width = match_width(lambda n: net.replace(n_units=n), target)
    assert model_size(net.replace(n_units=width - 1)) < target <= model_size(net.replace(n_units=width))
    net = net.replace(n_units=7)
    params = jax.jit(net.init)(KEY)
    angle = np.linspace(0, np.pi, 5)
    code = numpy_ctm.affine(params.positions.project, np.stack([-np.sin(angle), np.cos(angle)], 1))
    pooled = (np.asarray(params.embedding)[SYMBOLS] + code).ravel()
    want = numpy_ctm.affine(params.head, np.maximum(numpy_ctm.affine(params.hidden, pooled), 0))
    np.testing.assert_allclose(net.apply(params, SYMBOLS), want.reshape(5, 2), atol=1e-5)


# ---- the step ----

@pytest.mark.conformance
@pytest.mark.parametrize("name", VARIANTS)
def test_equals_a_numpy_loop(name, tol):
    model = VARIANTS[name]
    params, tokens = drawn(model), sample(VARIANTS[name])
    found = think(model, params, tokens, TICKS, record=("attention", "features"))
    outs, logits, attention = numpy_ctm.run(model, params, tokens, TICKS)
    np.testing.assert_allclose(found.records["features"], outs, rtol=0, atol=tol(2e-5, 1e-12))
    np.testing.assert_allclose(found.logits, logits, rtol=0, atol=tol(2e-5, 1e-12))
    if model.n_heads:
        np.testing.assert_allclose(found.records["attention"], attention, rtol=0, atol=tol(1e-5, 1e-12))
        assert np.std(attention, axis=0).max() > 1e-3  # it looks elsewhere from tick to tick


@pytest.mark.conformance
def test_thinking_is_simulating_with_a_constant_input(tol):
    params = drawn(SMALL)
    x = SMALL.encode(params, SYMBOLS)
    run = simulate(SMALL, params, jax.tree.map(lambda leaf: np.tile(leaf, (TICKS, 1)), x))
    found = think(SMALL, params, SYMBOLS, TICKS, record=("features",))
    np.testing.assert_allclose(found.records["features"], run.outputs, rtol=0, atol=tol(1e-6, 1e-13))


def test_a_batch_equals_its_samples_and_nothing_compiles_again(count_compilations):
    params = drawn(SMALL)
    batch = think(SMALL, params, BATCH, TICKS)
    assert batch.logits.shape == (3, TICKS, 5, 2)
    for b, tokens in enumerate(BATCH):
        np.testing.assert_allclose(batch.logits[b], think(SMALL, params, tokens, TICKS).logits, atol=1e-5)
    other, flipped = jax.tree.map(lambda leaf: leaf * 1, params), 1 - BATCH
    with count_compilations() as count:
        think(SMALL.replace(), other, flipped, TICKS)
    assert count.compilations == 0


def test_start_states_and_decays_learn_and_remat_changes_no_gradient():
    params = jax.jit(SMALL.init)(KEY)

    def loss(leaves, remat):
        found = think(SMALL, params.replace(**leaves), BATCH, TICKS, remat=remat)
        return -jnp.mean(jax.nn.log_softmax(found.logits)[..., 0])

    names = ("start_active", "start_history", "decay_action", "decay_out")
    leaves = {name: getattr(params, name) for name in names}
    assert not np.any(np.asarray(leaves["decay_out"]))  # on the edge
    grads, *others = (jax.jit(jax.grad(loss), static_argnums=1)(leaves, remat) for remat in (None, 1, 4, 20))
    for name in names:
        assert np.all(np.isfinite(grads[name]))
        used = grads[name][:, 1:] if name == "start_history" else grads[name]
        assert np.all(np.asarray(used) != 0)
        for again in others:  # every tick, two pieces of 4 and one left over, one piece
            np.testing.assert_allclose(again[name], grads[name], rtol=1e-3, atol=1e-6)
    assert not np.any(np.asarray(grads["start_history"])[:, 0])  # the oldest column is dropped before it is read
    optimiser = optax.sgd(1.0)
    free = {"decay_out": leaves["decay_out"]}
    updates, _ = optimiser.update({"decay_out": grads["decay_out"]}, optimiser.init(free))
    stepped = params.replace(**optax.apply_updates(free, updates))
    assert np.any(np.asarray(stepped.decay_out) < 0)
    held = SMALL.project(stepped)
    np.testing.assert_array_equal(held.decay_out, np.maximum(stepped.decay_out, 0))
    assert np.any(np.asarray(held.decay_out) > 0)


def test_dropout_needs_its_key_keeps_the_mean_and_is_not_trained():
    model = SMALL.replace(dropout=0.3)
    params = drawn(model).replace(dropout=jnp.asarray(0.3))
    still = think(model, params, SYMBOLS, TICKS).logits
    np.testing.assert_array_equal(still, think(model, params.replace(dropout=None), SYMBOLS, TICKS).logits)
    one, two = (think(model, params, SYMBOLS, TICKS, key=jax.random.key(i)).logits for i in range(2))
    assert not np.allclose(one, two)
    assert not np.allclose(one, still)
    np.testing.assert_allclose(think(model, params.replace(dropout=jnp.asarray(0.0)), SYMBOLS, TICKS, key=KEY).logits,
                               still, atol=1e-5)
    slope = jax.grad(lambda rate: jnp.sum(think(model, params.replace(dropout=rate), SYMBOLS, 3, key=KEY).logits))
    assert slope(jnp.asarray(0.3)) == 0


def test_which_units_are_paired():
    params = drawn(VARIANTS["dense, U-Net"])
    np.testing.assert_array_equal(params.out.left, [0, 1, 2, 3])  # the output has the first, the action the last
    np.testing.assert_array_equal(params.action.left, [17, 18, 19])
    np.testing.assert_array_equal(drawn(VARIANTS["window, two gates"]).out.left, [16, 17, 18, 19])
    params = drawn(VARIANTS["random, shallow"])
    for pairs in (params.out, params.action):
        np.testing.assert_array_equal(pairs.left[:2], pairs.right[:2])
    assert not np.array_equal(drawn(SMALL).out.left[:3], drawn(SMALL).action.left)  # drawn apart


# ---- phase space ----

def test_phase_space_has_what_feeds_back():
    params, d, m, n = drawn(SMALL), 20, 4, 6
    x = SMALL.encode(params, SYMBOLS)
    assert phase_map(SMALL, params).n == d * m + d + n
    held = SMALL.replace(coordinates="units")
    assert phase_map(held, params).n == d * m + d
    assert SMALL.bounded is None
    assert held.bounded is True
    state = simulate(SMALL, params, jax.tree.map(lambda leaf: np.tile(leaf, (3, 1)), x)).state
    moved = state.replace(out=state.out.replace(alpha=state.out.alpha + 1.0, beta=state.out.beta + 1.0))
    after, other = (jax.jit(SMALL.step)(params, s, x) for s in (state, moved))
    np.testing.assert_array_equal(tree.phase(after)[0], tree.phase(other)[0])  # the output sums feed nothing back
    moved = state.replace(action=state.action.replace(alpha=state.action.alpha + 1.0))
    assert not np.array_equal(jax.jit(SMALL.step)(params, moved, x).active, after.active)

    def clock(active, history, alpha, beta):
        action = state.action.replace(alpha=alpha, beta=beta)
        return SMALL.step(params, state.replace(active=active, history=history, action=action), x).action.beta

    slopes = jax.jit(jax.jacfwd(clock, argnums=(0, 1, 2, 3)))(state.active, state.history, state.action.alpha,
                                                              state.action.beta)
    assert not any(np.any(np.asarray(slope)) for slope in slopes[:3])  # so beta adds the exponents -r and no others
    np.testing.assert_allclose(slopes[3], np.diag(np.exp(-np.asarray(params.decay_action))), rtol=1e-6)


def test_from_any_state_the_units_stay_in_a_ball():
    """`bounded`: after as many ticks as the history is long, whatever was there before."""
    held = SMALL.replace(coordinates="units")
    params = drawn(held)
    x = held.encode(params, SYMBOLS)
    far = tree.phase(held.init_state(params))[1](jnp.full(100, 1e4))
    run = simulate(held, params, jax.tree.map(lambda leaf: np.tile(leaf, (8, 1)), x), state=far)
    assert float(jnp.max(jnp.abs(tree.phase(run.state)[0]))) < 20


# ---- certainty ----

@pytest.mark.conformance
def test_certainty_is_one_minus_the_share_of_the_largest_entropy(tol):
    limit = tol(1e-6, 1e-12)
    np.testing.assert_allclose(certainty(jnp.zeros((3, 5))), 0.0, atol=limit)
    np.testing.assert_allclose(certainty(jnp.array([[0.0, -200.0], [500.0, 0.0]])), 1.0, atol=limit)
    p = np.array([0.8, 0.2])
    want = 1 + np.sum(p * np.log2(p))
    np.testing.assert_allclose(certainty(jnp.log(jnp.asarray(p)) + 3.0), want, atol=limit)
    both = jnp.stack([jnp.log(jnp.asarray(p)), jnp.zeros(2)])
    np.testing.assert_allclose(certainty(both, 2), want / 2, atol=limit)  # the mean over positions


def test_early_exit_takes_the_first_certain_tick():
    sure = np.array([[0.1, 0.5, 0.9, 0.4], [0.1, 0.2, 0.3, 0.2], [0.95, 0.1, 0.1, 0.1]])
    np.testing.assert_array_equal(exit_tick(sure, 0.5), [1, 3, 0])
    np.testing.assert_array_equal(exit_tick(sure, 2.0), [3, 3, 3])


def test_thinking_until_certain_stops_where_early_exit_says():
    params = drawn(SMALL)
    params = params.replace(head=params.head.replace(weight=6.0 * params.head.weight))
    whole = think(SMALL, params, BATCH, TICKS)
    values = np.sort(np.ravel(whole.certainty))
    middles = values[:-1] + np.diff(values) / 2
    told_apart = [len(set(np.asarray(exit_tick(whole.certainty, m)))) > 1 for m in middles]
    threshold = middles[np.argmax(np.diff(values) * told_apart)]  # as far from any certainty as can be
    ticks = np.asarray(exit_tick(whole.certainty, threshold))
    assert len(set(ticks)) > 1
    logits, sure, at = think_until(SMALL, params, BATCH, threshold, TICKS)
    np.testing.assert_array_equal(at, ticks)
    for b, tick in enumerate(ticks):
        np.testing.assert_allclose(logits[b], whole.logits[b, tick], atol=1e-5)
        np.testing.assert_allclose(sure[b], whole.certainty[b, tick], atol=1e-5)
    assert int(think_until(SMALL, params, SYMBOLS, 2.0, 4)[2]) == 3


def test_the_lstm_thinks_too():
    model = AttentiveLSTM(n_inputs=3, n_tokens=5, n_symbols=2, positions="rotation", n_units=6, n_attention=4,
                          n_heads=2, n_outputs=(5, 2))
    params = jax.jit(model.init)(KEY)
    found = think(model, params, SYMBOLS, 4)
    kv, (h, c) = numpy_ctm.features(params, SYMBOLS), (np.asarray(params.start_h), np.asarray(params.start_c))
    cell = jax.tree.map(numpy_ctm.host, params.cell)
    for _ in range(4):
        read, _ = numpy_ctm.attend(params.reader.attention, numpy_ctm.affine(params.reader.query, h), kv)
        i, f, g, o = np.split(cell.weight_ih @ read + cell.bias_ih + cell.weight_hh @ h + cell.bias_hh, 4)
        c = numpy_ctm.sigmoid(f) * c + numpy_ctm.sigmoid(i) * np.tanh(g)
        h = numpy_ctm.sigmoid(o) * np.tanh(c)
    np.testing.assert_allclose(found.logits[-1], numpy_ctm.affine(params.head, h).reshape(5, 2), atol=1e-5)


# ---- positions ----

def test_positional_codes():
    np.testing.assert_allclose(half_turn(3), [[0, 1], [-1, 0], [0, -1]], atol=1e-12)
    for kind in POSITIONS[1:]:
        shape = (4,) if kind == "rotation" else (4, 4)
        table = np.asarray(jax.jit(lambda kind=kind, shape=shape: positional_code(KEY, kind, 6).table(shape))())
        assert table.shape == (int(np.prod(shape)), 6)
        gaps = np.abs(table[:, None] - table).max(-1) + np.eye(len(table))
        assert gaps.min() > 1e-3  # every place has its own
    grid = positional_code(KEY, "rotation_grid", 6)
    turned = half_turn(4)
    want = numpy_ctm.affine(grid.project, np.concatenate([turned[1], turned[2]]))  # row 1, column 2
    np.testing.assert_allclose(grid.table((4, 4))[6], want, atol=1e-5)
    fixed = np.asarray(sinusoid(7, 4))
    np.testing.assert_allclose(fixed[3], [np.sin(3), np.cos(3), np.sin(0.03), np.cos(0.03)], atol=1e-6)


# ---- bad input ----

P = functools.cache(lambda: drawn(SMALL))
WITHOUT = VARIANTS["no attention"]
BAD = {
    "J above D": (lambda: SMALL.replace(n_out=21).init(KEY), ValueError, r"n must be in \[1, 20\], got 21"),
    "J, J above D": (lambda: SMALL.replace(n_out=11, n_action=10, pairing="dense").init(KEY), ValueError,
                     r"n_units must be at least n_out \+ n_action = 21 for pairing 'dense', got 20"),
    "pairing": (lambda: SMALL.replace(pairing="first-last").init(KEY), ValueError,
                r"pairing must be one of 'dense', 'semi_dense', 'random', got 'first-last'"),
    "no ticks": (lambda: think(SMALL, P(), SYMBOLS, 0), ValueError, r"n_ticks must be at least 1, got 0"),
    "half a tick": (lambda: think(SMALL, P(), SYMBOLS, 1.5), TypeError, r"n_ticks must be an integer, got 1.5"),
    "no last tick": (lambda: think_until(SMALL, P(), SYMBOLS, 0.5, 0), ValueError, r"max_ticks must be at least 1"),
    "token width": (lambda: think(SMALL.replace(n_symbols=None), P(), np.ones((5, 4)), 3), ValueError,
                    r"tokens must have shape \(5, 3\) \(tokens, width\).*got \(5, 4\)"),
    "symbols": (lambda: SMALL.encode(P(), np.ones(4, int)), ValueError, r"tokens must have shape \(5,\) .*got \(4,\)"),
    "symbol": (lambda: SMALL.encode(P(), np.full(5, 2)), ValueError, r"tokens must be in \[0, 1\], got 2"),
    "symbol -1": (lambda: SMALL.encode(P(), SYMBOLS - 1), ValueError, r"tokens must be in \[0, 1\], got -1"),
    "real symbols": (lambda: SMALL.encode(P(), np.ones(5)), TypeError, r"tokens must be integers"),
    "NaN": (lambda: VARIANTS["no attention"].encode(None, np.full(3, np.nan)), ValueError, r"tokens must be finite"),
    "raw input": (lambda: SMALL.step(P(), SMALL.init_state(P()), jnp.ones((5, 3))), ValueError,
                  r"x must be the pair \(keys, values\) of model.encode"),
    "width of x": (lambda: WITHOUT.step(drawn(WITHOUT), WITHOUT.init_state(drawn(WITHOUT)), jnp.ones(4)), ValueError,
                   r"x must have shape \(3,\), got \(4,\)"),
    "heads": (lambda: SMALL.replace(n_heads=3).init(KEY), ValueError, r"n_attention must be a multiple of n_heads = 3"),
    "no history": (lambda: SMALL.replace(n_history=0).init(KEY), ValueError, r"n_history must be at least 1, got 0"),
    "no action": (lambda: SMALL.replace(n_action=0).init(KEY), ValueError, r"n_action must be at least 1, got 0"),
    "action alone": (lambda: SMALL.replace(n_heads=0).init(KEY), ValueError, r"n_action must be in \[0, 0\], got 3"),
    "window": (lambda: SMALL.replace(window=True).init(KEY), ValueError, r"n_heads must be 0 with window=True, got 2"),
    "depth": (lambda: SMALL.replace(depth=0).init(KEY), ValueError, r"depth must be at least 1, got 0"),
    "gates": (lambda: SMALL.replace(depth=2, n_gates=2).init(KEY), ValueError, r"n_gates must be in \[1, 1\], got 2"),
    "dropout": (lambda: SMALL.replace(dropout=1.0).init(KEY), ValueError, r"dropout must be .*got 1.0"),
    "decay": (lambda: SMALL.replace(decay=16.0).init(KEY), ValueError, r"decay must be finite and in \[0.0, 15.0\]"),
    "positions": (lambda: SMALL.replace(positions="sine").init(KEY), ValueError, r"positions must be one of 'none'"),
    "grid": (lambda: SMALL.replace(positions="fourier").init(KEY), ValueError, r"n_tokens must be \(height, width\)"),
    "outputs": (lambda: SMALL.replace(n_outputs=2).init(KEY), TypeError, r"n_outputs must be a tuple .*got 2"),
    "no head": (lambda: CONTROL.logits(CONTROL.replace(n_units=16).init(KEY), None), ValueError, r"n_outputs must be"),
    "record": (lambda: think(SMALL, P(), SYMBOLS, 2, record=("spikes",)), ValueError, r"record must be one of"),
    "integer key": (lambda: SMALL.init(0), TypeError, r"key must be a typed key"),
    "one class": (lambda: certainty(jnp.ones((3, 1))), ValueError, r"logits must have at least two classes, got 1"),
    "target": (lambda: match_width(lambda n: LSTM_PARITY.replace(n_units=n), 10**9, high=100), ValueError,
               r"target must be at most the size at width 100, \d+, got 1000000000"),
    "pool": (lambda: FeedForward(pool="max").init(KEY), ValueError, r"pool must be one of 'mean', 'flat', got 'max'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
