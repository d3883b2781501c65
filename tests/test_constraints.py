"""Bounds, fixed leaves, masks and signs; optimisers that keep them; losses against NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dynlab import train
from dynlab.models.leaky_rnn import LeakyRNN

RNG = np.random.default_rng(0)
MASK = (RNG.random((5, 5)) < 0.5).astype(float)
VALUES = {
    "positive": (train.positive(1.0), 1.0 + RNG.gamma(1.0, 3.0, 50)),
    "interval": (train.interval(-1.0, 2.0), RNG.uniform(-0.99, 1.99, 50)),
    "masked": (train.masked(MASK), MASK * RNG.normal(size=(5, 5))),
    "signed": (train.signed(MASK - 0.5), (MASK - 0.5) * RNG.random((5, 5))),
}


@pytest.mark.parametrize("name", VALUES)
def test_there_and_back_and_no_step_leaves_the_bounds(name):
    rule, value = VALUES[name]
    free, built = train.trainable({"x": jnp.asarray(value)}, {"x": rule})
    np.testing.assert_allclose(built.build(free)["x"], value, rtol=2e-5, atol=1e-6)
    step = 30.0 * np.sign(np.sin(np.arange(value.size) + 1.0)).reshape(value.shape)
    far = built.build({"x": free["x"] + step})["x"]
    low, high = {"positive": (1.0, np.inf), "interval": (-1.0, 2.0)}.get(name, (-np.inf, np.inf))
    assert np.all((far >= low) & (far <= high))
    if name == "masked":
        assert np.all(np.asarray(far)[MASK == 0] == 0)
    if name == "signed":
        assert np.all(np.asarray(far) * (MASK - 0.5) >= 0)


def test_parts_by_name_fixed_leaves_and_integers(key):
    params = {"rnn": LeakyRNN(n_units=4).init(key), "list": [jnp.ones(2), jnp.arange(3)]}
    free, built = train.trainable(params, {"rnn": train.fixed, "rnn.tau": train.positive(0.5)})
    assert sorted(free) == ["list.0", "rnn.tau"]
    again = built.build(free)
    assert jax.tree.structure(again) == jax.tree.structure(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), again, params)


BAD = {
    "all fixed": ({"x": train.fixed}, "something to train"),
    "name": ({"y": train.fixed}, r"must name parts of the parameters \(x\), got y"),
    "below": ({"x": train.positive(2.0)}, r"x must be finite and in \(2.0, inf\]"),
    "outside": ({"x": train.interval(0.0, 0.5)}, r"x must be finite and in \(0.0, 0.5\)"),
    "mask": ({"x": train.masked([1.0, 0.0])}, "x must be 0 where its mask is 0"),
    "mask shape": ({"x": train.masked([1.0])}, r"mask of x must have shape \(2,\), got \(1,\)"),
    "signs": ({"x": train.signed([1.0, -1.0])}, "x must have the given signs"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_constraints(case):
    constraints, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        train.trainable({"x": jnp.ones(2)}, constraints)


def test_interval_must_have_its_bounds_in_order():
    with pytest.raises(ValueError, match="low must be smaller than high"):
        train.interval(1.0, 1.0)


def test_exponentiated_gradient_moves_the_logarithm_and_keeps_signs_and_zeros():
    w = jnp.array([0.5, -0.2, 0.0, 3.0])
    g = jnp.array([1.0, 0.3, -2.0, -0.1])
    rule = train.exponentiated_gradient(0.1)
    change, _ = rule.update(g, rule.init(w), w)
    new = np.asarray(optax.apply_updates(w, change))
    np.testing.assert_array_equal(np.sign(new), np.sign(w))
    moved = np.log(np.abs(new[[0, 1, 3]])) - np.log(np.abs(np.asarray(w)[[0, 1, 3]]))
    np.testing.assert_allclose(moved, -0.1 * np.sign(w)[[0, 1, 3]] * np.asarray(g)[[0, 1, 3]], rtol=1e-5)
    huge, _ = rule.update(-1e9 * g, rule.init(w), w)
    assert np.all(np.isfinite(huge))


@pytest.mark.parametrize("arguments", [(0.0, None), (0.1, 1.0)], ids=["rate", "momentum"])
def test_exponentiated_gradient_refuses(arguments):
    with pytest.raises(ValueError, match=r"learning_rate must|momentum must"):
        train.exponentiated_gradient(*arguments)


def test_exponentiated_gradient_finds_few_relevant_inputs_where_gradient_descent_does_not():
    """200 inputs, 10 relevant with known signs, 100 samples: the test error is less than half of gradient descent's."""
    rng = np.random.default_rng(1)
    true = np.zeros(200)
    true[:10] = rng.choice([-1.0, 1.0], 10)
    x, x_test = rng.normal(size=(100, 200)), rng.normal(size=(400, 200))
    signs = np.where(true == 0, rng.choice([-1.0, 1.0], 200), true)
    w = jnp.asarray(signs * np.exp(rng.normal(np.log(0.05), 0.5, 200)), jnp.result_type(float))
    data, target = jnp.asarray(x), jnp.asarray(x @ true)

    def run(rule):
        def body(carry, _):
            w, state = carry
            gradient = jax.grad(lambda w: jnp.mean((data @ w - target) ** 2) / 2)(w)
            change, state = rule.update(gradient, state, w)
            return (optax.apply_updates(w, change), state), None

        return np.asarray(jax.jit(lambda w: jax.lax.scan(body, (w, rule.init(w)), None, length=4000)[0][0])(w))

    error = {name: np.mean((x_test @ (run(rule) - true)) ** 2) / np.mean((x_test @ true) ** 2)
             for name, rule in (("eg", train.exponentiated_gradient(0.1)), ("gd", optax.sgd(0.1)))}
    assert error["eg"] < 0.5 * error["gd"]
    assert np.all(np.sign(run(train.exponentiated_gradient(0.1))) == signs)


