"""Delayed match-to-sample: was the second item the same as the first?"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.tasks.base import CognitiveTrial
from dynlab.tasks.cognitive import boundaries, check_times, choice_score, choice_trial, member, white_noise

Array = jax.Array


@tree.dataclass
class MatchToSample:
    r"""Hold one of K items over a delay and say whether the next item is the same.

    A trial is fixation, sample, delay, test, response. An item is one of K channels at 1; noise
    :math:`\sigma \sqrt{1000 / dt}\; \xi(t)` is on all K channels throughout the trial. The test matches with
    probability `match_probability`; otherwise it is one of the K - 1 others, each equally likely. Choice 0 is "match",
    choice 1 "no match". Source: E. K. Miller, C. A. Erickson and R. Desimone, J. Neurosci. 16, 5154 (1996),
    doi:10.1523/JNEUROSCI.16-16-05154.1996; the times and the code of items are ours.

    Attributes:
        match_probability: in [0, 1] (knob).
        noise: sigma, per square root of a second (knob).
        fixation, sample_time, delay, test_time: (shortest, longest) in ms; uniform (knobs).
        response: ms (knob).
        grace: the first ms of the response, which do not count (knob).
        dt: ms a step (static).
        length: T, steps of every trial, the unused ones masked (static).
        n_items: K, at least 2 (static).
    """

    match_probability: float = 0.5
    noise: float = 0.01
    fixation: Any = (200.0, 500.0)
    sample_time: Any = (300.0, 300.0)
    delay: Any = (200.0, 1600.0)
    test_time: Any = (300.0, 300.0)
    response: float = 300.0
    grace: float = 100.0
    dt: float = tree.static(default=20.0)
    length: int = tree.static(default=150)
    n_items: int = tree.static(default=2)

    def sample(self, key: Array) -> CognitiveTrial:
        """Draw a trial: inputs (length, 1 + K) = fixation cue, items; targets (length, 3) = fixation, match, no match.

        Truth: "choice" (0 match, 1 no match), "sample" and "test" (items), and the steps "sample_on", "sample_off",
        "test_on", "go", "end".

        Raises:
            TypeError, ValueError: on an untyped key, n_items below 2, a probability outside [0, 1], negative noise,
                times out of order, an item shorter than a step, or a `length` below the longest trial.
        """
        check.key("key", key)
        check.integer("n_items", self.n_items, 2)
        check.scalar("match_probability", self.match_probability, 0.0, 1.0)
        check.scalar("noise", self.noise, 0.0)
        check_times(self, ("fixation", "sample_time", "delay", "test_time"), {"sample_time": 1, "test_time": 1})
        return _sample(self, key)

    def score(self, trial: CognitiveTrial, outputs: Array) -> Array:
        """1.0 or 0.0, :func:`~dynlab.tasks.cognitive.choice_score`; outputs (length, 3)."""
        return choice_score(trial, outputs)


@jax.jit
def _sample(task: MatchToSample, key: Array) -> CognitiveTrial:
    dtype, n_items = check.default_float(), task.n_items
    drawing, noise = jax.random.split(key)
    draws = jax.random.uniform(drawing, (7,), dtype)
    spans = (task.fixation, task.sample_time, task.delay, task.test_time)
    on, off, test_on, go = boundaries(draws[:4], spans, task.dt)
    sample, match = member(draws[4], n_items), draws[5] < task.match_probability
    test = jnp.where(match, sample, (sample + 1 + member(draws[6], n_items - 1)) % n_items)
    now, items = jnp.arange(task.length)[:, None], jnp.arange(n_items)
    shown = ((now >= on) & (now < off) & (items == sample)) | ((now >= test_on) & (now < go) & (items == test))
    stimuli = shown.astype(dtype) + white_noise(task, noise, n_items)
    truth = {"sample": sample, "test": test, "sample_on": on, "sample_off": off, "test_on": test_on}
    return choice_trial(task, stimuli, go, 1 - match.astype(int), truth)
