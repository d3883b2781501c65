"""Encoders: from values, rates, signals and events to spikes, arrays (..., time, channels) of 0 and 1.

A random encoder takes a key first. Leading axes are a batch; rates and probabilities may also change in time.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check

Array = jax.Array
LATENCIES = ("linear", "log")


def _channels(name: str, value: Any, low: float = -np.inf, high: float = np.inf) -> Array:
    """Floats (..., C), checked, not empty."""
    out = check.array(name, value)
    if out.ndim < 1 or 0 in out.shape:
        raise ValueError(f"{name} must have shape (..., channels), not empty, got {out.shape}")
    check.number(name, out, low, high)
    return out


def _in_time(name: str, value: Array, n_steps: Any) -> tuple[int, ...]:
    """The shape (..., T, C) of the spikes."""
    if n_steps is not None:
        return (*value.shape[:-1], check.integer("n_steps", n_steps, 1), value.shape[-1])
    if value.ndim < 2:
        raise ValueError(f"{name} must have shape (..., time, channels) when n_steps is None, got {value.shape}")
    return value.shape


@partial(jax.jit, static_argnames=("shape", "constant"))
def _bernoulli(key: Array, p: Array, *, shape: tuple[int, ...], constant: bool) -> Array:
    p = p[..., None, :] if constant else p
    return (jax.random.uniform(key, shape, p.dtype) < p).astype(p.dtype)


def bernoulli_encode(key: Array, probability: Any, n_steps: int | None = None) -> Array:
    """A spike with the given probability, independently in each step.

    Args:
        probability: (..., C) in [0, 1]; with `n_steps` None (..., T, C).
        n_steps: T.

    Returns:
        (..., T, C) of 0 and 1.
    """
    check.key("key", key)
    p = _channels("probability", probability, 0.0, 1.0)
    return _bernoulli(key, p, shape=_in_time("probability", p, n_steps), constant=n_steps is not None)


@partial(jax.jit, static_argnames=("shape", "constant", "counts"))
def _poisson(key: Array, rate: Array, dt: Any, *, shape: tuple[int, ...], constant: bool, counts: bool) -> Array:
    mean = (rate[..., None, :] if constant else rate) * dt
    if counts:
        return jax.random.poisson(key, jnp.broadcast_to(mean, shape)).astype(rate.dtype)
    return (jax.random.uniform(key, shape, rate.dtype) < -jnp.expm1(-mean)).astype(rate.dtype)


def poisson_encode(
    key: Array, rate: Any, dt: float | Array, n_steps: int | None = None, *, counts: bool = False
) -> Array:
    r"""Poisson spike trains on a grid of steps `dt`.

    A step has a spike with probability :math:`1 - e^{-r\, dt}`, that of at least one event; with `counts` it has the
    number of events, so that none is lost at high rates.

    Args:
        rate: (..., C), at least 0, per unit of time: with rates in Hz, `dt` is in seconds; with `n_steps` None
            (..., T, C).
        dt: time of a step. n_steps: T.

    Returns:
        (..., T, C).
    """
    check.key("key", key)
    r = _channels("rate", rate, 0.0)
    check.scalar("dt", dt, 0.0, low_open=True)
    shape = _in_time("rate", r, n_steps)
    return _poisson(key, r, dt, shape=shape, constant=n_steps is not None, counts=bool(counts))


@partial(jax.jit, static_argnames=("n_steps", "kind"))
def _latency(x: Array, threshold: Any, tau: Any, *, n_steps: int, kind: str) -> Array:
    if kind == "linear":
        when = jnp.round((1.0 - x) * (n_steps - 1))
        fires = x >= threshold
    else:
        fires = x > threshold
        when = jnp.floor(-tau * jnp.log1p(-threshold / jnp.where(fires, x, 2.0 * threshold + 1.0)))
    when = jnp.where(fires & (when < n_steps), when, -1).astype(jnp.int32)
    return (jnp.arange(n_steps)[:, None] == when[..., None, :]).astype(x.dtype)


def latency_encode(
    values: Any, n_steps: int, *, kind: str = "linear", threshold: float | Array = 0.01, tau: float | Array = 5.0
) -> Array:
    r"""One spike a channel, the earlier the larger the value.

    "linear": at step :math:`\mathrm{round}((1 - x)(T - 1))` for x of at least `threshold`. "log": when a leaky membrane
    with input x crosses `threshold`, step :math:`\lfloor \tau \ln \frac{x}{x - \theta} \rfloor`. A channel whose value
    is too small, or whose spike would come after the last step, has none.

    Args:
        values: (..., C); in [0, 1] for "linear", at least 0 for "log".
        threshold: least value that spikes; above 0 for "log". tau: in steps ("log" only).

    Returns:
        (..., n_steps, C).
    """
    check.choice("kind", kind, LATENCIES)
    x = _channels("values", values, 0.0, 1.0 if kind == "linear" else np.inf)
    check.integer("n_steps", n_steps, 1)
    check.scalar("threshold", threshold, 0.0, low_open=kind == "log")
    check.scalar("tau", tau, 0.0, low_open=True)
    return _latency(x, threshold, tau, n_steps=n_steps, kind=kind)


@partial(jax.jit, static_argnames="m")
def _population(x: Array, low: Array, high: Array, beta: Any, *, m: int) -> Array:
    spacing = jnp.broadcast_to((high - low) / (m - 2), x.shape[-1:])[:, None]
    centres = jnp.broadcast_to(low, x.shape[-1:])[:, None] + (jnp.arange(m) - 0.5) * spacing
    answers = jnp.exp(-0.5 * ((x[..., None] - centres) * beta / spacing) ** 2)
    return answers.reshape(*x.shape[:-1], -1)


def population_encode(
    values: Any, n_fields: int, low: float | Array = 0.0, high: float | Array = 1.0, beta: float | Array = 1.5
) -> Array:
    r"""Each value as the answers of overlapping Gaussian receptive fields (Bohte, Kok and La Poutre 2002).

    .. math:: a_i = \exp\Big(-\frac{(x - c_i)^2}{2 \sigma^2}\Big), \quad c_i = l + \frac{2i - 3}{2} \frac{h - l}{M - 2},
              \quad \sigma = \frac{1}{\beta} \frac{h - l}{M - 2}, \quad i = 1 \dots M

    The outer fields lie outside [l, h]. Encode the answers, which are in (0, 1], by :func:`latency_encode` or
    :func:`bernoulli_encode`. Source: doi:10.1016/S0925-2312(01)00658-0.

    Args:
        values: (..., C). n_fields: M, at least 3. low, high: the range, numbers or (C,). beta: above 0.

    Returns:
        (..., C M), the fields of a channel side by side.
    """
    x = _channels("values", values)
    m = check.integer("n_fields", n_fields, 3)
    check.number("low", low)
    check.number("high", high)
    if not check.is_traced(low, high) and np.any(np.asarray(high) <= np.asarray(low)):
        raise ValueError(f"high must be above low ({low!r}), got {high!r}")
    check.scalar("beta", beta, 0.0, low_open=True)
    return _population(x, jnp.asarray(low, x.dtype), jnp.asarray(high, x.dtype), beta, m=m)


@partial(jax.jit, static_argnames="single")
def _delta(x: Array, threshold: Array, *, single: bool) -> Array:
    start = x[..., 0, :]

    def body(level: Array, now: Array) -> tuple[Array, Array]:
        """level: whole thresholds passed since the start, so that no rounding piles up."""
        crossed = jnp.trunc((now - start) / threshold - level)
        crossed = jnp.clip(crossed, -1.0, 1.0) if single else crossed
        return level + crossed, crossed

    crossed = jnp.moveaxis(jax.lax.scan(body, jnp.zeros_like(start), jnp.moveaxis(x, -2, 0))[1], 0, -2)
    return jnp.concatenate([jnp.maximum(crossed, 0.0), jnp.maximum(-crossed, 0.0)], axis=-1)


def delta_encode(signal: Any, threshold: float | Array, *, single: bool = False) -> Array:
    r"""Changes of a signal as ON and OFF events (send on delta).

    A reference starts at the first sample. Each time the signal is a threshold above it, an ON event moves it up by
    one; below, an OFF event moves it down. So ``x[0] + threshold cumsum(on - off)`` is never a threshold or more away
    from the signal.

    Args:
        signal: (..., T, C). threshold: above 0, a number or (C,).
        single: at most one event a step and channel; the rest follows in later steps, which keeps spikes 0 or 1 and
            lags behind fast changes.

    Returns:
        (..., T, 2 C) numbers of events: ON channels, then OFF channels. The first step has none.
    """
    x = check.array("signal", signal)
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"signal must have shape (..., time, channels), not empty, got {x.shape}")
    check.number("threshold", threshold, 0.0, low_open=True)
    if np.shape(threshold) not in ((), x.shape[-1:]):
        raise ValueError(f"threshold must be a number or of shape {x.shape[-1:]}, got shape {np.shape(threshold)}")
    return _delta(x, jnp.asarray(threshold, x.dtype), single=bool(single))


@partial(jax.jit, static_argnames=("n_steps",))
def _markov(key: Array, p_on: Array, p_off: Array, *, n_steps: int) -> Array:
    start_key, run_key = jax.random.split(key)
    both = p_on + p_off
    share = jnp.where(both > 0, p_on / jnp.where(both > 0, both, 1.0), 0.0)
    dice = jax.random.uniform(run_key, (n_steps - 1, *p_on.shape), p_on.dtype)
    first = (jax.random.uniform(start_key, p_on.shape, p_on.dtype) < share).astype(p_on.dtype)

    def body(now: Array, die: Array) -> tuple[Array, Array]:
        new = jnp.where(now > 0, die >= p_off, die < p_on).astype(now.dtype)
        return new, new

    rest = jax.lax.scan(body, first, dice)[1]
    return jnp.moveaxis(jnp.concatenate([first[None], rest]), 0, -2)


def _two_state(p_on: Any, p_off: Any) -> tuple[Array, Array]:
    on, off = (_channels(name, value, 0.0, 1.0) for name, value in (("p_on", p_on), ("p_off", p_off)))
    shape = jnp.broadcast_shapes(on.shape, off.shape)
    return jnp.broadcast_to(on, shape), jnp.broadcast_to(off, shape)


def markov_spikes(key: Array, p_on: Any, p_off: Any, n_steps: int) -> Array:
    r"""Spike trains of a two-state Markov chain, from its stationary state on.

    A step without a spike is followed by one with probability `p_on`, a step with one by none with `p_off`. The rate is
    :math:`p_{on} / (p_{on} + p_{off})` a step and correlations decay as :math:`(1 - p_{on} - p_{off})^k`; with
    ``p_off = 1 - p_on`` steps are independent. :func:`markov_entropy_rate` is what a complexity must tend to.

    Args:
        p_on, p_off: (..., C) in [0, 1]. Where both are 0 the train stays silent.

    Returns:
        (..., n_steps, C) of 0 and 1.
    """
    check.key("key", key)
    on, off = _two_state(p_on, p_off)
    return _markov(key, on, off, n_steps=check.integer("n_steps", n_steps, 1))


@jax.jit
def _entropy_rate(on: Array, off: Array) -> Array:
    def bits(p: Array) -> Array:
        return -(jax.scipy.special.xlogy(p, p) + jax.scipy.special.xlog1py(1.0 - p, -p)) / np.log(2.0)

    both = on + off
    return jnp.where(both > 0, (off * bits(on) + on * bits(off)) / jnp.where(both > 0, both, 1.0), 0.0)


def markov_entropy_rate(p_on: Any, p_off: Any) -> Array:
    r"""Entropy rate of :func:`markov_spikes` in bits a step: (..., C).

    .. math:: h = \frac{p_{off}\, H(p_{on}) + p_{on}\, H(p_{off})}{p_{on} + p_{off}},
              \qquad H(p) = -p \log_2 p - (1 - p) \log_2 (1 - p)
    """
    return _entropy_rate(*_two_state(p_on, p_off))


def nalsm_scale(images: Any) -> float:
    """The largest value of image / sum over a data set (..., pixels), the constant of :func:`nalsm_rates`."""
    x = np.asarray(_channels("images", images, 0.0), dtype=float)
    total = x.sum(axis=-1, keepdims=True)
    largest = np.max(np.divide(x, total, out=np.zeros_like(x), where=total > 0))
    if largest == 0:
        raise ValueError("images must not all be black, got only zeros")
    return float(largest)


@jax.jit
def _nalsm_rates(x: Array, scale: Any) -> Array:
    total = jnp.sum(x, axis=-1, keepdims=True)
    return jnp.minimum(jnp.where(total > 0, x / jnp.where(total > 0, total, 1.0), 0.0) / scale, 1.0)


def nalsm_rates(images: Any, scale: float | Array) -> Array:
    r"""Images as probabilities of a spike in a step: :math:`\min(1,\ x / (s \sum x))`.

    Every image has about the same total rate, 1 / `scale` events a step. `scale` is a constant of the data set
    (:func:`nalsm_scale` of the training images): taken from each batch or part instead, rates would depend on what else
    is in it. An image outside the set may be cut at 1; a black one gives zeros. Source: Ivanov and Michmizos, NeurIPS
    2021, arXiv:2111.01760 (their code).

    Args:
        images: (..., pixels), at least 0. scale: above 0.

    Returns:
        (..., pixels) in [0, 1], for :func:`bernoulli_encode`.
    """
    x = _channels("images", images, 0.0)
    check.scalar("scale", scale, 0.0, low_open=True)
    return _nalsm_rates(x, scale)
