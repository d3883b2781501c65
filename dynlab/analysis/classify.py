"""The distinct points that a search found, with their stability: what one prints, plots and puts into a table."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check
from dynlab.analysis.completeness import CONSISTENT, INCOMPLETE
from dynlab.analysis.fixed_points import CONVERGED, NOT_LOCATED, FixedPoints, displacement
from dynlab.analysis.linearize import as_function, chunk_size
from dynlab.analysis.modes import Modes, modes, rates

VERDICTS = {
    CONSISTENT: "index sum +1: nothing speaks against completeness",
    INCOMPLETE: "INCOMPLETE: the index sum is not +1, points are missing; use more starts or more noise",
}


@dataclasses.dataclass(frozen=True, eq=False)
class PointSet:
    """Distinct fixed and slow points, fixed ones first, then by number of unstable directions and by speed.

    Attributes:
        z: (P, n). speed: (P,). relative_speed: (P,), speed / step_scale (NaN without one).
        fixed: (P,) bool; False for a slow point. hits: (P,), starts that ended there.
        kink: (P,) bool; such a point has no Jacobian: its stability is not defined.
        n_unstable: (P,), growing directions, -1 where not defined. n_neutral: (P,), directions that neither grow nor
            shrink to half the digits (along a line of fixed points, at a bifurcation); counted in no other.
        index: (P,), sign det(I - J), 0 where not defined.
        jacobian: (P, n, n), of the map, or of the velocity for a flow. modes: :class:`dynlab.analysis.modes.Modes`.
        verdict: what the completeness diagnostics say. n_expected: Chao's estimate of the number of points.
    """

    z: np.ndarray
    speed: np.ndarray
    relative_speed: np.ndarray
    fixed: np.ndarray
    hits: np.ndarray
    kink: np.ndarray
    n_unstable: np.ndarray
    n_neutral: np.ndarray
    index: np.ndarray
    jacobian: np.ndarray
    modes: Modes
    verdict: str
    n_expected: float

    @property
    def kind(self) -> list[str]:
        """Of each point: "stable", "saddle", "unstable" (nothing decays), "marginal" (neutral directions and none
        that grows) or "undefined" (no Jacobian)."""
        n = self.z.shape[1]

        def name(unstable: int, neutral: int) -> str:
            names = {-1: "undefined", 0: "marginal" if neutral else "stable", n: "unstable"}
            return names.get(unstable, "saddle")

        return [name(int(k), int(m)) for k, m in zip(self.n_unstable, self.n_neutral, strict=True)]

    def table(self) -> dict[str, Any]:
        """Columns for ``pandas.DataFrame(points.table())``; the slowest mode stands for all."""
        return {
            "kind": self.kind, "fixed": self.fixed, "n_unstable": self.n_unstable, "n_neutral": self.n_neutral,
            "index": self.index,
            "hits": self.hits, "speed": self.speed, "relative_speed": self.relative_speed,
            "decay_time": self.modes.decay_time[:, 0], "frequency": self.modes.frequency[:, 0],
            "distance_from_origin": np.linalg.norm(self.z, axis=1),
        }

    def __str__(self) -> str:
        counts = {k: int(np.sum(self.n_unstable[self.fixed] == k)) for k in np.unique(self.n_unstable[self.fixed])}
        names = {-1: "without Jacobian", 0: "stable"}
        named = ", ".join(f"{count} {names.get(k, f'with {k} unstable')}" for k, count in sorted(counts.items()))
        marginal = int(np.sum(self.fixed & (self.n_neutral > 0)))
        named += f", {marginal} of them with neutral directions" if marginal else ""
        slow = int(np.sum(~self.fixed))
        return (f"{int(self.fixed.sum())} fixed points ({named or 'none'})" + (f", {slow} slow points" if slow else "")
                + f"; about {self.n_expected:.0f} or more expected; {self.verdict}")


def classify(
    f: Any, found: FixedPoints, *, dt: float | None = None, step_scale: Any = None, flow: bool | None = None
) -> PointSet:
    """The distinct points of a search with their Jacobians, modes and stability, as NumPy arrays on the host.

    Args:
        f: the function that was searched. found: what ``fixed_points(f, ...)`` returned (not inside a trace).
        dt: time per step; default that of f's model, 1.0 for a plain function. A flow has none.
        step_scale: the network's own speed, :func:`dynlab.rms_step` of its trajectories.
        flow: True where a plain function f(z) is z plus a velocity, so that stability is the sign of real parts; None
            asks f (``phase_map(flow, params).at(x)`` knows).

    Returns:
        :class:`PointSet`; prints as one line that says how many of each kind and how far to trust the list.
    """
    if check.is_traced(found):
        raise TypeError("found must be concrete: classify runs on the host, outside jit and vmap")
    if found.z.ndim != 2:
        raise ValueError(f"found must be one search with z (n_starts, n), got {found.z.shape}: take one member of a "
                         "batch with jax.tree.map(lambda leaf: leaf[i], found)")
    if step_scale is not None:
        check.scalar("step_scale", step_scale, 0.0, low_open=True)
    check.choice("flow", flow, (None, True, False))
    flow = bool(getattr(f, "flow", False)) if flow is None else flow
    if flow and dt is not None:
        raise ValueError(f"dt must be None for a flow, whose rates are per unit of its own time, got {dt}")
    dt = getattr(f, "dt", 1.0) if dt is None else dt
    rows = np.flatnonzero(np.asarray(found.keep))
    z = np.asarray(found.z)[rows]
    matrices = _slopes(f, z)
    if not flow:
        matrices = matrices + np.eye(z.shape[1])
    spectrum = _modes(matrices, dt, flow)
    fixed, kink = np.asarray(found.status)[rows] == CONVERGED, np.asarray(found.kink)[rows]
    half = np.sqrt(np.finfo(z.dtype).eps)
    growth = rates(spectrum.eigenvalues, dt, flow=flow)[0]
    scale = np.abs(spectrum.eigenvalues).max(axis=-1, keepdims=True, initial=0.0) if flow else 1.0 / dt
    neutral = np.abs(growth) <= half * scale
    defined = ~kink & np.isfinite(matrices).all(axis=(1, 2))
    n_unstable = np.where(defined, np.sum((growth > 0) & ~neutral, axis=-1), -1)
    n_neutral = np.where(defined, np.sum(neutral, axis=-1), 0)
    speed = np.asarray(found.speed, np.float64)[rows]
    order = np.lexsort((speed, n_unstable, ~fixed))
    relative = speed / float(step_scale) if step_scale is not None else np.full(speed.shape, np.nan)
    take = lambda values: values[order]  # noqa: E731
    return PointSet(
        z=take(z), speed=take(speed), relative_speed=take(relative), fixed=take(fixed),
        hits=take(np.asarray(found.hits)[rows]), kink=take(kink), n_unstable=take(n_unstable),
        n_neutral=take(n_neutral),
        index=take(np.asarray(found.index)[rows]), jacobian=take(matrices),
        modes=Modes(*(take(part) for part in spectrum)), verdict=_verdict(found, kink & fixed),
        n_expected=float(found.completeness.n_expected),
    )


def _slopes(f: Any, z: np.ndarray) -> np.ndarray:
    """Jacobians (P, n, n) of f(z) - z, in float64.

    The number of points is padded to a power of two, so that other numbers of points seldom compile again.
    """
    count, n = z.shape
    padded = np.zeros((max(8, 1 << max(count - 1, 0).bit_length()), n), z.dtype)
    padded[:count] = z
    return np.asarray(_slope(as_function(f), jnp.asarray(padded)), np.float64)[:count]


@jax.jit
def _slope(f: Any, z: Any) -> Any:
    with jax.default_matmul_precision("highest"):
        return jax.lax.map(jax.jacfwd(displacement(f)), z, batch_size=chunk_size(None, z))


def _modes(matrices: np.ndarray, dt: float, flow: bool) -> Modes:
    """Modes of (P, n, n); NaN for a matrix that is not finite, which harms no other. P may be 0."""
    bad = ~np.isfinite(matrices).all(axis=(1, 2))
    safe = np.concatenate([np.where(bad[:, None, None], 0.0, matrices), np.eye(matrices.shape[-1])[None]])
    found = Modes(*(part[:-1] for part in modes(safe, dt, flow=flow)))
    for part in found[:-1]:
        part[bad] = np.nan
    return found._replace(stable=found.stable & ~bad)


def _verdict(found: FixedPoints, kinked: np.ndarray) -> str:
    """One clause from the completeness status; where it is undefined, why."""
    status = int(found.completeness.status)
    if status in VERDICTS:
        return VERDICTS[status]
    loose = int(np.sum(np.asarray(found.status) == NOT_LOCATED))
    if int(found.completeness.n_found) == 0:
        where = f"; {loose} starts ended where f is too slow for this precision: repeat in float64" if loose else ""
        return "no fixed point found" + where
    if kinked.any():
        return "index sum not defined: a point lies on a kink"
    if bool(np.any(np.asarray(found.index)[np.asarray(found.keep) & (np.asarray(found.status) == CONVERGED)] == 0)):
        return ("index sum not defined: a point is not regular (on a line of fixed points, near a bifurcation, or held "
                "by gates that are shut to rounding: repeat in float64)")
    return "index sum not defined: the map is not known to be bounded (say bounded=True if it is)"
