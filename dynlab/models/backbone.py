"""A small convolutional backbone: from a batch of images to the tokens that a thinking model attends to."""

from __future__ import annotations

from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.keys import named
from dynlab.models.layers import EPSILON, uniform

Array = jax.Array


@tree.dataclass
class Moments:
    """What batch normalisation divides by, a channel: mean (C,) and biased variance (C,)."""

    mean: Array
    variance: Array


@tree.dataclass
class ConvBlock:
    r"""Parameters of one block of a backbone.

    .. math:: y = \mathrm{pool}\Big(\mathrm{relu}\big(g\,(w * x + b - \mu) / \sqrt{v + 10^{-5}} + s\big)\Big)

    ``*`` is the cross-correlation that PyTorch calls a convolution, zeros around the image; mu and v are
    :class:`Moments`. The bias b has no effect; it is kept because PyTorch's layers have it.

    Attributes:
        weight: w, (C_out, C_in, k, k) as in PyTorch. bias: b (C_out,). scale: g (C_out,). offset: s (C_out,).
    """

    weight: Array
    bias: Array
    scale: Array
    offset: Array

    def filtered(self, x: Array) -> Array:
        """(B, H, W, C_in) -> w * x + b, (B, H, W, C_out), as one matrix product.

        Inside a loop on a CPU, value and gradient of ``conv_general_dilated`` took six times as long.
        """
        size, (_, height, width, _) = self.weight.shape[-1], x.shape
        edge = size // 2
        padded = jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
        seen = jnp.concatenate(
            [padded[:, i : i + height, j : j + width] for i in range(size) for j in range(size)], axis=-1)
        weight = jnp.transpose(self.weight, (2, 3, 1, 0)).reshape(-1, self.weight.shape[0])
        return jnp.matmul(seen, weight, precision=jax.lax.Precision.HIGHEST) + self.bias

    def active(self, filtered: Array, moments: Moments, pool: int) -> Array:
        """What :meth:`filtered` gave, normalised, rectified and pooled: (B, H // pool, W // pool, C_out)."""
        gain = self.scale * jax.lax.rsqrt(moments.variance + EPSILON)
        return _pooled(jax.nn.relu((filtered - moments.mean) * gain + self.offset), pool)


