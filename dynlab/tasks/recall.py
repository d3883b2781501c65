"""Delayed recall: repeat a sequence of symbols after a delay (the copy task)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.tasks.base import CognitiveTrial, same_shape
from dynlab.tasks.cognitive import member

Array = jax.Array


@tree.dataclass
class Recall:
    """Copy K symbols after d blank steps and a cue.

    Steps 0 .. K-1 show symbols, each equally likely of S; steps K .. K+d-1 are blank; step K+d is the cue; steps
    K+d+1 .. 2K+d are blank and ask for the symbols, in order. The delay d is drawn uniformly from the whole numbers
    `shortest` .. `longest`; a trial shorter than the static length 2K + max_delay + 1 is masked after its end. Inputs
    are one-hot over S symbols, blank and cue; targets one-hot over S symbols and blank, blank until the recall.

    A network without memory that knows the time does best by guessing all S symbols equally: a cross entropy of
    K ln S / (2K + d + 1) a step and a score of 1 / S. Sources: S. Hochreiter and J. Schmidhuber, Neural Computation 9,
    1735 (1997), doi:10.1162/neco.1997.9.8.1735; in this form M. Arjovsky, A. Shah and Y. Bengio, ICML 2016,
    arXiv:1511.06464, whose delay T is d + 1.

    Attributes:
        shortest, longest: bounds of the delay in steps, whole numbers, 0 <= shortest <= longest <= max_delay (knobs).
        max_delay: delay for which there is room (static).
        n_symbols: S, at least 2 (static).
        n_items: K (static).
    """

    shortest: Any = 20
    longest: Any = 20
    max_delay: int = tree.static(default=20)
    n_symbols: int = tree.static(default=8)
    n_items: int = tree.static(default=10)

    @property
    def length(self) -> int:
        """T = 2K + max_delay + 1, the steps of every trial."""
        return 2 * self.n_items + self.max_delay + 1

    def sample(self, key: Array) -> CognitiveTrial:
        """Draw a trial: inputs (length, n_symbols + 2), targets (length, n_symbols + 1), mask 1 up to the trial's end.

        Truth: "symbols" (n_items,), "delay", and the steps "recall" (first step of the recall) and "end". A traced
        `longest` above max_delay is cut to it.

        Raises:
            TypeError, ValueError: on an untyped key, a size below its least value, or delays out of order, not whole,
                or above max_delay.
        """
        check.key("key", key)
        check.integer("max_delay", self.max_delay, 0)
        check.integer("n_symbols", self.n_symbols, 2)
        check.integer("n_items", self.n_items, 1)
        for name in ("shortest", "longest"):
            value = getattr(self, name)
            check.scalar(name, value, 0, self.max_delay)
            if not check.is_traced(value) and float(value) != np.floor(float(value)):
                raise ValueError(f"{name} must be a whole number of steps, got {value!r}")
        if not check.is_traced(self.shortest, self.longest) and self.shortest > self.longest:
            raise ValueError(f"shortest must be at most longest ({self.longest!r}), got {self.shortest!r}")
        return _sample(self, key)

    def score(self, trial: CognitiveTrial, outputs: Array) -> Array:
        """The part of the recalled symbols that are right: where the largest output is the target's.

        A tie of all outputs counts as wrong.

        Args:
            trial: one trial.
            outputs: (length, n_symbols + 1), logits or probabilities.

        Raises:
            ValueError: if `outputs` has another shape than the targets.
        """
        same_shape(trial, outputs)
        rows = trial.truth["recall"] + jnp.arange(self.n_items)
        asked = outputs[rows]
        wanted = jnp.take_along_axis(asked, trial.truth["symbols"][:, None], axis=1)
        others = jnp.where(jnp.arange(asked.shape[1]) == trial.truth["symbols"][:, None], -jnp.inf, asked)
        return jnp.mean(wanted[:, 0] > jnp.max(others, axis=1), dtype=check.default_float())


@jax.jit
def _sample(task: Recall, key: Array) -> CognitiveTrial:
    dtype, n_symbols, n_items = check.default_float(), task.n_symbols, task.n_items
    draws = jax.random.uniform(key, (n_items + 1,), dtype)
    symbols = member(draws[1:], n_symbols)
    low, high = (jnp.clip(jnp.asarray(value).astype(int), 0, task.max_delay) for value in (task.shortest, task.longest))
    delay = low + member(draws[0], jnp.maximum(high - low, 0) + 1)
    recall, end = n_items + delay + 1, 2 * n_items + delay + 1
    now = jnp.arange(task.length)
    blank, cue = n_symbols, n_symbols + 1
    shown = jnp.where(now < n_items, symbols[jnp.clip(now, 0, n_items - 1)], jnp.where(now == recall - 1, cue, blank))
    asked = jnp.where(now >= recall, symbols[jnp.clip(now - recall, 0, n_items - 1)], blank)
    inside = (now < end).astype(dtype)
    return CognitiveTrial(
        inputs=jax.nn.one_hot(shown, n_symbols + 2, dtype=dtype) * inside[:, None],
        targets=jax.nn.one_hot(asked, n_symbols + 1, dtype=dtype) * inside[:, None],
        mask=inside,
        channel_weights=jnp.ones(n_symbols + 1, dtype),
        truth={"symbols": symbols, "delay": delay, "recall": recall, "end": end},
    )
