"""Models made of models: deep stacks, inner ticks, closed loops. Each is a Map, so every analysis takes it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.keys import numbered

Array = jax.Array
ROUTES = ("input", "feedback")


@tree.dataclass
class Stack:
    """A deep model: layer i+1 is driven by the features of layer i at the same time step.

    Attributes:
        layers: tuple of Maps; params and states are tuples of theirs.
        observe_all: features of all layers side by side (True) or of the last one (static).
    """

    layers: tuple[Any, ...]
    observe_all: bool = tree.static(default=True)

    @property
    def dt(self) -> float:
        return self.layers[0].dt

    @property
    def smooth(self) -> bool:
        return all(layer.smooth for layer in self.layers)

    @property
    def deterministic(self) -> bool:
        return all(getattr(layer, "deterministic", False) for layer in self.layers)

    @property
    def bounded(self) -> bool | None:
        return True if all(getattr(layer, "bounded", None) for layer in self.layers) else None

    @property
    def input_sizes(self) -> Any:
        return getattr(self.layers[0], "input_sizes", None)

    @property
    def time_constants(self) -> Any:
        """Those of all layers one after the other; a layer without any leaves the stack without any."""
        methods = [layer.time_constants for layer in self.layers]
        return lambda params: jnp.concatenate([method(p) for method, p in zip(methods, params, strict=True)])

    def init(self, key: Array) -> tuple[Any, ...]:
        """Parameters of every layer, layer i from ``fold_in(key, i)``."""
        if not self.layers:
            raise ValueError("layers must hold at least one model, got ()")
        if len({layer.dt for layer in self.layers}) > 1:
            raise ValueError(f"layers must share one dt, got {[layer.dt for layer in self.layers]}")
        with check.eager(key):
            keys = [jax.random.fold_in(key, i) for i in range(len(self.layers))]
        return tuple(layer.init(k) for layer, k in zip(self.layers, keys, strict=True))

    def init_state(self, params: Any, key: Array | None = None) -> tuple[Any, ...]:
        pairs = zip(self.layers, params, strict=True)
        return tuple(layer.init_state(p, numbered(key, i)) for i, (layer, p) in enumerate(pairs))

    def step(self, params: Any, state: Any, x: Any, key: Array | None = None) -> tuple[Any, ...]:
        new = []
        for i, (layer, p, s) in enumerate(zip(self.layers, params, state, strict=True)):
            noise = None if getattr(layer, "deterministic", False) else numbered(key, i)
            s = layer.step(p, s, x, noise)
            x = layer.observe(p, s)
            new.append(s)
        return tuple(new)

    def observe(self, params: Any, state: Any) -> Array:
        features = [layer.observe(p, s) for layer, p, s in zip(self.layers, params, state, strict=True)]
        return jnp.concatenate(features) if self.observe_all else features[-1]


@tree.dataclass
class Hold:
    """Hold each input for `n_ticks` inner steps; one outer step is one input."""

    model: Any
    n_ticks: int = tree.static(default=1)

    @property
    def dt(self) -> float:
        return self.model.dt * self.n_ticks

    @property
    def smooth(self) -> bool:
        return self.model.smooth

    @property
    def deterministic(self) -> bool:
        return getattr(self.model, "deterministic", False)

    @property
    def bounded(self) -> bool | None:
        return getattr(self.model, "bounded", None)

    @property
    def input_sizes(self) -> Any:
        return getattr(self.model, "input_sizes", None)

    @property
    def time_constants(self) -> Any:
        """The inner model's, in physical time: not changed by the number of ticks."""
        return self.model.time_constants

    def init(self, key: Array) -> Any:
        check.integer("n_ticks", self.n_ticks, 1)
        return self.model.init(key)

    def init_state(self, params: Any, key: Array | None = None) -> Any:
        return self.model.init_state(params, key)

    def step(self, params: Any, state: Any, x: Any, key: Array | None = None) -> Any:
        def body(s: Any, tick: Array) -> tuple[Any, None]:
            return self.model.step(params, s, x, numbered(key, tick)), None

        return jax.lax.scan(body, state, jnp.arange(self.n_ticks))[0]

    def observe(self, params: Any, state: Any) -> Array:
        return self.model.observe(params, state)


@tree.dataclass
class FeedbackParams:
    """Parameters of a closed loop: those of the inner model and the trained readout."""

    model: Any
    readout: Any


@tree.dataclass
class Feedback:
    """A closed loop: the readout of the present state is (part of) the next input.

    .. math:: y = R(\\mathrm{observe}(s)), \\qquad s^+ = \\mathrm{step}(s, \\mathrm{route}(x, y))

    Its state is the inner state and its features are y, so the Lyapunov exponents of a trained forecaster need no
    new code. A readout that also sees the input is refused: its output is no function of the state.

    Attributes:
        model: the inner Map. readout: callable pytree (n_features,) -> (n_outputs,).
        route: "input": step takes y, or concatenate(x, y) when there is an external input x;
            "feedback": step takes (x, y) (static).
    """

    model: Any
    readout: Any
    route: str = tree.static(default="input")

    @property
    def dt(self) -> float:
        return self.model.dt

    @property
    def smooth(self) -> bool:
        return self.model.smooth

    @property
    def bounded(self) -> bool | None:
        return getattr(self.model, "bounded", None)

    @property
    def time_constants(self) -> Any:
        """The inner model's."""
        method = self.model.time_constants
        return lambda params: method(params.model)

    def init(self, key: Array) -> FeedbackParams:
        check.choice("route", self.route, ROUTES)
        return FeedbackParams(self.model.init(key), self.readout)

    def init_state(self, params: FeedbackParams, key: Array | None = None) -> Any:
        return self.model.init_state(params.model, key)

    def step(self, params: FeedbackParams, state: Any, x: Any = None, key: Array | None = None) -> Any:
        y = self.observe(params, state)
        if self.route == "feedback":
            x = (jnp.zeros(0, y.dtype) if x is None else x, y)
        else:
            x = y if x is None else jnp.concatenate([x, y])
        return self.model.step(params.model, state, x, key)

    def observe(self, params: FeedbackParams, state: Any) -> Array:
        return params.readout(self.model.observe(params.model, state))

    def check(self, params: FeedbackParams, state: Any, x: Any) -> None:
        """Shapes of the loop, by abstract evaluation: the output must fit where it is fed back."""
        check.choice("route", self.route, ROUTES)
        if getattr(self.readout, "with_input", False):
            raise ValueError("readout must be trained with with_input=False to be fed back, got with_input=True")
        y = jax.eval_shape(self.observe, params, state)
        sizes = getattr(self.model, "input_sizes", None)
        external = 0 if x is None else x.shape[-1]
        if self.route == "feedback":
            if not isinstance(sizes, tuple):
                raise ValueError("route must be 'input' for a model without output feedback, got 'feedback'")
            expected, got_size = sizes[1], y.shape[0]
            if external != sizes[0]:
                raise ValueError(f"inputs must have {sizes[0]} features, got {external if external else None}")
        elif isinstance(sizes, tuple):
            raise ValueError("route must be 'feedback' for a model with n_feedback > 0, got 'input'")
        else:
            expected, got_size = sizes, external + y.shape[0]
        if sizes is not None and expected != got_size:
            raise ValueError(f"readout must give {expected} channels to feed back, got {got_size} "
                             f"({external} of them external)")
