"""An independent leaky rate network: NumPy in float64, the gradient by hand, one update as PyTorch defines it.

Everything is written from the equations alone. Parameters are a dictionary: weight_ih (N, D), weight_hh (N, N),
bias_ih, bias_hh, tau (N,), weights (N, 2 K) and intercept (2 K,) of K heads with two classes each.
"""

from __future__ import annotations

import numpy as np

SLOPE = 0.01
FUNCTIONS = {
    "tanh": (np.tanh, lambda z: 1.0 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, SLOPE * z), lambda z: np.where(z > 0, 1.0, SLOPE)),
    "sigmoid": (lambda z: 1.0 / (1.0 + np.exp(-z)), lambda z: np.exp(-z) / (1.0 + np.exp(-z)) ** 2),
}


def run(p, start, inputs, *, activation, placement, dt=1.0):
    """States (T + 1, B, N), the start first, and drives (T, B, N), for inputs (B, T, D) and start (B, N)."""
    f, _ = FUNCTIONS[activation]
    a = dt / np.maximum(p["tau"], dt)
    states, drives = [np.asarray(start, np.float64)], []
    for t in range(inputs.shape[1]):
        h = states[-1]
        u = h @ p["weight_hh"].T + p["bias_hh"] + inputs[:, t] @ p["weight_ih"].T + p["bias_ih"]
        states.append((1 - a) * h + a * f(u) if placement == "inside" else f((1 - a) * h + a * u))
        drives.append(u)
    return np.array(states), np.array(drives)


def cross_entropy(logits, labels, active):
    """Sum over the active heads of the mean over the batch, and its gradient; logits (B, 2 K), labels (B, K)."""
    size, loss, gradient = len(logits), 0.0, np.zeros_like(logits)
    for k in active:
        z = logits[:, 2 * k : 2 * k + 2]
        share = np.exp(z - z.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        right = np.eye(2)[labels[:, k]]
        loss -= np.log(np.sum(share * right, axis=1)).mean()
        gradient[:, 2 * k : 2 * k + 2] = (share - right) / size
    return loss, gradient


def loss_and_gradient(p, start, inputs, labels, active, *, activation, placement, dt=1.0):
    """The loss of the heads after the last input, and its gradient by backpropagation through time."""
    f, slope = FUNCTIONS[activation]
    states, drives = run(p, start, inputs, activation=activation, placement=placement, dt=dt)
    loss, d_logits = cross_entropy(states[-1] @ p["weights"] + p["intercept"], labels, active)
    g = {name: np.zeros_like(value) for name, value in p.items()}
    g["weights"], g["intercept"] = states[-1].T @ d_logits, d_logits.sum(0)
    a, d_a, d_h = dt / np.maximum(p["tau"], dt), np.zeros_like(p["tau"]), d_logits @ p["weights"].T
    for t in reversed(range(len(drives))):
        h, u = states[t], drives[t]
        if placement == "inside":
            d_u, d_a, d_h = a * slope(u) * d_h, d_a + np.sum(d_h * (f(u) - h), axis=0), (1 - a) * d_h
        else:
            d_z = slope((1 - a) * h + a * u) * d_h
            d_u, d_a, d_h = a * d_z, d_a + np.sum(d_z * (u - h), axis=0), (1 - a) * d_z
        d_h = d_h + d_u @ p["weight_hh"]
        g["weight_hh"] += d_u.T @ h
        g["weight_ih"] += d_u.T @ inputs[:, t]
        g["bias_hh"] += d_u.sum(0)
    g["bias_ih"] = g["bias_hh"].copy()
    g["tau"] = np.where(p["tau"] >= dt, -dt / p["tau"] ** 2, 0.0) * d_a
    return loss, g


def clip(g, largest, epsilon=1e-6):
    """Gradients with a common factor such that their norm is at most `largest`; PyTorch's epsilon."""
    norm = np.sqrt(sum(np.sum(value**2) for value in g.values()))
    return {name: value * min(1.0, largest / (norm + epsilon)) for name, value in g.items()}


def nesterov(p, g, trace, rate=0.05, momentum=0.1):
    """``(new parameters, new trace)``; the trace is None before the first step."""
    trace = {name: g[name] + (momentum * trace[name] if trace else 0.0) for name in g}
    return {name: p[name] - rate * (g[name] + momentum * trace[name]) for name in p}, trace
