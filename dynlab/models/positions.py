"""Positional codes: what is added to each token so that attention can tell places apart.

Each code is a pytree with ``code.table(shape)`` -> (n_tokens, width) for tokens in a row (N,) or on a grid (H, W), rows
first. They are those of the authors' code for the Continuous Thought Machine (arXiv:2505.05522).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.keys import named
from dynlab.models.layers import Affine, Norm, affines, glu, norm

Array = jax.Array

POSITIONS = ("none", "rotation", "rotation_grid", "fourier", "multi_fourier")
N_FOURIER, N_HIDDEN = 256, 128
FOURIER_SCALES = {"fourier": np.array([0.4]), "multi_fourier": np.linspace(1.0, 0.1, 10)}


def half_turn(n: int) -> np.ndarray:
    """The unit vectors (-sin, cos) at n angles from 0 to 180 degrees, (n, 2)."""
    angle = np.linspace(0.0, np.pi, n)
    return np.stack([-np.sin(angle), np.cos(angle)], axis=1)


def sinusoid(n: int, width: int) -> Array:
    r"""Fixed code of n places (n, width): sine and cosine of :math:`p / 10000^{2i/\mathrm{width}}`, interleaved.

    Vaswani et al. 2017, arXiv:1706.03762. It has no parameters.
    """
    check.integer("n", n, 1)
    if check.integer("width", width, 2) % 2:
        raise ValueError(f"width must be even, got {width}")
    angle = np.arange(n)[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    return jnp.asarray(np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(n, width), check.default_float())


@tree.dataclass
class Rotation:
    r"""A half turn over the row of tokens, projected: W (-sin, cos)(theta_n) + b, theta from 0 to 180 degrees."""

    project: Affine

    def table(self, shape: tuple[int, ...]) -> Array:
        """(N, width)."""
        return self.project(jnp.asarray(half_turn(shape[0]), self.project.bias.dtype))


@tree.dataclass
class RotationGrid:
    """Half turns along both axes of a square grid, of a learned start vector (2,), side by side and projected."""

    project: Affine
    start: Array

    def table(self, shape: tuple[int, ...]) -> Array:
        """(H W, width)."""
        n = shape[0]
        minus_sin, cos = jnp.asarray(half_turn(n), self.start.dtype).T
        first, second = self.start
        turned = jnp.stack([cos * first + minus_sin * second, cos * second - minus_sin * first], axis=1)
        both = jnp.concatenate([jnp.repeat(turned, n, axis=0), jnp.tile(turned, (n, 1))], axis=1)
        return self.project(both)


@tree.dataclass
class Fourier:
    """Learned Fourier features of grid coordinates in [0, 1] (Li et al. 2021, arXiv:2106.02795), on K scales.

    Attributes:
        frequencies: (K, 128, 2), normal with deviation scale^-2. hidden, outer, norm: the network after them, with a
            leading axis K. mixture: (K,), whose softmax weighs the scales; None for one.
    """

    frequencies: Array
    hidden: Affine
    outer: Affine
    norm: Norm
    mixture: Array | None

    def table(self, shape: tuple[int, ...]) -> Array:
        """(H W, width)."""
        rows, columns = (jnp.linspace(0.0, 1.0, n, dtype=self.frequencies.dtype) for n in shape)
        points = jnp.stack([jnp.tile(columns, shape[0]), jnp.repeat(rows, shape[1])], axis=1)

        def one(frequencies: Array, hidden: Affine, outer: Affine, last: Norm) -> Array:
            phase = jnp.matmul(points, frequencies.T, precision=jax.lax.Precision.HIGHEST)
            waves = jnp.concatenate([jnp.cos(phase), jnp.sin(phase)], axis=1) / np.sqrt(N_FOURIER).astype(phase.dtype)
            return last(outer(glu(hidden(waves))))

        tables = jax.vmap(one)(self.frequencies, self.hidden, self.outer, self.norm)
        return tables[0] if self.mixture is None else jnp.tensordot(jax.nn.softmax(self.mixture), tables, 1)


def check_positions(kind: str, shape: tuple[int, ...]) -> None:
    """Require a known code that fits the arrangement of the tokens."""
    check.choice("positions", kind, POSITIONS)
    if kind == "rotation" and len(shape) != 1:
        raise ValueError(f"n_tokens must be one number for positions 'rotation', got {shape}")
    if kind in ("rotation_grid", *FOURIER_SCALES) and (len(shape) != 2 or min(shape) < 2):
        raise ValueError(f"n_tokens must be (height, width), 2 or more each, for positions {kind!r}, got {shape}")
    if kind == "rotation_grid" and shape[0] != shape[1]:
        raise ValueError(f"n_tokens must be a square grid for positions 'rotation_grid', got {shape}")


def positional_code(key: Array, kind: str, width: int) -> Any:
    """Draw a code for tokens of `width`: a name of :data:`POSITIONS`; None for "none".

    "rotation" serves the parity task; "rotation_grid", "fourier" and "multi_fourier" are for grids of image features.

    Raises:
        ValueError, TypeError: an unknown name, a width below 1.
    """
    check.choice("positions", kind, POSITIONS)
    check.integer("width", width, 1)
    if kind == "none":
        return None
    if kind == "rotation":
        return Rotation(*affines(key, [(2, width)]))
    dtype = check.default_float()
    if kind == "rotation_grid":
        return RotationGrid(affines(key, [(4, width)])[0], jnp.array([0.0, 1.0], dtype))
    scales = jnp.asarray(FOURIER_SCALES[kind], dtype)
    k = scales.shape[0]

    layers = affines(named(key, "layers"), [(N_FOURIER, N_HIDDEN)] * k + [(N_HIDDEN // 2, width)] * k)
    hidden, outer = (jax.tree.map(lambda *leaves: jnp.stack(leaves), *part) for part in (layers[:k], layers[k:]))
    drawn = jax.random.normal(named(key, "frequencies"), (k, N_FOURIER // 2, 2), dtype)
    last = jax.tree.map(lambda leaf: jnp.tile(leaf, (k, 1)), norm(width))
    return Fourier(drawn * scales[:, None, None] ** -2, hidden, outer, last, jnp.ones(k, dtype) if k > 1 else None)
