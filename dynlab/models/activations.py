"""Unit non-linearities by name, so that a model's static field compares by value."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dynlab import check

Array = jax.Array


def _identity(x: Array) -> Array:
    return x


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "identity": _identity,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "leaky_relu": jax.nn.leaky_relu,  # slope 0.01
    "softplus": jax.nn.softplus,
}

INVERSES: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.arctanh,
    "identity": _identity,
    "relu": lambda y: jnp.where(y >= 0, y, jnp.nan),
    "sigmoid": jax.scipy.special.logit,
    "leaky_relu": lambda y: jnp.where(y >= 0, y, 100.0 * y),
    "softplus": lambda y: y + jnp.log(-jnp.expm1(-y)),
}
"""Their inverses; NaN or infinite outside of their range."""

SATURATING = ("tanh", "sigmoid")
"""Those with a bounded range: a network of such units maps some ball into itself whatever its weights."""


def activation(name: str) -> Callable[[Array], Array]:
    """The function for a name; ValueError naming the allowed ones."""
    check.choice("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
