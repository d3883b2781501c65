"""Levenberg-Marquardt with a fixed number of steps: one start, no branch, so that a batch of starts is one program.

A solver that stops by itself runs, under ``vmap``, until its slowest lane stops. A fixed count costs the same for all
and suits every device. A trial that is not finite is rejected like one that is not lower, so a bad lane harms no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

Array = jax.Array
Residual = Callable[[Array], Array]

START, FACTOR, CEILING = 0.1, 4.0, 1e8  # damping: first value, change per step, largest
FLOOR_EPS = 8.0  # smallest damping in units of the machine epsilon: the Cholesky factor exists


def levenberg(residual: Residual, z0: Array, steps: int = 50, *, dense: bool = True) -> tuple[Array, Array]:
    r"""Minimise :math:`\tfrac12 \|F(z)\|^2` from one start.

    Each step solves :math:`(M^\top M + \lambda m I)\,\delta = -M^\top F` with :math:`M = \partial F/\partial z` and
    m the mean of the diagonal of :math:`M^\top M`; a lower :math:`\|F(z + \delta)\|` is accepted and
    :math:`\lambda` divided by 4, otherwise z stays and :math:`\lambda` is multiplied by 4.

    Args:
        residual: F, (n,) -> (m,). z0: (n,). steps: number of steps (static).
        dense: True forms and factors the n x n matrix; False solves by conjugate gradients on products with M and its
            transpose, for large n (F must then have a vjp).

    Returns:
        ``(z, norm)``: the best point (n,) and :math:`\|F(z)\|` there; a norm that is not finite for a start where F is
        not.
    """
    run = _dense if dense else _krylov
    return run(residual, z0, steps, FLOOR_EPS * jnp.finfo(z0.dtype).eps)


def _next_damping(damping: Array, better: Array, floor: Array) -> Array:
    return jnp.clip(jnp.where(better, damping / FACTOR, damping * FACTOR), floor, CEILING)


def _dense(residual: Residual, z0: Array, steps: int, floor: Any) -> tuple[Array, Array]:
    """The residual stands in the program once: the first trial is the start itself, against an infinite norm."""
    n = z0.shape[0]
    eye, tiny = jnp.eye(n, dtype=z0.dtype), jnp.finfo(z0.dtype).tiny

    def body(carry: Any, _: None) -> tuple[Any, None]:
        z, norm, gram, gradient, damping = carry
        factor = jnp.linalg.cholesky(gram + (damping * jnp.trace(gram) / n + tiny) * eye)
        trial = z - cho_solve((factor, True), gradient)
        value, push = jax.linearize(residual, trial)
        m = jax.vmap(push, out_axes=1)(eye)
        new_norm = jnp.linalg.norm(value)
        better = new_norm < norm  # False where the trial is not finite
        keep = lambda new, old: jnp.where(better, new, old)  # noqa: E731
        new = (keep(trial, z), keep(new_norm, norm), keep(m.T @ m, gram), keep(m.T @ value, gradient))
        return (*new, _next_damping(damping, better, floor)), None

    start = (z0, jnp.asarray(jnp.inf, z0.dtype), jnp.zeros((n, n), z0.dtype), jnp.zeros_like(z0),
             jnp.asarray(START * FACTOR, z0.dtype))
    (z, norm, *_), _ = jax.lax.scan(body, start, None, length=steps + 1)
    return z, norm


def _krylov(residual: Residual, z0: Array, steps: int, floor: Any) -> tuple[Array, Array]:
    def body(carry: Any, _: None) -> tuple[Any, None]:
        z, norm, damping = carry
        value, forward = jax.linearize(residual, z)
        backward = jax.linear_transpose(forward, z)
        product = lambda v: backward(forward(v))[0] + damping * v  # noqa: E731
        step, _ = jax.scipy.sparse.linalg.cg(product, -backward(value)[0], maxiter=min(z.shape[0], 100))
        new_norm = jnp.linalg.norm(residual(z + step))
        better = new_norm < norm
        new = (jnp.where(better, z + step, z), jnp.where(better, new_norm, norm))
        return (*new, _next_damping(damping, better, floor)), None

    start = (z0, jnp.linalg.norm(residual(z0)), jnp.asarray(START, z0.dtype))
    (z, norm, _), _ = jax.lax.scan(body, start, None, length=steps)
    return z, norm
