"""Eigenmodes of a linearisation: decay times and frequencies. On the host, in float64: not every device has them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dynlab import check


class Modes(NamedTuple):
    """Eigenmodes, slowest first (map: by modulus; flow: by real part), as NumPy arrays with any leading axes.

    Attributes:
        eigenvalues: (..., n) complex. right: (..., n, n), unit columns. left: (..., n, n), rows with left @ right = I
            (the pseudo-inverse where the matrix is defective).
        decay_time: (..., n), in the unit of dt: the time in which a mode shrinks by e; negative where it grows,
            infinite on the border, 0 for an eigenvalue 0 of a map.
        frequency: (..., n), cycles per unit of dt (Hz where dt is in seconds), signed.
        stable: (...), every mode decays.
    """

    eigenvalues: np.ndarray
    right: np.ndarray
    left: np.ndarray
    decay_time: np.ndarray
    frequency: np.ndarray
    stable: np.ndarray


def modes(jacobian: object, dt: float = 1.0, *, flow: bool = False) -> Modes:
    r"""Eigenmodes of Jacobians.

    Map: :math:`\tau = -\Delta t / \ln|\lambda|`, frequency :math:`\arg\lambda / (2\pi\Delta t)`, stable if all
    :math:`|\lambda| < 1`. Flow: :math:`\tau = -1/\mathrm{Re}\lambda`, frequency :math:`\mathrm{Im}\lambda/2\pi`,
    stable if all real parts are negative.

    Args:
        jacobian: (..., n, n), of a map, or of a flow's velocity (for the Jacobian of ``phase_map(flow, params)``, which
            is z + v, subtract the identity; :func:`dynlab.classify` does). dt: time per step of a map.
        flow: which of the two.

    Raises:
        ValueError: not square, empty, NaN or infinite entries, dt not positive. TypeError: called inside a trace.
    """
    if check.is_traced(jacobian):
        raise TypeError("jacobian must be concrete: modes runs on the host in float64; inside a trace use "
                        "jnp.linalg.eigvals (CPU and GPU)")
    check.scalar("dt", dt, 0.0, low_open=True)
    matrix = np.asarray(jacobian, dtype=np.float64)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or matrix.size == 0:
        raise ValueError(f"jacobian must have shape (..., n, n) and not be empty, got {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"jacobian must be finite, got {int((~np.isfinite(matrix)).sum())} NaN or infinite entries")
    values, right = np.linalg.eig(matrix)
    values, right = values.astype(complex), right.astype(complex)
    order = np.argsort(-(values.real if flow else np.abs(values)), axis=-1, kind="stable")
    values = np.take_along_axis(values, order, axis=-1)
    right = np.take_along_axis(right, order[..., None, :], axis=-1)
    rate, frequency = rates(values, dt, flow=flow)
    with np.errstate(divide="ignore"):
        decay_time = np.where(rate == 0, np.inf, -1.0 / rate)
    return Modes(values, right, _left(right), decay_time, frequency, np.all(rate < 0, axis=-1))


def rates(values: np.ndarray, dt: float, *, flow: bool) -> tuple[np.ndarray, np.ndarray]:
    """Growth rates (per unit of time, -inf for an eigenvalue 0 of a map) and frequencies of eigenvalues."""
    if flow:
        return values.real, values.imag / (2 * np.pi)
    with np.errstate(divide="ignore"):
        return np.log(np.abs(values)) / dt, np.angle(values) / (2 * np.pi * dt)


def _left(right: np.ndarray) -> np.ndarray:
    """Inverse of the right eigenvectors; the pseudo-inverse where they do not span the space."""
    if np.all(np.linalg.cond(right) < 1e12):
        return np.linalg.inv(right)
    return np.linalg.pinv(right, rcond=1e-12)
