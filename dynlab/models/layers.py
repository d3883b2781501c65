"""Layers that models with deep parts are made of: affine maps, layer normalisation, gates and dropout.

Parameters are plain pytrees with PyTorch's shapes and starting distributions, so that weights go there and back
unchanged. Functions take one sample, a vector or a row of tokens (..., n); ``vmap`` is outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.keys import named

Array = jax.Array
EPSILON = 1e-5  # added to the variance of a layer normalisation, PyTorch's default


@tree.dataclass
class Affine:
    """x -> W x + b, with `weight` (n_out, n_in) and `bias` (n_out,)."""

    weight: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        """(..., n_in) -> (..., n_out)."""
        if x.ndim == 1:
            return jnp.matmul(self.weight, x, precision=jax.lax.Precision.HIGHEST) + self.bias
        return jnp.matmul(x, self.weight.T, precision=jax.lax.Precision.HIGHEST) + self.bias


@tree.dataclass
class Norm:
    r"""Layer normalisation, :math:`y = g \odot (x - \bar x) / \sqrt{\mathrm{var}(x) + 10^{-5}} + b` over the last axis.

    The variance is the biased one. `scale` is g (n,), `bias` is b (n,).
    """

    scale: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        """(..., n) -> (..., n)."""
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(centred**2, axis=-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + EPSILON) * self.scale + self.bias


def uniform(key: Array, shape: tuple[int, ...], bound: Any) -> Array:
    """Uniform on [-bound, bound)."""
    dtype = check.default_float()
    return jnp.asarray(bound, dtype) * jax.random.uniform(key, shape, dtype, -1.0, 1.0)


def affines(key: Array, sizes: Sequence[tuple[int, int]]) -> list[Affine]:
    r"""Affine maps of the (n_in, n_out) in `sizes`: weights and biases uniform on :math:`\pm 1/\sqrt{n_{in}}`.

    That is the default of PyTorch's ``nn.Linear``. All are cut from one draw: compiling many costs seconds.
    """
    flat = uniform(key, (sum(n_out * (n_in + 1) for n_in, n_out in sizes),), 1.0)
    out, start = [], 0
    for n_in, n_out in sizes:
        stop = start + n_out * (n_in + 1)
        rows = (flat[start:stop] * n_in**-0.5).reshape(n_out, n_in + 1)
        out.append(Affine(rows[:, 1:], rows[:, 0]))
        start = stop
    return out


def norm(n: int) -> Norm:
    """Scale 1 and bias 0."""
    dtype = check.default_float()
    return Norm(jnp.ones(n, dtype), jnp.zeros(n, dtype))


def glu(x: Array) -> Array:
    r"""Gated linear unit, :math:`(a, b) \mapsto a\, \sigma(b)`: (..., 2 n) -> (..., n)."""
    value, gate = jnp.split(x, 2, axis=-1)
    return value * jax.nn.sigmoid(gate)


def dropout(x: Array, rate: Array | None, key: Array | None, role: str) -> Array:
    """Set entries to 0 with probability `rate` and divide the others by 1 - rate; without rate or key nothing happens.

    The rate gets no gradient.
    """
    if rate is None or key is None:
        return x
    keep = 1.0 - jax.lax.stop_gradient(jnp.asarray(rate))
    keep = keep.astype(check.wide(keep.dtype))  # half precision has the same random bits
    return jnp.where(jax.random.bernoulli(named(key, role), keep, x.shape), x / keep.astype(x.dtype), 0.0)


def parameter_count(params: Any) -> int:
    """Number of floating entries of a pytree of arrays, or of their shapes; a field called dropout is not counted.

    Integer entries (pair indices) are no parameters. For the count of a model without drawing it:
    ``parameter_count(jax.eval_shape(model.init, key))``.
    """
    total = 0
    for path, leaf in jax.tree.leaves_with_path(params):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and getattr(path[-1], "name", None) != "dropout":
            total += leaf.size
    return total
