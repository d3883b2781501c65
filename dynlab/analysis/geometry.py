"""Shape of a cloud of states: its dimension, its principal axes, how much a trajectory tangles with itself."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.analysis.centring import centred

Array = jax.Array

_mm = partial(jnp.matmul, precision="highest")


def unit(x: Array, *, center: bool = True) -> tuple[Array, Array]:
    """`x` (T, n) less its column means, over its Frobenius norm; and that norm. Free of overflow; NaN where
    `x` does not vary."""
    if center:
        x = centred(x)[0]
    largest = jnp.max(jnp.abs(x))
    x = x / largest
    norm = jnp.sqrt(jnp.sum(x * x))
    return x / norm, largest * norm


def gram(x: Array) -> Array:
    """The smaller of x'x and xx', which have the same traces."""
    return _mm(x.T, x) if x.shape[1] <= x.shape[0] else _mm(x, x.T)


@partial(jax.jit, static_argnames="corrected")
def _participation_ratio(x: Array, *, corrected: bool) -> Array:
    t = x.shape[0]
    w, _ = unit(x)  # tr(w'w) = 1
    h = jnp.sum(gram(w) ** 2)
    if not corrected:
        return 1.0 / h
    q = t * (t - 1.0) * jnp.sum(jnp.sum(w * w, axis=1) ** 2)
    above = 2.0 * h + (t * t - 3.0 * t + 1.0) - q
    below = (t - 1.0) * (t - 2.0) * h + 1.0 - q
    return jnp.where(below <= 0, jnp.inf, above / below)  # a NaN passes: no comparison with it is true


def participation_ratio(x: Any, corrected: bool = True) -> Array:
    r"""Participation ratio: the number of dimensions that the covariance of `x` fills.

    .. math:: \gamma = \frac{(\sum_i \mu_i)^2}{\sum_i \mu_i^2} = \frac{(\operatorname{tr} C)^2}{\operatorname{tr} C^2}

    with the eigenvalues :math:`\mu_i` of the covariance C; 1 for a line, n for an isotropic cloud. Taken from traces
    of the smaller Gram matrix, without a decomposition.

    The ratio of a sample of T states is too small. With P samples and Q of many units,
    :math:`E[1/\hat\gamma] \approx 1/P + 1/Q + 1/\gamma` (Chun, Canatar, Chung and Lee 2025, arXiv:2509.26560): an
    isotropic cloud in n = 50 dimensions and T = 100 samples gives 33 instead of 50. `corrected` removes the term of
    the samples, by the ratio of the unbiased estimates of :math:`(\operatorname{tr} C)^2` and
    :math:`\operatorname{tr} C^2`, averages over distinct samples (Himeno and Yamada 2014). With the centred states
    :math:`x_t`, the plain ratio :math:`\hat\gamma` and
    :math:`q = T(T-1) \sum_t |x_t|^4 / (\sum_t |x_t|^2)^2` it is

    .. math:: \frac{2/\hat\gamma + T^2 - 3T + 1 - q}{(T-1)(T-2)/\hat\gamma + 1 - q}

    and holds for any distribution with four moments. The term of the units stays: a network is recorded in full. For
    units drawn from a larger population :math:`1/\gamma_\mathrm{all} \approx 1/\gamma - 1/n`.

    The correction takes the states for independent. Neighbours on a trajectory are not: what is left of the bias is
    about T over the number of independent states; use a longer run, or one state in every few correlation times.

    Args:
        x: states (T, n); T at least 4, or 2 without correction.
        corrected: remove the bias of the number of samples.

    Returns:
        scalar. The corrected number may be a little over n, and is inf where T samples cannot tell. NaN for a
        constant `x`.

    Raises:
        ValueError, TypeError: `x` not finite, not of shape (T, n), or too short.
    """
    check.choice("corrected", corrected, (True, False))
    x = check.series("x", x, batched=False, min_length=4 if corrected else 2)
    return _participation_ratio(x, corrected=bool(corrected))


@tree.dataclass
class PCA:
    """Principal components.

    Attributes:
        components: (k, n), orthonormal rows, largest variance first; the largest entry of each row is positive.
        variance: (k,), variance along each component, with 1/(T - 1).
        total_variance: scalar, the variance of all n dimensions.
        mean: (n,).
        status: 0, or 1 when the data were not finite (then the numbers are NaN).
    """

    components: Array
    variance: Array
    total_variance: Array
    mean: Array
    status: Array

    @property
    def ratio(self) -> Array:
        """(k,), the share of each component in the total variance."""
        return self.variance / self.total_variance

    def transform(self, x: Any) -> Array:
        """Coordinates along the components: (..., n) -> (..., k)."""
        return _mm(_of_width("x", x, self.mean.shape[-1]) - self.mean, self.components.T)

    def inverse(self, scores: Any) -> Array:
        """The point of the principal plane with these coordinates: (..., k) -> (..., n)."""
        return _mm(_of_width("scores", scores, self.components.shape[-2]), self.components) + self.mean


def _of_width(name: str, value: Any, width: int) -> Array:
    out = check.array(name, value, finite=False)
    if out.ndim == 0 or out.shape[-1] != width:
        raise ValueError(f"{name} must have {width} entries along its last axis, got shape {out.shape}")
    return out


@partial(jax.jit, static_argnames="k")
def _pca(x: Array, *, k: int) -> PCA:
    t, n = x.shape
    mean, (moved, _) = jnp.mean(x, axis=0), centred(x)
    # R of QR has the singular values and right vectors of x, at the size (n, n); no squares, so float32 keeps the small
    square = jnp.linalg.qr(moved, mode="r") if t > n else moved
    _, s, vt = jnp.linalg.svd(square, full_matrices=False)
    rows = vt[:k]
    top = jnp.take_along_axis(rows, jnp.argmax(jnp.abs(rows), axis=1)[:, None], axis=1)
    rows = rows * jnp.where(top < 0, -1.0, 1.0)
    variance = s**2 / (t - 1)
    good = jnp.all(jnp.isfinite(x)) & jnp.all(jnp.isfinite(variance))
    rows, some, total, mean = (jnp.where(good, v, jnp.nan) for v in (rows, variance[:k], jnp.sum(variance), mean))
    return PCA(rows, some, total, mean, jnp.where(good, 0, 1).astype(jnp.int32))


def pca(x: Any, k: int) -> PCA:
    """The `k` directions of largest variance of `x` (T, n): centred, not scaled; by QR and SVD, never by a covariance.

    Raises:
        ValueError, TypeError: `x` not finite or not of shape (T, n), T below 2, `k` over min(T, n) or below 1.
    """
    x = check.series("x", x, batched=False, min_length=2)
    check.integer("k", k, 1, min(x.shape))
    return _pca(x, k=int(k))


@jax.jit
def _pca_dim(x: Array, threshold: Any) -> Array:
    found = _pca(x, k=min(x.shape))
    share = jnp.cumsum(found.variance) / found.total_variance
    count = jnp.minimum(1 + jnp.sum(share <= threshold), share.shape[0])
    return jnp.where(found.total_variance > 0, count, 0).astype(jnp.int32)


def pca_dim(x: Any, threshold: float | Array = 0.9) -> Array:
    """The number of principal components that explain more than the share `threshold` of the variance of `x` (T, n).

    The least k whose cumulative share is above `threshold`: a count, 1 for a line. (An index from 0, as some code
    reports it, is one less.)

    Returns:
        int32 scalar; 0 for a constant `x`, or for one that is not finite inside a trace.

    Raises:
        ValueError, TypeError: `x` not finite or not of shape (T, n), T below 2, `threshold` outside [0, 1].
    """
    x = check.series("x", x, batched=False, min_length=2)
    check.scalar("threshold", threshold, 0.0, 1.0)
    return _pca_dim(x, threshold)


def velocity(x: Array, dt: Any) -> Array:
    """Time derivative (T, ...) of `x` (T, ...): central differences, one-sided ones of second order at the ends."""
    first = (-3.0 * x[0] + 4.0 * x[1] - x[2]) / 2.0
    last = (3.0 * x[-1] - 4.0 * x[-2] + x[-3]) / 2.0
    return jnp.concatenate([first[None], (x[2:] - x[:-2]) / 2.0, last[None]]) / dt


@partial(jax.jit, static_argnames="chunk")
def _tangling(x: Array, v: Array | None, dt: Any, epsilon: Any, *, chunk: int) -> Array:
    if v is None:
        v = jax.vmap(velocity, (0, None))(x, dt)
    n = x.shape[-1]
    states, speeds = x.reshape(-1, n), v.reshape(-1, n)
    floor = epsilon * jnp.sum(jnp.mean(centred(states)[0] ** 2, axis=0))

    def one(pair: tuple[Array, Array]) -> Array:
        state, speed = pair
        # differences first: the expanded square loses the close pairs in float32
        apart = jnp.sum((states - state) ** 2, axis=1)
        return jnp.max(jnp.sum((speeds - speed) ** 2, axis=1) / (apart + floor))

    found = jax.lax.map(one, (states, speeds), batch_size=chunk)
    return jnp.where(floor > 0, found, jnp.nan).reshape(x.shape[:-1])


def tangling(
    x: Any, dt: float | Array = 1.0, *, velocities: Any = None, epsilon: float | Array = 0.1, chunk: int = 32
) -> Array:
    r"""Trajectory tangling (Russo et al. 2018, doi:10.1016/j.neuron.2018.01.004).

    .. math:: Q(t) = \max_{t'} \frac{|\dot x_t - \dot x_{t'}|^2}{|x_t - x_{t'}|^2 + \varepsilon}

    It is large where nearby states go different ways, as no smooth autonomous flow can. The constant is `epsilon`
    times the total variance of `x` (0.1 in the paper). For a linear flow :math:`\dot x = Ax` Q is at most
    :math:`|A|_2^2`. On a circle of radius r run through at the angular velocity :math:`\omega` the pair farthest
    apart decides: :math:`Q = \omega^2 \cdot 4r^2 / (4r^2 + \varepsilon)`, which is :math:`\omega^2 / 1.025` at 0.1,
    and :math:`\omega^2` as epsilon goes to 0. (With central differences :math:`\omega` is
    :math:`\sin(\omega\,dt)/dt`.)

    The paper first scales the units and keeps eight principal components: ``tangling(pca(x, 8).transform(x))``.
    All pairs are compared, T^2 n operations, `chunk` rows at a time.

    Args:
        x: one trajectory (T, n), or conditions (C, T, n) that are compared with each other too. T at least 3.
        dt: time between samples.
        velocities: time derivatives, shaped like `x`; central differences when None.
        epsilon: the constant, over the total variance; positive.
        chunk: rows of pairs held at once.

    Returns:
        (T,) or (C, T), in 1 / time^2. NaN where `x` does not move at all.

    Raises:
        ValueError, TypeError: `x` or `velocities` not finite, of other shapes, too short; a knob that is not positive.
    """
    x = check.series("x", x, min_length=3)
    check.scalar("dt", dt, 0.0, low_open=True)
    check.scalar("epsilon", epsilon, 0.0, low_open=True)
    check.integer("chunk", chunk, 1)
    if velocities is not None:
        velocities = check.array("velocities", velocities)
        if velocities.shape != x.shape:
            raise ValueError(f"velocities must have the shape of x, {x.shape}, got {velocities.shape}")
    single = x.ndim == 2
    if single:
        x, velocities = x[None], None if velocities is None else velocities[None]
    out = _tangling(x, velocities, dt, epsilon, chunk=int(chunk))
    return out[0] if single else out
