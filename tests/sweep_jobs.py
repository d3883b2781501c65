"""What the sweep tests run in other processes, and the function that they all sweep.

    python tests/sweep_jobs.py FOLDER DEVICES [PROCESSES PROCESS ADDRESS]
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={sys.argv[2]}"

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import ESN, ridge, simulate
from dynlab.sweep import Label, grid, initialize, sweep

T, SEEDS, LANES = 150, 3, 4
RADII, LEAKS = (0.2, 0.6, 0.9, 1.4), (0.3, 1.0)
LABELS = {"tail": Label("1", "first unit at the end", dims=("time",))}


def member(model, key):
    """Error of a one-step memory and the end of the run."""
    params = model.init(jax.random.fold_in(key, 0))
    u = jax.random.uniform(jax.random.fold_in(key, 1), (T, 1))
    states = simulate(model, params, u).outputs
    readout = ridge(states[50:99], u[49:98], 1e-4, method="qr")
    error = jnp.mean((readout(states[100:]) - u[99:-1]) ** 2)
    return {"error": error, "tail": states[-3:, 0]}


def design(**more):
    return grid(ESN(n_units=16), spectral_radius=RADII, leak_rate=LEAKS, **more)


def main() -> None:
    if len(sys.argv) > 3:
        initialize(sys.argv[5], int(sys.argv[3]), int(sys.argv[4]), heartbeat_seconds=10)
    out = None if sys.argv[1] == "-" else sys.argv[1]
    found = sweep(member, design(), jax.random.key(0), seeds=SEEDS, lanes=LANES, out=out, labels=LABELS)
    assert np.all(found.status == 0), found.summary()
    print(f"{len(jax.devices())} devices", found.values["error"].astype(float).sum())


if __name__ == "__main__":
    main()
