"""The liquid as a plain NumPy loop: every step written out, unit by unit state, no shared code."""

from __future__ import annotations

import numpy as np


def run(w, w_in, events, *, delay=None, tau=64.0, threshold=20.0, refractory=2, tau_synapse=1.0, current=100.0):
    """Spikes (T, N + D) of the network of Ivanov and Michmizos: input units are LIF, same step, last spike, Euler, 1 ms.

    w (N, N), w_in (N, D): signed weights. events (T, D). delay: (N, N) whole steps or None.
    """
    n, d = w_in.shape
    v, age, wait = np.zeros(n + d), np.full(n + d, 20.0), np.zeros(n + d, int)
    longest = 0 if delay is None else int(delay.max())
    past = [np.zeros(n) for _ in range(longest + 1)]
    out = []
    for x in events:
        s = (v >= threshold) & (wait == 0)
        v[s] = 0.0
        age[s] = 0.0
        y = np.exp(-age / tau_synapse) / tau_synapse
        past = [y[:n], *past[:longest]]
        leak = v / tau
        if delay is None:
            recurrent = w @ y[:n]
        else:
            recurrent = sum((w * (delay == k)) @ past[k] for k in range(longest + 1))
        v[:n] += recurrent + w_in @ y[n:]
        v[n:] += current * x
        v -= leak
        age = np.minimum(age + 1.0, 100.0)
        wait = np.where(s, refractory, np.maximum(wait - 1, 0))
        out.append(s.astype(float))
    return np.array(out)
