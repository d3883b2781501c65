"""Network topologies: each is a small frozen class with ``draw(key, n) -> recurrence`` at unit spectral radius.

`TOPOLOGIES` maps the names that models accept to the classes; a model also takes an instance, for example
``ESN(..., topology=weights.SmallWorld(neighbours=6, rewiring=0.2))``. Instances are static: they compare by value.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from dynlab import check
from dynlab.models.radius import unit_radius
from dynlab.models.recurrence import Dense, Gather, Recurrence, Roll

Array = jax.Array
DISTRIBUTIONS = ("uniform", "normal", "sign")
_SORT_MAX_UNITS = 4096  # above, distinct inputs are drawn by Floyd's algorithm instead of a sort of (N, N)


def draw_values(key: Array, shape: tuple[int, ...], distribution: str) -> Array:
    """Independent weights: uniform on [-1, 1], standard normal, or +-1 with equal probability."""
    check.choice("distribution", distribution, DISTRIBUTIONS)
    dtype = check.default_float()
    if distribution == "uniform":
        return jax.random.uniform(key, shape, dtype, -1.0, 1.0)
    if distribution == "normal":
        return jax.random.normal(key, shape, dtype)
    return jax.random.rademacher(key, shape, dtype)


def distinct_indices(key: Array, n: int, k: int) -> Array:
    """For each of n units, k distinct input units: (k, n) int32."""
    if n <= _SORT_MAX_UNITS:
        return jax.lax.top_k(jax.random.uniform(key, (n, n)), k)[1].T.astype(jnp.int32)

    def pick(j: Array, chosen: Array) -> Array:  # Floyd: a uniform k-subset in k draws
        top = n - k + j
        new = jax.random.randint(jax.random.fold_in(key, j), (n,), 0, top + 1)
        taken = jnp.any(chosen == new, axis=0)
        return chosen.at[j].set(jnp.where(taken, top, new).astype(jnp.int32))

    return jax.lax.fori_loop(0, k, pick, jnp.full((k, n), -1, jnp.int32))


def sparse_matrix(key: Array, shape: tuple[int, int], connectivity: float, distribution: str) -> Array:
    """A matrix whose entries are non-zero with probability `connectivity` (input and feedback weights)."""
    check.number("connectivity", connectivity, 0.0, 1.0, low_open=True)
    values_key, mask_key = jax.random.split(key)
    values = draw_values(values_key, shape, distribution)
    if connectivity == 1.0:
        return values
    return values * jax.random.bernoulli(mask_key, connectivity, shape)


@dataclasses.dataclass(frozen=True)
class Random:
    """Each unit has round(connectivity * n) inputs (at least one), distinct and uniformly chosen."""

    connectivity: float = 0.1
    distribution: str = "uniform"

    def draw(self, key: Array, n: int) -> Recurrence:
        check.number("connectivity", self.connectivity, 0.0, 1.0, low_open=True)
        index_key, value_key = jax.random.split(key)
        k = max(1, round(self.connectivity * n))
        values = draw_values(value_key, (k, n), self.distribution)
        if k == n:
            return unit_radius(Dense(values))
        return unit_radius(Gather(distinct_indices(index_key, n, k), values))


@dataclasses.dataclass(frozen=True)
class Orthogonal:
    """A Haar-random orthogonal matrix: all eigenvalues on the unit circle."""

    def draw(self, key: Array, n: int) -> Recurrence:
        return Dense(jax.random.orthogonal(key, n, dtype=check.default_float()))


@dataclasses.dataclass(frozen=True)
class Cycle:
    """Simple cycle reservoir, unit i driven by unit i-1 with weight 1 (doi:10.1109/TNN.2010.2089641)."""

    def draw(self, key: Array, n: int) -> Recurrence:
        return Roll(jnp.ones(n, check.default_float()))


@dataclasses.dataclass(frozen=True)
class DelayLine:
    """An open chain with weight 1. It is nilpotent, so `spectral_radius` scales its one weight instead."""

    def draw(self, key: Array, n: int) -> Recurrence:
        return Roll(jnp.ones(n, check.default_float()).at[0].set(0.0))


@dataclasses.dataclass(frozen=True)
class CycleJumps:
    """Cycle reservoir with regular bidirectional jumps of length `jump` and relative weight `weight`
    (doi:10.1162/NECO_a_00297)."""

    jump: int = 3
    weight: float = 0.5

    def draw(self, key: Array, n: int) -> Recurrence:
        check.integer("jump", self.jump, 2, max(2, n - 1))
        units = jnp.arange(0, n - self.jump + 1, self.jump)
        ends = (units + self.jump) % n
        matrix = jnp.roll(jnp.eye(n, dtype=check.default_float()), -1, axis=1)
        matrix = matrix.at[ends, units].add(self.weight).at[units, ends].add(self.weight)
        return unit_radius(Dense(matrix))


@dataclasses.dataclass(frozen=True)
class SmallWorld:
    """Watts-Strogatz: `neighbours` nearest ring neighbours, each input rewired with probability `rewiring`
    (doi:10.1038/30918). Rewired inputs are uniform and may coincide with another input of the unit."""

    neighbours: int = 10
    rewiring: float = 0.1
    distribution: str = "uniform"

    def draw(self, key: Array, n: int) -> Recurrence:
        check.integer("neighbours", self.neighbours, 1, n - 1)
        check.number("rewiring", self.rewiring, 0.0, 1.0)
        value_key, where_key, to_key = jax.random.split(key, 3)
        half = jnp.arange(1, self.neighbours + 1)
        offsets = jnp.where(half % 2 == 1, (half + 1) // 2, -(half // 2))
        ring = (jnp.arange(n)[None] + offsets[:, None]) % n
        elsewhere = (jnp.arange(n)[None] + jax.random.randint(to_key, ring.shape, 1, n)) % n
        rewire = jax.random.bernoulli(where_key, self.rewiring, ring.shape)
        indices = jnp.where(rewire, elsewhere, ring).astype(jnp.int32)
        return unit_radius(Gather(indices, draw_values(value_key, ring.shape, self.distribution)))


@dataclasses.dataclass(frozen=True)
class Modular:
    """Blocks of equal size with connectivity `within` inside and `between` across blocks."""

    n_modules: int = 4
    within: float = 0.5
    between: float = 0.02
    distribution: str = "uniform"

    def draw(self, key: Array, n: int) -> Recurrence:
        check.integer("n_modules", self.n_modules, 1, n)
        check.number("within", self.within, 0.0, 1.0)
        check.number("between", self.between, 0.0, 1.0)
        value_key, mask_key = jax.random.split(key)
        module = (jnp.arange(n) * self.n_modules) // n
        probability = jnp.where(module[:, None] == module[None], self.within, self.between)
        mask = jax.random.bernoulli(mask_key, probability)
        return unit_radius(Dense(draw_values(value_key, (n, n), self.distribution) * mask))


@dataclasses.dataclass(frozen=True)
class LowRank:
    """W = M N^T / n + bulk * G / sqrt(n): rank-`rank` structure plus optional full-rank noise of relative size
    `bulk` (doi:10.1016/j.neuron.2018.07.003); all factors standard normal."""

    rank: int = 2
    bulk: float = 0.0

    def draw(self, key: Array, n: int) -> Recurrence:
        check.integer("rank", self.rank, 1, n)
        check.number("bulk", self.bulk, 0.0)
        left, right, noise = (draw_values(k, (n, m), "normal") for k, m in zip(
            jax.random.split(key, 3), (self.rank, self.rank, n), strict=True))
        structure = jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST) / n
        return unit_radius(Dense(structure + self.bulk * noise / jnp.sqrt(n)))


@dataclasses.dataclass(frozen=True)
class Dale:
    """Dale's law: the first round(excitatory * n) units only excite, the others only inhibit; fixed in-degree.

    Weight sizes are |normal|; inhibition is stronger by excitatory / (1 - excitatory) * `balance`, so that balance 1
    makes the mean input to a unit zero.
    """

    connectivity: float = 0.1
    excitatory: float = 0.8
    balance: float = 1.0

    def draw(self, key: Array, n: int) -> Recurrence:
        check.number("excitatory", self.excitatory, 0.0, 1.0, low_open=True, high_open=True)
        check.number("balance", self.balance, 0.0)
        check.number("connectivity", self.connectivity, 0.0, 1.0, low_open=True)
        if not 0 < round(self.excitatory * n) < n:
            have = f"{self.excitatory} of {n} units"
            raise ValueError(f"excitatory must leave at least one unit of each sign, got {have}")
        index_key, value_key = jax.random.split(key)
        k = max(1, round(self.connectivity * n))
        indices = distinct_indices(index_key, n, k)
        ratio = self.balance * self.excitatory / (1.0 - self.excitatory)
        sign = jnp.where(jnp.arange(n) < round(self.excitatory * n), 1.0, -ratio).astype(check.default_float())
        return unit_radius(Gather(indices, jnp.abs(draw_values(value_key, (k, n), "normal")) * sign[indices]))


@dataclasses.dataclass(frozen=True)
class Given:
    """The weights were given as arrays: they are in the parameters and cannot be drawn again."""

    def draw(self, key: Array, n: int) -> Recurrence:
        raise ValueError("params must be given for a model made from arrays: its weights cannot be drawn from a key")


Topology = Random | Orthogonal | Cycle | DelayLine | CycleJumps | SmallWorld | Modular | LowRank | Dale | Given

TOPOLOGIES: dict[str, type] = {
    "random": Random,
    "orthogonal": Orthogonal,
    "cycle": Cycle,
    "delay_line": DelayLine,
    "cycle_jumps": CycleJumps,
    "small_world": SmallWorld,
    "modular": Modular,
    "low_rank": LowRank,
    "dale": Dale,
}


def topology(value: str | Topology, connectivity: float | None = None) -> Topology:
    """The topology object for a name or instance; `connectivity` only where the topology has one.

    Raises:
        ValueError: unknown name, or a connectivity given where it would be ignored.
    """
    if isinstance(value, str):
        check.choice("topology", value, TOPOLOGIES)
        cls = TOPOLOGIES[value]
        if connectivity is None:
            return cls()
        if "connectivity" in {field.name for field in dataclasses.fields(cls)}:
            return cls(connectivity=connectivity)
    elif not hasattr(value, "draw"):
        names = ", ".join(TOPOLOGIES)
        raise TypeError(f"topology must be a name ({names}) or an object with draw(key, n), got {value!r}")
    elif connectivity is None:
        return value
    raise ValueError(f"connectivity must be None for topology {value!r}, which does not use it, got {connectivity}")
