"""Thought machines in mazes: tokens, marks of an answer, the route and what attention does on it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import tree
from dynlab.analysis.attention_path import attention_path
from dynlab.tasks import Maze, Mazes
from dynlab.tasks.mazes import FEATURES, WAIT
from experiments._thoughts import TickLoss, answer_tick, mean_of_batches

Array = jax.Array


@tree.dataclass
class MazeTokens:
    """Mazes whose cells' features are followed by zeros up to `width`: room for a positional code beside them."""

    maze: Maze
    width: int = tree.static()

    def batch(self, key: Array, size: int) -> Mazes:
        """Draw `size` mazes, symbols (size, n * n, width)."""
        drawn = self.maze.batch(key, size)
        room = self.width - drawn.symbols.shape[-1]
        return drawn.replace(symbols=jnp.pad(drawn.symbols, ((0, 0), (0, 0), (0, room))))  # type: ignore[attr-defined]


def marks(right: Array, labels: Array) -> dict[str, Array]:
    """Of answers right (..., B, route): share of moves right on the way, of all positions, and of mazes solved.

    On the way are the moves up to the one that reaches the goal; a maze is solved when every position is right, so the
    waiting after the goal too. The mean over mazes of the share within each, so that short ways count as much as long.
    """
    moves = labels != WAIT
    steps = jnp.sum(right & moves, axis=-1) / jnp.sum(moves, axis=-1)
    solved = jnp.all(right, axis=-1)
    mean = lambda x: jnp.mean(x, axis=-1)  # noqa: E731
    return {"steps": mean(steps), "positions": mean(jnp.mean(right, axis=-1)), "solved": mean(solved)}


@tree.dataclass
class MazeTest:
    """Marks on fresh batches of 256."""

    loss: TickLoss
    tests: int = tree.static()

    def __call__(self, params: Any, key: Array) -> dict[str, Array]:
        """steps, positions, solved."""

        def one(key: Array) -> dict[str, Array]:
            thought, drawn = self.loss.thought(params, key, 256)
            right = jnp.argmax(thought.logits, axis=-1) == drawn.labels[:, None]
            at = answer_tick(self.loss.model, thought.certainty)
            return marks(jnp.take_along_axis(right, at[:, None, None], axis=1)[:, 0], drawn.labels)

        return mean_of_batches(one, key, self.tests)


def by_distance(right: np.ndarray, labels: np.ndarray, distance: np.ndarray) -> dict[str, np.ndarray]:
    """Marks of answers right (B, route) of the mazes of each distance that occurs, and how many these are."""
    found = np.unique(distance)
    rows = [marks(jnp.asarray(right[distance == d]), jnp.asarray(labels[distance == d])) for d in found]
    return {"distance": found, "mazes": np.array([np.sum(distance == d) for d in found]),
            **{name: np.array([float(row[name]) for row in rows]) for name in ("steps", "solved")}}


def route_cells(symbols: np.ndarray, labels: np.ndarray, n_cells: int) -> np.ndarray:
    """The cells of the way, start first: (B, route + 1), the goal again and again where the answer waits there."""
    start = np.argmax(symbols[:, :, FEATURES.index("start")], axis=1)
    moves = np.array([-n_cells, n_cells, -1, 1, 0])[labels]
    return start[:, None] + np.concatenate([np.zeros((len(labels), 1), int), np.cumsum(moves, axis=1)], axis=1)


def on_the_way(weights: np.ndarray, cells: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Attention on the cells of the way (B, T, heads, route + 1), 0 after the goal; `moves` (B,) are those of the way.

    Args:
        weights: (B, T, heads, N). cells: (B, route + 1).
    """
    found = np.take_along_axis(weights, cells[:, None, None, :], axis=3)
    return np.where((np.arange(cells.shape[1]) <= moves[:, None])[:, None, None, :], found, 0.0)


def others_like_it(moves: np.ndarray) -> np.ndarray:
    """For each maze another one with as many moves (B,), itself where it is the only one."""
    out = np.arange(len(moves))
    for count in np.unique(moves):
        rows = np.flatnonzero(moves == count)
        out[rows] = np.roll(rows, 1)
    return out


def walk(weights: np.ndarray, cells: np.ndarray, moves: np.ndarray) -> dict[str, np.ndarray]:
    """Does attention go along the way?

    Only mazes of three moves or more. "share" is the attention on the way, (heads,), mean over ticks; "advance" how far
    its centre of mass on the way moves from the first tick to the last, by a line through all ticks, as a share of the
    way: 1 for a steady walk from start to goal. Both are measured on the maze's own way and, as the chance level, on
    the way of another maze with as many moves: (2, heads) each. Mazes whose way a head never looks at have no centre
    and do not count for its advance.
    """
    long = moves >= 3
    weights, cells, moves = weights[long], cells[long], moves[long]
    share, advance = [], []
    for rows in (np.arange(len(moves)), others_like_it(moves)):
        there = on_the_way(weights, cells[rows], moves)
        share.append(there.sum(-1).mean((0, 1)))
        slope = np.asarray(attention_path(there).slope)
        along = slope * (weights.shape[1] - 1) / moves[:, None]  # NaN where a head never was on the way
        seen = np.isfinite(along)
        advance.append(np.sum(np.where(seen, along, 0.0), axis=0) / np.maximum(seen.sum(axis=0), 1))
    return {"share": np.stack(share), "advance": np.stack(advance)}


def draw_maze(ax: Any, symbols: np.ndarray, n_cells: int) -> None:
    """The walls of one maze (n * n, features); S is the start, G the goal."""
    for cell, features in enumerate(symbols):
        row, column = divmod(cell, n_cells)
        up, down, left, right = features[:4] < 0.5
        for wall, x, y in ((up, (-0.5, 0.5), (-0.5, -0.5)), (down, (-0.5, 0.5), (0.5, 0.5)),
                           (left, (-0.5, -0.5), (-0.5, 0.5)), (right, (0.5, 0.5), (-0.5, 0.5))):
            if wall:
                ax.plot(column + np.array(x), row + np.array(y), color="k", lw=2, solid_capstyle="round")
    for name, letter in (("start", "S"), ("goal", "G")):
        row, column = divmod(int(np.argmax(symbols[:, FEATURES.index(name)])), n_cells)
        ax.text(column - 0.32, row - 0.32, letter, ha="center", va="center", fontsize=9, weight="bold")
    ax.set(xlim=(-0.7, n_cells - 0.3), ylim=(n_cells - 0.3, -0.7), aspect="equal")
    ax.axis("off")


def draw_path(ax: Any, weights: np.ndarray, cells: np.ndarray, n_cells: int) -> Any:
    """The way (grey) and the centre of mass of attention (T, N), coloured by tick; returns what a colour bar wants."""
    ax.plot(cells % n_cells, cells // n_cells, color="0.8", lw=7, zorder=0, solid_capstyle="round")
    place = np.arange(n_cells**2)
    x, y = weights @ (place % n_cells), weights @ (place // n_cells)
    ax.plot(x, y, color="0.5", lw=0.8)
    return ax.scatter(x, y, c=1 + np.arange(len(x)), cmap="viridis", s=28, zorder=3)
