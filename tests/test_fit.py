"""Training against a plain loop, for one network and many, and what happens when it goes wrong."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dynlab import train
from dynlab.keys import named

SGD = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1, momentum=0.5, nesterov=True))
KEY = jax.random.key(3)
KEYS = jax.random.split(KEY, 3)
WIDTH, UPDATES = 4, 5


def start():
    return {"w": jnp.linspace(-1.0, 1.0, WIDTH), "b": jnp.asarray(0.5)}


def many():
    return jax.vmap(lambda s: jax.tree.map(lambda leaf: leaf * s, start()))(jnp.array([1.0, 1.2, 1.4]))


def loss(params, key):
    """Regression of a noisy target; the batch is drawn from the key."""
    x = jax.random.normal(key, (8, WIDTH))
    error = x @ params["w"] + params["b"] - jnp.sin(x[:, 0])
    return jnp.mean(error**2), {"largest": jnp.max(jnp.abs(error))}


def test_equals_a_plain_loop_in_numpy():
    done = train.fit(loss, start(), KEY, optimiser=SGD, n_epochs=2, n_updates=UPDATES)
    p = {name: np.asarray(value, np.float64) for name, value in start().items()}
    trace = {name: np.zeros_like(value) for name, value in p.items()}
    curve, largest = [], []
    for step in range(2 * UPDATES):
        x = np.asarray(jax.random.normal(jax.random.fold_in(named(KEY, "updates"), step), (8, WIDTH)), np.float64)
        error = x @ p["w"] + p["b"] - np.sin(x[:, 0])
        curve.append(np.mean(error**2))
        largest.append(np.abs(error).max())
        g = {"w": 2 * x.T @ error / 8, "b": 2 * np.mean(error)}
        norm = np.sqrt(np.sum(g["w"] ** 2) + g["b"] ** 2)
        for name in p:
            g[name] = g[name] * min(1.0, 0.5 / norm)
            trace[name] = g[name] + 0.5 * trace[name]
            p[name] = p[name] - 0.1 * (g[name] + 0.5 * trace[name])
    np.testing.assert_allclose(done.loss.ravel(), curve, rtol=1e-5)
    np.testing.assert_allclose(done.history["largest"], np.mean(np.reshape(largest, (2, UPDATES)), axis=1), rtol=1e-5)
    np.testing.assert_allclose(done.params["w"], p["w"], rtol=1e-5)
    assert (done.epochs, int(done.status), int(done.failed)) == (2, 0, -1)
    assert done.table()["loss"].shape == (2,)


def test_networks_side_by_side_in_turn_and_alone_are_equal():
    options = {"optimiser": SGD, "n_epochs": 2, "n_updates": UPDATES}
    together = train.fit(loss, many(), KEYS, **options)
    in_turn = train.fit(loss, many(), KEYS, together=False, **options)
    np.testing.assert_allclose(together.loss, in_turn.loss, rtol=1e-5)
    assert together.loss.shape == (2, UPDATES, 3)
    for i in range(3):
        alone = train.fit(loss, jax.tree.map(lambda leaf, i=i: leaf[i], many()), KEYS[i], **options)
        np.testing.assert_allclose(together.loss[..., i], alone.loss, rtol=1e-5)
        np.testing.assert_allclose(in_turn.params["w"][i], alone.params["w"], rtol=1e-5)
    table = together.table()
    assert table["network"].tolist() == [0, 1, 2] * 2
    assert table["largest"].shape == (6,)


def test_a_network_that_is_not_finite_stops_before_it_and_leaves_the_others():
    def explode(params, key, stage):
        value, _ = loss(params, key)
        return value * jnp.where(jnp.abs(params["w"][0]) > stage, jnp.nan, 1.0)

    params = many()
    params["w"] = params["w"].at[1].set(2.0)
    stage = jnp.array([jnp.inf, 2.05, jnp.inf])
    up = optax.chain(optax.scale(-1.0), SGD)  # away from the minimum
    done = train.fit(explode, params, KEYS, optimiser=up, n_epochs=3, n_updates=UPDATES, stage=stage)
    assert done.status.tolist() == [0, 2, 0]
    step = int(done.failed[1])
    assert 0 < step < 3 * UPDATES
    curve = done.loss[..., 1].ravel()
    assert np.all(np.isfinite(curve[:step]))
    assert np.all(np.isnan(curve[step:]))
    assert np.all(np.isfinite(done.loss[..., [0, 2]]))
    free = train.fit(explode, params, KEYS, optimiser=up, n_epochs=3, n_updates=UPDATES,
                     stage=jnp.full(3, jnp.inf))
    np.testing.assert_array_equal(done.loss[..., 0], free.loss[..., 0])
    np.testing.assert_array_equal(curve[:step], free.loss[..., 1].ravel()[:step])
    assert np.all(np.isfinite(done.params["w"]))


def test_not_finite_in_the_only_network_is_an_error_with_the_step_and_advice():
    def explode(params, key):
        return loss(params, key)[0] * jnp.where(params["b"] < 0.3, jnp.nan, 1.0)

    message = r"not finite at update \d+ \(epoch \d+\).*Lower the learning"
    with pytest.raises(train.NotFiniteError, match=message) as info:
        train.fit(explode, start(), KEY, optimiser=SGD, n_epochs=20, n_updates=UPDATES)
    fit = info.value.fit
    assert f"update {int(fit.failed)} " in str(info.value)
    assert float(fit.params["b"]) < 0.3  # the parameters whose loss is not finite were the last good ones
    assert fit.epochs == int(fit.failed) // UPDATES + 1


def advance(stage, report, params):
    return stage + 1.0 * (report["error"] < 10.0) + 0.0 * params["b"]


def evaluate(params, key, stage):
    return {"error": jnp.abs(params["b"]) + stage}


def with_stage(params, key, stage):
    return loss(params, key)[0] + 0.0 * stage


def test_stages_move_after_each_epoch_and_the_stop_rule_freezes_a_network():
    stages = jnp.array([0.0, 2.0, 20.0])
    done = train.fit(with_stage, many(), KEYS, optimiser=SGD, n_epochs=4, n_updates=UPDATES, stage=stages,
                     evaluate=evaluate, advance=advance, stop=lambda stage: stage > 3.5)
    np.testing.assert_array_equal(done.stage, [4.0, 4.0, 21.0 - 1.0])
    assert done.status.tolist() == [1, 1, 1]
    assert done.epochs == 4
    assert np.isnan(done.loss[1:, :, 2]).all()  # done after the first epoch
    assert np.isfinite(done.loss[:2, :, 1]).all()
    assert np.isnan(done.loss[2:, :, 1]).all()
    np.testing.assert_array_equal(done.history["error"][2:, 1], done.history["error"][2, 1])


def test_later_calls_compile_nothing(count_compilations):
    options = {"optimiser": SGD, "n_updates": UPDATES, "evaluate": evaluate, "advance": advance}
    train.fit(with_stage, start(), KEY, stage=jnp.asarray(1.0), n_epochs=1, **options)
    other, stage = jax.random.key(9), jnp.asarray(7.0)
    with count_compilations() as count:
        train.fit(with_stage, start(), other, stage=stage, n_epochs=3, **options)
    assert count.compilations == 0


def test_resume_goes_on_bit_for_bit():
    options = {"optimiser": SGD, "n_updates": UPDATES}
    whole = train.fit(loss, start(), KEY, n_epochs=3, **options)
    first = train.fit(loss, start(), KEY, n_epochs=1, **options)
    later = train.fit(loss, start(), KEY, n_epochs=3, resume=first, **options)
    np.testing.assert_array_equal(whole.loss, later.loss)
    np.testing.assert_array_equal(whole.params["w"], later.params["w"])
    np.testing.assert_array_equal(whole.history["largest"], later.history["largest"])


BAD = {
    "seed": ({"key": 0}, TypeError, "key must be a typed key"),
    "epochs": ({"n_epochs": 0}, ValueError, "n_epochs must be at least 1, got 0"),
    "updates": ({"n_updates": 0}, ValueError, "n_updates must be at least 1, got 0"),
    "networks": ({"key": KEYS}, ValueError, "leading axis 3, got"),
    "stage": ({"advance": advance}, ValueError, "stage must be given"),
    "names": ({"constraints": {"tau": train.fixed}}, ValueError, r"must name parts of .* \(b, w\), got tau"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_input(case):
    change, error, message = BAD[case]
    options = {"key": KEY, "optimiser": SGD, "n_epochs": 1} | change
    with pytest.raises(error, match=message):
        train.fit(loss, start(), **options)
