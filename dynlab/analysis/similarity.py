"""How alike two sets of states are: Procrustes distance, centred kernel alignment, angles between subspaces."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.analysis.geometry import unit

Array = jax.Array

_mm = partial(jnp.matmul, precision="highest")


def _pair(x: Any, y: Any, min_length: int) -> tuple[Array, Array]:
    x = check.series("x", x, batched=False, min_length=min_length)
    y = check.series("y", y, batched=False)
    check.same_length("x", x, "y", y)
    return x, y


def _norm(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(x * x))


@tree.dataclass
class Procrustes:
    """The best rotation of one set of states onto another.

    Attributes:
        angle: scalar in [0, pi/2], radians; does not depend on the sizes of the two.
        distance: scalar, root of the summed squares that are left, in the unit of the states.
        rotation: (p, p) orthogonal with p = max(n, m): ``y @ rotation`` comes nearest to ``x``, both less their means
            and padded with zeros to p columns. It may hold a reflection.
        status: 0, or 1 when a number is not finite: the data were not, or one of the two does not vary.
    """

    angle: Array
    distance: Array
    rotation: Array
    status: Array


def _rotation(x: Array, y: Array) -> Array:
    """The orthogonal Q (p, p) that brings y Q (T, p) nearest to x (T, p).

    Q is the polar factor of y'x. That product squares the condition of states, and its factor in float32 can be wrong
    by the square root of eps. Between the singular bases of x and y the same product is graded, large rows and columns
    first, and QR iteration (LAPACK's gesvd) keeps the small ones right; divide and conquer (gesdd) does not.
    """
    (ux, sx, vx), (uy, sy, vy) = (jnp.linalg.svd(v, full_matrices=False) for v in (x, y))
    product = sy[:, None] * _mm(uy.T, ux) * sx
    by_qr = partial(jax.lax.linalg.svd, algorithm=jax.lax.linalg.SvdAlgorithm.QR)
    u, _, vt = jax.lax.platform_dependent(product, default=by_qr, tpu=jax.lax.linalg.svd)  # TPU has no other
    return _mm(_mm(vy.T, _mm(u, vt)), vx)


@partial(jax.jit, static_argnames="center")
def _procrustes(x: Array, y: Array, *, center: bool) -> Procrustes:
    p = max(x.shape[1], y.shape[1])
    (x, x_norm), (y, y_norm) = unit(x, center=center), unit(y, center=center)
    x, y = (jnp.pad(v, ((0, max(p - v.shape[0], 0)), (0, p - v.shape[1]))) for v in (x, y))
    rotation = _rotation(x, y)
    turned = _mm(y, rotation)
    # the chord, not arccos of the nuclear norm: that one cannot tell angles below 3e-4 from 0 in float32
    angle = 2.0 * jnp.arcsin(jnp.minimum(_norm(x - turned) / 2.0, jnp.sqrt(0.5)))
    larger = jnp.maximum(x_norm, y_norm)
    distance = larger * _norm(x * (x_norm / larger) - turned * (y_norm / larger))
    good = jnp.isfinite(angle) & jnp.isfinite(distance) & jnp.all(jnp.isfinite(rotation))
    angle, distance, rotation = (jnp.where(good, v, jnp.nan) for v in (angle, distance, rotation))
    return Procrustes(angle, distance, rotation, jnp.where(good, 0, 1).astype(jnp.int32))


def procrustes(x: Any, y: Any, *, center: bool = True) -> Procrustes:
    r"""Procrustes distances: what no rotation or reflection of `y` can take away (Williams et al. 2021,
    arXiv:2110.14739).

    .. math:: d = \min_Q |X - YQ|_F, \qquad
        \theta = \min_Q \arccos \frac{\langle X, YQ \rangle}{|X|_F\,|Y|_F}

    over orthogonal Q. Both are metrics on sets of states up to rotation, reflection and (with `center`) translation;
    :math:`\theta` is free of scale as well. In closed form :math:`\cos\theta = |X^\top Y|_* / (|X|_F |Y|_F)` and
    :math:`d^2 = |X|_F^2 + |Y|_F^2 - 2 |X|_F |Y|_F \cos\theta`, but neither is used, as small numbers would drown in
    rounding. Distances of the states scaled to norm 1 are :math:`2 \sin(\theta/2)`;
    ``scipy.spatial.procrustes`` gives :math:`\sin^2\theta`.

    Args:
        x: states (T, n).
        y: states (T, m) at the same T times or conditions; the narrower one is padded with zero columns.
        center: take the mean of each column away first.

    Raises:
        ValueError, TypeError: not finite, not of shape (time, features), of different lengths; T below 2.
    """
    check.choice("center", center, (True, False))
    x, y = _pair(x, y, 2)
    return _procrustes(x, y, center=bool(center))


@partial(jax.jit, static_argnames="debiased")
def _cka(x: Array, y: Array, *, debiased: bool) -> Array:
    t = x.shape[0]
    (x, _), (y, _) = unit(x), unit(y)
    if t < max(x.shape[1], y.shape[1]):  # the same traces, from whichever matrices are smaller
        kx, ky = _mm(x, x.T), _mm(y, y.T)
        cross, own_x, own_y = jnp.sum(kx * ky), jnp.sum(kx * kx), jnp.sum(ky * ky)
    else:
        cross, own_x, own_y = (jnp.sum(_mm(a.T, b) ** 2) for a, b in ((x, y), (x, x), (y, y)))
    if debiased:
        rows_x, rows_y = jnp.sum(x * x, axis=1), jnp.sum(y * y, axis=1)
        last = 1.0 / ((t - 1.0) * (t - 2.0))  # the squared norms, which are 1
        cross, own_x, own_y = (
            value - t / (t - 2.0) * jnp.sum(a * b) + last
            for value, a, b in ((cross, rows_x, rows_y), (own_x, rows_x, rows_x), (own_y, rows_y, rows_y))
        )
    return cross / (jnp.sqrt(own_x) * jnp.sqrt(own_y))


def cka(x: Any, y: Any, debiased: bool = False) -> Array:
    r"""Linear centred kernel alignment (Kornblith et al. 2019, arXiv:1905.00414), 1 for equal up to rotation and scale.

    .. math:: \mathrm{CKA} = \frac{|X^\top Y|_F^2}{|X^\top X|_F\,|Y^\top Y|_F}

    of the centred states. Independent data of many units do not give 0: in T states of n and m isotropic units it is
    about :math:`\sqrt{nm}/T` while that is small, and goes to 1 with n and m at fixed T. `debiased` puts the unbiased
    estimates of Song et al. (2007; the Hilbert-Schmidt independence criterion without the diagonals) into numerator
    and denominator; it has a mean near 0 there and can be negative.

    Args:
        x: states (T, n).
        y: states (T, m).
        debiased: T at least 4.

    Returns:
        scalar; NaN when one of the two does not vary, or when its unbiased estimate is negative.

    Raises:
        ValueError, TypeError: not finite, not of shape (time, features), of different lengths; too short.
    """
    check.choice("debiased", debiased, (True, False))
    x, y = _pair(x, y, 4 if debiased else 2)
    return _cka(x, y, debiased=bool(debiased))


def _basis(a: Array) -> tuple[Array, Array]:
    """Orthonormal basis (T, min(T, n)) of the columns of `a`, zero beyond its numerical rank; and that rank."""
    u, s, _ = jnp.linalg.svd(a / jnp.max(jnp.abs(a)), full_matrices=False)
    keep = s > max(a.shape) * jnp.finfo(a.dtype).eps * s[0]
    return jnp.where(keep, u, 0.0), jnp.sum(keep)


@jax.jit
def _subspace_angles(a: Array, b: Array) -> Array:
    finite = jnp.all(jnp.isfinite(a)) & jnp.all(jnp.isfinite(b))
    (p, p_rank), (q, q_rank) = _basis(a), _basis(b)
    width = max(p.shape[1], q.shape[1])
    p, q = (jnp.pad(v, ((0, 0), (0, width - v.shape[1]))) for v in (p, q))
    p, q = jnp.where(p_rank >= q_rank, p, q), jnp.where(p_rank >= q_rank, q, p)  # q spans the smaller space
    product = _mm(p.T, q)
    rank = jnp.minimum(p_rank, q_rank)
    index = jnp.arange(min(*a.shape, *b.shape))
    cosine = jnp.linalg.svd(product, compute_uv=False)[jnp.maximum(rank - 1 - index, 0)]
    sine = jnp.linalg.svd(q - _mm(p, product), compute_uv=False)[index]
    # each where it is steep: near 1 both arccos and arcsin have an error of the square root of eps
    angle = jnp.where(cosine**2 >= 0.5, jnp.arcsin(jnp.clip(sine, 0.0, 1.0)), jnp.arccos(jnp.clip(cosine, 0.0, 1.0)))
    return jnp.where((index < rank) & finite, angle, jnp.nan)


def subspace_angles(x: Any, y: Any) -> Array:
    """Principal angles between the spaces that the columns of `x` and of `y` span (Björck and Golub 1973).

    Right for small and for large angles, through sines and cosines (Knyazev and Argentati 2002,
    doi:10.1137/S1064827500377332), as ``scipy.linalg.subspace_angles``. Columns are not centred. For the principal
    planes of two recordings of the same units, ``subspace_angles(pca(x, 3).components.T, pca(y, 3).components.T)``.

    Args:
        x: (T, n).
        y: (T, m).

    Returns:
        (min(T, n, m),) radians, the largest first. Where the columns of one are linearly dependent (singular values
        below max(T, n) eps times the largest) there are fewer angles, and the places at the end are NaN.

    Raises:
        ValueError, TypeError: not finite, not of shape (T, columns), of different lengths.
    """
    return _subspace_angles(*_pair(x, y, 1))
