"""Fixed points, Lyapunov exponents and timescales run unchanged on every smooth model, and map over parameters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import FAMILIES, ZOO

from dynlab import (
    ESN,
    fixed_points,
    lyapunov,
    phase_map,
    simulate,
    timescales,
    tree,
    two_trajectory_exponent,
)

T = 60
SAME = {"esn_cycle", "rnn", "rate_exp_euler"}  # to an analysis as esn, gru and rate_euler: one more program each
SMOOTH = [name for name in FAMILIES if ZOO[name].model.smooth and name not in SAME]


def analyse(system, xs, starts, key):
    """Fixed points, exponents, and the features along the orbit, as one program."""
    found = fixed_points(system.at(jax.tree.map(lambda leaf: leaf[0], xs)), starts, steps=8)
    exponents = lyapunov(system, xs, k=2, key=key)

    def step(state, x):
        new = system.model.step(system.params, state, x, None)
        slope = jax.jacfwd(system)(tree.phase(state)[0], x)
        return new, (slope, system.model.observe(system.params, new))

    slopes, features = jax.lax.scan(step, system.state, xs)[1]
    return found, exponents, slopes, features


@pytest.mark.parametrize("name", SMOOTH)
def test_every_smooth_model(name, key):
    entry = ZOO[name]
    system = phase_map(entry.model, entry.model.init(key))
    xs = entry.inputs(key, T)
    starts = system.z0 + 0.1 * jax.random.normal(key, (8, system.n))
    found, exponents, slopes, features = jax.jit(analyse)(system, xs, starts, key)
    assert found.z.shape == starts.shape
    assert set(np.asarray(found.status)) <= {0, 1, 3}
    assert np.all(found.speed <= np.asarray(jax.vmap(jnp.linalg.norm)(found.z)) + 10.0)
    leading, second = exponents.exponents
    assert int(exponents.status) in (0, 2)
    assert leading >= second - 0.5 or np.isneginf(second)
    frame = np.linalg.qr(np.random.default_rng(0).normal(size=(system.n, 2)))[0]  # NumPy's road, another frame
    logs = np.zeros(2)
    for slope in np.asarray(slopes, np.float64):
        frame, r = np.linalg.qr(slope @ frame)
        logs += np.log(np.abs(np.diag(r)) + 1e-300)
    if int(exponents.n_resolved) == 2:  # the frames differ by a transient of a few nats
        np.testing.assert_allclose(exponents.exponents, logs / T / system.dt, atol=6.0 / T / system.dt)
    scales = timescales(np.asarray(features)[:, :2], system.dt, lags=10)  # one shape: one program for all models
    assert scales.tau.shape == (2,)
    good = np.asarray(scales.status) == 0
    assert set(np.asarray(scales.status)) <= {0, 1, 2}
    assert np.all(np.asarray(scales.tau)[good] >= 0.99 * system.dt)


def test_all_three_over_16_spectral_radii_in_one_compiled_call(key, count_compilations):
    model = ESN(n_units=12, input_scaling=0.3, bias_scaling=0.1)
    params = model.init(key)
    radii = jnp.linspace(0.2, 1.7, 16)
    xs = jax.random.uniform(key, (200, 1), minval=-1.0)
    starts = jax.random.normal(key, (32, 12))

    def one(radius, params, xs):
        member = params.replace(spectral_radius=radius)
        system = phase_map(model, member)
        found = fixed_points(system.at(jnp.zeros(1)), starts)
        exponents = lyapunov(system, xs, k=1, warmup=50, key=key)
        scales = timescales(simulate(model, member, xs, washout=50).outputs, lags=20)
        return found.completeness.n_found, exponents.exponents[0], exponents.status, scales.lag_one.tau

    swept = jax.jit(jax.vmap(one, in_axes=(0, None, None)))
    with count_compilations() as count:
        n_found, leading, status, tau = jax.block_until_ready(swept(radii, params, xs))
    assert count.compilations == 1
    assert leading.shape == (16,)
    assert tau.shape == (16, 12)
    assert np.all(status == 0)
    assert np.all(np.diff(leading[:8]) > 0)  # below radius 1 a stronger network forgets more slowly
    assert np.all(n_found[:8] == 1)  # below 1 the bias has one point; its negative exponent says so
    alone = one(radii[3], params, xs)
    assert int(alone[0]) == int(n_found[3])
    np.testing.assert_allclose(alone[1], leading[3], atol=1e-5)
    np.testing.assert_allclose(alone[3], tau[3], rtol=1e-3)
    with count_compilations() as count:
        jax.block_until_ready(swept(radii, params, xs))
    assert count.compilations == 0


def test_spiking_models_are_refused_with_the_alternative_named(key):
    entry = ZOO["lif"]
    params = entry.model.init(key)
    with pytest.raises(TypeError, match="two_trajectory_exponent"):
        phase_map(entry.model, params)
    view = phase_map(entry.model, params, smooth=False)
    with pytest.raises(TypeError, match="two_trajectory_exponent"):
        lyapunov(view, entry.inputs(key, 50), key=key)
    with pytest.raises(TypeError, match="smooth"):
        fixed_points(view.at(jnp.zeros(3)), jnp.zeros((4, view.n)))
    assert np.isfinite(two_trajectory_exponent(view, entry.inputs(key, 50), size=1e-3, key=key).exponent)
