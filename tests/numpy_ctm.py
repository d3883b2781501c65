"""A thought machine as a plain NumPy loop in float64, written from the paper's equations; synchronization as a sum."""

from __future__ import annotations

import numpy as np


def host(leaf):
    return np.asarray(leaf, np.float64)


def affine(p, x):
    return x @ host(p.weight).T + host(p.bias)


def norm(p, x):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5) * host(p.scale) + host(p.bias)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def glu(x):
    half = x.shape[-1] // 2
    return x[..., :half] * sigmoid(x[..., half:])


def block(p, x):
    x = norm(p.norm, affine(p.affine, x))
    return x * sigmoid(x)


def synapse(p, x):
    if hasattr(p, "gates"):
        for gate in p.gates:
            x = norm(gate.norm, glu(affine(gate.affine, x)))
        return x
    down = [block(p.entry, x)]
    for one in p.down:
        down.append(block(one, down[-1]))
    up = down[-1]
    for level in range(len(p.up) - 1, -1, -1):
        up = norm(p.skip[level], block(p.up[level], up) + down[level])
    return up


def private(p, history):
    z = np.zeros(len(history))
    for d, own in enumerate(history):
        for layer in (p.first, p.second):
            if layer is not None:
                own = glu((own @ host(layer.weight)[d] + host(layer.bias)[d]) / float(layer.scale))
        z[d] = own[0]
    return z


def pairs(p):
    left, right = np.asarray(p.left), np.asarray(p.right)
    if not p.crossed:
        return list(zip(left, right, strict=True))
    return [(left[i], right[j]) for i in range(len(left)) for j in range(i, len(right))]


def synchronization(trace, p, decay):
    """S of the last row of a trace (ticks, D)."""
    ages = np.arange(len(trace))[::-1]
    out = []
    for (i, j), r in zip(pairs(p), host(decay), strict=True):
        weight = np.exp(-r * ages)
        out.append(np.sum(weight * trace[:, i] * trace[:, j]) / np.sqrt(np.sum(weight)))
    return np.array(out)


def attend(p, query, tokens):
    """One query (d,) over tokens (N, d), head by head."""
    weight, bias = np.split(host(p.inner.weight), 3), np.split(host(p.inner.bias), 3)
    q, k, v = weight[0] @ query + bias[0], tokens @ weight[1].T + bias[1], tokens @ weight[2].T + bias[2]
    size = len(q) // p.n_heads
    mixed, weights = [], []
    for h in range(p.n_heads):
        part = slice(h * size, (h + 1) * size)
        score = np.exp(k[:, part] @ q[part] / np.sqrt(size))
        weights.append(score / score.sum())
        mixed.append(weights[-1] @ v[:, part])
    return affine(p.outer, np.concatenate(mixed)), np.array(weights)


def features(params, tokens):
    """What attention reads, (N, d); tokens are symbols in a row with the rotation code."""
    n = len(tokens)
    angle = np.deg2rad(np.linspace(0, 180, n))
    code = affine(params.reader.positions.project, np.stack([-np.sin(angle), np.cos(angle)], 1))
    return norm(params.reader.norm, affine(params.reader.project, host(params.reader.embedding)[tokens] + code))


def run(model, params, tokens, ticks):
    """Output synchronization, logits and attention weights of every tick."""
    history, start = host(params.start_history), host(params.start_active)
    trace = list(start.T) if model.window else [start]
    kv = features(params, tokens) if model.n_heads else None
    outs, logits, attention = [], [], []
    for _ in range(ticks):
        found = tokens
        if model.n_heads:
            action = synchronization(np.array(trace), params.action, params.decay_action)
            found, weights = attend(params.reader.attention, affine(params.reader.query, action), kv)
            attention.append(weights)
        pre = synapse(params.synapse, np.concatenate([found, trace[-1]]))
        history = np.concatenate([history[:, 1:], pre[:, None]], axis=1)
        trace.append(private(params.neurons, history))
        seen = trace[-model.n_history:] if model.window else trace
        outs.append(synchronization(np.array(seen), params.out, params.decay_out))
        logits.append(affine(params.head, outs[-1]).reshape(model.n_outputs))
    return np.array(outs), np.array(logits), np.array(attention)
