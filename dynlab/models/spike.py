"""The spike function: a step forwards, a surrogate derivative backwards where one is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from dynlab import check

Array = jax.Array


def _atan(x: Array, slope: float) -> Array:
    return 0.5 * slope / (1.0 + (0.5 * math.pi * slope * x) ** 2)


def _fast_sigmoid(x: Array, slope: float) -> Array:
    return 1.0 / (1.0 + slope * jnp.abs(x)) ** 2


def _triangular(x: Array, slope: float) -> Array:
    return jnp.maximum(0.0, 1.0 - slope * jnp.abs(x))


SURROGATES: dict[str, tuple[Callable[[Array, float], Array], float]] = {
    "atan": (_atan, 2.0),
    "fast_sigmoid": (_fast_sigmoid, 25.0),
    "superspike": (_fast_sigmoid, 100.0),
    "triangular": (_triangular, 1.0),
}
r"""Name -> (derivative as a function of v - threshold and slope k, default slope).

"atan": :math:`\frac{k}{2} / (1 + (\frac{\pi}{2} k x)^2)` (Fang et al. 2021, arXiv:2007.05785). "fast_sigmoid" and
"superspike": :math:`1 / (1 + k|x|)^2` (Zenke and Ganguli 2018, doi:10.1162/neco_a_01086), with two usual slopes.
"triangular": :math:`\max(0, 1 - k|x|)` (Esser et al. 2016, doi:10.1073/pnas.1604850113).
"""


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _fire(x: Array, surrogate: str | None, slope: float) -> Array:
    return jnp.where(x >= 0, 1.0, 0.0).astype(jnp.result_type(x))


@_fire.defjvp
def _fire_jvp(
    surrogate: str | None, slope: float, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    if surrogate is None:
        return _fire(x, surrogate, slope), jnp.zeros_like(dx)
    return _fire(x, surrogate, slope), SURROGATES[surrogate][0](x, slope) * dx


def spike(x: Array, surrogate: str | None = None, slope: float | None = None) -> Array:
    """1 where x >= 0, else 0, as floats of the shape of x; x is the potential less its threshold.

    Args:
        surrogate: a name of :data:`SURROGATES` for the derivative, or None: it is zero. slope: None for the default.

    Raises:
        ValueError: an unknown name, a slope that is not positive.
    """
    if surrogate is None:
        return _fire(x, None, 0.0)
    check.choice("surrogate", surrogate, SURROGATES)
    slope = SURROGATES[surrogate][1] if slope is None else slope
    check.scalar("slope", slope, 0.0, low_open=True)
    return _fire(x, surrogate, float(slope))
