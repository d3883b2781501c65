"""What capacities and ranks start with: a model of one input channel, random input, and noise where there is any."""

from __future__ import annotations

from typing import Any

import jax

from dynlab import check
from dynlab.protocol import Map
from dynlab.simulation import check_model

Array = jax.Array


def one_channel(model: Map, key: Array, params: Any, amplitude: Any) -> tuple[Any, int]:
    """Check the arguments that the measures share.

    Returns:
        ``(params, n_features)``, parameters drawn by ``model.init(key)`` where None were given.
    """
    check_model(model)
    check.key("key", key)
    check.scalar("amplitude", amplitude, 0.0, low_open=True)
    sizes = getattr(model, "input_sizes", 1)
    if sizes != 1:
        raise ValueError(f"model must have one input channel and no feedback, got input sizes {sizes}")
    if params is None:
        params = model.init(key)
    return params, jax.eval_shape(model.observe, params, jax.eval_shape(model.init_state, params)).shape[-1]


def noise_key(model: Map, params: Any, key: Array) -> Array | None:
    """`key`, or None for a model without noise, which runs faster without."""
    noiseless = getattr(model, "deterministic", False) or getattr(params, "noise", True) is None
    return None if noiseless else key


def uniform(key: Array, shape: tuple[int, ...]) -> Array:
    """Independent values, uniform on [-1, 1]."""
    return jax.random.uniform(key, shape, check.default_float(), -1.0, 1.0)
