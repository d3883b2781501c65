"""The experiments that train networks on trials: their parts on networks made by hand, and small runs."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import RNN, check, classify, fixed_points, phase_map
from dynlab.models.gates import GateParams
from dynlab.models.leaky_rnn import LeakyParams, LeakyRNN
from dynlab.plots.training import learning_curve
from dynlab.readout.linear import Linear
from experiments import _suite, _trained, cognitive, flipflop
from experiments._bits import Network

SUITE = _suite.SUITE


@pytest.fixture(scope="module")
def trials():
    return jax.jit(lambda key: SUITE.sample(key, 400))(jax.random.key(1))


def test_suite_has_one_form_for_all_tasks(trials):
    for i, part in enumerate(trials):
        assert part.inputs.shape == (400, _suite.LENGTH, _suite.N_INPUTS)
        assert part.targets.shape == (400, _suite.LENGTH, _suite.N_OUTPUTS)
        inside = np.arange(_suite.LENGTH) < np.asarray(part.truth["end"])[:, None]
        np.testing.assert_array_equal(np.asarray(part.inputs)[..., 3 + i], inside)
        others = [3 + j for j in range(4) if j != i]
        assert not np.asarray(part.inputs)[..., others].any()
        assert not np.asarray(part.mask)[~inside].any()
        assert np.asarray(part.mask).sum(axis=1).min() > 10
    signs = np.asarray([[np.sign(part.truth["coherences"][:, j]) for j in (0, 1)] for part in trials[1:3]])
    for j in (0, 1):  # each context asks for its own signal
        np.testing.assert_array_equal(np.asarray(trials[1 + j].truth["choice"]), signs[j, j] > 0)
        assert 0.3 < np.mean(signs[j, 1 - j] == signs[j, j]) < 0.7


def test_ideal_observer_is_what_summing_the_evidence_scores(trials):
    """Sum the channels of each trial in NumPy and count."""
    ideal = SUITE.ideal()
    evidence = [lambda x: x[..., 2] - x[..., 1], lambda x: x[..., 1], lambda x: x[..., 2]]
    for part, take, best in zip(trials, evidence, ideal, strict=False):
        right = (take(np.asarray(part.inputs, float)).sum(axis=1) > 0) == np.asarray(part.truth["choice"])
        assert abs(right.mean() - best) < 4 * math.sqrt(best * (1 - best) / 400)
    assert ideal[3] == 1.0
    assert np.all((ideal[:3] > 0.75) & (ideal[:3] < 0.9))


def test_scores_are_those_of_the_tasks(trials):
    """Outputs that copy the targets are right, with the choices swapped they are wrong."""
    score = cognitive.Trials(None, SUITE, each=400).scores
    targets = jnp.concatenate([part.targets for part in trials])
    np.testing.assert_array_equal(jax.jit(score)(targets, trials), 1.0)
    np.testing.assert_array_equal(jax.jit(score)(targets[..., jnp.asarray([0, 2, 1])], trials), 0.0)


def test_held_inputs_carry_no_evidence():
    np.testing.assert_array_equal(SUITE.held(2, "hold"), [1, 0, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(SUITE.held(2, "respond"), [0, 0, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(SUITE.held(0, "hold"), [1, 0.5, 0.5, 1, 0, 0, 0])


def test_selection_of_a_linear_network():
    """Unit 0 is slow and takes channel 1; unit 1 is fast and takes channel 2: the slow mode selects channel 1."""
    model = LeakyRNN(n_inputs=7, n_units=2, activation="identity", tau=100.0, dt=20.0)
    taken = np.zeros((2, 7))
    taken[0, 1], taken[1, 2] = 0.3, 2.0
    zero = jnp.zeros(2)
    params = LeakyParams(jnp.asarray(taken, check.default_float()), jnp.diag(jnp.asarray([0.9, 0.0])), zero, zero,
                         jnp.full(2, 100.0))
    system, x = phase_map(model, params), jnp.asarray(SUITE.held(1, "hold"), check.default_float())
    points = classify(system.at(x), fixed_points(system.at(x), jnp.eye(2)))
    row, time = cognitive.slowest(points)
    assert row == 0
    assert time == pytest.approx(-20.0 / math.log(1 - 0.2 * 0.1), rel=1e-3)
    np.testing.assert_allclose(np.abs(cognitive.select(system, points, x)), [1.0, 0.0], atol=1e-6)
    turned = points.modes._replace(left=points.modes.left * np.exp(0.7j))  # a phase means nothing
    np.testing.assert_allclose(cognitive.select(system, replace(points, modes=turned), x), [1.0, 0.0], atol=1e-6)
    none = replace(points, fixed=np.zeros(1, bool))
    assert cognitive.slowest(none) == (-1, 0.0)
    np.testing.assert_array_equal(cognitive.select(system, none, x), 0.0)


def test_task_axes_are_orthonormal_and_hold_the_choice():
    rng = np.random.default_rng(0)
    network = Network(None, Linear(rng.normal(size=(5, 3)), np.zeros(3)))
    axes = cognitive.task_axes(network, rng.normal(size=(4, 2, 30, 5)) * np.array([9.0, 1, 1, 1, 1]))
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    choice = network.readout.weights[:, 2] - network.readout.weights[:, 1]
    assert abs(axes[0] @ choice) == pytest.approx(np.linalg.norm(choice))
    assert abs(axes[1, 0]) == np.abs(axes[1]).max()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_flipflop_made_by_hand_has_the_27_points():
    """h+ = tanh(2 h + 6 x): each of three units holds a bit, with the fixed points 0 and +-0.9575 and none other."""
    config = replace(flipflop.Config.smoke(), kinds=("rnn",), n_units=3, n_starts=256, n_tests=64)
    eye, zero = jnp.eye(3)[None], jnp.zeros((1, 3))
    params = Network(GateParams(weight_ih=6 * eye, weight_hh=2 * eye, bias_ih=zero, bias_hh=zero), Linear(eye, zero))
    fit = SimpleNamespace(params=params, loss=np.ones((3, 40, 1)), history={"error": np.zeros((3, 1))})
    out = flipflop.take_apart(config, RNN(n_inputs=3, n_units=3), fit, (1.0, 1.0), jax.random.key(0), [0])
    assert flipflop.counts(out.points[0]) == [8, 12, 6, 1]
    sizes = np.unique(np.abs(out.points[0].z).round(3))
    np.testing.assert_allclose(sizes, [0.0, 0.958], atol=1e-3)
    result = flipflop.summarise(config, {"rnn": out})
    assert result.figures["rnn_error"] == 0.0
    assert [claim.holds for claim in result.claims] == [True] * 5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_flipflop_learns_and_goes_on_from_its_folder(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    config = flipflop.Config.smoke()
    flipflop.validate(config)
    first = flipflop.run(config, jax.random.key(0), folder=tmp_path)
    loss = first.data["gru_loss"].values
    assert loss.shape == (3, 1)
    assert loss[-1] < 0.9 * loss[0]
    assert 0.0 < first.figures["gru_error"] < 0.5  # chance is one half
    again = flipflop.run(config, jax.random.key(0), folder=tmp_path)
    np.testing.assert_array_equal(again.data["gru_loss"].values, loss)
    assert again.figures["gru_error"] == first.figures["gru_error"]
    assert math.isnan(again.figures["gru_train_seconds"])  # nothing was trained: no time to claim
    assert len(again.claims) == len(first.claims) - 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_cognitive_small_run():
    config = cognitive.Config.smoke()
    cognitive.validate(config)
    result = cognitive.run(config, jax.random.key(0))
    loss = result.data["loss"].values
    assert loss[-1] < loss[0]
    assert result.data["score"].values.shape == (4,)
    assert len(result.tables[1].rows) == 8
    assert all(math.isfinite(claim.measured) for claim in result.claims)
    z = result.data["z"].values
    assert z.shape == (sum(row[2] for row in result.tables[1].rows), config.n_units)


BAD = {
    "unknown kind": (flipflop, {"kinds": ("lstm",)}, r"each of kinds must be one of 'gru', 'rnn', got 'lstm'"),
    "kind twice": (flipflop, {"kinds": ("gru", "gru")}, r"kinds must be different names"),
    "no networks": (flipflop, {"n_networks": 0}, r"n_networks must be at least 1, got 0"),
    "always a pulse": (flipflop, {"pulse_probability": 1.0}, r"pulse_probability must be"),
    "short test": (flipflop, {"test_length": 20}, r"test_length must be at least 50, got 20"),
    "no epochs": (cognitive, {"n_epochs": 0}, r"n_epochs must be at least 1, got 0"),
    "negative noise": (cognitive, {"noise": -1.0}, r"noise must be"),
    "rate": (cognitive, {"learning_rate": 0.0}, r"learning_rate must be"),
    "mixed": (cognitive, {"mixed": 2.0}, r"mixed must be"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_config(case):
    module, changes, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        module.validate(module.Config(**changes))


def test_rate_falls_to_its_last_value():
    """Adam's first step has the size of the rate: compare a schedule at its end with a constant rate."""
    made = _trained.falling_adam(0.1, 0.001, 10, 1.0)
    weights, state = jnp.zeros(2), made.init(jnp.zeros(2))
    sizes = []
    for _ in range(11):
        change, state = made.update(jnp.asarray([1.0, -1.0]), state, weights)
        sizes.append(float(change[1]))
    np.testing.assert_allclose(sizes, 0.1 * 0.01 ** (np.arange(11) / 10), rtol=1e-3)


