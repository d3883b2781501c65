"""Training in half precision: the forward and backward pass in bfloat16 or float16, parameters in float32."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.train.constraints import name_of

Array = jax.Array
SCALE_FLOAT16 = 2.0**12


@tree.dataclass
class MixedPrecision:
    """A loss in half precision; made by :func:`mixed_precision`.

    Attributes:
        loss: what is minimised. scale: of the loss in the backward pass, or None.
        dtype: name of the half precision (static). keep: parts of the parameters that are not cast (static).
    """

    loss: Any
    scale: Any
    dtype: str = tree.static()
    keep: tuple[str, ...] = tree.static()

    def cast(self, params: Any) -> Any:
        """The parameters as the loss sees them: floating leaves in half precision but for those kept."""
        paths, treedef = jax.tree.flatten_with_path(params)
        names = [name_of(path) for path, _ in paths]
        within = lambda name, part: name == part or name.startswith(part + ".")  # noqa: E731
        unknown = [part for part in self.keep if not any(within(name, part) for name in names)]
        if unknown:
            raise ValueError(f"keep must name parts of the parameters ({', '.join(names)}), got {', '.join(unknown)}")
        kept = [any(within(name, part) for part in self.keep) for name in names]
        cast = [leaf if stays or not _floating(leaf) else _down(self.dtype, self.scale, jnp.asarray(leaf))
                for stays, (_, leaf) in zip(kept, paths, strict=True)]
        return jax.tree.unflatten(treedef, cast)

    def __call__(self, params: Any, *arguments: Any, **options: Any) -> Any:
        """The loss, float32, and what it reports."""
        out = self.loss(self.cast(params), *arguments, **options)
        wide = lambda leaf: jnp.asarray(leaf, check.wide(jnp.result_type(leaf))) if _floating(leaf) else leaf  # noqa: E731
        out = jax.tree.map(wide, out)
        value, report = out if isinstance(out, tuple) else (out, None)
        value = value if self.scale is None else _up(value, self.scale)
        return value if report is None else (value, report)

    @property
    def workspace(self) -> Callable[..., Any]:
        """The memory that the loss wants to be handed; AttributeError if it wants none."""
        own = self.loss.workspace
        return lambda params, *arguments: own(self.cast(params), *arguments)


def mixed_precision(
    loss: Callable[..., Any], dtype: Any = jnp.bfloat16, *, scale: Any = None, keep: tuple[str, ...] = ()
) -> MixedPrecision:
    """The same loss with the forward and backward pass in half precision, for :func:`dynlab.train.fit`.

    What is trained, the optimiser and its state stay as they are (float32): parameters are cast on the way in, and the
    cast's transpose brings gradients back. Models take their input in the precision of their parameters; what is added
    up over many steps (synchronization of a thought machine, gradients over the ticks of
    :func:`dynlab.models.thinking.think` and the steps of :func:`dynlab.train.last_state`, cross-entropies) is added up
    in float32. It saves memory, and time where the hardware has half precision; a CPU is slower with it.

    Args:
        loss: as :func:`dynlab.train.fit` takes it; a loss with a `workspace` keeps it.
        dtype: ``jnp.bfloat16``, or ``jnp.float16``, whose small gradients vanish without a scale.
        scale: multiplies the loss before the backward pass, and the gradients are divided by it in float32; knob. None
            is 1 for bfloat16 and 4096 for float16. It is not adapted: where gradients become infinite `fit` stops as
            for any gradient that is not finite, and a smaller scale helps. A power of two loses nothing.
        keep: parts of the parameters that are not cast, named as constraints are ("reader.positions" for Fourier codes,
            whose phases need more digits).

    Returns:
        A loss with the same arguments; value and reports are float32.

    Raises:
        ValueError: another dtype, a scale that is not positive. When called: `keep` names no part of the parameters.
    """
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in ("bfloat16", "float16"):
        raise ValueError(f"dtype must be jnp.bfloat16 or jnp.float16, got {name}")
    if isinstance(keep, str) or not all(isinstance(part, str) for part in keep):
        raise ValueError(f"keep must be a tuple of names, got {keep!r}")
    if scale is None and name == "float16":
        scale = SCALE_FLOAT16
    if scale is not None:
        check.scalar("scale", scale, 0.0, low_open=True)
    is_tree = not jax.tree_util.all_leaves([loss])
    return MixedPrecision(loss if is_tree else jax.tree_util.Partial(loss), scale, name, tuple(keep))


def _floating(leaf: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.floating))


def _down(dtype: str, scale: Any, leaf: Array) -> Array:
    """The cast; with a scale the gradient is divided by it on the way back, in the leaf's own precision."""
    return leaf.astype(dtype) if scale is None else _cast_scaled(dtype, leaf, jnp.asarray(scale, leaf.dtype))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _cast_scaled(dtype: str, leaf: Array, scale: Array) -> Array:
    return leaf.astype(dtype)


_cast_scaled.defvjp(
    lambda dtype, leaf, scale: (leaf.astype(dtype), scale),
    lambda dtype, scale, gradient: (gradient.astype(scale.dtype) / scale, jnp.zeros_like(scale)),
)


@jax.custom_vjp
def _up(value: Array, scale: Any) -> Array:
    """The value; its gradient is multiplied by the scale."""
    return value


_up.defvjp(lambda value, scale: (value, jnp.asarray(scale, value.dtype)),
           lambda scale, gradient: (gradient * scale, jnp.zeros_like(scale)))
