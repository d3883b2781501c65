"""The 20-task suite of Yang et al. (2019): one trial of one rule, on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.tasks.base import CognitiveTrial, same_shape
from dynlab.tasks.cognitive import between, check_options, member, pick, shape_of, sign
from dynlab.tasks.yang_table import NAMES, RULES, Rule, steps

Array = jax.Array
TURN = 2.0 * np.pi


@tree.dataclass
class Yang:
    r"""Twenty cognitive tasks with one set of inputs and outputs, told apart by a rule input.

    Inputs are fixation, two rings of 32 units and 20 rule inputs (85 channels); outputs are fixation and one ring (33).
    A stimulus at angle :math:`\theta` and strength s adds, to unit i of its ring,

    .. math::
        0.8\, s \exp\Big(-\tfrac{1}{2} \big(d(\theta, 2 \pi i / 32) \,/\, (\pi / 8)\big)^2\Big),
        \qquad d \text{ the distance on the circle}

    and all inputs get noise of standard deviation :math:`\sigma \sqrt{2 \tau / dt}`. Targets are 0.05 everywhere, 0.8
    on the fixation output while fixation is asked for, and the bump of the response angle (s = 1) added from the go
    signal on. The mask is 0 in the first 100 ms, 1 before the go signal, 0 in the 100 ms after it, then 5; the fixation
    output weighs 2; both multiply the error before squaring (:func:`~dynlab.tasks.base.weighted_squares`).

    Rules, times and sets are in ``dynlab/tasks/yang_table.py``, as in the authors' code. One departure: there all
    trials of a batch share their times and their ring, here each draws its own (the static length holds the longest
    trial; at dt 20 and all rules, 210 steps). To train on one rule a batch as published, draw a rule with
    :meth:`draw_rule` and give it to every :meth:`sample` of the batch. Who ignores the rule input gets at most 75 % in
    the context tasks. Source: G. R. Yang et al., Nature Neuroscience 22, 297 (2019), doi:10.1038/s41593-018-0310-2.

    Attributes:
        coherences: set of the decision tasks; ten times the default is the authors' easy version (knob).
        delay_coherences: set of their delayed versions; twice the default is the easy version (knob).
        noise: sigma; 0 for none (knob).
        tau: the network's time constant in ms, which scales the noise (knob).
        rule_weights: relative probability of each of `rules` in :meth:`draw_rule`, one number or one a rule (knob);
            the authors trained with 5 for contextdm1 and contextdm2, else 1.
        rules: "all" or a tuple of names (static). The rule inputs are the same 20 whatever is chosen.
        dt: ms a step (static).
        length: T, steps of every trial; the longest trial of `rules` if None (static).
    """

    coherences: Any = (0.01, 0.02, 0.04, 0.08)
    delay_coherences: Any = (0.08, 0.16, 0.32)
    noise: float = 0.01
    tau: float = 100.0
    rule_weights: Any = 1.0
    rules: str | tuple[str, ...] = tree.static(default="all")
    dt: float = tree.static(default=20.0)
    length: int | None = tree.static(default=None)

    def draw_rule(self, key: Array) -> Array:
        """One of `rules`, as its number among the 20, () integer, with probability proportional to `rule_weights`.

        Raises:
            TypeError, ValueError: on an untyped key, an unknown rule, or weights negative, all zero or of another
                number than the rules.
        """
        check.key("key", key)
        _check(self)
        return _draw_rule(self, key)

    def sample(self, key: Array, rule: Any = None) -> CognitiveTrial:
        """Draw a trial: inputs (T, 85), targets (T, 33), mask (T,) of 0, 1 and 5, channel_weights (33,).

        Truth: "rule" (number of the rule input), "response" (angle to go to, or -1 to keep fixating), "locations" (2,)
        angles of stimulus 1 and 2, "strengths" (2, 2) of stimulus by ring (0: not shown), "match" (True or False, for
        the dms and dmc rules), and the steps "on" (2,) and "off" (2,) of the stimuli, "go" and "end".

        Args:
            key: a key.
            rule: one of `rules`, as a name or its number 0 .. 19; drawn by :meth:`draw_rule` if None. A traced number
                that is none of `rules` gives NaN inputs and targets and a mask of zeros.

        Raises:
            TypeError, ValueError: on an untyped key, a rule that is none of `rules`, coherences outside [0, 0.8],
                negative noise, tau or dt not positive, dt above 100 ms, or a `length` below the longest trial.
        """
        check.key("key", key)
        chosen = _check(self)
        check_options("coherences", self.coherences, 0.0, 0.8)
        check_options("delay_coherences", self.delay_coherences, 0.0, 0.8)
        check.scalar("noise", self.noise, 0.0)
        check.scalar("tau", self.tau, 0.0, low_open=True)
        if rule is None:
            draw, key = jax.random.split(key)
            rule = _draw_rule(self, draw)
        elif isinstance(rule, str):
            check.choice("rule", rule, [NAMES[i] for i in chosen])
            rule = NAMES.index(rule)
        elif np.shape(rule):
            raise ValueError(f"rule must be one name or number, got shape {np.shape(rule)}; for several use jax.vmap")
        elif not check.is_traced(rule):
            if int(rule) not in chosen or int(rule) != rule:
                names = ", ".join(f"{i} ({NAMES[i]})" for i in chosen)
                raise ValueError(f"rule must be one of {names}, got {rule!r}")
            rule = int(rule)
        return _sample(self, key, rule)

    def score(self, trial: CognitiveTrial, outputs: Array) -> Array:
        """1.0 or 0.0 by the last step of the trial, as published.

        Output 0 above 0.5 is fixating. Where fixation is right, the score is whether the network fixates; elsewhere it
        must not, and the population vector of the 32 ring outputs must be within 0.2 pi of the response. A ring
        without direction (a vector shorter than 1e-4 of the sum of sizes) points nowhere and is wrong.

        Args:
            trial: one trial; batches by ``jax.vmap``.
            outputs: (T, 33).

        Raises:
            ValueError: if `outputs` has another shape than the targets.
        """
        same_shape(trial, outputs)
        last = outputs[trial.truth["end"] - 1]
        ring, angles = last[1:], jnp.asarray(TURN * np.arange(32) / 32, outputs.dtype)
        x, y = jnp.sum(ring * jnp.cos(angles)), jnp.sum(ring * jnp.sin(angles))
        response = trial.truth["response"]
        near = _distance(response, jnp.mod(jnp.arctan2(y, x), TURN)) < 0.2 * np.pi
        pointing = jnp.hypot(x, y) > 1e-4 * jnp.sum(jnp.abs(ring))
        right = jnp.where(response < 0, last[0] > 0.5, (last[0] <= 0.5) & near & pointing)
        return (right & jnp.any(trial.mask > 0)).astype(check.default_float())


def _chosen(task: Yang) -> tuple[int, ...]:
    return tuple(NAMES.index(name) for name in (NAMES if task.rules == "all" else task.rules))


def _length(task: Yang) -> int:
    return int(max(steps(task.dt).longest[i] for i in _chosen(task))) if task.length is None else task.length


def _check(task: Yang) -> tuple[int, ...]:
    """Check the static fields and the rule weights; return the numbers of the chosen rules."""
    check.scalar("dt", task.dt, 0.0, 100.0, low_open=True)
    if task.rules != "all":
        if not isinstance(task.rules, tuple) or not task.rules or len(set(task.rules)) < len(task.rules):
            raise ValueError(f'rules must be "all" or a tuple of different names, got {task.rules!r}')
        for name in task.rules:
            check.choice("each of rules", name, NAMES)
    chosen = _chosen(task)
    if task.length is not None:
        longest = int(max(steps(task.dt).longest[i] for i in chosen))
        if check.integer("length", task.length, 1) < longest:
            raise ValueError(f"length must be at least {longest}, the longest trial of the rules, got {task.length}")
    shape = shape_of(task.rule_weights)
    if shape not in ((), (len(chosen),)):
        raise ValueError(f"rule_weights must be one number or one for each of {len(chosen)} rules, got shape {shape}")
    check.number("rule_weights", task.rule_weights, 0.0)
    if not check.is_traced(task.rule_weights) and not np.any(np.asarray(task.rule_weights) > 0):
        raise ValueError(f"rule_weights must not all be zero, got {task.rule_weights!r}")
    return chosen


@jax.jit
def _draw_rule(task: Yang, key: Array) -> Array:
    chosen = jnp.asarray(_chosen(task))
    weights = jnp.broadcast_to(jnp.asarray(task.rule_weights, check.default_float()), chosen.shape)
    return chosen[jax.random.categorical(key, jnp.log(weights))]


def _distance(a: Any, b: Any) -> Array:
    """The distance on the circle of two angles in [0, 2 pi]."""
    apart = jnp.abs(a - b)
    return jnp.minimum(apart, TURN - apart)


def _bump(angle: Array) -> Array:
    """The ring code of an angle, (32,)."""
    preferred = jnp.asarray(TURN * np.arange(32) / 32, angle.dtype)
    return 0.8 * jnp.exp(-0.5 * (_distance(angle, preferred) / (np.pi / 8)) ** 2)


def _is(rule: Array, test: Callable[[Rule], bool]) -> Array:
    """Whether `test` holds for the rule of that number."""
    return jnp.asarray([test(each) for each in RULES.values()])[rule]


def _times(task: Yang, draws: Array, rule: Array) -> tuple[Array, Array, Array, Array]:
    """Steps on (2,) and off (2,) of the stimuli, go signal and end, from 6 uniform numbers."""
    low, high, sets, sizes = (jnp.asarray(each)[rule] for each in steps(task.dt)[:4])
    from_range = jnp.floor(between(draws, low, high) / task.dt).astype(int)
    from_set = jnp.take_along_axis(sets, member(draws, sizes)[:, None], axis=1)[:, 0].astype(int)
    on1, off1, on2, off2, go, end = jnp.cumsum(jnp.where(low < high, from_range, from_set))
    together = _is(rule, lambda r: r.times == "dm")
    off1 = jnp.where(_is(rule, lambda r: r.times in ("fd", "react")), end, off1)
    on2, off2 = jnp.where(together, on1, on2), jnp.where(together, off1, off2)
    off2 = jnp.where(_is(rule, lambda r: r.times in ("dms", "dmc")), end, off2)
    return jnp.stack([on1, on2]), jnp.stack([off1, off2]), go, end


def _places(draws: Array, rule: Array) -> tuple[Array, Array]:
    """Angles (2,) of the stimuli and whether they match, from 6 uniform numbers."""
    dtype = draws.dtype
    one = TURN * draws[0]
    # dms: not closer than 20 degrees; decisions: not closer than 90
    dms = _is(rule, lambda r: r.times == "dms")
    least = jnp.where(dms, np.pi / 9, np.pi / 2).astype(dtype)
    offset = between(draws[1], least, TURN - least) * sign(draws[2])
    same = draws[3] < 0.5
    two = jnp.where(dms & same, one, jnp.mod(one + offset, TURN))
    ten = member(draws[4:], 10)
    category = _is(rule, lambda r: r.times == "dmc")
    match = jnp.where(category, (ten[0] < 5) == (ten[1] < 5), dms & same)
    return jnp.where(category, (np.pi * (0.1 + 0.2 * ten)).astype(dtype), jnp.stack([one, two])), match


def _strengths(task: Yang, draws: Array, rule: Array) -> tuple[Array, Array]:
    """Strengths (stimulus, ring) and, for the decisions, whether stimulus 1 is the stronger, from (6, 2) numbers."""
    dtype, (level, which, side, split, split_side, ring) = draws.dtype, draws
    mean = between(level, 0.8, 1.2)
    delayed = _is(rule, lambda r: r.times == "delaydm")
    coherence = jnp.where(delayed, pick(which, task.delay_coherences), pick(which, task.coherences))
    first = sign(side)  # 1 where stimulus 1 is the stronger
    decision = mean + jnp.asarray([[1.0], [-1.0]], dtype) * coherence * first  # independent for the two rings
    rings = jnp.arange(2)
    shown = jnp.where(_is(rule, lambda r: r.rings == "first"), rings == 0, True)
    shown = jnp.where(_is(rule, lambda r: r.rings == "second"), rings == 1, shown)
    # the sum over rings carries the coherence, each ring alone misleads
    share = between(split, 0.2, 0.8) * sign(split_side)
    half = 0.5 * decision[:, 0] * share
    both = jnp.stack([decision[:, 0] + half, decision[:, 0] - half], axis=1)
    plain = (rings == member(ring, 2)[:, None]).astype(dtype)  # one ring a stimulus, strength 1
    plain = plain * jnp.stack([jnp.asarray(True), _is(rule, lambda r: r.times in ("dms", "dmc"))])[:, None]
    strengths = jnp.where(_is(rule, lambda r: r.rings == "sum"), both, decision * shown)
    strengths = jnp.where(_is(rule, lambda r: r.rings == "drawn"), plain, strengths)
    counts = _is(rule, lambda r: r.rings in ("second", "attend second")).astype(int)
    return strengths, first[counts] > 0


def _response(rule: Array, places: Array, match: Array, stronger: Array) -> Array:
    """The angle to go to, or -1 to keep fixating."""
    pro = jnp.where(_is(rule, lambda r: r.answer == "anti"), jnp.mod(places[0] + np.pi, TURN), places[0])
    chosen = jnp.where(stronger, places[0], places[1])
    go = match == _is(rule, lambda r: r.answer == "match")
    answer = jnp.where(_is(rule, lambda r: r.answer == "stronger"), chosen, pro)
    return jnp.where(_is(rule, lambda r: r.answer in ("match", "nonmatch")), jnp.where(go, places[1], -1.0), answer)


@jax.jit
def _sample(task: Yang, key: Array, rule: Any) -> CognitiveTrial:
    dtype, rule, n_steps = check.default_float(), jnp.asarray(rule).astype(int), _length(task)
    drawing, noise = jax.random.split(key)
    draws = jax.random.uniform(drawing, (24,), dtype)
    (on, off, go, end), (places, match) = _times(task, draws[:6], rule), _places(draws[6:12], rule)
    strengths, stronger = _strengths(task, draws[12:].reshape(6, 2), rule)
    response = _response(rule, places, match, stronger)
    now, allowed = jnp.arange(n_steps), jnp.any(jnp.asarray(_chosen(task)) == rule)
    inside, before = now < end, now < go
    shown = (now[:, None] >= on) & (now[:, None] < off)  # (time, stimulus)
    added = strengths[:, :, None] * jax.vmap(_bump)(places)[:, None, :]  # (stimulus, ring, unit)
    rings = jnp.where(shown[:, 0, None, None], added[0], 0.0) + jnp.where(shown[:, 1, None, None], added[1], 0.0)
    cue = before | _is(rule, lambda r: r.times in ("react", "dms", "dmc"))
    rules = jnp.broadcast_to(jax.nn.one_hot(rule, len(NAMES), dtype=dtype), (n_steps, len(NAMES)))
    inputs = jnp.concatenate([cue[:, None].astype(dtype), rings.reshape(n_steps, 64), rules], axis=1)
    spread = jnp.asarray(task.noise, dtype) * jnp.sqrt(2.0 * jnp.asarray(task.tau, dtype) / task.dt)
    inputs = inputs + spread * jax.random.normal(noise, inputs.shape, dtype)
    going = ~before & (response >= 0)
    fixation = jnp.where(going, 0.05, 0.8)[:, None]
    targets = jnp.concatenate([fixation, 0.05 + jnp.where(going[:, None], _bump(response), 0.0)], axis=1).astype(dtype)
    blind = int(100 / task.dt)  # the first 100 ms, and the 100 ms after the go signal
    mask = jnp.where(before, jnp.where(now < blind, 0.0, 1.0), jnp.where(now < go + blind, 0.0, 5.0)) * inside
    truth = {"rule": rule, "response": response, "locations": places, "strengths": strengths, "match": match}
    return CognitiveTrial(
        inputs=jnp.where(allowed, jnp.where(inside[:, None], inputs, 0.0), jnp.nan),
        targets=jnp.where(allowed, jnp.where(inside[:, None], targets, 0.0), jnp.nan),
        mask=jnp.where(allowed, mask, 0.0).astype(dtype),
        channel_weights=jnp.ones(33, dtype).at[0].set(2.0),
        truth={**truth, "on": on, "off": off, "go": go, "end": end},
    )
