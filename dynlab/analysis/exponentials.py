"""Fits of one or two exponentials to an autocorrelation, and the choice between them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.analysis.levenberg import levenberg
from dynlab.analysis.projection import Problem, timescales_of

Array = jax.Array

MODELS = {"exp": (1, False), "exp+offset": (1, True), "two exp": (2, False), "two exp+offset": (2, True)}
STEPS, N_STARTS = 50, 6  # Levenberg-Marquardt steps of each start
MAX_RESIDUALS = 2**22  # entries of the residuals of one batch of fits: 16 MiB in float32, and a few times that in all
SMALLEST_SHARE, LARGEST_RATIO = 1e-3, 0.95  # of the weights and the timescales: beyond, two exponentials are one


@tree.dataclass
class ExponentialFit:
    """Exponentials fitted to an autocorrelation (L, ...); K of them.

    Attributes:
        tau: (..., K), the slowest first, in the unit of dt. weight: (..., K), the value at lag 0 of each; of any sign.
        offset: (...,), 0 for a model without one.
        rss: (...,), sum of squared residuals. aic: n ln(rss / n) + 2 p; bic: n ln(rss / n) + p ln n, for n lags and p
            parameters (timescales, weights, offset); rss / n is taken as at least the square of the machine epsilon.
        status: int32 (...,): 0 fitted; 1 at a bound or not identifiable (a tau below one lag or above `max_tau`, a
            single exponential with negative weight, two of which one has less than 0.1 % of the weight or which differ
            by less than 5 %; the numbers are given as they came out); 2 not finite (then all are NaN).
    """

    tau: Array
    weight: Array
    offset: Array
    rss: Array
    aic: Array
    bic: Array
    status: Array

    @property
    def slowest(self) -> Array:
        """The slowest timescale (...,)."""
        return self.tau[..., 0]


@tree.dataclass
class Comparison:
    """One exponential against two.

    Attributes:
        one, two: the fits. aic_difference, bic_difference: (...,), two minus one: negative favours two.
        aic_number, bic_number: int32 (...,), how many exponentials each criterion picks; 1 where the fit of two has a
            status other than 0, 0 where nothing could be fitted.
    """

    one: ExponentialFit
    two: ExponentialFit
    aic_difference: Array
    bic_difference: Array
    aic_number: Array
    bic_number: Array


def _starts(two: Array, window: int, dtype: Any) -> Array:
    """Start values (N_STARTS, 2): timescales from below one lag to twice the window, or all pairs of four such."""
    single = np.stack([np.log(np.geomspace(0.7, 2.0 * window, N_STARTS)), np.zeros(N_STARTS)], axis=1)
    grid = np.geomspace(0.7, 2.0 * window, 4)
    ratios = [(slow, fast / slow) for i, slow in enumerate(grid) for fast in grid[:i]]
    pairs = np.asarray([(np.log(slow), np.log(ratio / (1 - ratio))) for slow, ratio in ratios])
    return jnp.where(two, pairs, single).astype(dtype)


def _fit_one(y: Array, max_lags: Array, first_lag: int, two: Array, offset: Array) -> ExponentialFit:
    """One autocorrelation (L,), with timescales in lags; a single exponential has zeros in the second place."""
    n = y.shape[0]
    t = first_lag + jnp.arange(n, dtype=y.dtype)
    finite = jnp.all(jnp.isfinite(y))
    y = jnp.where(finite, y, 0.0)
    problem = Problem(y, t, offset, two)
    z, norm = jax.vmap(lambda start: levenberg(problem, start, STEPS))(_starts(two, first_lag + n - 1, y.dtype))
    tau = timescales_of(z[jnp.argmin(jnp.where(jnp.isfinite(norm), norm, jnp.inf))])
    weights, rest, _ = problem.solve(tau)
    rss = jnp.sum(rest * rest)
    shift = jnp.where(offset, jnp.mean(y - jnp.sum(weights[:, None] * jnp.exp(-t / tau[:, None]), axis=0)), 0.0)
    edge = (jnp.where(two, tau[1], tau[0]) < 1.0) | ~(tau[0] <= max_lags)
    size = jnp.abs(weights)
    single_edge = weights[0] <= 0
    double_edge = (tau[1] > LARGEST_RATIO * tau[0]) | (jnp.min(size) < SMALLEST_SHARE * jnp.sum(size))
    edge |= jnp.where(two, double_edge, single_edge)
    good = finite & jnp.isfinite(rss) & jnp.all(jnp.isfinite(weights)) & jnp.all(jnp.isfinite(tau))
    n_parameters = jnp.where(two, 4.0, 2.0) + offset
    spread = n * jnp.log(jnp.maximum(rss / n, jnp.finfo(y.dtype).eps ** 2))
    numbers = (tau, weights, shift, rss, spread + 2.0 * n_parameters, spread + n_parameters * np.log(n))
    status = jnp.where(good, jnp.where(edge, 1, 0), 2).astype(jnp.int32)
    tau, weights, shift, rss, aic, bic = (jnp.where(good, x, jnp.nan).astype(y.dtype) for x in numbers)
    return ExponentialFit(tau, weights, shift, rss, aic, bic, status)


def fit_columns(acf: Array, dt: Any, max_tau: Any, two: Array, offset: Array, first_lag: int) -> ExponentialFit:
    """Several models (m,) for every column of (L, F) with one solver: (m, F) each, two places for tau.

    All columns at once, or in equal batches one after the other where the residuals would be over ``MAX_RESIDUALS``.
    """
    chosen = jnp.asarray(two), jnp.asarray(offset)
    models = jax.vmap(_fit_one, in_axes=(None, None, None, 0, 0))
    each = jax.vmap(lambda y: models(y, max_tau / dt, first_lag, *chosen), out_axes=1)
    rows = acf[first_lag:].T
    count, length = rows.shape
    most = max(1, MAX_RESIDUALS // (length * N_STARTS * len(two)))
    if count <= most:
        fits: ExponentialFit = each(rows)
    else:
        batches = -(-count // most)
        width = -(-count // batches)
        padded = jnp.pad(rows, ((0, batches * width - count), (0, 0))).reshape(batches, width, length)
        fits = jax.tree.map(lambda leaf: _joined(leaf, count), jax.lax.map(each, padded))
    return dataclasses.replace(fits, tau=dt * fits.tau)


def _joined(leaf: Array, count: int) -> Array:
    """(batches, m, width, ...) -> (m, count, ...)."""
    leaf = jnp.moveaxis(leaf, 0, 1)
    return leaf.reshape(leaf.shape[0], -1, *leaf.shape[3:])[:, :count]


_fit_columns = jax.jit(fit_columns, static_argnames="first_lag")


def flags(*models: str) -> tuple[Any, Any]:
    """What :func:`fit_columns` must know of the models: which have two exponentials, which an offset."""
    return np.array([MODELS[name][0] == 2 for name in models]), np.array([MODELS[name][1] for name in models])


def separated(fits: ExponentialFit, *models: str) -> list[ExponentialFit]:
    """The fit of each model, with as many places for tau as it has exponentials."""
    out = []
    for i, name in enumerate(models):
        fit: ExponentialFit = jax.tree.map(lambda leaf, i=i: leaf[i], fits)
        n_exp = MODELS[name][0]
        out.append(dataclasses.replace(fit, tau=fit.tau[:, :n_exp], weight=fit.weight[:, :n_exp]))
    return out


@jax.jit
def choose(one: ExponentialFit, two: ExponentialFit) -> Comparison:
    """The compiled part of :func:`compare_exponentials`."""
    def number(difference: Array) -> Array:
        best = jnp.where((two.status == 0) & (difference < 0), 2, 1)
        return jnp.where(one.status == 2, 0, best).astype(jnp.int32)

    aic, bic = two.aic - one.aic, two.bic - one.bic
    return Comparison(one, two, aic, bic, number(aic), number(bic))


def _checked(acf: Any, dt: Any, model: str, first_lag: int, max_tau: Any) -> tuple[Array, int, Any]:
    check.choice("model", model, MODELS)
    acf = check.array("acf", acf, finite=False)
    if acf.ndim == 0 or acf.size == 0:
        raise ValueError(f"acf must have shape (lags + 1, ...), got {acf.shape}")
    check.scalar("dt", dt, 0.0, low_open=True)
    first_lag = check.integer("first_lag", first_lag, 0)
    n_exp, offset = MODELS[model]
    need = 2 * n_exp + offset + 1
    if acf.shape[0] - first_lag < need:
        raise ValueError(f"acf must have at least {need} lags from first_lag = {first_lag} on for the model {model!r}, "
                         f"got {acf.shape[0] - first_lag}")
    if max_tau is None:
        max_tau = 10.0 * dt * (acf.shape[0] - 1)
    else:
        check.scalar("max_tau", max_tau, 0.0, low_open=True)
    return acf, first_lag, max_tau


def _unflattened(fit: ExponentialFit, shape: tuple[int, ...]) -> ExponentialFit:
    return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), fit)


def fit_timescales(
    acf: Any, dt: float | Array = 1.0, model: str = "exp+offset", *, first_lag: int = 0,
    max_tau: float | Array | None = None,
) -> ExponentialFit:
    r"""Fit one or two exponentials, with or without an offset, to an autocorrelation.

    .. math:: \rho_k \approx \sum_{j=1}^{K} a_j\, e^{-k \Delta t / \tau_j} + b

    by least squares over all lags given, lag 0 included. The weights are linear and are solved for exactly inside the
    residual (variable projection, Golub and Pereyra 1973, doi:10.1137/0710036), so that Levenberg-Marquardt moves only
    the logarithms of the timescales, a fixed number of steps from 6 starts.

    The mean that :func:`dynlab.autocorrelation` takes off shifts it by about :math:`-2\tau/T`. Without an offset the
    fit reads that as a faster decay (tau 20 from 1,000 steps: 17.4); with an offset it is right to 0.1 % in
    expectation. How many lags: a few tau. Noise of the measurement adds to lag 0 only: leave it out by `first_lag` = 1.

    Args:
        acf: (L, ...), lag 0 first. dt: time per lag.
        model: "exp", "exp+offset", "two exp" or "two exp+offset" (static).
        first_lag: lags before it are left out of the fit (static); the weights still belong to lag 0.
        max_tau: above, a timescale has status 1; default 10 times the longest lag. Give the length of the series.

    Returns:
        :class:`ExponentialFit`, tau of shape (..., 1) or (..., 2).

    Raises:
        ValueError, TypeError: fewer lags than parameters + 1, an unknown model, dt or max_tau not positive.
    """
    acf, first_lag, max_tau = _checked(acf, dt, model, first_lag, max_tau)
    fits = _fit_columns(acf.reshape(acf.shape[0], -1), dt, max_tau, *flags(model), first_lag=first_lag)
    return _unflattened(separated(fits, model)[0], acf.shape[1:])


def compare_exponentials(
    acf: Any, dt: float | Array = 1.0, *, offset: bool = True, first_lag: int = 0, max_tau: float | Array | None = None,
) -> Comparison:
    """Fit one and two exponentials and pick by AIC and by BIC.

    Both criteria take the residuals at different lags as independent. Those of a sample autocorrelation are not (they
    are as correlated as the series), so the evidence for a second exponential is overstated, by AIC most. Of 60
    simulated series with one timescale BIC picked two in 20 (T = 500 tau) and in 13 (T = 50 tau): a choice of one is an
    answer, a choice of two a hint to be repeated on other data.

    Args:
        acf, dt, first_lag, max_tau: as in :func:`fit_timescales`. offset: of both models (static).

    Returns:
        :class:`Comparison`.
    """
    names = ("exp+offset", "two exp+offset") if offset else ("exp", "two exp")
    acf, first_lag, max_tau = _checked(acf, dt, names[1], first_lag, max_tau)
    fits = _fit_columns(acf.reshape(acf.shape[0], -1), dt, max_tau, *flags(*names), first_lag=first_lag)
    return choose(*(_unflattened(fit, acf.shape[1:]) for fit in separated(fits, *names)))
