"""The reservoir of excitatory and inhibitory sigmoid units."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.keys import named
from dynlab.models.gates import matvec

Array = jax.Array

TOPOLOGIES = ("erdos_renyi", "fixed_in_degree")


@tree.dataclass
class EIParams:
    """Parameters of an :class:`EIReservoir`: n_E excitatory units come first, then n_I inhibitory ones.

    Attributes:
        excitation: (N, n_E), at least 0; row i holds the excitatory inputs of unit i.
        inhibition: (N, n_I), at least 0, the size of the inhibitory weights at balance 0.
        input_weights: (N, D), at input scaling 1.
        input_scaling, balance: scalars. gain, threshold: scalar or (N,). noise: scalar or None.
    """

    excitation: Array
    inhibition: Array
    input_weights: Array
    input_scaling: Array
    gain: Array
    threshold: Array
    balance: Array
    noise: Array | None


@tree.dataclass
class EIReservoir:
    r"""Sigmoid rate units that obey Dale's law, in discrete time.

    .. math::
        V^+ &= A^E r_E - (1 - \beta) A^I r_I + \sigma_{in} W_{in} u + \nu \xi \\
        r^+ &= \frac{1}{1 + e^{-c (V^+ - \theta)}}

    with :math:`A^E, A^I \ge 0`. A unit has on average k inputs, a share `excitatory` of them from excitatory units.
    Weights are :math:`|\mathcal N(\mu, s\mu)|` with :math:`\mu_E = 1 / (k f_E)`, so that the excitatory weights onto a
    unit sum to 1 in the mean; :math:`A^I` is scaled such that

    .. math:: \beta = \frac{\langle \sum_j A^E_{ij} - (1 - \beta) \sum_j A^I_{ij} \rangle_i}
                           {\langle \sum_j A^E_{ij} \rangle_i}

    holds exactly: balance 0 is balanced, 1 has no inhibition, negative values are over-inhibited. The state r has seen
    u. A sweep of knobs at one key shares A^E and A^I (but for `in_degree`, which draws others).

    After Srinivasan, Plenz and Girvan 2025 (arXiv:2504.12480, doi:10.1038/s41467-025-64978-8); which of this is the
    paper's and which our reconstruction is on the page about E/I reservoirs. See :mod:`dynlab.plasticity` for the
    adaptation of inhibition.

    Attributes:
        n_inputs: D (static). n_units: N (static).
        excitatory: f_E, share of excitatory units (static). topology: "erdos_renyi" (every pair of units is connected
            with probability k/N) or "fixed_in_degree" (each unit has round(k f_E) and round(k f_I) inputs) (static);
            neither has self-connections.
        in_degree: k, knob. weight_spread: s, knob.
        gain: c > 0, scalar or (N,), knob. threshold: theta, scalar or (N,), knob.
        balance: beta <= 1, knob. input_scaling: sigma_in, knob; input weights are uniform on
            :math:`\pm\sigma_{in}/2`.
        input_fraction: share of the units that receive input (static).
        noise: nu >= 0, knob; None for none. dt: physical time per step (static).
    """

    n_inputs: int = tree.static(default=1)
    n_units: int = tree.static(default=500)
    excitatory: float = tree.static(default=0.8)
    topology: str = tree.static(default="erdos_renyi")
    in_degree: Any = 50
    weight_spread: Any = 0.2
    gain: Any = 10.0
    threshold: Any = 0.0
    balance: Any = 0.0
    input_scaling: Any = 0.5
    input_fraction: float = tree.static(default=0.3)
    noise: Any = None
    dt: float = tree.static(default=1.0)

    smooth = True
    bounded = True

    @property
    def input_sizes(self) -> int:
        """Channels of the input, D."""
        return self.n_inputs

    @property
    def n_excitatory(self) -> int:
        """n_E, the number of excitatory units, which come first."""
        return round(self.excitatory * self.n_units)

    def _validate(self) -> None:
        n = check.integer("n_units", self.n_units, 2)
        check.integer("n_inputs", self.n_inputs, 1)
        check.choice("topology", self.topology, TOPOLOGIES)
        check.scalar("excitatory", self.excitatory, 0.0, 1.0)
        if not 0 < self.n_excitatory < n:
            raise ValueError("excitatory must leave at least one unit of each sign, got "
                             f"{self.excitatory} of {n} units")
        check.scalar("in_degree", self.in_degree, 0.0, n - 1, low_open=True)
        check.scalar("weight_spread", self.weight_spread, 0.0)
        check.number("gain", self.gain, 0.0, low_open=True)
        check.number("threshold", self.threshold)
        check.scalar("balance", self.balance, high=1.0)
        check.scalar("input_scaling", self.input_scaling, 0.0)
        check.scalar("input_fraction", self.input_fraction, 0.0, 1.0, low_open=True)
        check.scalar("dt", self.dt, 0.0, low_open=True)
        if self.noise is not None:
            check.scalar("noise", self.noise, 0.0)
        for name in ("gain", "threshold"):
            check.per_unit(name, getattr(self, name), n)

    def init(self, key: Array) -> EIParams:
        """Draw the weights and write the knobs into the parameters.

        Raises:
            ValueError, TypeError: a field out of its range, an unknown name, `key` not a typed key, or a network in
                which no unit has excitation, or none has inhibition.
        """
        self._validate()
        check.key("key", key)
        n, n_plus, dtype = self.n_units, self.n_excitatory, check.default_float()
        scalar = lambda value: jnp.asarray(value, dtype)  # noqa: E731
        degree = scalar(self.in_degree)
        share = n_plus / n
        connected = _connected(self, named(key, "connections"), degree)
        sizes = jnp.abs(1.0 + scalar(self.weight_spread) * jax.random.normal(named(key, "weights"), (n, n), dtype))
        weights = jnp.where(connected, sizes, 0.0)
        excitation = weights[:, :n_plus] / (degree * share)
        inhibition = weights[:, n_plus:]
        totals = jnp.sum(excitation), jnp.sum(inhibition)
        for total, sign, count in zip(totals, ("excitatory", "inhibitory"), (n_plus, n - n_plus), strict=True):
            if not check.is_traced(total) and not total > 0:
                raise ValueError(f"in_degree must give at least one {sign} connection, got {self.in_degree} with "
                                 f"{count} {sign} of {n} units")
        inhibition = inhibition * (totals[0] / totals[1])
        inputs = jax.random.uniform(named(key, "input"), (n, self.n_inputs), dtype, -0.5, 0.5)
        order = jax.random.permutation(named(key, "receivers"), n)
        receives = order < max(1, round(self.input_fraction * n))
        return EIParams(
            excitation=excitation, inhibition=inhibition, input_weights=inputs * receives[:, None],
            input_scaling=scalar(self.input_scaling), gain=scalar(self.gain), threshold=scalar(self.threshold),
            balance=scalar(self.balance), noise=None if self.noise is None else scalar(self.noise),
        )

    def init_state(self, params: EIParams, key: Array | None = None) -> Array:
        """The rates (N,) of units without input, 1/(1 + exp(c theta)); with a key, uniform on [0, 1)."""
        shape, dtype = (self.n_units,), params.excitation.dtype
        if key is not None:
            return jax.random.uniform(key, shape, dtype)
        return jnp.broadcast_to(jax.nn.sigmoid(-params.gain * params.threshold), shape).astype(dtype)

    def drive(self, params: EIParams, state: Array, x: Array, key: Array | None = None) -> Array:
        """V (N,) of the next step, with its noise; x is u (D,)."""
        n_plus = self.n_excitatory
        u = params.input_scaling * x
        v = matvec(params.excitation, state[:n_plus])
        v -= (1.0 - params.balance) * matvec(params.inhibition, state[n_plus:])
        v += params.input_weights[:, 0] * u[0] if self.n_inputs == 1 else matvec(params.input_weights, u)
        if key is None or params.noise is None:
            return v
        return v + params.noise * jax.random.normal(key, v.shape, v.dtype)

    def update(self, params: EIParams, state: Array, v: Array) -> Array:
        """The rates (N,) for a drive V (N,)."""
        return jax.nn.sigmoid(params.gain * (v - params.threshold))

    def step(self, params: EIParams, state: Array, x: Array, key: Array | None = None) -> Array:
        """One update, (N,) -> (N,); x is (D,)."""
        return self.update(params, state, self.drive(params, state, x, key))

    def observe(self, params: EIParams, state: Array) -> Array:
        """The rates themselves (N,)."""
        return state

    def excitation(self, params: EIParams) -> Array:
        """Excitatory weights as they act (N, n_E), at least 0."""
        return params.excitation

    def inhibition(self, params: EIParams) -> Array:
        """Sizes of the inhibitory weights as they act (N, n_I), at least 0: (1 - balance) A^I."""
        return (1.0 - params.balance) * params.inhibition

    def with_inhibition(self, params: EIParams, inhibition: Array) -> EIParams:
        """The parameters with other inhibitory weights (N, n_I); the balance knob is 0 then."""
        return dataclasses.replace(params, inhibition=inhibition, balance=jnp.zeros_like(params.balance))

    def drive_for(self, params: EIParams, rates: Array) -> Array:
        """The drive V (N,) at which units have the `rates` (N,), inside (0, 1)."""
        return params.threshold + jax.scipy.special.logit(rates) / params.gain

    def net(self, params: EIParams, state: Array, x: Array) -> Array:
        """What gain and bias act on: r = sigmoid(a net + b), net = V (N,)."""
        return self.drive(params, state, x)

    def gain_and_bias(self, params: EIParams) -> tuple[Array, Array]:
        """a = c and b = -c theta, each (N,)."""
        gain = jnp.broadcast_to(params.gain, (self.n_units,))
        return gain, -gain * params.threshold

    def with_gain_and_bias(self, params: EIParams, gain: Array, bias: Array) -> EIParams:
        """The parameters with gain a (N,) > 0 and bias b (N,) a unit."""
        return dataclasses.replace(params, gain=gain, threshold=-bias / gain)


def _connected(model: EIReservoir, key: Array, degree: Array) -> Array:
    """Which units have which inputs, (N, N) bool."""
    n, n_plus = model.n_units, model.n_excitatory
    chance = jax.random.uniform(key, (n, n), check.default_float())
    others = ~jnp.eye(n, dtype=bool)
    if model.topology == "erdos_renyi":
        return (chance < degree / n) & others
    rank = lambda part: jnp.argsort(jnp.argsort(part, axis=1), axis=1)  # noqa: E731
    chance = jnp.where(others, chance, 2.0)  # a unit itself comes last
    wanted = jnp.round(degree * n_plus / n), jnp.round(degree * (n - n_plus) / n)
    chosen = [rank(part) < k for part, k in zip((chance[:, :n_plus], chance[:, n_plus:]), wanted, strict=True)]
    return jnp.concatenate(chosen, axis=1) & others
