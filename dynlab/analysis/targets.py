"""Orthonormal functions of the past input: products of Legendre polynomials of delayed inputs.

For i.i.d. input uniform on [-1, 1] the functions

.. math:: z(t) = \\prod_j \\sqrt{2 d_j + 1}\\, P_{d_j}\\big(u(t - k_j)\\big), \\qquad k_j \\text{ distinct},

form an orthonormal basis of the square-integrable functions of the past (Dambre, Verstraeten, Schrauwen, Massar 2012,
doi:10.1038/srep00514). The degree of z is the sum of the :math:`d_j`. Which of them there are is decided on the host;
they are evaluated on the device.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations_with_replacement, groupby
from math import comb

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
Target = tuple[tuple[int, int], ...]

PER_DEGREE = 2000  # most targets of one degree by default


def count(max_delays: tuple[int, ...]) -> int:
    """How many targets there are: ``sum over d of C(max_delays[d-1] + d, d)``."""
    return sum(comb(delay + degree, degree) for degree, delay in enumerate(max_delays, 1))


def default_delays(n_features: int, max_degree: int) -> tuple[int, ...]:
    """Longest delay of each degree: 2 N, or less where there would be over ``PER_DEGREE`` targets of that degree."""
    delays = []
    for degree in range(1, max_degree + 1):
        delay = 0
        while delay < 2 * n_features and comb(delay + 1 + degree, degree) <= PER_DEGREE:
            delay += 1
        delays.append(2 * n_features if degree == 1 else delay)
    return tuple(delays)


@lru_cache(maxsize=16)
def legendre_targets(max_delays: tuple[int, ...]) -> tuple[Target, ...]:
    """The targets, degree by degree, each a tuple of (delay, degree of the polynomial).

    Args:
        max_delays: entry d - 1 is the longest delay in targets of degree d; delays start at 0.
    """
    found: list[Target] = []
    for degree, longest in enumerate(max_delays, 1):
        for delays in combinations_with_replacement(range(longest + 1), degree):
            found.append(tuple((delay, len(list(same))) for delay, same in groupby(delays)))
    return tuple(found)


def family(target: Target) -> tuple[int, ...]:
    """The polynomial degrees of a target whatever the delays, largest first: (2, 1) for P2(u(t-3)) P1(u(t))."""
    return tuple(sorted((degree for _, degree in target), reverse=True))


@lru_cache(maxsize=16)
def indices(max_delays: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Host arrays of the targets.

    Returns:
        ``(factors, families, representative, degrees)``: (M, F, 2) pairs (delay, degree), filled with (0, 0), which
        stands for the factor 1; (M,) index of the family of each target; (families, F, 2) the target of each family
        at the delays 0, 1, ...; (M,) the degree of each target.
    """
    targets, width = legendre_targets(max_delays), len(max_delays)
    names = sorted({family(target) for target in targets}, key=lambda name: (sum(name), name))
    place = {name: index for index, name in enumerate(names)}
    pad = ((0, 0),) * width
    factors = np.array([(target + pad)[:width] for target in targets], np.int32)
    representative = np.array([(tuple(enumerate(name)) + pad)[:width] for name in names], np.int32)
    families = np.array([place[family(target)] for target in targets], np.int32)
    return factors, families, representative, factors[:, :, 1].sum(1)


def legendre(u: Array, max_degree: int) -> Array:
    """Orthonormal Legendre polynomials of degree 0 ... max_degree of u in [-1, 1]: (max_degree + 1, *u.shape).

    By the recurrence :math:`(n+1) P_{n+1} = (2n+1)\\,u\\,P_n - n\\,P_{n-1}`, which is stable on [-1, 1], each times
    :math:`\\sqrt{2n+1}`.
    """
    rows = [jnp.ones_like(u), u]
    for n in range(1, max_degree):
        rows.append(((2 * n + 1) * u * rows[n] - n * rows[n - 1]) / (n + 1))
    return jnp.stack([np.sqrt(2 * n + 1).astype(u.dtype) * row for n, row in enumerate(rows[: max_degree + 1])])


def product(table: Array, factors: Array, longest: int) -> Array:
    """One target (time - longest,) from the table (degrees, time) of :func:`legendre` and its factors (F, 2)."""
    length = table.shape[1] - longest
    z = jnp.ones(length, table.dtype)
    for delay, degree in factors:  # F of them, unrolled
        z = z * jax.lax.dynamic_slice(table, (degree, longest - delay), (1, length))[0]
    return z
