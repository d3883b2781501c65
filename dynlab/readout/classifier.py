"""Classifier readouts: ridge on one-hot targets, and logistic (softmax) regression; pooling over time for sequences."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check, tree
from dynlab.readout.linear import Linear
from dynlab.readout.ridge import ridge as fit_ridge

Array = jax.Array

POOLING = ("mean", "last", "sum", "max")


@tree.dataclass
class Classifier:
    """A linear classifier: the class of the largest score.

    Attributes:
        readout: :class:`Linear` with one output a class.
        steps: optimiser steps taken (0 for ridge). converged: the gradient fell below the tolerance.
        probabilistic: the softmax of the scores is a probability (logistic).
    """

    readout: Any
    steps: Any
    converged: Any
    probabilistic: bool = tree.static(default=False)

    def scores(self, features: Array) -> Array:
        """(..., F) -> (..., classes)."""
        return self.readout(features)

    def predict(self, features: Array) -> Array:
        """(..., F) -> (...) int32 labels."""
        return jnp.argmax(self.scores(features), axis=-1).astype(jnp.int32)

    def probabilities(self, features: Array) -> Array:
        """(..., F) -> (..., classes); logistic only."""
        if not self.probabilistic:
            raise TypeError("a ridge classifier has no probabilities: use scores(), or fit by logistic()")
        return jax.nn.softmax(self.scores(features), axis=-1)

    def score(self, features: Array, labels: Array) -> Array:
        """Accuracy: the fraction of samples predicted right."""
        predicted, labels = self.predict(features), jnp.asarray(labels)
        if predicted.shape != labels.shape:
            raise ValueError(f"labels must have shape {predicted.shape}, got {labels.shape}")
        return jnp.mean(predicted == labels)


def pool(features: Any, lengths: Any = None, how: str = "mean") -> Array:
    """One vector a sequence: (batch, time, F), or (time, F), -> (batch, F), or (F,).

    Args:
        lengths: (batch,) integers in [1, time]: the valid first steps of each padded sequence; None: all.
        how: "mean", "sum", "max" or "last" over the valid steps.
    """
    check.choice("how", how, POOLING)
    x = check.series("features", features, finite=False)  # what pads a sequence may be anything
    n_steps = x.shape[-2]
    if lengths is None:
        lengths = jnp.full(x.shape[:-2], n_steps, jnp.int32)
    else:
        if not check.is_traced(lengths):
            lengths = np.asarray(lengths)
        if not jnp.issubdtype(lengths.dtype, jnp.integer):
            raise TypeError(f"lengths must be integers, got dtype {lengths.dtype}")
        if lengths.shape != x.shape[:-2]:
            raise ValueError(f"lengths must have shape {x.shape[:-2]}, got {lengths.shape}")
        check.number("lengths", lengths, 1, n_steps)
        lengths = jnp.asarray(lengths, jnp.int32)
    if how == "last":
        return jnp.take_along_axis(x, (lengths - 1)[..., None, None], axis=-2)[..., 0, :]
    valid = (jnp.arange(n_steps) < lengths[..., None])[..., None]
    if how == "max":
        return jnp.max(jnp.where(valid, x, -jnp.inf), axis=-2)
    total = jnp.where(valid, x, 0.0).sum(axis=-2)
    return total if how == "sum" else total / lengths[..., None]


def _samples(features: Any, labels: Any, n_classes: int | None) -> tuple[Array, Array, int]:
    """Validated (samples, F), labels (samples,) int32, number of classes."""
    x = check.array("features", features)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"features must have shape (samples, features), got {x.shape}: pool sequences first")
    if n_classes is not None:
        check.integer("n_classes", n_classes, 2)
    if check.is_traced(labels):
        if n_classes is None:
            raise ValueError("n_classes must be given when labels are traced, got None")
        y = labels
    else:
        y = np.asarray(labels)
    if not jnp.issubdtype(y.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, got dtype {y.dtype}")
    if y.shape != x.shape[:1]:
        raise ValueError(f"labels must have shape {x.shape[:1]}, got {y.shape}")
    if isinstance(y, np.ndarray):
        low, high = int(y.min()), int(y.max())
        if low < 0 or (n_classes is not None and high >= n_classes):
            raise ValueError(f"labels must be in [0, {(n_classes or high + 1) - 1}], got values from {low} to {high}")
        if len(np.unique(y)) < 2:
            raise ValueError(f"labels must hold at least two classes, got only {low}")
        n_classes = high + 1 if n_classes is None else n_classes
    assert n_classes is not None
    return x, jnp.asarray(y, jnp.int32), n_classes


def ridge_classifier(features: Any, labels: Any, ridge: Any = 1e-2, *, n_classes: int | None = None) -> Classifier:
    """Ridge regression on one-hot targets (0 and 1), intercept unpenalised; the class of the largest output wins.

    Args:
        features: (samples, F): pool sequences first (:func:`pool`).
        labels: (samples,) integers 0 .. n_classes - 1, at least two different ones.
        ridge: at least 0, a number; added to X'X as it is.
        n_classes: None: largest label + 1.
    """
    x, y, n_classes = _samples(features, labels, n_classes)
    ridge = ridge if check.is_traced(ridge) else np.asarray(ridge)
    if ridge.ndim != 0:
        raise ValueError(f"ridge must be one number, got shape {ridge.shape}")
    readout = fit_ridge(x, jax.nn.one_hot(y, n_classes, dtype=x.dtype), ridge)
    return Classifier(readout, jnp.zeros((), jnp.int32), jnp.ones((), bool))


@partial(jax.jit, static_argnames=("n_classes", "max_steps"))
def _logistic(
    x: Array, y: Array, l2: Array, tolerance: Array, *, n_classes: int, max_steps: int
) -> tuple[Linear, Array, Array]:
    """`y`: labels (samples,), or probabilities (samples, classes)."""
    import optax

    entropy = optax.softmax_cross_entropy_with_integer_labels if y.ndim == 1 else optax.softmax_cross_entropy
    mean, scale = x.mean(0), x.std(0)
    scale = jnp.where(scale > 0, scale, 1.0)
    z = (x - mean) / scale

    def loss(params: tuple[Array, Array]) -> Array:
        w, b = params
        logits = jnp.matmul(z, w, precision="highest") + b
        return entropy(logits, y).mean() + 0.5 * l2 * jnp.sum(w**2)

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)
    start = (jnp.zeros((x.shape[1], n_classes), x.dtype), jnp.zeros(n_classes, x.dtype))

    def size(grad: Any) -> Array:
        return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in grad]))

    def go_on(carry: Any) -> Array:
        _, _, steps, largest = carry
        return (steps < max_steps) & (largest > tolerance)

    def body(carry: Any) -> Any:
        params, state, steps, _ = carry
        value, grad = value_and_grad(params, state=state)
        updates, state = solver.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        params = optax.apply_updates(params, updates)
        return params, state, steps + 1, size(optax.tree.get(state, "grad"))

    first = (start, solver.init(start), jnp.zeros((), jnp.int32), size(jax.grad(loss)(start)))
    (w, b), _, steps, largest = jax.lax.while_loop(go_on, body, first)
    w = w / scale[:, None]
    return Linear(w, b - jnp.matmul(mean, w, precision="highest")), steps, largest <= tolerance


def logistic(
    features: Any, labels: Any, l2: Any = 1e-4, *, n_classes: int | None = None, max_steps: int = 500,
    tolerance: float | None = None,
) -> Classifier:
    """Multinomial logistic regression by L-BFGS, in one compiled loop.

    Minimises mean cross-entropy + l2/2 sum W^2, where W acts on features scaled to zero mean and unit standard
    deviation (so that l2 means the same for every feature); the result is given back in the features' own units.

    Args:
        features, labels, n_classes: as in :func:`ridge_classifier`.
        l2: above 0 (without it, classes that can be separated have no finite solution).
        max_steps: most L-BFGS steps.
        tolerance: largest gradient element at which to stop; None: 1e-4 in float32, 1e-7 in float64.

    Returns:
        :class:`Classifier`; ``converged`` says whether the tolerance was met.
    """
    x, y, n_classes = _samples(features, labels, n_classes)
    check.scalar("l2", l2, 0.0, low_open=True)
    check.integer("max_steps", max_steps, 1)
    if tolerance is None:
        tolerance = 1e-4 if x.dtype == jnp.float32 else 1e-7
    check.number("tolerance", tolerance, 0.0, low_open=True)
    readout, steps, converged = _logistic(
        x, y, jnp.asarray(l2, x.dtype), jnp.asarray(tolerance, x.dtype), n_classes=n_classes, max_steps=max_steps
    )
    return Classifier(readout, steps, converged, probabilistic=True)
