"""How many past inputs can a linear readout recover from an echo state network?

Memory capacity (Jaeger 2001, GMD report 152): MC = sum over delays k >= 1 of the squared correlation between
u(t-k) and its best linear reconstruction from the state x(t), on held-out data. It is measured against spectral
radius, leak rate and topology, for linear and tanh units, with the spread over networks and input series.

Expected: MC <= N for independent inputs (Jaeger 2001). A linear simple cycle of N units with weight rho has
MC = N - 1 + rho^(2N); a linear delay line has N - 1, and N with delay 0 (doi:10.1109/TNN.2010.2089641,
arXiv:2305.01457). MC of non-linear units depends on the scale of the input (arXiv:2502.04832), so every value here
belongs to the input scale of its config.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import ESN, check, plots
from dynlab.analysis.capacity import memory_capacity
from dynlab.models.weights import TOPOLOGIES, Random
from experiments import cli
from experiments.contract import Claim, Progress, Result, Table, Variable, near, quiet, within

Array = jax.Array
UNITS = {"linear": "identity", "tanh": "tanh"}
KNOWN = (
    "linear_cycle",
    "linear_delay_line",
    "reservoirpy_example",
)  # figures, in the order of their claims; the last one on request
JAEGER = "Jaeger 2001, GMD report 152"
CYCLE = "doi:10.1109/TNN.2010.2089641"
LINEAR = "arXiv:2305.01457"


@dataclass(frozen=True)
class Config:
    """What is run; every value can be set on the command line."""

    n_units: int = 100
    """N, units of the reservoir."""
    spectral_radii: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 1.05, 1.2)
    """Swept at leak rate 1; linear networks only below 1, where they are stable."""
    leak_rates: tuple[float, ...] = (0.1, 0.3, 0.6, 1.0)
    """Swept at the spectral radius `leak_radius`; the largest one also gives the forgetting curves."""
    leak_radius: float = 0.95
    """Spectral radius of the leak sweep and of the forgetting curves, below 1."""
    topologies: tuple[str, ...] = ("random", "orthogonal", "cycle", "delay_line")
    """Recurrent networks compared."""
    input_scaling: float = 0.1
    """Scale of the input weights, which are uniform on [-1, 1] before scaling."""
    n_seeds: int = 4
    """Networks and input series, one of each a seed."""
    n_train: int = 2000
    """Training samples of the readouts."""
    n_test: int = 1000
    """Held-out samples."""
    washout: int = 300
    """Discarded first samples."""
    max_delay: int = 200
    """Longest delay counted; a cycle near radius 1 keeps a part of its memory beyond."""
    ridge: float = 1e-8
    """Ridge penalty, added to the Gram matrix unscaled."""
    exact_units: int = 50
    """Units of the linear cycle and of the linear delay line whose capacity is known exactly."""
    exact_samples: int = 30_000
    """Training samples and test samples of those two."""
    peer_example: bool = False
    """Also repeat the example of reservoirpy's documentation over 20 seeds (ten seconds more)."""

    @staticmethod
    def smoke() -> Config:
        """Two topologies, three radii, two seeds: seconds."""
        return Config(
            n_units=30,
            spectral_radii=(0.5, 0.9, 1.1),
            leak_rates=(0.5, 1.0),
            topologies=("random", "cycle"),
            n_seeds=2,
            n_train=600,
            n_test=500,
            washout=100,
            max_delay=60,
            exact_units=20,
            exact_samples=5000,
        )


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    for name in ("n_units", "n_seeds", "max_delay", "exact_units"):
        check.integer(name, getattr(config, name), 1)
    for name, least in (("n_train", 2), ("n_test", 3), ("exact_samples", 3)):
        check.integer(name, getattr(config, name), least)
    for name in ("spectral_radii", "leak_rates", "topologies"):
        if not getattr(config, name):
            raise ValueError(f"{name} must hold at least one value, got ()")
    for topology in config.topologies:
        check.choice("topologies", topology, TOPOLOGIES)
    check.number("spectral_radii", config.spectral_radii, 0.0, low_open=True)
    check.number("leak_rates", config.leak_rates, 0.0, 1.0, low_open=True)
    check.number("leak_radius", config.leak_radius, 0.0, 1.0, low_open=True, high_open=True)
    check.number("input_scaling", config.input_scaling, 0.0, low_open=True)
    check.number("ridge", config.ridge, 0.0)
    check.integer("washout", config.washout, 0)
    if min(config.spectral_radii) >= 1.0:
        raise ValueError(f"spectral_radii must hold a value below 1 for the linear units, got {config.spectral_radii}")
    for topology in config.topologies:
        try:
            jax.eval_shape(ESN(n_units=config.n_units, topology=topology).init, jax.random.key(0))
        except ValueError as error:
            raise ValueError(
                f"topologies: {topology!r} cannot be drawn with n_units = {config.n_units}: {error}"
            ) from error


