"""Successive halving of trainings: rung by rung, each rung one vmapped program over the lanes that are left.

The lanes of a vmap run in lockstep, so that stopping a member inside a batch saves nothing; here the survivors are
gathered into a smaller batch. Reference: Jamieson and Talwalkar 2016, arXiv:1502.07943.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree

Array = jax.Array


@tree.dataclass
class Halving:
    """What successive halving found.

    Attributes:
        best: number of the best lane. score: its score at the end. state: its state at the end.
        scores: (rungs, lanes), NaN from the rung on in which a lane no longer ran.
        survivors: lanes left after the last rung, best first. steps: lane-steps run in all.
    """

    best: Array
    score: Array
    state: Any
    scores: Array
    survivors: Array
    steps: int = tree.static(default=0)


@lru_cache(maxsize=32)
def _programs(init: Any, step: Any, score: Any) -> tuple[Any, Any]:
    """The start of all lanes, and one rung; compiled once for each number of lanes and steps."""

    def rung(candidates: Any, states: Any, keys: Array, t0: Array, n_steps: int) -> tuple[Any, Array]:
        def one(candidate: Any, state: Any, key: Array) -> tuple[Any, Array]:
            def body(carry: Any, t: Array) -> tuple[Any, None]:
                return step(candidate, carry, jax.random.fold_in(key, t)), None

            state, _ = jax.lax.scan(body, state, t0 + jnp.arange(n_steps))
            return state, score(candidate, state)

        return jax.vmap(one)(candidates, states, keys)

    return jax.jit(jax.vmap(init)), jax.jit(rung, static_argnames="n_steps")


def halving(
    init: Callable[[Any, Array], Any], step: Callable[[Any, Any, Array], Any], score: Callable[[Any, Any], Array],
    candidates: Any, key: Array, *, rungs: Sequence[int], keep: float = 0.5,
) -> Halving:
    """Run all candidates for ``rungs[0]`` steps, keep the best part, run those for ``rungs[1]`` more, and so on.

    Args:
        init: (candidate, key) -> state. step: (candidate, state, key) -> state. score: (candidate, state) -> scalar,
            smaller is better; NaN counts as worst. Define them once: the programs are kept by their identity.
        candidates: pytree whose leaves have a leading axis of lanes, such as ``model.replace(leak_rate=array)`` with
            every leaf an array, or a dict of arrays.
        key: lane i starts from ``fold_in(key, 2 i)`` and steps with keys folded from ``fold_in(key, 2 i + 1)``: its
            course does not depend on the others.
        rungs: steps of each rung. keep: part of the lanes kept after each rung but the last, in (0, 1).

    Raises:
        ValueError, TypeError: no rungs, `keep` out of range, leaves without a common leading axis.
    """
    check.key("key", key)
    check.number("keep", keep, 0.0, 1.0, low_open=True, high_open=True)
    rungs = [check.integer("rungs", r, 1) for r in rungs]
    if not rungs:
        raise ValueError("rungs must hold at least one number of steps, got none")
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(candidates)}
    if len(sizes) != 1 or sizes == {()} or sizes == {(0,)}:
        raise ValueError(f"candidates must have leaves with one common leading axis, got leading axes {sorted(sizes)}")
    n = sizes.pop()[0]
    begin, rung = _programs(init, step, score)
    fold = jax.vmap(lambda i: jax.random.fold_in(key, i))
    candidates = jax.tree.map(jnp.asarray, candidates)
    states, keys = begin(candidates, fold(2 * jnp.arange(n))), fold(2 * jnp.arange(n) + 1)
    alive, t, steps = np.arange(n), 0, 0
    scores = np.full((len(rungs), n), np.nan)
    for r, n_steps in enumerate(rungs):
        states, found = rung(candidates, states, keys, t, n_steps)
        steps, t = steps + len(alive) * n_steps, t + n_steps
        values = np.asarray(found, float)
        scores[r, alive] = values
        order = np.argsort(np.where(np.isnan(values), np.inf, values), kind="stable")
        if r < len(rungs) - 1:
            order = order[: max(1, int(np.ceil(keep * len(order))))]
        alive = alive[order]
        candidates, states, keys = jax.tree.map(lambda leaf, pick=order: leaf[pick], (candidates, states, keys))
    best = jax.tree.map(lambda leaf: leaf[0], states)
    return Halving(jnp.asarray(alive[0]), jnp.asarray(scores[-1, alive[0]]), best, jnp.asarray(scores),
                   jnp.asarray(alive), steps)
