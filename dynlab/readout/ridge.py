"""Ridge regression, right in float32, for batches of series, many targets and many ridge values."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check
from dynlab.readout import solver
from dynlab.readout.linear import SQUARES, Linear, expand

Array = jax.Array

_METHODS = ("auto", *solver.METHODS, "dual")


@partial(jax.jit, static_argnames=("washout", "intercept", "squares", "method"))
def _fit(
    features: Array, targets: Array, inputs: Array | None, ridges: Array, *,
    washout: int, intercept: bool, squares: str, method: str,
) -> tuple[Array, Array]:
    phi = expand(features, inputs, squares)
    x = phi[..., washout:, :].reshape(-1, phi.shape[-1])
    y = targets[..., washout:, :].reshape(-1, targets.shape[-1])
    dual = method == "dual" or (method == "auto" and x.shape[1] > x.shape[0])
    solver_name = method if method in solver.METHODS else "cholqr"
    x_mean = x.mean(0) if intercept else jnp.zeros(x.shape[1], x.dtype)
    y_mean = y.mean(0) if intercept else jnp.zeros(y.shape[1], y.dtype)
    weights = solver.solve(solver_name, dual, x, x_mean, y - y_mean, ridges)  # (R, F, D)
    return weights, y_mean - jnp.einsum("f,rfd->rd", x_mean, weights, precision="highest")


def ridge(
    features: Any, targets: Any, ridge: Any = 1e-6, *, washout: int = 0, intercept: bool = True, inputs: Any = None,
    squares: str = "none", method: str = "auto",
) -> Linear:
    r"""Fit y = phi W + b by ridge regression,

    .. math:: W, b = \arg\min \sum_t \lVert y_t - \phi_t W - b \rVert^2 + \lambda \lVert W \rVert^2.

    The ridge is added to phi'phi as it is, *not* multiplied by the number of samples (as in reservoirpy and ORC);
    the intercept b is not penalised. Accurate in float32 (see :mod:`dynlab.readout.solver`); usable inside ``jit``,
    ``vmap`` and ``grad`` (first derivatives, with respect to features, targets, inputs and ridge).

    Args:
        features: (time, N), or (batch, time, N): the series of a batch are pooled into one fit.
        targets: (time, D) or (batch, time, D), aligned with the features.
        ridge: at least 0; a number, or an array (R,) for R readouts from one decomposition: the result then has a
            leading axis R on weights and intercept, and predicts (R, ..., D). With 0, features of
            deficient rank give a finite answer whose fit is right and whose weights are not unique; ``method="svd"``
            gives the one of minimum norm.
            Several values also get one step of iterative refinement, a single one does not: in float32, on delayed
            inputs from 100 units of condition number 4e16, ridge 1e-6, the largest error of a prediction was 7e-4
            against 2.4e-3 (total memory capacity right to 1e-5 in both). ``[value, value]`` asks for it, at about
            0.2 to 0.4 of the cost of a fit.
        washout: number of first steps dropped from *each* series.
        intercept: fit b; otherwise b = 0.
        inputs: (time, n_inputs), batch first if batched: extra regressors, which prediction then needs too.
        squares: "none", "all" or "even": see :func:`dynlab.readout.linear.expand`.
        method: "auto": sketched Cholesky-QR, in dual form when there are more regressors than samples; "cholqr" or
            "dual" to choose; "qr" (Householder; not for deficient rank at ridge 0) and "svd" (exact, slow).

    Returns:
        :class:`~dynlab.readout.linear.Linear`.

    Raises:
        ValueError, TypeError: shapes that do not agree, non-finite data, a negative ridge, an unknown option.
    """
    check.choice("method", method, _METHODS)
    check.choice("squares", squares, SQUARES)
    check.number("ridge", ridge, 0.0)
    x = check.series("features", features)
    y = check.series("targets", targets)
    check.same_length("targets", y, "features", x)
    u = None
    if inputs is not None:
        u = check.series("inputs", inputs)
        check.same_length("inputs", u, "features", x)
    washout = check.washout(washout, x.shape[-2])
    ridges = jnp.asarray(ridge, x.dtype)
    if ridges.ndim > 1 or ridges.size == 0:
        raise ValueError(f"ridge must be a number or a one-dimensional array, got shape {ridges.shape}")
    weights, bias = _fit(
        x, y, u, jnp.atleast_1d(ridges), washout=washout, intercept=bool(intercept), squares=squares, method=method
    )
    if ridges.ndim == 0:
        weights, bias = weights[0], bias[0]
    return Linear(weights, bias, squares=squares, with_input=u is not None)
