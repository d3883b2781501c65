"""N-parity and N-DMS against brute force, and their lengths."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.tasks import NDMS, NParity

MAX_N, SIZE = 9, 500
T = 4 * MAX_N + 1
RULES = {
    NParity: lambda bits, n: int(sum(bits[-n:])) % 2,
    NDMS: lambda bits, n: int(bits[-n] == bits[-1]),
}


@pytest.fixture(scope="module")
def batches():
    """20 batches of 500 sequences of each task, at n from 2 to 9, as one program a task."""
    ns = np.resize(np.arange(2, MAX_N + 1), 20)
    keys = jax.random.split(jax.random.key(0), 20)
    draw = jax.jit(jax.vmap(lambda task, n, key: task.replace(n=n).batch(key, SIZE), in_axes=(None, 0, 0)))
    return {kind: (ns, jax.tree.map(np.asarray, draw(kind(max_n=MAX_N), ns, keys))) for kind in RULES}


@pytest.mark.conformance
@pytest.mark.parametrize("kind", RULES)
def test_labels_equal_brute_force_on_10000_sequences(kind, batches):
    ns, drawn = batches[kind]
    assert drawn.inputs.shape == (20, SIZE, T, 1)
    assert drawn.inputs.dtype == jnp.result_type(float)
    for inputs, labels, start in zip(drawn.inputs[..., 0], drawn.labels, drawn.start, strict=True):
        assert not inputs[:, :start].any()
        assert set(np.unique(inputs)) == {0.0, 1.0}
        want = [[RULES[kind](bits, n) for n in range(2, MAX_N + 1)] for bits in inputs]
        np.testing.assert_array_equal(labels, want)
    lengths = T - drawn.start
    assert np.all(lengths >= ns + 2)
    assert np.all(lengths <= 4 * ns + 1)


def test_lengths_are_uniform_between_n_plus_2_and_4n_plus_1(key):
    task = NParity(n=4, max_n=4)
    starts = np.asarray(jax.jit(jax.vmap(lambda k: task.batch(k, 1).start))(jax.random.split(key, 6000)))
    lengths, counts = np.unique(task.n_steps - starts, return_counts=True)
    np.testing.assert_array_equal(lengths, np.arange(6, 18))
    assert np.all(np.abs(counts - 500) < 5 * np.sqrt(500))


def test_each_sequence_draws_its_own_probability(batches):
    """Uniform p: the share of ones has variance 1/12 + E[p(1-p)]/M; with p = 1/2 it would be 1/(4M)."""
    for kind, low, high in ((NParity, 0.07, 0.12), (NDMS, 0.0, 0.03)):
        ns, drawn = batches[kind]
        i = int(np.flatnonzero(ns == MAX_N)[0])
        share = drawn.inputs[i, :, drawn.start[i] :, 0].mean(axis=1)
        assert low < share.var() < high
        assert abs(share.mean() - 0.5) < 0.06


@pytest.mark.parametrize("kind", RULES)
def test_answers_at_every_step_equal_brute_force(kind, key):
    trial = kind(n=5, max_n=5).sample(key)
    bits, targets = np.asarray(trial.inputs)[:, 0], np.asarray(trial.targets)
    padded = np.concatenate([np.zeros(5), bits])  # bits before the first count as 0
    for t in range(len(bits)):
        np.testing.assert_array_equal(targets[t], [RULES[kind](padded[: t + 6], n) for n in range(2, 6)])
    np.testing.assert_array_equal(trial.mask, np.arange(len(bits)) == len(bits) - 1)


def test_growing_n_compiles_nothing(key, count_compilations):
    task = NParity(max_n=MAX_N)
    for n in (2, jnp.int32(3)):  # a number, and one already on the device
        jax.block_until_ready(task.replace(n=n).batch(key, SIZE))
    later = [jnp.int32(n) for n in (4, 9)]
    with count_compilations() as count:
        for n in later:
            task.replace(n=n).batch(key, SIZE)
    assert count.compilations == 0


KEY = jax.random.key(0)
BAD = {
    "n too small": (lambda: NParity(n=0).sample(KEY), ValueError, r"n must be .* \[1, inf\], got 0"),
    "no head": (lambda: NParity(n=1).sample(KEY), ValueError, r"n must be in \[2, 10\], got 1"),
    "heads exceeded": (lambda: NDMS(n=11).batch(KEY, 4), ValueError, r"n must be in \[2, 10\], got 11"),
    "max_n": (lambda: NParity(max_n=1).sample(KEY), ValueError, "max_n must be at least 2, got 1"),
    "short": (lambda: NParity(max_n=6, length=7).sample(KEY), ValueError, "length must be at least 8, got 7"),
    "size": (lambda: NParity().batch(KEY, 0), ValueError, "size must be at least 1, got 0"),
    "probability": (lambda: NParity(probability=1.5).sample(KEY), ValueError, "probability must be"),
    "seed": (lambda: NParity().sample(0), TypeError, "key must be a typed key"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