def test_head_losses_equal_numpy():
    logits = RNG.normal(size=(7, 3, 4))
    labels = RNG.integers(0, 4, (7, 3))
    losses, accuracies = train.head_losses(jnp.asarray(logits), labels)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for head in range(3):
        np.testing.assert_allclose(losses[head], -np.log(p[np.arange(7), head, labels[:, head]]).mean(), rtol=1e-5)
        np.testing.assert_allclose(accuracies[head], np.mean(logits[:, head].argmax(-1) == labels[:, head]), rtol=1e-6)
    gradient = jax.grad(lambda z: train.head_losses(z, labels)[0][1])(jnp.asarray(logits))
    want = np.zeros_like(logits)
    want[:, 1] = (p[:, 1] - np.eye(4)[labels[:, 1]]) / 7
    np.testing.assert_allclose(gradient, want, atol=1e-6)


def test_squared_error_weighs_before_it_squares_and_skips_masked_rows():
    y, target = RNG.normal(size=(2, 5, 3)), RNG.normal(size=(2, 5, 3))
    mask = np.array([[0, 1, 1, 0, 5], [1, 1, 0, 5, 5]], float)
    weights = np.array([2.0, 1.0, 1.0])
    want = np.sum((mask[..., None] * weights * (y - target)) ** 2) / (3 * np.sum(mask != 0))
    target[mask == 0] = np.nan
    got = train.squared_error(jnp.asarray(y), jnp.asarray(target), jnp.asarray(mask), weights)
    np.testing.assert_allclose(got, want, rtol=1e-5)


WRONG = {
    "label": (lambda: train.head_losses(np.zeros((2, 1, 2)), np.array([[0], [2]])), ValueError, r"in \[0, 1\], got 2"),
    "float": (lambda: train.head_losses(np.zeros((2, 1, 2)), np.zeros((2, 1))), TypeError, "labels must be integers"),
    "heads": (lambda: train.head_losses(np.zeros((2, 1, 2)), np.zeros((2, 3), int)), ValueError, r"2\) and \(2, 3\)"),
    "mask": (lambda: train.squared_error(np.zeros((4, 2)), np.zeros((4, 2)), np.ones(3)), ValueError, r"mask .*\(3,\)"),
}


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_losses_refuse(case):
    call, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        call()
