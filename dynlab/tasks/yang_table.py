"""The published tables of the 20-task suite: rules, what each asks, and its times in milliseconds."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np


class Uniform(NamedTuple):
    """A time drawn from U[low, high) ms."""

    low: float
    high: float


Time = Uniform | tuple[int, ...]  # a tuple is a set, each member equally likely

NEVER: Time = (0,)
SHORT: Time = (200, 400, 600)
DELAY: Time = (200, 400, 800, 1600)

# Six phases follow one another: until stimulus 1, stimulus 1, delay, stimulus 2, until the go signal, response.
TIMES: dict[str, tuple[Time, ...]] = {
    "fd": (Uniform(300, 700), Uniform(500, 1500), NEVER, NEVER, NEVER, (500,)),
    "react": (Uniform(500, 2500), NEVER, NEVER, NEVER, NEVER, (500,)),
    "delay": ((300, 500, 700), SHORT, DELAY, NEVER, NEVER, (500,)),
    "dm": (Uniform(100, 400), (400, 800, 1600), NEVER, NEVER, NEVER, (500,)),
    "delaydm": (SHORT, SHORT, DELAY, SHORT, Uniform(100, 300), (500,)),
    "dms": (SHORT, SHORT, DELAY, NEVER, NEVER, (500,)),
    "dmc": (SHORT, SHORT, DELAY, NEVER, NEVER, SHORT),
}


class Rule(NamedTuple):
    """What a rule asks."""

    times: str  # row of TIMES
    rings: str  # "drawn", "first", "second" (one ring shown), "attend first", "attend second", "sum" (both shown)
    answer: str  # "pro", "anti", "stronger", "match", "nonmatch": where to go, or whether to go to stimulus 2


RULES: dict[str, Rule] = {  # in the order of the rule inputs
    "fdgo": Rule("fd", "drawn", "pro"),
    "reactgo": Rule("react", "drawn", "pro"),
    "delaygo": Rule("delay", "drawn", "pro"),
    "fdanti": Rule("fd", "drawn", "anti"),
    "reactanti": Rule("react", "drawn", "anti"),
    "delayanti": Rule("delay", "drawn", "anti"),
    "dm1": Rule("dm", "first", "stronger"),
    "dm2": Rule("dm", "second", "stronger"),
    "contextdm1": Rule("dm", "attend first", "stronger"),
    "contextdm2": Rule("dm", "attend second", "stronger"),
    "multidm": Rule("dm", "sum", "stronger"),
    "delaydm1": Rule("delaydm", "first", "stronger"),
    "delaydm2": Rule("delaydm", "second", "stronger"),
    "contextdelaydm1": Rule("delaydm", "attend first", "stronger"),
    "contextdelaydm2": Rule("delaydm", "attend second", "stronger"),
    "multidelaydm": Rule("delaydm", "sum", "stronger"),
    "dmsgo": Rule("dms", "drawn", "match"),
    "dmsnogo": Rule("dms", "drawn", "nonmatch"),
    "dmcgo": Rule("dmc", "drawn", "match"),
    "dmcnogo": Rule("dmc", "drawn", "nonmatch"),
}
NAMES = tuple(RULES)


class Steps(NamedTuple):
    """TIMES for every rule, as arrays over (rule, phase)."""

    low: np.ndarray  # (20, 6) ms; drawn from U[low, high) where low < high
    high: np.ndarray  # (20, 6) ms
    sets: np.ndarray  # (20, 6, 4) steps; drawn from the first `sizes` of them elsewhere
    sizes: np.ndarray  # (20, 6)
    longest: np.ndarray  # (20,) steps of the longest trial


@functools.lru_cache(maxsize=16)
def steps(dt: float) -> Steps:
    """The table in steps of `dt` ms, each time of a set cut to whole steps by itself, ``int(ms / dt)`` as published."""
    n_rules, n_phases, most = len(RULES), 6, 4
    low, high = np.zeros((2, n_rules, n_phases))
    sets, sizes = np.zeros((n_rules, n_phases, most), np.int32), np.ones((n_rules, n_phases), np.int32)
    longest = np.zeros(n_rules, np.int32)
    for i, rule in enumerate(RULES.values()):
        for j, time in enumerate(TIMES[rule.times]):
            if isinstance(time, Uniform):
                low[i, j], high[i, j] = time
                longest[i] += int(time.high / dt)
            else:
                whole = [int(ms / dt) for ms in time]
                sets[i, j, : len(whole)], sizes[i, j] = whole, len(whole)
                longest[i] += max(whole)
    return Steps(low, high, sets, sizes, longest)
