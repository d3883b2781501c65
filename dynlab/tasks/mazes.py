"""Small mazes made on the fly: name the moves from a start to a goal."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree

Array = jax.Array
MOVES = ("up", "down", "left", "right", "wait")
WAIT = 4
FEATURES = ("open up", "open down", "open left", "open right", "start", "goal")


@tree.dataclass
class Mazes:
    """A batch of mazes with the moves that solve them.

    Attributes:
        symbols: (B, n * n, 6), a row a cell, 0 or 1: see :data:`FEATURES`. labels: (B, route) int32, see
            :data:`MOVES`; "wait" after the goal. distance: (B,) int32, moves to the goal.
    """

    symbols: Array
    labels: Array
    distance: Array


def _neighbours(n: int) -> np.ndarray:
    """(n * n, 4): the cell above, below, left and right; -1 outside."""
    rows, columns = np.divmod(np.arange(n * n), n)
    out = np.stack([rows * n + columns + step for step in (-n, n, -1, 1)], axis=1)
    outside = np.stack([rows == 0, rows == n - 1, columns == 0, columns == n - 1], axis=1)
    return np.where(outside, -1, out)


def _edges(n: int) -> np.ndarray:
    """(2 n (n - 1), 2): pairs of cells beside and below each other."""
    cells = np.arange(n * n).reshape(n, n)
    beside = np.stack([cells[:, :-1].ravel(), cells[:, 1:].ravel()], axis=1)
    below = np.stack([cells[:-1].ravel(), cells[1:].ravel()], axis=1)
    return np.concatenate([beside, below])


def _passages(key: Array, n: int) -> Array:
    """(n * n, 4) bool, where a maze is open: the smallest spanning tree of random weights, by Prim's algorithm."""
    edges = jnp.asarray(_edges(n), jnp.int32)
    weights = jax.random.uniform(key, edges.shape[:1])

    def grow(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        inside, used = carry
        ends = inside[edges]
        chosen = jnp.argmin(jnp.where(ends[:, 0] != ends[:, 1], weights, jnp.inf))
        return inside.at[edges[chosen]].set(True), used.at[chosen].set(True)

    start = (jnp.zeros(n * n, bool).at[0].set(True), jnp.zeros(edges.shape[0], bool))
    _, used = jax.lax.fori_loop(0, n * n - 1, grow, start)
    across = 2 * (edges[:, 1] - edges[:, 0] == 1)  # 0 for a pair below each other, 2 for one beside
    opened = jnp.zeros((n * n, 4), bool)
    return opened.at[edges[:, 0], across + 1].max(used).at[edges[:, 1], across].max(used)


def _distances(opened: Array, goal: Array, n: int) -> Array:
    """(n * n,) moves from every cell to the goal."""
    neighbours = jnp.asarray(_neighbours(n), jnp.int32)
    far = jnp.full(n * n, n * n, jnp.int32).at[goal].set(0)

    def relax(_: Array, distance: Array) -> Array:
        through = jnp.where(opened, distance[neighbours] + 1, n * n)
        return jnp.minimum(distance, jnp.min(through, axis=1))

    return jax.lax.fori_loop(0, n * n - 1, relax, far)


@tree.dataclass
class Maze:
    r"""A perfect maze (one way between any two cells) of n x n cells; the answer is the first `route` moves.

    Start and goal are two cells drawn uniformly. A model that always says the most frequent move gets about 1 / 4 of
    the moves before the goal. After the mazes of Darlow et al. 2025, arXiv:2505.05522, which are larger and shown as
    images; here each cell is a token that knows its own walls.

    Attributes:
        n_cells: n (static). route: length of the answer (static).
    """

    n_cells: int = tree.static(default=5)
    route: int = tree.static(default=12)

    def batch(self, key: Array, size: int) -> Mazes:
        """Draw `size` mazes.

        Raises:
            ValueError, TypeError: sizes out of range, an untyped key.
        """
        check.key("key", key)
        n = check.integer("n_cells", self.n_cells, 2)
        check.integer("route", self.route, 1)
        check.integer("size", size, 1)
        neighbours = jnp.asarray(_neighbours(n), jnp.int32)

        def one(key: Array) -> Mazes:
            walls, ends = jax.random.split(key)
            start, goal = jax.random.choice(ends, n * n, (2,), replace=False)
            opened = _passages(walls, n)
            distance = _distances(opened, goal, n)

            def move(cell: Array, _: None) -> tuple[Array, Array]:
                nearer = opened[cell] & (distance[neighbours[cell]] == distance[cell] - 1)
                chosen = jnp.where(jnp.any(nearer), jnp.argmax(nearer), WAIT)
                return jnp.where(chosen == WAIT, cell, neighbours[cell, jnp.minimum(chosen, 3)]), chosen

            _, moves = jax.lax.scan(move, start, None, length=self.route)
            cells = jnp.arange(n * n)
            features = jnp.concatenate([opened, (cells == start)[:, None], (cells == goal)[:, None]], axis=1)
            return Mazes(features.astype(check.default_float()), moves.astype(jnp.int32), distance[start])

        return jax.vmap(one)(jax.random.split(key, size))


def leading_correct(right: Array) -> Array:
    """How many moves are right before the first wrong one: (..., route) bool -> (...) int32."""
    return jnp.sum(jnp.cumprod(jnp.asarray(right, jnp.int32), axis=-1), axis=-1)


def route_mask(logits: Array, labels: Array, ahead: int = 5) -> Array:
    """Which moves count in the loss: those that some tick has right without a gap, and `ahead` more; (B, route).

    A curriculum that every maze runs through on its own (arXiv:2505.05522).

    Args:
        logits: (B, T, route, 5). labels: (B, route). ahead: at least 1.
    """
    check.integer("ahead", ahead, 1)
    right = jnp.argmax(logits, axis=-1) == labels[:, None]
    upto = jnp.max(leading_correct(right), axis=1) + ahead
    return (jnp.arange(labels.shape[1]) < upto[:, None]).astype(logits.dtype)
