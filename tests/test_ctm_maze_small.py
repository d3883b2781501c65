"""The experiment on mazes: marks, the way and attention on it against plain Python, masks in the loss, refusals."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab import model_size, think, train
from dynlab.tasks import Maze, route_mask
from experiments import _mazes, ctm_maze_small
from experiments._thoughts import TickLoss

CONFIG = ctm_maze_small.Config.smoke()


@pytest.fixture(scope="module")
def drawn():
    return _mazes.MazeTokens(Maze(4, 6), 8).batch(jax.random.key(0), 64)


def test_tokens_are_the_features_and_zeros(drawn):
    plain = Maze(4, 6).batch(jax.random.key(0), 64)
    np.testing.assert_array_equal(drawn.symbols[..., :6], plain.symbols)
    assert drawn.symbols.shape == (64, 16, 8)
    assert not np.any(drawn.symbols[..., 6:])


def test_the_way_goes_through_open_doors_to_the_goal(drawn):
    symbols, labels, distance = (np.asarray(x) for x in (drawn.symbols, drawn.labels, drawn.distance))
    cells = _mazes.route_cells(symbols, labels, 4)
    assert cells.shape == (64, 7)
    for maze, way, moves, far in zip(symbols, cells, labels, distance, strict=True):
        assert maze[way[0], 4] == 1
        for k in range(min(far, 6)):
            assert maze[way[k], moves[k]] == 1  # the door that the move takes is open
        assert (maze[way[-1], 5] == 1) == (far <= 6)
        assert len(set(way[: far + 1])) == min(far + 1, 7)


def test_marks_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    far = rng.integers(1, 5, 30)
    labels = np.where(np.arange(6) < far[:, None], rng.integers(0, 4, (30, 6)), 4)
    right = rng.random((30, 6)) < 0.8
    found = _mazes.marks(jnp.asarray(right), jnp.asarray(labels))
    assert float(found["steps"]) == pytest.approx(np.mean([row[:d].mean() for row, d in zip(right, far, strict=True)]))
    assert float(found["positions"]) == pytest.approx(right.mean())
    assert float(found["solved"]) == pytest.approx(np.mean([row.all() for row in right]))
    table = _mazes.by_distance(right, labels, far)
    assert table["mazes"].sum() == 30
    for d, solved in zip(table["distance"], table["solved"], strict=True):
        assert solved == pytest.approx(right[far == d].all(1).mean())


def test_a_walk_is_seen_and_its_chance_level_too(drawn):
    """Head 0 walks from start to goal, head 1 back, head 2 stays spread: it advances by 1, -1 and 0."""
    symbols, labels, distance = (np.asarray(x) for x in (drawn.symbols, drawn.labels, drawn.distance))
    cells, moves = _mazes.route_cells(symbols, labels, 4), np.minimum(distance, 6)
    weights = np.full((64, 5, 3, 16), 0.01 / 16, np.float32)
    for b in range(64):
        for t in range(5):
            k = round(t * moves[b] / 4)
            weights[b, t, 0, cells[b, k]] = weights[b, t, 1, cells[b, moves[b] - k]] = 0.99
    weights[:, :, 2] = 1 / 16
    seen = _mazes.walk(weights, cells, moves)
    assert seen["advance"][0, 0] > 0.9
    assert seen["advance"][0, 1] < -0.9
    assert abs(seen["advance"][1, 0]) < 0.5
    assert np.all(seen["share"][0, :2] > 0.99)
    np.testing.assert_allclose(seen["advance"][:, 2], 0.0, atol=1e-5)
    assert np.all(seen["share"][1, :2] < 0.7)
    long = moves[moves >= 3]
    assert seen["share"][0, 2] == pytest.approx(np.mean(long + 1) / 16, rel=1e-5)
    other = _mazes.others_like_it(moves)
    np.testing.assert_array_equal(moves[other], moves)
    assert sorted(other) == list(range(64))
    first = np.flatnonzero(moves >= 3)[0]
    there = np.isin(np.arange(16), cells[first, : moves[first] + 1])
    weights[first, :, 0] = ~there / np.sum(~there)  # this head never looks at this way
    again = _mazes.walk(weights, cells, moves)
    assert again["advance"][0, 0] == pytest.approx((seen["advance"][0, 0] * len(long) - 1) / (len(long) - 1), abs=0.02)


def test_the_curriculum_masks_the_loss_as_a_loop_does():
    model, task = ctm_maze_small.model_of(CONFIG, "CTM"), _mazes.MazeTokens(Maze(3, 4), 8)
    loss = TickLoss(model, task, n_ticks=3, batch=16, mask=partial(route_mask, ahead=1))
    params, key = model.init(jax.random.key(0)), jax.random.key(1)
    bias = params.head.bias.reshape(4, 5).at[:, 0].add(5.0).reshape(-1)  # always "up": right for a while in some mazes
    params = dataclasses.replace(params, head=dataclasses.replace(params.head, bias=bias))
    value, _ = loss(params, key)
    thought, mazes = loss.thought(params, key, 16)
    logits, labels = np.asarray(thought.logits, np.float64), np.asarray(mazes.labels)
    total, counted = 0.0, set()
    for answer, label, sure in zip(logits, labels, np.asarray(thought.certainty), strict=True):
        upto = 0
        for tick in answer:
            leading = 0
            while leading < 4 and tick[leading].argmax() == label[leading]:
                leading += 1
            upto = max(upto, leading)
        upto = min(upto + 1, 4)
        counted.add(upto)
        each = [np.mean([np.log(np.exp(tick[k]).sum()) - tick[k, label[k]] for k in range(upto)]) for tick in answer]
        total += (min(each) + each[int(np.argmax(sure))]) / 2
    assert float(value) == pytest.approx(total / 16, rel=1e-4)
    assert len(counted) > 1  # the mask differs between mazes
    plain = dataclasses.replace(loss, mask=None)(params, key)[0]
    unmasked = train.two_ticks(thought.logits, thought.certainty, mazes.labels).loss
    assert float(plain) == pytest.approx(float(unmasked), rel=1e-5)
    assert abs(float(plain - value)) > 0.01


def test_kinds_differ_in_what_is_left_out():
    config = ctm_maze_small.Config()
    sizes = {kind: model_size(ctm_maze_small.model_of(config, kind)) for kind in ctm_maze_small.KINDS}
    assert sizes["no private networks"] < sizes["CTM"]
    assert 1.0 <= sizes["LSTM"] / sizes["CTM"] < 1.02
    model = ctm_maze_small.model_of(CONFIG, "no synchronization")
    tokens = _mazes.MazeTokens(Maze(3, 4), 8).batch(jax.random.key(0), 2).symbols
    assert think(model, model.init(jax.random.key(0)), tokens, 2).logits.shape == (2, 2, 4, 5)


BAD = {
    "cells": ({"n_cells": 2}, "n_cells"),
    "route": ({"route": 2}, "route"),
    "ahead": ({"ahead": 0}, "ahead"),
    "width": ({"n_attention": 4}, "n_attention"),
    "ticks": ({"n_ticks": 1}, "n_ticks"),
    "heads": ({"n_heads": 3}, "n_attention must be a multiple"),
    "mazes": ({"n_mazes": 0}, "n_mazes"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_configs(case):
    change, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        ctm_maze_small.validate(dataclasses.replace(ctm_maze_small.Config(), **change))
