"""Optimisers that the field uses and optax does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from dynlab import check

if TYPE_CHECKING:
    import optax

LIMIT = 5.0  # of the exponent of one step


def exponentiated_gradient(learning_rate: Any, momentum: float | None = None) -> optax.GradientTransformation:
    r"""Multiplicative updates, which keep every weight's sign (and so Dale's law) and every zero.

    .. math:: w \leftarrow w\, e^{-\eta\, \mathrm{sign}(w)\, m}

    with m the gradient or its momentum. It is gradient descent on :math:`\ln |w|` to first order. Rates are larger than
    for SGD (about 0.1 to 1); the exponent of one step is cut to +-5. Biases and time constants, whose sign may have to
    change, are better left to another optimiser (``optax.multi_transform``). Source: Cornford et al. 2024,
    "Brain-like learning with exponentiated gradients", doi:10.1101/2024.10.25.620272.

    Args:
        learning_rate: eta > 0, a number or an optax schedule. momentum: decay of a trace of gradients, or None.

    Returns:
        An optax transformation; ``update`` needs the parameters.

    Raises:
        ValueError: a rate that is not positive, a momentum outside [0, 1).
    """
    import optax  # imported where it is used

    if not callable(learning_rate):
        check.scalar("learning_rate", learning_rate, 0.0, low_open=True)
    if momentum is not None:
        check.number("momentum", momentum, 0.0, 1.0, high_open=True)

    def multiply(updates: Any, params: Any) -> Any:
        if params is None:
            raise ValueError("params must be given to the update of exponentiated_gradient, got None")
        exponent = lambda u, w: jnp.clip(jnp.sign(w) * u, -LIMIT, LIMIT)  # noqa: E731
        return jax.tree.map(lambda u, w: w * jnp.expm1(exponent(u, w)), updates, params)

    direction = optax.identity() if momentum is None else optax.trace(momentum)
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate), optax.stateless(multiply))
