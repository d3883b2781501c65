"""What does a ridge solve that is right in float32 cost, against plain float32 normal equations?

64 configurations through vmap, all methods in turn in one process; beside each cost ratio stands the error of the
memory capacity, against float64, on an ill-conditioned linear reservoir. Reported are ratios, never times.

    python -m experiments.bench.ridge [--smoke] [--rounds 7]
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from dynlab import ridge
from experiments.bench.timing import in_turn

Fit = Callable[[Any, Any], tuple[Any, Any]]


@dataclass(frozen=True)
class Config:
    """What to time, and on what to measure accuracy."""

    n_units: int = 200
    """Features."""
    n_steps: int = 2000
    """Samples."""
    n_targets: int = 20
    """Targets."""
    n_members: int = 64
    """Configurations solved in one call."""
    rounds: int = 7
    """Rounds in turn; medians are reported."""
    capacity_units: int = 100
    """Units of the linear reservoir whose memory capacity tells the accuracy."""
    ridge: float = 1e-8
    """Ridge value of the accuracy check."""
    slow: bool = False
    """Also the Householder QR and SVD methods."""
    smoke: bool = False
    """Small sizes, one round: checks that it runs, measures nothing."""


def normal_equations(x: Any, y: Any, lam: float) -> tuple[Any, Any]:
    """The yardstick: Gram matrix and Cholesky factor in the data's own precision."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    xc = x - x_mean
    gram = jnp.matmul(xc.T, xc, precision="highest") + lam * jnp.eye(x.shape[1], dtype=x.dtype)
    rhs = jnp.matmul(xc.T, y - y_mean, precision="highest")
    w = jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(gram), True), rhs)
    return w, y_mean - x_mean @ w


def library(x: Any, y: Any, lam: float, method: str) -> tuple[Any, Any]:
    fit = ridge(x, y, lam, method=method)
    return fit.weights, fit.intercept


def reference(x: np.ndarray, y: np.ndarray, lam: float) -> tuple[np.ndarray, np.ndarray]:
    """Augmented QR in float64."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    q, r = np.linalg.qr(np.vstack([x - x_mean, np.sqrt(lam) * np.eye(x.shape[1])]))
    w = np.linalg.solve(r, q[: len(x)].T @ (y - y_mean))
    return w, y_mean - x_mean @ w


def reservoir(config: Config, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """States (float64) of a random linear reservoir of radius 0.9 under uniform input, and the delayed inputs."""
    rng, n = np.random.default_rng(seed), config.capacity_units
    n_steps, start = 3 * config.n_steps, 500
    w = rng.normal(size=(n, n))
    w *= 0.9 / np.abs(np.linalg.eigvals(w)).max()
    w_in, u = rng.uniform(-1, 1, n), rng.uniform(-1, 1, n_steps + start)
    x, states = np.zeros(n), []
    for value in u:
        x = w @ x + w_in * value
        states.append(x)
    targets = np.stack([u[start - k : start - k + n_steps] for k in range(1, n + 1)], axis=1)
    return np.array(states[start:]), targets


def capacity(solution: tuple[Any, Any], x: np.ndarray, y: np.ndarray) -> float:
    """Sum over delays of the squared correlation, on held-out samples."""
    w, b = (np.asarray(part, np.float64) for part in solution)
    p, z = x @ w + b, y - y.mean(0)
    p = p - p.mean(0)
    return float(((p * z).sum(0) ** 2 / ((p * p).sum(0) * (z * z).sum(0))).sum())


def run(config: Config) -> list[dict[str, Any]]:
    """One row a method: name, cost ratio (vmapped) to the faster form of normal equations, capacity, its error."""
    lam = config.ridge
    methods: dict[str, Fit] = {
        "normal equations": partial(normal_equations, lam=lam),
        "dynlab.ridge": partial(library, lam=lam, method="auto"),
    }
    if config.slow:
        methods |= {f"dynlab.ridge({m!r})": partial(library, lam=lam, method=m) for m in ("qr", "svd")}
    keys = jax.random.split(jax.random.key(0), 2)
    x = jax.random.normal(keys[0], (config.n_members, config.n_steps, config.n_units))
    y = jax.random.normal(keys[1], (config.n_steps, config.n_targets))
    calls: dict[str, Callable[[], Any]] = {}
    for name, fit in methods.items():
        calls[name] = partial(jax.jit(lambda x, y, fit=fit: jax.vmap(lambda one: fit(one, y))(x)), x, y)
    mapped = jax.jit(lambda x, y: jax.lax.map(lambda one: normal_equations(one, y, lam), x))
    calls["normal equations, lax.map"] = partial(mapped, x, y)
    seconds = in_turn(calls, config.rounds)
    base = min(("normal equations", "normal equations, lax.map"), key=lambda name: median(seconds[name]))

    states, delayed = reservoir(config)
    train, test = slice(0, config.n_steps), slice(config.n_steps, None)
    exact = capacity(reference(states[train], delayed[train], lam), states[test], delayed[test])
    rows = []
    for name, fit in methods.items():
        solution = jax.jit(fit)(*(jnp.asarray(a[train], jnp.float32) for a in (states, delayed)))
        got = capacity(solution, states[test], delayed[test])
        ratio = median(a / b for a, b in zip(seconds[name], seconds[base], strict=True))
        rows.append({"method": name, "ratio": ratio, "capacity": got, "exact": exact, "error": got / exact - 1})
    return rows


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    if config.smoke:
        config = replace(config, n_units=20, n_steps=300, n_targets=3, n_members=4, rounds=1, capacity_units=20)
    rows = run(config)
    size = f"{config.n_members} x (T {config.n_steps}, N {config.n_units}, {config.n_targets} targets)"
    table = Table(title=f"Cost against float32 normal equations, {size}")
    for column in ("method", "cost", "memory capacity", "float64", "error"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for row in rows:
        figures = (f"{row['ratio']:.2f}", f"{row['capacity']:.3f}", f"{row['exact']:.3f}", f"{row['error']:+.2%}")
        table.add_row(row["method"], *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
