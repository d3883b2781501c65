"""The E/I reservoir: its equations against NumPy, its wiring, its balance, one product for a sweep."""

# ruff: noqa: E501
from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpy_ei
import pytest
from test_esn import _products

from dynlab import EIReservoir, balance, simulate

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def u():
    return jax.random.uniform(jax.random.key(5), (60, 2), minval=-1.0)


@pytest.mark.conformance
def test_equals_a_numpy_loop(u, tol):
    model = EIReservoir(n_inputs=2, n_units=40, in_degree=15, balance=-0.3, gain=4.0, threshold=0.05, input_scaling=0.7)
    params = model.init(KEY)
    np.testing.assert_allclose(simulate(model, params, u).outputs, numpy_ei.run(params, u), atol=tol(2e-5, 1e-12))


@pytest.mark.parametrize("topology", ["erdos_renyi", "fixed_in_degree"])
def test_wiring(topology):
    n, k = 400, 40
    params = EIReservoir(n_units=n, in_degree=k, topology=topology).init(KEY)
    assert params.excitation.shape == (n, 320)
    assert params.inhibition.shape == (n, 80)
    weights = np.concatenate([params.excitation, params.inhibition], axis=1)
    assert (weights >= 0).all()
    assert (np.diagonal(weights) == 0).all()
    plus, minus = ((np.asarray(part) > 0).sum(1) for part in (params.excitation, params.inhibition))
    if topology == "fixed_in_degree":
        assert (plus == 32).all()
        assert (minus == 8).all()
    else:
        expected = k * (n - 1) / n  # no self-connection
        assert abs((plus + minus).mean() - expected) < 4 * np.sqrt(k / n)
        assert (plus + minus).var() == pytest.approx(k * (1 - k / n), rel=0.3)
    used = np.asarray(params.excitation)[np.asarray(params.excitation) > 0]
    assert used.mean() == pytest.approx(1 / 32, rel=0.01)  # mu_E = 1/(k f_E)
    assert used.std() / used.mean() == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("knob", [0.0, -0.6, 0.4, 1.0])
def test_the_knob_is_the_measured_balance(knob):
    model = EIReservoir(n_units=100, in_degree=30, balance=knob)
    params = model.init(KEY)
    assert float(balance(model, params).overall) == pytest.approx(knob, abs=1e-5)
    plus, minus = np.asarray(params.excitation).sum(1), numpy_ei.effective(params).sum(1)
    assert (plus - minus).mean() / plus.mean() == pytest.approx(knob, abs=1e-5)


def test_input_reaches_the_stated_share():
    model = EIReservoir(n_inputs=3, n_units=200, in_degree=30, input_fraction=0.3)
    weights = np.asarray(model.init(KEY).input_weights)
    assert (np.abs(weights).sum(1) > 0).sum() == 60
    assert np.abs(weights).max() <= 0.5


def test_a_sweep_shares_the_matrices(u):
    """vmap over balance, gain and input scaling: one (N, n_E) and one (N, n_I) matrix-matrix product a step."""
    n, b = 50, 7
    values = jnp.linspace(0.1, 0.9, b)
    models = EIReservoir(n_units=n, in_degree=20, balance=values, gain=values, input_scaling=values)
    axes = EIReservoir(n_units=n, in_degree=None, weight_spread=None, threshold=None, balance=0, gain=0, input_scaling=0)

    def sweep(models):
        return jax.vmap(lambda m: simulate(m, m.init(KEY), u[:, :1]).outputs, in_axes=(axes,))(models)

    products = _products(jax.make_jaxpr(sweep)(models).jaxpr, [])
    assert sorted(sorted(shapes) for shapes in products) == sorted([sorted([(n, 40), (b, 40)]), sorted([(n, 10), (b, 10)])])


def test_in_degree_is_a_knob():
    """Under one key the larger network contains the connections of the smaller."""
    few, many = (EIReservoir(n_units=60, in_degree=k).init(KEY) for k in (10, 30))
    assert ((np.asarray(few.excitation) > 0) <= (np.asarray(many.excitation) > 0)).all()
    swept = jax.vmap(lambda k: EIReservoir(n_units=60, in_degree=k).init(KEY).excitation)(jnp.array([10.0, 30.0]))
    np.testing.assert_allclose(swept[0], few.excitation, rtol=1e-6)
    np.testing.assert_allclose(swept[1], many.excitation, rtol=1e-6)


BAD = {
    "all excitatory": (lambda: EIReservoir(excitatory=1.0).init(KEY), ValueError, r"excitatory must leave at least one unit of each sign, got 1.0 of 500"),
    "share above 1": (lambda: EIReservoir(excitatory=1.2).init(KEY), ValueError, r"excitatory must be finite and in \[0.0, 1.0\], got 1.2"),
    "in-degree above N - 1": (lambda: EIReservoir(n_units=20, in_degree=20).init(KEY), ValueError, r"in_degree must be finite and in \(0.0, 19\], got 20"),
    "no excitation at all": (lambda: EIReservoir(n_units=10, excitatory=0.2, in_degree=1, topology="fixed_in_degree").init(KEY), ValueError, r"in_degree must give at least one excitatory connection, got 1"),
    "no inhibition at all": (lambda: EIReservoir(n_units=20, in_degree=1, topology="fixed_in_degree").init(KEY), ValueError, r"in_degree must give at least one inhibitory connection, got 1"),
    "balance above 1": (lambda: EIReservoir(balance=1.5).init(KEY), ValueError, r"balance must be finite and in \[-inf, 1.0\], got 1.5"),
    "gain 0": (lambda: EIReservoir(gain=0.0).init(KEY), ValueError, r"gain must be finite and in \(0.0, inf\], got 0.0"),
    "gain of wrong shape": (lambda: EIReservoir(gain=np.ones(3)).init(KEY), ValueError, r"gain must be a scalar or of shape \(500,\), got shape \(3,\)"),
    "unknown topology": (lambda: EIReservoir(topology="ring").init(KEY), ValueError, r"topology must be one of 'erdos_renyi', 'fixed_in_degree', got 'ring'"),
    "NaN threshold": (lambda: EIReservoir(threshold=np.nan).init(KEY), ValueError, r"threshold must be finite .*nan"),
    "old-style key": (lambda: EIReservoir().init(np.zeros(2, np.uint32)), TypeError, r"key must be a typed key"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()
