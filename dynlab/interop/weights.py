"""Checks that every importer of weights shares: errors name the entry as its own library calls it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check

Array = jax.Array


def host_array(value: Any) -> Any:
    """The numbers of a NumPy or JAX array, or of a PyTorch tensor, which is read by its methods."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has none
            value = value.float()
        value = value.numpy()
    return value if isinstance(value, jax.Array) else np.asarray(value)


def weight(key: str, value: Any, shape: tuple[int | None, ...]) -> Array:
    """One entry as a finite array of the default float dtype and of a shape, None for any size.

    Raises:
        ValueError: naming the entry, what it is and what is allowed.
    """
    if getattr(value, "is_quantized", False):
        raise ValueError(f"{key} must hold floating-point numbers, got a quantised tensor: export the weights before "
                         "quantising")
    try:
        found = host_array(value)
    except (TypeError, RuntimeError, NotImplementedError, ValueError) as error:
        raise ValueError(f"{key} must be a dense array of floating-point numbers, got {type(value).__name__} "
                         f"({error})") from error
    if not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(f"{key} must hold floating-point numbers, got dtype {found.dtype}")
    want = tuple("any" if size is None else size for size in shape)
    if found.ndim != len(shape) or any(s not in (None, f) for s, f in zip(shape, found.shape, strict=True)):
        raise ValueError(f"{key} must have shape ({', '.join(map(str, want))}), got {found.shape}")
    if 0 in found.shape:
        raise ValueError(f"{key} must not be empty, got shape {found.shape}")
    return check.array(key, found)
