"""The two-tick loss, clipping at a quantile, and values that are projected after each update."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dynlab import train


def logits_of(probability):
    """Two classes; the probability of class 1."""
    p = np.asarray(probability, float)
    return jnp.asarray(np.log(np.stack([1 - p, p], axis=-1)))


def test_each_answer_chooses_its_own_ticks():
    """Two answers of one position, three ticks, labels 1: the best tick is 1 and 2, the most certain 2 and 0."""
    p = [[0.3, 0.8, 0.5], [0.2, 0.5, 0.6]]
    certainty = jnp.asarray([[0.1, 0.2, 0.9], [0.7, 0.1, 0.3]])
    found = train.two_ticks(logits_of(p)[:, :, None], certainty, jnp.ones((2, 1), jnp.int32))
    assert found.best.tolist() == [1, 2]
    assert found.certain.tolist() == [2, 0]
    expected = -np.mean([np.log(0.8 * 0.5) / 2, np.log(0.6 * 0.2) / 2])
    assert float(found.loss) == pytest.approx(expected, rel=1e-6)
    last = train.two_ticks(logits_of(p)[:, :, None], None, jnp.ones((2, 1), jnp.int32))
    assert last.certain.tolist() == [2, 2]
    np.testing.assert_allclose(last.by_tick, -np.log(p), rtol=1e-6)


def test_positions_are_averaged_and_masked():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(4, 3, 5, 2, 6)), rng.integers(0, 6, (4, 5, 2))
    mask = rng.random((4, 5, 2)) < 0.5
    mask[:, 0, 0] = True
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    each = -np.take_along_axis(log_p, labels[:, None, ..., None], axis=-1)[..., 0]
    plain = train.two_ticks(jnp.asarray(logits), None, labels)
    np.testing.assert_allclose(plain.by_tick, each.mean((2, 3)), rtol=1e-5)
    masked = train.two_ticks(jnp.asarray(logits), None, labels, mask)
    counted = (each * mask[:, None]).sum((2, 3)) / mask.sum((1, 2))[:, None]
    np.testing.assert_allclose(masked.by_tick, counted, rtol=1e-5)
    expected = (masked.by_tick.min(1) + masked.by_tick[:, -1]).mean() / 2
    assert float(masked.loss) == pytest.approx(float(expected), rel=1e-6)


def test_gradient_reaches_the_chosen_ticks_only():
    certainty = jnp.asarray([[0.1, 0.2, 0.9, 0.0]])
    p = logits_of([[0.3, 0.8, 0.5, 0.6]])[:, :, None]
    gradient = jax.grad(lambda x: train.two_ticks(x, certainty, jnp.ones((1, 1), jnp.int32)).loss)(p)
    assert (np.abs(np.asarray(gradient)).sum((0, 2, 3)) > 0).tolist() == [False, True, True, False]


BAD = {
    "classes": (lambda z, c, y: (z[..., 0], c, y), "logits must have shape"),
    "labels": (lambda z, c, y: (z, c, y[:1]), "labels"),
    "range": (lambda z, c, y: (z, c, y + 1), r"labels must be in \[0, 1\], got 2"),
    "certainty": (lambda z, c, y: (z, c[:, :1], y), "certainty must have shape"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_two_ticks_refuses(case):
    change, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        train.two_ticks(*change(jnp.zeros((2, 3, 4, 2)), jnp.zeros((2, 3)), jnp.ones((2, 4), jnp.int32)))
    with pytest.raises(TypeError, match="integers"):
        train.two_ticks(jnp.zeros((2, 3, 4, 2)), None, jnp.ones((2, 4)))
    with pytest.raises(ValueError, match="mask"):
        train.two_ticks(jnp.zeros((2, 3, 4, 2)), None, jnp.ones((2, 4), jnp.int32), jnp.ones((2, 3)))


def test_quantile_clip_is_that_of_the_last_norms():
    rng = np.random.default_rng(0)
    norms = rng.lognormal(size=40)
    direction = {"a": np.array([0.6, 0.0]), "b": np.array([[0.8]])}
    rule = train.quantile_clip(0.7, 10)
    state = rule.init(jax.tree.map(jnp.asarray, direction))
    for i, size in enumerate(norms):
        clipped, state = rule.update(jax.tree.map(lambda d, size=size: jnp.asarray(size * d), direction), state)
        limit = np.quantile(norms[max(0, i - 9) : i + 1], 0.7)
        assert float(optax.tree.norm(clipped)) == pytest.approx(min(size, limit), rel=1e-5)
    lost, after = rule.update({"a": jnp.full(2, jnp.nan), "b": jnp.zeros((1, 1))}, state)
    assert np.isnan(lost["a"]).all()
    np.testing.assert_array_equal(after.norms, state.norms)


@pytest.mark.parametrize(("quantile", "n_norms"), [(0.0, 10), (1.0, 10), (0.5, 0)])
def test_quantile_clip_refuses(quantile, n_norms):
    with pytest.raises(ValueError, match=r"quantile must|n_norms must"):
        train.quantile_clip(quantile, n_norms)


def pull(params, key):
    """Pulls x to -1 and y to 2."""
    return jnp.sum((params["x"] + 1.0) ** 2) + jnp.sum((params["y"] - 2.0) ** 2)


def test_projected_values_start_on_the_edge_stay_within_and_come_back():
    start = {"x": jnp.zeros(3), "y": jnp.full(2, 0.5)}
    rule = {"x": train.projected(0.0, 15.0), "y": train.projected(0.0, 1.0)}
    options = {"optimiser": optax.sgd(0.1), "n_epochs": 1, "n_updates": 30, "constraints": rule}
    fitted = train.fit(pull, start, jax.random.key(0), **options)
    np.testing.assert_array_equal(fitted.params["x"], 0.0)
    np.testing.assert_array_equal(fitted.params["y"], 1.0)
    outward = train.fit(lambda p, key: pull({"x": -p["x"], "y": p["y"]}, key), start, jax.random.key(0), **options)
    np.testing.assert_allclose(outward.params["x"], 1.0, atol=0.01)  # the edge holds no gradient back
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), start)
    both = train.fit(pull, many, jax.random.split(jax.random.key(0)), **options)
    np.testing.assert_allclose(both.params["y"], 1.0)
    with pytest.raises(ValueError, match="low must not be larger"):
        train.projected(1.0, 0.0)
    with pytest.raises(ValueError, match="x must be finite and in"):
        train.trainable({"x": jnp.full(2, 2.0)}, {"x": train.projected()})
