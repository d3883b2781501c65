"""The same network in reservoirpy's NumPy backend: the same states, readouts and forecast errors."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from dynlab import ESN, ridge, simulate
from dynlab.interop import RESERVOIRPY_NAMES, esn_from_reservoirpy, esn_from_reservoirpy_names
from dynlab.tasks import MackeyGlass


def test_parameter_names(key):
    model = esn_from_reservoirpy_names(units=30, sr=1.25, lr=0.3, rc_connectivity=0.2, activation="tanh")
    assert (model.n_units, model.spectral_radius, model.leak_rate, model.topology.connectivity) == (30, 1.25, 0.3, 0.2)
    assert np.mean(np.asarray(model.init(key).recurrent.dense()) != 0) == pytest.approx(0.2)
    assert set(RESERVOIRPY_NAMES.values()) <= set(ESN.__dataclass_fields__)
    with pytest.raises(ValueError, match=r"parameters must be among .*, got Win, seed"):
        esn_from_reservoirpy_names(seed=3, Win=1)


@pytest.mark.conformance
@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_states_equal_reservoirpy(bias, tol):
    nodes = pytest.importorskip("reservoirpy.nodes")
    node = nodes.Reservoir(60, sr=0.9, lr=0.4, rc_connectivity=0.2, bias=bias, seed=3)
    with pytest.raises(ValueError, match="node must be initialised"):
        esn_from_reservoirpy(node)
    u = np.random.default_rng(0).uniform(-1, 1, (1000, 2))
    expected = node.run(u)
    model, params = esn_from_reservoirpy(node)
    np.testing.assert_allclose(simulate(model, params, u).outputs, expected, atol=tol(1e-5, 1e-12))


def test_one_step_forecast_of_mackey_glass_has_the_published_error():
    """reservoirpy's front-page example (N = 100, spectral radius 1.25, leak 0.3, ridge 1e-5) reports RMSE 0.0020."""
    series = MackeyGlass(length=2001).series(jax.random.key(5))
    model = esn_from_reservoirpy_names(units=100, sr=1.25, lr=0.3)
    errors = []
    for seed in range(3):
        run = simulate(model, model.init(jax.random.key(seed)), series[:-1], washout=100)
        targets = series[101:]
        readout = ridge(run.outputs[:1500], targets[:1500], 1e-5)
        errors.append(float(np.sqrt(np.mean((readout(run.outputs[1500:]) - targets[1500:]) ** 2))))
    assert 0.0005 < np.median(errors) < 0.004, errors
