"""Readouts of spikes: features of a spike train, and softmax regression on soft labels."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import check
from dynlab.readout.classifier import Classifier, _logistic

Array = jax.Array


def _spikes(value: Any) -> Array:
    out = check.array("spikes", value, finite=False)
    if out.ndim < 2 or 0 in out.shape[-2:]:
        raise ValueError(f"spikes must have shape (..., time, units), none empty, got {out.shape}")
    return out


def spike_counts(spikes: Any) -> Array:
    """Number of spikes of each unit: (..., T, N) -> (..., N)."""
    return jnp.sum(_spikes(spikes), axis=-2)


@jax.jit
def _l1_normalise(x: Array, scale: Any) -> Array:
    total = jnp.sum(jnp.abs(x), axis=-1, keepdims=True)
    return jnp.where(total == 0, 0.0, x / jnp.where(total == 0, 1.0, total)) / scale  # not finite stays not finite


def l1_normalise(counts: Any, scale: float | Array = 1.0) -> Array:
    r"""Each sample over the sum of its absolute values: (..., N) -> (..., N).

    .. math:: y_i = \frac{x_i}{s \sum_j |x_j|}

    What differs between samples of unlike total activity is then the pattern. A sample of zeros stays zero. `scale` is
    a constant of the training set, such as its largest share; taken from each batch, a sample's features would depend
    on the other samples.
    """
    x = check.array("counts", counts, finite=False)
    if x.ndim < 1 or x.shape[-1] == 0:
        raise ValueError(f"counts must have shape (..., units), not empty, got {x.shape}")
    check.scalar("scale", scale, 0.0, low_open=True)
    return _l1_normalise(x, scale)


@jax.jit
def _exponential_filter(s: Array, tau: Array, dt: Any) -> Array:
    keep = jnp.exp(-dt / tau)

    def body(trace: Array, step: Array) -> tuple[Array, Array]:
        trace = keep * trace + step
        return trace, trace

    steps = jnp.moveaxis(s, -2, 0)
    return jnp.moveaxis(jax.lax.scan(body, jnp.zeros_like(steps[0]), steps)[1], 0, -2)


def exponential_filter(spikes: Any, tau: float | Array, dt: float | Array = 1.0) -> Array:
    r"""The trace of each unit's spikes, :math:`y(t) = e^{-\Delta t/\tau}\, y(t - \Delta t) + s(t)`.

    The liquid state of Maass, Natschlaeger and Markram (2002, doi:10.1162/089976602760407955), there with 30 ms. Every
    spike adds 1 in its own step; at a steady rate r the trace is near :math:`r \tau`.

    Args:
        spikes: (..., T, N). tau: in the unit of `dt`, a number or (N,).

    Returns:
        (..., T, N).
    """
    s = _spikes(spikes)
    check.number("tau", tau, 0.0, low_open=True)
    check.scalar("dt", dt, 0.0, low_open=True)
    if np.shape(tau) not in ((), s.shape[-1:]):
        raise ValueError(f"tau must be a number or of shape {s.shape[-1:]}, got shape {np.shape(tau)}")
    return _exponential_filter(s, jnp.asarray(tau, s.dtype), dt)


def soft_labels(labels: Any, n_classes: int) -> Array:
    r"""Targets softmax([1, -1, ..., -1]) with the 1 at the label: (...) integers -> (..., n_classes).

    With ten classes 0.4509 for the class and 0.0610 for each other. Their entropy, 1.8949 nats, is the least cross
    entropy that any model can have, a check of the training. Source: Ivanov and Michmizos, NeurIPS 2021,
    arXiv:2111.01760 (their code).
    """
    check.integer("n_classes", n_classes, 2)
    y = labels if check.is_traced(labels) else np.asarray(labels)
    if not jnp.issubdtype(y.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, got dtype {y.dtype}")
    check.number("labels", y, 0, n_classes - 1)
    return jax.nn.softmax(2.0 * jax.nn.one_hot(y, n_classes, dtype=check.default_float()) - 1.0, axis=-1)


def soft_label_readout(
    features: Any, targets: Any, l2: Any = 1e-4, *, max_steps: int = 500, tolerance: float | None = None
) -> Classifier:
    r"""Softmax regression on probabilities instead of labels, by L-BFGS, in one compiled loop.

    .. math:: L = -\frac1m \sum_{s,c} q_{sc} \log p_{sc} + \frac{l_2}{2} \lVert W \rVert^2,
              \qquad p = \mathrm{softmax}(x W + b)

    The loss is convex, so that its minimum does not depend on the optimiser. As in :func:`dynlab.logistic`, W acts on
    features scaled to zero mean and unit standard deviation.

    Args:
        features: (samples, F). targets: (samples, classes), rows of at least 0 with sum 1 (:func:`soft_labels`).
        l2, max_steps, tolerance: as in :func:`dynlab.logistic`.

    Returns:
        :class:`Classifier` with probabilities.

    Raises:
        ValueError, TypeError: shapes, rows that are no probabilities, l2 not positive.
    """
    x, q = check.array("features", features), check.array("targets", targets)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"features must have shape (samples, features), got {x.shape}")
    if q.ndim != 2 or q.shape[0] != x.shape[0] or q.shape[1] < 2:
        raise ValueError(f"targets must have shape ({x.shape[0]}, classes) with at least 2 classes, got {q.shape}")
    check.number("targets", q, 0.0, 1.0)
    if not check.is_traced(q):
        off = np.abs(np.asarray(q, float).sum(axis=1) - 1.0)
        if off.max() > 1e-3:
            raise ValueError(f"targets must have rows of sum 1, got {np.asarray(q)[off.argmax()]}")
    check.scalar("l2", l2, 0.0, low_open=True)
    check.integer("max_steps", max_steps, 1)
    if tolerance is None:
        tolerance = 1e-4 if x.dtype == jnp.float32 else 1e-7
    check.number("tolerance", tolerance, 0.0, low_open=True)
    readout, steps, converged = _logistic(
        x, q, jnp.asarray(l2, x.dtype), jnp.asarray(tolerance, x.dtype), n_classes=q.shape[1], max_steps=max_steps
    )
    return Classifier(readout, steps, converged, probabilistic=True)
