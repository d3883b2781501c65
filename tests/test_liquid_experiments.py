"""The experiments on spiking liquids: what they keep on disk, whose images they read, how they score."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from experiments import _liquid, branching_factor, nalsm_mnist

KEY = jax.random.key(0)


def test_kept_pieces_are_read_and_belong_to_their_run(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return np.arange(3.0)

    config = branching_factor.Config.smoke()
    folder = _liquid.own_folder(tmp_path, config, KEY)
    for _ in range(2):
        np.testing.assert_array_equal(_liquid.kept(folder, "piece", compute), np.arange(3.0))
    assert len(calls) == 1
    assert _liquid.own_folder(tmp_path, config, jax.random.key(1)) != folder
    assert _liquid.own_folder(tmp_path, dataclasses.replace(config, n_start=5), KEY) != folder
    assert _liquid.own_folder(None, config, KEY) is None
    assert not list(folder.glob("*.part"))


def test_events_of_an_image_do_not_depend_on_its_piece():
    rates = _liquid.templates(KEY)[:6]
    whole = np.asarray(nalsm_mnist._events(rates, KEY, 0, 30))
    part = np.asarray(nalsm_mnist._events(rates[4:], KEY, 4, 30))
    np.testing.assert_array_equal(whole[4:], part)
    assert whole.shape == (6, 30, 784)


def test_accuracy_of_features_that_tell_the_classes_apart():
    """One unit a class: all right on counts with little noise, chance on noise alone."""
    config = dataclasses.replace(nalsm_mnist.Config.smoke(), n_train=200, n_valid=50, n_test=100, l2=(1e-3, 1e-1))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 350)
    counts = 20.0 * np.eye(10)[labels] + rng.poisson(3.0, (350, 10))
    np.testing.assert_array_equal(nalsm_mnist.accuracy(config, counts.astype(np.float32), labels)[:, 1], 1.0)
    noise = rng.poisson(3.0, (350, 10)).astype(np.float32)
    assert (nalsm_mnist.accuracy(config, noise, labels)[:, 1] < 0.3).all()


def test_rank_is_of_the_counts_of_the_test_images_alone(monkeypatch):
    rng = np.random.default_rng(0)
    low = rng.integers(0, 9, (10, 4)) @ rng.integers(0, 9, (4, 64))  # rank 4, whole numbers as counts are
    counts = np.concatenate([low, rng.poisson(3.0, (30, 64))]).astype(np.float32)
    monkeypatch.setattr(nalsm_mnist, "features", lambda *_: counts[None])
    found = nalsm_mnist.run(nalsm_mnist.Config.smoke(), KEY)
    np.testing.assert_array_equal(found.data["rank"].values, np.full((4, 2), 4.0))


def test_separation_rank_is_to_single_precision():
    rng = np.random.default_rng(0)
    x = 1e6 * np.outer(rng.uniform(1, 2, 40), rng.uniform(1, 2, 30)) + 0.01 * rng.standard_normal((40, 30))
    assert np.linalg.matrix_rank(x) == 30
    assert nalsm_mnist.separation_rank(x) == 1


def test_more_training_images_only_add_pieces(tmp_path):
    """What is kept of a run with 20 training images serves one with 30: whole pieces are read, never computed again."""
    small = nalsm_mnist.Config.smoke()
    large = dataclasses.replace(small, n_train=30)
    images = [nalsm_mnist.load(config, KEY) for config in (small, large)]
    run = lambda config, these, folder: nalsm_mnist.features(  # noqa: E731
        config, "static", KEY, 0, these, lambda items, label: iter(items), folder)
    first = run(small, images[0], tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    grown = run(large, images[1], tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(tmp_path.rglob("*.npy"))) == len(before) + 1 == 5
    np.testing.assert_array_equal(grown[:, : first.shape[1]], first)
    np.testing.assert_array_equal(grown, run(large, images[1], None))


@pytest.mark.parametrize(("module", "change", "message"), [
    (branching_factor, {"duration": 58}, "duration must be at least 59, got 58"),
    (branching_factor, {"dataset": "cifar"}, "dataset must be one of 'mnist'"),
    (branching_factor, {"weights": ()}, "weights must hold at least one value"),
    (nalsm_mnist, {"l2": (0.0,)}, "l2 must be finite and in"),
    (nalsm_mnist, {"n_train": 0}, "n_train must be at least 1, got 0"),
])
def test_bad_configurations_are_refused(module, change, message):
    with pytest.raises(ValueError, match=message):
        module.validate(dataclasses.replace(module.Config.smoke(), **change))
