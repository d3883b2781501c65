"""Levenberg-Marquardt with a fixed number of steps: one start, no branch, so that a batch of starts is one program.

A solver that stops by itself runs, under ``vmap``, until its slowest lane stops. A fixed count costs the same for all
and suits every device. A trial that is not finite is rejected like one that is not lower, so a bad lane harms no other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular

Array = jax.Array
Residual = Callable[[Array], Array]

START, FACTOR, CEILING = 0.1, 4.0, 1e8  # damping: first value, change per step, largest
FLOOR_EPS = 8.0  # smallest damping in units of the machine epsilon: the Cholesky factor exists

_mm = partial(jnp.matmul, precision="highest")


class Solution(NamedTuple):
    """Where one start ended.

    Attributes:
        z: the best point (n,). norm: :math:`\\|F(z)\\|` there; not finite for a start where F is not.
        gain: :math:`\\|M\\|_F / \\sqrt n`, the size of the slope of F there.
        inverse_gain: the same of the inverse of M (with the least damping): by how much an error of F moves the root.
        step: length of the undamped step from there, which is how far the root may still be.
    """

    z: Array
    norm: Array
    gain: Array
    inverse_gain: Array
    step: Array


def levenberg(residual: Residual, z0: Array, steps: int = 50) -> tuple[Array, Array]:
    """:func:`search` for callers that want ``(z, norm)`` alone."""
    return search(residual, z0, steps)[:2]


def search(residual: Residual, z0: Array, steps: int = 50, *, dense: bool = True) -> Solution:
    r"""Minimise :math:`\tfrac12 \|F(z)\|^2` from one start.

    Each step solves :math:`(M^\top M + \lambda m I)\,\delta = -M^\top F` with :math:`M = \partial F/\partial z` and
    m the mean of the diagonal of :math:`M^\top M`; a lower :math:`\|F(z + \delta)\|` is accepted and
    :math:`\lambda` divided by 4, otherwise z stays and :math:`\lambda` is multiplied by 4.

    Args:
        residual: F, (n,) -> (m,). z0: (n,). steps: number of steps (static).
        dense: True forms and factors the n x n matrix; False solves by conjugate gradients on products with M and its
            transpose, for large n: F must then be differentiable in reverse (a solver's forward adjoint is not), and
            m is estimated from one random direction.
    """
    run = _dense if dense else _krylov
    return run(residual, z0, steps, FLOOR_EPS * jnp.finfo(z0.dtype).eps)


def _next_damping(damping: Array, better: Array, floor: Any) -> Array:
    return jnp.clip(jnp.where(better, damping / FACTOR, damping * FACTOR), floor, CEILING)


def _dense(residual: Residual, z0: Array, steps: int, floor: Any) -> Solution:
    """The residual stands in the program once: the first trial is the start itself, against an infinite norm."""
    n = z0.shape[0]
    eye, tiny = jnp.eye(n, dtype=z0.dtype), jnp.finfo(z0.dtype).tiny

    def factored(gram: Array, damping: Any) -> Array:
        return jnp.linalg.cholesky(gram + (damping * jnp.trace(gram) / n + tiny) * eye)

    def body(carry: Any, _: None) -> tuple[Any, None]:
        z, norm, gram, gradient, damping = carry
        trial = z - cho_solve((factored(gram, damping), True), gradient)
        value, push = jax.linearize(residual, trial)
        m = jax.vmap(push, out_axes=1)(eye)
        new_norm = jnp.linalg.norm(value)
        better = new_norm < norm  # False where the trial is not finite
        keep = lambda new, old: jnp.where(better, new, old)  # noqa: E731
        new = (keep(trial, z), keep(new_norm, norm), keep(_mm(m.T, m), gram), keep(_mm(m.T, value), gradient))
        return (*new, _next_damping(damping, better, floor)), None

    start = (z0, jnp.asarray(jnp.inf, z0.dtype), jnp.zeros((n, n), z0.dtype), jnp.zeros_like(z0),
             jnp.asarray(START * FACTOR, z0.dtype))
    (z, norm, gram, gradient, _), _ = jax.lax.scan(body, start, None, length=steps + 1)
    factor = factored(gram, floor)
    inverse = solve_triangular(factor, eye, lower=True)
    return Solution(z, norm, jnp.sqrt(jnp.trace(gram) / n), jnp.sqrt(jnp.sum(inverse**2) / n),
                    jnp.linalg.norm(cho_solve((factor, True), gradient)))


def _krylov(residual: Residual, z0: Array, steps: int, floor: Any) -> Solution:
    n = z0.shape[0]
    signs = jnp.asarray(np.random.default_rng(0).choice([-1.0, 1.0], n), z0.dtype)  # a constant of the program

    def solver(z: Array, damping: Any) -> tuple[Any, Array, Array]:
        value, forward = jax.linearize(residual, z)
        backward = jax.linear_transpose(forward, z)
        scale = jnp.sum(forward(signs) ** 2) / n
        product = lambda v: backward(forward(v))[0] + damping * scale * v  # noqa: E731
        solve = lambda rhs: jax.scipy.sparse.linalg.cg(product, rhs, maxiter=min(n, 100))[0]  # noqa: E731
        return solve, backward(value)[0], jnp.sqrt(scale)

    def body(carry: Any, _: None) -> tuple[Any, None]:
        z, norm, damping = carry
        solve, gradient, _scale = solver(z, damping)
        trial = z - solve(gradient)
        new_norm = jnp.linalg.norm(residual(trial))
        better = new_norm < norm
        new = (jnp.where(better, trial, z), jnp.where(better, new_norm, norm))
        return (*new, _next_damping(damping, better, floor)), None

    start = (z0, jnp.linalg.norm(residual(z0)), jnp.asarray(START, z0.dtype))
    (z, norm, _), _ = jax.lax.scan(body, start, None, length=steps)
    solve, gradient, gain = solver(z, floor)
    inverse_gain = jnp.sqrt(jnp.maximum(signs @ solve(signs), 0.0) / n)
    return Solution(z, norm, gain, inverse_gain, jnp.linalg.norm(solve(gradient)))
