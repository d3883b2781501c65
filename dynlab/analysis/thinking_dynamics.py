r"""Does thinking come to rest? Speed, Lyapunov exponents and fixed points of the tick at a fixed input.

A *thinker* (:mod:`dynlab.models.thinking`) at one input is an autonomous system: these functions run it for many ticks
over a batch of inputs, and hand it to :func:`dynlab.lyapunov`, :func:`dynlab.fixed_points` and :func:`dynlab.classify`.

Synchronization makes it a slow one. Its sums age (:math:`\beta` counts the ticks), so the tick itself changes with time
until their memory :math:`1/r` is over, and without decay (r = 0) for ever: with z at rest :math:`S` grows as
:math:`\sqrt t`. Fixed points are therefore those of the tick *with the sums held* as they are at the end of the run,
(A, z) alone with ``coordinates="units"``, which is the one to take for a model with attention.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.analysis.classify import PointSet, classify
from dynlab.analysis.fixed_points import fixed_points
from dynlab.analysis.linearize import PhaseMap, phase_map
from dynlab.analysis.lyapunov import Lyapunov, check_warmup, lyapunov

Array = jax.Array


@tree.dataclass
class LongThought:
    """How fast a thought moves; leading axis the inputs. Entry t is the step from tick t to t + 1 (the start is 0).

    Attributes:
        speed: (B, T), :math:`\\|z_{t+1} - z_t\\|` of the activations. size: (B, T), :math:`\\|z_{t+1}\\|`.
        change: (B, T), of the whole phase vector, with the history and, where they are coordinates, the sums.
        rest: int32 (B,), the first entry from which on the speed stays within `tolerance` times the size; T for never.
        period: int32 (B,), after how many more ticks z is first back within `tolerance` times its size of where it was
            at the end of the run: 1 at rest, 2 and more on a cycle; 0 where it was not back within `max_period`.
        states: (B, K + 1, n), phase vectors of the start and after each K-th part of the run. state: the states at the
            end.
    """

    speed: Array
    size: Array
    change: Array
    rest: Array
    period: Array
    states: Array
    state: Any


@dataclasses.dataclass(frozen=True, eq=False)
class RestingPoints:
    """Fixed points of the held tick at B inputs, and the one nearest to where the thought was at the end.

    Attributes:
        points: B point sets (:class:`dynlab.PointSet`).
        nearest: (B,), row of the nearest fixed point of that set, -1 for none. distance: (B,), to it, in phase space.
        multiplier: complex (B,), its leading eigenvalue :math:`\\mu`, the largest in modulus.
        timescale: (B,), :math:`-dt / \\ln |\\mu|`, negative where it is unstable. NaN without a point.
    """

    points: list[PointSet]
    nearest: np.ndarray
    distance: np.ndarray
    multiplier: np.ndarray
    timescale: np.ndarray


def long_thought(
    model: Any, params: Any, tokens: Any, n_ticks: int, *, n_states: int = 8, tolerance: float | Array = 1e-4,
    max_period: int = 64,
) -> LongThought:
    """Think for many ticks and keep how fast the state moves, not the states.

    Args:
        model, params: a thinker; its noise is off. tokens: a batch, as ``model.encode`` takes one of them.
        n_ticks: T. n_states: K, states kept; divides T.
        tolerance: share of the size up to which a speed counts as rest, and a state as the same.
        max_period: ticks after the run that are searched for a return.

    Returns:
        :class:`LongThought`.

    Raises:
        ValueError, TypeError: no batch, tokens of another shape, `n_states` that does not divide, NaN in parameters.
    """
    system, tokens = _thinker(model, params, tokens)
    check.integer("n_ticks", n_ticks, 1)
    check.integer("n_states", n_states, 1, n_ticks)
    if n_ticks % n_states:
        raise ValueError(f"n_states must divide n_ticks = {n_ticks}, got {n_states}")
    check.scalar("tolerance", tolerance, 0.0)
    check.integer("max_period", max_period, 1)
    return _run(system, tokens, tolerance, n_ticks=n_ticks, n_states=n_states, max_period=max_period)


def thought_exponents(
    model: Any, params: Any, tokens: Any, n_ticks: int, *, k: int = 1, every: int = 1, warmup: int = 0, key: Array
) -> Lyapunov:
    """The leading Lyapunov exponents of the tick at each of a batch of inputs, per unit of ``model.dt``.

    The sums age along the run as they do in thinking; tangents are of the coordinates. So ``coordinates="full"`` has
    the whole feedback, and each pair without decay brings an exponent 0; "units" leaves out what comes back through
    the sums.

    Args:
        model, params, tokens: as :func:`long_thought`.
        n_ticks, k, every, warmup: as :func:`dynlab.lyapunov`. key: draws the frames, ``fold_in(key, b)`` for input b.

    Returns:
        :class:`dynlab.Lyapunov`, the inputs in front.

    Raises:
        ValueError, TypeError: as :func:`long_thought` and :func:`dynlab.lyapunov`.
    """
    system, tokens = _thinker(model, params, tokens)
    n_ticks = check.integer("n_ticks", n_ticks, 1)
    check_warmup(warmup, n_ticks)
    check.key("key", key)
    return _exponents(system, tokens, key, n_ticks=n_ticks, k=k, every=every, warmup=warmup)


def resting_points(model: Any, params: Any, tokens: Any, run: LongThought, *, steps: int = 50) -> RestingPoints:
    """Fixed points of the tick with the sums held as they are at the end of a run, searched from its states.

    Every distinct point gets its Jacobian (n, n) and eigenvalues on the host: with n = D (M + 1) that is for some
    thousand coordinates, not for tens of thousands.

    Args:
        model, params, tokens: those of the run. run: what :func:`long_thought` returned. Its K + 1 states are the
            starts, so points far from the run are not found: :func:`dynlab.fixed_points` with more starts finds them.
        steps: of the search (static).

    Returns:
        :class:`RestingPoints`, on the host.

    Raises:
        ValueError, TypeError: as :func:`long_thought`; a run over another number of inputs.
    """
    system, tokens = _thinker(model, params, tokens)
    check.integer("steps", steps, 1)
    if check.is_traced(run):
        raise TypeError("run must be concrete: resting_points runs on the host, outside jit and vmap")
    if len(run.states) != len(tokens) or run.states.shape[-1] != system.n:
        raise ValueError(f"run must be of these {len(tokens)} tokens and {system.n} coordinates, got states "
                         f"{run.states.shape}")
    maps, found = _search(system, tokens, run, steps=steps)
    points, rows = [], []
    ends = np.asarray(jax.vmap(lambda state: tree.phase(state)[0])(run.state), np.float64)
    for b, end in enumerate(ends):
        held, mine = (jax.tree.map(lambda leaf, b=b: leaf[b], part) for part in (maps, found))
        points.append(classify(held, mine, dt=system.dt))
        rows.append(_nearest(points[-1], end))
    nearest, distance, multiplier, timescale = (np.array(column) for column in zip(*rows, strict=True))
    return RestingPoints(points, nearest, distance, multiplier, timescale)


def _nearest(points: PointSet, end: np.ndarray) -> tuple[int, float, complex, float]:
    apart = np.where(points.fixed, np.linalg.norm(points.z - end, axis=1), np.inf)
    if not points.fixed.any():
        return -1, np.nan, np.nan + 0j, np.nan
    row = int(np.argmin(apart))
    return row, float(apart[row]), complex(points.modes.eigenvalues[row, 0]), float(points.modes.decay_time[row, 0])


def _thinker(model: Any, params: Any, tokens: Any) -> tuple[PhaseMap, Array]:
    """The phase map and the batch of tokens, checked."""
    check.methods("model", model, ("encode", "step", "init_state"), "dynlab.models.ctm.CTM")
    symbols = getattr(model, "n_symbols", None)
    if symbols is None:
        tokens = check.array("tokens", tokens)
    else:  # inside the compiled program the values cannot be looked at
        tokens = jnp.asarray(tokens)
        check.number("tokens", tokens, 0, symbols - 1)
    if tokens.ndim == 0 or tokens.shape[0] == 0:
        raise ValueError(f"tokens must be a batch of at least one sample, got shape {tokens.shape}")
    try:
        jax.eval_shape(lambda one: model.encode(params, one), tokens[0])
    except ValueError as error:
        raise ValueError(f"tokens must be a batch, one sample along each row: {error}") from error
    return phase_map(model, params), tokens


def _units(state: Any) -> Array:
    """The activations of a state; of a thinker that does not name them, all coordinates."""
    found = getattr(state, "active", None)
    return tree.phase(state)[0] if found is None else found


def _encode(system: PhaseMap, tokens: Array) -> Any:
    return system.model.encode(system.params, tokens)


@partial(jax.jit, static_argnames=("n_ticks", "n_states", "max_period"))
def _run(
    system: PhaseMap, tokens: Array, tolerance: Any, *, n_ticks: int, n_states: int, max_period: int
) -> LongThought:
    def one(tokens: Array) -> tuple[Any, ...]:
        x = _encode(system, tokens)

        def tick(state: Any, _: None) -> tuple[Any, Array]:
            new = system.step(state, x)
            pairs = [(_units(new), _units(state)), (tree.phase(new)[0], tree.phase(state)[0])]
            speed, change = (jnp.linalg.norm(now - then) for now, then in pairs)
            return new, jnp.stack([speed, jnp.linalg.norm(_units(new)), change])

        def part(state: Any, _: None) -> tuple[Any, tuple[Array, Array]]:
            state, norms = jax.lax.scan(tick, state, None, n_ticks // n_states)
            return state, (norms, tree.phase(state)[0])

        def later(state: Any, _: None) -> tuple[Any, Array]:
            state = system.step(state, x)
            return state, jnp.linalg.norm(_units(state) - _units(end))

        end, (norms, states) = jax.lax.scan(part, system.state, None, n_states)
        states = jnp.concatenate([system.z0[None], states])
        away = jax.lax.scan(later, end, None, max_period)[1]
        return end, norms.reshape(n_ticks, 3), states, away

    with jax.default_matmul_precision("highest"):
        state, norms, states, away = jax.vmap(one)(tokens)
    speed, size, change = norms[..., 0], norms[..., 1], norms[..., 2]
    moving = ~(speed <= tolerance * size)  # NaN moves
    last = jnp.max(jnp.where(moving, jnp.arange(1, n_ticks + 1, dtype=jnp.int32), 0), axis=1)
    back = away <= tolerance * size[:, -1:]
    period = jnp.where(jnp.any(back, axis=1), 1 + jnp.argmax(back, axis=1), 0).astype(jnp.int32)
    return LongThought(speed, size, change, last, period, states, state)


@partial(jax.jit, static_argnames=("n_ticks", "k", "every", "warmup"))
def _exponents(
    system: PhaseMap, tokens: Array, key: Array, *, n_ticks: int, k: int, every: int, warmup: int
) -> Lyapunov:
    def one(b: Array, tokens: Array) -> Lyapunov:
        at = system.at(_encode(system, tokens))
        return lyapunov(at, n_ticks, k=k, every=every, warmup=warmup, key=jax.random.fold_in(key, b))

    return jax.vmap(one)(jnp.arange(tokens.shape[0]), tokens)


def _held(system: PhaseMap, x: Any, z: Array) -> Array:
    """The tick of the coordinates with all else as in the template."""
    return system(z, x)


@partial(jax.jit, static_argnames="steps")
def _search(system: PhaseMap, tokens: Array, run: LongThought, *, steps: int) -> tuple[Any, Any]:
    """The held maps and what was found of each, one input after the other: their Jacobians are large."""

    def one(given: tuple[Array, Any, Array]) -> tuple[Any, Any]:
        tokens, state, starts = given
        held = jax.tree_util.Partial(_held, dataclasses.replace(system, state=state), _encode(system, tokens))
        return held, fixed_points(held, starts, steps=steps, bounded=bool(system.bounded))

    return jax.lax.map(one, (tokens, run.state, run.states))
