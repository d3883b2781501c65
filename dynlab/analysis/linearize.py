"""A model seen as a map of its phase space: what every analysis of the dynamics works on.

:func:`phase_map` turns a model, its parameters and a template state into a function of one flat vector z (n,), the
phase-space coordinates of the state (:func:`dynlab.tree.phase`). It is a pytree whose leaves are the parameters, so an
analysis maps over them with ``vmap`` and equal models share one compilation. A function of your own, g(z, x) or g(z),
is taken as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.keys import numbered
from dynlab.simulation import check_inputs, check_state

Array = jax.Array


@tree.dataclass
class PhaseMap:
    r"""The noiseless step of a model in phase space, :math:`z^+ = g(z, x)`; callable.

    Coordinates that are no phase space (counters, buffer heads) are held at the values of `state` by ``g(z, x)``; an
    analysis along a trajectory carries them (:meth:`step`).

    Attributes:
        model: a Map, or a Flow :math:`\dot z = v(z, x)`; then ``g(z, x) = z + v(z, x)``, whose fixed points are the
            equilibria, and which is no step in time (`flow` is True).
        params: the parameters. state: the template, also the default start.
        flow: static; True for a Flow.
    """

    model: Any
    params: Any
    state: Any
    flow: bool = tree.static(default=False)

    def __call__(self, z: Array, x: Any = None) -> Array:
        """z (n,), the input of one step (features,) -> (n,)."""
        return tree.phase(self.step(self.restore(z), x))[0]

    def displacement(self, z: Array, x: Any = None) -> Array:
        """g(z, x) - z, (n,); of a flow the velocity itself, which loses no digits where it is small."""
        if self.flow:
            return tree.phase(self.model.vector_field(self.params, self.restore(z), x))[0]
        return self(z, x) - z

    def step(self, state: Any, x: Any = None, key: Array | None = None) -> Any:
        """The whole state after one step (for a flow: state + velocity)."""
        if self.flow:
            velocity = self.model.vector_field(self.params, state, x)
            return jax.tree.map(lambda s, v: s + v, state, velocity)
        return self.model.step(self.params, state, x, key)

    @property
    def z0(self) -> Array:
        """The phase vector (n,) of the template state."""
        return tree.phase(self.state)[0]

    @property
    def n(self) -> int:
        """The dimension of phase space."""
        return self.z0.shape[0]

    @property
    def dt(self) -> float:
        """Physical time per step; 1.0 for a flow, which has none."""
        return getattr(self.model, "dt", 1.0)

    @property
    def bounded(self) -> bool | None:
        """Whether some ball is mapped into itself (saturating units); None where the model does not say."""
        return getattr(self.model, "bounded", None)

    def restore(self, z: Array) -> Any:
        """The state with phase vector z, all else as in the template."""
        return tree.phase(self.state)[1](z)

    def at(self, x: Any = None) -> FixedInput:
        """The map at constant input x: a callable f(z), what :func:`dynlab.fixed_points` takes."""
        return FixedInput(self, check_input(self, x))


@tree.dataclass
class FixedInput:
    """f(z) = g(z, x) at constant x; callable."""

    system: PhaseMap
    x: Any

    def __call__(self, z: Array) -> Array:
        """(n,) -> (n,)."""
        return self.system(z, self.x)

    def displacement(self, z: Array) -> Array:
        """f(z) - z, (n,)."""
        return self.system.displacement(z, self.x)

    @property
    def dt(self) -> float:
        """Physical time per step."""
        return self.system.dt

    @property
    def flow(self) -> bool:
        """True for the equilibria of a flow."""
        return self.system.flow

    @property
    def bounded(self) -> bool | None:
        """As of the phase map."""
        return self.system.bounded


def phase_map(model: Any, params: Any, state: Any = None, *, smooth: bool = True) -> PhaseMap:
    """A model and its parameters as a map of phase space.

    Args:
        model: a Map or a Flow. params: what ``model.init(key)`` returned, or trained ones.
        state: the template for what is no coordinate, and the default start; None takes ``model.init_state(params)``.
        smooth: whether the analysis needs a tangent; False lets a non-smooth model through.

    Raises:
        TypeError: not a model, or one with ``smooth=False`` where a tangent is needed.
        ValueError: NaN or infinity in the parameters, a state of another shape.
    """
    flow = not hasattr(model, "step") and hasattr(model, "vector_field")
    if not (hasattr(model, "step") or flow):
        raise TypeError(f"model must be a Map or a Flow (dynlab.protocol), got {type(model).__name__}; "
                        "make one of a function with dynlab.from_step")
    if smooth and not model.smooth:
        raise TypeError(f"model must be smooth for an analysis with tangents, got {type(model).__name__} with "
                        "smooth=False: use two_trajectory_exponent(phase_map(model, params, smooth=False), inputs)")
    check_finite("params", params)
    if state is None:
        state = model.init_state(params)
    else:
        state = check_state(model, params, state)
        check_finite("state", state)
    return PhaseMap(model, params, state, flow)


def check_input(system: PhaseMap, x: Any) -> Any:
    """One input of the model, as arrays; its shape is compared with ``input_sizes`` and tried on one step."""
    model = system.model
    sizes = getattr(model, "input_sizes", None)
    if x is None and sizes is not None:
        raise ValueError(f"x must be given for a model with input (features {sizes}), got None: "
                         "zeros for a model at rest")
    if isinstance(x, list):  # numbers; a pair of inputs is a tuple
        x = check.array("x", x)
    x = jax.tree.map(lambda leaf: check.array("x", leaf), x)
    got = jax.tree.map(jnp.shape, x)
    if sizes is not None and got != jax.tree.map(lambda size: (size,), sizes):
        want = jax.tree.map(lambda size: (size,), sizes)
        raise ValueError(f"x must be one input of shape {want}, got shape {got}; for several use jax.vmap")
    try:
        jax.eval_shape(system, system.z0, x)
    except (TypeError, ValueError) as error:
        raise ValueError(f"x must be an input that {type(model).__name__} takes, got shape {got}: {error}") from error
    return x


def check_finite(name: str, values: Any) -> None:
    """Require every concrete floating leaf of a pytree to be finite; name the leaf that is not."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(values)[0]:
        if check.is_traced(leaf) or not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            continue
        bad = ~np.isfinite(np.asarray(leaf))
        if bad.any():
            raise ValueError(f"{name}{jax.tree_util.keystr(path)} must be finite, got {int(bad.sum())} NaN or infinite "
                             f"of {bad.size} values")


