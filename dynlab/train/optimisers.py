"""Optimisers that the field uses and optax does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

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


class Norms(NamedTuple):
    """State of :func:`quantile_clip`: the last norms, NaN where there is none yet, and where the next one goes."""

    norms: jax.Array
    place: jax.Array


def quantile_clip(quantile: float = 0.9, n_norms: int = 1000) -> optax.GradientTransformation:
    r"""Clip the gradient to a quantile of its own recent norms, which needs no threshold and follows the training.

    .. math:: g \leftarrow g \min\big(1, q / \lVert g \rVert\big)

    with q the quantile (linear between neighbours) of the norms, before clipping, of the last `n_norms` updates
    including this one: the first is never clipped. A norm that is not finite is not counted. Source: Seetharaman et
    al. 2020, "AutoClip", arXiv:2007.14469, as the Continuous Thought Machine's parity training (arXiv:2505.05522) uses
    it, there without the present norm.

    Args:
        quantile: in (0, 1). n_norms: how many norms are kept (static).

    Raises:
        ValueError, TypeError: outside these ranges.
    """
    import optax

    check.number("quantile", quantile, 0.0, 1.0, low_open=True, high_open=True)
    check.integer("n_norms", n_norms, 1)

    def init(params: Any) -> Norms:
        dtype = jnp.result_type(*jax.tree.leaves(params))
        return Norms(jnp.full(n_norms, jnp.nan, dtype), jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Norms, params: Any = None) -> tuple[Any, Norms]:
        norm = optax.tree.norm(updates)
        finite = jnp.isfinite(norm)
        norms = jnp.where(finite, state.norms.at[state.place].set(norm), state.norms)
        limit = jnp.nanquantile(norms, quantile)
        factor = jnp.where(norm > limit, limit / norm, 1.0)
        place = jnp.where(finite, (state.place + 1) % n_norms, state.place)
        return jax.tree.map(lambda u: factor.astype(u.dtype) * u, updates), Norms(norms, place)

    return optax.GradientTransformation(init, update)
