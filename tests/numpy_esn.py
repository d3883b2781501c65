"""An independent echo state network: a NumPy loop in float64, written from the equation alone."""

from __future__ import annotations

import numpy as np

FUNCTIONS = {
    "tanh": np.tanh,
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "softplus": lambda x: np.logaddexp(x, 0.0),
}


def run(params, u, *, activation="tanh", y=None, start=None):
    """States (time, N) of x+ = (1 - a) x + a f(rho W x + W_in (s u) + b [+ c W_fb y]) for the arrays of ESNParams."""

    def arr(value):
        return np.asarray(value, dtype=np.float64)

    w = arr(params.spectral_radius) * arr(params.recurrent.dense())
    a, s = arr(params.leak_rate), arr(params.input_scaling)
    x = np.zeros(w.shape[0]) if start is None else arr(start)
    states = []
    for t in range(len(u)):
        drive = w @ x + arr(params.input_weights) @ (s * arr(u[t])) + arr(params.bias)
        if y is not None:
            drive = drive + arr(params.feedback_weights) @ (arr(params.feedback_scaling) * arr(y[t]))
        x = (1 - a) * x + a * FUNCTIONS[activation](drive)
        states.append(x)
    return np.array(states)
