"""Random keys by role, so that one key can be handed to several functions without correlated draws."""

from __future__ import annotations

import zlib
from typing import Any

import jax

Array = jax.Array


def named(key: Array, role: str) -> Array:
    """The key of a role, ``fold_in(key, crc32(role))``.

    Time noise is ``fold_in(key, t)``, members and series are ``fold_in(key, small number)``; a role's 32-bit number is
    none of those, so ``model.init(key)`` and ``simulate(..., key=key)`` draw independently from the same key.
    """
    return jax.random.fold_in(key, zlib.crc32(role.encode()))


def numbered(key: Array | None, number: Any) -> Array | None:
    """``fold_in(key, number)``, of a batch of keys (B,) that of each; None, which means no noise, stays None."""
    if key is None or key.ndim == 0:
        return None if key is None else jax.random.fold_in(key, number)
    return jax.vmap(jax.random.fold_in, (0, None))(key, number)
