"""The network of :mod:`experiments.bench.lsm` in Brian2 and in snnTorch; runs in an environment of its own.

    python _lsm_peers.py NAME INPUT.npz OUTPUT.npz

NAME is "brian2 TARGET COPIES" with TARGET numpy, cython or standalone, or "snntorch DTYPE". INPUT.npz holds what the
bench wrote; OUTPUT.npz gets the seconds of the run and the spikes of the first sample.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

import numpy as np


def with_brian2(data: Any, target: str, copies: int) -> tuple[float, np.ndarray]:
    """Seconds for `copies` disjoint copies of the network in one group, and spikes (T, N) of the first."""
    import brian2 as b2

    ms = b2.ms
    if target == "standalone":
        b2.set_device("cpp_standalone", build_on_run=False)
        b2.prefs.devices.cpp_standalone.openmp_threads = int(data["threads"])
    else:
        b2.prefs.codegen.target = target
    b2.defaultclock.dt = float(data["dt"]) * ms
    n, d, steps = int(data["n"]), int(data["d"]), data["events"].shape[1]
    group = b2.NeuronGroup(
        n * copies, """dv/dt = -v / tau + current : 1 (unless refractory)
        dcurrent/dt = -current / tau_synapse : Hz""",
        threshold="v >= limit", reset="v = 0", refractory=float(data["refractory"]) * ms, method="exponential_euler",
        namespace={"tau": float(data["tau"]) * ms, "tau_synapse": float(data["tau_synapse"]) * ms,
                   "limit": float(data["threshold"])})
    sample, step, channel = np.nonzero(data["events"][:copies])
    source = b2.SpikeGeneratorGroup(d * copies, channel + sample * d, step * float(data["dt"]) * ms)
    kept = [group, source]
    for name, pre_group, size in (("recurrent", group, n), ("inputs", source, d)):
        weights = data[name]
        post, pre = np.nonzero(weights)
        synapses = b2.Synapses(pre_group, group, "w : Hz", on_pre="current_post += w")
        copy = np.repeat(np.arange(copies), len(pre))
        synapses.connect(i=np.tile(pre, copies) + copy * size, j=np.tile(post, copies) + copy * n)
        synapses.w = np.tile(weights[post, pre], copies) / float(data["tau_synapse"]) / ms
        kept.append(synapses)
    monitor = b2.SpikeMonitor(group)
    network = b2.Network(*kept, monitor)
    if target == "standalone":
        with tempfile.TemporaryDirectory() as folder:
            network.run(steps * b2.defaultclock.dt)
            b2.device.build(directory=folder, compile=True, run=True)
            unit, time_ms = np.asarray(monitor.i), np.asarray(monitor.t / ms)
        seconds = b2.device._last_run_time
    else:
        network.run(b2.defaultclock.dt)  # compiles
        begin = time.perf_counter()
        network.run((steps - 1) * b2.defaultclock.dt)
        seconds = (time.perf_counter() - begin) * steps / (steps - 1)
        unit, time_ms = np.asarray(monitor.i), np.asarray(monitor.t / ms)
    spikes = np.zeros((steps, n))
    at = np.rint(time_ms / float(data["dt"])).astype(int)
    spikes[at[unit < n], unit[unit < n]] = 1.0
    return seconds, spikes


def with_snntorch(data: Any, dtype: str) -> tuple[float, np.ndarray]:
    """Seconds for the whole batch, and spikes (T, N) of its first sample."""
    import snntorch
    import torch

    torch.set_num_threads(int(data["threads"]))
    kind, n = getattr(torch, dtype), int(data["n"])
    held = float(data["tau"]) * -np.expm1(-float(data["dt"]) / float(data["tau"]))  # what is left of a held current
    layer = snntorch.RSynaptic(
        alpha=np.exp(-float(data["dt"]) / float(data["tau_synapse"])),
        beta=np.exp(-float(data["dt"]) / float(data["tau"])), threshold=float(data["threshold"]), linear_features=n,
        reset_mechanism="zero").to(kind)
    scale = held / float(data["tau_synapse"])
    outer = torch.as_tensor(data["inputs"] * scale, dtype=kind).T.contiguous()
    events = torch.as_tensor(data["events"], dtype=kind).transpose(0, 1).contiguous()

    def run() -> Any:
        spikes, current, v = (torch.zeros(events.shape[1], n, dtype=kind) for _ in range(3))
        out = []
        for x in events:
            spikes, current, v = layer(x @ outer, spikes, current, v)
            out.append(spikes)
        return torch.stack(out, dim=1)

    if kind != torch.float32:  # its spikes are float32 whatever the layer is
        layer.recurrent.register_forward_pre_hook(lambda module, values: (values[0].to(kind),))
    with torch.no_grad():
        layer.recurrent.weight.copy_(torch.as_tensor(data["recurrent"] * scale, dtype=kind))
        layer.recurrent.bias.zero_()
        run()
        begin = time.perf_counter()
        spikes = run()
        return time.perf_counter() - begin, spikes[0].double().numpy()


def main() -> int:
    """Run one peer once."""
    name, given, wanted = sys.argv[1:]
    data, words = dict(np.load(given)), name.split()
    if words[0] == "brian2":
        seconds, spikes = with_brian2(data, words[1], int(words[2]))
    else:
        seconds, spikes = with_snntorch(data, words[1])
    np.savez(wanted, seconds=seconds, spikes=spikes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
