"""Information processing capacity: which functions of its past input a driven system holds, split by degree."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.analysis.reconstruction import (
    check_samples,
    check_threshold,
    chi2_threshold,
    in_chunks,
    project,
    settle,
    state_basis,
    surrogate_thresholds,
)
from dynlab.analysis.stimulus import noise_key, one_channel, uniform
from dynlab.analysis.targets import Target, count, default_delays, indices, legendre, legendre_targets, product
from dynlab.keys import named
from dynlab.protocol import Map
from dynlab.simulation import simulate

Array = jax.Array

MAX_TARGETS = 50_000


@tree.dataclass
class InformationProcessingCapacity:
    """Capacities of a driven system for the orthonormal functions of its input.

    Attributes:
        total: sum of `capacities`; never above `rank`, and so never above N.
        per_degree: (max_degree,), the share of each degree, the first entry being degree 1.
        capacities: (n_targets,), in the order of `targets`; zero where not significant. Without a threshold, corrected
            ones can be negative.
        thresholds: (n_targets,), what a capacity had to exceed (before the correction of its bias).
        rank: linearly independent centred features (int).
        n_discarded: targets under the threshold. n_truncated: significant targets that were set to zero because the
            larger ones add up to the rank already.
        status: 0 when all is finite, 1 when the features are not (then the numbers are NaN).
        max_delays: longest delay of each degree (static).
    """

    total: Array
    per_degree: Array
    capacities: Array
    thresholds: Array
    rank: Array
    n_discarded: Array
    n_truncated: Array
    status: Array
    max_delays: tuple[int, ...] = tree.static()

    @property
    def targets(self) -> tuple[Target, ...]:
        """Each target as a tuple of (delay, degree): ((0, 1), (3, 2)) is P1(u(t)) P2(u(t-3)) up to normalisation."""
        return legendre_targets(self.max_delays)


@tree.dataclass
class NonlinearMemory:
    """Memory for one function of the input.

    Attributes:
        total: sum of `per_delay`, the present input (delay 0) included.
        per_delay: (max_delay + 1,), capacity for f(u(t-k)), k = 0 ... max_delay; zero where not significant. Without
            a threshold, corrected ones can be negative.
        thresholds: (max_delay + 1,), what a capacity had to exceed (before the correction of its bias).
        status: 0 when all is finite, 1 when features or targets are not (then the numbers are NaN).
    """

    total: Array
    per_delay: Array
    thresholds: Array
    status: Array


@partial(jax.jit, static_argnames=("max_delays", "threshold", "p", "n_surrogates", "adjust"))
def _capacities(
    states: Array, inputs: Array, amplitude: Any, key: Array | None, scale: Any, *,
    max_delays: tuple[int, ...], threshold: str | None, p: float, n_surrogates: int, adjust: bool,
) -> InformationProcessingCapacity:
    """`inputs` is longer than `states` by the longest delay; both end at the same time."""
    longest, n_samples, dtype = max(max_delays), states.shape[0], states.dtype
    factors, families, representative, degrees = indices(max_delays)
    good = jnp.all(jnp.isfinite(states)) & jnp.all(jnp.isfinite(inputs))
    rows, rank = state_basis(jnp.where(good, states, 0.0))
    table = legendre(inputs / amplitude, len(max_delays))
    evaluate = lambda some: project(rows, jax.vmap(lambda one: product(table, one, longest))(some))  # noqa: E731
    raw, chance = in_chunks(evaluate, jnp.asarray(factors))
    if threshold == "surrogate" and key is not None:
        limits = surrogate_thresholds(rows, table, key, representative, longest, n_surrogates)[families]
    elif threshold == "chi2":
        limits = jnp.full(raw.shape, chi2_threshold(rank, states.shape[1], n_samples, p, dtype))
    else:
        limits = jnp.zeros(raw.shape, dtype)
    capacities, limits, n_discarded, n_truncated = settle(raw, chance, limits * scale, rank, n_samples, adjust,
                                                         threshold is not None)
    per_degree = jax.ops.segment_sum(capacities, degrees - 1, len(max_delays))
    total, per_degree, capacities, limits = (
        jnp.where(good, each, jnp.nan) for each in (jnp.sum(capacities), per_degree, capacities, limits)
    )
    status = jnp.where(good, 0, 1).astype(jnp.int32)
    return InformationProcessingCapacity(
        total, per_degree, capacities, limits, rank, n_discarded, n_truncated, status, max_delays
    )


def _check_settings(
    n_features: int, max_degree: Any, max_delays: Any, threshold: Any, p: Any, n_surrogates: Any, scale: Any,
    adjust: Any,
) -> tuple[int, ...]:
    """The longest delay of each degree, and a refusal of settings that mean nothing."""
    max_degree = check.integer("max_degree", max_degree, 1)
    if max_delays is None:
        max_delays = default_delays(n_features, max_degree)
    elif isinstance(max_delays, (int, np.integer)) and not isinstance(max_delays, bool):
        max_delays = (int(max_delays),) * max_degree
    elif not isinstance(max_delays, (tuple, list, np.ndarray)):
        raise TypeError(f"max_delays must be an integer or one integer a degree, got {max_delays!r}")
    max_delays = tuple(check.integer(f"max_delays[{i}]", delay, 0) for i, delay in enumerate(max_delays))
    if len(max_delays) != max_degree:
        raise ValueError(f"max_delays must have one entry a degree ({max_degree}), got {max_delays}")
    if count(max_delays) > MAX_TARGETS:
        raise ValueError(f"max_delays must give at most {MAX_TARGETS} targets, got {max_delays}, which give "
                         f"{count(max_delays)}: shorten the delays of the high degrees")
    check_threshold(threshold, p, n_surrogates, scale)
    check.choice("adjust", adjust, (True, False))
    return max_delays


def capacities(
    states: Array, inputs: Array, *, max_degree: int = 3, max_delays: int | tuple[int, ...] | None = None,
    amplitude: float | Array = 1.0, threshold: str | None = "chi2", p: float = 1e-4, n_surrogates: int = 200,
    scale: float = 1.0, adjust: bool = True, key: Array | None = None,
) -> InformationProcessingCapacity:
    r"""Information processing capacity of recorded states of any system.

    Definitions, thresholds and the other arguments are those of :func:`information_processing_capacity`.

    Args:
        states: (T, N); ``states[t]`` has seen ``inputs[t]``. Drop the washout first. Rows before the longest delay
            serve only as history.
        inputs: (T,) or (T, 1), i.i.d. uniform on [-amplitude, amplitude]: for any other law the targets are not
            orthonormal and the total means nothing.
        key: needed by threshold="surrogate" only.

    Returns:
        :class:`InformationProcessingCapacity`.

    Raises:
        ValueError, TypeError: wrong shapes, inputs outside [-amplitude, amplitude], fewer than N + 2 rows after the
            longest delay, no key for surrogates, or settings as in :func:`information_processing_capacity`.
    """
    states = check.series("states", states, batched=False, finite=False)
    inputs = check.array("inputs", inputs)
    if inputs.shape not in ((states.shape[0],), (states.shape[0], 1)):
        raise ValueError(f"inputs must have shape ({states.shape[0]},) like states, got {inputs.shape}")
    check.scalar("amplitude", amplitude, 0.0, low_open=True)
    if not check.is_traced(inputs, amplitude):
        check.number("inputs / amplitude", inputs / amplitude, -1.0 - 1e-6, 1.0 + 1e-6)
    max_delays = _check_settings(states.shape[1], max_degree, max_delays, threshold, p, n_surrogates, scale, adjust)
    check_samples(states.shape[0] - max(max_delays), states.shape[1])
    if threshold == "surrogate":
        check.key("key", key)
    return _capacities(states[max(max_delays):], inputs.reshape(-1), amplitude, key, scale, max_delays=max_delays,
                       threshold=threshold, p=float(p), n_surrogates=n_surrogates, adjust=bool(adjust))


def _drive(model: Map, params: Any, key: Array, amplitude: Any, role: str, n_samples: int, start: int) -> Any:
    """Features (n_samples, N) after `start` steps, and the whole input (start + n_samples,)."""
    u = amplitude * uniform(named(key, f"{role}.stream"), (start + n_samples,))
    noise = noise_key(model, params, named(key, f"{role}.noise"))
    return simulate(model, params, u[:, None], key=noise, washout=start).outputs, u


@partial(jax.jit, static_argnames=("n_samples", "washout", "settings"))
def _information_processing_capacity(
    model: Map, params: Any, key: Array, amplitude: Any, scale: Any, *, n_samples: int, washout: int,
    settings: tuple[tuple[str, Any], ...],
) -> InformationProcessingCapacity:
    options = dict(settings)
    longest = max(options["max_delays"])
    start = max(washout, longest)
    states, u = _drive(model, params, key, amplitude, "ipc", n_samples, start)
    return _capacities(states, u[start - longest:], amplitude, named(key, "ipc.surrogate"), scale, **options)


def information_processing_capacity(
    model: Map, key: Array, *, params: Any = None, max_degree: int = 3,
    max_delays: int | tuple[int, ...] | None = None, n_samples: int | None = None, washout: int = 200,
    amplitude: float | Array = 1.0, threshold: str | None = "chi2", p: float = 1e-4, n_surrogates: int = 200,
    scale: float = 1.0, adjust: bool = True,
) -> InformationProcessingCapacity:
    r"""Information processing capacity (Dambre, Verstraeten, Schrauwen, Massar 2012, doi:10.1038/srep00514).

    .. math:: C[z] = 1 - \min_{w, b} \frac{\sum_t (z(t) - w^T x(t) - b)^2}{\sum_t (z(t) - \bar z)^2}

    for every product z of normalised Legendre polynomials of delayed inputs (:mod:`dynlab.analysis.targets`), the
    input being i.i.d. uniform on [-amplitude, amplitude]. Delay 0, the present input, counts. The capacities of all z
    add up to at most the number of linearly independent features, and to that number when the system has fading memory
    and no noise and the delays and degrees are large enough.

    In a finite series also a function that the system does not hold has a capacity, r / T on average for rank r and T
    samples, and more for products of recent inputs, which are large where the states are. Therefore

    * capacities under a threshold are set to zero. ``"chi2"``: a capacity by chance is distributed like
      :math:`\chi^2_r / T`, and the threshold is its quantile at 1 - p, so that p n_targets targets pass by chance.
      ``"surrogate"``: the largest capacity over `n_surrogates` shufflings of the input, for each family of targets
      (same polynomials, other delays), as in Kubota, Takahashi, Nakajima 2021 (doi:10.1103/PhysRevResearch.3.043135);
      one target in n_surrogates + 1 passes by chance. `scale` multiplies either. ``None``: all count, and corrected
      values below zero stay below zero, so that what functions the system does not hold add is 0 on average.
    * with `adjust`, the chance capacity b of each target is estimated from the leverage of its samples
      (:func:`dynlab.analysis.reconstruction.project`): its threshold is multiplied by b T / r, and what passes becomes
      :math:`1 - (1 - C)/(1 - b)`, an adjusted R^2. ``adjust=False`` gives the value as defined above; the usual
      programs then take a larger threshold (``scale=2``).
    * a total above the rank is truncated: the smallest capacities that lead beyond it are set to zero and counted.

    Args:
        model: a Map with one input channel; knobs may be batched by ``jax.vmap`` (one network, one input for all).
        key: draws the network (unless `params` is given), the input, the noise and the surrogates, independently.
        max_degree: largest degree. max_delays: longest delay, one for all degrees or one a degree; default 2 N for
            degree 1, and at most 2000 targets for each further degree.
        n_samples: T; default max(10000, 100 N). washout: first steps dropped (at least the longest delay).

    Returns:
        :class:`InformationProcessingCapacity`; a member whose states are not finite has status 1 and NaN.

    Raises:
        ValueError, TypeError: a size out of range, over 50000 targets, n_samples <= N + 1, an unknown threshold, more
            than one input channel.
    """
    params, n_features = one_channel(model, key, params, amplitude)
    max_delays = _check_settings(n_features, max_degree, max_delays, threshold, p, n_surrogates, scale, adjust)
    n_samples = check.integer("n_samples", max(10_000, 100 * n_features) if n_samples is None else n_samples, 1)
    check_samples(n_samples, n_features)
    check.integer("washout", washout, 0)
    settings = {"max_delays": max_delays, "threshold": threshold, "p": float(p), "n_surrogates": n_surrogates,
                "adjust": bool(adjust)}
    return _information_processing_capacity(model, params, key, amplitude, scale, n_samples=n_samples,
                                            washout=washout, settings=tuple(settings.items()))


@partial(jax.jit, static_argnames=("function", "max_delay", "n_samples", "washout", "threshold", "p", "n_surrogates",
                                   "adjust"))
def _nonlinear_memory(
    model: Map, params: Any, key: Array, amplitude: Any, scale: Any, *, function: int | Callable[[Array], Array],
    max_delay: int, n_samples: int, washout: int, threshold: str | None, p: float, n_surrogates: int, adjust: bool,
) -> NonlinearMemory:
    start = max(washout, max_delay)
    states, u = _drive(model, params, key, amplitude, "nonlinear_memory", n_samples, start)
    u = u[start - max_delay:]
    wanted = legendre(u / amplitude, function)[function] if isinstance(function, int) else function(u)
    good = jnp.all(jnp.isfinite(states)) & jnp.all(jnp.isfinite(wanted))
    rows, rank = state_basis(jnp.where(good, states, 0.0))
    at = lambda delay: jax.lax.dynamic_slice(wanted, (max_delay - delay,), (n_samples,))  # noqa: E731
    raw, chance = in_chunks(lambda some: project(rows, jax.vmap(at)(some)), jnp.arange(max_delay + 1))
    if threshold == "surrogate":
        table = jnp.stack([jnp.ones_like(wanted), wanted])
        limit = surrogate_thresholds(rows, table, named(key, "nonlinear_memory.surrogate"),
                                      np.array([[[0, 1]]], np.int32), max_delay, n_surrogates)[0]
    elif threshold == "chi2":
        limit = chi2_threshold(rank, states.shape[1], n_samples, p, raw.dtype)
    else:
        limit = jnp.zeros((), raw.dtype)
    per_delay, limits, _, _ = settle(raw, chance, jnp.full(raw.shape, limit * scale), rank, n_samples, adjust,
                                     threshold is not None)
    per_delay, limits = jnp.where(good, per_delay, jnp.nan), jnp.where(good, limits, jnp.nan)
    return NonlinearMemory(jnp.sum(per_delay), per_delay, limits, jnp.where(good, 0, 1).astype(jnp.int32))


def _check_function(function: Any, length: int) -> int | Callable[[Array], Array]:
    """A degree, or a function that maps the inputs entry by entry."""
    if not callable(function):
        return check.integer("function", function, 1)
    u = jax.ShapeDtypeStruct((length,), check.default_float())
    out = jax.eval_shape(function, u)
    if getattr(out, "shape", None) != u.shape or out.dtype.kind not in "fiub":
        raise ValueError(f"function must map the inputs ({length},) to real numbers of the same shape, got {out}")
    return function


def nonlinear_memory(
    model: Map, key: Array, *, function: int | Callable[[Array], Array] = 2, params: Any = None,
    max_delay: int | None = None, n_samples: int | None = None, washout: int = 200, amplitude: float | Array = 1.0,
    threshold: str | None = "chi2", p: float = 1e-4, n_surrogates: int = 200, scale: float = 1.0, adjust: bool = True,
) -> NonlinearMemory:
    r"""Capacity for one non-linear function of the delayed input, as a function of the delay.

    .. math:: m_k = C\big[f(u(t - k))\big], \qquad k = 0 \dots K

    with C as in :func:`information_processing_capacity`. For f the Legendre polynomial of degree d these are the
    one-delay targets of Dambre et al. 2012 (doi:10.1038/srep00514); f(u) = sin(nu u) is the task of Inubushi and
    Yoshimura 2017 (doi:10.1038/s41598-017-10257-6).

    Args:
        function: the degree d >= 1 of a Legendre polynomial of u / amplitude, or a function of the array of inputs u
            (define it once: a new lambda at each call compiles again).
        max_delay: K; default twice the number of features. The others: see :func:`information_processing_capacity`.

    Returns:
        :class:`NonlinearMemory`.

    Raises:
        ValueError, TypeError: a size out of range, `function` neither a degree nor a callable that keeps the shape of
            its argument, an unknown threshold.
    """
    params, n_features = one_channel(model, key, params, amplitude)
    check_threshold(threshold, p, n_surrogates, scale)
    check.choice("adjust", adjust, (True, False))
    max_delay = check.integer("max_delay", 2 * n_features if max_delay is None else max_delay, 0)
    n_samples = check.integer("n_samples", max(10_000, 100 * n_features) if n_samples is None else n_samples, 1)
    check_samples(n_samples, n_features)
    check.integer("washout", washout, 0)
    function = _check_function(function, n_samples + max_delay)
    return _nonlinear_memory(model, params, key, amplitude, scale, function=function, max_delay=max_delay,
                             n_samples=n_samples, washout=washout, threshold=threshold, p=float(p),
                             n_surrogates=n_surrogates, adjust=bool(adjust))
