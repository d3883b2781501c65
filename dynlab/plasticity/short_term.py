"""Short-term plasticity of Tsodyks and Markram: synapses that tire and are facilitated."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree

Array = jax.Array


@tree.dataclass
class ShortTerm:
    r"""Use and recovery of a synapse's resources (Tsodyks, Pawelzik, Markram 1998, doi:10.1162/089976698300017502).

    At each spike, an interval :math:`\Delta` after the one before,

    .. math::
        u \leftarrow U + u (1 - U) e^{-\Delta/F}, \qquad R \leftarrow 1 + (R - u_{old} R - 1) e^{-\Delta/D}

    from u = U, R = 1 at the first; its efficacy is u R. Here the state decays step by step, and a spike reads it.

    Attributes:
        use: U in (0, 1]. recovery: D, facilitation: F, in the unit of dt (ms). Numbers, or one a synapse or source.
    """

    use: Any = 0.5
    recovery: Any = 1100.0
    facilitation: Any = 50.0

    def start(self, n: int) -> tuple[Array, Array]:
        """State of n rested synapses: ``(u since the last spike, R)``, each (n,).

        Raises:
            ValueError: use outside of (0, 1], a time that is not positive.
        """
        check.number("use", self.use, 0.0, 1.0, low_open=True)
        check.number("recovery", self.recovery, 0.0, low_open=True)
        check.number("facilitation", self.facilitation, 0.0, low_open=True)
        dtype = check.default_float()
        return jnp.zeros(n, dtype), jnp.ones(n, dtype)

    def step(self, state: tuple[Array, Array], spikes: Array, dt: float = 1.0) -> tuple[tuple[Array, Array], Array]:
        """``(state, efficacy)``: the efficacy u R (n,) where `spikes` are 1, else 0."""
        left, resources = state
        u = self.use + left * (1.0 - self.use)
        efficacy = spikes * u * resources
        left = jnp.where(spikes > 0, u, left) * jnp.exp(-dt / self.facilitation)
        resources = 1.0 + (resources - efficacy - 1.0) * jnp.exp(-dt / self.recovery)
        return (left, resources), efficacy
