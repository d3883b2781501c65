"""Accuracy on a stream, whole and damaged: a NumPy loop and a network made by hand, of which every number is known."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import (
    LSTM,
    RNN,
    Hold,
    LeakyParams,
    LeakyRNN,
    Linear,
    ablate,
    ablate_readout,
    ablation,
    perturb_tau,
    perturb_weights,
    perturbation,
    simulate,
    streaming_accuracy,
)
from dynlab.analysis import streaming
from dynlab.analysis.damage import CHANGES
from dynlab.keys import named

N = 8  # units of every network here
KEY = jax.random.key(0)
LEAKY = LeakyRNN(n_units=N, activation="leaky_relu", placement="outside", tau_spread=1.0, self_connections=False)
SIZES = np.r_[0.0, np.geomspace(0.01, 10.0, 7)]

JUNK = 7  # the unit that nothing needs
DELAY_1, DELAY_2, COUNTS_2, COUNTS_3 = 0, 1, (2, 3), (4, 5, 6)


def hand_made():
    """A plain ReLU network and three heads: 2-parity, 3-parity and the comparison with the bit before.

    Units 0 and 1 are a delay line of the bits. With s the sum of the last n bits, k_j = relu(s - j), j = 0 .. n - 1,
    and the parity of s is k_0 + 2 sum_{j > 0} (-1)^j k_j. Unit 7 hears all and tells none.
    """
    w, b, heads = np.zeros((N, N)), np.zeros(N), np.zeros((N, 6))
    w[DELAY_2, DELAY_1] = 1.0
    for n, counts in ((2, COUNTS_2), (3, COUNTS_3)):
        for j, unit in enumerate(counts):
            w[unit, [DELAY_1, DELAY_2][: n - 1]] = 1.0
            b[unit] = -j
            heads[unit, 2 * (n - 2) + 1] = 1.0 if j == 0 else 2.0 * (-1) ** j
    heads[:, 4] = heads[:, 1]  # equal to the bit before: the parity of two bits is 0
    w[JUNK] = 0.5
    intercept = np.array([0.5, 0.0, 0.5, 0.0, 0.0, 0.5])
    w_in = np.ones((N, 1))
    w_in[DELAY_2] = 0.0
    readout = Linear(jnp.asarray(heads, jnp.result_type(float)), jnp.asarray(intercept, jnp.result_type(float)))
    zeros = np.zeros(N)
    params = LeakyParams(*(jnp.asarray(a, jnp.result_type(float)) for a in (w_in, w, b, zeros, np.ones(N))))
    return LeakyRNN(n_units=N, activation="relu"), params, readout


def random_readout(heads=3):
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(N, 2 * heads)), jnp.result_type(float))
    return Linear(weights, jnp.zeros(2 * heads, weights.dtype))


def lively():
    """Parameters of LEAKY, the same in both precisions, whose units matter to each other."""
    rng = np.random.default_rng(1)
    w = rng.normal(size=(N, N)) * (1.0 - np.eye(N)) / np.sqrt(N)
    arrays = (rng.normal(size=(N, 1)), w, 0.3 * rng.normal(size=N), np.zeros(N), rng.uniform(1.0, 2.0, N))
    return LeakyParams(*(jnp.asarray(a, jnp.result_type(float)) for a in arrays))


def centred_readout(params, heads=3):
    """Heads whose answers are 0 and 1 equally often, so that they change from step to step."""
    readout = random_readout(heads)
    bits = np.random.default_rng(3).integers(0, 2, (500, 1))
    logits = np.asarray(simulate(LEAKY, params, bits).outputs) @ np.asarray(readout.weights)
    middle = np.median(logits[:, 1::2] - logits[:, ::2], axis=0)
    return readout.replace(intercept=jnp.zeros(2 * heads).at[1::2].set(-middle))


def stream_of(key, length):
    """The bits that the library draws from a key."""
    return np.asarray(jax.random.bernoulli(named(key, "bits"), 0.5, (length,))).astype(int)


def loop_accuracy(params, readout, key, n, head, task="parity", warmup=100, n_steps=1000):
    """The leaky network with the leak inside f, written out: NumPy, float64."""
    bits = stream_of(key, warmup + n_steps)
    w = np.asarray(params.weight_hh, float)
    w_in, bias = np.asarray(params.weight_ih, float)[:, 0], np.asarray(params.bias_ih + params.bias_hh, float)
    a = 1.0 / np.maximum(np.asarray(params.tau, float), 1.0)
    h = np.asarray(LEAKY.init_state(params, named(key, "state")), float)
    right = 0
    for t, bit in enumerate(bits):
        v = (1 - a) * h + a * (w @ h + w_in * bit + bias)
        h = np.where(v > 0, v, 0.01 * v)
        if t >= warmup:
            logits = (h @ np.asarray(readout.weights, float) + np.asarray(readout.intercept, float)).reshape(-1, 2)
            last = bits[t - n + 1 : t + 1]
            wanted = last.sum() % 2 if task == "parity" else int(last[0] == last[-1])
            right += int(logits[head, 1] > logits[head, 0]) == wanted
    return right / n_steps


def test_labels_are_the_brute_force_ones():
    bits = np.random.default_rng(0).integers(0, 2, 200)
    for n in (1, 2, 3, 7, 30):
        whole = [bits[max(t - n + 1, 0) : t + 1] for t in range(200)]
        np.testing.assert_array_equal(streaming.parity_labels(jnp.asarray(bits), n), [w.sum() % 2 for w in whole])
        np.testing.assert_array_equal(streaming.dms_labels(jnp.asarray(bits), n), [w[0] == w[-1] for w in whole])


@pytest.mark.conformance
def test_accuracy_is_that_of_a_loop(x64):
    params = lively()
    readout = centred_readout(params)
    for n, head, task in ((2, 0, "parity"), (4, 2, "parity"), (5, 1, "dms")):
        ours = streaming_accuracy(LEAKY, params, readout, KEY, n=n, head=head, task=task)
        assert ours.dtype == jnp.result_type(float)
        # a random readout is near a tie at some steps: one answer of 1,000 may fall the other way in float32
        assert abs(float(ours) - loop_accuracy(params, readout, KEY, n, head, task)) <= (1e-12 if x64 else 1.1e-3)


@pytest.mark.conformance
def test_ablation_is_that_of_a_loop(x64):
    """Unit by unit and stream by stream, with the zeroed arrays made by hand."""
    params, n, head = lively(), 3, 1
    readout = centred_readout(params)
    result = ablation(LEAKY, params, readout, KEY, np.arange(N), n=n, head=head, repeats=2)
    atol = 1e-12 if x64 else 1.1e-3
    for r in range(2):
        key = jax.random.fold_in(KEY, r)
        assert abs(float(result.baseline[r]) - loop_accuracy(params, readout, key, n, head)) <= atol
        for unit in range(N):
            w, w_in, weights = (np.array(a) for a in (params.weight_hh, params.weight_ih, readout.weights))
            w[unit] = w[:, unit] = w_in[unit] = weights[unit] = 0.0
            cut = dataclasses.replace(params, weight_hh=w, weight_ih=w_in)
            wanted = loop_accuracy(cut, readout.replace(weights=weights), key, n, head)
            assert abs(float(result.accuracy[unit, r]) - wanted) <= atol
    assert len(np.unique(result.accuracy)) > N  # the units do differ
    assert not np.any(result.diverged)


@pytest.fixture(scope="module")
def damaged():
    """For n = 2 and 3, the network made by hand without each of its units; one program for all tests."""
    model, params, readout = hand_made()
    return {n: ablation(model, params, readout, KEY, np.arange(N), n=n, repeats=4) for n in (2, 3)}


def test_the_network_made_by_hand_is_exact():
    model, params, readout = hand_made()
    score = partial(streaming_accuracy, model, params, readout, KEY)
    assert score(n=2) == 1.0
    assert score(n=3) == 1.0
    assert score(n=2, head=2) == 0.0
    assert score(n=2, head=2, task="dms") == 1.0
    assert abs(score(n=4, head=1) - 0.5) < 0.06  # another task than the head's: chance, 4 standard errors


def test_the_network_made_by_hand_needs_what_it_needs(damaged):
    for n, needed, free in ((2, DELAY_1, (DELAY_2, *COUNTS_3, JUNK)), (3, DELAY_2, (*COUNTS_2, JUNK))):
        np.testing.assert_array_equal(damaged[n].baseline, 1.0)
        np.testing.assert_array_equal(np.asarray(damaged[n].accuracy)[list(free)], 1.0)
        assert np.asarray(damaged[n].relative)[needed] <= 0.1
    assert abs(float(damaged[2].relative[COUNTS_2[1]]) - 0.5) < 0.1  # without k_1 only the pair 1, 1 is taken wrongly


def test_one_program_serves_every_n_and_head(count_compilations):
    model, params, readout = hand_made()
    keys = [jax.random.fold_in(KEY, i) for i in range(2)]
    jax.block_until_ready(streaming_accuracy(model, params, readout, keys[0], n=3))
    with count_compilations() as count:
        jax.block_until_ready(streaming_accuracy(model, params, readout, keys[1], n=2, head=1))
    assert count.compilations == 0
    run = jax.jit(jax.vmap(lambda n, h: streaming_accuracy(model, params, readout, KEY, n=n, head=h)))
    out = run(jnp.array([2, 3, 0, 102, 2, 2]), jnp.array([0, 1, 0, 0, 3, -1]))
    np.testing.assert_array_equal(out, [1.0, 1.0, *[np.nan] * 4])


def test_stacked_heads_and_networks_under_vmap(damaged):
    model, params, readout = hand_made()
    stacked = Linear(readout.weights.reshape(N, 3, 2).swapaxes(0, 1), readout.intercept.reshape(3, 2))
    units, key = jnp.arange(N), jax.random.fold_in(KEY, 0)
    cut, blind = jax.vmap(ablate, (None, 0))(params, units), jax.vmap(ablate_readout, (None, 0))(stacked, units)
    by_hand = jax.vmap(lambda p, r: streaming_accuracy(model, p, r, key, n=2))(cut, blind)
    np.testing.assert_array_equal(damaged[2].accuracy[:, 0], by_hand)
    pair = jax.vmap(lambda p: ablation(model, p, readout, KEY, units, n=2, repeats=1, chunk=4))(
        jax.tree.map(lambda a: jnp.stack([a, a]), params))
    np.testing.assert_array_equal(pair.accuracy[1, :, 0], by_hand)
    np.testing.assert_allclose(pair.relative[1], (by_hand - 0.5) / 0.5, atol=1e-6)


@pytest.mark.parametrize("model", [LSTM(n_units=N), Hold(LEAKY, 2), LeakyRNN(n_units=N, noise=0.5)],
                         ids=["LSTM", "ticks", "noise"])
def test_gates_ticks_noise_and_values(model):
    """A run, a second one that is equal, and one on other inputs, in the same program."""
    params = model.init(KEY)
    run = partial(streaming_accuracy, model, params, random_readout(), KEY, n=2, n_steps=500)
    assert 0.2 < run() < 0.8
    assert run() == run()
    assert run() != run(values=(-3.0, 3.0))


def test_the_start_is_random_or_the_resting_one():
    """A unit that keeps its start, in one head: the answer is 1 after a random start, and at rest, on a tie, 0."""
    keep = RNN(n_units=N, activation="identity")
    params = jax.tree.map(jnp.zeros_like, keep.init(KEY)).replace(weight_hh=jnp.eye(N))
    start = keep.init_state(params, named(KEY, "state"))
    readout = Linear(jnp.zeros((N, 2)).at[0, 1].set(jnp.sign(start[0])), jnp.zeros(2))
    ones = partial(streaming_accuracy, keep, params, readout, KEY, n=2, head=0, task=all_ones, n_steps=10)
    assert ones() == 1.0
    assert ones(random_start=False) == 0.0


def all_ones(bits, n):
    return jnp.ones_like(bits)


def test_perturbation_halves_the_accuracy_of_the_network_made_by_hand():
    model, params, readout = hand_made()
    result = perturbation(model, params, readout, KEY, SIZES, n=3, repeats=6)
    relative = np.asarray(result.relative)
    assert relative[0] == 1.0
    assert abs(relative[-1]) < 0.5
    assert SIZES[1] < result.half_damage < SIZES[-1]
    key = jax.random.fold_in(KEY, 1)
    by_hand = streaming_accuracy(model, perturb_weights(params, named(key, "direction"), SIZES[4]), readout, key, n=3)
    assert abs(float(by_hand) - float(result.accuracy[4, 1])) <= 2e-3
    table = result.table()
    np.testing.assert_allclose(table["size"], SIZES, rtol=1e-6)
    np.testing.assert_allclose(table["relative"], relative)


def test_slower_units_answer_too_late():
    assert CHANGES["tau"] is perturb_tau
    model, params, readout = hand_made()
    result = perturbation(model, params, readout, KEY, SIZES, n=3, repeats=6, what=perturb_tau, chunk=3)
    assert result.relative[0] == 1.0
    assert abs(float(result.relative[-1])) < 0.5


def test_a_network_that_diverges_is_at_chance():
    model, params, readout = hand_made()
    wild = dataclasses.replace(params, weight_hh=1e3 * jnp.ones((N, N)))
    assert streaming_accuracy(model, wild, readout, KEY, n=2) == 0.5
    result = ablation(model, wild, readout, KEY, np.arange(N), n=2, repeats=4)
    np.testing.assert_array_equal(result.diverged, 1.0)
    np.testing.assert_array_equal(np.isnan(result.relative), True)  # a baseline at chance


def test_table_has_a_row_a_unit(damaged):
    table = damaged[2].table()
    np.testing.assert_array_equal(table["unit"], np.arange(N))
    np.testing.assert_allclose(table["accuracy"], np.mean(damaged[2].accuracy, axis=1), rtol=1e-6)
    np.testing.assert_allclose(table["relative"], (table["accuracy"] - 0.5) / 0.5, atol=1e-6)
    assert table["sd"][DELAY_1] > 0
    assert set(table) == {"unit", "accuracy", "sd", "relative", "diverged"}
    assert {len(column) for column in table.values()} == {N}


PARAMS = LEAKY.init(KEY)
READOUT = random_readout()
score = partial(streaming_accuracy, LEAKY, PARAMS, READOUT, KEY)
BAD = {
    "n": (lambda: score(n=0), ValueError, r"n must be at least 1 and at most warmup \+ 1 \(101\), got 0"),
    "n of dms": (lambda: score(n=1, task="dms", head=0), ValueError, r"n must be at least 2"),
    "long n": (lambda: score(n=102, head=0), ValueError, r"n must be at least 1 and at most warmup .* got 102"),
    "no head": (lambda: score(n=5), ValueError, r"head must be at least 0 and at most the number of heads - 1 \(2\)"),
    "real n": (lambda: score(n=2.0), TypeError, r"n must be an integer, got 2.0"),
    "task": (lambda: score(n=2, task="sum"), ValueError, r"task must be one of 'parity', 'dms', got 'sum'"),
    "values": (lambda: score(n=2, values=(0, 1, 2)), ValueError, r"values must be two numbers"),
    "odd logits": (lambda: streaming_accuracy(LEAKY, PARAMS, Linear(jnp.ones((N, 3)), jnp.ones(3)), KEY, n=2),
                   ValueError, r"two logits a head, got \(8, 3\)"),
    "two inputs": (lambda: streaming_accuracy(LeakyRNN(n_inputs=2, n_units=N), PARAMS, READOUT, KEY, n=2), ValueError,
                   r"model must have one input channel, got input sizes 2"),
    "one unit": (lambda: ablation(LEAKY, PARAMS, READOUT, KEY, 3, n=2), ValueError, r"units must have shape \(U,\)"),
    "what": (lambda: perturbation(LEAKY, PARAMS, READOUT, KEY, [0.1], n=2, what="biases"), ValueError,
             r"what must be one of 'weights', 'tau', got 'biases'"),
    "sizes": (lambda: perturbation(LEAKY, PARAMS, READOUT, KEY, [-0.1], n=2), ValueError, r"sizes must be finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
