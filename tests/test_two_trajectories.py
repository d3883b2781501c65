"""Exponents from two trajectories, and the echo state property from several."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo_models as small
from jax.tree_util import Partial

from dynlab import ESN, tree
from dynlab.analysis.linearize import phase_map
from dynlab.analysis.lyapunov import lyapunov
from dynlab.analysis.two_trajectories import direction, echo_state, two_trajectory_exponent
from dynlab.keys import named

KEY = jax.random.key(0)
SMALL = ESN(n_units=12)


def linear(z, a):
    return a @ z


def skew_tent(c, z):
    return jnp.where(z < c, z / c, (1.0 - z) / (1.0 - c))


def rounded(z, x):
    """A state with two decimals."""
    return jnp.round(50.0 * z + x) / 100.0


def square(z):
    return z * z


def decay(z):
    return 0.9 * z


def cubic(z, x):
    """Two attractors, near -1 and 1, whatever small x is."""
    return z + 0.5 * (z - z**3) + 0.01 * x


def drive(n_steps, width=1):
    return np.random.default_rng(0).uniform(-1.0, 1.0, (n_steps, width)).astype(np.float32)


def lif():
    model = small.LIF(n_units=9)
    return phase_map(model, model.init(KEY), smooth=False)


@pytest.mark.conformance
def test_scaled_rotation(tol):
    q = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    found = two_trajectory_exponent(linear, np.tile(0.7 * q, (200, 1, 1)), z0=np.ones(4), dt=0.5, key=KEY)
    assert int(found.status) == 0
    assert float(found.exponent) == pytest.approx(np.log(0.7) / 0.5, abs=tol(1e-3, 1e-6))
    assert found.local.shape == (200,)


@pytest.mark.conformance
def test_map_with_a_kink():
    """The skew tent map: -c ln c - (1 - c) ln(1 - c), the slopes' mean over the uniform density."""
    c, n_steps = 0.3, 20_000
    found = two_trajectory_exponent(Partial(skew_tent, c), n_steps, z0=[0.123], key=KEY)
    exact = -c * np.log(c) - (1 - c) * np.log(1 - c)
    deviation = np.sqrt(c * (1 - c)) * abs(np.log(c) - np.log(1 - c))
    assert abs(float(found.exponent) - exact) < 4 * deviation / np.sqrt(n_steps) + 1e-3


@pytest.mark.conformance
def test_agrees_with_tangents_and_a_sweep_is_the_loop(count_compilations, tol):
    params, u, radii = SMALL.init(KEY), jnp.asarray(drive(900)), jnp.array([0.3, 0.7, 1.1])
    systems = [phase_map(SMALL, params.replace(spectral_radius=radius)) for radius in radii]
    two = lambda system: two_trajectory_exponent(system, u, warmup=300, key=KEY).exponent  # noqa: E731
    looped = [two(system) for system in systems]
    with count_compilations() as count:
        looped = [two(system) for system in systems]
    assert count.compilations == 0
    tangents = [lyapunov(system, u, k=1, warmup=300, key=KEY).exponents[0] for system in systems]
    np.testing.assert_allclose(looped, tangents, atol=tol(2e-3, 2e-4))
    swept = jax.vmap(lambda radius: two(phase_map(SMALL, params.replace(spectral_radius=radius))))(radii)
    np.testing.assert_allclose(swept, looped, atol=tol(2e-3, 1e-4))


def test_products_are_in_full_precision():
    """No device may round the products of the step: the two trajectories differ by little."""
    system, xs = phase_map(SMALL, SMALL.init(KEY)), drive(10)
    starts = np.eye(12)[:2]
    for program in (lambda: two_trajectory_exponent(system, xs, key=KEY),
                    lambda: echo_state(system, xs, starts, key=KEY)):
        products = [line for line in str(jax.make_jaxpr(program)()).split("\n") if "precision=" in line]
        assert products
        assert all("HIGHEST" in line for line in products)


def test_spiking_network_below_threshold():
    """Without input nothing spikes, and potential and trace decay by 0.9 a step (a Jordan block: ln T / T slowly)."""
    found = two_trajectory_exponent(lif(), np.zeros((3000, 3)), warmup=1000, key=KEY)
    assert int(found.status) == 0
    assert abs(float(found.exponent) - np.log(0.9)) < 2e-3


