"""Fixed and slow points of a map of phase space, from many starts in one compiled program."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.analysis.completeness import Completeness, assess
from dynlab.analysis.levenberg import search
from dynlab.analysis.linearize import FixedInput, as_function, check_of_state, chunk_size

Array = jax.Array
CONVERGED, SLOW, NOT_FINITE, NOT_LOCATED = 0, 1, 2, 3
DENSE_MAX = 1000  # above, the normal equations are solved by conjugate gradients
MIXED_STATES = 4  # states in a mixture


@tree.dataclass
class FixedPoints:
    r"""Where K starts ended. Rows are in the order of the starts; ``z[keep]`` are the distinct points.

    Attributes:
        z: (K, n). speed: (K,), :math:`s = \|f(z) - z\|_2`; the usual :math:`q = s^2/2`. Of a flow, the norm of the
            velocity.
        error: (K,), how far the root may still be: the last undamped step, and what the rounding of f can move it.
        status: (K,), 0 fixed point (speed <= tol and error <= radius), 1 slow point or stalled, 2 not finite, 3 speed
            <= tol, but the point is not located to within `radius`: f is too slow there for this precision.
        keep: (K,) bool, one row for each distinct point with speed <= max_speed.
        label: (K,), the row of the kept point that a start belongs to, -1 for none. hits: (K,), starts of a kept point.
        index: (K,), sign det(I - J) of a kept fixed point; 0 for others and where it is not defined.
        kink: (K,) bool, a kept point on a kink of f (a ReLU at its threshold): it has no Jacobian.
        completeness: :class:`Completeness`, what speaks for and against the set being complete.
        tol: (K,), the largest speed that counts as zero. max_speed (-1 for none), radius: scalars. All in
            the units of z.
    """

    z: Array
    speed: Array
    error: Array
    status: Array
    keep: Array
    label: Array
    hits: Array
    index: Array
    kink: Array
    completeness: Completeness
    tol: Array
    max_speed: Array
    radius: Array


def fixed_points(
    f: Any, starts: Any, *, steps: int = 50, tol: Any = None, max_speed: Any = None, radius: float | Array = 1e-3,
    bounded: bool | None = None, chunk: int | None = None,
) -> FixedPoints:
    r"""Fixed points z = f(z) and slow points, by Levenberg-Marquardt on :math:`\tfrac12\|f(z) - z\|^2`.

    A fixed number of steps for every start (:func:`dynlab.analysis.levenberg.search`), then greedy removal of
    duplicates, slowest last. Everything is one program: ``vmap`` over parameters or inputs goes around it.

    Args:
        f: ``phase_map(model, params).at(x)``, or any function (n,) -> (n,). For a Flow its fixed points are the
            equilibria.
        starts: (K, n), for example :func:`draw_starts`.
        steps: Levenberg-Marquardt steps (static).
        tol: speed up to which a point counts as fixed; default
            :math:`10\,\epsilon\,\sqrt n\,\mathrm{rms}(starts)\,\max(1, \|J - I\|_F/\sqrt n)`, some 20 times the
            rounding of f (for a flow without the 1, J - I being the Jacobian of the velocity).
        max_speed: speed up to which a slow point is kept too; default none (fixed points only). Give a fraction of
            :func:`rms_step`, such as ``0.01 * rms_step(states)``, which is comparable between networks.
        radius: two points closer than this times the RMS spread of the starts are one.
        bounded: whether f maps a ball into itself, as saturating units do; then the index sum must be 1. None asks the
            model, True or False overrides.
        chunk: starts at a time (default: what keeps their Jacobians under 64 MiB).

    Returns:
        :class:`FixedPoints`; a start that is or becomes NaN has status 2 and harms no other.

    Raises:
        ValueError, TypeError: a size below 1, negative tolerances, starts of another width than f, before compiling.

    Source: Sussillo & Barak 2013, doi:10.1162/NECO_a_00409 (the objective); Marquardt 1963, doi:10.1137/0111030.
    """
    starts = check.array("starts", starts, finite=False)
    if starts.ndim != 2 or starts.size == 0:
        raise ValueError(f"starts must have shape (n_starts, n) with both positive, got {starts.shape}")
    if not check.is_traced(starts) and not np.isfinite(np.asarray(starts)).all(axis=1).any():
        raise ValueError("starts must hold at least one finite row, got none")
    check.integer("steps", steps, 1)
    for name, value in (("tol", tol), ("max_speed", max_speed)):
        if value is not None:
            check.scalar(name, value, 0.0)
    check.scalar("radius", radius, 0.0)
    check.choice("bounded", bounded, (None, True, False))
    check_of_state("f", f)
    f = as_function(f)
    if isinstance(f, FixedInput):
        _check_model(f, starts)
    out = jax.eval_shape(f, jax.ShapeDtypeStruct(starts.shape[1:], starts.dtype))
    if out.shape != starts.shape[1:]:
        raise ValueError(f"f must map (n,) to (n,), got {starts.shape[1:]} to {out.shape}")
    if bounded is None:
        bounded = getattr(f, "bounded", None)
    return _fixed_points(f, starts, tol, max_speed, radius, steps=steps, bounded=bool(bounded),
                         chunk=chunk_size(chunk, starts))


def _check_model(f: FixedInput, starts: Array) -> None:
    """Refuse what a search over phase space cannot mean for a model."""
    system, name = f.system, type(f.system.model).__name__
    if not system.model.smooth:
        raise TypeError(f"f must be smooth, got {name} with smooth=False: a step with thresholds has no Jacobian")
    if starts.shape[1] != system.n:
        raise ValueError(f"starts must have {system.n} columns, the phase-space dimension of {name}, got shape "
                         f"{starts.shape}")
    carried = sum(jnp.size(leaf) for leaf in jax.tree.leaves(system.state)) > system.n
    if carried and not system.flow and not check.is_traced(f):
        with check.eager():
            _check_steady(f, name)


def _check_steady(f: FixedInput, name: str) -> None:
    """Refuse a model whose counters or auxiliary state, which the search holds still, change what a step does."""
    system, zero = f.system, jnp.zeros_like(f.system.z0)
    later = system.step(system.state, f.x)
    rest = (jax.tree.leaves(tree.phase(state)[1](zero)) for state in (system.state, later))
    if all(np.array_equal(a, b) for a, b in zip(*rest, strict=True)):
        return
    probe = system.z0 + jnp.asarray(np.random.default_rng(0).normal(size=system.n), system.z0.dtype)
    now, then = (tree.phase(system.step(tree.phase(state)[1](probe), f.x))[0] for state in (system.state, later))
    if not np.array_equal(now, then, equal_nan=True):
        raise ValueError(f"f must do the same at every step, got {name}, whose counters or auxiliary state change what "
                         "a step does: shift the buffer instead of moving its head, or search a whole turn, "
                         "Hold(model, n_ticks)")


@partial(jax.jit, static_argnames=("steps", "bounded", "chunk"))
def _fixed_points(
    f: Any, starts: Array, tol: Any, max_speed: Any, radius: Any, *, steps: int, bounded: bool, chunk: int
) -> FixedPoints:
    n = starts.shape[1]
    finite = jnp.all(jnp.isfinite(starts), axis=1)
    safe = jnp.where(finite[:, None], starts, 0.0)
    count = jnp.maximum(jnp.sum(finite), 1)
    spread, size = _spread(safe, finite, count), jnp.sqrt(jnp.sum(safe**2) / (count * n))
    tiny = jnp.finfo(starts.dtype).tiny
    size = jnp.where(size > tiny, size, 1.0)
    radius = jnp.asarray(radius, starts.dtype) * jnp.where(spread > tiny, spread, 1.0)
    residual = displacement(f)
    with jax.default_matmul_precision("highest"):
        solve = partial(search, residual, steps=steps, dense=n <= DENSE_MAX)
        z, speed, gain, inverse_gain, step = jax.lax.map(solve, starts, batch_size=chunk)
        gain = gain if getattr(f, "flow", False) else jnp.maximum(gain, 1.0)
        rounding = jnp.finfo(starts.dtype).eps * jnp.sqrt(1.0 * n) * size * gain  # of the displacement
        tol = jnp.broadcast_to(jnp.asarray(10 * rounding if tol is None else tol, starts.dtype), speed.shape)
        error = jnp.hypot(step, rounding * inverse_gain)
        good = jnp.isfinite(speed) & jnp.all(jnp.isfinite(z), axis=1)
        still = jnp.where(error <= radius, CONVERGED, NOT_LOCATED)
        status = jnp.where(good, jnp.where(speed <= tol, still, SLOW), NOT_FINITE).astype(jnp.int32)
        speed = jnp.where(good, speed, jnp.nan)
        max_speed = jnp.asarray(-1.0 if max_speed is None else max_speed, starts.dtype)
        wanted = (status == CONVERGED) | (speed <= max_speed)
        keep, label, hits = distinct(z, speed, wanted, radius)
        fixed = keep & (status == CONVERGED)
        index, kink, completeness = assess(residual, z, keep, fixed, hits, size, bounded=bounded)
    return FixedPoints(z, speed, error, status, keep, label, hits, index, kink, completeness, tol, max_speed, radius)


def displacement(f: Any) -> Any:
    """z -> f(z) - z; of a model the displacement it gives itself."""
    return f.displacement if isinstance(f, FixedInput) else lambda z: f(z) - z


def _spread(starts: Array, finite: Array, count: Array) -> Array:
    """Root mean square distance of a coordinate from the mean of the starts."""
    mean = jnp.sum(starts, axis=0) / count
    off = jnp.where(finite[:, None], starts - mean, 0.0)
    return jnp.sqrt(jnp.sum(off**2) / (count * starts.shape[1]))


def distinct(z: Array, speed: Array, wanted: Array, radius: Any) -> tuple[Array, Array, Array]:
    """One representative of each cluster of points, greedily from the slowest point on.

    A wanted point is kept when no kept point lies within `radius`; otherwise it takes the label of the nearest kept
    point within `radius`, or -1.

    Args:
        z: (K, n). speed: (K,), NaN for points to leave out. wanted: (K,) bool. radius: scalar, in the units of z.

    Returns:
        ``(keep, label, hits)``: (K,) bool, (K,) row of the representative or -1, (K,) number of points it stands for.
    """
    count = z.shape[0]
    usable = jnp.isfinite(speed)
    z = jnp.where(usable[:, None], z, jnp.inf)
    order = jnp.argsort(jnp.where(usable, speed, jnp.inf))

    def body(keep: Array, i: Array) -> tuple[Array, Array]:
        distance = jnp.where(keep, jnp.linalg.norm(z - z[i], axis=1), jnp.inf)
        nearest = jnp.argmin(distance)
        near = distance[nearest] <= radius
        new = usable[i] & ~near & wanted[i]
        label = jnp.where(near & usable[i], nearest, jnp.where(new, i, -1))
        return keep.at[i].set(new), label

    keep, labels = jax.lax.scan(body, jnp.zeros(count, bool), order)
    label = jnp.zeros(count, jnp.int32).at[order].set(labels.astype(jnp.int32))
    hits = jnp.zeros(count, jnp.int32).at[label].add(jnp.where(label >= 0, 1, 0))
    return keep, label, hits


def draw_starts(
    key: Array, states: Any, n_starts: int = 1024, noise: float | Array = 0.3, *, mixed: float = 0.5
) -> Array:
    r"""Starts for :func:`fixed_points`: states of a run, and mixtures of them, plus Gaussian noise.

    A run stays near the attractors, and noise of a width that does not bury them rarely reaches the saddles between.
    So a share `mixed` of the starts is :math:`\sum_j w_j s_j` over :data:`MIXED_STATES` states s_j, with w uniform on
    the simplex; the others are single states.

    Args:
        key: typed key. states: (..., n), for example ``trajectory(phase_map(model, params), inputs)``.
        n_starts: K. noise: standard deviation in units of the RMS spread of the states (1 where they do not vary).
        mixed: share of mixtures, in [0, 1].

    Returns:
        (K, n).
    """
    check.key("key", key)
    states = check.array("states", states)
    if states.ndim < 2 or states.size == 0:
        raise ValueError(f"states must have shape (..., n) and not be empty, got {states.shape}")
    check.integer("n_starts", n_starts, 1)
    check.scalar("noise", noise, 0.0)
    check.scalar("mixed", mixed, 0.0, 1.0)
    return _draw(key, states.reshape(-1, states.shape[-1]), noise, mixed, n_starts=n_starts)


@partial(jax.jit, static_argnames="n_starts")
def _draw(key: Array, states: Array, noise: Any, mixed: Any, *, n_starts: int) -> Array:
    pick, weigh, jitter = jax.random.split(key, 3)
    count = jnp.asarray(states.shape[0], states.dtype)
    spread = _spread(states, jnp.ones(states.shape[0], bool), count)
    scale = noise * jnp.where(spread > 0, spread, 1.0)
    rows = jax.random.randint(pick, (n_starts, MIXED_STATES), 0, states.shape[0])
    weights = jax.random.exponential(weigh, rows.shape, states.dtype)  # over their sum: uniform on the simplex
    weights = weights / jnp.sum(weights, axis=1, keepdims=True)
    mixture = jnp.arange(n_starts) < mixed * n_starts
    weights = jnp.where(mixture[:, None], weights, jnp.eye(1, MIXED_STATES, dtype=states.dtype))
    drawn = jnp.einsum("km,kmn->kn", weights, states[rows], precision="highest")
    return drawn + scale * jax.random.normal(jitter, drawn.shape, states.dtype)


def speed(f: Any, z: Any) -> Array:
    r""":math:`\|f(z) - z\|_2` at points (..., n): (...,). The usual q is half its square, summed over units."""
    z = check.array("z", z)
    check_of_state("f", f)
    return _speed(as_function(f), z)


@jax.jit
def _speed(f: Any, z: Array) -> Array:
    with jax.default_matmul_precision("highest"):
        flat = jax.vmap(lambda point: jnp.linalg.norm(displacement(f)(point)))(z.reshape(-1, z.shape[-1]))
    return flat.reshape(z.shape[:-1])


def rms_step(states: Any, dt: float | Array = 1.0) -> Array:
    r"""The network's own speed: RMS of :math:`\|z_{t+1} - z_t\| / \Delta t` along trajectories (..., T, n).

    A speed divided by it says how slow a point is for this network, which a raw threshold on q does not. For a map
    leave dt at 1; for the equilibria of a flow give the time step of the trajectories.
    """
    states = check.array("states", states)
    if states.ndim < 2 or states.shape[-2] < 2:
        raise ValueError(f"states must have shape (..., T, n) with T at least 2, got {states.shape}")
    check.scalar("dt", dt, 0.0, low_open=True)
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.diff(states, axis=-2) ** 2, axis=-1))) / dt