def check_stepped(name: str, system: Any) -> None:
    """Refuse a flow where an analysis needs steps in time."""
    if getattr(system, "flow", False):
        raise TypeError(f"{name} must be a map in time, got a flow: wrap the model in Euler, ExpEuler or FlowMap")


def as_function(g: Any) -> Any:
    """A callable that may be an argument of a jitted function: a pytree as it is, a plain function wrapped.

    A plain function is compared by identity: define it once, a new lambda at each call compiles again.
    """
    if not callable(g):
        raise TypeError(f"a map must be a function of z or what phase_map returns, got {type(g).__name__}")
    leaves = jax.tree.leaves(g)
    if any(leaf is g for leaf in leaves):
        return jax.tree_util.Partial(g)
    for leaf in leaves:
        if callable(leaf) and not hasattr(leaf, "dtype"):
            raise TypeError(f"a map that is a pytree must hold arrays, got the function {leaf!r} as a leaf: mark it as "
                            "static, or wrap the map in a plain function")
    return g


def advance(g: Any, state: Any, x: Any, key: Array | None = None) -> Any:
    """One step of the whole state: ``g.step`` of a phase map, else g itself (whose state is z)."""
    if isinstance(g, FixedInput):
        return g.system.step(state, g.x, key)
    if isinstance(g, PhaseMap):
        return g.step(state, x, key)
    return g(state) if x is None else g(state, x)


def start_state(g: Any, z0: Any, name: str = "z0") -> Any:
    """The state an orbit starts from: `z0` (n,) checked, or the template of a phase map."""
    if isinstance(g, FixedInput):
        g = g.system
    if z0 is None:
        if not isinstance(g, PhaseMap):
            raise ValueError(f"{name} must be given for a plain function, got None")
        return g.state
    z0 = check.array(name, z0)
    if z0.ndim != 1 or z0.size == 0:
        raise ValueError(f"{name} must have shape (n,), got {z0.shape}; for several starts use jax.vmap")
    if isinstance(g, PhaseMap):
        if z0.shape[0] != g.n:
            raise ValueError(f"{name} must have shape ({g.n},), got {z0.shape}")
        return g.restore(z0)
    return z0


def check_drive(g: Any, inputs: Any) -> tuple[Any, int]:
    """The inputs of an orbit as ``(xs, n_steps)``: a series of what one step takes, or a number of steps without."""
    sizes = getattr(g.model, "input_sizes", None) if isinstance(g, PhaseMap) else None
    if isinstance(inputs, (int, np.integer)):
        if sizes is not None:
            raise ValueError(f"inputs must be a series (time, features) for a model with input (features {sizes}), got "
                             f"{inputs!r}: zeros for a model at rest")
        return None, check.integer("inputs", inputs, 1)
    if isinstance(g, FixedInput):
        raise ValueError("inputs must be the number of steps for a map at constant input, got a series: give it to the "
                         "phase map itself")
    if inputs is None:
        raise ValueError("inputs must be a series (time, features), or the number of steps of a system without input, "
                         "got None")
    if isinstance(g, PhaseMap):
        xs, batched = check_inputs(g.model, inputs)
        if batched:
            raise ValueError("inputs must be one series (time, features); for a batch use jax.vmap")
    else:
        xs = jax.tree.map(lambda leaf: check.array("inputs", leaf), inputs)
    lengths = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(xs)}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"inputs must be series of one positive length, got lengths {sorted(lengths)}")
    return xs, lengths.pop()


