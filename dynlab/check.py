"""Argument checks shared by every entry point.

Each function raises a ValueError or TypeError that names the argument, the value it got and what is
allowed, before anything is compiled. Values that are being traced (inside ``jit`` or ``vmap``) cannot be
looked at: then only shapes and dtypes are checked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def is_traced(*values: Any) -> bool:
    """True when any leaf of `values` is a tracer, so that its value cannot be read."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def eager(*values: Any) -> contextlib.AbstractContextManager[None]:
    """A context in which jax computes at once where `values` are concrete, even while an outer function is traced.

    Drawing weights from a concrete key in it gives the exact, host-normalised network under ``jit`` too.
    """
    return contextlib.nullcontext() if is_traced(*values) else jax.ensure_compile_time_eval()


def default_float() -> np.dtype:
    """The dtype of the library's arrays: float32, or float64 when the user enabled x64 in jax."""
    return np.dtype(jnp.result_type(float))


def wide(dtype: Any) -> np.dtype:
    """The dtype in which values of `dtype` are added up: float32 for a half precision one, else `dtype`."""
    return np.dtype(jnp.promote_types(dtype, jnp.float32))


def number(
    name: str,
    value: Any,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    low_open: bool = False,
    high_open: bool = False,
) -> None:
    """Require every element of a concrete `value` to be finite and inside the interval."""
    if is_traced(value):
        return
    if isinstance(value, (str, bytes)):  # NumPy would read the number in it
        raise TypeError(f"{name} must be a real number, got {value!r}")
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a real number, got {value!r}") from error
    left, right = "(" if low_open else "[", ")" if high_open else "]"
    above = array > low if low_open else array >= low
    below = array < high if high_open else array <= high
    if not np.all(np.isfinite(array) & above & below):
        raise ValueError(f"{name} must be finite and in {left}{low}, {high}{right}, got {value!r}")


def per_unit(name: str, value: Any, n_units: int) -> None:
    """Require a knob that is one number for all units or one a unit."""
    if np.shape(value) not in ((), (n_units,)):
        raise ValueError(f"{name} must be a scalar or of shape ({n_units},), got shape {np.shape(value)}; to sweep it "
                         "use jax.vmap over the model")


def methods(name: str, value: Any, needed: Iterable[str], example: str) -> None:
    """Require an object with these methods."""
    missing = [method for method in needed if not hasattr(value, method)]
    if missing:
        raise TypeError(f"{name} must have the methods {', '.join(needed)}, such as {example}; "
                        f"{type(value).__name__} lacks {', '.join(missing)}")


def scalar(name: str, value: Any, low: float = -np.inf, high: float = np.inf, *, low_open: bool = False) -> None:
    """Require one number (not an array) in the interval."""
    if np.ndim(value) != 0:
        raise ValueError(f"{name} must be one number, got shape {np.shape(value)}; to try several use jax.vmap")
    number(name, value, low, high, low_open=low_open)


def integer(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """Require a Python (or NumPy) integer in [low, high]; return it as int."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}")
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"at least {low}" if high is None else f"in [{low}, {high}]"
        raise ValueError(f"{name} must be {bounds}, got {value}")
    return int(value)


def choice(name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Require `value` to be one of `allowed`."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def array(name: str, value: Any, *, finite: bool = True) -> Array:
    """Convert to an array of the default float dtype; refuse complex, text, object and non-finite data."""
    if not isinstance(value, jax.Array):
        value = np.asarray(value)
    kind = np.dtype(value.dtype).kind if not jnp.issubdtype(value.dtype, jnp.floating) else "f"
    if kind not in "fiub":
        raise TypeError(f"{name} must be real numbers (float, int or bool), got dtype {value.dtype}")
    if finite and kind == "f" and not is_traced(value):
        with np.errstate(over="ignore"):  # a value too large for the default dtype counts as infinite
            host = np.asarray(value).astype(default_float())
        bad = ~np.isfinite(host)
        if bad.any():
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(
                f"{name} must be finite, got {host[first]} at index {first} "
                f"({int(bad.sum())} of {host.size} values are NaN or infinite)"
            )
    return jnp.asarray(value, dtype=default_float())


def series(
    name: str,
    value: Any,
    *,
    n_features: int | None = None,
    min_length: int = 1,
    batched: bool | None = None,
    finite: bool = True,
) -> Array:
    """A time series (time, features), or a batch (batch, time, features) unless `batched` is False."""
    out = array(name, value, finite=finite)
    want = "(time, features)" if batched is False else "(time, features) or (batch, time, features)"
    if out.ndim == 1:
        raise ValueError(f"{name} must have shape {want}, got {out.shape}: for one channel use {name}[:, None]")
    if out.ndim not in ((2,) if batched is False else (3,) if batched is True else (2, 3)):
        raise ValueError(f"{name} must have shape {want}, got {out.shape}")
    if 0 in (out.shape[:-1] if n_features == 0 else out.shape):
        raise ValueError(f"{name} must not be empty, got shape {out.shape}")
    if out.shape[-2] < min_length:
        raise ValueError(f"{name} must have at least {min_length} time steps, got {out.shape[-2]}")
    if n_features is not None and out.shape[-1] != n_features:
        raise ValueError(f"{name} must have {n_features} features, got {out.shape[-1]} (shape {out.shape})")
    return out


def washout(value: Any, length: int) -> int:
    """Require 0 <= washout < length."""
    value = integer("washout", value, 0)
    if value >= length:
        raise ValueError(f"washout must be smaller than the series ({length} steps), got {value}")
    return value


def same_length(name: str, value: Array, other_name: str, other: Array) -> None:
    """Require two series to agree in batch and time axes."""
    if value.shape[:-1] != other.shape[:-1]:
        raise ValueError(
            f"{name} and {other_name} must have the same length: got {value.shape[:-1]} and {other.shape[:-1]}"
        )


def key(name: str, value: Any) -> Array:
    """Require a typed scalar PRNG key (``jax.random.key``)."""
    if not (isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)):
        raise TypeError(f"{name} must be a typed key from jax.random.key(seed), got {type(value).__name__}")
    if value.ndim != 0:
        raise ValueError(f"{name} must be one key, got an array of keys of shape {value.shape}")
    return value
