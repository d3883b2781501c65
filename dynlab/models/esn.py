"""The leaky echo state network."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree
from dynlab.keys import named
from dynlab.models.activations import SATURATING, activation
from dynlab.models.radius import exact
from dynlab.models.recurrence import FORMS, Recurrence, choose, from_matrix
from dynlab.models.weights import Given, Topology, sparse_matrix, topology

Array = jax.Array

@tree.dataclass
class ESNParams:
    """Run-time parameters of an :class:`ESN`; every knob that acts at run time is here.

    Attributes:
        recurrent: the network at unit spectral radius (a Dense, Gather or Roll recurrence over N units).
        input_weights: (N, D). bias: (N,), already scaled. feedback_weights: (N, F) or None.
        spectral_radius, feedback_scaling: scalars; noise: scalar or None. leak_rate: scalar or (N,).
        input_scaling: scalar or (D,). gain: (N,), factor on the drive of each unit but for its bias; None: 1.
    """

    recurrent: Recurrence
    input_weights: Array
    bias: Array
    feedback_weights: Array | None
    spectral_radius: Array
    leak_rate: Array
    input_scaling: Array
    feedback_scaling: Array
    noise: Array | None
    gain: Array | None = None


def _project(weights: Array, u: Array) -> Array:
    """weights (N, D) @ u (D,); for one channel a product of numbers, which fuses with the rest of the step."""
    if weights.shape[1] == 1:
        return weights[:, 0] * u[..., 0]
    return jnp.matmul(weights, u, precision=jax.lax.Precision.HIGHEST)


@tree.dataclass
class ESN:
    r"""Leaky echo state network (Jaeger 2001, GMD report 148; doi:10.1016/j.neunet.2007.04.016).

    .. math:: x^+ = (1-a)\,x + a\,f(\rho W x + W_{in}(s \odot u) + b + c\,W_{fb}\,y + \nu\,\xi)

    with :math:`W` at unit spectral radius, :math:`\xi` standard normal (drawn only when a key is given) and
    :math:`y` the previous output. The state at t has seen u(t).

    Static fields shape the program; the others are knobs that can be swept with ``vmap``.

    Attributes:
        n_inputs: D, input channels (static). n_units: N (static). n_feedback: F, fed-back output channels (static);
            when positive the step's input is the pair (u, y).
        spectral_radius: rho >= 0. For the delay line, which is nilpotent, the weight of the chain.
        leak_rate: a in (0, 1], scalar or (N,). input_scaling: s, scalar or (D,). bias_scaling: b is uniform on
            [-bias_scaling, bias_scaling]. feedback_scaling: c.
        noise: nu >= 0, inside the non-linearity; None: none is drawn, which is faster than 0.
        topology: a name from :data:`dynlab.models.weights.TOPOLOGIES` or an instance (static).
        connectivity: fraction of non-zero recurrent weights, for topologies that have one (static; None: 0.1).
        input_connectivity: probability of each entry of W_in and W_fb to be non-zero (static).
        input_distribution: of their values, "uniform", "normal" or "sign" (static).
        activation: a name of :data:`dynlab.models.activations.ACTIVATIONS`, such as "tanh" (static).
        recurrence: "auto", "dense", "gather" or "roll" (static): the form of the product, equal results.
        dt: physical time per step (static).
    """

    n_inputs: int = tree.static(default=1)
    n_units: int = tree.static(default=100)
    spectral_radius: Any = 0.9
    leak_rate: Any = 1.0
    input_scaling: Any = 1.0
    bias_scaling: Any = 0.0
    feedback_scaling: Any = 1.0
    noise: Any = None
    n_feedback: int = tree.static(default=0)
    topology: str | Topology = tree.static(default="random")
    connectivity: float | None = tree.static(default=None)
    input_connectivity: float = tree.static(default=1.0)
    input_distribution: str = tree.static(default="uniform")
    activation: str = tree.static(default="tanh")
    recurrence: str = tree.static(default="auto")
    dt: float = tree.static(default=1.0)

    smooth = True  # relu has a kink, but a tangent almost everywhere

    @property
    def bounded(self) -> bool | None:
        """True for saturating units, whose states stay in a ball; None where that depends on the weights."""
        return True if self.activation in SATURATING else None

    @property
    def input_sizes(self) -> Any:
        """Channels of each leaf of the input pytree: D, or (D, F) with feedback."""
        return (self.n_inputs, self.n_feedback) if self.n_feedback else self.n_inputs

    def _validate(self) -> None:
        check.integer("n_inputs", self.n_inputs, 0)
        check.integer("n_units", self.n_units, 1)
        check.integer("n_feedback", self.n_feedback, 0)
        if self.n_inputs + self.n_feedback == 0:
            raise ValueError("n_inputs must be positive unless n_feedback is, got n_inputs=0 and n_feedback=0")
        activation(self.activation)
        check.choice("recurrence", self.recurrence, FORMS)
        check.number("spectral_radius", self.spectral_radius, 0.0)
        check.number("leak_rate", self.leak_rate, 0.0, 1.0, low_open=True)
        check.number("input_scaling", self.input_scaling)
        check.number("bias_scaling", self.bias_scaling, 0.0)
        check.number("feedback_scaling", self.feedback_scaling)
        if self.noise is not None:
            check.number("noise", self.noise, 0.0)
        check.number("input_connectivity", self.input_connectivity, 0.0, 1.0, low_open=True)
        check.number("dt", self.dt, 0.0, low_open=True)
        for name, size in (("spectral_radius", None), ("leak_rate", self.n_units), ("input_scaling", self.n_inputs),
                           ("bias_scaling", None), ("feedback_scaling", None), ("noise", None)):
            value = getattr(self, name)
            shape = () if value is None else jnp.shape(value)
            if shape not in ((), (size,)):
                want = "a scalar" if size is None else f"a scalar or of shape ({size},)"
                raise ValueError(f"{name} must be {want}, got shape {shape}; to sweep it use jax.vmap over the model")

    def init(self, key: Array) -> ESNParams:
        """Draw W (unit spectral radius), W_in, bias and W_fb, and write the knobs into the parameters.

        With the same key, models that differ only in knobs draw the same matrices.

        Raises:
            ValueError, TypeError: a knob or size out of its range, an unknown name, or `key` not a typed key.
        """
        self._validate()
        check.key("key", key)
        scalar = lambda value: jnp.asarray(value, check.default_float())  # noqa: E731
        network = topology(self.topology, self.connectivity)
        with check.eager(key):
            drawn = choose(network.draw(named(key, "recurrent"), self.n_units), self.recurrence)

        def outer(role: str, n: int) -> Array:
            shape = (self.n_units, n)
            return sparse_matrix(named(key, role), shape, self.input_connectivity, self.input_distribution)

        bias = jax.random.uniform(named(key, "bias"), (self.n_units,), check.default_float(), -1.0, 1.0)
        return ESNParams(
            recurrent=drawn,
            input_weights=outer("input", self.n_inputs),
            bias=scalar(self.bias_scaling) * bias,
            feedback_weights=outer("feedback", self.n_feedback) if self.n_feedback else None,
            spectral_radius=scalar(self.spectral_radius),
            leak_rate=scalar(self.leak_rate),
            input_scaling=scalar(self.input_scaling),
            feedback_scaling=scalar(self.feedback_scaling),
            noise=None if self.noise is None else scalar(self.noise),
        )

    def init_state(self, params: ESNParams, key: Array | None = None) -> Array:
        """Zeros (N,); with a key, uniform on [-1, 1]."""
        if key is None:
            return jnp.zeros(self.n_units, params.bias.dtype)
        return jax.random.uniform(key, (self.n_units,), params.bias.dtype, -1.0, 1.0)

    def step(self, params: ESNParams, state: Array, x: Any, key: Array | None = None) -> Array:
        """One update (N,) -> (N,); `x` is u (D,), or (u, y) with feedback."""
        if params.gain is None:
            drive = self._sum(params, state, x, params.bias)
        else:
            drive = params.gain * self.net(params, state, x) + params.bias
        if key is not None and params.noise is not None:
            drive += params.noise * jax.random.normal(key, drive.shape, drive.dtype)
        return (1.0 - params.leak_rate) * state + params.leak_rate * activation(self.activation)(drive)

    def net(self, params: ESNParams, state: Array, x: Any) -> Array:
        """What gain and bias act on (N,): the recurrent, external and fed-back input of the units."""
        return self._sum(params, state, x)

    def _sum(self, params: ESNParams, state: Array, x: Any, bias: Array | None = None) -> Array:
        """Recurrent input, bias, external and fed-back input (N,), added in this order."""
        u, y = x if self.n_feedback else (x, None)
        total = params.spectral_radius * params.recurrent.apply(state)
        if bias is not None:
            total = total + bias
        total += _project(params.input_weights, params.input_scaling * u)
        if y is not None and params.feedback_weights is not None:
            total += _project(params.feedback_weights, params.feedback_scaling * y)
        return total

    def gain_and_bias(self, params: ESNParams) -> tuple[Array, Array]:
        """Gain and bias of every unit, each (N,)."""
        return jnp.ones_like(params.bias) if params.gain is None else params.gain, params.bias

    def with_gain_and_bias(self, params: ESNParams, gain: Array, bias: Array) -> ESNParams:
        """The parameters with other gains and biases, each (N,)."""
        return dataclasses.replace(params, gain=gain, bias=bias)

    def observe(self, params: ESNParams, state: Array) -> Array:
        """The state itself (N,)."""
        return state

    def time_constants(self, params: ESNParams) -> Array:
        r"""The leak of every unit as a time constant (N,), :math:`-\Delta t / \ln(1 - a)`; 0 for a = 1."""
        a = jnp.broadcast_to(params.leak_rate, (self.n_units,))
        leaky = a < 1
        return jnp.where(leaky, -self.dt / jnp.log1p(-jnp.where(leaky, a, 0.5)), 0.0)


def esn_from_arrays(
    w: Any, w_in: Any, *, bias: Any = None, w_feedback: Any = None, leak_rate: Any = 1.0, activation: str = "tanh"
) -> tuple[ESN, ESNParams]:
    """An ESN with given weights, for example copied from another library.

    Args:
        w: (N, N), used as it is; stored as its unit-radius matrix and its spectral radius.
        w_in: (N, D). bias: (N,) or None. w_feedback: (N, F) or None. leak_rate: scalar or (N,).

    Returns:
        ``(model, params)`` ready for :func:`dynlab.simulate`. Pass `params` everywhere: ``model.init`` refuses, since
        these weights cannot be drawn from a key.
    """
    recurrent = from_matrix(w)
    n = recurrent.n_units
    w_in = check.array("w_in", w_in)
    if w_in.ndim != 2 or w_in.shape[0] != n:
        raise ValueError(f"w_in must have shape ({n}, n_inputs), got {w_in.shape}")
    bias = jnp.zeros(n, w_in.dtype) if bias is None else check.array("bias", bias)
    if bias.shape != (n,):
        raise ValueError(f"bias must have shape ({n},), got {bias.shape}")
    if w_feedback is not None:
        w_feedback = check.array("w_feedback", w_feedback)
        if w_feedback.ndim != 2 or w_feedback.shape[0] != n:
            raise ValueError(f"w_feedback must have shape ({n}, n_feedback), got {w_feedback.shape}")
    n_feedback = 0 if w_feedback is None else w_feedback.shape[1]
    radius = exact(recurrent)
    scale = radius if radius > 0 else 1.0  # nilpotent: the matrix is kept as it is
    model = ESN(n_inputs=w_in.shape[1], n_units=n, n_feedback=n_feedback, spectral_radius=scale,
                leak_rate=leak_rate, activation=activation, topology=Given())
    model._validate()
    scalar = lambda value: jnp.asarray(value, w_in.dtype)  # noqa: E731
    params = ESNParams(recurrent.scaled(1.0 / scale), w_in, bias, w_feedback, scalar(scale),
                       scalar(leak_rate), scalar(1.0), scalar(1.0), None)
    return model, params
