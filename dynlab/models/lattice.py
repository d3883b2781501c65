"""Wiring of spiking networks: units on a lattice, connected by distance; random signed input."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check
from dynlab.keys import named

Array = jax.Array
PAIRS = ("EE", "EI", "IE", "II")
"""Order of quantities by the types of source and target: "EI" leads from an excitatory to an inhibitory unit."""


def lattice_sites(shape: tuple[int, ...]) -> np.ndarray:
    """Coordinates (n_sites, d) of a lattice, the last axis fastest."""
    return np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).reshape(-1, len(shape))


@dataclasses.dataclass(frozen=True)
class Lattice:
    r"""Units on the sites of a lattice in random order, the first round(excitatory * N) of them excitatory.

    A synapse leads from a to b with probability :math:`C_{ab} \exp(-(D_{ab}/\lambda)^2)`, D the Euclidean distance; at
    most one for an ordered pair, none from a unit to itself (Maass, Natschlaeger, Markram 2002,
    doi:10.1162/089976602760407955). Excitatory weights are 1, inhibitory -1, times `sizes`.

    Attributes:
        shape: sites along each axis; their product is the number of units.
        probabilities: C for EE, EI, IE, II (source, target). length: lambda, in sites.
        excitatory: share of excitatory units. torus: distances wrap around.
        sizes: size of the weights for EE, EI, IE, II. delays: steps of delay for each, or None.
    """

    shape: tuple[int, ...] = (10, 10, 10)
    probabilities: tuple[float, float, float, float] = (0.2, 0.1, 0.3, 0.05)
    length: float = 3.0
    excitatory: float = 0.8
    torus: bool = False
    sizes: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    delays: tuple[int, int, int, int] | None = None

    @property
    def n_units(self) -> int:
        return math.prod(self.shape)

    @property
    def n_excitatory(self) -> int:
        return round(self.excitatory * self.n_units)

    def validate(self) -> None:
        """Refuse values that no network could have."""
        if not self.shape:
            raise ValueError("shape must hold at least one length, got ()")
        for n in self.shape:
            check.integer("shape", n, 1)
        check.number("excitatory", self.excitatory, 0.0, 1.0)
        check.number("length", self.length, 0.0, low_open=True)
        for name, low, high in (("probabilities", 0.0, 1.0), ("sizes", 0.0, np.inf), ("delays", 0.0, np.inf)):
            value = getattr(self, name)
            if value is None and name == "delays":
                continue
            if np.shape(value) != (4,):
                raise ValueError(f"{name} must hold four values, for {', '.join(PAIRS)}, got {value!r}")
            check.number(name, value, low, high)
        for steps in self.delays or ():
            check.integer("delays", steps, 0)

    def by_pair(self, values: Any) -> Array:
        """Four values as a matrix (N, N): row the target, column the source."""
        inhibits = (jnp.arange(self.n_units) >= self.n_excitatory).astype(jnp.int32)
        return jnp.asarray(values)[2 * inhibits[None, :] + inhibits[:, None]]

    def positions(self, key: Array) -> Array:
        """Site of every unit, (N, d): a random permutation of the sites."""
        return jax.random.permutation(named(key, "positions"), jnp.asarray(lattice_sites(self.shape)))

    def chances(self, positions: Array) -> Array:
        """Probability of a synapse (N, N), row the target."""
        square = jnp.zeros((self.n_units, self.n_units), check.default_float())
        for axis, length in enumerate(self.shape):  # one at a time: no (N, N, d) array
            apart = jnp.abs(positions[:, None, axis] - positions[None, :, axis])
            square += (jnp.minimum(apart, length - apart) if self.torus else apart) ** 2
        near = jnp.exp(-square / self.length**2)
        return self.by_pair(jnp.asarray(self.probabilities, square.dtype)) * near * (1.0 - jnp.eye(self.n_units))

    def matrix(self, key: Array) -> Array:
        """Signed weights (N, N), row the target; also under ``jit`` and ``vmap``."""
        chance = self.chances(self.positions(key))
        there = jax.random.uniform(named(key, "synapses"), chance.shape, chance.dtype) < chance
        signed = self.by_pair(jnp.asarray(self.sizes, chance.dtype) * jnp.array([1.0, 1.0, -1.0, -1.0], chance.dtype))
        return jnp.where(there, signed, 0.0)

    def delay(self) -> Array | None:
        """Steps of delay (N, N), or None."""
        return None if self.delays is None else self.by_pair(jnp.asarray(self.delays, jnp.int32))


def expected_synapse_count(lattice: Lattice) -> dict[str, float]:
    """Expected number of synapses, exactly: the mean over all placements, for each pair of types and in "total"."""
    lattice.validate()
    near = 1.0  # the sum over all pairs of sites: a Gaussian is a product over the axes
    for length in lattice.shape:
        apart = np.abs(np.arange(length)[:, None] - np.arange(length))
        apart = np.minimum(apart, length - apart) if lattice.torus else apart
        near *= np.exp(-(apart**2) / lattice.length**2).sum()
    n, n_plus = lattice.n_units, lattice.n_excitatory
    of_pair = (near - n) / (n * (n - 1)) if n > 1 else 0.0  # two random distinct sites
    n_minus = n - n_plus
    pairs = (n_plus * (n_plus - 1), n_plus * n_minus, n_minus * n_plus, n_minus * (n_minus - 1))
    out = {name: c * k * of_pair for name, c, k in zip(PAIRS, lattice.probabilities, pairs, strict=True)}
    return {"total": sum(out.values()), **out}


@dataclasses.dataclass(frozen=True)
class RandomInput:
    """Exactly int(share * N * n_inputs) distinct pairs of input and unit, each with weight +1 or -1, size `size`."""

    share: float = 0.15
    size: float = 1.0

    def matrix(self, key: Array, n_inputs: int, n_units: int) -> Array:
        """Signed weights (N, n_inputs); also under ``jit`` and ``vmap``."""
        check.number("share", self.share, 0.0, 1.0, low_open=True)
        check.number("size", self.size, 0.0)
        total = n_inputs * n_units
        count = int(self.share * total)
        order = jax.random.permutation(named(key, "pairs"), total)
        sign = jax.random.rademacher(named(key, "signs"), (total,), check.default_float())
        return (self.size * sign * (order < count)).reshape(n_units, n_inputs)
