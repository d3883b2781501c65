"""Lyapunov spectra against a plain NumPy loop and against lyapax, in turn.

    python -m experiments.bench.lyapunov [--smoke]

The NumPy loop has the Jacobian written by hand. lyapax 0.3.0 needs jax 0.10 or later and takes autonomous systems only;
its column says so where it is not installed. Every side runs the same number of steps in float64 from the same start;
lyapax is timed as it is called and, in the next column, inside a jit of ours. "Differ" is the largest difference
between an exponent of ours and of another side: each starts from a frame of its own and counts the alignment, so it
falls as 1 / steps (and, in chaos, as 1 / sqrt(steps)).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from dynlab.analysis.lyapunov import lyapunov
from dynlab.tasks import henon_map, lorenz_field, rk4_step
from experiments.bench.timing import in_turn, ratio

HAS_LYAPAX = importlib.util.find_spec("lyapax") is not None
NumpyStep = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Config:
    """What to time."""

    n_steps: int = 20_000
    """Steps of the small systems."""
    units: tuple[int, ...] = (64, 200)
    """Sizes of the tanh networks."""
    net_steps: int = 1000
    """Steps of the networks, full spectrum and leading 8."""
    rounds: int = 5
    """Rounds in turn."""
    smoke: bool = False
    """One round of few steps."""


@dataclass(frozen=True)
class Case:
    """One autonomous system, for JAX and, with its Jacobian, for NumPy."""

    name: str
    step: Any
    numpy_step: NumpyStep
    z0: np.ndarray
    k: int
    n_steps: int
    dt: float = 1.0


def henon_numpy(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The map and its Jacobian."""
    return np.array([1 - 1.4 * z[0] ** 2 + z[1], 0.3 * z[0]]), np.array([[-2.8 * z[0], 1.0], [0.3, 0.0]])


def lorenz_step(dt: float, z: jax.Array) -> jax.Array:
    """One RK4 step."""
    return rk4_step(lorenz_field, z, dt)


def lorenz_numpy(dt: float, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One RK4 step and its Jacobian, by the chain rule through the four stages."""
    def slope(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y, w = z
        return (np.array([10 * (y - x), x * (28 - w) - y, x * y - 8 / 3 * w]),
                np.array([[-10, 10, 0], [28 - w, -1, -x], [y, x, -8 / 3]]))

    eye = np.eye(3)
    k1, a = slope(z)
    k2, b = slope(z + dt / 2 * k1)
    b = b @ (eye + dt / 2 * a)
    k3, c = slope(z + dt / 2 * k2)
    c = c @ (eye + dt / 2 * b)
    k4, d = slope(z + dt * k3)
    d = d @ (eye + dt * c)
    return z + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4), eye + dt / 6 * (a + 2 * b + 2 * c + d)


def tanh_step(w: jax.Array, z: jax.Array) -> jax.Array:
    """z' = tanh(W z)."""
    return jnp.tanh(w @ z)


def tanh_numpy(w: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z' = tanh(W z) and its Jacobian."""
    new = np.tanh(w @ z)
    return new, (1 - new**2)[:, None] * w


def numpy_spectrum(case: Case) -> np.ndarray:
    """The plain loop."""
    z = case.z0
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(z.size, case.k)))[0]
    total = np.zeros(case.k)
    for _ in range(case.n_steps):
        z, jacobian = case.numpy_step(z)
        q, r = np.linalg.qr(jacobian @ q)
        total += np.log(np.abs(np.diagonal(r)))
    return total / (case.n_steps * case.dt)


def contenders(case: Case) -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""
    key = jax.random.key(0)
    z0 = jnp.asarray(case.z0)

    def ours() -> Any:
        return lyapunov(case.step, case.n_steps, z0=z0, k=case.k, dt=case.dt, key=key).exponents

    sides: dict[str, Callable[[], Any]] = {"dynlab": ours, "numpy": lambda: numpy_spectrum(case)}
    if HAS_LYAPAX:
        from lyapax import lyapunov_spectrum

        def theirs(z: Any) -> Any:
            return lyapunov_spectrum(case.step, z, case.dt, case.n_steps, k=case.k).exponents

        compiled = jax.jit(theirs)
        sides |= {"lyapax": lambda: theirs(z0), "lyapax, jitted": lambda: compiled(z0)}
    return sides


def cases(config: Config) -> list[Case]:
    """The systems."""
    dt, rng = 0.01, np.random.default_rng(0)
    found = [
        Case("Hénon", henon_map, henon_numpy, np.array([0.1, 0.1]), 2, config.n_steps),
        Case("Lorenz, RK4", jax.tree_util.Partial(lorenz_step, dt), partial(lorenz_numpy, dt),
             np.array([1.0, 1.0, 20.0]), 3, config.n_steps, dt),
    ]
    for n in config.units:
        w, z0 = rng.normal(size=(n, n)) * 2.0 / np.sqrt(n), rng.normal(size=n)
        step = jax.tree_util.Partial(tanh_step, jnp.asarray(w))
        for k in (8, n):
            found.append(Case(f"tanh net, n = {n}", step, partial(tanh_numpy, w), z0, k, config.net_steps))
    return found


def main() -> None:
    """Print the table."""
    config = tyro.cli(Config, description=__doc__)
    if config.smoke:
        config = Config(n_steps=200, units=(16,), net_steps=50, rounds=1)
    others = ["numpy", "lyapax", "lyapax, jitted"] if HAS_LYAPAX else ["numpy"]
    table = Table(title=f"Lyapunov spectra, float64, jax {jax.__version__}: times slower than dynlab")
    for column in ("system", "k", "steps", "dynlab, ms", *others, "differ"):
        table.add_column(column, justify="right")
    with jax.enable_x64(True):  # lyapax asks for it
        for case in cases(config):
            sides = contenders(case)
            spectra = [np.asarray(call()) for call in sides.values()]
            worst = max(float(np.abs(a - spectra[0]).max()) for a in spectra)
            seconds = in_turn(sides, config.rounds)
            ratios = (f"{ratio(seconds, other, 'dynlab'):.1f}" for other in others)
            milliseconds = 1e3 * np.median(seconds["dynlab"])
            table.add_row(case.name, str(case.k), f"{case.n_steps:,}", f"{milliseconds:.1f}", *ratios, f"{worst:.0e}")
    console = Console(width=120)
    console.print(table)
    if not HAS_LYAPAX:
        console.print("lyapax is not installed here: it needs jax 0.10 or later (pip install lyapax==0.3.0)")


if __name__ == "__main__":
    main()
