"""Ridge over a stream: the data are seen once, chunk by chunk, and only a triangular factor is kept.

With Z = [1, X, Y] the whole fit depends on the data through the R factor of Z = Q R, (1 + F + D) square. Chunks fold
into it by QR of the stacked [R; Z_chunk] (TSQR: Demmel, Grigori, Hoemmen, Langou 2012, DOI 10.1137/080731992), which
does not square the condition number: right in float32, and a million steps need the memory of one chunk. The first
row of R holds the means, so the intercept stays unpenalised. Rows are folded in less the mean of the first chunk, so
that small variations about a large mean survive the rounding of the factor; any shift gives the same fit.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.protocol import Map
from dynlab.readout import solver
from dynlab.readout.linear import SQUARES, Linear, expand
from dynlab.simulation import check_inputs, check_noise, check_state, scan_steps

Array = jax.Array


@tree.dataclass
class Stream:
    """What is kept of the data seen so far.

    Attributes:
        factor: (P, P) upper triangular, P = 1 + F + D: the R factor of the rows [1, regressors, targets] - shift.
        shift: (P,), taken off each row: 0, then the mean of the first chunk's regressors and targets.
        count: number of samples, int32.
        n_outputs: D.
    """

    factor: Any
    shift: Any
    count: Any
    n_outputs: int = tree.static(default=1)


def stream_init(n_regressors: int, n_outputs: int) -> Stream:
    """An empty stream for F regressors (after expansion and inputs) and D targets."""
    check.integer("n_regressors", n_regressors, 1)
    check.integer("n_outputs", n_outputs, 1)
    width = 1 + n_regressors + n_outputs
    dtype = check.default_float()
    return Stream(jnp.zeros((width, width), dtype), jnp.zeros(width, dtype), jnp.zeros((), jnp.int32), n_outputs)


def fold(stream: Stream, regressors: Array, targets: Array, valid: Array | None = None) -> Stream:
    """:func:`stream_update` without checks, for one chunk inside a program; rows with ``valid`` False are left out."""
    ones = jnp.ones((*regressors.shape[:-1], 1), regressors.dtype)
    rows = jnp.concatenate([ones, regressors, targets], axis=-1)
    mask = True if valid is None else valid[..., None]
    count = rows.shape[0] if valid is None else valid.sum(dtype=jnp.int32)
    mean = jnp.where(mask, rows, 0.0).sum(0) / jnp.maximum(count, 1)
    shift = jnp.where(stream.count == 0, mean.at[0].set(0.0), stream.shift)
    rows = jnp.where(mask, rows - shift, 0.0)
    factor = jnp.linalg.qr(jnp.concatenate([stream.factor, rows]), mode="r")
    return Stream(factor, shift, stream.count + count, stream.n_outputs)


_fold = jax.jit(fold)


def stream_update(stream: Stream, regressors: Any, targets: Any) -> Stream:
    """Fold in one chunk (time, F) and its targets (time, D), or a batch of chunks. Pure; chunks come in any order.

    For squares or inputs as regressors call :func:`dynlab.readout.linear.expand` on the chunk first. Chunks of equal
    length compile once; cost is that of a QR of (P + time, P): make the chunks a few times longer than F.
    """
    width = stream.factor.shape[0] - 1 - stream.n_outputs
    x = check.series("regressors", regressors, n_features=width)
    y = check.series("targets", targets, n_features=stream.n_outputs)
    check.same_length("targets", y, "regressors", x)
    return _fold(stream, x.reshape(-1, width), y.reshape(-1, stream.n_outputs))


@partial(jax.jit, static_argnames="intercept")
def _solve(stream: Stream, ridges: Array, *, intercept: bool) -> tuple[Array, Array]:
    n = stream.factor.shape[0] - 1 - stream.n_outputs
    r = stream.factor
    if not intercept:
        r = r.at[0].add(r[0, 0] * stream.shift)  # the factor of the rows as they came
        x, y = r[: 1 + n, 1 : 1 + n], r[: 1 + n, 1 + n :]
        weights = solver.solve("cholqr", False, x, jnp.zeros_like(x[0]), y, ridges)
        return weights, jnp.zeros((ridges.shape[0], stream.n_outputs), r.dtype)
    # the first row is sqrt(count) (up to sign) times [1, mean of x, mean of y]; below it: the factor of centred data
    moved = r[0] / jnp.where(r[0, 0] == 0, 1.0, r[0, 0])  # means of the shifted rows
    x_mean, y_mean = (stream.shift + moved)[1 : 1 + n], (stream.shift + moved)[1 + n :]
    x, y = r[1 : 1 + n, 1 : 1 + n], r[1 : 1 + n, 1 + n :]
    # what rounding leaves of a constant feature: in the data (as in the batch fit) and in the factor
    level = jnp.finfo(r.dtype).eps * (4 * jnp.abs(x_mean) + 100 * jnp.abs(moved[1 : 1 + n]))
    x = jnp.where((x**2).sum(0) > stream.count * level**2, x, 0.0)
    weights = solver.solve("cholqr", False, x, jnp.zeros_like(x[0]), y, ridges)
    return weights, y_mean - jnp.einsum("f,rfd->rd", x_mean, weights, precision="highest")


def stream_solve(
    stream: Stream, ridge: Any = 1e-6, *, intercept: bool = True, squares: str = "none", with_input: bool = False
) -> Linear:
    """The ridge readout of everything folded in so far; same meaning of `ridge` and `intercept` as in ``ridge``.

    Args:
        ridge: at least 0; a number, or an array (R,) for stacked readouts.
        squares, with_input: how the regressors were expanded, so that the readout does the same when predicting.
    """
    check.choice("squares", squares, SQUARES)
    check.number("ridge", ridge, 0.0)
    if not check.is_traced(stream.count) and int(stream.count) == 0:
        raise ValueError("stream must hold at least one sample, got an empty one: call stream_update first")
    ridges = jnp.asarray(ridge, stream.factor.dtype)
    if ridges.ndim > 1 or ridges.size == 0:
        raise ValueError(f"ridge must be a number or a one-dimensional array, got shape {ridges.shape}")
    weights, bias = _solve(stream, jnp.atleast_1d(ridges), intercept=bool(intercept))
    if ridges.ndim == 0:
        weights, bias = weights[0], bias[0]
    return Linear(weights, bias, squares=squares, with_input=with_input)


@partial(jax.jit, static_argnames=("batched", "washout", "chunk", "squares", "with_input"))
def accumulate(
    model: Map, params: Any, inputs: Array, targets: Array, key: Array | None, state: Any, *,
    batched: bool, washout: int, chunk: int, squares: str, with_input: bool,
) -> Stream:
    """Simulate and fold chunk by chunk; inputs (batch, time, n_inputs), targets (batch, time, D), state batched.

    ``batched=False`` (one series) draws the noise from `key` itself, as ``simulate`` does.
    """
    n_series, n_steps, n_outputs = targets.shape
    n_chunks = -(-n_steps // chunk)

    def padded(a: Array) -> Array:
        return jnp.pad(a, ((0, 0), (0, n_chunks * chunk - n_steps), (0, 0))).reshape(n_series, n_chunks, chunk, -1)

    def one_series(stream: Stream, series: tuple[Array, Array, Array, Any]) -> tuple[Stream, None]:
        index, us, ys, start = series
        series_key = jax.random.fold_in(key, index) if batched and key is not None else key
        start = model.init_state(params) if start is None else start

        def one_chunk(carry: tuple[Stream, Any], part: tuple[Array, Array, Array]) -> tuple[tuple[Stream, Any], None]:
            stream, now = carry
            t0, u, y = part
            now, features = scan_steps(
                model, params, now, u, series_key, t0, chunk, lambda params, state, x: model.observe(params, state)
            )
            times = t0 + jnp.arange(chunk)
            phi = expand(features, u if with_input else None, squares)
            return (fold(stream, phi, y, (times >= washout) & (times < n_steps)), now), None

        (stream, _), _ = jax.lax.scan(one_chunk, (stream, start), (jnp.arange(n_chunks) * chunk, us, ys))
        return stream, None

    def features_of(params: Any, u: Array) -> Array:
        return expand(model.observe(params, model.init_state(params)), u if with_input else None, squares)

    n_regressors = jax.eval_shape(features_of, params, inputs[0, 0]).shape[0]
    stream, _ = jax.lax.scan(
        one_series, stream_init(n_regressors, n_outputs),
        (jnp.arange(n_series), padded(inputs), padded(targets), state),
    )
    return stream


def fit_readout(
    model: Map, params: Any, inputs: Any, targets: Any, *, washout: int = 0, ridge: Any = 1e-6, chunk: int = 2000,
    key: Array | None = None, state: Any = None, intercept: bool = True, with_input: bool = False,
    squares: str = "none",
) -> Linear:
    """Drive a model and fit a ridge readout in one compiled program that never holds the (time, features) array.

    Equals ``ridge(simulate(model, params, inputs).outputs, targets, ...)`` up to rounding.

    Args:
        model, params, key, state: as in :func:`dynlab.simulate` (noise of step t: ``fold_in(key, t)``).
        inputs: (time, n_inputs) or (batch, time, n_inputs); series are run one after the other and pooled.
        targets: (time, D) or (batch, time, D).
        washout: first steps dropped from each series.
        ridge: added to phi'phi as it is; a number or an array (R,).
        chunk: steps simulated between two folds: the memory held, best a few times the number of features.

    Returns:
        :class:`~dynlab.readout.linear.Linear`.
    """
    check.choice("squares", squares, SQUARES)
    check.number("ridge", ridge, 0.0)
    check.integer("chunk", chunk, 1)
    u, batched = check_inputs(model, inputs)
    if not isinstance(u, jax.Array):
        raise TypeError(f"inputs must be one array for fit_readout, got {type(u).__name__}: use stream_update")
    y = check.series("targets", targets)
    check.same_length("targets", y, "inputs", u)
    washout = check.washout(washout, u.shape[-2])
    check_noise(params, key)
    if state is not None:
        state = check_state(model, params, state, u.shape[0] if batched else None)
    if not batched:
        u, y = u[None], y[None]
        state = None if state is None else jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], state)
    stream = accumulate(
        model, params, u, y, key, state,
        batched=batched, washout=washout, chunk=min(chunk, u.shape[1]), squares=squares, with_input=bool(with_input),
    )
    return stream_solve(stream, ridge, intercept=intercept, squares=squares, with_input=bool(with_input))
