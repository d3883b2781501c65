"""Tiny test-only models of families that the protocol must carry."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynlab import tree

Array = jax.Array


def _normal(key: Array, *shape: int) -> Array:
    return jax.random.normal(key, shape) / jnp.sqrt(shape[-1])


@tree.dataclass
class MeanReadout:
    """y = weights @ features; stands for a trained readout."""

    weights: Array

    def __call__(self, features: Array) -> Array:
        return self.weights @ features


@tree.dataclass
class LIFState:
    """Membrane potential and synaptic trace (N,); steps left in the refractory period; spikes of this step."""

    v: Array
    trace: Array
    refractory: Array
    spikes: Array = tree.auxiliary()


@tree.dataclass
class LIF:
    """Leaky integrate-and-fire with a refractory counter; not smooth."""

    n_units: int = tree.static(default=9)
    decay: Any = 0.9
    threshold: Any = 0.5
    noise: Any = 0.1
    dt: float = tree.static(default=1.0)
    smooth = False
    input_sizes = 3

    def init(self, key: Array) -> dict[str, Array]:
        k1, k2 = jax.random.split(key)
        knobs = {"decay": jnp.asarray(self.decay), "threshold": jnp.asarray(self.threshold),
                 "noise": jnp.asarray(self.noise)}
        return {"w": _normal(k1, self.n_units, self.n_units), "w_in": _normal(k2, self.n_units, 3), **knobs}

    def init_state(self, params: Any, key: Array | None = None) -> LIFState:
        zeros = jnp.zeros(self.n_units)
        return LIFState(zeros, zeros, jnp.zeros(self.n_units, jnp.int32), zeros)

    def step(self, params: Any, state: LIFState, x: Array, key: Array | None = None) -> LIFState:
        current = params["w"] @ state.trace + params["w_in"] @ x
        if key is not None:
            current += params["noise"] * jax.random.normal(key, current.shape)
        v = jnp.where(state.refractory > 0, 0.0, params["decay"] * state.v + current)
        spikes = (v > params["threshold"]).astype(v.dtype)
        refractory = jnp.where(spikes > 0, 2, jnp.maximum(state.refractory - 1, 0)).astype(jnp.int32)
        return LIFState(v * (1 - spikes), params["decay"] * state.trace + spikes, refractory, spikes)

    def observe(self, params: Any, state: LIFState) -> Array:
        return state.trace


@tree.dataclass
class RateFlow:
    """tau dx/dt = -x + g W tanh(x) + W_in u, with additive noise; features tanh(x)."""

    n_units: int = tree.static(default=5)
    tau: Any = 2.0
    gain: Any = 1.2
    sigma: Any = 0.1
    smooth = True
    input_sizes = 2

    def init(self, key: Array) -> dict[str, Array]:
        k1, k2 = jax.random.split(key)
        knobs = {"tau": jnp.asarray(self.tau), "gain": jnp.asarray(self.gain), "sigma": jnp.asarray(self.sigma)}
        return {"w": _normal(k1, self.n_units, self.n_units), "w_in": _normal(k2, self.n_units, 2), **knobs}

    def init_state(self, params: Any, key: Array | None = None) -> Array:
        return jnp.zeros(self.n_units)

    def vector_field(self, params: Any, state: Array, x: Array) -> Array:
        recurrent = params["gain"] * (params["w"] @ jnp.tanh(state))
        return (recurrent + params["w_in"] @ x - state) / params["tau"]

    def diffusion(self, params: Any, state: Array) -> Array:
        return jnp.full_like(state, 1.0) * params["sigma"]

    def decay(self, params: Any, state: Array) -> Array:
        return jnp.ones_like(state) / params["tau"]

    def time_constants(self, params: Any) -> Array:
        return jnp.broadcast_to(params["tau"], (self.n_units,))

    def observe(self, params: Any, state: Array) -> Array:
        return jnp.tanh(state)


@tree.dataclass
class Gated:
    """Minimal gated unit: h+ = (1 - z) h + z tanh(W h + V x), z = sigmoid(U h + bias)."""

    n_units: int = tree.static(default=6)
    bias: Any = -1.0
    dt: float = tree.static(default=1.0)
    smooth = True
    input_sizes = 2

    def init(self, key: Array) -> dict[str, Array]:
        k1, k2, k3 = jax.random.split(key, 3)
        n = self.n_units
        return {"w": _normal(k1, n, n), "u": _normal(k2, n, n), "v": _normal(k3, n, 2), "bias": jnp.asarray(self.bias)}

    def init_state(self, params: Any, key: Array | None = None) -> Array:
        return jnp.zeros(self.n_units)

    def step(self, params: Any, state: Array, x: Array, key: Array | None = None) -> Array:
        gate = jax.nn.sigmoid(params["u"] @ state + params["bias"])
        return (1 - gate) * state + gate * jnp.tanh(params["w"] @ state + params["v"] @ x)

    def observe(self, params: Any, state: Array) -> Array:
        return state


@tree.dataclass
class ThoughtState:
    """Activations (N,), their history of pre-activations (N, M); accumulators of pairwise synchronization."""

    active: Array
    history: Array
    numerator: Array = tree.auxiliary()
    denominator: Array = tree.auxiliary()
    tick: Array = tree.auxiliary()


@tree.dataclass
class ThoughtTick:
    """One tick of a thought machine: synapse, private filter over each unit's history, decaying synchronization."""

    n_units: int = tree.static(default=5)
    n_history: int = tree.static(default=4)
    decay: Any = 0.1
    dt: float = tree.static(default=1.0)
    smooth = True
    input_sizes = 2

    def init(self, key: Array) -> dict[str, Array]:
        k1, k2, k3 = jax.random.split(key, 3)
        n, m = self.n_units, self.n_history
        return {"w": _normal(k1, n, n), "v": _normal(k2, n, 2), "private": _normal(k3, n, m),
                "decay": jnp.asarray(self.decay)}

    def init_state(self, params: Any, key: Array | None = None) -> ThoughtState:
        n = self.n_units
        return ThoughtState(jnp.full(n, 0.1), jnp.zeros((n, self.n_history)), jnp.zeros((n, n)), jnp.zeros(()),
                            jnp.zeros((), jnp.int32))

    def step(self, params: Any, state: ThoughtState, x: Array, key: Array | None = None) -> ThoughtState:
        pre = params["w"] @ state.active + params["v"] @ x
        history = jnp.concatenate([state.history[:, 1:], pre[:, None]], axis=1)
        active = jnp.tanh(jnp.sum(params["private"] * history, axis=1))
        fade = jnp.exp(-params["decay"])
        return ThoughtState(active, history, fade * state.numerator + jnp.outer(active, active),
                            fade * state.denominator + 1.0, state.tick + 1)

    def observe(self, params: Any, state: ThoughtState) -> Array:
        rows, columns = jnp.triu_indices(self.n_units)
        return state.numerator[rows, columns] / jnp.sqrt(jnp.maximum(state.denominator, 1e-6))
