"""The liquid of leaky integrate-and-fire units."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.keys import named
from dynlab.models.filters import FILTERS
from dynlab.models.lattice import Lattice, RandomInput
from dynlab.models.spike import SURROGATES, spike
from dynlab.models.synapses import FORMS, Dense, Form, Past, from_dense, to_form

Array = jax.Array

INPUT_LAYERS = ("lif", "direct")
ORDERS = ("same_step", "next_step")
DECAYS = ("exact", "euler")
HOLDS = ("mask", "clamp")
FEATURES = ("spikes", "filtered", "membrane")


@tree.dataclass
class LSMParams:
    """Parameters of an :class:`LSM` of N units with D inputs; M units are simulated, the N of the liquid first.

    Attributes:
        recurrent, inputs: signed synapses at scale 1, in a form of :mod:`dynlab.models.synapses`.
        weight_scale, input_scale: factors on their products. input_current: what an input of 1 adds to its input unit.
        tau, tau_synapse, tau_trace: ms. threshold, reset, bias: mV. increment, tau_threshold: or None. noise: or None.
    """

    recurrent: Form
    inputs: Form
    weight_scale: Array
    input_scale: Array
    input_current: Array
    tau: Array
    tau_synapse: Array
    tau_trace: Array
    threshold: Array
    reset: Array
    bias: Array
    increment: Array | None
    tau_threshold: Array | None
    noise: Array | None


@tree.dataclass
class LSMState:
    """State of an :class:`LSM`.

    Attributes:
        v: membrane potentials (M,). filters: synapse filters of the M units, (values, M). direct: those of direct
            inputs, (values, D), or None. rise: what spikes added to the threshold (M,), or None. trace: filtered spikes
            of the liquid (N,), which feed nothing back (auxiliary), or None. refractory: steps left (M,).
        ring: the last outputs of the liquid's filters (delays, N), or None; head: row of the latest, or None.
        spikes: of this step, of the M units (auxiliary).
    """

    v: Array
    filters: Array
    direct: Array | None
    rise: Array | None
    trace: Array | None = tree.auxiliary()
    refractory: Array
    ring: Array | None
    head: Array | None
    spikes: Array = tree.auxiliary()


@tree.dataclass
class LSM:
    r"""Liquid of leaky integrate-and-fire units on a lattice (Maass, Natschlaeger, Markram 2002,
    doi:10.1162/089976602760407955); the defaults are the network of Ivanov and Michmizos 2021 (arXiv:2111.01760).

    .. math:: \tau \dot V = -(V - V_b) + \tau \sum_j w_j y_j(t), \qquad V \ge \theta:\ \text{spike},\ V \leftarrow V_r

    with y the filtered spikes of the sources (:mod:`dynlab.models.filters`), held over a step of dt ms. One step is,
    with ``order="same_step"``:

    1. spike where V >= threshold and not refractory; 2. V of these to `reset`, their threshold up by `increment`;
    3. spikes enter the filters; 4. V decays to `bias` and gets dt times the filtered input (and what comes from
    outside); 5. filters decay; 6. refractory counters.

    A spike so acts in the step in which it is counted. With ``order="next_step"``, 4 and 5 come first and 1 to 3 last:
    the same spikes, each counted one step earlier and acting in the step after. Only the numbering differs (tested).

    Models with spikes have no useful tangent (``smooth`` is False): use :func:`dynlab.two_trajectory_exponent`, the
    ranks and ``timescales`` of the filtered features. For training, a `surrogate` gives one.

    Attributes:
        n_inputs: D (static). wiring: the liquid, which fixes N (static). input_wiring: its input (static).
        input_layer: "lif": inputs are units of the same kind, an input of 1 adds `input_current` to their V; "direct":
            inputs are the spikes (0 or 1) of the sources (static).
        synapse: a name of :data:`dynlab.models.filters.FILTERS` (static). form: "dense", "ell", "edges" or "csr",
            equal results (static). "csr" serves batches on the CPU best (no delays, no derivatives), "dense" on GPUs;
            only "dense" can be drawn inside ``jit``.
        order: above (static). decay: of V, "exact" or "euler" (static).
        refractory: ms after a spike without another, rounded to whole steps (static): the shortest interval is that
            and one step.
        refractory_hold: "mask": V goes on integrating then; "clamp": V stays at `reset` (static).
        weight_scale, input_scale: factors on recurrent and input weights, knobs that share one matrix.
        tau, threshold, reset, bias, tau_synapse: knobs, scalars. increment, tau_threshold: of an adaptive threshold,
            knobs; None: none.
        noise: standard deviation that a step of 1 ms adds to V, knob; None for none.
        features: "spikes" of the step (N,); "filtered", an exponential trace with `tau_trace`; "membrane" (static).
        surrogate, surrogate_slope: see :func:`dynlab.models.spike.spike` (static); detach_reset: no gradient through
            the reset (static).
        dt: ms (static).
    """

    n_inputs: int = tree.static(default=784)
    wiring: Lattice = tree.static(default=Lattice())
    input_wiring: RandomInput = tree.static(default=RandomInput())
    input_layer: str = tree.static(default="lif")
    synapse: str = tree.static(default="last_spike")
    form: str = tree.static(default="dense")
    order: str = tree.static(default="same_step")
    decay: str = tree.static(default="euler")
    refractory: float = tree.static(default=2.0)
    refractory_hold: str = tree.static(default="mask")
    weight_scale: Any = 1.0
    input_scale: Any = 1.0
    input_current: Any = 100.0
    tau: Any = 64.0
    tau_synapse: Any = 1.0
    tau_trace: Any = 30.0
    threshold: Any = 20.0
    reset: Any = 0.0
    bias: Any = 0.0
    increment: Any = None
    tau_threshold: Any = None
    noise: Any = None
    features: str = tree.static(default="spikes")
    surrogate: str | None = tree.static(default=None)
    surrogate_slope: float | None = tree.static(default=None)
    detach_reset: bool = tree.static(default=True)
    dt: float = tree.static(default=1.0)

    smooth = False

    @property
    def n_units(self) -> int:
        """N, units of the liquid."""
        return self.wiring.n_units

    @property
    def input_sizes(self) -> int:
        """Channels of the input, D."""
        return self.n_inputs

    @property
    def takes_spikes(self) -> bool:
        """Whether inputs can only be 0 or 1: those of sources; inputs through units of their own are currents."""
        return self.input_layer == "direct"

    @property
    def batch_minor(self) -> bool:
        """Whether the values of a unit for a batch lie side by side: sparse products of a batch want it."""
        return self.form == "csr" or (self.form == "edges" and self.wiring.delays is None)

    @property
    def _simulated(self) -> int:
        return self.n_units + (self.n_inputs if self.input_layer == "lif" else 0)

    def _validate(self) -> None:
        check.integer("n_inputs", self.n_inputs, 1)
        self.wiring.validate()
        for name, allowed in (("input_layer", INPUT_LAYERS), ("synapse", FILTERS), ("form", FORMS), ("order", ORDERS),
                              ("decay", DECAYS), ("refractory_hold", HOLDS), ("features", FEATURES),
                              ("surrogate", (None, *SURROGATES))):
            check.choice(name, getattr(self, name), allowed)
        check.scalar("dt", self.dt, 0.0, low_open=True)
        check.scalar("refractory", self.refractory, 0.0)
        for name in ("weight_scale", "input_scale"):
            check.scalar(name, getattr(self, name), 0.0)
        for name in ("tau", "tau_synapse", "tau_trace"):
            check.scalar(name, getattr(self, name), 0.0, low_open=True)
        if self.decay == "euler" and not check.is_traced(self.tau) and self.tau < self.dt:
            raise ValueError(f"tau must be at least dt = {self.dt}, got {self.tau}: lower dt, or take decay='exact'")
        if self.form == "csr":
            for name, value in (("surrogate", self.surrogate), ("wiring.delays", self.wiring.delays)):
                if value is not None:
                    raise ValueError(f"{name} must be None with form='csr', got {value!r}")
        if self.surrogate_slope is not None:
            if self.surrogate is None:
                raise ValueError(f"surrogate_slope must be None without a surrogate, got {self.surrogate_slope}")
            check.scalar("surrogate_slope", self.surrogate_slope, 0.0, low_open=True)
        for name in ("input_current", "threshold", "reset", "bias"):
            check.scalar(name, getattr(self, name))
        concrete = not check.is_traced(self.threshold, self.reset)
        if concrete and not self.threshold > self.reset:
            raise ValueError(f"threshold must be above reset = {self.reset}, got {self.threshold}")
        if (self.increment is None) != (self.tau_threshold is None):
            raise ValueError("increment and tau_threshold must be given together, got "
                             f"{self.increment} and {self.tau_threshold}")
        for name in ("increment", "tau_threshold", "noise"):
            if getattr(self, name) is not None:
                check.scalar(name, getattr(self, name), 0.0, low_open=name == "tau_threshold")

    def init(self, key: Array) -> LSMParams:
        """Draw the wiring and write the knobs into the parameters.

        Raises:
            ValueError, TypeError: a field out of its range, an unknown name, `key` not a typed key, or traced with a
                form other than "dense".
        """
        self._validate()
        check.key("key", key)
        if self.form != "dense" and check.is_traced(key):
            raise ValueError(f"form must be 'dense' where the key is traced (inside jit or vmap), got {self.form!r}")
        with check.eager(key):
            liquid, late = self.wiring.matrix(named(key, "recurrent")), self.wiring.delay()
            outer = self.input_wiring.matrix(named(key, "inputs"), self.n_inputs, self.n_units)
            recurrent = Dense(_split(liquid, late, self._ring)) if self.form == "dense" else to_form(
                from_dense(liquid, late), self.form)
            inputs = Dense(outer[None]) if self.form == "dense" else to_form(from_dense(outer), self.form)
        knobs = [field.name for field in dataclasses.fields(LSMParams)][2:]
        values: dict[str, Any] = {name: getattr(self, name) for name in knobs}
        for name, value in values.items():
            values[name] = None if value is None else jnp.asarray(value, check.default_float())
        return LSMParams(recurrent, inputs, **values)

    @property
    def _ring(self) -> int:
        """Rows of the ring buffer: 1 without delays."""
        return 1 if self.wiring.delays is None else 1 + max(self.wiring.delays)

    def init_state(self, params: LSMParams, key: Array | None = None) -> LSMState:
        """At `reset` (with a key, uniform from reset to threshold), the filters as before any spike."""
        m, n, dtype = self._simulated, self.n_units, params.tau.dtype
        v = jnp.full(m, params.reset, dtype)
        if key is not None:
            v += (params.threshold - params.reset) * jax.random.uniform(key, (m,), dtype)
        ring = jnp.zeros((self._ring, n), dtype) if self._ring > 1 else None
        return LSMState(
            v=v, filters=FILTERS[self.synapse].start(m, dtype),
            direct=FILTERS[self.synapse].start(self.n_inputs, dtype) if self.input_layer == "direct" else None,
            rise=None if params.increment is None else jnp.zeros(m, dtype),
            trace=jnp.zeros(n, dtype) if self.features == "filtered" else None,
            refractory=jnp.zeros(m, jnp.int32), ring=ring, head=None if ring is None else jnp.zeros((), jnp.int32),
            spikes=jnp.zeros(m, dtype),
        )

    def step(self, params: LSMParams, state: LSMState, x: Array, key: Array | None = None) -> LSMState:
        """One step of dt; x is (D,), currents of the input units or spikes."""
        if self.order == "same_step":
            return self._integrate(params, self._fire(params, state, x), x, key)
        before = dataclasses.replace(state, refractory=jnp.maximum(state.refractory - 1, 0), direct=self._hit(state, x))
        return self._fire(params, self._integrate(params, before, x, key), x)

    def _hit(self, state: LSMState, x: Array) -> Array | None:
        """The filters of direct inputs with the spikes x (D,) in them."""
        return None if state.direct is None else FILTERS[self.synapse].hit(state.direct, x)

    def source_spikes(self, state: LSMState, x: Array) -> Array:
        """Spikes of this step of all sources, units of the liquid and inputs, (N + D,)."""
        return state.spikes if self.input_layer == "lif" else jnp.concatenate([state.spikes, x])

    def _fire(self, params: LSMParams, state: LSMState, x: Array) -> LSMState:
        """Steps 1 to 3."""
        same, n = self.order == "same_step", self.n_units
        excess = state.v - params.threshold - (0.0 if state.rise is None else state.rise)
        fired = spike(excess, self.surrogate, self.surrogate_slope) * (state.refractory == 0)
        gate = jax.lax.stop_gradient(fired) if self.detach_reset else fired
        v = state.v + gate * (params.reset - state.v)
        wait = round(self.refractory / self.dt) + (0 if same else 1)
        if same:
            refractory = jnp.where(fired > 0, wait, jnp.maximum(state.refractory - 1, 0))
        else:
            refractory = jnp.where(fired > 0, wait, state.refractory)
        rise = state.rise
        if rise is not None and params.increment is not None and params.tau_threshold is not None:
            rise = rise * jnp.exp(-self.dt / params.tau_threshold) + params.increment * fired
        trace = state.trace
        if trace is not None:
            trace = trace * jnp.exp(-self.dt / params.tau_trace) + fired[:n]
        return dataclasses.replace(
            state, v=v, rise=rise, trace=trace, refractory=refractory.astype(jnp.int32), spikes=fired,
            filters=FILTERS[self.synapse].hit(state.filters, fired),
            direct=self._hit(state, x) if same else state.direct)

    def _integrate(self, params: LSMParams, state: LSMState, x: Array, key: Array | None) -> LSMState:
        """Steps 4 and 5."""
        n, synapse = self.n_units, FILTERS[self.synapse]
        y = synapse.output(state.filters, params.tau_synapse, self.dt)
        ring, head = state.ring, state.head
        if ring is not None and head is not None:
            head = (head + 1) % ring.shape[0]
            ring = ring.at[head].set(y[:n])
        current = params.weight_scale * params.recurrent.apply(Past(y[:n], ring, head))
        outer = y[n:] if state.direct is None else synapse.output(state.direct, params.tau_synapse, self.dt)
        current += params.input_scale * params.inputs.apply(Past(outer))
        gain = self.dt / params.tau if self.decay == "euler" else -jnp.expm1(-self.dt / params.tau)
        added = gain * (params.bias - state.v)
        held = self.dt if self.decay == "euler" else gain * params.tau  # what a current of 1 leaves after the step
        if self.input_layer == "lif":
            added += jnp.concatenate([held * current, params.input_current * x])
        else:
            added += held * current
        if key is not None and params.noise is not None:
            added += params.noise * jnp.sqrt(self.dt) * jax.random.normal(key, added.shape, added.dtype)
        if self.refractory_hold == "clamp":
            added = jnp.where(state.refractory > 0, 0.0, added)
        filters, direct = jax.tree.map(lambda f: synapse.advance(f, params.tau_synapse, self.dt),
                                       (state.filters, state.direct))
        return dataclasses.replace(state, v=state.v + added, filters=filters, direct=direct, ring=ring, head=head)

    def observe(self, params: LSMParams, state: LSMState) -> Array:
        """What `features` says, of the liquid (N,)."""
        if state.trace is not None:
            return state.trace
        return state.spikes[: self.n_units] if self.features == "spikes" else state.v[: self.n_units]

    def time_constants(self, params: LSMParams) -> Array:
        """tau (N,), ms."""
        return jnp.broadcast_to(params.tau, (self.n_units,))


def _split(matrix: Array, delay: Array | None, n_delays: int) -> Array:
    """Weights (N, N) as one matrix for each delay (n_delays, N, N)."""
    if delay is None:
        return matrix[None]
    return jnp.where(delay == jnp.arange(n_delays)[:, None, None], matrix, 0.0)