@tree.dataclass
class Backbone:
    r"""Blocks of convolution, batch normalisation, rectifier and maximum pooling, as in the authors' MNIST tutorial.

    The tutorial of the Continuous Thought Machine (Darlow et al. 2025, arXiv:2505.05522) has two blocks of 32 channels:
    an image of 28 by 28 becomes 7 by 7 tokens of width 32. Weights start as PyTorch's do, uniform on
    :math:`\pm 1/\sqrt{C_{in} k^2}`.

    Batch normalisation uses the moments of the batch in training. For a trained network PyTorch keeps running averages;
    here nothing runs along: :meth:`moments` computes the population's own, exactly, from images and parameters, and
    :meth:`tokens` takes them. So parameters are all there is, and an update stays a pure function.

    Attributes:
        shape: (height, width, channels) of an image (static). widths: channels of each block (static).
        kernel: side of the filters, odd (static). pool: side of the pooled squares; what is left over at the edges is
            dropped (static).
    """

    shape: tuple[int, int, int] = tree.static(default=(28, 28, 1))
    widths: tuple[int, ...] = tree.static(default=(32, 32))
    kernel: int = tree.static(default=3)
    pool: int = tree.static(default=2)

    @property
    def n_tokens(self) -> tuple[int, int]:
        """(height, width) of the grid of tokens: ``n_tokens`` of the model that reads them."""
        height, width, _ = self.shape
        return height // self.pool ** len(self.widths), width // self.pool ** len(self.widths)

    @property
    def n_features(self) -> int:
        """Width of a token: ``n_inputs`` of the model that reads it."""
        return self.widths[-1]

    def _validate(self) -> None:
        for name, sizes in (("shape", self.shape), ("widths", self.widths)):
            if not isinstance(sizes, tuple) or not sizes or (name == "shape" and len(sizes) != 3):
                raise ValueError(f"{name} must be a tuple such as {'(28, 28, 1)' if name == 'shape' else '(32, 32)'}, "
                                 f"got {sizes!r}")
            for size in sizes:
                check.integer(name, size, 1)
        if check.integer("kernel", self.kernel, 1) % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        check.integer("pool", self.pool, 1)
        if min(self.n_tokens) < 1:
            raise ValueError(f"pool must leave at least one token of shape {self.shape} after {len(self.widths)} "
                             f"blocks, got {self.pool}")

    def init(self, key: Array) -> tuple[ConvBlock, ...]:
        """Draw the parameters, a :class:`ConvBlock` a block.

        Raises:
            ValueError, TypeError: a field out of its range, or `key` not a typed key.
        """
        self._validate()
        check.key("key", key)
        blocks, channels = [], self.shape[2]
        for number, width in enumerate(self.widths):
            size = (width, channels, self.kernel, self.kernel)
            bound = (channels * self.kernel**2) ** -0.5
            drawn = uniform(named(key, f"block {number}"), (width, channels * self.kernel**2 + 1), bound)
            blocks.append(ConvBlock(drawn[:, 1:].reshape(size), drawn[:, 0], jnp.ones(width, drawn.dtype),
                                    jnp.zeros(width, drawn.dtype)))
            channels = width
        return tuple(blocks)

    def tokens(
        self, params: tuple[ConvBlock, ...], images: Any, moments: tuple[Moments, ...] | None = None
    ) -> Array:
        """Tokens (B, N, F) of images (B, height, width, channels), row by row of the grid.

        Args:
            params: of :meth:`init`. images: floats as they are; uint8 is taken as 0 to 1.
            moments: of :meth:`moments`; None takes those of this batch, as in training.

        Raises:
            ValueError, TypeError: images of another shape, NaN, as many moments as there are no blocks.
        """
        x = _scaled(self._checked(images))
        if moments is not None and [jnp.shape(each.mean) for each in moments] != [(n,) for n in self.widths]:
            raise ValueError(f"moments must be those of {len(self.widths)} blocks of {self.widths} channels, got "
                             f"shapes {[jnp.shape(each.mean) for each in moments]}")
        for number, block in enumerate(params):
            filtered = block.filtered(x)
            known = _moments(filtered) if moments is None else moments[number]
            x = block.active(filtered, known, self.pool)
        return x.reshape(x.shape[0], -1, x.shape[-1])

    def moments(self, params: tuple[ConvBlock, ...], images: Any, batch: int = 250) -> tuple[Moments, ...]:
        """The moments of all these images, block by block, each behind blocks that are normalised by theirs.

        Args:
            params, images: as in :meth:`tokens`. batch: so many at a time (static); it changes only rounding.
        """
        check.integer("batch", batch, 1)
        return _population(self, params, self._checked(images), batch=batch)

    def _checked(self, images: Any) -> Array:
        if jnp.ndim(images) != 4 or jnp.shape(images)[1:] != self.shape or 0 in jnp.shape(images):
            raise ValueError(f"images must have shape (batch, {', '.join(map(str, self.shape))}), got "
                             f"{jnp.shape(images)}")
        return jnp.asarray(images) if jnp.result_type(images) == jnp.uint8 else check.array("images", images)


def _scaled(images: Array) -> Array:
    """Floats: 8 bits are taken as 0 to 1."""
    return images.astype(check.default_float()) / 255 if images.dtype == jnp.uint8 else images


def _moments(x: Array) -> Moments:
    """Over all axes but the channels."""
    mean = jnp.mean(x, axis=(0, 1, 2))
    return Moments(mean, jnp.mean((x - mean) ** 2, axis=(0, 1, 2)))


def _pooled(x: Array, pool: int) -> Array:
    """The largest of each square of side `pool`."""
    height, width = (size // pool * pool for size in x.shape[1:3])
    return reduce(jnp.maximum, [x[:, i:height:pool, j:width:pool] for i in range(pool) for j in range(pool)])


@partial(jax.jit, static_argnames=("batch",))
def _population(
    model: Backbone, params: tuple[ConvBlock, ...], images: Array, *, batch: int
) -> tuple[Moments, ...]:
    """A pass over the images a block: moments of every image, then mean of variances plus variance of means."""
    found: list[Moments] = []
    for number in range(len(params)):

        def one(image: Array, number: int = number) -> Moments:
            x = _scaled(image)[None]
            for block, known in zip(params, found, strict=False):
                x = block.active(block.filtered(x), known, model.pool)
            return _moments(params[number].filtered(x))

        each = jax.lax.map(one, images, batch_size=batch)
        mean = jnp.mean(each.mean, axis=0)
        spread = jnp.mean((each.mean - mean) ** 2, axis=0)
        found.append(Moments(mean, jnp.mean(each.variance, axis=0) + spread))
    return tuple(found)