def test_learning_curve_draws_each_network_and_the_median():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    ax = figure.subplots()
    rows = np.array([[1.0, 3.0, 8.0], [0.5, 1.0, np.nan], [np.nan, np.nan, np.nan]])
    assert learning_curve({"three": rows, "one": rows[:, 0]}, target=0.98, ylabel="accuracy", ax=ax) is ax
    lines = ax.get_lines()
    assert len(lines) == 6  # three networks, their median, one network, the target
    np.testing.assert_array_equal(lines[3].get_ydata(), [3.0, 0.75, np.nan])
    np.testing.assert_array_equal(lines[3].get_xdata(), [1, 2, 3])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["three", "one", "target"]
    assert ax.get_ylabel() == "accuracy"
    log = learning_curve(np.array([1.0, 0.0]), epochs=[10, 20], log=True, ax=figure.add_subplot())
    np.testing.assert_array_equal(log.get_lines()[0].get_ydata(), [1.0, np.nan])
    np.testing.assert_array_equal(log.get_lines()[0].get_xdata(), [10, 20])
    assert log.get_yscale() == "log"


@pytest.mark.parametrize(("values", "epochs", "message"), [
    (np.zeros((2, 2, 2)), None, r"values must have shape \(epochs,\) or \(epochs, networks\), got \(2, 2, 2\)"),
    ({"a": np.zeros(3)}, [1, 2], r"values\['a'\] must have shape \(2,\) or \(2, networks\), got \(3,\)"),
])
def test_learning_curve_refuses(values, epochs, message):
    with pytest.raises(ValueError, match=message):
        learning_curve(values, epochs=epochs)
