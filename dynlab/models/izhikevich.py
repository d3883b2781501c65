"""Izhikevich's simple spiking units, alone or as his network of 2003."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.keys import named
from dynlab.models.gates import matvec
from dynlab.models.spike import SURROGATES, spike

Array = jax.Array

PRESETS: dict[str, tuple[float, float, float, float]] = {
    "RS": (0.02, 0.2, -65.0, 8.0),
    "IB": (0.02, 0.2, -55.0, 4.0),
    "CH": (0.02, 0.2, -50.0, 2.0),
    "FS": (0.1, 0.2, -65.0, 2.0),
    "LTS": (0.02, 0.25, -65.0, 2.0),
}
"""Name -> (a, b, c, d): regular spiking, intrinsically bursting, chattering, fast spiking, low-threshold spiking."""
CELLS = (*PRESETS, "network")
RULES = ("coarse", "euler")
PEAK = 30.0


@tree.dataclass
class IzhikevichParams:
    """Parameters of an :class:`Izhikevich` network of N units.

    Attributes:
        a, b, c, d: (N,). weights: (N, N), row the target, or None without connections. noise: (N,), the standard
            deviation of the random input of a step, or None.
    """

    a: Array
    b: Array
    c: Array
    d: Array
    weights: Array | None
    noise: Array | None


@tree.dataclass
class IzhikevichState:
    """v (N,), mV; u (N,), the recovery; spikes of this step (N,), auxiliary."""

    v: Array
    u: Array
    spikes: Array = tree.auxiliary()


@tree.dataclass
class Izhikevich:
    r"""Simple spiking units (Izhikevich 2003, doi:10.1109/TNN.2003.820440).

    .. math::
        \dot v = 0.04 v^2 + 5 v + 140 - u + I, \qquad \dot u = a (b v - u), \qquad
        v \ge 30:\ \text{spike},\ v \leftarrow c,\ u \leftarrow u + d

    The rule by which a step is taken is part of the model: at 1 ms the overshoot of v reaches u, and for I of 10 and
    more fast cells fire about half as often as with small steps; how often exactly hangs on the rounding of v. "coarse"
    is the rule of the paper's program, with dt = 1 ms: spike and reset at the start of the step, v in two half steps, u
    once with the new v. "euler": spike and reset likewise, one Euler step of dt for both.

    Attributes:
        n_units: N (static). cells: "RS", "IB", "CH", "FS", "LTS", or "network": four fifths of the units excitatory and
            one fifth inhibitory with random parameters, all connected, weights uniform on [0, 0.5] and [-1, 0], as in
            the paper (static).
        n_inputs: 1, one current for all units, or N (static).
        weight_scale: factor on the weights of the network, knob; a spike adds its weight to v, in mV. noise: standard
            deviation of the random current of excitatory units over 1 ms, two fifths of it for inhibitory ones, knob;
            the paper has 5; None for none.
        rule: "coarse" or "euler" (static). dt: ms (static).
        surrogate: a name of :data:`dynlab.models.spike.SURROGATES`, or None (static).
    """

    n_units: int = tree.static(default=1)
    cells: str = tree.static(default="RS")
    n_inputs: int = tree.static(default=1)
    weight_scale: Any = 1.0
    noise: Any = None
    rule: str = tree.static(default="coarse")
    surrogate: str | None = tree.static(default=None)
    dt: float = tree.static(default=1.0)

    smooth = False

    @property
    def input_sizes(self) -> int:
        """Channels of the input."""
        return self.n_inputs

    @property
    def n_excitatory(self) -> int:
        """Units that excite, which come first."""
        return round(0.8 * self.n_units)

    def init(self, key: Array) -> IzhikevichParams:
        """Draw the parameters.

        Raises:
            ValueError, TypeError: an unknown name, a size or knob out of range, dt other than 1 with "coarse".
        """
        n = check.integer("n_units", self.n_units, 1)
        check.choice("cells", self.cells, CELLS)
        check.choice("rule", self.rule, RULES)
        check.choice("surrogate", self.surrogate, (None, *SURROGATES))
        check.choice("n_inputs", self.n_inputs, (1, n))
        check.scalar("dt", self.dt, 0.0, low_open=True)
        if self.rule == "coarse" and self.dt != 1.0:
            raise ValueError(f"dt must be 1 ms with rule 'coarse', got {self.dt}: use rule='euler'")
        check.scalar("weight_scale", self.weight_scale, 0.0)
        if self.noise is not None:
            check.scalar("noise", self.noise, 0.0)
        check.key("key", key)
        dtype = check.default_float()
        excites = jnp.arange(n) < self.n_excitatory
        part = jnp.where(excites, 1.0, 0.4).astype(dtype)
        noise = None if self.noise is None else jnp.asarray(self.noise, dtype) * part
        if self.cells != "network":
            a, b, c, d = (jnp.full(n, value, dtype) for value in PRESETS[self.cells])
            return IzhikevichParams(a, b, c, d, None, noise)
        r = jax.random.uniform(named(key, "cells"), (n,), dtype)
        drawn = jax.random.uniform(named(key, "weights"), (n, n), dtype)
        return IzhikevichParams(
            a=jnp.where(excites, 0.02, 0.02 + 0.08 * r), b=jnp.where(excites, 0.2, 0.25 - 0.05 * r),
            c=jnp.where(excites, -65.0 + 15.0 * r**2, -65.0), d=jnp.where(excites, 8.0 - 6.0 * r**2, 2.0),
            weights=self.weight_scale * drawn * jnp.where(excites, 0.5, -1.0).astype(dtype), noise=noise)

    def init_state(self, params: IzhikevichParams, key: Array | None = None) -> IzhikevichState:
        """v = -65, u = b v; with a key, v uniform on [-80, -50)."""
        v = jnp.full(self.n_units, -65.0, params.a.dtype)
        if key is not None:
            v = jax.random.uniform(key, v.shape, v.dtype, -80.0, -50.0)
        return IzhikevichState(v, params.b * v, jnp.zeros_like(v))

    def step(
        self, params: IzhikevichParams, state: IzhikevichState, x: Array, key: Array | None = None
    ) -> IzhikevichState:
        """One step of dt; x is the current, (1,) or (N,)."""
        fired = spike(state.v - PEAK, self.surrogate)
        v, u = jnp.where(fired > 0, params.c, state.v), state.u + fired * params.d
        current = jnp.broadcast_to(x, v.shape)
        if params.weights is not None:  # a spike moves v by its weight, whatever the step
            current = current + matvec(params.weights, fired) / self.dt
        if key is not None and params.noise is not None:
            current = current + params.noise / self.dt**0.5 * jax.random.normal(key, v.shape, v.dtype)

        def slope(v: Array) -> Array:
            return 0.04 * v * v + 5.0 * v + 140.0 - u + current  # in this order: counts depend on the rounding

        if self.rule == "coarse":
            for _ in range(2):
                v = v + 0.5 * slope(v)
            return IzhikevichState(v, u + params.a * (params.b * v - u), fired)
        return IzhikevichState(v + self.dt * slope(v), u + self.dt * params.a * (params.b * v - u), fired)

    def observe(self, params: IzhikevichParams, state: IzhikevichState) -> Array:
        """Spikes of the step (N,)."""
        return state.spikes
