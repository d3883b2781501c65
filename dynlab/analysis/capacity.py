"""Capacities: how much of its past input a driven system holds."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.analysis.stimulus import noise_key, one_channel, uniform
from dynlab.keys import named
from dynlab.protocol import Map
from dynlab.readout.ridge import ridge as fit_ridge
from dynlab.simulation import simulate

Array = jax.Array

@tree.dataclass
class MemoryCapacity:
    """Linear memory of a driven system.

    Attributes:
        total: sum of `per_delay` over delays 1 to max_delay (scalar); at most N in expectation.
        per_delay: (max_delay + 1,), MC_k for k = 0 ... max_delay; entry 0, the present input, is not in `total`.
        status: 0 when the result is finite, 1 when the states or the fit were not (then the numbers are NaN).
    """

    total: Array
    per_delay: Array
    status: Array


def squared_correlation(prediction: Array, target: Array, *, adjust: bool = True) -> Array:
    """Squared correlation along the time axis (axis 0), per column.

    With `adjust`, :math:`1 - (1 - r^2)(T - 1)/(T - 2)`, which removes the bias 1/(T - 1) that r^2 of two independent
    white series has, so that a sum over many empty delays does not grow; it can be slightly negative.
    """
    n = target.shape[0]
    p = prediction - jnp.mean(prediction, axis=0)
    z = target - jnp.mean(target, axis=0)
    covariance = jnp.sum(p * z, axis=0)
    power = jnp.sum(p * p, axis=0) * jnp.sum(z * z, axis=0)
    r2 = jnp.where(power > 0, covariance**2 / jnp.where(power > 0, power, 1.0), 0.0)
    return 1.0 - (1.0 - r2) * (n - 1) / (n - 2) if adjust else r2


def lagged(u: Array, max_delay: int) -> Array:
    """Columns u(t), u(t-1), ..., u(t-max_delay) for t >= max_delay: (time - max_delay, max_delay + 1)."""
    n = u.shape[0] - max_delay
    return jax.vmap(lambda k: jax.lax.dynamic_slice(u, (max_delay - k,), (n,)), out_axes=1)(jnp.arange(max_delay + 1))


@partial(jax.jit, static_argnames=("max_delay", "n_train", "n_test", "washout", "adjust"))
def _memory_capacity(
    model: Map, params: Any, key: Array, ridge: Any, amplitude: Any, *,
    max_delay: int, n_train: int, n_test: int, washout: int, adjust: bool,
) -> MemoryCapacity:
    start = max(washout, max_delay)
    u = amplitude * uniform(named(key, "memory_capacity.stream"), (start + n_train + max_delay + n_test,))
    noise = noise_key(model, params, named(key, "memory_capacity.noise"))
    run = simulate(model, params, u[:, None], key=noise, washout=start)
    targets = lagged(u[start - max_delay :], max_delay) / amplitude
    readout = fit_ridge(run.outputs[:n_train], targets[:n_train], ridge)
    test = slice(n_train + max_delay, None)  # a gap of max_delay: no test target was a training target
    prediction = readout(run.outputs[test])
    per_delay = squared_correlation(prediction, targets[test], adjust=adjust)
    good = jnp.all(jnp.isfinite(run.outputs)) & jnp.all(jnp.isfinite(prediction))
    per_delay = jnp.where(good, per_delay, jnp.nan)
    return MemoryCapacity(jnp.sum(per_delay[1:]), per_delay, jnp.where(good, 0, 1).astype(jnp.int32))


def memory_capacity(
    model: Map, key: Array, *, params: Any = None, max_delay: int | None = None, n_train: int | None = None,
    n_test: int = 2000, washout: int = 200, ridge: float | Array = 1e-8, amplitude: float | Array = 1.0,
    adjust: bool = True,
) -> MemoryCapacity:
    r"""Short-term memory capacity (Jaeger 2001, GMD report 152), held out.

    .. math:: MC = \sum_{k \ge 1} MC_k, \qquad MC_k = r^2\big(u(t-k),\ \hat u_k(t)\big)

    for i.i.d. input u uniform on [-amplitude, amplitude] and the best linear reconstruction of u(t-k) from the
    features at t, fitted by ridge on `n_train` steps and tested on the following `n_test`.

    Two biases remain and pull in opposite ways: r^2 of held-out data is too large by 1/n_test per empty delay, which
    `adjust` removes; a readout fitted on few samples (n_train not well above the number of features) or with large
    ridge reconstructs too little. MC <= N holds for the expectation; for non-linear units the value depends on the
    input scale (arXiv:2502.04832), so state it with `amplitude` and ``input_scaling``.

    Args:
        model: a Map with one input channel. Knobs may be batched by ``jax.vmap``: at one key all members share the
            network and the input stream.
        key: draws the network (``model.init(key)``, unless `params` is given), the input and the noise, independently.
        max_delay: largest k; default twice the number of features. n_train: default max(2000, 10 features).
        washout: steps discarded first (at least max_delay are). ridge: see :func:`dynlab.ridge`.

    Returns:
        :class:`MemoryCapacity`; a member whose states are not finite has status 1 and NaN.

    Raises:
        ValueError, TypeError: a size below 1, negative ridge, non-positive amplitude, more than one input channel.
    """
    check.scalar("ridge", ridge, 0.0)
    params, n_features = one_channel(model, key, params, amplitude)
    max_delay = check.integer("max_delay", 2 * n_features if max_delay is None else max_delay, 1)
    n_train = check.integer("n_train", max(2000, 10 * n_features) if n_train is None else n_train, 2)
    check.integer("n_test", n_test, 3)
    check.integer("washout", washout, 0)
    return _memory_capacity(model, params, key, ridge, amplitude, max_delay=max_delay, n_train=n_train,
                            n_test=n_test, washout=washout, adjust=adjust)