@jax.jit
def networks(model: ESN, keys: Array) -> Any:
    """Parameters of one network a key, stacked.

    The draws use ``fold_in(key, 0)``, so that `key` itself stays free for the input series.
    """
    return jax.vmap(lambda key: model.init(jax.random.fold_in(key, 0)))(keys)


@partial(jax.jit, static_argnames="config")
def sweep(config: Config, model: ESN, params: Any, keys: Array, radii: Array, leaks: Array) -> Array:
    """Capacities of every delay, (seeds, knobs, max_delay): one program for all knobs, seeds and topologies.

    Knobs of one seed share network and input, so the recurrent product is one matrix-matrix product.
    """

    def one(params: Any, key: Array, radius: Array, leak: Array) -> Array:
        found = memory_capacity(
            model,
            key,
            params=params.replace(spectral_radius=radius, leak_rate=leak),
            max_delay=config.max_delay,
            n_train=config.n_train,
            n_test=config.n_test,
            washout=config.washout,
            ridge=config.ridge,
        )
        return found.per_delay[1:]

    over_knobs = jax.vmap(one, in_axes=(None, None, 0, 0))
    return jax.vmap(over_knobs, in_axes=(0, 0, None, None))(params, keys, radii, leaks)


def exact_claims(config: Config, key: Array) -> list[Claim]:
    """The linear networks whose capacity is known exactly: cycle and delay line."""
    n, rho = config.exact_units, config.leak_radius
    measure = partial(
        memory_capacity,
        max_delay=2 * n,
        n_train=config.exact_samples,
        n_test=config.exact_samples,
        ridge=config.ridge,
    )
    full = config.exact_samples >= 30_000  # the tolerances are those of this many samples
    network_key, cycle_key, line_key = jax.random.split(key, 3)
    cycle = ESN(n_units=n, topology="cycle", activation="identity", spectral_radius=rho)
    line = ESN(n_units=n, topology="delay_line", activation="identity", spectral_radius=1.0).init(network_key)
    # the input reaches unit 0 only: a shift register
    line = line.replace(input_weights=jnp.zeros_like(line.input_weights).at[0].set(1.0))
    found = measure(cycle, cycle_key, params=cycle.init(network_key))
    chain = measure(cycle, line_key, params=line)  # params say all: the same program runs both
    claim = f"linear cycle, N = {n}, rho = {rho:g}: MC = N - 1 + rho^(2N)"
    return [
        near(claim, f"{CYCLE}, {LINEAR}", n - 1 + rho ** (2 * n), float(found.total), 0.15 if full else 0.5),
        near(f"linear delay line, N = {n}: MC = N - 1", CYCLE, n - 1, float(chain.total), 0.02 if full else 0.1),
    ]


@jax.jit
def reference_protocol(model: ESN, params: Any, keys: Array) -> Array:
    """Capacities (seeds,) by the example in reservoirpy's documentation: few samples, so biased low and noisy."""
    measure = partial(memory_capacity, max_delay=50, n_train=300, n_test=100, washout=50, adjust=False)
    one = lambda params, key: measure(model, key, params=params, ridge=1e-4, amplitude=0.8).total  # noqa: E731
    return jax.vmap(one)(params, keys)


