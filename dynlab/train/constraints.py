"""What may move in training, and within which bounds: a table of constraints beside the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree

Array = jax.Array


@tree.dataclass
class Free:
    """The parameter itself is trained."""

    def inverse(self, value: Array) -> Array:
        """Natural value -> trained value."""
        return value

    def forward(self, free: Array) -> Array:
        """Trained value -> natural value."""
        return free

    def project(self, free: Array) -> Array:
        """Trained value after an update -> the allowed one nearest to it; most constraints need none."""
        return free

    def check(self, name: str, value: Any) -> None:
        """Every value will do."""


@tree.dataclass
class Fixed(Free):
    """The parameter keeps its value."""


@tree.dataclass
class Projected(Free):
    """Values between two bounds, both allowed: cut back to them after each update, which leaves the gradient alone."""

    low: Any = 0.0
    high: Any = 1.0

    def project(self, free: Array) -> Array:
        """The value, cut to the bounds."""
        return jnp.clip(free, self.low, self.high)

    def check(self, name: str, value: Any) -> None:
        """Require values between the bounds."""
        check.number(name, value, float(self.low), float(self.high))


@tree.dataclass
class Positive(Free):
    r"""Values above a bound, :math:`x = \mathrm{low} + \ln(1 + e^z)` (softplus)."""

    low: Any = 0.0

    def inverse(self, value: Array) -> Array:
        """z = x - low + ln(1 - e^-(x - low))."""
        return value - self.low + jnp.log(-jnp.expm1(-(value - self.low)))

    def forward(self, free: Array) -> Array:
        """x = low + softplus(z)."""
        return self.low + jax.nn.softplus(free)

    def check(self, name: str, value: Any) -> None:
        """Require values above the bound."""
        check.number(name, value, float(self.low), low_open=True)


@tree.dataclass
class Interval(Free):
    r"""Values between two bounds, :math:`x = \mathrm{low} + (\mathrm{high} - \mathrm{low})\, \sigma(z)`."""

    low: Any = 0.0
    high: Any = 1.0

    def inverse(self, value: Array) -> Array:
        """z = logit of the share of the interval."""
        share = (value - self.low) / (self.high - self.low)
        return jnp.log(share) - jnp.log1p(-share)

    def forward(self, free: Array) -> Array:
        """x = low + (high - low) sigmoid(z)."""
        return self.low + (self.high - self.low) * jax.nn.sigmoid(free)

    def check(self, name: str, value: Any) -> None:
        """Require values strictly between the bounds."""
        check.number(name, value, float(self.low), float(self.high), low_open=True, high_open=True)


@tree.dataclass
class Masked(Free):
    """Entries where the mask is 0 stay 0 (a zero diagonal, a sparse network)."""

    mask: Any

    def forward(self, free: Array) -> Array:
        """x = mask z."""
        return jnp.asarray(self.mask, free.dtype) * free

    def check(self, name: str, value: Any) -> None:
        """Require the value to be 0 where the mask is."""
        if np.shape(self.mask) != np.shape(value):
            raise ValueError(f"mask of {name} must have shape {np.shape(value)}, got {np.shape(self.mask)}")
        if not check.is_traced(value, self.mask) and np.any(np.asarray(value)[np.asarray(self.mask) == 0] != 0):
            raise ValueError(f"{name} must be 0 where its mask is 0")


@tree.dataclass
class Signed(Free):
    """Entries keep a sign, or 0: x = sign |z|. A zero that is crossed is a reflection."""

    signs: Any

    def inverse(self, value: Array) -> Array:
        """z = |x|."""
        return jnp.abs(value)

    def forward(self, free: Array) -> Array:
        """x = sign |z|."""
        return jnp.asarray(self.signs, free.dtype) * jnp.abs(free)

    def check(self, name: str, value: Any) -> None:
        """Require the value to have the signs."""
        if np.shape(self.signs) != np.shape(value):
            raise ValueError(f"signs of {name} must have shape {np.shape(value)}, got {np.shape(self.signs)}")
        if not check.is_traced(value, self.signs) and np.any(np.asarray(value) * np.asarray(self.signs) < 0):
            raise ValueError(f"{name} must have the given signs")


Constraint = Free  # or one of the classes derived from it

free, fixed = Free(), Fixed()


def positive(low: Any = 0.0) -> Positive:
    """Above `low`, for example a time constant above one step."""
    return Positive(low)


def interval(low: Any = 0.0, high: Any = 1.0) -> Interval:
    """Between two bounds, for example a leak rate in (0, 1)."""
    if not check.is_traced(low, high) and not np.all(np.asarray(low) < np.asarray(high)):
        raise ValueError(f"low must be smaller than high, got low={low} and high={high}")
    return Interval(low, high)


def projected(low: Any = 0.0, high: Any = 1.0) -> Projected:
    """Between two bounds with both allowed, for example a decay that starts at 0."""
    if not check.is_traced(low, high) and not np.all(np.asarray(low) <= np.asarray(high)):
        raise ValueError(f"low must not be larger than high, got low={low} and high={high}")
    return Projected(low, high)


def masked(mask: Any) -> Masked:
    """Zero where `mask` is 0."""
    return Masked(jnp.asarray(mask))


def signed(value: Any) -> Signed:
    """With the signs of `value`, for example of weights drawn under Dale's law."""
    return Signed(jnp.sign(jnp.asarray(value)))


