"""Context-dependent decision: a cue says which of two streams of evidence counts."""

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
    sign,
    white_noise,
)

Array = jax.Array


@tree.dataclass
class ContextDecision:
    r"""Decide by the sign of the relevant one of two noisy signals ("motion" and "colour").

    A trial is fixation, stimulus, delay, response; one of two context channels is 1 throughout. During the stimulus

    .. math::
        u_i(t) = s_i c_i + \sigma \sqrt{1000 / dt}\; \xi_i(t), \qquad s_i = \pm 1, \quad \xi_i \sim N(0, 1)

    with signs and coherences drawn independently for the two signals. The right choice is 1 where the relevant sign is
    positive, else 0. Who sums both signals and ignores the context is right in at most 75 % of trials: in all where
    the signs agree and, for equal sets of coherences, in half of the others. Source: V. Mante et al., Nature 503, 78
    (2013), doi:10.1038/nature12742; the times, the noise and the fixation channels are ours.

    Attributes:
        coherences: set from which c_0 and c_1 are drawn, each at least 0 (knob).
        noise: sigma, per square root of a second (knob).
        fixation, stimulus, delay: (shortest, longest) in ms; uniform (knobs).
        response: ms (knob).
        grace: the first ms of the response, which do not count (knob).
        dt: ms a step (static).
        length: T, steps of every trial, the unused ones masked (static).
    """

    coherences: Any = (0.05, 0.15, 0.5)
    noise: float = 0.1
    fixation: Any = (200.0, 500.0)
    stimulus: Any = (750.0, 750.0)
    delay: Any = (100.0, 300.0)
    response: float = 300.0
    grace: float = 100.0
    dt: float = tree.static(default=20.0)
    length: int = tree.static(default=92)

    def sample(self, key: Array, context: Any = None) -> CognitiveTrial:
        """Draw a trial: inputs (length, 5) = fixation cue, u_0, u_1, context 0, context 1; targets (length, 3).

        Targets are fixation, choice 0, choice 1. Truth: "context" (0 or 1), "coherences" (2,), signed, "choice", and
        the steps "stimulus_on", "stimulus_off", "go", "end".

        Args:
            key: a key.
            context: 0 or 1, the signal that counts; drawn, each equally likely, if None.

        Raises:
            TypeError, ValueError: on an untyped key, another context, a negative coherence or noise, times out of
                order, a stimulus shorter than a step, or a `length` below the longest trial.
        """
        check.key("key", key)
        check_options("coherences", self.coherences)
        check.scalar("noise", self.noise, 0.0)
        check_times(self, ("fixation", "stimulus", "delay"), {"stimulus": 1})
        if context is not None and not check.is_traced(context):
            check.choice("context", context, (0, 1))
        return _sample(self, key, context)

    def score(self, trial: CognitiveTrial, outputs: Array) -> Array:
        """1.0 or 0.0, :func:`~dynlab.tasks.cognitive.choice_score`; outputs (length, 3)."""
        return choice_score(trial, outputs)


@jax.jit
def _sample(task: ContextDecision, key: Array, context: Any) -> CognitiveTrial:
    dtype = check.default_float()
    drawing, noise = jax.random.split(key)
    draws = jax.random.uniform(drawing, (8,), dtype)
    on, off, go = boundaries(draws[:3], (task.fixation, task.stimulus, task.delay), task.dt)
    context = member(draws[3], 2) if context is None else jnp.asarray(context).astype(int)
    signs = sign(draws[4:6])
    coherences = signs * pick(draws[6:8], task.coherences)
    choice = (signs[context] > 0).astype(int)
    now = jnp.arange(task.length)[:, None]
    evidence = coherences + white_noise(task, noise, 2)
    shown = jnp.where((now >= on) & (now < off), evidence, 0.0)
    cue = jnp.broadcast_to((jnp.arange(2) == context).astype(dtype), (task.length, 2))
    truth = {"context": context, "coherences": coherences, "stimulus_on": on, "stimulus_off": off}
    return choice_trial(task, jnp.concatenate([shown, cue], axis=1), go, choice, truth)
