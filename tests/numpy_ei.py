"""The E/I reservoir and the adaptation of its inhibition as plain NumPy loops in float64."""

from __future__ import annotations

import numpy as np


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def drive(params, inhibition, r, u):
    n_plus = params.excitation.shape[1]
    inputs = np.asarray(params.input_weights, float) * float(params.input_scaling)
    return np.asarray(params.excitation, float) @ r[:n_plus] - inhibition @ r[n_plus:] + inputs @ u


def effective(params):
    return (1.0 - float(params.balance)) * np.asarray(params.inhibition, float)


def run(params, us):
    gain, threshold = np.asarray(params.gain, float), np.asarray(params.threshold, float)
    r = np.broadcast_to(sigmoid(-gain * threshold), len(params.excitation))
    out = []
    for u in us:
        r = sigmoid(gain * (drive(params, effective(params), r, u) - threshold))
        out.append(r)
    return np.stack(out)


def adapt(params, us, targets, rates, cap):
    """Unit by unit, connection by connection; cap as a factor of the mean total excitation."""
    gain, threshold = float(params.gain), float(params.threshold)
    inhibition = effective(params).copy()
    connections = [(i, j) for i, j in np.ndindex(inhibition.shape) if inhibition[i, j] > 0]
    limit = cap * np.asarray(params.excitation, float).sum(1).mean()
    r = np.full(len(inhibition), sigmoid(-gain * threshold))
    out = []
    for u, rate in zip(us, rates, strict=True):
        r = sigmoid(gain * (drive(params, inhibition, r, u) - threshold))
        out.append(r)
        for i, j in connections:
            inhibition[i, j] = max(inhibition[i, j] + rate * (r[i] - targets[i]), 0.0)
        for i, total in enumerate(inhibition.sum(1)):
            if total > limit:
                inhibition[i] *= limit / total
    return inhibition, np.stack(out)