def reference_claim(key: Array) -> Claim:
    """The documented example of reservoirpy 0.4.2, repeated there over 40 seeds: mean 16.96, s.d. 1.31.

    The documentation prints the value of one seed, 18.78.
    """
    topology = Random(connectivity=0.1, distribution="normal")
    model = ESN(topology=topology, spectral_radius=1.0, input_connectivity=0.1, input_distribution="sign")
    keys = jax.random.split(key, 20)
    mean = float(jnp.mean(reference_protocol(model, networks(model, keys), keys)))
    claim = "N = 100 tanh by the example in reservoirpy's documentation, mean of 20 seeds"
    return near(claim, "reservoirpy 0.4.2, its example over 40 seeds of network and input", 16.96, mean, 0.8)


def run(config: Config, key: Array, progress: Progress = quiet) -> Result:
    """Measure every topology and activation, and the exactly known cases."""
    sweep_key, exact_key, reference_key = jax.random.split(key, 3)
    keys = jax.random.split(sweep_key, config.n_seeds)
    radii = np.asarray(config.spectral_radii)
    stable = radii < 1.0
    n_leaks = len(config.leak_rates)
    shape = (len(config.topologies), len(UNITS), config.n_seeds)
    by_radius = np.full((*shape, radii.size, config.max_delay), np.nan)
    by_leak = np.full((*shape, n_leaks, config.max_delay), np.nan)
    jobs = [(i, j, t, u) for i, t in enumerate(config.topologies) for j, u in enumerate(UNITS)]
    network = partial(ESN, n_units=config.n_units, input_scaling=config.input_scaling, recurrence="dense")
    for i, j, topology, units in progress(jobs, "capacity"):
        params = networks(network(topology=topology), keys)
        model = network(activation=UNITS[units])  # the topology is in params: one program for all
        swept = np.full(radii.size, True) if units == "tanh" else stable
        all_radii = np.concatenate([radii[swept], np.full(n_leaks, config.leak_radius)])
        all_leaks = np.concatenate([np.ones(swept.sum()), config.leak_rates])
        found = sweep(config, model, params, keys, jnp.asarray(all_radii), jnp.asarray(all_leaks))
        by_radius[i, j][:, swept] = found[:, : swept.sum()]
        by_leak[i, j] = found[:, swept.sum() :]
    checks = [lambda: exact_claims(config, exact_key)]
    if config.peer_example:
        checks.append(lambda: [reference_claim(reference_key)])
    claims = [claim for check_one in progress(checks, "known answers") for claim in check_one()]
    return summarise(config, by_radius, by_leak, claims)


def summarise(config: Config, by_radius: np.ndarray, by_leak: np.ndarray, claims: list[Claim]) -> Result:
    """Tables, claims, labelled arrays and plots from the per-delay capacities (topology, units, seed, knob, delay)."""
    total, leak_total = by_radius.sum(axis=-1), by_leak.sum(axis=-1)
    median = np.median(total, axis=2)  # (topology, units, radius)
    rows = []
    figures = dict(zip(KNOWN, (claim.measured for claim in claims), strict=False))
    for i, topology in enumerate(config.topologies):
        for j, units in enumerate(UNITS):
            best = int(np.nanargmax(median[i, j]))
            spread = total[i, j, :, best]
            radius = config.spectral_radii[best]
            leaks = np.median(leak_total[i, j], axis=0)
            rows.append(
                (f"{topology}, {units}", median[i, j, best], spread.min(), spread.max(), radius, leaks[0], leaks[-1])
            )
            figures[f"mc_{topology}_{units}"] = float(median[i, j, best])
            figures[f"best_radius_{topology}_{units}"] = radius
    highest = float(max(np.nanmax(total), np.nanmax(leak_total)))
    figures["mc_max"] = highest
    bound = within(f"MC <= N = {config.n_units} in every run", JAEGER, -math.inf, config.n_units, highest)
    low, high = config.leak_rates[0], config.leak_rates[-1]
    table = Table(
        f"Memory capacity, N = {config.n_units}, input scaling {config.input_scaling:g}, {config.n_seeds} seeds",
        ("network", "best MC", "min", "max", "at radius", f"MC leak {low:g}", f"MC leak {high:g}"),
        rows,
        note=f"medians over seeds; held-out; delays 1 to {config.max_delay}; leak at radius {config.leak_radius:g}",
    )
    label, best_mc, _, _, best_radius = max(rows, key=lambda row: row[1])[:5]
    return Result(
        figures=figures,
        claims=[*claims, bound],
        tables=[table],
        data=variables(by_radius, by_leak),
        coords=coordinates(config),
        plots={"memory_capacity": partial(draw, config, by_radius, by_leak)},
        headline=f"memory capacity: {best_mc:.1f} of at most {config.n_units} steps ({label}, radius {best_radius:g})",
    )


