"""Local adaptation of inhibition to target rates, and its one-step design.

Both work on any model with Dale's law that has the optional methods ``excitation``, ``inhibition``,
``with_inhibition``, ``drive`` and ``drive_for`` (:class:`dynlab.EIReservoir`; :class:`dynlab.LeakyRNN` with
`excitatory` given): excitatory units come first, ``inhibition(params)`` is (N, n_I) and at least 0, and
``drive_for(params, rates)`` is the drive at which units keep those rates. The rates are the features of the model
(``observe``).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.analysis.balance import unit_balance
from dynlab.keys import numbered
from dynlab.plasticity.windows import scan_windows
from dynlab.protocol import Map
from dynlab.simulation import check_inputs, check_model, check_noise, check_state

Array = jax.Array

REACHED, UNREACHED, NOT_FINITE = 0, 1, 2
"""Values of ``status``."""
NEEDED = ("excitation", "inhibition", "with_inhibition", "drive", "drive_for")


@tree.dataclass
class Adaptation:
    """What :func:`adapt_inhibition` returns.

    Attributes:
        params: parameters with the adapted inhibition. state: the last state.
        rates: (n_windows, N), mean rate of every unit in each window.
        balance: (n_windows, N), beta_i of every unit at the end of each window (:func:`dynlab.balance`).
        error: mean over units of \\|mean rate - target\\| over the last fifth of the windows, at least one.
        capped: (N,) bool, units whose total inhibition stands at the cap.
        status: 0 targets reached; 1 not reached (error above the tolerance, or more than a hundredth of the units at
            the cap); 2 not finite (params are NaN).
    """

    params: Any
    state: Any
    rates: Array
    balance: Array
    error: Array
    capped: Array
    status: Array


@tree.dataclass
class Design:
    """What :func:`one_step_design` returns.

    Attributes:
        params: parameters with the designed inhibition.
        scale: (N,), Omega_i, the factor on the inhibitory weights of each unit.
        unreachable: (N,) bool, units whose target no inhibition within the cap gives; they got the nearest.
        uniform_mode: growth factor a step of a common small deviation of all rates (see :func:`one_step_design`).
        status: 0; 1 when more than a hundredth of the units are unreachable, or `uniform_mode` is below -1 (the rates
            then flip between two values instead of staying at the targets) or above 1 (they run away from them); 2 not
            finite.
    """

    params: Any
    scale: Array
    unreachable: Array
    uniform_mode: Array
    status: Array


def phases(*parts: tuple[int, float]) -> Array:
    """Learning rates (T,) of a schedule: ``phases((3000, 1e-2), (2000, 1e-3))`` is 3,000 steps at 1e-2, then 2,000.

    Raises:
        ValueError, TypeError: no part, a length below 1, a negative rate.
    """
    if not parts:
        raise ValueError("parts must hold at least one (steps, rate), got none")
    for steps, rate in parts:
        check.integer("steps", steps, 1)
        check.scalar("rate", rate, 0.0)
    return jnp.concatenate([jnp.full(steps, rate, check.default_float()) for steps, rate in parts])


def beta_targets(key: Array, n_units: int, a: float = 2.0, b: float = 2.0) -> Array:
    """Heterogeneous target rates (N,), drawn from Beta(a, b), kept inside [0.01, 0.99].

    Raises:
        ValueError, TypeError: n_units below 1, a or b not positive, an untyped key.
    """
    check.key("key", key)
    check.integer("n_units", n_units, 1)
    check.scalar("a", a, 0.0, low_open=True)
    check.scalar("b", b, 0.0, low_open=True)
    return jnp.clip(jax.random.beta(key, a, b, (n_units,), check.default_float()), 0.01, 0.99)


def adapt_inhibition(
    model: Map, params: Any, inputs: Any, targets: Any, *, learning_rate: Any = None, max_inhibition: float = 10.0,
    tolerance: float = 0.05, every: int = 100, state: Any = None, key: Array | None = None,
) -> Adaptation:
    r"""Drive a network and let every unit adapt its inhibition to a target rate.

    .. math:: A^I_{ij} \leftarrow \max\big(A^I_{ij} + \delta(t)\,(r_i(t) - \rho_i),\ 0\big)

    for every inhibitory connection that exists: a unit that is too active gets more inhibition. The rule is local, no
    connection appears, and none changes its sign. When the total inhibition of a unit exceeds `max_inhibition` times
    the mean total excitation, its inhibitory weights are scaled back to that cap, so that targets that cannot be
    reached end with a status and not with growing weights.

    Vogels et al. 2011 (doi:10.1126/science.1211095) for the idea; Srinivasan, Plenz, Girvan 2025
    (arXiv:2504.12480) for this use of it.

    Args:
        model, params: a model with Dale's law (see the module). Usable under ``jit`` and ``vmap``.
        inputs: (T, D), drawn as the inputs of the later task are.
        targets: rho, a number or (N,), in the range of the unit's non-linearity.
        learning_rate: delta, a number or (T,), see :func:`phases`; None: 1e-2 for three fifths of the steps, then 1e-3.
        max_inhibition: the cap. tolerance: largest `error` that counts as reached.
        every: steps of a window of the trace; the first (T mod every) steps are in none.
        state: start; None takes ``model.init_state(params)``. key: noise.

    Returns:
        :class:`Adaptation`.

    Raises:
        TypeError: a model without the methods. ValueError: shapes that do not agree, targets out of range, a negative
            learning rate, T below `every`.
    """
    _check_ei(model)
    inputs, batched = check_inputs(model, inputs)
    if batched:
        raise ValueError(f"inputs must be one series (time, features), got shape {jnp.shape(inputs)}; use jax.vmap")
    n_steps = inputs.shape[0]
    check.integer("every", every, 1, n_steps)
    check.scalar("max_inhibition", max_inhibition, 0.0, low_open=True)
    check.scalar("tolerance", tolerance, 0.0, low_open=True)
    if learning_rate is None:
        fast = max(1, 3 * n_steps // 5)
        learning_rate = phases((fast, 1e-2), (n_steps - fast, 1e-3)) if fast < n_steps else 1e-2
    check.number("learning_rate", learning_rate, 0.0)
    if jnp.shape(learning_rate) not in ((), (n_steps,)):
        raise ValueError(f"learning_rate must be a number or of shape ({n_steps},), got shape "
                         f"{jnp.shape(learning_rate)}")
    check_noise(params, key)
    targets = _check_targets(model, params, targets)
    if state is not None:
        state = check_state(model, params, state)
    return _adapt(model, params, inputs, targets, learning_rate, max_inhibition, tolerance, state, key, every=every)


@partial(jax.jit, static_argnames="every")
def _adapt(
    model: Any, params: Any, inputs: Array, targets: Array, learning_rate: Any, max_inhibition: Any, tolerance: Any,
    state: Any, key: Array | None, *, every: int,
) -> Adaptation:
    excited = jnp.sum(model.excitation(params), axis=1)
    start = model.inhibition(params)
    exists, cap = start > 0, max_inhibition * jnp.mean(excited)
    n_steps, dtype = inputs.shape[0], start.dtype
    rates = jnp.broadcast_to(jnp.asarray(learning_rate, dtype), (n_steps,))

    def step(carry: Any, now: Any) -> tuple[Any, Array]:
        state, inhibition = carry
        t, x, rate = now
        network = model.with_inhibition(params, inhibition)
        state = model.step(network, state, x, numbered(key, t))
        r = model.observe(network, state)
        changed = jnp.where(exists, jnp.maximum(inhibition + (rate * (r - targets))[:, None], 0.0), 0.0)
        sums = jnp.sum(changed, axis=1)
        changed *= jnp.where(sums > cap, cap / jnp.where(sums > cap, sums, 1.0), 1.0)[:, None]
        return (state, changed), r

    (state, inhibition), (trace, balances) = scan_windows(
        step, (model.init_state(params) if state is None else state, start),
        (jnp.arange(n_steps, dtype=jnp.int32), inputs, rates), every,
        lambda carry: unit_balance(excited, jnp.sum(carry[1], axis=1)))

    last = max(1, trace.shape[0] // 5)
    error = jnp.mean(jnp.abs(jnp.mean(trace[-last:], axis=0) - targets))
    capped = jnp.sum(inhibition, axis=1) >= cap * (1.0 - 1e-3)
    finite = jnp.isfinite(error) & jnp.all(jnp.isfinite(inhibition))
    reached = (error <= tolerance) & (jnp.mean(capped) <= 0.01)
    status = jnp.where(finite, jnp.where(reached, REACHED, UNREACHED), NOT_FINITE).astype(jnp.int32)
    new = model.with_inhibition(params, jnp.where(finite, inhibition, jnp.nan))
    return Adaptation(new, state, trace, balances, error, capped, status)


def one_step_design(
    model: Map, params: Any, targets: Any, mean_input: Any = 0.0, *, max_inhibition: float = 10.0
) -> Design:
    r"""Scale the inhibition of every unit such that the target rates are a fixed point at the mean input.

    With :math:`V_i(\rho_i)` the drive at which unit i keeps its target (for sigmoid units
    :math:`\theta + \mathrm{logit}(\rho_i) / c`),

    .. math::
        \Omega_i = \frac{(A^E \rho)_i + (W_{in} \bar u)_i - V_i(\rho_i)}{(A^I \rho)_i}, \qquad
        A^I_{ij} \leftarrow \max(\Omega_i, 0)\, A^I_{ij}

    The fixed point need not be stable. Were all rates to deviate by the same small amount, the next step would multiply
    the mean deviation by `uniform_mode`; below -1 the network flips between two rates, above 1 it leaves its targets.
    For sigmoid units, equal targets and mean input 0 the mode is :math:`(1 - \rho)(c\,\theta + \mathrm{logit}(\rho))`,
    whatever the network: with threshold 0 it is below -1 for targets below about 0.22, with c = 10 and threshold 0.3 it
    is 1.5 at 0.5.

    Args:
        model, params: a model with Dale's law (see the module). Usable under ``jit`` and ``vmap``.
        targets: rho, a number or (N,). mean_input: a number or (D,), the mean of the later inputs.
        max_inhibition: cap on a unit's total inhibition, in units of the mean total excitation.

    Returns:
        :class:`Design`.

    Raises:
        TypeError: a model without the methods. ValueError: targets out of range, a wrong shape.
    """
    _check_ei(model)
    check.scalar("max_inhibition", max_inhibition, 0.0, low_open=True)
    check.number("mean_input", mean_input)
    if jnp.shape(mean_input) not in ((), (model.input_sizes,)):  # type: ignore[attr-defined]
        raise ValueError(f"mean_input must be a number or of shape ({model.input_sizes},), "  # type: ignore[attr-defined]
                         f"got shape {jnp.shape(mean_input)}")
    return _design(model, params, _check_targets(model, params, targets), mean_input, max_inhibition)


@jax.jit
def _design(model: Any, params: Any, targets: Array, mean_input: Any, max_inhibition: Any) -> Design:
    start = model.inhibition(params)
    x = jnp.broadcast_to(jnp.asarray(mean_input, targets.dtype), (model.input_sizes,))
    with_none = model.drive(model.with_inhibition(params, jnp.zeros_like(start)), targets, x)
    inhibited = with_none - model.drive(model.with_inhibition(params, start), targets, x)
    excess = with_none - model.drive_for(params, targets)
    scale = jnp.where(inhibited > 0, excess / jnp.where(inhibited > 0, inhibited, 1.0), jnp.inf)
    sums = jnp.sum(start, axis=1)
    cap = max_inhibition * jnp.mean(jnp.sum(model.excitation(params), axis=1)) / jnp.where(sums > 0, sums, 1.0)
    unreachable = ~((scale >= 0) & (scale <= cap))
    scale = jnp.where(inhibited > 0, jnp.clip(scale, 0.0, cap), 1.0)
    new = model.with_inhibition(params, scale[:, None] * start)
    step = lambda rates: model.step(new, rates, x)  # noqa: E731
    mode = jnp.mean(jax.jvp(step, (targets,), (jnp.ones_like(targets),))[1])
    finite = jnp.isfinite(mode) & jnp.all(jnp.isfinite(scale))
    failed = (jnp.mean(unreachable) > 0.01) | (jnp.abs(mode) > 1.0)
    status = jnp.where(finite, jnp.where(failed, UNREACHED, REACHED), NOT_FINITE).astype(jnp.int32)
    return Design(new, scale, unreachable, mode, status)


def _check_ei(model: Any) -> None:
    check_model(model)
    check.methods("model", model, NEEDED, "EIReservoir, or LeakyRNN with excitatory given")


def _check_targets(model: Any, params: Any, targets: Any) -> Array:
    """Targets as (N,), inside the range of the units."""
    inhibition = model.inhibition(params)
    check.number("targets", targets)
    n = inhibition.shape[0]
    if jnp.shape(targets) not in ((), (n,)):
        raise ValueError(f"targets must be a number or of shape ({n},), got shape {jnp.shape(targets)}")
    wanted = jnp.broadcast_to(jnp.asarray(targets, inhibition.dtype), (n,))
    if not check.is_traced(wanted, params) and not np.all(np.isfinite(model.drive_for(params, wanted))):
        raise ValueError("targets must be rates that the unit's non-linearity can take (inside (0, 1) for a sigmoid), "
                         f"got {targets!r}")
    return wanted
