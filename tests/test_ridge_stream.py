"""Streamed ridge: equal to the batch fit, per-series washout, flat memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import ESN, ridge, simulate
from dynlab.readout import stream
from dynlab.readout.linear import expand

MODEL = ESN(n_inputs=2, n_units=30, noise=0.01)


@pytest.fixture(scope="module")
def driven():
    params = MODEL.init(jax.random.key(1))
    rng = np.random.default_rng(0)
    return params, rng.uniform(-1, 1, (3, 170, 2)), rng.normal(size=(3, 170, 4)) + 5.0


@pytest.mark.conformance
@pytest.mark.parametrize(
    ("batched", "squares", "with_input", "intercept"), [(False, "none", False, True), (True, "all", True, False)]
)
def test_equals_simulate_and_ridge(driven, key, batched, squares, with_input, intercept, tol):
    """Also the noise is the same, sample by sample; 170 steps are no multiple of the chunk."""
    params, u, y = driven if batched else (driven[0], driven[1][0], driven[2][0])
    run = simulate(MODEL, params, u, key=key)
    options = {"washout": 20, "ridge": 1e-2, "squares": squares, "intercept": intercept}
    batch = ridge(run.outputs, y, inputs=u if with_input else None, **options)
    streamed = stream.fit_readout(MODEL, params, u, y, key=key, chunk=64, with_input=with_input, **options)
    assert streamed.with_input == batch.with_input
    got, expected = streamed(run.outputs, u), batch(run.outputs, u)
    np.testing.assert_allclose(got, expected, atol=tol(5e-4, 1e-10))


@pytest.mark.conformance
def test_start_state(driven, key):
    params, u, y = driven[0], driven[1][0], driven[2][0]
    start = simulate(MODEL, params, u[:50], key=key).state
    run = simulate(MODEL, params, u, state=start, key=key)
    streamed = stream.fit_readout(MODEL, params, u, y, state=start, key=key, ridge=1e-2)
    np.testing.assert_allclose(streamed(run.outputs), ridge(run.outputs, y, 1e-2)(run.outputs), atol=2e-3)


@pytest.mark.conformance
def test_chunks_from_anywhere_and_ridge_array(tol):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 90, 6)) + 2.0, rng.normal(size=(2, 90, 2))
    kept = stream.stream_init(12, 2)
    for part in (slice(0, 50), slice(50, 55), slice(55, 90)):
        kept = stream.stream_update(kept, expand(jnp.asarray(x[:, part]), None, "all"), y[:, part])
    assert int(kept.count) == 180
    values = np.array([1e-3, 10.0])
    fit = stream.stream_solve(kept, values, squares="all")
    expected = ridge(x, y, values, squares="all")
    np.testing.assert_allclose(fit.weights, expected.weights, atol=tol(1e-4, 1e-11))
    np.testing.assert_allclose(fit.intercept, expected.intercept, atol=tol(1e-3, 1e-11))
    assert stream.stream_solve(kept, 1.0, squares="all")(x).shape == (2, 90, 2)


@pytest.mark.conformance
def test_constant_and_dead_features_at_ridge_zero(tol):
    rng = np.random.default_rng(4)
    x = np.hstack([rng.normal(size=(3000, 4)), np.full((3000, 1), 0.7), np.zeros((3000, 1))])
    y = x[:, :4] @ rng.normal(size=(4, 2)) + 2.0
    kept = stream.stream_init(6, 2)
    for part in np.split(np.arange(3000), 6):
        kept = stream.stream_update(kept, x[part], y[part])
    fit = stream.stream_solve(kept, 0.0)
    assert np.abs(fit.weights[4:]).max() < 1.0
    np.testing.assert_allclose(fit(x), y, atol=tol(1e-4, 1e-12))


@pytest.mark.conformance
@pytest.mark.parametrize("intercept", [True, False])
def test_small_variations_about_a_large_mean(intercept, tol):
    """Mean 1000, s.d. .003 (50 units of the last place in float32), beside a constant: streamed equals batch."""
    rng = np.random.default_rng(5)
    x = np.hstack([1000.0 + 0.003 * rng.normal(size=(3000, 2)), rng.normal(size=(3000, 2)), np.full((3000, 1), 7e3)])
    x = np.asarray(x, jnp.result_type(float)).astype(float)  # what is left of it in this precision
    y = (x[:, :2] - 1000.0) @ [[300.0], [-200.0]] + x[:, 2:3] + 50.0
    kept = stream.stream_init(5, 1)
    for part in np.split(np.arange(3000), 6):
        kept = stream.stream_update(kept, x[part], y[part])
    fit, batch = (f(1e-6) for f in (lambda r: stream.stream_solve(kept, r, intercept=intercept),
                                    lambda r: ridge(x, y, r, intercept=intercept)))
    if not intercept:  # the raw columns are parallel to 1e-6: only the fit itself is determined
        np.testing.assert_allclose(fit(x), batch(x), atol=tol(1.0, 1e-4))
        return
    np.testing.assert_allclose(batch.weights[:2, 0], [300.0, -200.0], rtol=1e-2)
    np.testing.assert_allclose(fit.weights[:4], batch.weights[:4], rtol=tol(2e-3, 1e-6), atol=tol(1e-4, 1e-9))
    centred = x - x.mean(0)
    np.testing.assert_allclose(centred @ np.asarray(fit.weights, float), y - y.mean(), atol=tol(1e-2, 1e-3))


@pytest.mark.conformance
def test_shift_waits_for_the_first_valid_sample(tol):
    """Chunks that the washout drops whole leave the stream empty; the fit does not depend on where it starts."""
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(60, 3)) + 4.0, rng.normal(size=(60, 2))
    x, y = (jnp.asarray(a, jnp.result_type(float)) for a in (x, y))
    kept = stream.fold(stream.stream_init(3, 2), 1e6 * x, y, jnp.zeros(60, bool))
    assert int(kept.count) == 0
    assert not np.any(kept.factor)
    assert not np.any(kept.shift)
    kept = stream.fold(kept, x, y, jnp.arange(60) >= 20)
    kept = stream.fold(kept, x[:10] - 9.0, y[:10])
    assert int(kept.count) == 50
    pooled = jnp.concatenate([x[20:], x[:10] - 9.0]), jnp.concatenate([y[20:], y[:10]])
    for intercept in (True, False):
        fit, expected = stream.stream_solve(kept, 0.1, intercept=intercept), ridge(*pooled, 0.1, intercept=intercept)
        np.testing.assert_allclose(fit.weights, expected.weights, atol=tol(1e-5, 1e-12))
        np.testing.assert_allclose(fit.intercept, expected.intercept, atol=tol(1e-5, 1e-12))


@pytest.mark.conformance
def test_float32_on_ill_conditioned_states():
    """A delay line with slowly fading, mixed taps: condition number 1e8; the streamed fit recovers the tail."""
    rng = np.random.default_rng(3)
    u = rng.uniform(-1, 1, 4000 + 40)
    lags = np.stack([u[40 - k : 4040 - k] for k in range(40)], axis=1)
    x = (lags * 0.62 ** np.arange(40)) @ np.linalg.qr(rng.normal(size=(40, 40)))[0]
    kept = stream.stream_init(40, 40)
    for i in range(0, 3000, 500):
        kept = stream.stream_update(kept, x[i : i + 500], lags[i : i + 500])
    fit = stream.stream_solve(kept, 1e-8)
    error = np.asarray(fit(x[3000:])) - lags[3000:]
    a = np.vstack([x[:3000], 1e-4 * np.eye(40)])
    w = np.linalg.lstsq(a, np.vstack([lags[:3000], np.zeros((40, 40))]), rcond=None)[0]
    expected = ((x[3000:] @ w - lags[3000:]) ** 2).mean()
    assert (error**2).mean() == pytest.approx(expected, rel=0.03)


@pytest.mark.conformance
def test_memory_is_flat():
    """No array of the compiled program is as long as the series times the features; temporaries do not grow."""
    model = ESN(n_inputs=1, n_units=50)
    params = model.init(jax.random.key(0))
    temporary = []
    for n_steps in (10_000, 80_000):
        u, y = jnp.zeros((1, n_steps, 1)), jnp.zeros((1, n_steps, 1))
        lowered = stream.accumulate.lower(
            model, params, u, y, None, None,
            batched=False, washout=100, chunk=500, squares="none", with_input=False,
        )
        temporary.append(lowered.compile().memory_analysis().temp_size_in_bytes)
    itemsize = jnp.result_type(float).itemsize
    assert temporary[1] < 80_000 * 50 * itemsize / 4
    assert temporary[1] - temporary[0] <= 70_000 * 4 * itemsize  # room for copies of input and target only


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda p, u, y: stream.fit_readout(MODEL, p, u[..., :1], y), "inputs must have 2 features"),
        (lambda p, u, y: stream.fit_readout(MODEL, p, u, y[:, :9]), "targets and inputs must have the same length"),
        (lambda p, u, y: stream.fit_readout(MODEL, p, u, y, washout=170), "washout must be smaller"),
        (lambda p, u, y: stream.fit_readout(MODEL, p, u, y, chunk=0), "chunk must be at least 1"),
        (lambda p, u, y: stream.fit_readout(MODEL, p, u, y, ridge=-1), "ridge must be finite"),
        (lambda p, u, y: stream.fit_readout(MODEL, p, u, y, key=jax.random.key(0), state=jnp.zeros(30)), "state must"),
        (
            lambda p, u, y: stream.fit_readout(MODEL, p, u[0], y[0], key=jax.random.key(0), state=jnp.zeros((3, 30))),
            "state must",
        ),
        (lambda p, u, y: stream.fit_readout(MODEL, p, u, y), "key must be given for a model with noise"),
        (lambda p, u, y: stream.stream_update(stream.stream_init(3, 1), u, y), "regressors must have 3 features"),
        (lambda p, u, y: stream.stream_solve(stream.stream_init(3, 1)), "stream must hold at least one sample"),
        (lambda p, u, y: stream.stream_init(0, 1), "n_regressors must be at least 1"),
    ],
)
def test_bad_input(driven, call, match):
    with pytest.raises(ValueError, match=match):
        call(*driven)
