"""Perceptual decision: which of two noisy streams of evidence is stronger on average."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.tasks.base import CognitiveTrial
from dynlab.tasks.cognitive import (
    boundaries,
    check_options,
    check_times,
    choice_score,
    choice_trial,
    member,
    pick,
    white_noise,
)

Array = jax.Array


@tree.dataclass
class PerceptualDecision:
    r"""Two-way decision about noisy evidence, the random-dot motion task with the dots replaced by two channels.

    A trial is fixation, stimulus, delay, response. During the stimulus, with coherence c and right choice k,

    .. math::
        u_k(t) = \tfrac{1}{2}(1 + c) + \sigma \sqrt{1000 / dt}\; \xi_k(t), \qquad
        u_{1-k}(t) = \tfrac{1}{2}(1 - c) + \sigma \sqrt{1000 / dt}\; \xi_{1-k}(t), \qquad \xi \sim N(0, 1)

    so the evidence summed over time has the same signal-to-noise ratio at every dt: an observer who sums the
    difference over D seconds is right with probability :math:`\Phi(c \sqrt{D} / (\sqrt{2} \sigma))`. Coherence 0 makes
    the right choice a coin flip. Sources: K. H. Britten et al., J. Neurosci. 12, 4745 (1992),
    doi:10.1523/JNEUROSCI.12-12-04745.1992; M. N. Shadlen and W. T. Newsome, J. Neurophysiol. 86, 1916 (2001),
    doi:10.1152/jn.2001.86.4.1916. The times and the noise are ours.

    Attributes:
        coherences: set from which c is drawn, each in [0, 1] (knob).
        noise: sigma, per square root of a second (knob).
        fixation, stimulus, delay: (shortest, longest) in ms; uniform (knobs).
        response: ms (knob).
        grace: the first ms of the response, which do not count (knob).
        dt: ms a step (static).
        length: T, steps of every trial, the unused ones masked (static).
    """

    coherences: Any = (0.032, 0.064, 0.128, 0.256, 0.512)
    noise: float = 0.1
    fixation: Any = (200.0, 500.0)
    stimulus: Any = (400.0, 1600.0)
    delay: Any = (0.0, 0.0)
    response: float = 300.0
    grace: float = 100.0
    dt: float = tree.static(default=20.0)
    length: int = tree.static(default=120)

    def sample(self, key: Array) -> CognitiveTrial:
        """Draw a trial: inputs (length, 3), fixation cue, u_0, u_1; targets (length, 3), fixation, choice 0, choice 1.

        Truth: "choice" (0 or 1), "coherence", and the steps "stimulus_on", "stimulus_off", "go", "end".

        Raises:
            TypeError, ValueError: on an untyped key, a coherence outside [0, 1], negative noise, times out of order, a
                stimulus shorter than a step, or a `length` below the longest trial.
        """
        check.key("key", key)
        check_options("coherences", self.coherences, 0.0, 1.0)
        check.scalar("noise", self.noise, 0.0)
        check_times(self, ("fixation", "stimulus", "delay"), {"stimulus": 1})
        return _sample(self, key)

    def score(self, trial: CognitiveTrial, outputs: Array) -> Array:
        """1.0 or 0.0, :func:`~dynlab.tasks.cognitive.choice_score`; outputs (length, 3)."""
        return choice_score(trial, outputs)


@jax.jit
def _sample(task: PerceptualDecision, key: Array) -> CognitiveTrial:
    dtype = check.default_float()
    drawing, noise = jax.random.split(key)
    draws = jax.random.uniform(drawing, (5,), dtype)
    on, off, go = boundaries(draws[:3], (task.fixation, task.stimulus, task.delay), task.dt)
    choice, coherence = member(draws[3], 2), pick(draws[4], task.coherences)
    mean = 0.5 * (1.0 + jnp.where(jnp.arange(2) == choice, coherence, -coherence))
    now = jnp.arange(task.length)[:, None]
    evidence = mean + white_noise(task, noise, 2)
    stimuli = jnp.where((now >= on) & (now < off), evidence, 0.0)
    truth = {"coherence": coherence, "stimulus_on": on, "stimulus_off": off}
    return choice_trial(task, stimuli, go, choice, truth)
