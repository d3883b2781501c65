"""How fast, and how completely, are the fixed points of a trained network found?

    python -m experiments.bench.fixed_points [--smoke]

Networks: the flip-flop GRU and tanh RNN of experiments/networks (16 units), zero input, the same 1,024 starts for both
sides: states of a run plus Gaussian noise, as classical finders draw them. A third row adds mixtures of states
(``draw_starts``), our default.

The other side is Adam descent on q = |f(z) - z|^2 / 2 in PyTorch, written here with the defaults of FixedPointFinder
(Golub & Sussillo 2018, doi:10.21105/joss.01003), the PyTorch class of June 2023, the newest version seen: the mean of q
over all starts is descended jointly by Adam with PyTorch's betas and epsilon (1e-8), learning rate 1.0, times 0.95 by
ReduceLROnPlateau with patience 5 and cooldown 0; no clipping of gradients; at most 5,000 steps, or until every start
has q < 1e-12 or a change of q < 1e-20 times the learning rate. Then points that agree when rounded to 3 decimals
(tol_unique 1e-3) count once, and points farther from the mean of the starts than 10 times the starts' mean distance
are left out; there is no filter on q. A second row has the schedule of the version before it (the PyTorch class of
early 2023): learning rate 0.05, times 0.7 every 500 steps, and a threshold of change without the learning rate. It is
there because it ends far closer to the points on these networks: a rate of 1.0 falls too slowly. The TensorFlow class
is left out: epsilon 0.01, gradients clipped by the 95th percentile of their recent norms, and a learning rate that also
rises (by 1/0.95 after 5 falls of q).

"Distinct" of its rows counts points within 1e-3 of another once, whatever their q: rounding splits a point that lies at
the edge of a cell.

A second table times this library's fixed-count Levenberg-Marquardt against optimistix' on random tanh networks: the
reason why optimistix is a test oracle here and no dependency.

JAX_ENABLE_X64=1 runs both sides in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

import experiments
from dynlab import check, interop, tasks
from dynlab.analysis.classify import classify
from dynlab.analysis.fixed_points import draw_starts, fixed_points
from dynlab.analysis.linearize import phase_map, trajectory
from experiments.bench.timing import in_turn, ratio

NETWORKS = Path(experiments.__file__).parent / "networks"
COLUMNS = ("network", "method", "points", "distinct", "of those q < 1e-12", "stable, 1, 2, 3 unstable", "index sum",
           "largest q", "times faster than Adam")


@dataclass(frozen=True)
class Config:
    """What to time."""

    n_starts: int = 1024
    """Starts."""
    noise: float = 0.5
    """Standard deviation of the noise of the classical starts."""
    adam_steps: int = 5000
    """Most steps of Adam."""
    rounds: int = 3
    """Rounds in turn."""
    smoke: bool = False
    """Few starts and steps, one round."""


def cell_of(path: Path, kind: str, n_units: int) -> Any:
    """The recurrent part of a shipped network as a frozen cell of PyTorch."""
    import torch

    dtype = torch.float64 if check.default_float() == np.float64 else torch.float32
    cell = {"gru": torch.nn.GRUCell, "rnn": torch.nn.RNNCell}[kind](3, n_units, dtype=dtype)
    stored = torch.load(path, weights_only=True)
    cell.load_state_dict({name.removeprefix("rnn.").removesuffix("_l0"): value for name, value in stored.items()
                          if name.startswith("rnn.")})
    return cell.requires_grad_(False)


def adam(cell: Any, starts: np.ndarray, steps: int, newest: bool) -> tuple[np.ndarray, np.ndarray]:
    """Adam descent of the classical kind: ``(points, q)``, one for each start; `newest` or earlier schedule."""
    import torch

    z = torch.tensor(starts, dtype=cell.weight_hh.dtype, requires_grad=True)
    u = torch.zeros(len(starts), 3, dtype=z.dtype)
    optimizer = torch.optim.Adam([z], lr=1.0 if newest else 0.05)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.95, patience=5, cooldown=0)
    fall = torch.optim.lr_scheduler.StepLR(optimizer, step_size=500, gamma=0.7)
    last = torch.full((len(starts),), torch.inf, dtype=z.dtype)
    for _ in range(steps):
        optimizer.zero_grad()
        q = 0.5 * torch.sum((cell(u, z) - z) ** 2, dim=1)
        mean = torch.mean(q)
        mean.backward()
        optimizer.step()
        if newest:
            plateau.step(mean.detach())
        else:
            fall.step()
        now = q.detach()
        rate = optimizer.param_groups[0]["lr"] if newest else 1.0
        if bool(torch.all((now < 1e-12) | (torch.abs(now - last) < 1e-20 * rate))):
            break
        last = now
    with torch.no_grad():
        q = 0.5 * torch.sum((cell(u, z) - z) ** 2, dim=1)
    return z.detach().numpy(), q.numpy()


def reported(points: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Rows of the points that the classical finder reports: one of those equal to 3 decimals, no distant ones."""
    rows = np.unique(np.round(points, 3), axis=0, return_index=True)[1]
    centre = starts.mean(axis=0)
    limit = 10.0 * np.mean(np.linalg.norm(starts - centre, axis=1))
    return rows[np.linalg.norm(points[rows] - centre, axis=1) < limit]


