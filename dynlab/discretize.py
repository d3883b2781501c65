"""From continuous to discrete time: wrappers that turn a Flow into a Map."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from dynlab import check, tree

Array = jax.Array
SOLVERS = ("Tsit5", "Dopri5", "Dopri8", "Heun", "Kvaerno5")
ADJOINTS = ("forward", "checkpoint")


def _noise(flow: Any, params: Any, state: Any, key: Array, scale: float) -> Any:
    """scale * diffusion(state) * standard normal, shaped like the state."""
    amplitude = flow.diffusion(params, state)
    leaves, treedef = jax.tree.flatten(amplitude)
    keys = jax.random.split(key, len(leaves))
    drawn = [scale * g * jax.random.normal(k, jnp.shape(g), g.dtype) for g, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(treedef, drawn)


class _OnFlow:
    """What every wrapper takes from its flow as it is."""

    flow: Any

    @property
    def smooth(self) -> bool:
        return self.flow.smooth

    @property
    def input_sizes(self) -> Any:
        return getattr(self.flow, "input_sizes", None)

    @property
    def time_constants(self) -> Any:
        """The flow's own method (N,); a flow without one leaves the wrapper without one."""
        return self.flow.time_constants

    def init_state(self, params: Any, key: Array | None = None) -> Any:
        return self.flow.init_state(params, key)

    def observe(self, params: Any, state: Any) -> Array:
        return self.flow.observe(params, state)


@tree.dataclass
class Euler(_OnFlow):
    r"""Explicit Euler(-Maruyama): :math:`s^+ = s + \Delta t\, v(s, x) + \sqrt{\Delta t}\, g(s)\, \xi`.

    Order 1 (strong order 1/2 with state-dependent noise). `dt` is static, in the flow's time unit.
    """

    flow: Any
    dt: float = tree.static(default=1.0)

    def init(self, key: Array) -> Any:
        check.number("dt", self.dt, 0.0, low_open=True)
        return self.flow.init(key)

    def step(self, params: Any, state: Any, x: Any, key: Array | None = None) -> Any:
        velocity = self.flow.vector_field(params, state, x)
        new = jax.tree.map(lambda s, v: s + self.dt * v, state, velocity)
        if key is None:
            return new
        return jax.tree.map(jnp.add, new, _noise(self.flow, params, state, key, math.sqrt(self.dt)))


@tree.dataclass
class ExpEuler(_OnFlow):
    r"""Exponential Euler for a flow :math:`\dot s = -d \odot s + n(s, x)` with diagonal decay ``flow.decay``:

    .. math:: s^+ = s + \frac{1 - e^{-d \Delta t}}{d}\, v(s, x)

    exact for constant n at any step size. Noise keeps the stationary variance of the linear part:
    amplitude :math:`g \sqrt{(1 - e^{-2 d \Delta t}) / 2d}`.
    """

    flow: Any
    dt: float = tree.static(default=1.0)

    def init(self, key: Array) -> Any:
        check.number("dt", self.dt, 0.0, low_open=True)
        if not hasattr(self.flow, "decay"):
            name = type(self.flow).__name__
            raise TypeError(f"flow must have decay(params, state) for ExpEuler, got {name} without it: use Euler")
        return self.flow.init(key)

    def step(self, params: Any, state: Any, x: Any, key: Array | None = None) -> Any:
        decay = self.flow.decay(params, state)

        def weight(d: Array, dt: float) -> Array:  # (1 - exp(-d dt)) / d, right at d = 0
            safe = jnp.where(d == 0, 1.0, d)
            return jnp.where(d == 0, dt, -jnp.expm1(-safe * dt) / safe)

        velocity = self.flow.vector_field(params, state, x)
        new = jax.tree.map(lambda s, v, d: s + weight(d, self.dt) * v, state, velocity, decay)
        if key is None:
            return new
        noise = _noise(self.flow, params, state, key, 1.0)
        return jax.tree.map(lambda s, w, d: s + jnp.sqrt(weight(2 * d, self.dt)) * w, new, noise, decay)


@tree.dataclass
class FlowMap(_OnFlow):
    """The flow over one step `dt` by an adaptive solver of diffrax, the input held constant.

    Deterministic: a key is refused (use Euler for noise).

    Attributes:
        dt: length of one step (static). solver: "Tsit5", "Dopri5", "Dopri8", "Heun" or "Kvaerno5" (static).
        rtol, atol: tolerances of the step-size controller (static). max_steps: solver steps allowed within dt (static);
            when they do not suffice the state becomes NaN.
        adjoint: "forward" for tangents (jvp: Lyapunov exponents, Jacobians) or "checkpoint" for training (vjp)
            (static); diffrax's own default has no jvp.
    """

    flow: Any
    dt: float = tree.static(default=1.0)
    rtol: float = tree.static(default=1e-5)
    atol: float = tree.static(default=1e-7)
    solver: str = tree.static(default="Tsit5")
    adjoint: str = tree.static(default="forward")
    max_steps: int = tree.static(default=4096)

    deterministic = True  # measures that bring their own noise key leave it out

    def init(self, key: Array) -> Any:
        check.number("dt", self.dt, 0.0, low_open=True)
        check.number("rtol", self.rtol, 0.0, low_open=True)
        check.number("atol", self.atol, 0.0, low_open=True)
        check.choice("solver", self.solver, SOLVERS)
        check.choice("adjoint", self.adjoint, ADJOINTS)
        check.integer("max_steps", self.max_steps, 1)
        return self.flow.init(key)

    def step(self, params: Any, state: Any, x: Any, key: Array | None = None) -> Any:
        if key is not None:
            raise ValueError("key must be None for FlowMap, which is deterministic: use Euler for a flow with noise")
        import diffrax  # costs half a second: only where it is used

        adjoint = diffrax.ForwardMode() if self.adjoint == "forward" else diffrax.RecursiveCheckpointAdjoint()
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, s, args: self.flow.vector_field(args[0], s, args[1])),
            getattr(diffrax, self.solver)(),
            t0=0.0,
            t1=self.dt,
            dt0=None,
            y0=state,
            args=(params, x),
            stepsize_controller=diffrax.PIDController(rtol=self.rtol, atol=self.atol),
            adjoint=adjoint,
            max_steps=self.max_steps,
            throw=False,
        )
        ok = solution.result == diffrax.RESULTS.successful
        return jax.tree.map(lambda leaf: jnp.where(ok, leaf[-1], jnp.nan), solution.ys)
