"""Which tasks are trained now, and when the next one begins: a pure state machine."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree

Array = jax.Array
KINDS = ("single", "cumulative", "sliding", "none")


@tree.dataclass
class Stage:
    """Where a curriculum stands.

    Attributes:
        low, high: int32, the tasks trained now are low .. high.
        epoch: int32, epochs done. solved: (K,) int32, the epoch in which a task was first solved as the newest, -1
            before.
        done: bool, the last task was solved; nothing moves any more.
    """

    low: Array
    high: Array
    epoch: Array
    solved: Array
    done: Array


@tree.dataclass
class Curriculum:
    """A sequence of K tasks of growing difficulty.

    After each epoch the newest task counts as solved, and the next begins, when the mean accuracy over the tasks
    trained now and the accuracy of the newest one are both above `threshold`. Source: Khajehabdollahi et al., ICLR
    2024, arXiv:2309.12927.

    ======================  ==================================================
    kind                    tasks trained, and after the newest is solved
    ======================  ==================================================
    "single"                one, then the next one alone
    "cumulative"            the first .. the newest, then one more (multi-head)
    "sliding"               `window` of them, then `forget` steps further
    "none"                  the last one from the start (no curriculum)
    ======================  ==================================================

    All methods are pure and work under ``jit`` and ``vmap``: networks that train together advance each at its own time.

    Attributes:
        threshold: accuracy to be exceeded (knob).
        kind: see above (static). n_tasks: K (static). window, forget: of "sliding" (static).
    """

    threshold: Any = 0.98
    kind: str = tree.static(default="cumulative")
    n_tasks: int = tree.static(default=10)
    window: int = tree.static(default=2)
    forget: int = tree.static(default=1)

    def init(self) -> Stage:
        """The first stage.

        Raises:
            ValueError, TypeError: an unknown kind, no task, a threshold outside [0, 1), a window above n_tasks, forget
                outside [1, window].
        """
        check.choice("kind", self.kind, KINDS)
        check.integer("n_tasks", self.n_tasks, 1)
        check.number("threshold", self.threshold, 0.0, 1.0, high_open=True)
        if self.kind == "sliding":
            check.integer("window", self.window, 1, self.n_tasks)
            check.integer("forget", self.forget, 1, self.window)
        low = self.n_tasks - 1 if self.kind == "none" else 0
        high = self.window - 1 if self.kind == "sliding" else low
        whole = lambda value: jnp.asarray(value, jnp.int32)  # noqa: E731
        return Stage(whole(low), whole(high), whole(0), jnp.full(self.n_tasks, -1, jnp.int32), jnp.asarray(False))

    def active(self, stage: Stage) -> Array:
        """(K,) bool, the tasks trained now."""
        task = jnp.arange(self.n_tasks)
        return (task >= stage.low) & (task <= stage.high)

    def advance(self, stage: Stage, accuracy: Array) -> Stage:
        """The stage after an epoch.

        Args:
            accuracy: (K,) in [0, 1]; those of tasks that are not trained now are ignored and may be NaN.
        """
        if jnp.shape(accuracy) != (self.n_tasks,):
            raise ValueError(f"accuracy must have shape ({self.n_tasks},), got {jnp.shape(accuracy)}")
        active = self.active(stage)
        mean = jnp.sum(jnp.where(active, accuracy, 0.0)) / jnp.sum(active)
        solved = (mean > self.threshold) & (accuracy[stage.high] > self.threshold) & ~stage.done
        epoch = stage.epoch + ~stage.done
        last = stage.high >= self.n_tasks - 1
        move = solved & ~last
        high, low = stage.high + 1, stage.low
        if self.kind == "single":
            low = high
        elif self.kind == "sliding":
            high = jnp.minimum(stage.high + self.forget, self.n_tasks - 1)
            low = high - (stage.high - stage.low)
        marks = jnp.where(solved & (stage.solved[stage.high] < 0), epoch, stage.solved[stage.high])
        return Stage(
            low=jnp.where(move, low, stage.low), high=jnp.where(move, high, stage.high), epoch=epoch,
            solved=stage.solved.at[stage.high].set(marks), done=stage.done | (solved & last),
        )
