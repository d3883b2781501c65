"""Four cognitive tasks with one set of inputs, told apart by a context: what the experiment cognitive trains on."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import tasks, tree

Array = jax.Array
CONTEXTS = ("perceptual", "first signal", "second signal", "match")
PHASES = ("hold", "respond")
DT = 20.0  # ms
N_INPUTS, N_OUTPUTS = 7, 3  # fixation, two channels, four contexts; fixation, two choices
LENGTH = 150  # steps of the longest trial, that of match-to-sample


@tree.dataclass
class Suite:
    """Four tasks with one set of inputs: fixation, two channels, a channel for each context."""

    perceptual: tasks.PerceptualDecision
    context: tasks.ContextDecision
    match: tasks.MatchToSample

    def sample(self, key: Array, each: int) -> list[tasks.CognitiveTrial]:
        """`each` trials of each task, inputs (each, LENGTH, 7), targets (each, LENGTH, 3), mask (each, LENGTH).

        In the order of CONTEXTS; both contexts of the context-dependent decision come from one call of the generator,
        which compiles once.
        """
        keys = jax.random.split(key, (len(CONTEXTS), each))
        first, last = (jax.vmap(task.sample)(keys[i]) for i, task in ((0, self.perceptual), (3, self.match)))
        both = jax.vmap(jax.vmap(self.context.sample, in_axes=(0, None)))(keys[1:3], jnp.arange(2))
        parts = [first, *(jax.tree.map(lambda leaf, i=i: leaf[i], both) for i in (0, 1)), last]
        return [self._shared(part, i) for i, part in enumerate(parts)]

    def _shared(self, trial: tasks.CognitiveTrial, context: int) -> tasks.CognitiveTrial:
        """Trials with the inputs and the length of the suite."""
        fill = lambda rows: jnp.pad(  # noqa: E731
            rows, [(0, 0), (0, LENGTH - rows.shape[1])] + [(0, 0)] * (rows.ndim - 2))
        inside = jnp.arange(LENGTH) < trial.truth["end"][:, None]
        cue = inside[..., None] * jax.nn.one_hot(context, len(CONTEXTS), dtype=trial.inputs.dtype)
        inputs = jnp.concatenate([fill(trial.inputs[..., :3]), cue], axis=-1)
        return dataclasses.replace(trial, inputs=inputs, targets=fill(trial.targets), mask=fill(trial.mask))

    def held(self, context: int, phase: str) -> np.ndarray:
        """The input (7,) of a context without evidence: before the go cue ("hold") or after it ("respond")."""
        x = np.zeros(N_INPUTS)
        x[3 + context] = 1.0
        if phase == "hold":
            x[0] = 1.0
            x[1:3] = 0.5 if context == 0 else 0.0  # of the perceptual decision, coherence 0
        return x

    def ideal(self) -> np.ndarray:
        """Share of right choices (4,) of an observer who sums all evidence that counts."""
        seconds = lambda low, high: np.floor(np.linspace(low, high, 1000, endpoint=False) / DT) * DT / 1000  # noqa: E731
        normal = np.vectorize(lambda z: 0.5 * (1.0 + math.erf(z / math.sqrt(2.0))))

        def mean(task: Any, width: float) -> float:
            each = np.asarray(task.coherences)[:, None] * np.sqrt(seconds(*task.stimulus)) / (width * task.noise)
            return float(normal(each).mean())

        context = mean(self.context, 1.0)
        return np.array([mean(self.perceptual, math.sqrt(2.0)), context, context, 1.0])


SUITE = Suite(tasks.PerceptualDecision(dt=DT), tasks.ContextDecision(dt=DT), tasks.MatchToSample(dt=DT, length=LENGTH))
