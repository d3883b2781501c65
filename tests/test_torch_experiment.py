"""The experiment on fixed points of a network from PyTorch, where there is nothing to find, on a file made here."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from experiments import fixed_points_of_a_torch_rnn as experiment

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """h+ = relu(h + 0.1 x + 1) in each of two units: no fixed point."""
    module = torch.nn.RNN(1, 2, nonlinearity="relu")
    with torch.no_grad():
        module.weight_hh_l0.copy_(torch.eye(2))
        module.weight_ih_l0.fill_(0.1)
        module.bias_ih_l0.fill_(1.0)
        module.bias_hh_l0.zero_()
    file = tmp_path_factory.mktemp("network") / "relu.pt"
    torch.save(module.state_dict(), file)
    return str(file)


def test_no_point_found_is_a_result(path):
    config = experiment.Config(network=path, nonlinearity="relu", n_starts=4, steps=1, n_trials=2, length=20)
    experiment.validate(config)
    assert experiment.load(config)[0].activation == "relu"
    result = experiment.run(config, jax.random.key(0))
    assert result.figures["n_fixed_points"] == 0
    assert result.data["z"].values.shape == (0, 2)
    assert "no fixed point found" in result.headline
    assert [row[1] for row in result.tables[0].rows] == [0, 0, 0]  # nothing held, +1, -1
    assert not result.claims  # nothing is known of a network of one's own
    plt = pytest.importorskip("matplotlib.pyplot")
    figure = plt.figure()
    result.plots["fixed_points"](figure)
    left, right = figure.axes
    assert len(left.get_lines()) == 4  # two units of two trials
    np.testing.assert_allclose(np.diff(left.get_lines()[0].get_ydata()), 1.0, atol=0.11)
    assert "no fixed point" in left.get_title()
    assert "no fixed point" in right.texts[0].get_text()
    plt.close(figure)


def test_shipped_claims_do_not_hold_without_points():
    empty = np.zeros((0, 16))
    none = experiment.PointSet(**dict.fromkeys(experiment.PointSet.__dataclass_fields__, empty[:, 0]))
    none = replace(none, z=empty, fixed=np.zeros(0, bool))
    claims = experiment.claims_of(experiment.Config(), none, 0.0)
    assert [claim.holds for claim in claims] == [False] * 7 + [True]  # the readout is right all the same


BAD = {
    "nonlinearity": ({"nonlinearity": "gelu"}, r"nonlinearity must be one of 'tanh', 'relu', got 'gelu'"),
    "relu in a GRU": ({"nonlinearity": "relu"}, r"nonlinearity must be 'tanh' for an nn\.GRU, got 'relu'"),
    "no file": ({"network": "lstm"}, r"network must be one of 'gru', 'rnn' or the path of a file, got 'lstm'"),
    "one step": ({"length": 1}, r"length must be at least 2, got 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_config(case):
    changes, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        experiment.validate(experiment.Config(**changes))
