"""Forecasts in closed loop, the same way for every model: tuned on a validation stretch, tested on another.

A forecaster is a :class:`dynlab.protocol.Map` whose readout predicts the next sample. The echo state network, the
linear autoregression and the naive forecast differ in the Map only (:class:`Lags` holds the last samples), so the
fit, the choice of hyper-parameters, the start points and the errors are one code for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import generate, simulate, tree
from dynlab.metrics import valid_prediction_time
from dynlab.readout.ridge import ridge

Array = jax.Array


@tree.dataclass
class Lags:
    """The last `n_lags` samples: a ridge readout on it is a linear autoregression of that order.

    Attributes:
        n_channels: channels of the series (static).
        max_lags: samples kept (static).
        n_lags: samples shown to the readout, at most max_lags; a knob, the features of older samples are zero.
    """

    n_channels: int = tree.static(default=1)
    max_lags: int = tree.static(default=1)
    n_lags: Any = 1

    dt = 1.0
    smooth = True

    @property
    def input_sizes(self) -> int:
        return self.n_channels

    def init(self, key: Array | None = None) -> Array:
        """The mask of the samples shown, (max_lags, 1)."""
        del key
        return (jnp.arange(self.max_lags)[:, None] < self.n_lags).astype(float)

    def init_state(self, params: Array, key: Array | None = None) -> Array:
        return jnp.zeros((self.max_lags, self.n_channels), params.dtype)

    def step(self, params: Array, state: Array, x: Array, key: Array | None = None) -> Array:
        return jnp.concatenate([x[None], state[:-1]])

    def observe(self, params: Array, state: Array) -> Array:
        return (params * state).ravel()


@tree.dataclass
class Persistence:
    """The naive readout: the next sample is the last one."""

    def __call__(self, features: Array) -> Array:
        return features


@dataclass(frozen=True)
class Plan:
    """How one series is used; every length in samples.

    Attributes:
        washout, train, validation, test: consecutive stretches.
        horizon: steps of the closed-loop error, in validation and in test.
        longest: steps of the test forecasts, for the valid prediction time.
        n_starts: forecasts a stretch, from evenly spaced samples of it.
        threshold: error, in standard deviations, that ends the valid prediction time.
    """

    washout: int
    train: int
    validation: int
    test: int
    horizon: int
    longest: int
    n_starts: int
    threshold: float = 0.4

    @property
    def length(self) -> int:
        return self.washout + self.train + self.validation + self.test

    def starts(self, stretch: str) -> np.ndarray:
        """Indices (n_starts,) of the last sample seen before each forecast; every forecast stays in its stretch."""
        first = self.washout + self.train + (self.validation if stretch == "test" else 0)
        size, reach = (self.test, self.longest) if stretch == "test" else (self.validation, self.horizon)
        return np.linspace(first, first + size - reach - 1, self.n_starts).astype(int)


@tree.dataclass
class Forecasts:
    """What a fitted forecaster does on a stretch.

    Attributes:
        one_step: NRMSE one step ahead with the truth as input (scalar).
        closed: closed-loop forecasts (n_starts, steps, channels). truth: the same samples of the series.
    """

    one_step: Array
    closed: Array
    truth: Array


def closed_loop_error(found: Forecasts, steps: int) -> Array:
    """Root mean squared error over the first `steps` steps and all channels, of each start: (n_starts,).

    The series has unit variance in training, so this is in standard deviations; a diverged forecast gives infinity.
    """
    difference = found.closed[:, :steps] - found.truth[:, :steps]
    error = jnp.sqrt(jnp.mean(difference**2, axis=(1, 2)))
    return jnp.where(jnp.isfinite(error), error, jnp.inf)


def valid_steps(found: Forecasts, threshold: float) -> Array:
    """Steps of each start before the error over channels first exceeds `threshold` standard deviations: (n_starts,)."""
    return valid_prediction_time(found.closed, found.truth, threshold=threshold, scale=1.0)


def _states(params: Any, state: Any, x: Any) -> Any:
    return state


def drive(model: Any, params: Any, series: Array) -> tuple[Any, Array]:
    """States and features (length, n_features) along the whole series."""
    states = simulate(model, params, series, record=_states).outputs
    return states, jax.vmap(model.observe, in_axes=(None, 0))(params, states)


def fit(features: Array, series: Array, plan: Plan, penalty: Array) -> Any:
    """Ridge readout of the next sample from the training stretch; stacked readouts for an array of penalties."""
    rows = slice(plan.washout, plan.washout + plan.train - 1)
    return ridge(features[rows], series[1:][rows], penalty)


def forecasts(
    model: Any, params: Any, readout: Any, driven: tuple[Any, Array], series: Array, plan: Plan, stretch: str
) -> Forecasts:
    """One step ahead over a stretch, and closed loop from its start points."""
    states, features = driven
    starts = plan.starts(stretch)
    steps = plan.longest if stretch == "test" else plan.horizon
    first = plan.washout + plan.train + (plan.validation if stretch == "test" else 0)
    last = first + (plan.test if stretch == "test" else plan.validation) - 1
    target = series[first + 1 : last + 1]
    error = jax.vmap(readout)(features[first:last]) - target
    one_step = jnp.sqrt(jnp.mean(error**2) / jnp.mean(jnp.var(target, axis=0)))
    chosen = jax.tree.map(lambda leaf: leaf[starts], states)
    closed = jax.vmap(lambda state: generate(model, params, readout, steps, state=state).outputs)(chosen)
    truth = series[starts[:, None] + 1 + np.arange(steps)]
    return Forecasts(one_step, closed, truth)


@partial(jax.jit, static_argnames="plan")
def validate(models: Any, key: Array, series: Array, penalties: Array, plan: Plan) -> Array:
    """Closed-loop error on the validation stretch, median over its starts: (candidates, penalties).

    `models` holds one model with a leading candidate axis on every knob; all share the network of `key`.
    """

    def candidate(model: Any) -> Array:
        params = model.init(key)
        driven = drive(model, params, series)

        def one(readout: Any) -> Array:
            found = forecasts(model, params, readout, driven, series, plan, "validation")
            return jnp.median(closed_loop_error(found, plan.horizon))

        return jax.vmap(one)(fit(driven[1], series, plan, penalties))

    return jax.vmap(candidate)(models)


@partial(jax.jit, static_argnames="plan")
def evaluate(model: Any, keys: Array, series: Array, penalty: Array, plan: Plan) -> Forecasts:
    """Forecasts on the test stretch for every seed: keys (seeds,), series (seeds, length, channels)."""

    def one(key: Array, values: Array) -> Forecasts:
        params = model.init(key)
        driven = drive(model, params, values)
        readout = fit(driven[1], values, plan, penalty)
        return forecasts(model, params, readout, driven, values, plan, "test")

    return jax.vmap(one)(keys, series)


@partial(jax.jit, static_argnames="plan")
def naive(series: Array, plan: Plan) -> Forecasts:
    """The naive forecast on the test stretch, for every seed."""

    def one(values: Array) -> Forecasts:
        model = Lags(n_channels=values.shape[-1], max_lags=1, n_lags=1)
        params = model.init()
        return forecasts(model, params, Persistence(), drive(model, params, values), values, plan, "test")

    return jax.vmap(one)(series)


@partial(jax.jit, static_argnames=("plan", "n_steps"))
def free_run(model: Any, key: Array, series: Array, penalty: Array, plan: Plan, n_steps: int) -> Array:
    """One long closed-loop run from the first start point of the test stretch: (n_steps, channels)."""
    params = model.init(key)
    states, features = drive(model, params, series)
    readout = fit(features, series, plan, penalty)
    state = jax.tree.map(lambda leaf: leaf[plan.starts("test")[0]], states)
    return generate(model, params, readout, n_steps, state=state).outputs
