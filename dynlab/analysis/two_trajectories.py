"""Exponents from pairs of trajectories, which need no tangent, and the test of the echo state property."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.analysis.linearize import PhaseMap, advance, as_function, check_drive, check_stepped, start_state
from dynlab.analysis.lyapunov import check_warmup, exponents_of, time_step
from dynlab.keys import named

Array = jax.Array

FINE, NOT_FINITE, MERGED, SIZE_LOST = 0, 1, 2, 3


@tree.dataclass
class TwoTrajectories:
    """The leading exponent from two trajectories.

    Attributes:
        exponent: scalar, nats per unit of `dt`; -inf where the two became equal at a counted step.
        local: (T,), the rate of every step; -inf where the two became equal.
        size: scalar, the distance at which every step started.
        n_merged: how many counted steps ended with the two equal.
        status: 0 fine; 1 a state was not finite (NaN); 2 the two became equal at a counted step (-inf); 3 `size` is
            lost in the rounding of the state (NaN).
    """

    exponent: Array
    local: Array
    size: Array
    n_merged: Array
    status: Array


def direction(key: Array, n: int, dtype: Any) -> Array:
    """A random unit vector (n,)."""
    drawn = jax.random.normal(key, (n,), dtype)
    return drawn / jnp.linalg.norm(drawn)


def _root_mean_square(g: Any, state: Any, xs: Any, n_steps: int) -> Array:
    """sqrt of the time average of the squared norm of z; 1 for an orbit that stays at 0."""
    def body(state: Any, x: Any) -> tuple[Any, Array]:
        new = advance(g, state, x)
        return new, jnp.sum(tree.phase(new)[0] ** 2)

    with jax.default_matmul_precision("highest"):
        mean = jnp.mean(jax.lax.scan(body, state, xs, length=n_steps)[1])
    return jnp.where(mean > 0, jnp.sqrt(mean), 1.0)


@partial(jax.jit, static_argnames=("warmup", "n_steps"))
def _pair(
    g: Any, state: Any, xs: Any, key: Array, size: Any, dt: Any, *, warmup: int, n_steps: int
) -> TwoTrajectories:
    z, restore = tree.phase(state)
    if size is None:
        size = math.sqrt(jnp.finfo(z.dtype).eps) * _root_mean_square(g, state, xs, n_steps)
    size = jnp.asarray(size, z.dtype)

    def body(carry: Any, tx: tuple[Array, Any]) -> tuple[Any, tuple[Array, Array, Array]]:
        (first, second), (t, x) = carry, tx
        before = jnp.linalg.norm(tree.phase(second)[0] - tree.phase(first)[0])  # `size` but for rounding
        first, second = advance(g, first, x), advance(g, second, x)
        (z, beside), (other, put_back) = tree.phase(first), tree.phase(second)
        gap = other - z
        after = jnp.linalg.norm(gap)
        merged = after == 0
        along = z + size * gap / jnp.where(merged, 1.0, after)
        anew = beside(z + size * direction(jax.random.fold_in(key, t), z.size, z.dtype))
        second = jax.tree.map(partial(jnp.where, merged), anew, put_back(along))
        finite = jnp.all(jnp.isfinite(z)) & jnp.isfinite(after)
        return (first, second), (jnp.log(after / before), finite, before > 0)

    start = (state, restore(z + size * direction(named(key, "two_trajectories.start"), z.size, z.dtype)))
    times = jnp.arange(n_steps, dtype=jnp.int32)
    with jax.default_matmul_precision("highest"):  # the distance is small beside the state
        _, (local, finite, apart) = jax.lax.scan(body, start, (times, xs), length=n_steps)
    counted = local[warmup:]
    n_merged = jnp.sum(counted == -jnp.inf).astype(jnp.int32)
    status = jnp.where(n_merged > 0, MERGED, FINE)
    status = jnp.where(jnp.all(apart), status, SIZE_LOST)
    status = jnp.where(jnp.all(finite), status, NOT_FINITE).astype(jnp.int32)
    bad = (status == NOT_FINITE) | (status == SIZE_LOST)
    exponent = jnp.where(bad, jnp.nan, jnp.mean(counted) / dt)
    return TwoTrajectories(exponent, local / dt, size, n_merged, status)


def two_trajectory_exponent(
    g: Any, inputs: Any, *, z0: Any = None, size: Any = None, warmup: int = 0, dt: Any = None, key: Array
) -> TwoTrajectories:
    r"""The leading Lyapunov exponent from two trajectories, for models without a tangent, and as a check of the others.

    .. math:: \lambda = \frac{1}{T\, \Delta t} \sum_t \ln \frac{\lVert z'_{t+1} - z_{t+1} \rVert}{\lVert z'_t - z_t
        \rVert}

    The second trajectory starts each step at distance `size` from the first, in the direction in which the two last
    parted (Benettin et al. 1976, doi:10.1103/PhysRevA.14.2338). Distances are taken in phase space; counters and other
    states that are no coordinates go with their own trajectory.

    For a discontinuous model the result depends on `size`: a spike in one trajectory only is a jump that no
    infinitesimal tangent has. State `size` with the number, and try two. When the two become equal (after spikes reset
    them, or in a quantised state), nothing is left to grow: the exponent is -inf and status 2. The second trajectory
    then starts beside the first again, in a new direction, so that the finite entries of `local` remain of use.

    Args:
        g: ``phase_map(model, params, smooth=False)``, or a function g(z, x) or g(z). Model noise is off.
        inputs, z0, warmup, dt: as in :func:`lyapunov`.
        size: distance at which each step starts; default sqrt(eps) times the root mean square of ``|z|`` along the
            run, which keeps it as far above rounding as below the scale of the state (float32: 3.5e-4 of it).
        key: draws the direction.

    Returns:
        :class:`TwoTrajectories`; works under jit and vmap.

    Raises:
        ValueError, TypeError: as :func:`lyapunov`; `size` not positive.
    """
    check_stepped("g", g)
    check.key("key", key)
    xs, n_steps = check_drive(g, inputs)
    state = start_state(g, z0)
    if size is not None:
        check.scalar("size", size, 0.0, low_open=True)
    warmup = check_warmup(warmup, n_steps)
    return _pair(as_function(g), state, xs, key, size, time_step(g, dt), warmup=warmup, n_steps=n_steps)


@tree.dataclass
class EchoState:
    """What trajectories from several starts say about the echo state property.

    Attributes:
        exponents: (S,), the leading conditional exponent along the orbit of each start, nats per unit of `dt`.
        distance: scalar, the largest distance from the first orbit at the end, over the largest at the start.
        holds: True when every exponent is negative and the orbits met: their last distance is at most sqrt(eps)
            times the norm of the last state, or times their largest distance at the start where that is larger (orbits
            that decay to rest together). False is also what a run too short to meet gives.
        status: 0 fine; 1 a state was not finite (then `holds` is False).
    """

    exponents: Array
    distance: Array
    holds: Array
    status: Array


@partial(jax.jit, static_argnames=("warmup", "n_steps", "smooth"))
def _echo_state(
    g: Any, states: Any, xs: Any, key: Array, dt: Any, *, warmup: int, n_steps: int, smooth: bool
) -> EchoState:
    def last(state: Any) -> Array:
        with jax.default_matmul_precision("highest"):
            return tree.phase(jax.lax.scan(lambda s, x: (advance(g, s, x), None), state, xs, length=n_steps)[0])[0]

    def exponent(state: Any) -> Array:
        if smooth:
            found = exponents_of(g, state, xs, key, dt, k=1, every=1, warmup=warmup, n_steps=n_steps)
            return found.exponents[0]
        return _pair(g, state, xs, key, None, dt, warmup=warmup, n_steps=n_steps).exponent

    exponents = jax.vmap(exponent)(states)
    first, end = jax.vmap(lambda state: tree.phase(state)[0])(states), jax.vmap(last)(states)
    gap = jnp.max(jnp.linalg.norm(end - end[0], axis=-1))
    apart = jnp.max(jnp.linalg.norm(first - first[0], axis=-1))
    scale = jnp.maximum(jnp.linalg.norm(end[0]), apart)  # of orbits that decay to rest the last state says nothing
    finite = jnp.all(jnp.isfinite(end)) & ~jnp.any(jnp.isnan(exponents))
    met = gap <= math.sqrt(jnp.finfo(end.dtype).eps) * scale
    distance = jnp.where(finite, gap / apart, jnp.nan)
    status = jnp.where(finite, FINE, NOT_FINITE).astype(jnp.int32)
    return EchoState(exponents, distance, finite & met & jnp.all(exponents < 0), status)


def echo_state(
    g: Any, inputs: Any, starts: Any, *, warmup: int = 0, dt: Any = None, key: Array
) -> EchoState:
    """Does a driven system forget its start under this input? Orbits from several starts, and their exponents.

    A negative conditional exponent says that neighbours of one orbit approach it: needed for the echo state property,
    no proof of it, since another attractor may exist beside it. So the orbits of all starts must also meet. Both hold
    for the given input and starts only: a network that forgets under strong input may remember under weak.

    Args:
        g: ``phase_map(model, params)`` (of a non-smooth model with ``smooth=False``: then by two trajectories), or a
            function g(z, x).
        inputs, warmup, dt: as in :func:`lyapunov`.
        starts: (S, n), S >= 2 distinct starts; cover the region that matters, such as [-1, 1]^n for tanh units.
        key: draws the tangents.

    Returns:
        :class:`EchoState`.

    Raises:
        ValueError, TypeError: as :func:`lyapunov`; fewer than two starts, or all the same.
    """
    check_stepped("g", g)
    check.key("key", key)
    xs, n_steps = check_drive(g, inputs)
    starts = check.array("starts", starts)
    if starts.ndim != 2 or starts.shape[0] < 2:
        raise ValueError(f"starts must have shape (S, n) with S at least 2, got {starts.shape}")
    view = getattr(g, "system", g)  # a phase map at constant input knows its map
    if isinstance(view, PhaseMap) and starts.shape[1] != view.n:
        raise ValueError(f"starts must have shape (S, {view.n}), got {starts.shape}")
    if not check.is_traced(starts) and bool(jnp.all(starts == starts[0])):
        raise ValueError(f"starts must differ, got {starts.shape[0]} equal rows")
    smooth = not isinstance(view, PhaseMap) or view.model.smooth
    states = jax.vmap(view.restore)(starts) if isinstance(view, PhaseMap) else starts
    return _echo_state(as_function(g), states, xs, key, time_step(g, dt), warmup=check_warmup(warmup, n_steps),
                       n_steps=n_steps, smooth=smooth)
