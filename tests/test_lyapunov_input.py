"""Every bad input of the Lyapunov functions: an error that says what is allowed, before anything is compiled."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo_models as small

from dynlab import ESN
from dynlab.analysis.linearize import phase_map
from dynlab.analysis.lyapunov import kaplan_yorke, lyapunov
from dynlab.analysis.two_trajectories import echo_state, two_trajectory_exponent
from dynlab.tasks import henon_map

KEY = jax.random.key(0)
MODEL = ESN(n_units=12)
SYSTEM = phase_map(MODEL, MODEL.init(KEY))
U = np.zeros((50, 1))
FLOW = small.RateFlow(n_units=5)
LIF = small.LIF(n_units=9)


def doubled(z):
    return jnp.concatenate([z, z])


BAD = {
    "k > n": (lambda: lyapunov(SYSTEM, U, k=13, key=KEY), ValueError, r"k must be at most the dimension of phase space \(12\), got 13"),
    "k = 0": (lambda: lyapunov(SYSTEM, U, k=0, key=KEY), ValueError, r"k must be at least 1, got 0"),
    "T <= warmup": (lambda: lyapunov(SYSTEM, U, warmup=50, key=KEY), ValueError, r"warmup must be smaller than the number of steps \(50\), got 50"),
    "every does not divide T": (lambda: lyapunov(SYSTEM, U, every=7, key=KEY), ValueError, r"every must divide the number of steps \(50\), got 7"),
    "every does not divide warmup": (lambda: lyapunov(SYSTEM, U, every=5, warmup=12, key=KEY), ValueError, r"every must divide warmup \(12\), got 5"),
    "z0 of wrong width": (lambda: lyapunov(SYSTEM, U, z0=np.zeros(11), key=KEY), ValueError, r"z0 must have shape \(12,\), got \(11,\)"),
    "z0 a matrix": (lambda: lyapunov(henon_map, 5, z0=np.zeros((3, 2)), key=KEY), ValueError, r"z0 must have shape \(n,\), got \(3, 2\).*vmap"),
    "z0 not finite": (lambda: lyapunov(henon_map, 5, z0=[0.0, np.nan], key=KEY), ValueError, r"z0 must be finite, got nan at index \(1,\)"),
    "no z0": (lambda: lyapunov(henon_map, 5, key=KEY), ValueError, r"z0 must be given for a plain function"),
    "inputs None": (lambda: lyapunov(SYSTEM, None, key=KEY), ValueError, r"inputs must be a series .*or the number of steps.*got None"),
    "no steps": (lambda: lyapunov(henon_map, 0, z0=[0.1, 0.1], key=KEY), ValueError, r"inputs must be at least 1, got 0"),
    "inputs of wrong width": (lambda: lyapunov(SYSTEM, np.zeros((50, 2)), key=KEY), ValueError, r"inputs must have 1 features, got 2"),
    "NaN in inputs": (lambda: lyapunov(SYSTEM, U + np.nan, key=KEY), ValueError, r"inputs must be finite, got nan"),
    "dt 0": (lambda: lyapunov(SYSTEM, U, dt=0.0, key=KEY), ValueError, r"dt must be finite and in \(0.0, inf\], got 0.0"),
    "no key": (lambda: lyapunov(SYSTEM, U, key=0), TypeError, r"key must be a typed key"),
    "a flow": (lambda: lyapunov(phase_map(FLOW, FLOW.init(KEY)), np.zeros((50, 2)), key=KEY), TypeError, r"g must be a map in time, got a flow: wrap the model in Euler"),
    "spiking": (lambda: phase_map(LIF, LIF.init(KEY)), TypeError, r"smooth.*LIF.*two_trajectory_exponent"),
    "spiking let through": (lambda: lyapunov(phase_map(LIF, LIF.init(KEY), smooth=False), np.zeros((5, 3)), key=KEY), TypeError, r"g must be smooth for tangents, got LIF .*two_trajectory_exponent"),
    "not a function": (lambda: lyapunov(3, 5, z0=[0.1], key=KEY), TypeError, r"a map must be a function of z"),
    "another width out": (lambda: lyapunov(doubled, 5, z0=[0.1], key=KEY), ValueError, r"g must return a vector like z, float\d\d of shape \(1,\), got float\d\d of shape \(2,\)"),
    "a number for exponents": (lambda: kaplan_yorke(0.3), ValueError, r"exponents must have shape \(..., k\), got \(\)"),
    "n < k": (lambda: kaplan_yorke([0.3, 0.1], 1), ValueError, r"n must be at least 2, got 1"),
    # two trajectories
    "size 0": (lambda: two_trajectory_exponent(SYSTEM, U, size=0.0, key=KEY), ValueError, r"size must be finite and in \(0.0, inf\], got 0.0"),
    "sizes": (lambda: two_trajectory_exponent(SYSTEM, U, size=np.ones(2), key=KEY), ValueError, r"size must be one number, got shape \(2,\)"),
    "T <= warmup of two": (lambda: two_trajectory_exponent(SYSTEM, U, warmup=50, key=KEY), ValueError, r"warmup must be smaller than the number of steps \(50\), got 50"),
    "z0 of wrong width for two": (lambda: two_trajectory_exponent(SYSTEM, U, z0=np.zeros(11), key=KEY), ValueError, r"z0 must have shape \(12,\), got \(11,\)"),
    "z0 of two not finite": (lambda: two_trajectory_exponent(SYSTEM, U, z0=np.full(12, np.inf), key=KEY), ValueError, r"z0 must be finite, got inf"),
    "inputs None for two": (lambda: two_trajectory_exponent(SYSTEM, None, key=KEY), ValueError, r"inputs must be a series .*got None"),
    "a flow of two": (lambda: two_trajectory_exponent(phase_map(FLOW, FLOW.init(KEY)), np.zeros((50, 2)), key=KEY), TypeError, r"got a flow: wrap the model in Euler"),
    "no key for two": (lambda: two_trajectory_exponent(SYSTEM, U, key=None), TypeError, r"key must be a typed key"),
    "one start": (lambda: echo_state(SYSTEM, U, np.zeros((1, 12)), key=KEY), ValueError, r"starts must have shape \(S, n\) with S at least 2, got \(1, 12\)"),
    "starts of wrong width": (lambda: echo_state(SYSTEM, U, np.zeros((2, 11)), key=KEY), ValueError, r"starts must have shape \(S, 12\), got \(2, 11\)"),
    "equal starts": (lambda: echo_state(SYSTEM, U, np.zeros((2, 12)), key=KEY), ValueError, r"starts must differ, got 2 equal rows"),
    "a flow of starts": (lambda: echo_state(phase_map(FLOW, FLOW.init(KEY)), np.zeros((50, 2)), np.eye(5), key=KEY), TypeError, r"got a flow"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()
