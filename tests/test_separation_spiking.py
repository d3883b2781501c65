"""Ranks, separation and the two-trajectory exponent of a spiking map, and the rank of given features."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo_models as small

from dynlab import tree
from dynlab.analysis.linearize import phase_map
from dynlab.analysis.separation import generalisation_rank, kernel_rank, separation, state_rank
from dynlab.analysis.two_trajectories import two_trajectory_exponent

N = 30


@tree.dataclass
class OneChannel:
    """The spiking network of the zoo, its three input channels driven by one."""

    inner: small.LIF = small.LIF(n_units=N, noise=0.0)
    dt: float = tree.static(default=1.0)
    smooth = False
    input_sizes = 1
    deterministic = True

    def init(self, key):
        return self.inner.init(key)

    def init_state(self, params, key=None):
        return self.inner.init_state(params, key)

    def step(self, params, state, x, key=None):
        return self.inner.step(params, state, jnp.broadcast_to(x, (3,)), key)

    def observe(self, params, state):
        return self.inner.observe(params, state)


def numpy_run(params, streams):
    """The network of the zoo as a loop: traces (m, N) after the last step."""
    w, w_in = np.asarray(params["w"], np.float32), np.asarray(params["w_in"], np.float32)
    out = []
    for stream in streams:
        v, trace, hold = np.zeros(N, np.float32), np.zeros(N, np.float32), np.zeros(N, int)
        for x in stream:
            current = w @ trace + w_in @ np.full(3, x, np.float32)
            v = np.where(hold > 0, 0, np.float32(0.9) * v + current)
            spike = v > 0.5
            hold = np.where(spike, 2, np.maximum(hold - 1, 0))
            v, trace = np.where(spike, 0, v), np.float32(0.9) * trace + spike
        out.append(trace)
    return np.array(out)


def test_ranks_and_separation_of_a_spiking_map(key):
    different = kernel_rank(OneChannel(), key, n_steps=40)
    copies = generalisation_rank(OneChannel(), key, n_steps=40, input_noise=0.01)
    assert (int(different.status), int(copies.status)) == (0, 0)
    assert 1 < int(copies.rank) < int(different.rank) <= N
    apart = separation(OneChannel(), key, replaced=(0.0, 0.05, 1.0), n_pairs=20, n_steps=40)
    distance = np.asarray(apart.state_distance)
    assert distance[0] == 0.0
    assert 0 < distance[1] < distance[2]


def test_rank_of_given_states(key):
    """That of NumPy at the same threshold, on the traces of a NumPy loop over the network; low rank by construction."""
    params = OneChannel().init(key)
    states = numpy_run(params, np.random.default_rng(0).uniform(-1, 1, (2 * N, 40)))
    got = state_rank(states, threshold=0.02)
    s = np.linalg.svd(states, compute_uv=False)
    np.testing.assert_allclose(got.singular_values, s, rtol=1e-3, atol=1e-4 * s[0])
    assert int(got.rank) == np.linalg.matrix_rank(states, rtol=0.02)
    rng = np.random.default_rng(1)
    low = np.outer(rng.poisson(5, 40), rng.poisson(5, 20)) + np.outer(rng.poisson(5, 40), rng.poisson(5, 20))
    assert int(state_rank(low).rank) == 2
    bad = jax.jit(state_rank)(jnp.full((4, 3), jnp.nan))
    assert (int(bad.rank), int(bad.status)) == (-1, 1)
    with pytest.raises(ValueError, match=r"states must have shape \(samples, features\), not empty, got \(3,\)"):
        state_rank(np.ones(3))
    with pytest.raises(ValueError, match=r"threshold must be at least"):
        state_rank(low, 1e-12 if jnp.result_type(float) == jnp.float32 else 1e-16)


def test_two_trajectories_of_a_spiking_map(key):
    """A distance below all spikes decays with the membranes, ln 0.9 a step; one that makes spikes grows."""
    model = OneChannel()
    g = phase_map(model, model.init(key), smooth=False)
    x = np.random.default_rng(0).uniform(-1.0, 1.0, (400, 1))
    small_gap, large_gap = (two_trajectory_exponent(g, x, warmup=50, size=size, key=key) for size in (1e-3, 3.0))
    assert (int(small_gap.status), int(large_gap.status)) == (0, 0)
    assert float(np.median(small_gap.local)) == pytest.approx(np.log(0.9), abs=0.05)
    assert float(large_gap.exponent) > float(small_gap.exponent)
