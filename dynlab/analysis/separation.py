"""Separation and generalisation: ranks and distances of the states that different input streams lead to."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.analysis.stimulus import noise_key, one_channel, uniform
from dynlab.keys import named
from dynlab.protocol import Map
from dynlab.simulation import simulate

Array = jax.Array

THRESHOLD = 0.01  # singular values, relative to the largest


@tree.dataclass
class StateRank:
    """Rank of the matrix whose columns are the states that m input streams lead to.

    Attributes:
        rank: number of singular values above ``threshold`` times the largest (int).
        singular_values: (min(N, m),), descending; they tell the rank at any other threshold.
        threshold: the relative threshold that was used.
        status: 0 when all states are finite, 1 when not (then the rank is -1 and the singular values are NaN).
    """

    rank: Array
    singular_values: Array
    threshold: Array
    status: Array


@tree.dataclass
class Separation:
    """Distance of states against distance of inputs.

    Attributes:
        input_distance: (n_levels,), root mean square difference of the input streams, averaged over pairs.
        state_distance: (n_levels,), distance of the states at the end, divided by the square root of N.
        status: 0 when all states are finite, 1 when not (then the distances are NaN).
    """

    input_distance: Array
    state_distance: Array
    status: Array


def _final_features(model: Map, params: Any, streams: Array, key: Array) -> Array:
    """Features (m, N) after the last step of each stream (m, time), all from the same start."""
    noise = noise_key(model, params, key)
    run = simulate(model, params, streams[..., None], key=noise, record=None, batched=True)
    return jax.vmap(lambda state: model.observe(params, state))(run.state)


def _rank(states: Array, threshold: Any) -> StateRank:
    good = jnp.all(jnp.isfinite(states))
    states = jnp.where(good, states, 0.0)
    largest = jnp.max(jnp.abs(states))
    s = jnp.linalg.svd(states / jnp.where(largest > 0, largest, 1.0), compute_uv=False)
    rank = jnp.sum((s > threshold * s[0]) & (s > 0), dtype=jnp.int32)
    return StateRank(jnp.where(good, rank, -1), jnp.where(good, s * largest, jnp.nan),
                     jnp.asarray(threshold, s.dtype), jnp.where(good, 0, 1).astype(jnp.int32))


_state_rank = jax.jit(_rank)


@partial(jax.jit, static_argnames=("n_streams", "n_steps"))
def _kernel_rank(
    model: Map, params: Any, key: Array, amplitude: Any, threshold: Any, *, n_streams: int, n_steps: int
) -> StateRank:
    streams = amplitude * uniform(named(key, "kernel_rank.streams"), (n_streams, n_steps))
    return _rank(_final_features(model, params, streams, named(key, "kernel_rank.noise")), threshold)


@partial(jax.jit, static_argnames=("n_streams", "n_steps"))
def _generalisation_rank(
    model: Map, params: Any, key: Array, amplitude: Any, input_noise: Any, threshold: Any, *, n_streams: int,
    n_steps: int,
) -> StateRank:
    stream = uniform(named(key, "generalisation_rank.stream"), (n_steps,))
    jitter = uniform(named(key, "generalisation_rank.jitter"), (n_streams, n_steps))
    streams = amplitude * (stream + input_noise * jitter)
    return _rank(_final_features(model, params, streams, named(key, "generalisation_rank.noise")), threshold)


@partial(jax.jit, static_argnames=("n_pairs", "n_steps"))
def _separation(
    model: Map, params: Any, key: Array, amplitude: Any, replaced: Array, *, n_pairs: int, n_steps: int
) -> Separation:
    shape = (n_pairs, n_steps)
    first, other = (amplitude * uniform(named(key, f"separation.{name}"), shape) for name in ("first", "other"))
    dice = jax.random.uniform(named(key, "separation.which"), shape, check.default_float())
    noise = named(key, "separation.noise")
    start = _final_features(model, params, first, noise)

    def level(share: Array) -> tuple[Array, Array]:
        second = jnp.where(dice < share, other, first)
        end = _final_features(model, params, second, noise)
        apart = jnp.sqrt(jnp.mean((second - first) ** 2, axis=1))
        return jnp.mean(apart), jnp.mean(jnp.sqrt(jnp.mean((end - start) ** 2, axis=1)))

    inputs, states = jax.lax.map(level, replaced)
    good = jnp.all(jnp.isfinite(states))
    return Separation(jnp.where(good, inputs, jnp.nan), jnp.where(good, states, jnp.nan),
                      jnp.where(good, 0, 1).astype(jnp.int32))


def _check_rank(n_features: int, n_streams: Any, threshold: Any) -> int:
    """The number of streams; the threshold must be above rounding."""
    n_streams = check.integer("n_streams", 2 * n_features if n_streams is None else n_streams, 1)
    rounding = max(n_features, n_streams) * float(jnp.finfo(check.default_float()).eps)
    check.scalar("threshold", threshold)
    if not check.is_traced(threshold) and not rounding <= threshold < 1:
        raise ValueError(f"threshold must be at least {rounding:.2g}, which is rounding in {check.default_float()}, "
                         f"and below 1, got {threshold!r}")
    return n_streams


def state_rank(states: Any, threshold: float | Array = THRESHOLD) -> StateRank:
    """The rank of given states or features, one row a sample: (m, N).

    For features that no single input channel leads to, such as the spike counts of m images: of different ones it is
    their kernel rank, of noisy copies of one their generalisation rank (Legenstein and Maass 2007). Threshold as in
    :func:`kernel_rank`. The rank at the level of float64 rounding, which some papers give for counts, is that of
    ``numpy.linalg.matrix_rank`` on the host.

    Returns:
        :class:`StateRank`.

    Raises:
        ValueError, TypeError: wrong shape, a threshold below rounding (max(N, m) eps).
    """
    x = check.array("states", states, finite=False)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"states must have shape (samples, features), not empty, got {x.shape}")
    _check_rank(x.shape[1], x.shape[0], threshold)
    return _state_rank(x, threshold)


def kernel_rank(
    model: Map, key: Array, *, params: Any = None, n_streams: int | None = None, n_steps: int = 200,
    amplitude: float | Array = 1.0, threshold: float | Array = THRESHOLD,
) -> StateRank:
    r"""Kernel rank (kernel quality): how many independent directions different inputs lead to.

    The rank of the N x m matrix of the states at one time t0, each column the answer to one of m *independent* input
    streams, i.i.d. uniform on [-amplitude, amplitude], from the same start (Legenstein and Maass 2007,
    doi:10.1016/j.neunet.2007.04.017; Buesing, Schrauwen, Legenstein 2010, doi:10.1162/neco.2009.01-09-947). It bounds
    how many of these streams a linear readout can map to arbitrary values. It is no rank along one long run.

    The rank is the number of singular values above `threshold` times the largest. Units of real value react to every
    input, so that the rank at the level of rounding is nearly always N: the threshold is the precision that a readout
    is granted, and belongs to the number.

    Args:
        model: a Map with one input channel; knobs may be batched by ``jax.vmap`` (one network, one set of streams for
            all). key: draws the network (unless `params` is given), the streams and the noise.
        n_streams: m; default 2 N. n_steps: t0, long enough to forget the start.

    Returns:
        :class:`StateRank`.

    Raises:
        ValueError, TypeError: a size below 1, a threshold below rounding (max(N, m) eps), more than one input channel.
    """
    params, n_features = one_channel(model, key, params, amplitude)
    check.integer("n_steps", n_steps, 1)
    n_streams = _check_rank(n_features, n_streams, threshold)
    return _kernel_rank(model, params, key, amplitude, threshold, n_streams=n_streams, n_steps=n_steps)


def generalisation_rank(
    model: Map, key: Array, *, params: Any = None, n_streams: int | None = None, n_steps: int = 200,
    input_noise: float | Array = 0.1, amplitude: float | Array = 1.0, threshold: float | Array = THRESHOLD,
) -> StateRank:
    r"""Generalisation rank: how many independent directions noise on one and the same input leads to.

    As :func:`kernel_rank`, but the m streams are copies of one stream u, each with its own noise:
    :math:`u_i(t) = u(t) + \text{amplitude} \cdot \text{input\_noise} \cdot \xi_i(t)`, xi i.i.d. uniform on [-1, 1]
    (Legenstein and Maass 2007). Small is good: the system sees the same thing in noisy copies. The difference of kernel
    and generalisation rank, at the same threshold, measures computational power. The largest singular value is that of
    the common state, so that noise counts where it moves the state by more than about `threshold` of its size.

    Args:
        input_noise: size of the noise, relative to the amplitude. The others: see :func:`kernel_rank`.

    Returns:
        :class:`StateRank`.

    Raises:
        ValueError, TypeError: as :func:`kernel_rank`; negative noise.
    """
    params, n_features = one_channel(model, key, params, amplitude)
    check.integer("n_steps", n_steps, 1)
    check.scalar("input_noise", input_noise, 0.0)
    n_streams = _check_rank(n_features, n_streams, threshold)
    return _generalisation_rank(model, params, key, amplitude, input_noise, threshold, n_streams=n_streams,
                                n_steps=n_steps)


def separation(
    model: Map, key: Array, *, params: Any = None, replaced: Any = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0),
    n_pairs: int = 100, n_steps: int = 200, amplitude: float | Array = 1.0,
) -> Separation:
    r"""Separation property (Maass, Natschlaeger, Markram 2002, doi:10.1162/089976602760407955).

    .. math:: d_x = \Big\langle \sqrt{\tfrac1N \textstyle\sum_i (x_i(t_0) - y_i(t_0))^2} \Big\rangle
              \quad\text{against}\quad
              d_u = \Big\langle \sqrt{\tfrac1{t_0} \textstyle\sum_t (u(t) - v(t))^2} \Big\rangle

    over pairs of input streams (u, v) that lead to the states (x, y) from the same start. u is i.i.d. uniform on
    [-amplitude, amplitude]; v is u with a share of its samples drawn anew, so that both have the same law and
    :math:`d_u^2 \approx 2 \cdot \text{share} \cdot \text{amplitude}^2 / 3`. Noise of the model is the same for both
    members of a pair, so that share 0 gives distance 0.

    Args:
        replaced: shares in [0, 1], (n_levels,). n_pairs: pairs a level. n_steps: t0.
        The others: see :func:`kernel_rank`.

    Returns:
        :class:`Separation`.

    Raises:
        ValueError, TypeError: a size below 1, shares outside [0, 1], more than one input channel.
    """
    params, _ = one_channel(model, key, params, amplitude)
    check.integer("n_steps", n_steps, 1)
    check.integer("n_pairs", n_pairs, 1)
    check.number("replaced", replaced, 0.0, 1.0)
    if np.ndim(replaced) != 1 or np.size(replaced) == 0:
        raise ValueError(f"replaced must have shape (n_levels,), got {np.shape(replaced)}")
    return _separation(model, params, key, amplitude, check.array("replaced", replaced), n_pairs=n_pairs,
                       n_steps=n_steps)
