"""The leaky rate network that is trained: time constants per unit, as a map and as a flow."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.keys import named
from dynlab.models.activations import INVERSES, SATURATING, activation
from dynlab.models.gates import matvec
from dynlab.models.recurrence import LowRank

Array = jax.Array

PLACEMENTS = ("inside", "outside")
START = 0.1  # random start states are uniform on [0, START)


@tree.dataclass
class LeakyParams:
    """Parameters of a :class:`LeakyRNN` or :class:`LeakyFlow` of N units with D inputs.

    Attributes:
        weight_ih: (N, D), from input. weight_hh: (N, N), row i holds the inputs of unit i; or
            :class:`dynlab.models.recurrence.LowRank`. bias_ih, bias_hh: (N,), both added to the drive.
        tau: (N,), time constants in the unit of dt. noise: scalar, or None for none.
    """

    weight_ih: Array
    weight_hh: Any
    bias_ih: Array
    bias_hh: Array
    tau: Array
    noise: Array | None = None


def recurrent(weights: Any, state: Array) -> Array:
    """The recurrent input (N,) of a state, for a matrix or a low-rank product."""
    return weights.apply(state) if isinstance(weights, LowRank) else matvec(weights, state)


class _Leaky:
    """What the flow and the map share. Abstract."""

    n_inputs: int
    n_units: int
    activation: str
    excitatory: float | None

    smooth = True  # relu has a kink, but a tangent almost everywhere

    @property
    def input_sizes(self) -> int:
        """Channels of the input, D."""
        return self.n_inputs

    @property
    def bounded(self) -> bool | None:
        """True for saturating units, whose states stay in a ball; None where that depends on the weights."""
        return True if self.activation in SATURATING else None

    def init_state(self, params: LeakyParams, key: Array | None = None) -> Array:
        """Zeros (N,); with a key, uniform on [0, 0.1)."""
        shape, dtype = params.bias_hh.shape, params.bias_hh.dtype
        return jnp.zeros(shape, dtype) if key is None else START * jax.random.uniform(key, shape, dtype)

    def observe(self, params: LeakyParams, state: Array) -> Array:
        """The state itself (N,)."""
        return state

    def _signed(self) -> int:
        """Number of excitatory units, which come first."""
        if self.excitatory is None:
            raise ValueError("excitatory must be given for a network with Dale's law, got None")
        return round(self.excitatory * self.n_units)

    def excitation(self, params: LeakyParams) -> Array:
        """Excitatory weights (N, n_E); for a network with `excitatory`."""
        return params.weight_hh[:, : self._signed()]

    def inhibition(self, params: LeakyParams) -> Array:
        """Sizes of the inhibitory weights (N, n_I); for a network with `excitatory`."""
        return -params.weight_hh[:, self._signed() :]

    def with_inhibition(self, params: LeakyParams, inhibition: Array) -> LeakyParams:
        """The parameters with other inhibitory weights (N, n_I), given as sizes."""
        return dataclasses.replace(params, weight_hh=jnp.concatenate([self.excitation(params), -inhibition], axis=1))

    def drive_for(self, params: LeakyParams, rates: Array) -> Array:
        """The drive u (N,) at which units stay at the `rates` (N,)."""
        return INVERSES[self.activation](rates)


@tree.dataclass
class LeakyFlow(_Leaky):
    r"""Leaky rate network in continuous time.

    .. math:: \tau_i \dot h_i = -h_i + f(u_i), \qquad u = W h + b_{hh} + W_{in} x + b_{ih}

    with noise of amplitude :math:`\sigma\sqrt{2/\tau_i}` on h, so that a unit without input has the stationary
    standard deviation :math:`\sigma`. Parameters are :class:`LeakyParams`, drawn as PyTorch's ``nn.Linear`` does:
    :math:`W, b_{hh}` uniform on :math:`\pm 1/\sqrt N` and :math:`W_{in}, b_{ih}` on :math:`\pm 1/\sqrt D`. Without
    noise ``Euler(LeakyFlow(...), dt)`` is ``LeakyRNN(..., placement="inside", dt=dt)``. Wilson and Cowan 1972,
    doi:10.1016/S0006-3495(72)86068-5.

    Attributes:
        n_inputs: D (static). n_units: N (static).
        activation: f, a name of :data:`dynlab.models.activations.ACTIVATIONS` (static).
        tau, tau_spread: knobs; tau_i is uniform on [tau, tau + tau_spread], or `tau` is given as (N,).
        noise: sigma >= 0, knob; None for none.
        self_connections: False draws a zero diagonal (static); keep it in training by
            ``train.masked(weights != 0)``.
        excitatory: share of excitatory units, whose column of W is positive, the others' negative, with magnitudes
            such that the mean of W is zero (Dale's law); None for mixed signs (static). Training keeps the signs with
            :func:`dynlab.train.exponentiated_gradient` or ``train.signed``.
        rank: R of a low-rank :math:`W = M N^T`, M standard normal and N normal with deviation 1/N (Mastrogiuseppe and
            Ostojic 2018, doi:10.1016/j.neuron.2018.07.003); None for a full matrix (static).
    """

    n_inputs: int = tree.static(default=1)
    n_units: int = tree.static(default=100)
    activation: str = tree.static(default="tanh")
    tau: Any = 1.0
    tau_spread: Any = 0.0
    noise: Any = None
    self_connections: bool = tree.static(default=True)
    excitatory: float | None = tree.static(default=None)
    rank: int | None = tree.static(default=None)

    def init(self, key: Array) -> LeakyParams:
        """Draw all parameters.

        Raises:
            ValueError, TypeError: a field out of its range, an unknown name, or `key` not a typed key.
        """
        return draw(self, key)

    def vector_field(self, params: LeakyParams, state: Array, x: Array) -> Array:
        """dh/dt (N,) per unit of tau; x is (D,)."""
        return (activation(self.activation)(drive(params, state, x)) - state) / params.tau

    def diffusion(self, params: LeakyParams, state: Array) -> Array:
        """Noise amplitude (N,) per square root of time; zero without noise."""
        return (0.0 if params.noise is None else params.noise) * jnp.sqrt(2.0 / params.tau)

    def decay(self, params: LeakyParams, state: Array) -> Array:
        """1/tau (N,)."""
        return 1.0 / params.tau

    def time_constants(self, params: LeakyParams) -> Array:
        """tau (N,)."""
        return params.tau


@tree.dataclass
class LeakyRNN(_Leaky):
    r"""Leaky rate network in discrete time, with the non-linearity inside or outside the leak.

    .. math::
        u &= W h + b_{hh} + W_{in} x + b_{ih}, \qquad a_i = \Delta t / \max(\tau_i, \Delta t) \\
        h^+ &= (1 - a) \odot h + a \odot f(u) \quad\text{("inside")} \\
        h^+ &= f\big((1 - a) \odot h + a \odot u\big) \quad\text{("outside")}

    "outside" is the network of Khajehabdollahi et al. (ICLR 2024, arXiv:2309.12927), with f a leaky ReLU of slope
    0.01, tau uniform on [1, 2] and no self-connections. A tau below dt acts as dt and has no gradient. Noise adds
    :math:`\sqrt{2/a}\,\sigma\,\xi` to u, so that a linear unit without other input has the standard deviation
    :math:`\sigma / \sqrt{1 - a/2}` (Yang et al. 2019, doi:10.1038/s41593-018-0310-2).

    Parameters are :class:`LeakyParams`, drawn as PyTorch's ``nn.Linear`` does (see :class:`LeakyFlow`, also for the
    fields that are the same). The features are h. With ticks, ``Hold(LeakyRNN(dt=1/k), n_ticks=k)``, each input is
    held for k steps and the time constants stay in units of one input.

    Attributes:
        placement: "inside" or "outside" (static). dt: physical time per step (static), in the unit of tau.
    """

    n_inputs: int = tree.static(default=1)
    n_units: int = tree.static(default=100)
    activation: str = tree.static(default="tanh")
    placement: str = tree.static(default="inside")
    tau: Any = 1.0
    tau_spread: Any = 0.0
    noise: Any = None
    self_connections: bool = tree.static(default=True)
    excitatory: float | None = tree.static(default=None)
    rank: int | None = tree.static(default=None)
    dt: float = tree.static(default=1.0)

    def init(self, key: Array) -> LeakyParams:
        """Draw all parameters.

        Raises:
            ValueError, TypeError: a field out of its range, an unknown name, or `key` not a typed key.
        """
        check.choice("placement", self.placement, PLACEMENTS)
        check.scalar("dt", self.dt, 0.0, low_open=True)
        return draw(self, key)

    def _rate(self, params: LeakyParams) -> Array:
        return self.dt / jnp.where(params.tau >= self.dt, params.tau, self.dt)  # at dt itself tau can still grow

    def drive(self, params: LeakyParams, state: Array, x: Array, key: Array | None = None) -> Array:
        """u (N,) of a step, with its noise: all that is linear in the weights."""
        u = drive(params, state, x)
        if key is None or params.noise is None:
            return u
        kick = jnp.sqrt(2.0 / self._rate(params)) * params.noise
        return u + kick * jax.random.normal(key, u.shape, check.wide(u.dtype)).astype(u.dtype)

    def update(self, params: LeakyParams, state: Array, u: Array) -> Array:
        """The new state (N,) from the old one and the drive, unit by unit."""
        a, f = self._rate(params), activation(self.activation)
        if self.placement == "inside":
            return state + a * (f(u) - state)  # one product with a: half the sums in its gradient
        return f(state + a * (u - state))

    def step(self, params: LeakyParams, state: Array, x: Array, key: Array | None = None) -> Array:
        """One update, (N,) -> (N,); x is (D,)."""
        return self.update(params, state, self.drive(params, state, x, key))

    def time_constants(self, params: LeakyParams) -> Array:
        """max(tau, dt) (N,), the time constants as they act (not the decay of the discrete leak, -dt/ln(1 - a))."""
        return jnp.maximum(params.tau, self.dt)


def drive(params: LeakyParams, state: Array, x: Array) -> Array:
    """u = W h + b_hh + W_in x + b_ih, (N,)."""
    from_input = params.weight_ih[:, 0] * x[0] if x.shape == (1,) else matvec(params.weight_ih, x)
    return recurrent(params.weight_hh, state) + from_input + (params.bias_hh + params.bias_ih)


def draw(model: LeakyFlow | LeakyRNN, key: Array) -> LeakyParams:
    """Check the fields and draw the parameters."""
    _check(model)
    check.key("key", key)
    n, d, dtype = model.n_units, model.n_inputs, check.default_float()

    def linear(role: str, shape: tuple[int, ...], fan_in: int) -> Array:
        return jax.random.uniform(named(key, role), shape, dtype, -1.0, 1.0) / jnp.sqrt(jnp.asarray(fan_in, dtype))

    if model.rank is None:
        weights: Any = linear("weight_hh", (n, n), n)
        if model.excitatory is not None:
            n_plus = round(model.excitatory * n)
            weights = jnp.abs(weights) * jnp.where(jnp.arange(n) < n_plus, 1.0, -n_plus / (n - n_plus)).astype(dtype)
        if not model.self_connections:
            weights = weights * (1.0 - jnp.eye(n, dtype=dtype))
    else:
        left, right = (jax.random.normal(named(key, role), (n, model.rank), dtype) for role in ("left", "right"))
        weights = LowRank(left, right / n)
    tau = jnp.asarray(model.tau, dtype) + model.tau_spread * jax.random.uniform(named(key, "tau"), (n,), dtype)
    return LeakyParams(
        weight_ih=linear("weight_ih", (n, d), d), weight_hh=weights, bias_ih=linear("bias_ih", (n,), d),
        bias_hh=linear("bias_hh", (n,), n), tau=tau,
        noise=None if model.noise is None else jnp.asarray(model.noise, dtype),
    )


def _check(model: LeakyFlow | LeakyRNN) -> None:
    n = check.integer("n_units", model.n_units, 1)
    check.integer("n_inputs", model.n_inputs, 1)
    activation(model.activation)
    check.number("tau", model.tau, 0.0, low_open=True)
    check.per_unit("tau", model.tau, n)
    check.scalar("tau_spread", model.tau_spread, 0.0)
    if model.noise is not None:
        check.scalar("noise", model.noise, 0.0)
    if model.rank is not None:
        check.integer("rank", model.rank, 1, n)
        if model.excitatory is not None or not model.self_connections:
            raise ValueError(f"rank must be None for a network with excitatory={model.excitatory} and self_connections="
                             f"{model.self_connections}: a low-rank product has neither signs nor a zero diagonal, "
                             f"got {model.rank}")
    if model.excitatory is not None:
        check.number("excitatory", model.excitatory, 0.0, 1.0)
        if not 0 < round(model.excitatory * n) < n:
            raise ValueError("excitatory must leave at least one unit of each sign, got "
                             f"{model.excitatory} of {n} units")