def test_spiking_network_equals_a_plain_loop():
    """Each trajectory keeps its own refractory counters; spikes in one only are jumps."""
    system, u, size = lif(), 2.0 * drive(80, 3), 1.0
    found = two_trajectory_exponent(system, u, size=size, key=KEY)
    step = jax.jit(system.step)
    z, restore = tree.phase(system.state)
    first, local, apart = system.state, [], 0
    second = restore(z + size * direction(named(KEY, "two_trajectories.start"), z.size, z.dtype))
    for row in jnp.asarray(u):
        before = jnp.linalg.norm(tree.phase(second)[0] - tree.phase(first)[0])
        first, second = step(first, row), step(second, row)
        apart += int(jnp.sum(first.refractory != second.refractory))
        (z, _), (other, restore) = tree.phase(first), tree.phase(second)
        after = jnp.linalg.norm(other - z)
        assert after > 0
        local.append(float(jnp.log(after / before)))
        second = restore(z + size * (other - z) / after)
    np.testing.assert_allclose(found.local, local, atol=2e-3)
    assert apart > 0
    assert (int(found.status), float(found.size)) == (0, pytest.approx(size))


def test_merged_escaped_and_lost():
    merged = two_trajectory_exponent(rounded, drive(50), z0=[0.3], size=1e-3, key=KEY)
    assert int(merged.status) == 2
    assert float(merged.exponent) == -np.inf
    assert 0 < int(merged.n_merged) <= 50
    assert not np.any(np.isnan(merged.local))
    escaped = two_trajectory_exponent(square, 50, z0=[2.0], key=KEY)
    assert int(escaped.status) == 1
    assert np.isnan(escaped.exponent)
    lost = two_trajectory_exponent(linear, np.ones((5, 1, 1)), z0=[1e9], size=1e-9, key=KEY)
    assert int(lost.status) == 3
    assert np.isnan(lost.exponent)


# ---- echo state ----

def test_echo_state_of_a_contracting_reservoir():
    params, starts, u = SMALL.init(KEY), np.random.default_rng(1).uniform(-1, 1, (4, 12)), drive(300)

    def test_of(u, **knobs):
        leaves = {name: jnp.full_like(getattr(params, name), value) for name, value in knobs.items()}
        return echo_state(phase_map(SMALL, params.replace(**leaves)), u, starts, key=KEY)

    found = test_of(u, spectral_radius=0.8)
    assert bool(found.holds)
    assert int(found.status) == 0
    assert found.exponents.shape == (4,)
    assert np.all(found.exponents < 0)
    assert float(found.distance) < 1e-5
    rest = test_of(np.zeros((300, 1)), spectral_radius=0.8)  # to 0 together: the last state is no scale
    assert bool(rest.holds)
    assert float(rest.distance) < 1e-5
    slow = test_of(u, spectral_radius=0.8, leak_rate=0.02)  # too short to meet
    assert np.all(slow.exponents < 0)
    assert not bool(slow.holds)


def test_echo_state_of_a_decay_to_rest():
    found = echo_state(decay, 300, [[1.0, 0.5], [-1.0, 2.0]], key=KEY)
    assert bool(found.holds)
    np.testing.assert_allclose(found.exponents, np.log(0.9), atol=1e-5)
    assert float(found.distance) < 1e-12


def test_a_negative_exponent_is_no_proof():
    """Two attractors: every orbit contracts, yet the starts do not meet."""
    found = echo_state(cubic, drive(200), [[-0.5], [0.5]], key=KEY)
    assert np.all(found.exponents < 0)
    assert not bool(found.holds)
    assert float(found.distance) > 1.0
    same_side = echo_state(cubic, drive(200), [[0.2], [0.5]], key=KEY)
    assert bool(same_side.holds)


def test_echo_state_of_a_spiking_network_without_input():
    system = lif()
    found = echo_state(system, np.zeros((400, 3)), np.random.default_rng(2).uniform(0, 0.1, (3, system.n)), key=KEY)
    assert np.all(found.exponents < 0)
    assert int(found.status) == 0
