"""Pairs of Poisson trains at given distances, and what a liquid makes of them, for a range of recurrent weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import phase_map, state_rank, timescales, two_trajectory_exponent
from dynlab.keys import named
from dynlab.simulation import simulate

Array = jax.Array
KERNEL = 5.0  # ms, width of the Gaussian in the distance of spike trains
EVERY = 5.0  # ms between the samples of the traces whose timescales are taken


def train_distance(difference: Any, dt: float) -> np.ndarray:
    r"""Distance of two spike trains, given their difference (..., T) on steps of `dt` ms; in :math:`\sqrt{s}`.

    .. math:: d^2 = \int \Big(\sum_i s_i e^{-(t - t_i)^2/\tau^2}\Big)^2 dt
              = \tau \sqrt{\pi/2} \sum_{ij} s_i s_j e^{-(t_i - t_j)^2 / (2 \tau^2)}, \qquad \tau = 5\ \text{ms}

    with s = 1 for the spikes of the one and -1 for those of the other (Maass, Natschlaeger, Markram 2002). A single
    spike more is 0.079, two independent trains of 20 Hz and 0.5 s are 0.35 on average.
    """
    s = np.asarray(difference, float)
    t = dt * np.arange(s.shape[-1])
    kernel = np.exp(-((t[:, None] - t) ** 2) / (2 * KERNEL**2))
    return np.sqrt(1e-3 * KERNEL * np.sqrt(np.pi / 2) * np.maximum(np.sum((s @ kernel) * s, axis=-1), 0.0))


def pairs(rng: np.random.Generator, distances: Any, n_pairs: int, n_steps: int, dt: float, rate: float,
          tolerance: float = 0.02, tries: int = 40) -> np.ndarray:
    """Pairs of Poisson trains (levels, n_pairs, 2, T) of `rate` Hz whose distance is within `tolerance` of each level.

    Of a train, a share of the spikes, drawn from 0 to 1, is removed and as many are drawn anew, so that both members
    follow the same law; pairs at a wanted distance are kept. At distance 0 both are the same.
    """
    chance = 1.0 - np.exp(-1e-3 * rate * dt)
    found: list[list[np.ndarray]] = [[] for _ in distances]
    for _ in range(tries):
        first = rng.random((500, n_steps)) < chance
        share = rng.random((500, 1))
        kept = first & (rng.random(first.shape) >= share)
        second = kept | (rng.random(first.shape) < chance * share)
        apart = train_distance(first.astype(float) - second, dt)
        for rows, level in zip(found, distances, strict=True):
            both = np.stack([first, first if level == 0 else second], axis=1)
            rows.extend(both if level == 0 else both[np.abs(apart - level) <= tolerance])
        if all(len(rows) >= n_pairs for rows in found):
            return np.stack([np.stack(rows[:n_pairs]) for rows in found]).astype(np.float32)
    short = [float(level) for rows, level in zip(found, distances, strict=True) if len(rows) < n_pairs]
    raise ValueError(f"distances must occur between trains of {rate:g} Hz and {n_steps * dt:g} ms, got {short}, which "
                     f"{500 * tries} pairs do not reach {n_pairs} times")


def jittered(rng: np.random.Generator, train: np.ndarray, n: int, deviation: float) -> np.ndarray:
    """Copies (n, T) of a train (T,) with its spikes moved by normal noise, in steps; those beyond an end stay at it."""
    when = np.flatnonzero(train)
    moved = np.rint(when + deviation * rng.standard_normal((n, when.size))).astype(int)
    out = np.zeros((n, train.size), np.float32)
    np.put_along_axis(out, np.clip(moved, 0, train.size - 1), 1.0, axis=1)
    return out


def both(params: Any, state: Any, x: Any) -> tuple[Array, Array, Array]:
    """What is recorded: filtered spikes, spikes, membranes."""
    del params, x
    n = state.trace.shape[0]
    return state.trace, state.spikes[:n], state.v[:n]


@partial(jax.jit, static_argnames=("sizes", "threshold"))
def sweep(model: Any, params: Any, scales: Array, trains: Array, streams: Array, copies: Array, long: Array,
          key: Array, *, sizes: tuple[float, ...], threshold: float) -> dict[str, Array]:
    """Every measure for every factor on the recurrent weights, (scales, ...): one program.

    Args:
        trains: (levels, pairs, 2, T). streams, copies: (m, T), independent trains and noisy copies of one. long: (T',).
        sizes: distances of the two trajectories, mV. threshold: of the ranks.
    """
    n_levels, n_pairs, _, _ = trains.shape

    def level(member: Any, own: Array, trains: Array) -> Array:
        """Mean distance of the filtered states of the pairs over time (T,); all start from states of their own."""
        starts = jax.vmap(lambda k: model.init_state(member, k))(jax.random.split(own, 2 * n_pairs))
        flat = trains.reshape(2 * n_pairs, -1, 1)
        traces = simulate(model, member, flat, state=starts).outputs.reshape(n_pairs, 2, flat.shape[1], -1)
        return jnp.mean(jnp.linalg.norm(traces[:, 0] - traces[:, 1], axis=-1), axis=0)

    def rank(member: Any, streams: Array) -> Array:
        end = simulate(model, member, streams[..., None], record=None).state
        return state_rank(jax.vmap(lambda state: model.observe(member, state))(end), threshold).rank

    def one(scale: Array) -> dict[str, Array]:
        member = params.replace(weight_scale=scale)
        keys = jax.random.split(named(key, "starts"), n_levels)
        apart = jax.lax.map(lambda pair: level(member, *pair), (keys, trains))
        trace, spikes, _ = simulate(model, member, long[:, None], record=both).outputs
        sampled = trace[:: max(1, round(EVERY / model.dt))]
        tau = timescales(sampled, EVERY, lags=min(60, sampled.shape[0] // 4))
        system = phase_map(model.replace(features="spikes"), member, smooth=False)  # traces feed nothing back
        two = [two_trajectory_exponent(system, long[:, None], size=size, warmup=long.size // 10, key=named(key, "two"))
               for size in sizes]
        return {
            "state_distance": apart, "kernel_rank": rank(member, streams), "generalisation_rank": rank(member, copies),
            "rate": 1000.0 * jnp.mean(spikes) / model.dt, "tau": jnp.where(tau.status == 0, tau.tau, jnp.nan),
            "exponent": jnp.stack([1000.0 * each.exponent for each in two]),
            "merged": jnp.stack([each.n_merged for each in two]),
        }

    return jax.vmap(one)(scales)


@jax.jit
def shown(model: Any, params: Any, scale: Array, inputs: Array) -> tuple[Array, Array]:
    """Spikes and membranes (T, N) of one run."""
    _, spikes, v = simulate(model, params.replace(weight_scale=scale), inputs, record=both).outputs
    return spikes, v
