"""Interventions on the parameters of a network: units silenced, weights or time constants moved."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check

Array = jax.Array

CHANCE = 0.5  # of an answer with two classes


def n_units_of(params: Any) -> int:
    """N of parameters with the fields weight_ih, weight_hh, bias_ih and bias_hh.

    Raises:
        TypeError: other parameters. ValueError: those of several networks.
    """
    if not all(hasattr(params, name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")):
        raise TypeError("params must have weight_ih, weight_hh, bias_ih and bias_hh (LeakyRNN, RNN, GRU, LSTM), got "
                        f"{type(params).__name__}; for a wrapped model give the parameters of the network inside")
    w = params.weight_hh.left if is_low_rank(params.weight_hh) else params.weight_hh
    if jnp.ndim(w) != 2:
        raise ValueError(f"params must be those of one network, got weight_hh of shape {jnp.shape(w)}; for several use "
                         "jax.vmap")
    return w.shape[0] if is_low_rank(params.weight_hh) else w.shape[1]


def is_low_rank(weights: Any) -> bool:
    """True for W = left right^T, kept as its factors."""
    return hasattr(weights, "left") and hasattr(weights, "right")


def check_units(units: Any, n_units: int) -> Array:
    """Require integers in [0, n_units); return them as int32."""
    traced = check.is_traced(units)
    units = jnp.asarray(units) if traced else np.asarray(units)
    if not jnp.issubdtype(units.dtype, jnp.integer):
        raise TypeError(f"units must be integers, got dtype {units.dtype}")
    if not traced and np.any((units < 0) | (units >= n_units)):
        raise ValueError(f"units must be in [0, {n_units - 1}], got {units.tolist()}")
    return jnp.asarray(units, jnp.int32)


def ablate(params: Any, units: Any, *, biases: bool = False) -> Any:
    r"""Parameters with the given units silenced.

    .. math:: W_{iu} = W_{ui} = 0, \qquad (W_{in})_{ud} = 0 \qquad\text{for each } u \text{ in units and all } i, d

    of every block of rows where the network has gates. Nothing then reaches unit u but its biases, and it reaches no
    other unit: the others run as in a network without it. What it sends to the readout is cut by
    :func:`ablate_readout`. Source: Khajehabdollahi et al. (ICLR 2024, arXiv:2309.12927), where the biases stay.

    Args:
        params: of a ``LeakyRNN`` (full or low rank: rows of both factors are zeroed), ``RNN``, ``GRU`` or ``LSTM``.
        units: index or indices (k,), all silenced together; may be traced, so that
            ``jax.vmap(ablate, (None, 0))(params, units)`` silences one after the other in one program.
        biases: zero the biases of the units too (static).

    Returns:
        Parameters like `params`.

    Raises:
        TypeError: parameters without these fields; units that are no integers. ValueError: a unit out of range.
    """
    return _ablate(params, check_units(units, n_units_of(params)), biases=bool(biases))


@partial(jax.jit, static_argnames="biases")
def _ablate(params: Any, units: Array, *, biases: bool) -> Any:
    n = n_units_of(params)
    kept = jnp.ones(n, bool).at[units].set(False)
    w = params.weight_hh
    blocks = params.bias_hh.shape[0] // n
    rows = jnp.tile(kept, blocks)
    if is_low_rank(w):
        w = dataclasses.replace(w, left=_where(kept[:, None], w.left), right=_where(kept[:, None], w.right))
    else:
        w = _where(rows[:, None] & kept, w)
    changes = {"weight_hh": w, "weight_ih": _where(rows[:, None], params.weight_ih)}
    if biases:
        changes |= {"bias_ih": _where(rows, params.bias_ih), "bias_hh": _where(rows, params.bias_hh)}
    return dataclasses.replace(params, **changes)


def _where(kept: Array, values: Array) -> Array:
    return jnp.where(kept, values, jnp.zeros((), values.dtype))


def ablate_readout(readout: Any, units: Any) -> Any:
    """A linear readout that does not see the given units: their rows of the weights are zero, for every head.

    Args:
        readout: :class:`dynlab.Linear`, weights (F, D), or (heads, F, D); its first F rows belong to the units.
        units: index or indices (k,); may be traced.

    Raises:
        ValueError: a unit out of range; a readout that also takes the squares of all features.
    """
    if getattr(readout, "squares", "none") == "all":
        raise ValueError('readout must have one row a unit (squares "none" or "even"), got squares "all"')
    return _ablate_readout(readout, check_units(units, readout.weights.shape[-2]))


@jax.jit
def _ablate_readout(readout: Any, units: Array) -> Any:
    kept = jnp.ones(readout.weights.shape[-2], bool).at[units].set(False)
    return dataclasses.replace(readout, weights=_where(kept[:, None], readout.weights))


def _direction(noise: Array) -> Array:
    """`noise` at norm 1; zeros stay."""
    norm = jnp.sqrt(jnp.sum(noise * noise))
    return noise / jnp.where(norm > 0, norm, 1.0)


def perturb_weights(params: Any, key: Array, size: Any, *, keep_zeros: bool = True) -> Any:
    r"""Move the recurrent weights in a random direction.

    .. math:: W' = W + \varepsilon\, \lVert W \rVert_F\, G / \lVert G \rVert_F

    with G standard normal, so that :math:`\lVert W' - W \rVert = \varepsilon \lVert W \rVert` exactly.

    Args:
        params: as for :func:`ablate`; with gates W is all their blocks together. A low-rank W becomes a full matrix.
        key: draws G; the same key gives the same direction at every size.
        size: :math:`\varepsilon \ge 0`; may be traced.
        keep_zeros: weights that are exactly 0 (a diagonal, absent or ablated connections) stay 0 (static).

    Raises:
        TypeError, ValueError: other parameters, an untyped key, a size below 0 or not finite.
    """
    n_units_of(params)
    check.key("key", key)
    check.scalar("size", size, 0.0)
    return _perturb_weights(params, key, size, keep_zeros=bool(keep_zeros))


@partial(jax.jit, static_argnames="keep_zeros")
def _perturb_weights(params: Any, key: Array, size: Any, *, keep_zeros: bool) -> Any:
    w = params.weight_hh.dense() if is_low_rank(params.weight_hh) else jnp.asarray(params.weight_hh)
    noise = jax.random.normal(key, w.shape, w.dtype)
    if keep_zeros:
        noise = jnp.where(w == 0, 0.0, noise)
    step = jnp.asarray(size, w.dtype) * jnp.sqrt(jnp.sum(w * w))
    return dataclasses.replace(params, weight_hh=w + step * _direction(noise))


def perturb_tau(params: Any, key: Array, size: Any) -> Any:
    r"""Lengthen the time constants in a random direction.

    .. math:: \tau' = \tau + \varepsilon\, \lVert \tau \rVert\, |g| / \lVert g \rVert

    with g standard normal: no time constant shrinks. Arguments as for :func:`perturb_weights`.

    Raises:
        TypeError, ValueError: parameters without ``tau``, an untyped key, a size below 0 or not finite.
    """
    if not hasattr(params, "tau"):
        raise TypeError(f"params must have time constants tau (LeakyRNN), got {type(params).__name__}")
    check.key("key", key)
    check.scalar("size", size, 0.0)
    return _perturb_tau(params, key, size)


@jax.jit
def _perturb_tau(params: Any, key: Array, size: Any) -> Any:
    tau = jnp.asarray(params.tau)
    step = jnp.asarray(size, tau.dtype) * jnp.sqrt(jnp.sum(tau * tau))
    move = jnp.abs(_direction(jax.random.normal(key, tau.shape, tau.dtype)))
    return dataclasses.replace(params, tau=tau + step * move)


def ablation_groups(tau: Any, n: int = 20) -> tuple[Array, Array]:
    """Indices of the `n` units with the smallest and the `n` with the largest time constants, (n,) each, rising.

    Args:
        tau: (N,), such as ``params.tau`` (clamped ones, as by ``time_constants``, tie) or fitted ones; NaN counts as
            neither small nor large and must leave 2 n values.

    Raises:
        ValueError: `tau` not of shape (N,), or fewer than 2 n values.
    """
    n = check.integer("n", n, 1)
    tau = check.array("tau", tau, finite=False)
    if tau.ndim != 1:
        raise ValueError(f"tau must have shape (N,), got {tau.shape}")
    known = tau.shape[0] if check.is_traced(tau) else int(np.sum(~np.isnan(np.asarray(tau))))
    if known < 2 * n:
        raise ValueError(f"n must be at most half the number of units with a tau ({known}), got {n}")
    order = jnp.argsort(tau, stable=True)  # NaN last
    last = jnp.sum(~jnp.isnan(tau))
    return order[:n], jax.lax.dynamic_slice_in_dim(order, last - n, n)


def relative_accuracy(accuracy: Any, baseline: Any) -> Array:
    r"""What is left of the accuracy above chance, :math:`(\mathrm{acc} - 1/2) / (\mathrm{baseline} - 1/2)`.

    1 for no damage, 0 for chance. Shapes broadcast. NaN where the baseline is not above chance itself.
    """
    accuracy = check.array("accuracy", accuracy, finite=False)
    baseline = check.array("baseline", baseline, finite=False)
    above = baseline - CHANCE
    return jnp.where(above > 0, (accuracy - CHANCE) / jnp.where(above > 0, above, 1.0), jnp.nan)


@jax.jit
def _half_damage(sizes: Array, relative: Array) -> Array:
    falls = (relative[..., :-1] >= 0.5) & (relative[..., 1:] < 0.5)
    first = jnp.argmax(falls, axis=-1)
    high, low = (jnp.take_along_axis(relative, first[..., None] + i, axis=-1)[..., 0] for i in (0, 1))
    left, right = (jnp.take(sizes, first + i) for i in (0, 1))
    share = (high - 0.5) / (high - low)
    logs = jnp.exp((1.0 - share) * jnp.log(jnp.where(left > 0, left, 1.0)) + share * jnp.log(right))
    return jnp.where(jnp.any(falls, axis=-1), jnp.where(left > 0, logs, share * right), jnp.nan)


def half_damage(sizes: Any, relative: Any) -> Array:
    r"""The size of a perturbation at which the relative accuracy first falls below 1/2.

    Between the neighbours :math:`(\varepsilon_1, r_1)` and :math:`(\varepsilon_2, r_2)`,
    :math:`r_1 \ge 1/2 > r_2`, it is linear in the logarithm:
    :math:`\ln \varepsilon = (1-s) \ln \varepsilon_1 + s \ln \varepsilon_2` with
    :math:`s = (r_1 - 1/2) / (r_1 - r_2)`. Where :math:`\varepsilon_1 = 0` it is :math:`s\,\varepsilon_2`.

    Args:
        sizes: (S,), rising, from 0 or above. relative: (..., S), as by :func:`relative_accuracy`.

    Returns:
        (...). NaN where it never falls below 1/2, or is below from the first size on.

    Raises:
        ValueError: sizes that do not rise or are negative; another number of values in `relative`; fewer than 2.
    """
    sizes = check.array("sizes", sizes)
    relative = check.array("relative", relative, finite=False)
    if sizes.ndim != 1 or sizes.shape[0] < 2:
        raise ValueError(f"sizes must have shape (S,) with S at least 2, got {sizes.shape}")
    check.number("sizes", sizes, 0.0)
    if not check.is_traced(sizes) and np.any(np.diff(np.asarray(sizes)) <= 0):
        raise ValueError(f"sizes must rise, got {np.asarray(sizes).tolist()}")
    if relative.shape[-1:] != sizes.shape:
        raise ValueError(f"relative must have one value a size ({sizes.shape[0]}) along its last axis, got shape "
                         f"{relative.shape}")
    return _half_damage(sizes, relative)


