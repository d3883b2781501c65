"""The curriculum as a state machine, against a loop over its rule in Python."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynlab.train import Curriculum

K = 6


def by_hand(kind, accuracies, window=3, forget=2, threshold=0.98):
    """The published rule with Python lists."""
    tasks = {"single": [0], "cumulative": [0], "sliding": list(range(window)), "none": [K - 1]}[kind]
    solved, trained, done = {}, [], False
    for epoch, row in enumerate(accuracies, 1):
        trained.append(list(tasks))
        if done:
            continue
        if np.mean([row[k] for k in tasks]) > threshold and row[tasks[-1]] > threshold:
            solved.setdefault(tasks[-1], epoch)
            if tasks[-1] == K - 1:
                done = True
            elif kind == "single":
                tasks = [tasks[0] + 1]
            elif kind == "cumulative":
                tasks = [*tasks, tasks[-1] + 1]
            elif kind == "sliding":
                more = min(forget, K - 1 - tasks[-1])
                tasks = tasks[more:] + [tasks[-1] + 1 + i for i in range(more)]
    return trained, solved, done


@pytest.mark.parametrize("kind", ["single", "cumulative", "sliding", "none"])
def test_equals_a_loop_over_the_rule(kind):
    curriculum = Curriculum(kind=kind, n_tasks=K, window=3, forget=2)
    accuracies = 1.0 - 0.05 * np.random.default_rng(0).random((8, 40, K)) ** 3  # 8 networks, 40 epochs

    def body(stage, accuracy):
        return curriculum.advance(stage, accuracy), (curriculum.active(stage), stage.done)

    run = jax.jit(jax.vmap(lambda rows: jax.lax.scan(body, curriculum.init(), rows)))
    last, (active, done) = run(jnp.asarray(accuracies))
    for i in range(8):
        trained, solved, finished = by_hand(kind, np.asarray(accuracies[i], np.float32))
        assert [list(np.flatnonzero(row)) for row in np.asarray(active[i])] == trained
        assert {int(k): int(e) for k, e in enumerate(last.solved[i]) if e >= 0} == solved
        assert bool(last.done[i]) == finished
    assert np.any(last.done) or kind == "none"
    assert not done[0, 0]


def test_both_the_mean_and_the_newest_must_be_above_the_threshold():
    curriculum = Curriculum(kind="cumulative", n_tasks=3, threshold=0.9)
    stage = curriculum.advance(curriculum.init(), jnp.array([0.95, jnp.nan, jnp.nan]))
    assert int(stage.high) == 1
    for accuracy in ([0.85, 1.0], [1.0, 0.9], [1.0, 0.85]):
        moved = curriculum.advance(stage, jnp.array([*accuracy, jnp.nan]))
        assert int(moved.high) == (2 if accuracy == [0.85, 1.0] else 1)  # its mean is 0.925
    assert int(curriculum.advance(stage, jnp.array([0.7, 1.0, jnp.nan])).high) == 1


TWO = Curriculum(n_tasks=2)
BAD = {
    "kind": (lambda: Curriculum(kind="multi").init(), "kind must be one of"),
    "none": (lambda: Curriculum(n_tasks=0).init(), "n_tasks must be at least 1, got 0"),
    "threshold": (lambda: Curriculum(threshold=1.0).init(), r"threshold must be .*\[0.0, 1.0\), got 1.0"),
    "window": (lambda: Curriculum(kind="sliding", n_tasks=2, window=3).init(), r"window must be in \[1, 2\], got 3"),
    "forget": (lambda: Curriculum(kind="sliding", window=2, forget=3).init(), r"forget must be in \[1, 2\], got 3"),
    "shape": (lambda: TWO.advance(TWO.init(), np.zeros(3)), r"shape \(2,\), got \(3,\)"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_input(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
