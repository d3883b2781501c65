"""A step function of your own as a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree

Array = jax.Array


class Template:
    """A pytree of constant arrays that compares and hashes by value, so that it can be a static field."""

    def __init__(self, value: Any) -> None:
        leaves, self._treedef = jax.tree.flatten(value)
        host = [np.asarray(leaf) for leaf in leaves]
        self._leaves = tuple((leaf.shape, str(leaf.dtype), leaf.tobytes()) for leaf in host)

    def arrays(self) -> Any:
        """The pytree."""
        made = [jnp.asarray(np.frombuffer(raw, jnp.dtype(dtype)).reshape(shape)) for shape, dtype, raw in self._leaves]
        return jax.tree.unflatten(self._treedef, made)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and (self._treedef, self._leaves) == (other._treedef, other._leaves)

    def __hash__(self) -> int:
        return hash((self._treedef, self._leaves))


@tree.dataclass
class FunctionMap:
    """The model that :func:`from_step` makes.

    Attributes:
        params: what ``init`` returns. function, output, start: the step, the features (None: the state's coordinates)
            and the start state (static). input_sizes: channels of the input, None without input (static).
        dt, smooth: as in :class:`dynlab.protocol.Map` (static). bounded: whether one ball is mapped into itself
            by every input (static).
    """

    params: Any
    function: Callable[..., Any] = tree.static()
    output: Callable[..., Array] | None = tree.static()
    start: Template = tree.static()
    input_sizes: Any = tree.static(default=None)
    dt: float = tree.static(default=1.0)
    smooth: bool = tree.static(default=True)
    bounded: bool | None = tree.static(default=None)

    deterministic = True

    def init(self, key: Array) -> Any:
        """The parameters that were given; nothing is drawn."""
        return self.params

    def init_state(self, params: Any, key: Array | None = None) -> Any:
        """The template state."""
        return self.start.arrays()

    def step(self, params: Any, state: Any, x: Any = None, key: Array | None = None) -> Any:
        """The function; there is no noise: `key` is not used."""
        if self.input_sizes is None and x is not None:
            raise ValueError("inputs must be None for a step made without n_inputs; give from_step its n_inputs")
        return self.function(params, state, x)

    def observe(self, params: Any, state: Any) -> Array:
        """The features: ``output(params, state)``, else the floating coordinates of the state as one vector."""
        return tree.phase(state)[0] if self.output is None else self.output(params, state)


def from_step(
    step: Callable[..., Any], n_state: Any, params: Any = None, *, n_inputs: Any = None, dt: float = 1.0,
    smooth: bool = True, observe: Callable[..., Array] | None = None, bounded: bool | None = None,
) -> tuple[FunctionMap, Any]:
    """Any step function as a model, for :func:`dynlab.simulate` and every analysis.

    Args:
        step: ``step(params, state, x) -> state``, pure and written in jax for one sample; x is None for a system
            without input. Functions compare by identity: define it once, a new lambda at each call compiles again.
        n_state: the number of coordinates (the start is zeros), or the start state as a pytree of arrays.
        params: a pytree of numbers and arrays, or None. What should be swept or trained belongs here.
        n_inputs: channels of the input, an integer (or a tuple of them where x is a tuple); None without input.
        dt: physical time per step.
        smooth: whether the step has a meaningful tangent; False for spikes and other thresholds.
        observe: ``observe(params, state) -> (n_features,)``; default the coordinates of the state.
        bounded: True when some ball of states is mapped into itself by the step for every input, not only for a
            constant one, and whatever the parameters (saturating units): the index sum of its fixed points is then
            known, also in a closed loop (:class:`dynlab.Feedback` takes the field over, and its input is the output).
            False where no ball is. None where you do not know, or know it for one input only.

    Returns:
        ``(model, params)`` with the numbers of `params` as arrays.

    Raises:
        TypeError: arguments of other types, a step that fails or returns other shapes or dtypes than its state.
        ValueError: a size below 1, an empty, complex or non-finite start state.
    """
    if not callable(step):
        raise TypeError(f"step must be a function step(params, state, x) -> state, got {type(step).__name__}")
    if observe is not None and not callable(observe):
        raise TypeError(f"observe must be None or a function observe(params, state), got {type(observe).__name__}")
    for name, function in (("step", step), ("observe", observe)):
        try:
            hash(function)
        except TypeError as error:
            raise TypeError(f"{name} must be hashable (an ordinary function is), got {type(function).__name__}; put "
                            "its arrays into params") from error
    check.scalar("dt", dt, 0.0, low_open=True)
    if not isinstance(smooth, bool):
        raise TypeError(f"smooth must be True or False, got {smooth!r}")
    check.choice("bounded", bounded, (None, True, False))
    state = _start(n_state)
    params = jax.tree_util.tree_map_with_path(_parameter, params)
    if isinstance(n_inputs, (dict, list)):  # no static field
        raise TypeError(f"n_inputs must be None, an integer or a tuple of integers, got {n_inputs!r}")
    n_inputs = jax.tree.map(lambda size: check.integer("n_inputs", size, 1), n_inputs)
    model = FunctionMap(params, step, observe, Template(state), n_inputs, float(dt), smooth, bounded)
    _try(model, params, state)
    return model, params


def _start(n_state: Any) -> Any:
    """The start state as arrays: floating leaves in the default dtype, others as they are."""
    if isinstance(n_state, (int, np.integer)) and not isinstance(n_state, bool):
        return jnp.zeros(check.integer("n_state", n_state, 1), check.default_float())
    if check.is_traced(n_state):
        raise TypeError("n_state must be concrete, got a value that is being traced: call from_step outside jit, vmap")

    def one(path: Any, leaf: Any) -> Array:
        name = "n_state" + jax.tree_util.keystr(path)
        if not isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
            raise TypeError(f"{name} must be a size (an integer) or a state of arrays, got {leaf!r}")
        if jnp.issubdtype(leaf.dtype, jnp.integer) or leaf.dtype == bool:
            return jnp.asarray(leaf)
        return check.array(name, leaf)

    state = jax.tree_util.tree_map_with_path(one, n_state)
    if not jax.tree.leaves(state) or tree.phase(state)[0].size == 0:
        raise ValueError(f"n_state must have at least one coordinate, got {n_state!r}")
    return state


def _parameter(path: Any, leaf: Any) -> Any:
    """A number or an array as an array."""
    if isinstance(leaf, (jax.Array, jax.core.Tracer)):
        return leaf
    kind = np.asarray(leaf).dtype.kind
    if kind not in "fiubc":
        raise TypeError(f"params{jax.tree_util.keystr(path)} must be a number or an array, got {leaf!r}; what is no "
                        "number belongs into the function")
    return jnp.asarray(leaf)


def _try(model: FunctionMap, params: Any, state: Any) -> None:
    """Require, by abstract evaluation, that a step gives what it takes and that the features are a vector."""
    dtype = check.default_float()
    x = jax.tree.map(lambda size: jax.ShapeDtypeStruct((size,), dtype), model.input_sizes)
    try:
        new = jax.eval_shape(model.function, params, state, x)
    except Exception as error:
        raise TypeError(f"step must take (params, state, x) with the state {_shapes(state)} and x {_shapes(x)}: it "
                        f"raised {type(error).__name__}: {error}") from error
    if _shapes(new) != _shapes(state):
        raise TypeError(f"step must return a state like the one it takes, {_shapes(state)}, got {_shapes(new)}")
    if model.output is None:
        return
    try:
        features = jax.eval_shape(model.output, params, state)
    except Exception as error:
        raise TypeError(f"observe must take (params, state): it raised {type(error).__name__}: {error}") from error
    if len(jax.tree.leaves(features)) != 1 or getattr(features, "ndim", 0) != 1:
        raise TypeError(f"observe must return one array of shape (n_features,), got {_shapes(features)}")


def _shapes(value: Any) -> str:
    """Structure, shapes and dtypes of a pytree, as text."""
    described = jax.tree.map(lambda leaf: f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}", value)
    return str(described).replace("'", "")
