"""The MNIST tutorial of the thought machine: its size, its training, early exit, refusals. No data set is needed."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import model_size, think
from experiments import _digits, ctm_mnist
from experiments._digits import DigitLoss, Digits, DigitTest
from experiments.ctm_mnist import Config

KEY = jax.random.key(0)
SMALL = dataclasses.replace(Config.smoke(), n_ticks=3, n_units=12, n_sync=3, n_test=30)


def test_as_many_parameters_as_the_tutorial_prints():
    """Its later form (128 wide, two heads, 10 ticks of history) prints 343,658; the two scales do not move here."""
    later = dataclasses.replace(Config(), n_attention=128, n_heads=2, n_history=10, n_ticks=15)
    assert model_size(_digits.model_of(later)) == 343_658 + 2


def test_the_default_is_the_first_form_of_the_tutorial():
    config, model = Config(), _digits.model_of(Config())
    assert model.backbone.shape == (28, 28, 1)
    assert model.backbone.widths == (32, 32)
    wanted = {"n_units": 128, "n_attention": 32, "n_history": 15, "n_heads": 1, "pairing": "dense", "n_out": 16,
              "n_action": 16, "n_hidden": 8, "depth": 1, "n_tokens": (7, 7), "n_inputs": 32, "positions": "none"}
    assert {name: getattr(model.machine, name) for name in wanted} == wanted
    assert (config.n_ticks, config.n_updates, config.batch, config.learning_rate) == (30, 2000, 64, 1e-4)


def two_digits(count=40):
    """Images with the upper or the lower half lit."""
    labels = np.arange(count) % 2
    images = np.random.default_rng(0).integers(0, 60, (count, 28, 28, 1))
    images[labels == 0, :14] += 150
    images[labels == 1, 14:] += 150
    return Digits(jnp.asarray(images, jnp.uint8), jnp.asarray(labels, jnp.int32))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network trained on two easy digits, and what trains it again in the same folder."""
    config = dataclasses.replace(SMALL, n_updates=120, learning_rate=1e-2)
    model, digits, folder = _digits.model_of(config), two_digits(), tmp_path_factory.mktemp("trained")
    loss = DigitLoss(model, digits, n_ticks=config.n_ticks, batch=config.batch)
    score = DigitTest(model, digits.images, digits, n_ticks=config.n_ticks)
    again = lambda other=config: _digits.train_network(other, loss, score, KEY, folder)  # noqa: E731
    return SimpleNamespace(config=config, model=model, digits=digits, score=score, again=again, fit=again())


def test_training_learns_within_the_bounds(trained):
    fit, start = trained.fit, trained.model.init(KEY)
    assert fit.loss[0, :10].mean() > 1.0 > 3 * fit.loss[-1, -10:].mean()
    assert fit.history["accuracy"][-1] > 0.95
    machine = fit.params.machine
    assert float(machine.neurons.first.scale) == float(machine.neurons.second.scale) == 1.0
    assert min(float(jnp.min(decay)) for decay in (machine.decay_out, machine.decay_action)) >= 0.0
    assert float(jnp.abs(fit.params.backbone[0].weight - start.backbone[0].weight).max()) > 0.01


def test_training_goes_on_from_its_folder(trained):
    """Nothing is left to do the second time; another configuration is refused."""
    again = trained.again()
    jax.tree.map(np.testing.assert_array_equal, trained.fit.params, again.params)
    np.testing.assert_array_equal(trained.fit.loss, again.loss)
    trained.again(dataclasses.replace(trained.config, n_networks=7))  # more networks: the old ones stay
    with pytest.raises(ValueError, match="weight_decay"):
        trained.again(dataclasses.replace(trained.config, weight_decay=0.5))


def test_the_test_takes_the_most_certain_tick_with_the_moments_of_the_known_images(trained):
    model, params, digits = trained.model, trained.fit.params, two_digits(24)
    known = trained.digits.images
    found = DigitTest(model, known, digits, n_ticks=3)(params, KEY)
    moments = model.backbone.moments(params.backbone, known)
    thought = think(model.machine, params.machine, model.backbone.tokens(params.backbone, digits.images, moments), 3)
    right = np.argmax(np.asarray(thought.logits), axis=-1) == np.asarray(digits.labels)[:, None]
    tick = np.argmax(np.asarray(thought.certainty), axis=1)
    assert float(found["accuracy"]) == pytest.approx(right[np.arange(24), tick].mean())
    np.testing.assert_allclose(found["by_tick"], right.mean(0), rtol=1e-6)


def test_enough_is_the_quickest_threshold_that_costs_little():
    curve = SimpleNamespace(accuracy=[0.1, 0.890, 0.8975, 0.9, 0.9], ticks=[1.0, 5.0, 12.0, 14.0, 30.0])
    assert ctm_mnist.enough(curve) == 2
    assert ctm_mnist.enough(SimpleNamespace(accuracy=[0.2, 0.5, 0.9], ticks=[1.0, 2.0, 30.0])) == 2


def test_noise_is_no_data_set():
    """As many images as asked for, with labels that do not depend on them; no claim is checked on them."""
    known, test = _digits.load(SMALL, KEY)
    assert known.images.shape == (40, 28, 28, 1)
    assert test.labels.shape == (30,)
    assert known.images.dtype == jnp.uint8


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_small_run_has_all_results_and_figures(tmp_path):
    figure = pytest.importorskip("matplotlib.figure").Figure
    result = ctm_mnist.run(SMALL, KEY, folder=tmp_path)
    assert not result.claims
    for variable in result.data.values():
        sizes = {name: len(result.coords[name].values) for name in variable.dims if name in result.coords}
        assert all(np.shape(variable.values)[variable.dims.index(name)] == size for name, size in sizes.items())
    assert result.data["exit_ticks"].values.min() >= 1.0 - 1e-6
    assert result.data["exit_ticks"].values.max() <= SMALL.n_ticks + 1e-5
    np.testing.assert_allclose(result.data["by_tick"].values[:, -1], result.data["accuracy"].values[:, 1], rtol=1e-5)
    for draw in result.plots.values():
        page = figure()
        draw(page)
        assert page.axes
    again = ctm_mnist.run(SMALL, KEY, folder=tmp_path)
    assert again.figures == result.figures


BAD = {
    "dataset": ({"dataset": "digits"}, "dataset"),
    "ticks": ({"n_ticks": 0}, "n_ticks must be at least 1"),
    "heads": ({"n_heads": 3}, "n_attention must be a multiple"),
    "rate": ({"learning_rate": 0.0}, "learning_rate"),
    "decay": ({"weight_decay": -0.1}, "weight_decay"),
    "epochs": ({"epochs": 3000}, "epochs"),
    "pairs": ({"n_sync": 70}, "n_units must be at least"),
    "test": ({"n_test": 0}, "n_test"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_configs(case):
    change, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        ctm_mnist.validate(dataclasses.replace(Config(), **change))
