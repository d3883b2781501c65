"""Timescales of a network from its equations: parameters and eigenvalues, beside those of its activity."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.analysis.linearize import jacobian, phase_map
from dynlab.analysis.modes import rates
from dynlab.analysis.timescales import MIN_LAGS, Timescales, all_timescales, default_lags
from dynlab.simulation import check_inputs, check_model, simulate

Array = jax.Array


@tree.dataclass
class EigenvalueTimescales:
    """Decay times and frequencies of the modes of a linear map, slowest first; (..., n) each.

    Attributes:
        tau: -dt / ln|lambda| in the unit of dt: 0 for lambda = 0, infinite on the unit circle, negative for a mode
            that grows (by e in -tau).
        frequency: arg(lambda) / (2 pi dt), cycles per unit of dt; a complex pair has both signs.
        eigenvalues: complex, by falling modulus.
        status: int32 (...,): 0 all modes decay, 1 some do not, 2 not finite (NaN).
    """

    tau: Array
    frequency: Array
    eigenvalues: Array
    status: Array


@tree.dataclass
class NetworkTimescales:
    """The timescales of a network from three sides, in the unit of ``model.dt``.

    Attributes:
        parameter: (N,), the time constants of its units (:func:`parameter_timescales`); None for a model without.
        eigenvalue: of the Jacobian at `point`, (n,) modes (:class:`EigenvalueTimescales`).
        activity: of each feature along the run (:class:`dynlab.Timescales`), with ``length`` (T/tau) and
            ``expected_offset`` (-2 tau/T), the bias of a finite run.
        jacobian: (n, n). point: (n,), the phase-space point it was taken at. x: the input it was taken at.
        status: int32: 0; 1 some mode at `point` does not decay; 2 the run or the Jacobian is not finite.
    """

    parameter: Array | None
    eigenvalue: EigenvalueTimescales
    activity: Timescales
    jacobian: Array
    point: Array
    x: Any
    status: Array

    def table(self) -> dict[str, np.ndarray]:
        """Columns for ``pandas.DataFrame``, filled up with NaN where one is shorter.

        Row i holds unit i (`parameter`), mode i by falling modulus (`eigenvalue`, `frequency`) and feature i (all
        others): modes belong to no unit.
        """
        own = np.zeros(0) if self.parameter is None else np.asarray(self.parameter)
        columns = {"parameter": own, "eigenvalue": np.asarray(self.eigenvalue.tau),
                   "frequency": np.asarray(self.eigenvalue.frequency), **self.activity.table()}
        rows = max(column.size for column in columns.values())
        return {name: np.concatenate([column, np.full(rows - column.size, np.nan)]) if column.size < rows else column
                for name, column in columns.items()}


def _from_eigenvalues(values: Any, dt: Any, xp: Any) -> tuple[Any, ...]:
    """(..., n) eigenvalues -> sorted (tau, frequency, eigenvalues, status), with NumPy or jax.numpy."""
    order = xp.argsort(-xp.abs(values), axis=-1)
    values = xp.take_along_axis(values, order, axis=-1)
    if xp is np:
        rate, frequency = rates(values, dt, flow=False)
    else:  # the same inside a trace
        rate, frequency = jnp.log(jnp.abs(values)) / dt, jnp.angle(values) / (2 * np.pi * dt)
    tau = xp.where(rate == 0, xp.inf, -1.0 / xp.where(rate == 0, 1.0, rate))
    finite = xp.all(xp.isfinite(values), axis=-1)
    tau, frequency = (xp.where(finite[..., None], value, xp.nan) for value in (tau, frequency))
    status = xp.where(finite, xp.where(xp.any(rate >= 0, axis=-1), 1, 0), 2)
    return tau, frequency, values, status


def _host_eigenvalues(matrix: np.ndarray) -> np.ndarray:
    finite = np.all(np.isfinite(matrix), axis=(-2, -1))
    values = np.linalg.eigvals(np.where(finite[..., None, None], matrix, 0.0))
    return np.where(finite[..., None], values, np.nan + 0j)


def eigenvalue_timescales(values: Any, dt: float | Array = 1.0) -> EigenvalueTimescales:
    r"""Decay times and frequencies from the eigenvalues of a map, or from its Jacobian.

    .. math:: \tau_j = -\frac{\Delta t}{\ln |\lambda_j|}, \qquad f_j = \frac{\arg \lambda_j}{2\pi \Delta t}

    Values that are concrete are taken to the host and computed by NumPy in float64, on every backend. Inside a trace
    (``jit``, ``vmap``) ``jax.numpy.linalg.eigvals`` is used, in the precision of the matrix, which exists on CPU and
    GPU only.

    Args:
        values: eigenvalues: real of shape (n,), or complex (..., n); or Jacobians: real (..., n, n).
        dt: time per step of the map.

    Returns:
        :class:`EigenvalueTimescales`. Each autocorrelation of a linear network driven by white noise is a mixture of
        :math:`\lambda_j^k`.

    Raises:
        ValueError, TypeError: a real array that is neither (n,) nor (..., n, n), no numbers, dt not positive.
    """
    traced = check.is_traced(values, dt)
    values = jnp.asarray(values) if traced else np.asarray(values)
    if values.dtype.kind not in "fiubc" and not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(f"values must be numbers, got dtype {values.dtype}")
    check.scalar("dt", dt, 0.0, low_open=True)
    is_complex = jnp.issubdtype(values.dtype, jnp.complexfloating)
    matrix = not is_complex and values.ndim != 1
    if values.ndim == 0 or values.size == 0 or (matrix and values.shape[-1] != values.shape[-2]):
        raise ValueError("values must be eigenvalues (n,), complex ones (..., n), or real Jacobians (..., n, n), "
                         f"got shape {values.shape}")
    if traced:
        values = jnp.linalg.eigvals(values.astype(jnp.result_type(values, check.default_float()))) if matrix \
            else values.astype(jnp.result_type(values, jnp.complex64))
        tau, frequency, values, status = _from_eigenvalues(values, dt, jnp)
    else:
        host = values.astype(complex) if not matrix else _host_eigenvalues(values.astype(float))
        tau, frequency, values, status = _from_eigenvalues(host, float(dt), np)
    real = check.default_float()
    return EigenvalueTimescales(jnp.asarray(tau, real), jnp.asarray(frequency, real),
                                jnp.asarray(values, jnp.result_type(real, jnp.complex64)),
                                jnp.asarray(status, jnp.int32))


def parameter_timescales(model: Any, params: Any) -> Array:
    """The time constants (N,) of a model's units, in the unit of its dt, as its parameters say.

    Asks the model's ``time_constants(params)``, an optional part of the protocol: an ESN gives -dt / ln(1 - a) for its
    leak rate a (0 for a = 1), a flow its tau; wrappers, stacks and closed loops pass on what is inside.

    Raises:
        TypeError: the model, or one inside it, has no time constants.
    """
    method = getattr(model, "time_constants", None)
    if method is None:
        raise TypeError(f"model must have time_constants(params) -> (N,) (and so must the models inside it), got "
                        f"{type(model).__name__} without: use eigenvalue_timescales or network_timescales")
    return method(params)


@partial(jax.jit, static_argnames="batched")
def _observed(model: Any, params: Any, states: Any, *, batched: bool) -> tuple[Array, Array]:
    """Features (M, T, F) of the states of a run and the mean phase vector (n,)."""
    lead = 2 if batched else 1
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[lead:]), states)
    features = jax.vmap(partial(model.observe, params))(flat)
    point = jnp.mean(jax.vmap(lambda state: tree.phase(state)[0])(flat), axis=0)
    n_steps = jax.tree.leaves(states)[0].shape[lead - 1]
    return features.reshape(-1, n_steps, features.shape[-1]), point


def network_timescales(
    model: Any, params: Any, inputs: Any, *, key: Array | None = None, state: Any = None, washout: int = 0,
    point: Any = None, x: Any = None, lags: int | None = None, n_steps: int | None = None,
) -> NetworkTimescales:
    r"""The timescales of one network from its parameters, its eigenvalues and its activity, side by side.

    The network is run once. `eigenvalue` is of its noiseless step linearised at `point` and constant input `x`; for a
    linear network driven by white noise the autocorrelations of `activity` are mixtures of these decays, exactly. For
    a non-linear one they need not agree: the linearisation holds near one point.

    Args:
        model: a smooth Map; params: what ``model.init(key)`` returned, or trained ones.
        inputs: series, batch of series (trials) or pytree of them, or None with `n_steps`; key, state, washout: as in
            :func:`dynlab.simulate`.
        point: the phase-space vector (n,) to linearise at, such as a fixed point; default the mean state of the run.
        x: the input of one step to linearise at; default the mean of `inputs` after the washout.
        lags: as in :func:`dynlab.timescales`.

    Returns:
        :class:`NetworkTimescales`, with ``table()``. Under ``jit`` and ``vmap`` the eigenvalues need CPU or GPU.

    Raises:
        TypeError: a flow that is not wrapped, or a model that is not smooth.
        ValueError: as :func:`dynlab.simulate`; a run of fewer than 7 steps; a point of wrong width.
    """
    check_model(model)
    if not model.smooth:
        raise TypeError(f"model must be smooth to have eigenvalue timescales, got {type(model).__name__} with "
                        "smooth=False: use timescales(simulate(model, params, inputs).outputs, model.dt)")
    system = phase_map(model, params)
    batched = False
    if inputs is not None:
        inputs, batched = check_inputs(model, inputs)
        length = jax.tree.leaves(inputs)[0].shape[int(batched)]
    else:
        length = n_steps = check.integer("n_steps", n_steps, 1)
    kept = length - check.washout(washout, length)
    if kept < MIN_LAGS + 2:
        raise ValueError(f"inputs must have at least {MIN_LAGS + 2} time steps after the washout, got {kept}")
    lags = check.integer("lags", default_lags(kept) if lags is None else lags, MIN_LAGS, kept - 1)
    if point is not None:
        point = check.array("point", point)
        if point.shape != (system.n,):
            raise ValueError(f"point must be a phase-space vector of shape ({system.n},), got {point.shape}")
    run = simulate(model, params, inputs, key=key, state=state, washout=washout, record="state", n_steps=n_steps)
    features, mean = _observed(model, params, run.outputs, batched=batched)
    point = mean if point is None else point
    if x is None and inputs is not None:
        axes = (0, 1) if batched else 0
        x = jax.tree.map(lambda leaf: jnp.mean(leaf[..., washout:, :], axis=axes), inputs)
    j = jacobian(system.at(x), point)
    modes = eigenvalue_timescales(j, model.dt)
    activity = all_timescales(features, model.dt, lags=lags)
    bad = ~jnp.all(jnp.isfinite(features)) | (modes.status == 2)
    own = getattr(model, "time_constants", None)
    return NetworkTimescales(None if own is None else own(params), modes, activity, j, point, x,
                             jnp.where(bad, 2, modes.status).astype(jnp.int32))
