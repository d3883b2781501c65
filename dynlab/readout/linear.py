"""The linear readout y = phi(features, inputs) W + b, and the feature expansion phi that fit and prediction share."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree

Array = jax.Array

SQUARES = ("none", "all", "even")


def expand(features: Array, inputs: Array | None = None, squares: str = "none") -> Array:
    """The regressors a readout works on: features, perhaps squares, then the inputs.

    Args:
        features: (..., N).
        inputs: None or (..., n_inputs), appended last.
        squares: "none"; "all" appends the square of every feature; "even" *replaces* every second feature
            (indices 1, 3, 5 ...) by its square, which breaks the odd symmetry of tanh at no extra width
            (Lu et al. 2017, DOI 10.1063/1.4979665; Pathak et al. 2018, DOI 10.1103/PhysRevLett.120.024102).

    Returns:
        (..., F).
    """
    if squares == "all":
        features = jnp.concatenate([features, features**2], axis=-1)
    elif squares == "even":
        odd = jnp.arange(features.shape[-1]) % 2 == 1
        features = jnp.where(odd, features**2, features)
    return features if inputs is None else jnp.concatenate([features, inputs], axis=-1)


@tree.dataclass
class Linear:
    """A fitted linear readout.

    Attributes:
        weights: (F, D); with leading axes when several readouts are stacked, as by ``ridge`` with an array of values.
        intercept: (D,), with the same leading axes.
        squares: see :func:`expand`.
        with_input: the inputs are part of the regressors, and must be given when predicting.
    """

    weights: Any
    intercept: Any
    squares: str = tree.static(default="none")
    with_input: bool = tree.static(default=False)

    def __call__(self, features: Array, inputs: Array | None = None) -> Array:
        """Predict (..., D) from features (..., N), and inputs (..., n_inputs) if the readout was fitted with them.

        Stacked readouts, weights (R, F, D), all see the same features: (R, ..., D). For other features for each of
        them use ``vmap``.
        """
        check.choice("squares", self.squares, SQUARES)
        if self.with_input and inputs is None:
            raise ValueError("inputs must be given: this readout was fitted with the inputs as regressors, got None")
        phi = expand(jnp.asarray(features), inputs if self.with_input else None, self.squares)
        if phi.shape[-1] != self.weights.shape[-2]:
            raise ValueError(
                f"features must expand to {self.weights.shape[-2]} regressors, got {phi.shape[-1]} "
                f"(features {jnp.shape(features)}, squares={self.squares!r}, with_input={self.with_input})"
            )
        return _apply(phi, self.weights, self.intercept)


def _apply(phi: Array, weights: Array, intercept: Array) -> Array:
    """phi W + b for every readout of a stack; its axes come first in the result."""
    if jnp.ndim(weights) == 2:
        return jnp.matmul(phi, weights, precision="highest") + intercept
    intercept = jnp.broadcast_to(intercept, (*jnp.shape(weights)[:-2], jnp.shape(weights)[-1]))
    return jax.vmap(_apply, in_axes=(None, 0, 0))(phi, weights, intercept)
