"""Izhikevich's units: spike counts under the named rules, the network of 2003 against NumPy and its rates."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import simulate
from dynlab.models.izhikevich import Izhikevich

KEY = jax.random.key(0)

COUNTS = {  # spikes in 1 s for I = 5, 10, 15: coarse, then Euler with 0.01 ms
    "RS": ((10, 20, 31), (11, 23, 34)),
    "IB": ((12, 27, 44), (14, 34, 63)),
    "CH": ((28, 43, 64), (40, 87, 130)),
    "FS": ((34, 63, 99), (46, 136, 230)),
    "LTS": ((29, 44, 66), (41, 78, 117)),
}
FIRST = {"RS": (4, 31, 79), "IB": (4, 8, 46), "CH": (4, 7, 10), "FS": (4, 11, 22), "LTS": (4, 10, 21)}  # of I = 10


@pytest.mark.parametrize("cells", COUNTS)
def test_coarse_counts_and_first_spikes(cells):
    """Counts of a NumPy loop with 0.04 * v * v in float64. They hang on the rounding: with v**2 instead, the same loop
    gives 65 for 63 (fast spiking, I = 10), with Horner's rule 90 for 99 (I = 15)."""
    model = Izhikevich(n_units=3, n_inputs=3, cells=cells)
    spikes = np.asarray(simulate(model, model.init(KEY), jnp.tile(jnp.array([5.0, 10.0, 15.0]), (1000, 1))).outputs)
    np.testing.assert_allclose(spikes.sum(0), COUNTS[cells][0], rtol=0.2)
    assert tuple(np.flatnonzero(spikes[:, 1])[:3]) == FIRST[cells]


def test_fine_counts():
    for cells, (_, wanted) in COUNTS.items():
        model = Izhikevich(n_units=3, n_inputs=3, cells=cells, rule="euler", dt=0.01)
        spikes = simulate(model, model.init(KEY), jnp.tile(jnp.array([5.0, 10.0, 15.0]), (100_000, 1))).outputs
        np.testing.assert_allclose(np.asarray(spikes).sum(0), wanted, atol=1)  # float32 may shift the last spike


@pytest.mark.conformance
def test_network_equals_a_numpy_loop(x64):
    """The paper's program, line by line, with given currents; exactly in float64."""
    model = Izhikevich(n_units=100, n_inputs=100, cells="network", weight_scale=10.0)
    params = model.init(KEY)
    a, b, c, d, w = (np.asarray(getattr(params, name), float) for name in ("a", "b", "c", "d", "weights"))
    n = 300 if x64 else 40
    currents = 5.0 * np.random.default_rng(0).normal(size=(n, 100))
    got = np.asarray(simulate(model, params, currents).outputs)
    v = np.full(100, -65.0)
    u, want = b * v, []
    for i in currents:
        fired = v >= 30.0
        want.append(fired)
        v = np.where(fired, c, v)
        u = u + fired * d
        total = i + w @ fired
        for _ in range(2):
            v = v + 0.5 * (0.04 * v**2 + 5.0 * v + 140.0 - u + total)
        u = u + a * (b * v - u)
    assert np.sum(want) > 10
    np.testing.assert_array_equal(got, want)


def test_network_rates():
    """1,000 units, 1 s: excitatory 7.5 to 7.9 Hz, inhibitory 7.1 to 7.6 Hz in five runs of another program."""
    model = Izhikevich(n_units=1000, cells="network", noise=5.0)
    rates = []
    for seed in range(3):
        key = jax.random.key(seed)
        spikes = np.asarray(simulate(model, model.init(key), jnp.zeros((1000, 1)), key=key).outputs)
        rates.append((spikes[:, :800].sum() / 800, spikes[:, 800:].sum() / 200))
    excitatory, inhibitory = np.mean(rates, axis=0)
    assert 7.2 < excitatory < 8.2
    assert 6.8 < inhibitory < 7.9


def test_network_under_small_steps_fires_alike():
    """Noise and the kick of a spike do not depend on the step: rates of 8 to 11 Hz at 0.5 ms, nearer to the flow."""
    model = Izhikevich(n_units=400, cells="network", noise=5.0, weight_scale=2.5, rule="euler", dt=0.5)
    params = model.init(KEY)
    spikes = np.asarray(simulate(model, params, jnp.zeros((2000, 1)), key=KEY).outputs)
    coarse = model.replace(rule="coarse", dt=1.0)
    same = np.asarray(simulate(coarse, params, jnp.zeros((1000, 1)), key=KEY).outputs)
    assert 0.8 < spikes.sum() / same.sum() < 1.6


BAD = {
    "unknown cells": (lambda: Izhikevich(cells="XX").init(KEY), ValueError, r"cells must be one of 'RS', .* got 'XX'"),
    "coarse with another dt": (lambda: Izhikevich(dt=0.5).init(KEY), ValueError, r"dt must be 1 ms with rule 'coarse', got 0.5"),
    "wrong number of inputs": (lambda: Izhikevich(n_units=5, n_inputs=3).init(KEY), ValueError, r"n_inputs must be one of 1, 5, got 3"),
    "negative noise": (lambda: Izhikevich(noise=-1.0).init(KEY), ValueError, r"noise must be finite and in \[0.0, inf\], got -1.0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()