def unique(points: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Rows of the points that have no other of smaller q within 1e-3, whatever their q."""
    kept: list[int] = []
    for i in np.argsort(q, kind="stable"):
        if not kept or np.min(np.linalg.norm(points[kept] - points[i], axis=1)) > 1e-3:
            kept.append(int(i))
    return np.array(kept, int)


def summary(q: np.ndarray) -> tuple[str, str]:
    """How many have q < 1e-12, and the largest q."""
    return str(int(np.sum(q < 1e-12))), f"{q.max():.1e}" if q.size else "-"


def rows(kind: str, config: Config) -> list[tuple[str, ...]]:
    """The rows of one network."""
    path = NETWORKS / f"flipflop_{kind}.pt"
    model, params = interop.from_torch(path)
    system = phase_map(model, params)
    pulses = tasks.FlipFlop(length=1000).sample(jax.random.key(1)).inputs
    states = trajectory(system, pulses)
    scale = float(jnp.std(states))
    classical = draw_starts(jax.random.key(2), states, config.n_starts, config.noise / scale, mixed=0.0)
    mixed = draw_starts(jax.random.key(2), states, config.n_starts)
    f = system.at(jnp.zeros(3))
    cell, numbers = cell_of(path, kind, classical.shape[1]), np.array(classical)
    kept: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def descend(name: str) -> None:
        kept[name] = adam(cell, numbers, config.adam_steps, newest=name == "newest")

    seconds = in_turn(
        {"newest": partial(descend, "newest"), "earlier": partial(descend, "earlier"),
         "ours": lambda: fixed_points(f, classical), "mixed": lambda: fixed_points(f, mixed)},
        config.rounds,
    )
    out: list[tuple[str, ...]] = []
    for name, label in (("newest", "Adam, rate from 1.0"), ("earlier", "Adam, rate from 0.05")):
        points, q = kept[name]
        listed = reported(points, numbers)
        chosen = listed[unique(points[listed], q[listed])]
        low, largest = summary(q[chosen])
        out.append((kind, label, str(listed.size), str(chosen.size), low, "-", "-", largest,
                    f"{ratio(seconds, 'newest', name):.1f}"))
    for name, starts in (("ours", classical), ("mixed", mixed)):
        found = fixed_points(f, starts)
        known = classify(f, found)
        counts = ", ".join(str(int(np.sum(known.n_unstable[known.fixed] == i))) for i in range(4))
        label = "dynlab, same starts" if name == "ours" else "dynlab, its own starts"
        total = str(int(known.fixed.sum()))
        low, largest = summary(known.speed[known.fixed] ** 2 / 2)
        out.append((kind, label, total, total, low, counts, f"{float(found.completeness.index_sum):+.0f}", largest,
                    f"{ratio(seconds, 'newest', name):.1f}"))
    return out


def library_solver(linear_solver: str) -> Callable[[Any, Any], Any]:
    """optimistix' Levenberg-Marquardt over a batch of starts, at most 200 steps."""
    import lineax
    import optimistix

    chosen = lineax.QR() if linear_solver == "QR" else lineax.Normal(lineax.Cholesky())
    solver: Any = optimistix.LevenbergMarquardt(rtol=1e-6, atol=1e-6, linear_solver=chosen)

    @jax.jit
    def solve(f: Any, starts: Any) -> Any:
        def one(z: Any) -> Any:
            found: Any = optimistix.least_squares(lambda z, _: f(z) - z, solver, z, max_steps=200, throw=False)
            return found.value

        return jax.vmap(one)(starts)

    return solve


def solvers(n_starts: int, n: int, rounds: int) -> tuple[str, ...]:
    """One row of the second table: how many times faster the fixed count is."""
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(n, n)) * 2 / np.sqrt(n), check.default_float())
    f = jax.tree_util.Partial(_tanh_map, weights)
    starts = jax.random.normal(jax.random.key(0), (n_starts, n)) * 0.7
    calls: dict[str, Callable[[], Any]] = {"ours": partial(fixed_points, f, starts)}
    for name in ("QR", "Cholesky"):
        calls[name] = partial(library_solver(name), f, starts)
    seconds = in_turn(calls, rounds)
    return (f"{n_starts} x {n}", *(f"{ratio(seconds, name, 'ours'):.1f}" for name in ("QR", "Cholesky")))


def _tanh_map(weights: Any, z: Any) -> Any:
    return jnp.tanh(weights @ z)


def main() -> None:
    """Print both tables."""
    config = tyro.cli(Config, description=__doc__)
    if config.smoke:
        config = Config(n_starts=64, adam_steps=20, rounds=1, smoke=True)
    console = Console(width=140)
    try:
        import torch  # noqa: F401
    except ImportError:
        console.print("PyTorch is not installed: the comparison with Adam is left out (install the bench extra)")
    else:
        table = Table(title=f"fixed points of the flip-flop networks, {check.default_float().name}")
        for column in COLUMNS:
            table.add_column(column)
        for kind in ("gru", "rnn"):
            for row in rows(kind, config):
                table.add_row(*row)
        console.print(table)
    table = Table(title="times faster than optimistix.LevenbergMarquardt (tanh networks, g = 2)")
    for column in ("starts x units", "its QR", "its Cholesky"):
        table.add_column(column)
    for n_starts, n in ((16, 8),) if config.smoke else ((256, 64), (1024, 64)):
        table.add_row(*solvers(n_starts, n, 1))
    console.print(table)


if __name__ == "__main__":
    main()
