"""The synapse model of the Continuous Thought Machine: how activations and input make the next pre-activations."""

from __future__ import annotations

import itertools

import jax
import numpy as np

from dynlab import check, tree
from dynlab.models.layers import Affine, Norm, affines, dropout, glu, norm

Array = jax.Array
NARROWEST = 16  # width of the narrowest level of a U-Net, fixed in the authors' code


@tree.dataclass
class Gate:
    """Affine map to twice the width, gated linear unit, layer normalisation."""

    affine: Affine
    norm: Norm

    def __call__(self, x: Array) -> Array:
        """(n_in,) -> (n_out,)."""
        return self.norm(glu(self.affine(x)))


@tree.dataclass
class Block:
    """Affine map, layer normalisation, SiLU."""

    affine: Affine
    norm: Norm

    def __call__(self, x: Array) -> Array:
        """(n_in,) -> (n_out,)."""
        return jax.nn.silu(self.norm(self.affine(x)))


@tree.dataclass
class Gates:
    """A synapse model of depth 1: one :class:`Gate`, or several in a row. Dropout acts on what the first reads."""

    gates: tuple[Gate, ...]

    def __call__(self, x: Array, rate: Array | None = None, key: Array | None = None) -> Array:
        """(n_in,) -> (D,)."""
        x = dropout(x, rate, key, "synapse")
        for gate in self.gates:
            x = gate(x)
        return x


@tree.dataclass
class UNet:
    r"""A synapse model of depth k > 1: k levels whose widths fall evenly from D to 16, down and up again.

    .. math:: d_0 = f_{in}(x), \quad d_{i+1} = f^{\downarrow}_i(d_i), \quad u_{k-1} = d_{k-1}, \quad
              u_i = \mathrm{LN}_i(f^{\uparrow}_i(u_{i+1}) + d_i), \qquad a = u_0

    Each f is a :class:`Block`. Dropout acts on what the blocks down and up read. What the paper calls the depth counts
    the blocks down and up, about twice this k.

    Attributes:
        entry: to width D. down, up, skip: k - 1 each, level 0 first; skip are the normalisations after the sums.
    """

    entry: Block
    down: tuple[Block, ...]
    up: tuple[Block, ...]
    skip: tuple[Norm, ...]

    def __call__(self, x: Array, rate: Array | None = None, key: Array | None = None) -> Array:
        """(n_in,) -> (D,)."""
        levels = [self.entry(x)]
        for i, block in enumerate(self.down):
            levels.append(block(dropout(levels[-1], rate, key, f"down {i}")))
        rising = levels.pop()
        for i in reversed(range(len(self.up))):
            rising = self.skip[i](self.up[i](dropout(rising, rate, key, f"up {i}")) + levels[i])
        return rising


def unet_widths(n_units: int, depth: int) -> list[int]:
    """Widths of the levels: D first, 16 last, evenly spaced and cut to whole numbers."""
    return [int(width) for width in np.linspace(n_units, NARROWEST, depth)]


def synapse_model(key: Array, n_in: int, n_units: int, depth: int = 1, n_gates: int = 1) -> Gates | UNet:
    """Draw a synapse model from `n_in` to `n_units`.

    Args:
        depth: 1 for gates, k > 1 for a U-Net (the argument of the authors' code). n_gates: gates in a row at depth 1;
            the authors' reinforcement learning has 2.

    Raises:
        ValueError, TypeError: sizes below 1, several gates in a U-Net.
    """
    check.integer("depth", depth, 1)
    check.integer("n_gates", n_gates, 1, 1 if depth > 1 else None)

    if depth == 1:
        drawn = affines(key, [(n_in if i == 0 else n_units, 2 * n_units) for i in range(n_gates)])
        return Gates(tuple(Gate(layer, norm(n_units)) for layer in drawn))
    widths = unet_widths(n_units, depth)
    down = list(itertools.pairwise(widths))
    up = [(b, a) for a, b in down]
    blocks = [Block(layer, norm(layer.bias.shape[0])) for layer in affines(key, [(n_in, n_units), *down, *up])]
    return UNet(entry=blocks[0], down=tuple(blocks[1:depth]), up=tuple(blocks[depth:]),
                skip=tuple(norm(width) for width in widths[:-1]))
