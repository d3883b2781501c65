"""The liquid as a plain NumPy loop: every step written out, unit by unit state, no shared code."""

from __future__ import annotations

import numpy as np


def run(w, w_in, events, *, delay=None, tau=64.0, threshold=20.0, refractory=2, tau_synapse=1.0, current=100.0):
    """Spikes (T, N + D) of the network of Ivanov and Michmizos: LIF input units, same step, last spike, Euler, 1 ms.

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


def run_plastic(w, w_in, events, *, gain, fade=1.0, a_plus=0.15, start=0.15, bound=3.0, tau_trace=10.0, tau_slow=100.0,
                calcium=None):
    """The same network with STDP on all synapses and a slow modulator of depression (None: fixed), one by one.

    `calcium`: None, or (threshold, width, tau) of the gate on the sign of every change, by the target's calcium.
    Returns spikes (T, N + D), the last weights w and w_in, and the last depression.
    """
    w, w_in = w.copy(), w_in.copy()
    there, there_in, inhibits = w != 0, w_in != 0, w < 0
    n, d = w_in.shape
    v, age, wait = np.zeros(n + d), np.full(n + d, 20.0), np.zeros(n + d, int)
    trace, a_minus, bias, out, level = np.zeros(n + d), start, start, [], np.zeros(n)
    for x in events:
        s = (v >= 20.0) & (wait == 0)
        v[s], age[s] = 0.0, 0.0
        y = np.exp(-age)
        leak = v / 64.0
        v[:n] += w @ y[:n] + w_in @ y[n:]
        v[n:] += 100.0 * x
        v -= leak
        age, wait = np.minimum(age + 1.0, 100.0), np.where(s, 2, np.maximum(wait - 1, 0))
        s = s.astype(float)
        for weights, mask, first in ((w, there, 0), (w_in, there_in, n)):
            for i, j in zip(*np.nonzero(mask), strict=True):
                pre, post = first + j, i
                a_up, a_down = a_plus, a_minus
                if calcium is not None:
                    theta, width, _ = calcium
                    a_up *= theta < level[i] < theta + width
                    a_down *= theta - width < level[i] < theta
                if first == 0 and inhibits[i, j]:
                    change = -a_down * trace[pre] * s[post] + a_up * trace[post] * s[pre]
                    weights[i, j] = min(max(weights[i, j] + change, -bound), 0.0)
                else:
                    change = a_up * trace[pre] * s[post] - a_down * trace[post] * s[pre]
                    low = -bound if first else 0.0
                    weights[i, j] = min(max(weights[i, j] + change, low), bound)
        trace = np.exp(-1.0 / tau_trace) * (0.1 * s + trace)
        if calcium is not None:
            level += s[:n] - level / calcium[2]
        if gain is not None:
            a_minus += (gain * (s[:n].sum() - s[n:].sum()) + bias - a_minus) / tau_slow
            gain, bias = fade * gain, fade * bias
        a_plus, a_minus = fade * a_plus, fade * a_minus
        out.append(s)
    return np.array(out), w, w_in, a_minus
