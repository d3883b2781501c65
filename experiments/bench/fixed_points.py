"""How fast, and how completely, are the fixed points of a trained network found?

    python -m experiments.bench.fixed_points [--smoke]

Networks: the flip-flop GRU and tanh RNN of experiments/networks (16 units), zero input, the same 1,024 starts for both
sides: states of a run plus Gaussian noise, as classical finders draw them. A third row adds mixtures of states
(``draw_starts``), our default. The other side is Adam descent on q = |f(z) - z|^2 / 2 in PyTorch, joint over all
starts, with the published defaults of FixedPointFinder (Golub & Sussillo 2018, doi:10.21105/joss.01003): learning rate
1.0, times 0.95 when the mean q has not fallen for 2 steps, at most 5,000 steps, stop when every q < 1e-12 or every
change of q < 1e-20 times the learning rate; points closer than 1e-3 are one, and no filter on q.

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
from dynlab.analysis.fixed_points import distinct, draw_starts, fixed_points
from dynlab.analysis.linearize import phase_map, trajectory
from experiments.bench.timing import in_turn, ratio

NETWORKS = Path(experiments.__file__).parent / "networks"
COLUMNS = ("network", "method", "points", "of those q < 1e-12", "stable, 1, 2, 3 unstable", "index sum", "largest q",
           "times faster than Adam")


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


def adam(path: Path, kind: str, starts: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Adam descent of the classical kind: ``(points, q)``."""
    import torch

    dtype = torch.float64 if check.default_float() == np.float64 else torch.float32
    cell = {"gru": torch.nn.GRUCell, "rnn": torch.nn.RNNCell}[kind](3, starts.shape[1], dtype=dtype)
    stored = torch.load(path, weights_only=True)
    cell.load_state_dict({name.removeprefix("rnn.").removesuffix("_l0"): value for name, value in stored.items()
                          if name.startswith("rnn.")})
    for weight in cell.parameters():
        weight.requires_grad_(False)
    z = torch.tensor(starts, dtype=dtype, requires_grad=True)
    u = torch.zeros(starts.shape[0], 3, dtype=dtype)
    optimizer = torch.optim.Adam([z], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.95, patience=2, cooldown=0)
    last = torch.full((starts.shape[0],), torch.inf, dtype=dtype)
    for _ in range(steps):
        optimizer.zero_grad()
        q = 0.5 * torch.sum((cell(u, z) - z) ** 2, dim=1)
        mean = torch.mean(q)
        mean.backward()
        optimizer.step()
        scheduler.step(mean.detach())
        now = q.detach()
        rate = optimizer.param_groups[0]["lr"]
        if bool(torch.all((now < 1e-12) | (torch.abs(now - last) < 1e-20 * rate))):
            break
        last = now
    with torch.no_grad():
        q = 0.5 * torch.sum((cell(u, z) - z) ** 2, dim=1)
    return z.detach().numpy(), q.numpy()


def unique(points: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Rows of the distinct points (within 1e-3), whatever their q."""
    z, speed = jnp.asarray(points), jnp.sqrt(2 * jnp.asarray(q))
    return np.flatnonzero(np.asarray(distinct(z, speed, radius=1e-3, max_speed=jnp.inf)[0]))


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
    kept: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def descend() -> None:
        kept["adam"] = adam(path, kind, np.asarray(classical), config.adam_steps)

    seconds = in_turn(
        {"adam": descend, "ours": lambda: fixed_points(f, classical), "mixed": lambda: fixed_points(f, mixed)},
        config.rounds,
    )
    points, q = kept["adam"]
    chosen = unique(points, q)
    low = int(np.sum(q[chosen] < 1e-12))
    first = (kind, "Adam descent, PyTorch", str(chosen.size), str(low), "-", "-", f"{q[chosen].max():.1e}", "1")
    out: list[tuple[str, ...]] = [first]
    for name, starts in (("ours", classical), ("mixed", mixed)):
        found = fixed_points(f, starts)
        known = classify(f, found)
        counts = ", ".join(str(int(np.sum(known.n_unstable[known.fixed] == i))) for i in range(4))
        label = "dynlab, same starts" if name == "ours" else "dynlab, its own starts"
        largest = float(np.max(known.speed[known.fixed] ** 2 / 2))
        out.append((kind, label, str(int(known.fixed.sum())), str(int(known.fixed.sum())), counts,
                    f"{float(found.completeness.index_sum):+.0f}", f"{largest:.1e}",
                    f"{ratio(seconds, 'adam', name):.1f}"))
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
        config = Config(n_starts=64, adam_steps=20, rounds=1)
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
