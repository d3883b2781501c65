"""From flows to maps: convergence, exactness where it is promised, the size of the noise."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from zoo_models import Gated, RateFlow

from dynlab import Euler, ExpEuler, FlowMap, simulate

FLOW = RateFlow(n_units=5, tau=2.0, gain=1.2)
DECAY = RateFlow(n_units=5, tau=2.0, gain=0.0, sigma=0.3)  # linear: dx/dt = (W_in u - x) / tau


def end(wrapper, key, time=4.0, **kwargs):
    dt = kwargs["dt"]
    model = wrapper(FLOW, **kwargs)
    return simulate(model, model.init(key), jnp.ones((round(time / dt), 2)), record=None).state


@pytest.mark.conformance
def test_euler_converges_with_order_one_to_the_solver(key, x64):
    exact = end(FlowMap, key, dt=1.0, rtol=1e-6, atol=1e-8)
    errors = [float(jnp.abs(end(Euler, key, dt=dt) - exact).max()) for dt in (0.1, 0.05, 0.025)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.15)


def test_solvers_agree(key, tol):
    results = [end(FlowMap, key, dt=0.5, solver=s, rtol=1e-6, atol=1e-8) for s in ("Tsit5", "Dopri8", "Kvaerno5")]
    np.testing.assert_allclose(results[1], results[0], atol=1e-5)
    np.testing.assert_allclose(results[2], results[0], atol=1e-4)


@pytest.mark.conformance
@pytest.mark.parametrize("dt", [0.1, 3.0])
def test_exponential_euler_is_exact_for_a_linear_flow_at_any_step(dt, key, tol):
    model = ExpEuler(DECAY, dt=dt)
    params = model.init(key)
    run = simulate(model, params, jnp.ones((20, 2)), record="state")
    times = dt * np.arange(1, 21)[:, None]
    target = np.asarray(params["w_in"], np.float64).sum(1)
    np.testing.assert_allclose(run.outputs, target * (1 - np.exp(-times / 2.0)), atol=tol(1e-5, 1e-12))


@pytest.mark.parametrize(("wrapper", "dt"), [(Euler, 0.05), (ExpEuler, 0.05), (ExpEuler, 1.0)])
def test_noise_has_the_stationary_variance_of_the_flow(wrapper, dt, key):
    """Ornstein-Uhlenbeck: variance sigma^2 tau / 2 (Euler: relative error dt / 2 tau)."""
    model = wrapper(DECAY, dt=dt)
    run = simulate(model, model.init(key), jnp.zeros((200_000, 2)), key=key, washout=1000, record="state")
    assert float(run.outputs.var()) == pytest.approx(0.3**2 * 2.0 / 2, rel=0.06)


def test_exponential_euler_needs_the_decay(key):
    with pytest.raises(TypeError, match=r"flow must have decay\(params, state\) for ExpEuler, got Gated"):
        ExpEuler(Gated(), dt=0.1).init(key)


@pytest.mark.parametrize(("change", "message"), [
    ({"dt": 0.0}, r"dt must be .*got 0.0"),
    ({"rtol": -1.0}, "rtol must be"),
    ({"solver": "RK45"}, "solver must be one of"),
    ({"adjoint": "reverse"}, "adjoint must be one of"), ({"max_steps": 0}, "max_steps must be at least 1"),
])
def test_bad_settings(change, message, key):
    with pytest.raises(ValueError, match=message):
        FlowMap(FLOW, **{"dt": 0.5, **change}).init(key)
