"""Intrinsic plasticity: every unit adapts its gain and bias until its outputs have a wanted distribution.

The classical alternative to the adaptation of inhibition. Works on any model with the optional methods
``net(params, state, x)``, the input of the units before gain and bias, ``gain_and_bias(params)`` and
``with_gain_and_bias(params, gain, bias)``, such that a unit's output is f(gain * net + bias).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.keys import numbered
from dynlab.plasticity.windows import scan_windows
from dynlab.protocol import Map
from dynlab.simulation import check_inputs, check_model, check_noise, check_state

Array = jax.Array
TARGETS = ("exponential", "normal")
NEEDED = ("net", "gain_and_bias", "with_gain_and_bias")
LEAST_GAIN = 1e-3
"""Gains are kept above this: the rule divides by them, and it repels them from 0."""


@tree.dataclass
class IntrinsicAdaptation:
    """What :func:`adapt_intrinsic` returns.

    Attributes:
        params: parameters with the adapted gains and biases. state: the last state.
        rates: (n_windows, N), mean output of every unit in each window. gain, bias: (n_windows, N), at its end.
        status: 0; 2 not finite (params are NaN).
    """

    params: Any
    state: Any
    rates: Array
    gain: Array
    bias: Array
    status: Array


def exponential_rule(
    y: Array, net: Array, gain: Array, bias: Array, learning_rate: Any, mean: Any
) -> tuple[Array, Array]:
    r"""One update of logistic units towards exponential outputs of mean mu; all arrays (N,), returns ``(gain, bias)``.

    .. math::
        \Delta b = \eta \Big(1 - \big(2 + \tfrac1\mu\big) y + \tfrac{y^2}{\mu}\Big), \qquad
        \Delta a = \frac{\eta}{a} + \Delta b\; net, \qquad y = \frac{1}{1 + e^{-(a\,net + b)}}

    At rest the mean of delta b is 0: :math:`m^2 + v - (2\mu + 1) m + \mu = 0` for outputs of mean m and variance v. An
    exponential distribution (:math:`m = \mu, v = \mu^2`) satisfies this; a unit whose input varies little stays
    lower, at 0.161 for :math:`\mu = 0.2` and v = 0, until its gain has grown, which takes many steps.

    Triesch 2005, doi:10.1007/11550822_11.
    """
    change = learning_rate * (1.0 - (2.0 + 1.0 / mean) * y + y**2 / mean)
    return gain + learning_rate / gain + change * net, bias + change


def normal_rule(
    y: Array, net: Array, gain: Array, bias: Array, learning_rate: Any, mean: Any, deviation: Any
) -> tuple[Array, Array]:
    r"""One update of tanh units towards normal outputs; all arrays (N,), returns ``(gain, bias)``.

    .. math::
        \Delta b = -\eta \Big(-\frac{\mu}{\sigma^2} + \frac{y}{\sigma^2} (2\sigma^2 + 1 - y^2 + \mu y)\Big), \qquad
        \Delta a = \frac{\eta}{a} + \Delta b\; net, \qquad y = \tanh(a\,net + b)

    Schrauwen, Wardermann, Verstraeten, Steil, Stroobandt 2008, doi:10.1016/j.neucom.2007.12.020.
    """
    variance = deviation**2
    change = -learning_rate * (-mean / variance + y / variance * (2.0 * variance + 1.0 - y**2 + mean * y))
    return gain + learning_rate / gain + change * net, bias + change


def adapt_intrinsic(
    model: Map, params: Any, inputs: Any, *, target: str = "exponential", mean: Any = 0.2, deviation: Any = 0.2,
    learning_rate: Any = 5e-4, every: int = 100, state: Any = None, key: Array | None = None,
) -> IntrinsicAdaptation:
    """Drive a network and let every unit adapt its gain and bias after each step.

    Args:
        model, params: a model with the three methods (see the module), such as :class:`dynlab.EIReservoir` or
            :class:`dynlab.ESN`. Usable under ``jit`` and ``vmap``.
        inputs: (T, D).
        target: "exponential" with mean `mean` in (0, 1), for logistic units, or "normal" with `mean` in (-1, 1) and
            `deviation`, for tanh units (static).
        learning_rate: eta. every: steps of a window of the trace; the first (T mod every) steps are in none.
        state: start; None takes ``model.init_state(params)``. key: noise, which drives the network but which the rule
            does not see: it shapes the outputs that the units would have without this step's noise.

    Returns:
        :class:`IntrinsicAdaptation`.

    Raises:
        TypeError: a model without the methods. ValueError: a target that does not fit the units, values out of range.
    """
    check_model(model)
    check.methods("model", model, NEEDED, "EIReservoir or ESN")
    check.choice("target", target, TARGETS)
    wanted = {"exponential": "sigmoid", "normal": "tanh"}[target]
    unit = getattr(model, "activation", "sigmoid")
    if unit != wanted:
        raise ValueError(f"target must be {'normal' if unit == 'tanh' else 'exponential'!r} for {unit} units if any: "
                         f"the rule for {target!r} is derived for {wanted} units, got a model of {unit} units")
    low, high = (0.0, 1.0) if target == "exponential" else (-1.0, 1.0)
    check.number("mean", mean, low, high, low_open=True, high_open=True)
    check.number("deviation", deviation, 0.0, low_open=True)
    check.scalar("learning_rate", learning_rate, 0.0)
    units = jnp.shape(model.gain_and_bias(params)[0])  # type: ignore[attr-defined]
    for name, value in (("mean", mean), ("deviation", deviation)):
        if jnp.shape(value) not in ((), units):
            raise ValueError(f"{name} must be a number or of shape {units}, got shape {jnp.shape(value)}")
    inputs, batched = check_inputs(model, inputs)
    if batched or not hasattr(inputs, "shape"):
        raise ValueError("inputs must be one series (time, features); use jax.vmap for several")
    check.integer("every", every, 1, inputs.shape[0])
    check_noise(params, key)
    if state is not None:
        state = check_state(model, params, state)
    return _adapt(model, params, inputs, mean, deviation, learning_rate, state, key, target=target, every=every)


@partial(jax.jit, static_argnames=("target", "every"))
def _adapt(
    model: Any, params: Any, inputs: Array, mean: Any, deviation: Any, learning_rate: Any, state: Any,
    key: Array | None, *, target: str, every: int,
) -> IntrinsicAdaptation:
    def step(carry: Any, now: Any) -> tuple[Any, Array]:
        state, gain, bias = carry
        t, x = now
        network = model.with_gain_and_bias(params, gain, bias)
        net = model.net(network, state, x)
        state = model.step(network, state, x, numbered(key, t))
        if target == "exponential":  # y is the unit's own output, before any leak
            y = jax.nn.sigmoid(gain * net + bias)
            gain, bias = exponential_rule(y, net, gain, bias, learning_rate, mean)
        else:
            y = jnp.tanh(gain * net + bias)
            gain, bias = normal_rule(y, net, gain, bias, learning_rate, mean, deviation)
        return (state, jnp.maximum(gain, LEAST_GAIN), bias), model.observe(network, state)

    start = (model.init_state(params) if state is None else state, *model.gain_and_bias(params))
    series = (jnp.arange(inputs.shape[0], dtype=jnp.int32), inputs)
    (state, gain, bias), (rates, trace) = scan_windows(step, start, series, every, lambda carry: carry[1:])
    finite = jnp.all(jnp.isfinite(gain)) & jnp.all(jnp.isfinite(bias))
    new = model.with_gain_and_bias(params, *(jnp.where(finite, part, jnp.nan) for part in (gain, bias)))
    return IntrinsicAdaptation(new, state, rates, trace[0], trace[1], jnp.where(finite, 0, 2).astype(jnp.int32))