@tree.dataclass
class Trainable:
    """Parameters with some held fixed and some bound; made by :func:`trainable`.

    Attributes:
        rest: the leaves that are not trained. constraints: one for each trained leaf.
        treedef, names, trained: of the parameters (static).
    """

    rest: list[Any]
    constraints: list[Any]
    treedef: Any = tree.static()
    names: tuple[str, ...] = tree.static()
    trained: tuple[bool, ...] = tree.static()

    def build(self, free: Mapping[str, Array]) -> Any:
        """The parameters in natural units from the trained values, a dictionary by name."""
        rest, constraints = iter(self.rest), iter(self.constraints)
        leaves = [next(constraints).forward(free[name]) if trained else next(rest)
                  for name, trained in zip(self.names, self.trained, strict=True)]
        return jax.tree.unflatten(self.treedef, leaves)

    def project(self, free: Mapping[str, Array]) -> dict[str, Array]:
        """The trained values after an update, those with bounds of their own cut back to them."""
        names = [name for name, trained in zip(self.names, self.trained, strict=True) if trained]
        return {name: rule.project(free[name]) for name, rule in zip(names, self.constraints, strict=True)}


def name_of(path: Any) -> str:
    """A leaf's path as one writes it: fields and indices joined by dots."""
    return ".".join(str(getattr(step, "name", getattr(step, "key", getattr(step, "idx", step)))) for step in path)


def trainable(params: Any, constraints: Mapping[str, Constraint] | None = None) -> tuple[dict[str, Array], Trainable]:
    """Cut parameters into what an optimiser moves and what stays.

    Args:
        params: any pytree.
        constraints: by name of a leaf or of a part that holds several ("weight_hh", "rnn.tau", "rnn"); the longest name
            wins. Leaves without one are free; leaves that are not floating are fixed.

    Returns:
        ``(free, rule)``: a dictionary of trained arrays by name, and the :class:`Trainable` whose ``build(free)`` gives
        the parameters.

    Raises:
        ValueError: a name that is no part of the parameters, nothing left to train, or a value outside its bounds.
    """
    constraints = dict(constraints or {})
    paths, treedef = jax.tree.flatten_with_path(params)
    names = tuple(name_of(path) for path, _ in paths)
    unknown = [k for k in constraints if not any(n == k or n.startswith(k + ".") for n in names)]
    if unknown:
        have = ", ".join(names)
        raise ValueError(f"constraints must name parts of the parameters ({have}), got {', '.join(unknown)}")
    values, rest, rules, trained = {}, [], [], []
    for name, (_, leaf) in zip(names, paths, strict=True):
        fitting = [k for k in constraints if name == k or name.startswith(k + ".")]
        rule = constraints[max(fitting, key=len)] if fitting else free
        moves = not isinstance(rule, Fixed) and jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        trained.append(bool(moves))
        if not moves:
            rest.append(leaf)
            continue
        rule.check(name, leaf)
        values[name] = rule.inverse(jnp.asarray(leaf))
        rules.append(rule)
    if not values:
        raise ValueError(f"constraints must leave something to train, got all of {', '.join(names)} fixed")
    return values, Trainable(rest, rules, treedef, names, tuple(trained))
