"""How much memory a program will need, read off its jaxpr before anything is compiled."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np


def _bytes(var: Any) -> int:
    aval = var.aval
    if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.extended):  # typed keys
        return math.prod(aval.shape) * 16
    return math.prod(aval.shape) * np.dtype(aval.dtype).itemsize


def _inner(equation: Any) -> list[Any]:
    """The jaxprs that an equation calls; only the CPU branch's like matters where several exclude each other."""
    found = []
    for value in equation.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                found.append(item)
    return found


def peak_bytes(jaxpr: Any) -> int:
    """Largest sum of the sizes of arrays alive at one time, the jaxpr's own inputs counted in.

    XLA fuses and reuses buffers, so that this is an estimate, usually a high one.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    last: dict[Any, int] = {}
    for i, equation in enumerate(jaxpr.eqns):
        for var in equation.invars:
            if not hasattr(var, "val"):
                last[var] = i
    for var in jaxpr.outvars:
        if not hasattr(var, "val"):
            last[var] = len(jaxpr.eqns)
    alive = {var: _bytes(var) for var in (*jaxpr.invars, *jaxpr.constvars)}
    now = peak = sum(alive.values())
    for i, equation in enumerate(jaxpr.eqns):
        for var in equation.outvars:
            if var in last and var not in alive:
                alive[var] = _bytes(var)
                now += alive[var]
        inside = 0
        for inner in _inner(equation):
            held = sum(_bytes(v) for v in (*inner.invars, *inner.outvars) if not hasattr(v, "val"))
            inside = max(inside, peak_bytes(inner) - held)
        peak = max(peak, now + max(inside, 0))
        for var in [v for v in alive if last.get(v, -1) <= i]:
            now -= alive.pop(var)
    return peak
