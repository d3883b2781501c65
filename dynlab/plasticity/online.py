"""A liquid whose synapses learn while it runs: every sample can carry weights of its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.plasticity.stdp import CalciumGate, SlowModulator, pair_stdp, spike_trace

Array = jax.Array


@tree.dataclass
class PlasticParams:
    """Parameters of a :class:`Plastic` liquid: those of the liquid, with its start weights, and of the rule.

    Attributes:
        liquid: parameters of the liquid, in the form "ell" or "dense".
        potentiation, tau_trace, increment, bound, fade: scalars. modulator, gate: their knobs as arrays, or None.
    """

    liquid: Any
    potentiation: Array
    depression: Array
    tau_trace: Array
    increment: Array
    bound: Array
    fade: Array
    modulator: SlowModulator | None
    gate: CalciumGate | None


@tree.dataclass
class PlasticState:
    """State of a :class:`Plastic` liquid.

    Attributes:
        liquid: state of the liquid. recurrent, inputs: weights as they are now, in the liquid's form. trace: of all
            sources (N + D,).
        depression: A- as it is now. strength: what `fade` has left of the rule, 1 at the start. calcium: of the
            units of the liquid (N,), or None.
    """

    liquid: Any
    recurrent: Array
    inputs: Array
    trace: Array
    depression: Array
    strength: Array
    calcium: Array | None


@tree.dataclass
class Plastic:
    r"""Pair STDP on all synapses of a liquid, by option with a slow modulator of depression or a calcium gate; a Map.

    In a step, after the liquid's own: weights change by :func:`dynlab.plasticity.pair_stdp` with the traces of the
    steps before and are clipped (excitatory to [0, bound], inhibitory to [-bound, 0], input to [-bound, bound]); then
    the traces and the calcium; then the modulator, which senses the spikes a ms of the liquid less those of the input;
    then everything that drives learning is multiplied by `fade` for each ms. After Ivanov and Michmizos 2021
    (arXiv:2111.01760).

    Weights are part of the state: a batch of samples has as many sets of weights. ``restart`` goes on from learnt ones.

    Attributes:
        liquid: a model whose parameters have `recurrent` and `inputs`, such as :class:`dynlab.LSM`; its scales, above
            0, fix the start weights. Its form is "ell", the fast one, or "dense", which can be drawn inside ``jit``.
        potentiation: A+. depression: A- without a modulator. modulator: None: depression stays as it is.
        gate: lets weights grow and shrink by the calcium of the target, on the state before the step; None: always.
        tau_trace, increment: of the traces. bound: largest size of a weight; start weights beyond it are cut to it in
            the first step. fade: factor a ms; 1 for none.
    """

    liquid: Any
    potentiation: Any = 0.15
    depression: Any = 0.15
    modulator: SlowModulator | None = None
    gate: CalciumGate | None = None
    tau_trace: Any = 10.0
    increment: Any = 0.1
    bound: Any = 3.0
    fade: Any = 1.0

    smooth = False

    @property
    def dt(self) -> float:
        """ms."""
        return self.liquid.dt

    @property
    def input_sizes(self) -> Any:
        """Channels of the input, D."""
        return self.liquid.input_sizes

    @property
    def takes_spikes(self) -> bool:
        """As the liquid."""
        return self.liquid.takes_spikes

    def init(self, key: Array) -> PlasticParams:
        """Draw the liquid, fold its scales into the weights, and write the rule's knobs into the parameters.

        Raises:
            ValueError, TypeError: a knob out of range, a liquid of another form, what the liquid's init refuses.
        """
        if not hasattr(self.liquid, "form"):
            raise TypeError("liquid must be a model whose parameters have recurrent and inputs, such as LSM, got "
                            f"{type(self.liquid).__name__}")
        check.choice("liquid.form", self.liquid.form, ("ell", "dense"))
        for name in ("weight_scale", "input_scale"):  # a weight of 0 is no synapse, and would stay none
            check.scalar(f"liquid.{name}", getattr(self.liquid, name), 0.0, low_open=True)
        for name in ("potentiation", "depression", "increment"):
            check.scalar(name, getattr(self, name), 0.0)
        check.scalar("tau_trace", self.tau_trace, 0.0, low_open=True)
        check.scalar("bound", self.bound, 0.0, low_open=True)
        check.scalar("fade", self.fade, 0.0, 1.0, low_open=True)
        if self.modulator is not None:
            check.scalar("modulator.tau", self.modulator.tau, 0.0, low_open=True)
            check.scalar("modulator.gain", self.modulator.gain)
            check.scalar("modulator.bias", self.modulator.bias, 0.0)
        if self.gate is not None:
            check.scalar("gate.threshold", self.gate.threshold, 0.0)
            check.scalar("gate.width", self.gate.width, 0.0, low_open=True)
            check.scalar("gate.tau", self.gate.tau, float(self.dt))
        drawn, one = self.liquid.init(key), jnp.ones((), check.default_float())
        scaled = lambda form, by: form.with_weight(by * form.weight)  # noqa: E731
        liquid = dataclasses.replace(
            drawn, recurrent=scaled(drawn.recurrent, drawn.weight_scale),
            inputs=scaled(drawn.inputs, drawn.input_scale), weight_scale=one, input_scale=one)
        value = lambda knob: jnp.asarray(knob, one.dtype)  # noqa: E731
        return PlasticParams(
            liquid, potentiation=value(self.potentiation), depression=value(self.depression),
            tau_trace=value(self.tau_trace), increment=value(self.increment), bound=value(self.bound),
            fade=value(self.fade), modulator=jax.tree.map(value, self.modulator),
            gate=jax.tree.map(value, self.gate))

    def init_state(self, params: PlasticParams, key: Array | None = None) -> PlasticState:
        """The liquid at rest with its start weights, nothing remembered."""
        liquid = self.liquid.init_state(params.liquid, key)
        depression = params.depression if params.modulator is None else params.modulator.start()
        return PlasticState(liquid, params.liquid.recurrent.weight, params.liquid.inputs.weight,
                            jnp.zeros(self.liquid.n_units + self.liquid.n_inputs, params.fade.dtype), depression,
                            jnp.ones_like(params.fade),
                            None if params.gate is None else jnp.zeros(self.liquid.n_units, params.fade.dtype))

    def restart(self, params: PlasticParams, state: PlasticState, key: Array | None = None) -> PlasticState:
        """For the next sample: the liquid at rest and the rule as at the start; weights, traces and calcium stay."""
        fresh = self.init_state(params, key)
        return dataclasses.replace(fresh, recurrent=state.recurrent, inputs=state.inputs, trace=state.trace,
                                   calcium=state.calcium)

    def step(self, params: PlasticParams, state: PlasticState, x: Array, key: Array | None = None) -> PlasticState:
        """One step of dt; x is (D,)."""
        own = params.liquid
        recurrent, inputs = own.recurrent, own.inputs
        now = dataclasses.replace(own, recurrent=recurrent.with_weight(state.recurrent),
                                  inputs=inputs.with_weight(state.inputs))
        liquid = self.liquid.step(now, state.liquid, x, key)
        n, spikes, trace = self.liquid.n_units, self.liquid.source_spikes(liquid, x), state.trace
        up, down, calcium = state.strength * params.potentiation, state.depression, state.calcium
        if params.gate is not None and calcium is not None:
            may_grow, may_shrink = params.gate.factors(calcium)
            up, down, calcium = up * may_grow, down * may_shrink, params.gate.step(calcium, spikes[:n], self.dt)

        def changed(form: Any, weight: Array, sources: slice, **kind: Any) -> Array:
            before = form.of_sources(trace[sources], spikes[sources])
            after = [form.of_targets(values[:n]) for values in (trace, spikes)]
            rates = {name: form.of_targets(factor) if factor.ndim else factor
                     for name, factor in (("potentiation", up), ("depression", down))}
            new = pair_stdp(weight, before[0], after[0], before[1], after[1], **rates, **kind)
            return jnp.where(form.weight != 0, new, 0.0)  # no synapse there

        inhibits = recurrent.weight < 0
        zero = jnp.zeros_like(params.bound)
        low, high = jnp.where(inhibits, -params.bound, zero), jnp.where(inhibits, zero, params.bound)
        new_recurrent = changed(recurrent, state.recurrent, slice(n), inhibitory=inhibits, low=low, high=high)
        new_inputs = changed(inputs, state.inputs, slice(n, None), low=-params.bound, high=params.bound)
        trace = spike_trace(trace, spikes, params.tau_trace, self.dt, params.increment)
        fade = params.fade**self.dt
        depression = state.depression
        if params.modulator is None:
            depression = depression * fade
        else:
            sensed = (jnp.sum(spikes[:n]) - jnp.sum(spikes[n:])) / self.dt
            weak = dataclasses.replace(params.modulator, gain=state.strength * params.modulator.gain,
                                       bias=state.strength * params.modulator.bias)
            depression = fade * weak.step(depression, sensed, self.dt)
        return PlasticState(liquid, new_recurrent, new_inputs, trace, depression, fade * state.strength, calcium)

    def observe(self, params: PlasticParams, state: PlasticState) -> Array:
        """The features of the liquid."""
        return self.liquid.observe(params.liquid, state.liquid)

