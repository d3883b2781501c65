"""The one place that decides how a ridge problem is solved.

Ridge regression W = (X'X + lambda I)^-1 X'Y must never go through plain float32 normal equations: they square the
condition number, and the weak directions, which carry the long memory of a reservoir, drown in rounding. Here every
method first finds a *preconditioner* M (F, F) that makes X M nearly orthonormal, then solves in those coordinates,

    Q = X M,   S = Q'Q + lambda M'M,   W = M S^-1 Q'Y,

where S is well conditioned, so that its Cholesky factor is accurate. Only the choice of M differs:

* ``"cholqr"`` (default): two shifted Cholesky-QR passes on a small random sketch of the rows of [X; sqrt(lambda) I]
  (a fixed count sketch of about 1.5 F rows), then the pass on all rows above. Matrix products and small Cholesky
  factors only, so that it is fast on CPU, GPU and TPU. The shifts (a few rounding units of the trace) act on M alone
  and cancel from W; a rank-deficient X with lambda = 0 still gives a finite answer.
* ``"qr"``: M = R^-1 of the Householder QR of [X; sqrt(lambda) I].
* ``"svd"``: M = V / sqrt(s^2 + lambda), directions below rounding dropped when lambda = 0 (minimum-norm answer).

With more regressors than samples ("dual"), the problem is first turned into the T coordinates of an orthonormal basis
B (F, T) of the row space, W = B V with Z = X B: the textbook form W = X' (X X' + lambda I)^-1 Y cancels badly.

References: Fukaya, Kannan, Nakatsukasa, Yamamoto, Yanagisawa 2020, DOI 10.1137/18M1218212 (shifted Cholesky-QR);
Higgins, Szyld, Boman, Yamazaki 2023, arXiv 2309.05868 (randomized Cholesky-QR).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

Array = jax.Array

METHODS = ("cholqr", "qr", "svd")
SKETCH_ROWS = 1.5  # rows of the sketch per column; it is used when the data have more than twice as many
SHIFTS = (25.0, 8.0, 8.0)  # shifts of the three Cholesky factors, in units of the machine epsilon

_mm = partial(jnp.matmul, precision="highest")


def _sketch(x: Array) -> Array:
    """About ``SKETCH_ROWS * F`` random combinations of the rows of x: random signs, then sums of strided rows."""
    n_rows, n_cols = x.shape
    rows = int(SKETCH_ROWS * n_cols)
    if n_rows <= 2 * rows:
        return x
    folds = -(-n_rows // rows)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (folds, rows, 1))  # a constant of the program
    padded = jnp.pad(x, ((0, folds * rows - n_rows), (0, 0))).reshape(folds, rows, n_cols)
    return (padded * jnp.asarray(signs, x.dtype)).sum(0)


def _by_cholqr(x: Array, ridge: Array) -> Array:
    """Two shifted Cholesky-QR passes on a sketch of [x; sqrt(ridge) I], columns scaled to unit length."""
    eps, tiny, eye = jnp.finfo(x.dtype).eps, jnp.finfo(x.dtype).tiny, jnp.eye(x.shape[1], dtype=x.dtype)
    small = _sketch(x)
    gram = _mm(small.T, small) + ridge * eye
    power = jnp.diagonal(gram)
    scale = jnp.where(power > 0, jax.lax.rsqrt(jnp.where(power > 0, power, 1.0)), 1.0)
    gram = gram * scale[:, None] * scale
    c = jnp.linalg.cholesky(gram + (SHIFTS[0] * eps * jnp.trace(gram) + tiny) * eye)
    first = solve_triangular(c, jnp.diag(scale), lower=True)  # (first') makes the sketch nearly orthonormal
    q = _mm(small, first.T)
    gram = _mm(q.T, q) + ridge * _mm(first, first.T)
    c = jnp.linalg.cholesky(gram + (SHIFTS[1] * eps * jnp.trace(gram) + tiny) * eye)
    return solve_triangular(c, first, lower=True).T


def _by_qr(x: Array, ridge: Array) -> Array:
    eye = jnp.eye(x.shape[1], dtype=x.dtype)
    r = jnp.linalg.qr(jnp.concatenate([x, jnp.sqrt(ridge) * eye]), mode="r")
    return solve_triangular(r, eye)


def _by_svd(x: Array, ridge: Array) -> Array:
    n_rows, n_cols = x.shape
    if n_rows < n_cols:
        x = jnp.concatenate([x, jnp.zeros((n_cols - n_rows, n_cols), x.dtype)])
    _, s, vt = jnp.linalg.svd(x, full_matrices=False)
    tol = jnp.finfo(x.dtype).eps * max(n_rows, n_cols) * s[0]
    power = jnp.where((s > tol) | (ridge > 0), s**2 + ridge, 0.0)
    return vt.T * jnp.where(power > 0, jax.lax.rsqrt(jnp.where(power > 0, power, 1.0)), 0.0)


def centred(x: Array, offset: Array) -> Array:
    """x - offset; a column that varies by no more than the rounding of its offset (a constant feature) becomes 0."""
    out = x - offset
    noise = x.shape[0] * (4 * jnp.finfo(x.dtype).eps * offset) ** 2
    return jnp.where((out**2).sum(0) > noise, out, 0.0)


def _factor(method: str, x: Array, offset: Array, y: Array, ridges: Array) -> tuple[Array, Array, Array]:
    """Solve for one data set x (T, F), less its offset (F,), and y (T, D), for ridges (R,).

    Returns:
        ``(m, c, weights)``: the preconditioner (F, F), the Cholesky factors (R, F, F) of S, the weights (R, F, D).
    """
    x = centred(x, offset)  # in here, so that no centred copy of a whole batch is ever held
    m = {"cholqr": _by_cholqr, "qr": _by_qr, "svd": _by_svd}[method](x, ridges.min())
    q = _mm(x, m)
    gram, rhs = _mm(q.T, q), _mm(q.T, y)
    penalty = _mm(m.T, m)

    def one(ridge: Array) -> tuple[Array, Array]:
        c = _guarded_cholesky(gram + ridge * penalty)
        return c, _mm(m, jax.scipy.linalg.cho_solve((c, True), rhs))

    if ridges.shape[0] == 1:
        c, w = one(ridges[0])
        return m, c[None], w[None]

    def refined(ridge: Array) -> tuple[Array, Array]:  # M fits the smallest ridge: one correction for the others
        c, w = one(ridge)
        gradient = _mm(q.T, y - _mm(x, w)) - ridge * _mm(m.T, w)
        return c, w + _mm(m, jax.scipy.linalg.cho_solve((c, True), gradient))

    c, w = jax.lax.map(refined, ridges)
    return m, c, w


def _guarded_cholesky(s: Array) -> Array:
    """Cholesky factor of S, which is well conditioned but for the scale of its diagonal (as is then the factor).

    A direction that does not exist (a dropped column) gets S = 1.
    """
    diagonal = jnp.diagonal(s)
    shift = SHIFTS[2] * jnp.finfo(s.dtype).eps * diagonal
    return jnp.linalg.cholesky(s + jnp.diag(jnp.where(diagonal > 0, shift, 1.0)))


def _basis(x: Array) -> Array:
    """Orthonormal basis (F, T) of the row space of x (T, F), T < F."""
    q = _mm(x.T, _by_cholqr(x.T, jnp.zeros((), x.dtype)))
    return solve_triangular(_guarded_cholesky(_mm(q.T, q)), q.T, lower=True).T


def _own_batching(plain: Any) -> Any:
    """Give a function of unbatched arrays its own batching rule: on a CPU its LAPACK calls run one data set after the
    other (a batched Cholesky factor or triangular solve costs more there than the loop), elsewhere in one batch."""
    call = jax.custom_batching.custom_vmap(plain)

    @call.def_vmap
    def rule(axis_size: int, in_batched: Any, *args: Array) -> Any:
        del axis_size

        def fill(moving: Any) -> list[Array]:
            rest = iter(moving)
            return [next(rest) if batched else arg for arg, batched in zip(args, in_batched, strict=True)]

        out = jax.lax.platform_dependent(
            *(arg for arg, batched in zip(args, in_batched, strict=True) if batched),
            cpu=lambda *moving: jax.lax.map(lambda each: call(*fill(each)), moving),
            default=lambda *moving: jax.vmap(lambda *each: plain(*fill(each)))(*moving),
        )
        return out, jax.tree.map(lambda _: True, out)

    return call


def _weights(method: str, *args: Array) -> Array:
    return _factor(method, *args)[2]


_factors = {method: _own_batching(partial(_factor, method)) for method in METHODS}
_weights_only = {method: _own_batching(partial(_weights, method)) for method in METHODS}
_row_basis = _own_batching(_basis)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def solve(method: str, dual: bool, x: Array, offset: Array, y: Array, ridges: Array) -> Array:
    """(X'X + ridge I)^-1 X'Y with X = x - offset, for each ridge value, from one preconditioner.

    Differentiable once, forward or reverse, in all arrays: by the implicit function theorem, with the same factors.
    (Derivatives of derivatives are not supported: the factorisation has no derivative of its own.)

    Args:
        method: one of ``METHODS``.
        dual: work in the row space, for more columns than rows.
        x: (T, F). offset: (F,), the mean of x or 0. y: (T, D). ridges: (R,).

    Returns:
        (R, F, D).
    """
    if not dual:
        return _weights_only[method](x, offset, y, ridges)
    x = centred(x, offset)
    basis = _row_basis(x)
    z = _mm(x, basis)
    return _mm(basis, _weights_only[method](z, jnp.zeros_like(z[0]), y, ridges))


def _inner(m: Array, c: Array, rhs: Array) -> Array:
    """m S^-1 rhs, by triangular solves that transpose."""
    half = solve_triangular(c, rhs, lower=True)
    return _mm(m, solve_triangular(c, half, lower=True, trans=1))


@solve.defjvp
def _solve_jvp(method: str, dual: bool, primals: Any, tangents: Any) -> tuple[Array, Array]:
    """dW = (X'X + r I)^-1 [dX'(Y - X W) + X'(dY - dX W) - dr W], in the coordinates of the factors."""
    (x, offset, y, ridges), (dx, doffset, dy, dridges) = primals, tangents
    dx = dx - doffset
    if not dual:
        m, c, weights = _factors[method](x, offset, y, ridges)
        x = centred(x, offset)
        q = _mm(x, m)

        def each(c: Array, w: Array, dridge: Array) -> Array:
            return _inner(m, c, _mm(m.T, _mm(dx.T, y - _mm(x, w)) - dridge * w) + _mm(q.T, dy - _mm(dx, w)))

        return weights, jax.vmap(each)(c, weights, dridges)

    x = centred(x, offset)
    basis = _row_basis(x)
    z = _mm(x, basis)
    zero = jnp.zeros_like(z[0])
    m, c, v = _factors[method](z, zero, y, ridges)
    q = _mm(z, m)
    m_t, c_t, _ = _factors[method](z.T, zero, zero[:, None], ridges)  # for (X X' + r I)^-1 Y

    def one(c: Array, c_t: Array, v: Array, dridge: Array) -> Array:
        residual = y - _mm(z, v)
        alpha = _inner(m_t, c_t, _mm(m_t.T, y))  # residual / ridge, without the division
        outside = _mm(dx.T, alpha)  # the part that leaves the row space
        outside = outside - _mm(basis, _mm(basis.T, outside))
        rhs = _mm(m.T, _mm(basis.T, _mm(dx.T, residual)) - dridge * v)
        return outside + _mm(basis, _inner(m, c, rhs + _mm(q.T, dy - _mm(dx, _mm(basis, v)))))

    return _mm(basis, v), jax.vmap(one)(c, c_t, v, dridges)
