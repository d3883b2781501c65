"""The protocol: what a model is. Read this page first.

A model is written once, as one pure step on one sample; simulation, training and every analysis work on it.

* A model is a frozen dataclass (:func:`dynlab.tree.dataclass`). *Static* fields (sizes, activation name, dt)
  shape the program; *leaf* fields (spectral radius, leak rate, tau, noise ...) are knobs: a sweep is a ``vmap``
  over leaves, and equal models share one compilation.
* ``init`` reads the knobs and writes whatever must act at run time into params. ``step`` and ``observe`` read only
  params, state, x, key and static fields, so params can be trained, swept and analysed on their own.
* What a model may add for the analyses: ``bounded`` (static; True when some ball is mapped into itself whatever the
  weights and the input, so that the fixed points' index sum is 1) and ``time_constants(params)``, those of its units.
* What a model may add for training: ``drive(params, state, x, key)`` and ``update(params, state, u)``, with
  ``step(params, state, x, key) = update(params, state, drive(params, state, x, key))``, `drive` linear in weights and
  state and `update` unit by unit. Its gradient then stores states and drives only (:mod:`dynlab.train.unroll`).
* What a model may add for speed: ``batch_minor``; True when a batch runs faster with the values of one unit for all
  samples side by side in memory (sparse products). :func:`dynlab.simulate` then lays them so; nothing else changes.
* Methods are unbatched and not jitted. ``x`` may be any pytree.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax

Array = jax.Array
Params = Any
State = Any
Input = Any


@runtime_checkable
class Map(Protocol):
    """A discrete-time model, state(t) = step(state(t-1), x(t)). State t has seen input t.

    Attributes:
        dt: static; physical time per step (1.0 when unit-less).
        smooth: static; True when ``step`` has a meaningful tangent (False for spiking models).
    """

    dt: float
    smooth: bool

    def init(self, key: Array) -> Params:
        """Draw the parameters. Validates the knobs that are concrete."""
        ...

    def init_state(self, params: Params, key: Array | None = None) -> State:
        """The state before the first input; random where the model says so and a key is given."""
        ...

    def step(self, params: Params, state: State, x: Input, key: Array | None = None) -> State:
        """One sample, one step, pure. `key` drives the noise of this step; None means no noise."""
        ...

    def observe(self, params: Params, state: State) -> Array:
        """The features (n_features,) that a readout sees."""
        ...


@runtime_checkable
class Flow(Protocol):
    """A continuous-time model d state = vector_field dt + diffusion dW; make it a Map by a wrapper in discretize.

    A flow that wants exponential Euler also has ``decay(params, state)``: the rates (per unit time, shaped like the
    state) of its linear diagonal decay.
    """

    smooth: bool

    def init(self, key: Array) -> Params: ...

    def init_state(self, params: Params, key: Array | None = None) -> State: ...

    def vector_field(self, params: Params, state: State, x: Input) -> State:
        """The time derivative of the state, shaped like the state."""
        ...

    def diffusion(self, params: Params, state: State) -> State:
        """The noise amplitude (per square root of time), shaped like the state."""
        ...

    def observe(self, params: Params, state: State) -> Array: ...
