"""Lyapunov exponents of driven, autonomous and closed-loop systems, by QR along the orbit.

For models without a tangent (spiking, quantised) see :mod:`dynlab.analysis.two_trajectories`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.analysis.linearize import PhaseMap, advance, as_function, check_drive, check_stepped, start_state
from dynlab.keys import named

Array = jax.Array

FINE, NOT_FINITE, ROUNDING = 0, 1, 2


@tree.dataclass
class Lyapunov:
    """A Lyapunov spectrum and how it came about.

    Attributes:
        exponents: (k,), nats per unit of `dt` (natural logarithm), in the order of the frame: descending but for
            sampling error. -inf where a tangent vanished exactly at a counted step.
        local: (T / every, k), the same rates of every block of `every` steps; the first warmup / every rows are not
            in `exponents`, the mean of all others is.
        z: (n,), the phase vector after the last step.
        n_resolved: how many leading exponents never came down to rounding: at some counted block the stretch of the
            next one was below eps times the largest entry of any R. Exponents from there on are the spectrum of the
            rounded system: upper bounds, whose true value may be -inf (rank-deficient Jacobians: ReLU units that are
            off, delay lines).
        status: 0 fine; 1 a state or tangent was not finite (then the exponents are NaN); 2 n_resolved < k.
    """

    exponents: Array
    local: Array
    z: Array
    n_resolved: Array
    status: Array


def orthonormal(key: Array, n: int, k: int, dtype: Any) -> Array:
    """k random orthonormal directions (n, k); the first ones do not depend on how many are asked for."""
    rows = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), (n,), dtype))(jnp.arange(k))
    return jnp.linalg.qr(rows.T)[0]


def linear_step(g: Any, state: Any, x: Any) -> tuple[Any, Array, Any]:
    """One step and its tangent map: ``(new state, new phase vector, dz -> dz)``.

    What is no coordinate of phase space is carried with the state and has no tangent.
    """
    z, restore = tree.phase(state)

    def moved(z: Array) -> tuple[Array, Any]:
        new = advance(g, restore(z), x)
        out = tree.phase(new)[0]
        if out.shape != z.shape or out.dtype != z.dtype:
            raise ValueError(f"g must return a vector like z, {z.dtype} of shape {z.shape}, "
                             f"got {out.dtype} of shape {out.shape}")
        return out, new

    out, push, new = jax.linearize(moved, z, has_aux=True)
    return new, out, push


@partial(jax.jit, static_argnames=("k", "every", "warmup", "n_steps"))
def exponents_of(
    g: Any, state: Any, xs: Any, key: Array, dt: Any, *, k: int, every: int, warmup: int, n_steps: int
) -> Lyapunov:
    """The compiled part of :func:`lyapunov`, arguments checked."""
    z = tree.phase(state)[0]

    def step(carry: Any, x: Any) -> tuple[Any, None]:
        state, tangents, good = carry
        state, z, push = linear_step(g, state, x)
        tangents = jax.vmap(push, in_axes=1, out_axes=1)(tangents)
        return (state, tangents, good & jnp.all(jnp.isfinite(z))), None

    def block(carry: Any, xs: Any) -> tuple[Any, tuple[Array, Array]]:
        if every == 1:
            (state, tangents, good), _ = step(carry, xs)
        else:
            (state, tangents, good), _ = jax.lax.scan(step, carry, xs, length=every)
        frame, r = jnp.linalg.qr(tangents)
        return (state, frame, good), (jnp.abs(jnp.diagonal(r)), jnp.max(jnp.abs(r)))

    n_blocks = n_steps // every
    if every > 1:
        xs = jax.tree.map(lambda leaf: leaf.reshape(n_blocks, every, *leaf.shape[1:]), xs)
    start = (state, orthonormal(named(key, "lyapunov.frame"), z.size, k, z.dtype), jnp.asarray(True))
    with jax.default_matmul_precision("highest"):
        (state, _, good), (stretch, largest) = jax.lax.scan(block, start, xs, length=n_blocks)
    counted = slice(warmup // every, None)
    local = jnp.log(stretch) / (every * dt)  # an exact zero gives -inf, and so does every mean that holds it
    good &= jnp.all(jnp.isfinite(stretch))
    floor = jnp.finfo(z.dtype).eps * jnp.max(largest[counted])
    above = jnp.all(stretch[counted] > floor, axis=0)
    n_resolved = jnp.where(good, jnp.sum(jnp.cumprod(above.astype(jnp.int32))), 0).astype(jnp.int32)
    exponents = jnp.where(good, jnp.mean(local[counted], axis=0), jnp.nan)
    status = jnp.where(good, jnp.where(n_resolved < k, ROUNDING, FINE), NOT_FINITE).astype(jnp.int32)
    return Lyapunov(exponents, local, tree.phase(state)[0], n_resolved, status)


def check_smooth(g: Any) -> None:
    """Refuse a phase map of a model without a tangent."""
    view = getattr(g, "system", g)  # a phase map at constant input knows its map
    if isinstance(view, PhaseMap) and not view.model.smooth:
        raise TypeError(f"g must be smooth for tangents, got {type(view.model).__name__} with smooth=False: "
                        "use two_trajectory_exponent")


def check_warmup(warmup: Any, n_steps: int) -> int:
    """Require 0 <= warmup < n_steps."""
    warmup = check.integer("warmup", warmup, 0)
    if warmup >= n_steps:
        raise ValueError(f"warmup must be smaller than the number of steps ({n_steps}), got {warmup}")
    return warmup


def time_step(g: Any, dt: Any) -> Any:
    """`dt` checked; None takes that of a phase map, or 1."""
    if dt is None:
        return getattr(g, "dt", 1.0)
    check.scalar("dt", dt, 0.0, low_open=True)
    return dt


def lyapunov(
    g: Any, inputs: Any, *, z0: Any = None, k: int | None = None, every: int = 1, warmup: int = 0, dt: Any = None,
    key: Array,
) -> Lyapunov:
    r"""The leading k Lyapunov exponents along one orbit.

    .. math::
        z_{t+1} = g(z_t, x_t), \qquad V = D_z g(z_t, x_t)\, Q, \qquad Q R = V, \qquad
        \lambda_i = \frac{1}{T\, \Delta t} \sum_t \ln |R_{ii}|

    over the T counted steps, with k tangents from a random orthonormal frame (Benettin et al. 1980,
    doi:10.1007/BF02128236). For a driven system these are the conditional exponents: the first one is negative where
    the orbit forgets its start under that input (see :func:`echo_state`). Code that counts in bits differs by ln 2.

    In float32 keep ``every=1``, or ask for leading exponents only: stretches that differ by more than 1/eps within a
    block are lost, which `n_resolved` and status 2 report. Gradients of exponents along chaotic orbits grow like
    exp(lambda T) and are of no use as a loss.

    Args:
        g: what ``phase_map(model, params)`` returned (a closed loop is ``Feedback(model, readout)``), or a function
            g(z, x) -> z, or g(z) -> z where `inputs` is a number of steps. Define a function once: a new lambda at
            each call compiles again. Model noise is off.
        inputs: (T, features), or a pytree of series (T, ...), row t for step t; an integer T without input.
        z0: start (n,); default the template state of a phase map.
        k: number of exponents; default n. every: steps between two QR decompositions; divides T and warmup.
        warmup: first steps, which align state and tangents and are not counted.
        dt: time per step; default ``g.dt`` of a phase map, else 1 (nats per step).
        key: draws the frame. The exponents do not depend on it once warmed up.

    Returns:
        :class:`Lyapunov`. Works under jit and vmap, for instance over parameters.

    Raises:
        ValueError, TypeError: k > n, warmup >= T, an `every` that does not divide, a start of wrong width or not
            finite, inputs None; a flow (wrap it in Euler or FlowMap) or a non-smooth model.
    """
    check_stepped("g", g)
    check_smooth(g)
    check.key("key", key)
    xs, n_steps = check_drive(g, inputs)
    state = start_state(g, z0)
    n = jax.eval_shape(lambda s: tree.phase(s)[0], state).shape[0]
    k = check.integer("k", n if k is None else k, 1)
    if k > n:
        raise ValueError(f"k must be at most the dimension of phase space ({n}), got {k}")
    warmup = check_warmup(warmup, n_steps)
    every = check.integer("every", every, 1)
    for name, value in (("the number of steps", n_steps), ("warmup", warmup)):
        if value % every:
            raise ValueError(f"every must divide {name} ({value}), got {every}")
    return exponents_of(as_function(g), state, xs, key, time_step(g, dt), k=k, every=every, warmup=warmup,
                        n_steps=n_steps)


def kaplan_yorke(exponents: Any, n: int | None = None) -> Array:
    r"""The Kaplan-Yorke dimension of a spectrum (..., k), in any order.

    .. math:: D = j + \frac{S_j}{|\lambda_{j+1}|}, \qquad S_j = \lambda_1 + \dots + \lambda_j,

    j the largest index with :math:`S_j \ge 0` (Kaplan and Yorke 1979, doi:10.1007/BFb0064319). 0 where the first
    exponent is negative.

    Args:
        n: dimension of phase space. Where the sum stays non-negative over all k exponents the result is n if k = n,
            and NaN if k < n or `n` is not given: more exponents are needed.
    """
    exponents = _spectrum(exponents)
    if n is not None:
        check.integer("n", n, exponents.shape[-1])
    return _kaplan_yorke(exponents, n=n)


@partial(jax.jit, static_argnames="n")
def _kaplan_yorke(exponents: Array, *, n: int | None) -> Array:
    k = exponents.shape[-1]
    ordered = jnp.sort(exponents, axis=-1, descending=True)
    total = jnp.cumsum(ordered, axis=-1)
    j = jnp.sum(total >= 0, axis=-1)  # the sums rise, then fall: those that are not negative come first
    last = jnp.take_along_axis(total, jnp.maximum(j - 1, 0)[..., None], axis=-1)[..., 0]
    following = jnp.take_along_axis(ordered, jnp.minimum(j, k - 1)[..., None], axis=-1)[..., 0]
    inside = j + last / jnp.where(j < k, jnp.abs(following), 1.0)
    dimension = jnp.where(j == 0, 0.0, jnp.where(j < k, inside, float(n) if n == k else jnp.nan))
    return jnp.where(jnp.any(jnp.isnan(exponents), axis=-1), jnp.nan, dimension).astype(exponents.dtype)


def ks_entropy(exponents: Any) -> Array:
    r"""The sum of the positive exponents of a spectrum (..., k), :math:`\sum_i \max(\lambda_i, 0)`.

    Equal to the Kolmogorov-Sinai entropy where Pesin's formula holds, an upper bound of it otherwise. Of leading
    exponents that are all positive it is the sum of those only.
    """
    return jnp.sum(jnp.maximum(_spectrum(exponents), 0.0), axis=-1)


def _spectrum(exponents: Any) -> Array:
    exponents = check.array("exponents", exponents, finite=False)
    if exponents.ndim == 0 or exponents.shape[-1] == 0:
        raise ValueError(f"exponents must have shape (..., k), got {exponents.shape}")
    return exponents
