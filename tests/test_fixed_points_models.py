"""Fixed points of models: held inputs, flows in any unit of time, slow maps, moving buffers, trained networks."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo_models import LIF, RateFlow

import experiments
from dynlab import (
    ESN,
    Euler,
    classify,
    draw_starts,
    fixed_points,
    from_step,
    from_torch,
    lyapunov,
    phase_map,
    rms_step,
    trajectory,
)
from dynlab.analysis.levenberg import search
from dynlab.tasks import FlipFlop

Partial = jax.tree_util.Partial


def normal(key, *shape):
    return jax.random.normal(key, shape)


def test_points_follow_the_input(key):
    """At constant input the only point of a contracting network is where the driven network settles."""
    model = ESN(n_units=12, spectral_radius=0.5, leak_rate=0.4)
    params = model.init(key)
    system = phase_map(model, params)
    inputs = jnp.array([[-1.0], [0.3], [1.0]])
    found = jax.vmap(lambda u: fixed_points(system.at(u), normal(key, 16, 12)))(inputs)
    assert np.all(found.completeness.n_found == 1)
    for i, u in enumerate(inputs):
        z = system.z0
        for _ in range(300):
            z = system(z, u)
        np.testing.assert_allclose(np.asarray(found.z[i])[np.asarray(found.keep[i])][0], z, atol=1e-5)


def test_equilibria_of_a_flow_are_fixed_points_of_its_euler_map(key):
    flow = RateFlow(n_units=5, gain=2.5)
    params = flow.init(key)
    x = jnp.zeros(2)
    starts = 2 * normal(key, 256, 5)
    of_flow = phase_map(flow, params).at(x)
    of_map = phase_map(Euler(flow, dt=0.1), params).at(x)
    a = classify(of_flow, fixed_points(of_flow, starts))
    b = classify(of_map, fixed_points(of_map, starts))
    assert a.z.shape == b.z.shape
    np.testing.assert_allclose(np.sort(a.z, axis=0), np.sort(b.z, axis=0), atol=1e-3)
    assert sorted(a.n_unstable) == sorted(b.n_unstable)  # Re < 0 of the flow, modulus < 1 of the map
    slow = [classify(of_flow_of(flow, params, tau), fixed_points(of_flow_of(flow, params, tau), starts)) for tau in
            (1e-3, 1e5)]
    for other in slow:  # the unit of time changes nothing
        np.testing.assert_allclose(np.sort(other.z, axis=0), np.sort(a.z, axis=0), atol=1e-3)
        assert sorted(other.n_unstable) == sorted(a.n_unstable)
    plain = Partial(z_plus_velocity, of_flow)
    assert sorted(classify(plain, fixed_points(plain, starts), flow=True).n_unstable) == sorted(a.n_unstable)


def of_flow_of(flow, params, tau):
    return phase_map(flow, {**params, "tau": jnp.asarray(tau)}).at(jnp.zeros(2))


def z_plus_velocity(f, z):
    return f(z)


def test_steps_by_products_only_reach_the_same_accuracy(key):
    """What is used above 1,000 units, also where the displacement is small (a small leak)."""
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(24, 24)) * 1.5 / np.sqrt(24), jnp.result_type(float))
    starts = normal(key, 8, 24)

    def norms(scale, dense):
        residual = lambda z: scale * (jnp.tanh(weights @ z) - z)  # noqa: E731
        return jax.vmap(lambda z: search(residual, z, 50, dense=dense).norm)(starts) / scale

    for dense in (True, False):
        found = jax.jit(jax.vmap(norms, in_axes=(0, None)), static_argnums=1)(jnp.array([1.0, 1e-4]), dense)
        assert np.all(np.median(found, axis=1) < 2e-6)


def test_a_map_too_slow_for_its_precision_says_so(key, x64):
    """Leak 1e-4: a float32 step cannot tell z from its neighbours; nothing is claimed, float64 finds the points."""
    model = ESN(n_units=6, leak_rate=1e-4, spectral_radius=1.6, bias_scaling=0.1)
    f = phase_map(model, model.init(key)).at(jnp.zeros(1))
    found = fixed_points(f, normal(key, 64, 6))
    points = classify(f, found)
    if x64:
        assert int(found.completeness.status) == 0
    else:
        assert np.all(found.status == 3)
        assert not points.fixed.any()
        assert "repeat in float64" in points.verdict


def test_a_moving_buffer_head_is_refused(key):
    """The head is held still in the search, so that every value of the other slots would be a point."""

    def turn(params, state, x):
        head = state["head"]
        return {"buffer": state["buffer"].at[head].set(jnp.tanh(0.5 * state["buffer"][head])), "head": (head + 1) % 4}

    model, params = from_step(turn, {"buffer": jnp.zeros(4), "head": jnp.zeros((), int)})
    with pytest.raises(ValueError, match="f must do the same at every step, got FunctionMap"):
        fixed_points(phase_map(model, params).at(), normal(key, 8, 4))


@pytest.mark.conformance
@pytest.mark.parametrize("kind", ["gru", "rnn"])
def test_flip_flop_networks_have_27_points(kind, key, tol):
    """The cube of Sussillo & Barak 2013: 8 corners, 12 edges, 6 faces, the centre; q at the rounding of the dtype."""
    model, params = from_torch(Path(experiments.__file__).parent / "networks" / f"flipflop_{kind}.pt")
    system = phase_map(model, params)
    states = trajectory(system, FlipFlop(length=500).sample(key).inputs)
    f = system.at(jnp.zeros(3))
    found = fixed_points(f, draw_starts(jax.random.key(1), states, 1024))
    points = classify(f, found, step_scale=rms_step(states))
    assert points.fixed.sum() == 27
    assert np.bincount(points.n_unstable).tolist() == [8, 12, 6, 1]
    assert np.max(points.speed**2 / 2) < tol(1e-12, 1e-20)
    assert float(found.completeness.index_sum) == 1.0
    assert int(found.completeness.status) == 0
    alone = fixed_points(f, draw_starts(jax.random.key(1), states, 1024, mixed=0.0))
    assert int(alone.completeness.n_found) < 27  # single states with noise do not reach all saddles


def test_exponents_at_constant_input_are_those_of_the_point(key):
    """lyapunov of system.at(x): where a contracting network settles, ln of the moduli of its Jacobian there."""
    model = ESN(n_units=6, spectral_radius=0.6, connectivity=1.0)
    f = phase_map(model, model.init(key)).at(jnp.ones(1))
    points = classify(f, fixed_points(f, normal(key, 64, 6)))
    found = lyapunov(f, 400, k=1, warmup=200, key=key)
    np.testing.assert_allclose(found.exponents[0], np.log(np.abs(points.modes.eigenvalues[0, 0])), atol=0.02)
    with pytest.raises(ValueError, match="inputs must be the number of steps for a map at constant input"):
        lyapunov(f, jnp.zeros((10, 1)), key=key)
    spiking = LIF(n_units=4)
    view = phase_map(spiking, spiking.init(key), smooth=False).at(jnp.zeros(3))
    with pytest.raises(TypeError, match="two_trajectory_exponent"):
        lyapunov(view, 10, key=key)
    with pytest.raises(ValueError, match=r"inputs must be a series .* for a model with input"):
        lyapunov(phase_map(model, model.init(key)), 10, key=key)
