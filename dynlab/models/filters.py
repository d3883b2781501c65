"""Synapse filters: what a spike of a source does to its targets over time, one state a source.

Each has ``start``, ``hit`` (a spike arrives), ``output`` (what the targets get now, per ms; its sum over time times dt
is about 1 for one spike) and ``advance`` (one step of decay, exact). Order in a step: hit, output, advance, so that a
spike acts in the step in which it arrives.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array

FIRST_AGE, OLDEST_AGE = 20.0, 100.0  # ms, of "last_spike", as in its source


class Delta:
    r"""All at once: a spike gives 1/dt for one step."""

    def start(self, n: int, dtype: Any) -> Array:
        return jnp.zeros((1, n), dtype)

    def hit(self, f: Array, s: Array) -> Array:
        return f + s  # what came earlier in this step stays

    def output(self, f: Array, tau: Any, dt: float) -> Array:
        return f[0] / dt

    def advance(self, f: Array, tau: Any, dt: float) -> Array:
        return jnp.zeros_like(f)


class LastSpike:
    r"""Exponential of the time since the last spike, :math:`e^{-age/\tau}/\tau`: a new spike restarts it, none adds up.

    Ages start at 20 ms and stop at 100 ms (Ivanov and Michmizos 2021, arXiv:2111.01760, the authors' program), so that
    a source that never spiked gives :math:`e^{-20/\tau}/\tau` at first and :math:`e^{-100/\tau}/\tau` for ever: nothing
    at tau of a few ms, a standing drive at tau of 10 ms and more. Take the exponential there.
    """

    def start(self, n: int, dtype: Any) -> Array:
        return jnp.full((1, n), FIRST_AGE, dtype)

    def hit(self, f: Array, s: Array) -> Array:
        return jnp.where(s > 1, 0.0, f * (1.0 - s))  # two spikes in a step restart it as one does

    def output(self, f: Array, tau: Any, dt: float) -> Array:
        return jnp.exp(-f[0] / tau) / tau

    def advance(self, f: Array, tau: Any, dt: float) -> Array:
        return jnp.minimum(f + dt, OLDEST_AGE)


class Exponential:
    r"""Sum of exponentials, :math:`\sum_k e^{-(t - t_k)/\tau}/\tau`."""

    def start(self, n: int, dtype: Any) -> Array:
        return jnp.zeros((1, n), dtype)

    def hit(self, f: Array, s: Array) -> Array:
        return f + s

    def output(self, f: Array, tau: Any, dt: float) -> Array:
        return f[0] / tau

    def advance(self, f: Array, tau: Any, dt: float) -> Array:
        return f * jnp.exp(-dt / tau)


class Alpha:
    r"""Sum of alpha functions, :math:`\sum_k \frac{t - t_k}{\tau^2} e^{-(t - t_k)/\tau}`."""

    def start(self, n: int, dtype: Any) -> Array:
        return jnp.zeros((2, n), dtype)

    def hit(self, f: Array, s: Array) -> Array:
        return f.at[1].add(s)

    def output(self, f: Array, tau: Any, dt: float) -> Array:
        return f[0] / tau

    def advance(self, f: Array, tau: Any, dt: float) -> Array:
        return jnp.stack([f[0] + f[1] * dt / tau, f[1]]) * jnp.exp(-dt / tau)


class DoubleExponential:
    r"""Sum of :math:`(e^{-t/\tau} - e^{-t/\tau_r}) / (\tau - \tau_r)`, with the rise time a fixed part of the decay."""

    def __init__(self, rise: float = 0.1) -> None:
        self.rise = rise

    def start(self, n: int, dtype: Any) -> Array:
        return jnp.zeros((2, n), dtype)

    def hit(self, f: Array, s: Array) -> Array:
        return f + s

    def output(self, f: Array, tau: Any, dt: float) -> Array:
        return (f[0] - f[1]) / (tau * (1.0 - self.rise))

    def advance(self, f: Array, tau: Any, dt: float) -> Array:
        return f * jnp.exp(-dt / (jnp.asarray([[1.0], [self.rise]], f.dtype) * tau))


FILTERS: dict[str, Any] = {
    "delta": Delta(),
    "last_spike": LastSpike(),
    "exponential": Exponential(),
    "double_exponential": DoubleExponential(),
    "alpha": Alpha(),
}
"""Name -> filter; "double_exponential" rises in a tenth of its decay time."""
