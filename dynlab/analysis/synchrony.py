r"""Phases of real traces and how far they agree: phase locking of pairs, the Kuramoto order of a population.

A trace x has the phase of its analytic signal, :math:`\varphi = \arg (x + i\, \mathcal{H}x)` with the Hilbert
transform :math:`\mathcal{H}` taken by FFT. That is a phase in the usual sense only where one rhythm dominates: give a
`band` where there are several. The FFT takes a trace as periodic, so phases near both ends are wrong where the trace
does not close: `trim` leaves them out. All functions work under ``jit`` and ``vmap``.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check
from dynlab.analysis.centring import centred

Array = jax.Array
KINDS = ("traces", "phases")
NEAR = 1e-3  # how near an end of a band a frequency counts as on it, in units of 1 / (T dt): more than rounding


def analytic_signal(x: Any, *, band: Any = None, dt: float | Array = 1.0) -> Array:
    r"""The analytic signal :math:`x + i\, \mathcal{H}x` of real traces: the spectrum without its negative half.

    Args:
        x: (..., T, N), time on the last axis but one. The mean is kept: take it off before you read a phase, as
            :func:`phases` does.
        band: (low, high), cycles per unit of `dt`; keeps the frequencies from low to high, both included, and drops all
            others (a filter with vertical sides, that shifts no phase). None keeps all.
        dt: time per step.

    Returns:
        complex (..., T, N); its real part is x where there is no band. Modulus: envelope, argument: phase.

    Raises:
        ValueError, TypeError: fewer than 2 steps, an empty axis, NaN or infinity, complex traces; a band that is not
            0 <= low <= high <= 1 / (2 dt), or that holds none of the frequencies k / (T dt).
    """
    x = _traces(x)
    return _analytic(x, _band(band, dt, x.shape[-2]), dt)


def phases(x: Any, *, band: Any = None, dt: float | Array = 1.0) -> Array:
    r"""The phase of each trace at each step, the argument of its analytic signal after its mean is taken off.

    Args:
        x, band, dt: as in :func:`analytic_signal`.

    Returns:
        (..., T, N), radians in (-pi, pi]. NaN for a trace that is constant, or has nothing in the band, to rounding: it
        has no phase.
    """
    x = _traces(x)
    return _phases(x, _band(band, dt, x.shape[-2]), dt)


def phase_locking(
    x: Any, pairs: Any = None, *, of: str = "traces", band: Any = None, dt: float | Array = 1.0, trim: int = 0
) -> Array:
    r"""Phase-locking value: how constant the difference of two phases is, whatever it is.

    .. math:: P_{ij} = \Big| \frac1T \sum_t e^{i (\varphi_i(t) - \varphi_j(t))} \Big|

    1 for a fixed lag; for independent phases :math:`\sqrt{\pi / (4 n)}` on average and not 0, with n the number of
    independent phases in the record: T where each step has its own, 0.6 T for traces of white noise, whose Hilbert
    transform ties neighbours together (measured, T = 1,000), and about T b dt in a band of width b. (Lachaux et al.
    1999, doi:10.1002/(SICI)1097-0193(1999)8:4<194::AID-HBM4>3.0.CO;2-C.)

    Args:
        x: (..., T, N), traces; with ``of="phases"`` phases in radians (static).
        pairs: (P, 2) indices of units; None for all.
        band, dt: of the traces, as in :func:`analytic_signal`.
        trim: steps left out at each end, after the phases are taken.

    Returns:
        (..., N, N) with ones on the diagonal, or (..., P). NaN for pairs with a constant trace.

    Raises:
        ValueError, TypeError: as :func:`analytic_signal`; pairs of another shape, no integers, or that name no unit; a
            band of phases; a `trim` that leaves no step.
    """
    phi = _given(x, of, band, dt, trim)
    n = phi.shape[-1]
    if pairs is None:
        return _locking(phi)
    if not check.is_traced(pairs):
        pairs = np.asarray(pairs)
    if jnp.ndim(pairs) != 2 or jnp.shape(pairs)[1] != 2:
        raise ValueError(f"pairs must have shape (pairs, 2), got {jnp.shape(pairs)}")
    if not jnp.issubdtype(pairs.dtype, jnp.integer):
        raise TypeError(f"pairs must be integers, got dtype {pairs.dtype}")
    check.number("pairs", pairs, 0, n - 1)
    return _locking_of(phi, jnp.asarray(pairs, jnp.int32))


def kuramoto(
    x: Any, *, of: str = "traces", band: Any = None, dt: float | Array = 1.0, trim: int = 0
) -> tuple[Array, Array]:
    r"""Kuramoto order parameter: how far all phases agree at each step, and the phase they agree on.

    .. math:: r(t)\, e^{i \psi(t)} = \frac1N \sum_j e^{i \varphi_j(t)}

    r is 1 in unison and 0 where phases are spread evenly; :math:`\sqrt{\pi / (4 N)}` on average for N independent ones.
    (Kuramoto 1975, doi:10.1007/BFb0013365.)

    Args:
        x, of, band, dt, trim: as in :func:`phase_locking`.

    Returns:
        ``(r, psi)``, (..., T) each, psi in radians. NaN where a trace is constant: leave such units out first.

    Raises:
        ValueError, TypeError: as :func:`phase_locking`.
    """
    return _order(_given(x, of, band, dt, trim))


def _traces(x: Any) -> Array:
    x = check.array("x", x)
    if x.ndim < 2 or 0 in x.shape or x.shape[-2] < 2:
        raise ValueError(f"x must have shape (..., time, units) with at least 2 steps and none empty, got {x.shape}")
    return x


def _band(band: Any, dt: Any, n_steps: int) -> Any:
    """The band as two numbers, checked where they can be read."""
    check.scalar("dt", dt, 0.0, low_open=True)
    if band is None:
        return None
    if not hasattr(band, "__len__") or len(band) != 2:
        raise ValueError(f"band must be (low, high), got {band!r}")
    low, high = band
    if not check.is_traced(low, high, dt):
        low, high, step = float(low), float(high), float(dt)
        if not 0.0 <= low <= high <= 0.5 / step * (1 + 1e-9):
            raise ValueError(f"band must be (low, high) with 0 <= low <= high <= 1 / (2 dt) = {0.5 / step:g}, got "
                             f"{(low, high)}")
        record = n_steps * step
        if math.ceil(low * record - NEAR) > math.floor(high * record + NEAR):
            raise ValueError(f"band must hold a multiple of 1 / (T dt) = {1 / record:g}, the frequencies of {n_steps} "
                             f"steps, got {(low, high)}")
    return low, high


def _given(x: Any, of: str, band: Any, dt: Any, trim: int) -> Array:
    """Phases (..., T, N), from traces or as they are."""
    check.choice("of", of, KINDS)
    trim = check.integer("trim", trim, 0)
    if of == "phases":
        if band is not None:
            raise ValueError(f"band must be None for phases, got {band!r}: it filters traces")
        x = check.array("x", x, finite=False)  # NaN is the phase of a constant trace
        if x.ndim < 2 or 0 in x.shape:
            raise ValueError(f"x must have shape (..., time, units), none empty, got {x.shape}")
    else:
        x = phases(x, band=band, dt=dt)
    if 2 * trim >= x.shape[-2]:
        raise ValueError(f"trim must leave a step of {x.shape[-2]} between both ends, got {trim}")
    return x[..., trim : x.shape[-2] - trim, :]


@jax.jit
def _analytic(x: Array, band: Any, dt: Any) -> Array:
    n_steps = x.shape[-2]
    spectrum = jnp.fft.rfft(x, axis=-2)
    k = np.arange(spectrum.shape[-2])
    weight = np.where((k == 0) | (2 * k == n_steps), 1.0, 2.0)
    gain = jnp.asarray(weight, x.dtype)
    if band is not None:
        place = jnp.asarray(band, x.dtype) * (n_steps * dt)
        gain = jnp.where((k >= place[0] - NEAR) & (k <= place[1] + NEAR), gain, 0.0)
    spectrum = spectrum * gain[:, None]
    rest = [(0, 0)] * (x.ndim - 2) + [(0, n_steps - k.size), (0, 0)]
    return jnp.fft.ifft(jnp.pad(spectrum, rest), axis=-2)


@jax.jit
def _phases(x: Array, band: Any, dt: Any) -> Array:
    flat = x.reshape(-1, *x.shape[-2:])
    y, constant = jax.vmap(centred)(flat)
    signal = _analytic(y, band, dt)
    size = jnp.max(jnp.abs(flat), axis=-2)
    envelope = jnp.sqrt(jnp.mean(jnp.abs(signal) ** 2, axis=-2))
    silent = constant | (envelope <= 16 * jnp.finfo(x.dtype).eps * size)
    return jnp.where(silent[:, None], jnp.nan, jnp.angle(signal)).reshape(x.shape)


@jax.jit
def _locking(phi: Array) -> Array:
    cos, sin = jnp.cos(phi), jnp.sin(phi)  # real products: complex ones have no precision to set everywhere
    product = partial(jnp.einsum, "...ti,...tj->...ij", precision="highest")
    n = phi.shape[-2]
    real, imaginary = product(cos, cos) + product(sin, sin), product(sin, cos)
    value = jnp.hypot(real, imaginary - jnp.swapaxes(imaginary, -1, -2)) / n
    own = jnp.where(jnp.all(jnp.isfinite(phi), axis=-2), 1.0, jnp.nan)  # hypot of inf and NaN would be inf
    return jnp.minimum(value, 1.0) * own[..., :, None] * own[..., None, :]


@jax.jit
def _locking_of(phi: Array, pairs: Array) -> Array:
    lag = phi[..., pairs[:, 0]] - phi[..., pairs[:, 1]]
    return jnp.abs(jnp.mean(jnp.exp(1j * lag), axis=-2))


@jax.jit
def _order(phi: Array) -> tuple[Array, Array]:
    mean = jnp.mean(jnp.exp(1j * phi), axis=-1)
    return jnp.abs(mean), jnp.angle(mean)