def trajectory(g: Any, inputs: Any, *, z0: Any = None, key: Array | None = None) -> Array:
    """The orbit in phase space, (T, n): row t has seen input t.

    Args:
        g: a :class:`PhaseMap` or a function g(z, x), or g(z) where `inputs` is a number of steps.
        inputs: (T, features) or a pytree of series; an integer T for a system without input.
        z0: start (n,); default the template of a phase map.
        key: noise key; step t uses ``fold_in(key, t)``. Without one the run is noiseless, as a phase map is.
    """
    check_stepped("g", g)
    xs, n_steps = check_drive(g, inputs)
    if key is not None:
        check.key("key", key)
    return _trajectory(as_function(g), start_state(g, z0), xs, key, n_steps=n_steps)


@partial(jax.jit, static_argnames="n_steps")
def _trajectory(g: Any, state: Any, xs: Any, key: Array | None, *, n_steps: int) -> Array:
    def body(state: Any, tx: tuple[Array, Any]) -> tuple[Any, Array]:
        t, x = tx
        new = advance(g, state, x, numbered(key, t))
        return new, tree.phase(new)[0]

    with jax.default_matmul_precision("highest"):
        return jax.lax.scan(body, state, (jnp.arange(n_steps, dtype=jnp.int32), xs), length=n_steps)[1]


def jacobian(f: Any, z: Any, *, chunk: int | None = None) -> Array:
    r"""The Jacobian :math:`J_{ij} = \partial f_i / \partial z_j` at one or several points.

    Args:
        f: (n,) -> (m,), for example ``phase_map(model, params).at(x)``; a function of your own should be defined once.
        z: (..., n).
        chunk: how many points at a time (default: what keeps the Jacobians under 64 MiB).

    Returns:
        (..., m, n).
    """
    z = check.array("z", z, finite=False)
    if z.ndim == 0 or z.size == 0:
        raise ValueError(f"z must have shape (..., n), got {z.shape}")
    check_of_state("f", f)
    flat = z.reshape(-1, z.shape[-1])
    out = _jacobians(as_function(f), flat, chunk=chunk_size(chunk, flat))
    return out.reshape(*z.shape[:-1], *out.shape[1:])


def check_of_state(name: str, f: Any) -> None:
    """Refuse a phase map where a function of z alone is meant."""
    if isinstance(f, PhaseMap):
        raise TypeError(f"{name} must be a function of z alone, got a PhaseMap: fix its input with .at(x)")


def chunk_size(chunk: int | None, points: Array) -> int:
    """How many (n, n) matrices of `points` (K, n) to hold at a time, at most K; default 64 MiB of them."""
    count, n = points.shape
    if chunk is None:
        chunk = max(1, 2**26 // (n * n * points.dtype.itemsize))
    return min(check.integer("chunk", chunk, 1), count)


@partial(jax.jit, static_argnames="chunk")
def _jacobians(f: Any, z: Array, *, chunk: int) -> Array:
    with jax.default_matmul_precision("highest"):
        return jax.lax.map(jax.jacfwd(f), z, batch_size=chunk)


def input_jacobian(g: Callable[[Array, Any], Array], z: Any, x: Any) -> Any:
    """The derivative of one step with respect to its input at points z (..., n): (..., n, m) for x (m,).

    For an input that is a pytree of vectors the result is such a pytree.
    """
    if len(inspect.signature(g).parameters) < 2:
        raise ValueError("g must be a function g(z, x) of state and input, got a function of one argument")
    z = check.array("z", z)
    if z.ndim == 0 or z.size == 0:
        raise ValueError(f"z must have shape (..., n), got {z.shape}")
    x = check_input(g, x) if isinstance(g, PhaseMap) else jax.tree.map(lambda leaf: check.array("x", leaf), x)
    return jacobian_in_input(as_function(g), z, x)


@jax.jit
def jacobian_in_input(g: Any, z: Array, x: Any) -> Any:
    """The compiled part of :func:`input_jacobian`."""
    with jax.default_matmul_precision("highest"):
        each = jax.vmap(lambda point: jax.jacfwd(lambda u: g(point, u))(x))(z.reshape(-1, z.shape[-1]))
    return jax.tree.map(lambda leaf: leaf.reshape(*z.shape[:-1], *leaf.shape[1:]), each)
