"""Rules of spike-timing-dependent plasticity: pure functions of arrays, one value a synapse.

Arguments of a synapse's source and target are broadcast against its weight: with lists of inputs (ELL) weights and
sources are (K, N) and targets (N,); with edges all are (E,).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree

Array = jax.Array


def spike_trace(trace: Array, spikes: Array, tau: Any, dt: float = 1.0, increment: Any = 1.0) -> Array:
    r""":math:`x \leftarrow (x + a\,s)\, e^{-\Delta t/\tau}`, with a = `increment`; it has seen this step's spikes."""
    return (trace + increment * spikes) * jnp.exp(-dt / tau)


def pair_stdp(
    weight: Array, pre_trace: Array, post_trace: Array, pre_spikes: Array, post_spikes: Array, *, potentiation: Any,
    depression: Any, inhibitory: Any = False, low: Any = -jnp.inf, high: Any = jnp.inf,
) -> Array:
    r"""Weights after one step of pair STDP with traces of the steps before.

    .. math:: \Delta w = A_+ x_{pre} s_{post} - A_- x_{post} s_{pre}

    then clipped to [low, high]. Inhibitory synapses, whose weights are negative, take the opposite sign with the
    factors exchanged, :math:`-A_- x_{pre} s_{post} + A_+ x_{post} s_{pre}`, as Ivanov and Michmizos 2021
    (arXiv:2111.01760, the authors' program) have it. Song, Miller, Abbott 2000 (doi:10.1038/78829) for the rule.

    Args:
        weight: w. pre_trace, post_trace, pre_spikes, post_spikes: x and s of source and target.
        potentiation, depression: A+ and A-. inhibitory: which synapses are.
    """
    after = jnp.where(inhibitory, -depression, potentiation)
    before = jnp.where(inhibitory, potentiation, -depression)
    change = after * pre_trace * post_spikes + before * post_trace * pre_spikes
    return jnp.clip(weight + change, low, high)


def calcium_gate(calcium: Array, threshold: Any, width: Any) -> tuple[Array, Array]:
    r"""Factors on potentiation and depression of synapses onto units with this calcium, each 0 or 1.

    Potentiation for :math:`\theta < C < \theta + \Delta`, depression for :math:`\theta - \Delta < C < \theta`.
    """
    up = (calcium > threshold) & (calcium < threshold + width)
    down = (calcium < threshold) & (calcium > threshold - width)
    return up.astype(calcium.dtype), down.astype(calcium.dtype)


@tree.dataclass
class CalciumGate:
    r"""Learning only where the target is active within a band, the activity-threshold rule (AP-STDP) with which Ivanov
    and Michmizos 2021 (arXiv:2111.01760, the authors' program) compare; the rule is of Jin and Li 2016
    (IJCNN).

    .. math:: C \leftarrow (1 - \Delta t / \tau)\, C + s

    At a constant rate of r spikes a ms C goes to :math:`r \tau`. See :func:`calcium_gate` for what it lets through.

    Attributes:
        threshold: theta, spikes. width: Delta, spikes. tau: ms.
    """

    threshold: Any = 37.0
    width: Any = 22.0
    tau: Any = 1000.0

    def step(self, calcium: Array, spikes: Array, dt: float = 1.0) -> Array:
        """C after a step."""
        return (1.0 - dt / self.tau) * calcium + spikes

    def factors(self, calcium: Array) -> tuple[Array, Array]:
        """0 or 1 on every strengthening and every weakening of synapses onto units with this calcium."""
        return calcium_gate(calcium, self.threshold, self.width)


def three_factor(
    weight: Array, eligibility: Array, change: Array, modulator: Any, *, tau: Any, learning_rate: Any,
    dt: float = 1.0, low: Any = -jnp.inf, high: Any = jnp.inf,
) -> tuple[Array, Array]:
    r"""Reward- or error-modulated learning: changes wait in an eligibility trace for a third factor.

    .. math:: e \leftarrow e\, e^{-\Delta t/\tau} + \Delta_{stdp}, \qquad w \leftarrow w + \eta\, M\, e

    Izhikevich 2007, doi:10.1093/cercor/bhl152; Fremaux and Gerstner 2016, doi:10.3389/fncir.2015.00085.

    Args:
        change: what an unmodulated rule would add now, such as ``pair_stdp(w, ...) - w``. modulator: M, a number or one
            a synapse (an error of its target).

    Returns:
        ``(weight, eligibility)``.
    """
    eligibility = eligibility * jnp.exp(-dt / tau) + change
    return jnp.clip(weight + learning_rate * modulator * eligibility, low, high), eligibility


@tree.dataclass
class SlowModulator:
    r"""A slow leaky state that senses activity and acts on something else.

    .. math:: A \leftarrow A + \frac{\Delta t}{\tau} \big(g\, q + b - A\big)

    with q what it senses. At a constant q it goes to b + g q. The leaky astrocyte of Ivanov and Michmizos 2021
    (arXiv:2111.01760) is one: q the liquid's spikes less the input's, A the depression factor of STDP.

    Attributes:
        tau: ms. gain: g. bias: b, also the start.
    """

    tau: Any = 100.0
    gain: Any = 0.015
    bias: Any = 0.15

    def start(self) -> Array:
        """A at rest, b."""
        return jnp.asarray(self.bias, check.default_float())

    def step(self, state: Array, sensed: Array, dt: float = 1.0) -> Array:
        """A after a step."""
        return state + dt / self.tau * (self.gain * sensed + self.bias - state)
