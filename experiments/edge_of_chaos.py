"""What does an echo state network compute with on its way from order to chaos?

A driven tanh network is swept in spectral radius. Measured on the same networks: the largest Lyapunov exponent of the
driven network, linear memory capacity, information processing capacity split by degree (Dambre et al. 2012,
doi:10.1038/srep00514), kernel and generalisation rank (Legenstein and Maass 2007, doi:10.1016/j.neunet.2007.04.017;
Buesing, Schrauwen, Legenstein 2010, doi:10.1162/neco.2009.01-09-947).

Expected: input saturates the units, so that the exponent crosses zero at a spectral radius above 1 (Molgedey,
Schuchhardt, Schuster 1992, doi:10.1103/PhysRevLett.69.3717; Rajan, Abbott, Sompolinsky 2010,
doi:10.1103/PhysRevE.82.011903); the total capacity is at most N, near N where the network forgets its past (Dambre et
al. 2012), and is lost in chaos; memory is largest in the ordered phase, close to the transition (Boedecker et al. 2012,
doi:10.1007/s12064-011-0146-8); kernel rank minus generalisation rank is largest at the transition.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import ESN, check, memory_capacity, plots
from dynlab.analysis.ipc import information_processing_capacity
from dynlab.analysis.linearize import phase_map
from dynlab.analysis.lyapunov import lyapunov
from dynlab.analysis.separation import generalisation_rank, kernel_rank
from dynlab.analysis.targets import count
from experiments import cli
from experiments.contract import Claim, Progress, Result, Table, Variable, quiet, within

Array = jax.Array
DAMBRE = "doi:10.1038/srep00514"
RANKS = "doi:10.1016/j.neunet.2007.04.017, doi:10.1162/neco.2009.01-09-947"
SUPPRESSED = "doi:10.1103/PhysRevLett.69.3717, doi:10.1103/PhysRevE.82.011903"
OURS = "ours: measured here"


@dataclass(frozen=True)
class Config:
    """What is run; every value can be set on the command line."""

    n_units: int = 100
    """N, units of the network."""
    spectral_radii: tuple[float, ...] = (0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.4)
    """Swept, increasing."""
    input_scaling: float = 0.5
    """Scale of the input weights, which are uniform on [-1, 1] before scaling."""
    bias_scaling: float = 0.2
    """Scale of the biases; without bias an odd network has no capacity of even degree."""
    n_seeds: int = 4
    """Networks and input series, one of each a seed."""
    n_samples: int = 20_000
    """Samples of the capacities."""
    max_delays: tuple[int, ...] = (60, 40, 16, 9)
    """Longest delay in targets of degree 1, 2, 3 ...; its length is the largest degree."""
    memory_delay: int = 60
    """Longest delay of the memory capacity."""
    memory_train: int = 20_000
    """Training samples of the memory capacity, half as many test it; a readout fitted on few recalls too little."""
    exponent_steps: int = 2000
    """Steps of the exponent, after a tenth of that for warming up."""
    rank_steps: int = 200
    """Length of the input streams of the ranks."""
    rank_threshold: float = 0.01
    """Singular values below this part of the largest do not count."""
    input_noise: float = 0.1
    """Noise on the input copies of the generalisation rank, relative to the input."""

    @staticmethod
    def smoke() -> Config:
        """Five radii, two seeds, 40 units, short series."""
        return Config(n_units=40, spectral_radii=(0.5, 1.0, 1.5, 2.0, 3.0), n_seeds=2, n_samples=3000,
                      max_delays=(20, 8, 4), memory_delay=20, memory_train=600, exponent_steps=400, rank_steps=60)


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    for name in ("n_units", "n_seeds", "memory_delay", "rank_steps"):
        check.integer(name, getattr(config, name), 1)
    check.integer("memory_train", config.memory_train, 6)
    check.integer("exponent_steps", config.exponent_steps, 20)
    check.integer("n_samples", config.n_samples, config.n_units + 2)
    for name in ("input_scaling", "rank_threshold"):
        check.scalar(name, getattr(config, name), 0.0, low_open=True)
    check.scalar("bias_scaling", config.bias_scaling, 0.0)
    check.scalar("input_noise", config.input_noise, 0.0)
    check.number("spectral_radii", config.spectral_radii, 0.0)
    if len(config.spectral_radii) < 2 or any(np.diff(config.spectral_radii) <= 0):
        raise ValueError(f"spectral_radii must be at least two increasing values, got {config.spectral_radii}")
    for delay in config.max_delays:
        check.integer("max_delays", delay, 0)
    if not config.max_delays or count(config.max_delays) > 20_000:
        raise ValueError(f"max_delays must give 1 to 20000 targets, got {config.max_delays}")


def measures(config: Config, model: ESN) -> dict[str, Callable[[Any, Array], Any]]:
    """name -> function (params, key) of one network."""
    warmup = config.exponent_steps // 10

    def exponent(params: Any, key: Array) -> Array:
        inputs = jax.random.uniform(jax.random.fold_in(key, 1), (warmup + config.exponent_steps, 1), minval=-1.0)
        return lyapunov(phase_map(model, params), inputs, k=1, warmup=warmup, key=key).exponents[0]

    def memory(params: Any, key: Array) -> Array:
        found = memory_capacity(model, key, params=params, max_delay=config.memory_delay,
                                n_train=config.memory_train, n_test=config.memory_train // 2)
        return jnp.stack([found.total, found.per_delay[0]])

    def capacity(params: Any, key: Array) -> Array:
        return information_processing_capacity(model, key, params=params, max_degree=len(config.max_delays),
                                               max_delays=config.max_delays, n_samples=config.n_samples).per_degree

    def ranks(params: Any, key: Array) -> Array:
        kernel = kernel_rank(model, key, params=params, n_steps=config.rank_steps, threshold=config.rank_threshold)
        general = generalisation_rank(model, key, params=params, n_steps=config.rank_steps,
                                      threshold=config.rank_threshold, input_noise=config.input_noise)
        return jnp.stack([kernel.rank, general.rank])

    return {"exponent": exponent, "memory": memory, "ipc": capacity, "ranks": ranks}


@partial(jax.jit, static_argnames=("config", "name"))
def sweep(config: Config, name: str, model: ESN, params: Any, keys: Array, radii: Array) -> Array:
    """One measure, (seeds, radii, ...): one program. The radii of a seed share network, input and targets; seeds are
    done one after the other, so that memory does not grow with them."""
    measure = measures(config, model)[name]

    def seed(pair: tuple[Any, Array]) -> Array:
        network, key = pair
        return jax.vmap(lambda radius: measure(network.replace(spectral_radius=radius), key))(radii)

    return jax.lax.map(seed, (params, keys))


@jax.jit
def networks(model: ESN, keys: Array) -> Any:
    """Parameters of one network a key; ``fold_in(key, 0)`` draws them, so that `key` stays free for the inputs."""
    return jax.vmap(lambda key: model.init(jax.random.fold_in(key, 0)))(keys)


def run(config: Config, key: Array, progress: Progress = quiet) -> Result:
    """All measures over all radii and seeds."""
    keys = jax.random.split(key, config.n_seeds)
    model = ESN(n_units=config.n_units, input_scaling=config.input_scaling, bias_scaling=config.bias_scaling,
                connectivity=1.0, recurrence="dense")
    params, radii = networks(model, keys), jnp.asarray(config.spectral_radii)
    names = list(measures(config, model))
    found = {name: np.asarray(sweep(config, name, model, params, keys, radii)) for name in progress(names, "measure")}
    found["kernel_rank"], found["generalisation_rank"] = np.moveaxis(found.pop("ranks"), -1, 0)
    return summarise(config, found)


def crossing(radii: np.ndarray, exponent: np.ndarray) -> float:
    """The radius at which the exponent last goes from below to above zero, by linear interpolation; NaN if it never
    does."""
    up = np.flatnonzero((exponent[:-1] < 0) & (exponent[1:] >= 0))
    if not up.size:
        return math.nan
    i = up[-1]
    return float(radii[i] - exponent[i] * (radii[i + 1] - radii[i]) / (exponent[i + 1] - exponent[i]))


def claims(config: Config, found: dict[str, np.ndarray], edge: float) -> list[Claim]:
    """What the literature says, and what this run says."""
    n, exponent = config.n_units, np.median(found["exponent"], axis=0)
    total, memory = found["ipc"].sum(-1), np.median(found["memory"][..., 0], axis=0)
    power = np.median(found["kernel_rank"] - found["generalisation_rank"], axis=0)
    linear = np.median(found["ipc"][..., 0] - found["memory"].sum(-1), axis=0)
    ordered = np.asarray(config.spectral_radii) < edge
    ratio = np.median(found["generalisation_rank"][:, -1] / found["kernel_rank"][:, -1])
    return [
        within(f"total IPC at most N = {n} in every run", DAMBRE, -math.inf, n, float(total.max())),
        within("total IPC / N, largest median", DAMBRE, 0.9, 1.0, float(np.median(total, axis=0).max() / n)),
        within("spectral radius where the exponent crosses zero", SUPPRESSED, 1.0, math.inf, edge),
        within("degree 1 of IPC less MC with delay 0, largest difference below that radius", DAMBRE, -0.5, 0.5,
               float(linear[ordered][np.abs(linear[ordered]).argmax()]) if ordered.any() else math.nan),
        within("exponent where memory capacity is largest", "doi:10.1007/s12064-011-0146-8", -math.inf, 0.0,
               float(exponent[memory.argmax()])),
        within("exponent where kernel rank - generalisation rank is largest", RANKS, -0.1, 0.1,
               float(exponent[power.argmax()])),
        within("generalisation rank / kernel rank at the largest radius", OURS, 0.95, 1.05, float(ratio)),
        within("total IPC / N at the largest radius", OURS, 0.0, 0.5, float(np.median(total[:, -1]) / n)),
    ]


def summarise(config: Config, found: dict[str, np.ndarray]) -> Result:
    """Tables, claims, labelled arrays and the figure."""
    radii = np.asarray(config.spectral_radii)
    edges = np.array([crossing(radii, line) for line in found["exponent"]])
    edge = float(np.median(edges))
    middle = {name: np.median(values, axis=0) for name, values in found.items()}
    n_degrees = len(config.max_delays)
    total = np.median(found["ipc"].sum(-1), axis=0)
    difference = np.median(found["kernel_rank"] - found["generalisation_rank"], axis=0)
    rows = [
        (radius, middle["exponent"][i], middle["memory"][i, 0], total[i], *middle["ipc"][i],
         middle["kernel_rank"][i], middle["generalisation_rank"][i])
        for i, radius in enumerate(config.spectral_radii)
    ]
    names = [f"degree {d}" for d in range(1, n_degrees + 1)]
    best = {"memory": middle["memory"][:, 0], "ipc": total, "rank_difference": difference}
    figures = {"edge_radius": edge}
    for name, values in best.items():
        at = int(values.argmax())
        figures |= {f"{name}_max": float(values[at]), f"{name}_best_radius": float(radii[at]),
                    f"{name}_best_exponent": float(middle["exponent"][at])}
    axes = ("seed", "spectral_radius")
    return Result(
        figures=figures,
        claims=claims(config, found, edge),
        tables=[Table(f"tanh network, N = {config.n_units}, input scaling {config.input_scaling:g}",
                      ("radius", "exponent", "MC", "IPC", *names, "KR", "GR"), rows,
                      note=f"medians over {config.n_seeds} seeds; exponent in nats a step; ranks at threshold "
                           f"{config.rank_threshold:g}, noise {config.input_noise:g}")],
        data={
            "exponent": Variable(axes, found["exponent"], "1/step", "largest Lyapunov exponent of the driven network"),
            "memory": Variable(axes, found["memory"][..., 0], "1", "memory capacity, delays from 1"),
            "memory_delay_0": Variable(axes, found["memory"][..., 1], "1", "capacity of the present input"),
            "ipc": Variable((*axes, "degree"), found["ipc"], "1", "information processing capacity by degree"),
            "kernel_rank": Variable(axes, found["kernel_rank"], "1", "rank for independent inputs"),
            "generalisation_rank": Variable(axes, found["generalisation_rank"], "1", "rank for noisy copies"),
            "edge": Variable(("seed",), edges, "1", "spectral radius where the exponent crosses zero"),
        },
        coords={
            "seed": Variable(("seed",), np.arange(config.n_seeds), "1", "index of network and input"),
            "spectral_radius": Variable(("spectral_radius",), radii, "1", "spectral radius"),
            "degree": Variable(("degree",), np.arange(1, n_degrees + 1), "1", "degree of the targets"),
        },
        plots={"edge_of_chaos": partial(draw, config, found, edge)},
        headline=f"exponent zero at radius {edge:.2f}; KR - GR largest ({difference.max():.0f}) at "
                 f"{figures['rank_difference_best_radius']:g}, MC ({best['memory'].max():.1f}) at "
                 f"{figures['memory_best_radius']:g}",
    )


def draw(config: Config, found: dict[str, np.ndarray], edge: float, figure: Any) -> None:
    """Exponent, memory capacity, capacity by degree, ranks; the transition is a dotted line in each."""
    figure.set_size_inches(10.0, 7.2)
    panels = figure.subplots(2, 2, sharex=True)
    radii, n = np.asarray(config.spectral_radii), config.n_units
    line = partial(plots.capacity_lines, radii, xlabel="spectral radius")
    line({"largest exponent": found["exponent"]}, ylabel="exponent (nats / step)", title="(a) Lyapunov exponent",
         ax=panels[0, 0])
    panels[0, 0].axhline(0.0, color="0.4", lw=1.0)
    line({"MC, delays from 1": found["memory"][..., 0]}, title="(b) linear memory", ax=panels[0, 1])
    panels[0, 1].set_ylim(bottom=0.0)
    ax = plots.capacity_by_degree(radii, np.median(found["ipc"], axis=0), xlabel="spectral radius", bound=n,
                                  bound_label=f"N = {n}", ylabel="capacity",
                                  title="(c) information processing capacity", ax=panels[1, 0])
    ax.set_ylim(top=1.12 * n)
    ax.get_legend().set_loc("upper right")  # the panels stand close: inside, below the bound
    ax.get_legend().set_bbox_to_anchor((1.0, 0.88))
    kernel, general = found["kernel_rank"], found["generalisation_rank"]
    line({"KR": kernel, "GR": general, "KR - GR": kernel - general}, ylabel="rank",
         title="(d) kernel rank KR, generalisation rank GR", ax=panels[1, 1])
    panels[1, 1].set_ylim(-0.04 * n, 1.2 * n)  # room for the legend
    panels[1, 1].legend(frameon=False, loc="upper left", ncols=3, columnspacing=1.0, handlelength=1.3,
                        fontsize=plots.LABEL_SIZE - 2)
    for panel in panels.flat:
        if math.isfinite(edge):
            panel.axvline(edge, color="0.2", ls=":", lw=1.4)
    for panel in panels[0]:
        panel.set_xlabel("")
        panel.get_legend().remove()  # one curve, which the title names


def main() -> int:
    """Run from the command line: python -m experiments.edge_of_chaos [options]."""
    return cli.main(["edge_of_chaos", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