def variables(by_radius: np.ndarray, by_leak: np.ndarray) -> dict[str, Variable]:
    """The arrays of results.nc."""
    axes = ("topology", "units", "seed")
    many = "summed over delays; NaN where a linear network is unstable"
    return {
        "capacity": Variable((*axes, "spectral_radius"), by_radius.sum(-1), "1", f"memory capacity at leak 1, {many}"),
        "capacity_leak": Variable((*axes, "leak_rate"), by_leak.sum(-1), "1", "memory capacity at leak_radius"),
        "per_delay": Variable((*axes, "spectral_radius", "delay"), by_radius, "1", "capacity of each delay at leak 1"),
        "per_delay_leak": Variable((*axes, "leak_rate", "delay"), by_leak, "1", "capacity of each delay"),
    }


def coordinates(config: Config) -> dict[str, Variable]:
    """The coordinates of results.nc."""
    return {
        "topology": Variable(("topology",), list(config.topologies), "1", "recurrent network"),
        "units": Variable(("units",), list(UNITS), "1", "activation of the units"),
        "seed": Variable(("seed",), np.arange(config.n_seeds), "1", "index of network and input series"),
        "spectral_radius": Variable(("spectral_radius",), config.spectral_radii, "1", "spectral radius"),
        "leak_rate": Variable(("leak_rate",), config.leak_rates, "1", "leak rate"),
        "delay": Variable(("delay",), np.arange(1, config.max_delay + 1), "step", "delay k of the recalled input"),
    }


def draw(config: Config, by_radius: np.ndarray, by_leak: np.ndarray, figure: Any) -> None:
    """Capacity against spectral radius (linear, tanh), forgetting curves, capacity against leak rate."""
    figure.set_size_inches(10.0, 7.4)
    panels = figure.subplots(2, 2)
    radii, names = np.asarray(config.spectral_radii), [name.replace("_", " ") for name in config.topologies]
    for j, units in enumerate(UNITS):
        shown = np.isfinite(by_radius[0, j, 0, :, 0])
        curves = {name: by_radius[i, j].sum(-1)[:, shown] for i, name in enumerate(names)}
        plots.capacity_lines(
            radii[shown],
            curves,
            xlabel="spectral radius",
            bound=config.n_units,
            bound_label=f"bound N = {config.n_units}",
            title=f"({'ab'[j]}) {units} units, leak 1",
            ax=panels[0, j],
        )
        panels[0, j].set_ylim(0, 1.08 * config.n_units)
    curves = {name: np.median(by_leak[i, 1, :, -1], axis=0) for i, name in enumerate(names)}
    title = f"(c) tanh, radius {config.leak_radius:g}, leak {config.leak_rates[-1]:g}"
    plots.memory_curve(curves, title=title, ax=panels[1, 0])
    curves = {name: by_leak[i, 1].sum(-1) for i, name in enumerate(names)}
    title = f"(d) tanh, radius {config.leak_radius:g}"
    plots.capacity_lines(config.leak_rates, curves, xlabel="leak rate", title=title, ax=panels[1, 1])
    panels[1, 1].set_ylim(bottom=0)


def main() -> int:
    """Run from the command line: python -m experiments.memory_capacity [options]."""
    return cli.main(["memory_capacity", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
