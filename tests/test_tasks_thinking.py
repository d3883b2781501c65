"""Cumulative parity, sorting and mazes: against plain Python, and what they refuse."""

from __future__ import annotations

import itertools
from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dynlab.tasks import CumulativeParity, Maze, Sorting, ctc_decode, ctc_loss, leading_correct, route_mask
from dynlab.tasks.mazes import WAIT


def test_parity_of_every_prefix(key):
    drawn = CumulativeParity(11).batch(key, 300)
    signs = 2 * np.asarray(drawn.symbols) - 1
    for row, labels in zip(signs, np.asarray(drawn.labels), strict=True):
        assert [int(np.prod(row[: n + 1]) < 0) for n in range(11)] == labels.tolist()
    assert abs(drawn.symbols.mean() - 0.5) < 0.05
    assert drawn.symbols.dtype == drawn.labels.dtype == jnp.int32


def test_sorting_order_and_spread(key):
    drawn = Sorting(9, spread=2.0).batch(key, 500)
    assert np.all(np.diff(np.take_along_axis(np.asarray(drawn.values), np.asarray(drawn.order), 1)) > 0)
    assert np.std(drawn.values) == pytest.approx(2.0, abs=0.1)


def brute_ctc(log_p, labels, blank):
    """Sum over all paths that collapse to the labels."""
    total = -np.inf
    for path in itertools.product(range(log_p.shape[1]), repeat=log_p.shape[0]):
        said = [k for k, _ in itertools.groupby(path) if k != blank]
        if said == list(labels):
            total = np.logaddexp(total, sum(log_p[t, k] for t, k in enumerate(path)))
    return -total


def test_ctc_loss_sums_all_paths():
    logits = np.random.default_rng(0).normal(size=(2, 5, 4))
    labels = np.array([[0, 2, 1], [1, 0, 2]])
    log_p = np.asarray(jax.nn.log_softmax(logits))
    expected = [brute_ctc(p, row, 3) for p, row in zip(log_p, labels, strict=True)]
    np.testing.assert_allclose(ctc_loss(jnp.asarray(logits), jnp.asarray(labels)), expected, rtol=1e-5)


def test_ctc_decode_drops_repetitions_then_blanks():
    paths = np.array([[0, 0, 3, 1, 3, 2], [3, 3, 1, 3, 1, 1], [0, 1, 2, 0, 1, 3]])
    symbols, ticks, counts = ctc_decode(np.eye(4)[paths], 3)
    assert np.asarray(symbols).tolist() == [[0, 1, 2], [1, 1, -1], [0, 1, 2]]
    assert np.asarray(ticks).tolist() == [[0, 3, 5], [2, 4, -1], [0, 1, 2]]
    assert np.asarray(counts).tolist() == [3, 2, 5]


def solve(cells, start, goal, n):
    """Breadth-first search over the walls that the tokens tell."""
    step = {0: -n, 1: n, 2: -1, 3: 1}
    came, queue = {start: []}, deque([start])
    while queue:
        cell = queue.popleft()
        for move in range(4):
            if cells[cell, move]:
                there = cell + step[move]
                assert cells[there, move ^ 1], "a passage is open from both sides"
                if there not in came:
                    came[there] = [*came[cell], move]
                    queue.append(there)
    return came


@pytest.mark.parametrize("n", [2, 5])
def test_mazes_are_perfect_and_the_moves_solve_them(n, key):
    drawn = Maze(n_cells=n, route=n * n).batch(key, 40)
    for cells, moves, distance in zip(*map(np.asarray, (drawn.symbols, drawn.labels, drawn.distance)), strict=True):
        start, goal = int(cells[:, 4].argmax()), int(cells[:, 5].argmax())
        assert cells[:, 4].sum() == cells[:, 5].sum() == 1
        assert start != goal
        assert cells[:, :4].sum() == 2 * (n * n - 1)  # as many passages as a tree has
        came = solve(cells, start, goal, n)
        assert len(came) == n * n  # and all cells reached: it is one
        assert moves.tolist() == came[goal] + [WAIT] * (n * n - len(came[goal]))
        assert distance == len(came[goal])
    assert len({row.tobytes() for row in np.asarray(drawn.symbols)}) > (3 if n == 2 else 39)


def test_route_mask_grows_with_the_best_tick():
    labels = np.array([[0, 1, 2, 3, 4, 4]])
    answers = np.array([[[0, 1, 0, 0, 0, 0], [0, 1, 2, 0, 4, 4]]])  # two and three right from the start
    assert np.asarray(leading_correct(answers == labels[:, None])).tolist() == [[2, 3]]
    mask = route_mask(np.eye(5, dtype=np.float32)[answers], labels, ahead=2)
    assert np.asarray(mask).tolist() == [[1, 1, 1, 1, 1, 0]]


BAD = {
    "signs": (lambda k: CumulativeParity(0).batch(k, 1), "n_signs"),
    "size": (lambda k: CumulativeParity(4).batch(k, 0), "size"),
    "spread": (lambda k: Sorting(4, spread=0.0).batch(k, 1), "spread"),
    "values": (lambda k: Sorting(0).batch(k, 1), "n_values"),
    "cells": (lambda k: Maze(n_cells=1).batch(k, 1), "n_cells"),
    "route": (lambda k: Maze(route=0).batch(k, 1), "route"),
    "long": (lambda k: ctc_loss(jnp.zeros((1, 2, 4)), jnp.zeros((1, 3), int)), "not be longer than the 2 ticks"),
    "rank": (lambda k: ctc_decode(jnp.zeros((2, 4)), 1), "logits must have shape"),
    "length": (lambda k: ctc_decode(jnp.zeros((1, 2, 4)), 0), "length"),
    "ahead": (lambda k: route_mask(jnp.zeros((1, 2, 3, 5)), jnp.zeros((1, 3), int), 0), "ahead"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_arguments(case, key):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call(key)


def test_optax_is_what_the_loss_is_made_of():
    """The blank is the last class, not optax's first."""
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(3, 7, 5)), jnp.float32)
    labels = jnp.asarray([[0, 1, 2], [3, 2, 1], [1, 0, 3]])
    rolled = jnp.roll(logits, 1, axis=-1)
    expected = optax.ctc_loss(rolled, jnp.zeros((3, 7)), labels + 1, jnp.zeros((3, 3)))
    np.testing.assert_allclose(ctc_loss(logits, labels), expected, rtol=1e-5)
