"""Random keys by role, so that one key can be handed to several functions without correlated draws."""

from __future__ import annotations

import zlib

import jax

Array = jax.Array


def named(key: Array, role: str) -> Array:
    """The key of a role, ``fold_in(key, crc32(role))``.

    Time noise is ``fold_in(key, t)``, members and series are ``fold_in(key, small number)``; a role's 32-bit number is
    none of those, so ``model.init(key)`` and ``simulate(..., key=key)`` draw independently from the same key.
    """
    return jax.random.fold_in(key, zlib.crc32(role.encode()))
