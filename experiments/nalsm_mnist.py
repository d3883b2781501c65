"""Does an astrocyte help a spiking liquid to recognise digits?

The liquid of Ivanov and Michmizos 2021 (NeurIPS, arXiv:2111.01760) with 1,000 units: static, with STDP, with STDP gated
by calcium (AP-STDP), and with STDP and an astrocyte (NALSM). Features are spike counts over 250 ms, the readout is
softmax regression on soft labels; by its side stand the same regression on the labels themselves, and both on the raw
pixels.

Expected, from the authors' published runs with 50,000 training images: 0.895 (STDP), 0.953 (static, the best weight
chosen on test accuracy), 0.955 (AP-STDP), 0.960 (NALSM); so STDP < static <= NALSM. With fewer images all are lower.
The rank of the spike counts of 1,000 test images is 988 there (static; 1,000 is the most there can be).
Say how many images there may be with --n-train. Features are kept in pieces: the same command with the same folder goes
on, and so does one with more training images or more networks, up to all 60,000 less those of the validation.
"""

from __future__ import annotations

import functools
import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import LSM, Lattice, check, data, l1_normalise, logistic, soft_label_readout, soft_labels
from dynlab.keys import named
from dynlab.plasticity import CalciumGate, SlowModulator
from dynlab.tasks import nalsm_rates, nalsm_scale
from experiments import _liquid, cli
from experiments._liquid import kept, own_folder
from experiments._statistics import student_reach
from experiments.contract import Progress, Result, Table, Variable, quiet, within

Array = jax.Array
SOURCE, GOAL = "arXiv:2111.01760, published runs", "a goal of this project"
READOUTS = ("soft labels", "labels")
MODELS = ("static", "stdp", "ap_stdp", "nalsm")
PUBLISHED = {
    "mnist": {"static": 0.95303, "stdp": 0.89465, "ap_stdp": 0.9549, "nalsm": 0.95957},
    "fashion_mnist": {"nalsm": 0.83054},
}
RANKS = {"static": (983.0, 993.0), "stdp": (0.0, 800.0)}  # separation: 1,000 units, as many images of MNIST


@dataclass(frozen=True)
class Config:
    """What is run; every value can be set on the command line."""

    dataset: str = "mnist"
    """"mnist", "fashion_mnist", or "templates": random rates with random labels, to try the program without data."""
    shape: tuple[int, ...] = (10, 10, 10)
    """Sites of the lattice."""
    n_networks: int = 5
    """Liquids of each kind, paired."""
    n_train: int = 1000
    """Training images."""
    n_valid: int = 500
    """Images on which the weight of the static liquid and the l2 of the readouts are chosen."""
    n_test: int = 1000
    """Test images."""
    n_start: int = 1000
    """Images of the initialisation of the plastic liquids."""
    static_weights: tuple[float, ...] = (0.7, 0.9, 1.1)
    """Size of all weights of the static liquid."""
    astro_gain: float = 0.015
    """w_astro."""
    calcium: tuple[float, float] = (37.0, 22.0)
    """Threshold and width of the calcium gate of AP-STDP."""
    l2: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    """Penalties tried in the readout."""
    duration: int = 250
    """ms an image is shown."""
    piece: int = 50
    """Images computed and kept together."""

    @staticmethod
    def smoke() -> Config:
        """A lattice of 64 units and random templates."""
        return Config(dataset="templates", shape=(4, 4, 4), n_networks=2, n_train=20, n_valid=10, n_test=10, n_start=3,
                      static_weights=(1.0,), calcium=(0.5, 0.4), l2=(1e-2,), duration=40, piece=10)


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    check.choice("dataset", config.dataset, _liquid.DATASETS)
    for name in ("n_networks", "n_train", "n_valid", "n_test", "n_start", "duration", "piece"):
        check.integer(name, getattr(config, name), 1)
    for name in ("static_weights", "l2"):
        if not getattr(config, name):
            raise ValueError(f"{name} must hold at least one value, got ()")
        check.number(name, getattr(config, name), 0.0, low_open=True)
    check.scalar("astro_gain", config.astro_gain, 0.0)
    check.number("calcium", config.calcium, 0.0, low_open=True)


@dataclass(frozen=True)
class Images:
    """Test, validation and training images, in this order, so that more training images only add to the end.

    Attributes:
        rates: (images, 784). labels: (images,). pixels: (images, 784), 0 to 1. start: rates of the initialisation's.
    """

    rates: Array
    labels: np.ndarray
    pixels: np.ndarray
    start: Array


def load(config: Config, key: Array) -> Images:
    """The images of this configuration; those of the initialisation are drawn from all but the validation images."""
    rng = np.random.default_rng(int(jax.random.randint(named(key, "order"), (), 0, 2**31 - 1)))
    known = config.n_train + config.n_valid
    if config.dataset == "templates":
        total = known + config.n_test
        rates = jnp.tile(_liquid.templates(key), (-(-total // 64), 1))[:total]
        start = rates[rng.integers(0, total, config.n_start)]
        return Images(rates, np.arange(total) % 64 % 10, np.asarray(rates), start)
    images = data.load(config.dataset)
    have, have_test = len(images.train.labels), len(images.test.labels)
    if known > have or config.n_test > have_test:
        raise ValueError(f"n_train + n_valid must be at most {have} and n_test at most {have_test}, got {known} and "
                         f"{config.n_test}")
    order, tested = rng.permutation(have), rng.permutation(have_test)[: config.n_test]
    started = rng.choice(order[config.n_valid :], config.n_start)
    flat = images.train.values.reshape(have, -1)
    pixels = np.concatenate([images.test.values[tested].reshape(config.n_test, -1), flat[order[:known]]])
    labels = np.concatenate([images.test.labels[tested], images.train.labels[order[:known]]])
    scale = nalsm_scale(flat)
    encode = lambda x: nalsm_rates(x.astype(np.float32), scale)  # noqa: E731
    return Images(encode(pixels), labels, pixels / 255.0, encode(flat[started]))


def _events(rates: Array, key: Array, first: int, duration: int) -> Array:
    """Events (images, T, 784); those of an image do not depend on the piece it is in."""
    keys = jax.vmap(partial(jax.random.fold_in, key))(first + jnp.arange(rates.shape[0]))
    return _liquid.events(keys, rates, duration)


def _of_kind(config: Config, kind: str) -> tuple[Any, ...]:
    """Everything that the features of one image in a liquid of this kind depend on, but for keys."""
    own = {"static": config.static_weights, "stdp": (), "ap_stdp": config.calcium, "nalsm": (config.astro_gain,)}[kind]
    shared = (config.dataset, config.shape, config.n_valid, config.n_test, config.duration, config.piece)
    return (kind, *own, *shared, *(() if kind == "static" else (config.n_start,)))


def liquid(config: Config, kind: str, network: Array, start: Array) -> Any:
    """From events (images, T, 784) to spike counts (settings, images, N); several settings for the static liquid."""
    n_units, n_inputs = Lattice(shape=config.shape).n_units, start.shape[1]
    model = LSM(wiring=Lattice(shape=config.shape))
    if kind == "static":
        params, scales = model.init(network), jnp.asarray(config.static_weights)
        return lambda events: _liquid.run_static(model, params, events, scales).sum(-2)
    gated = kind == "ap_stdp"
    rule: dict[str, Any] = {"gate": CalciumGate(*config.calcium)} if gated else {"modulator": SlowModulator()}
    plastic = _liquid.plastic_liquid(config.shape, 1.0 if gated else 3.0, **rule)
    params, gains = plastic.init(network), jnp.array([config.astro_gain if kind == "nalsm" else 0.0])
    states = _liquid.start_plastic(plastic, params, start, named(network, "events"), gains, steps=20)
    if gated:
        learnt = _liquid.frozen(params, jax.tree.map(lambda leaf: leaf[0], states), n_inputs)
        return lambda events: _liquid.run_static(model, learnt, events, jnp.ones(1)).sum(-2)
    return lambda events: _liquid.run_plastic(plastic, params, states, events, gains)[..., :n_units].sum(-2)


def features(config: Config, kind: str, key: Array, number: int, images: Images, progress: Progress,
             folder: Path | None) -> np.ndarray:
    """Spike counts (settings, images, N) of one network; pieces are computed side by side, one on each core."""
    network = jax.random.fold_in(key, number)
    begin = functools.cache(lambda: liquid(config, kind, network, images.start))  # only if a piece is missing
    place = own_folder(folder, _of_kind(config, kind), network)

    def piece(first: int) -> np.ndarray:
        rates = images.rates[first : first + config.piece]
        shown = lambda: _events(rates, named(network, "samples"), first, config.duration)  # noqa: E731
        return kept(place, f"{first}_{rates.shape[0]}", lambda: begin()(shown()))

    starts, label = range(0, images.rates.shape[0], config.piece), f"network {number}, {kind}, pieces of {config.piece}"
    head = piece(0)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        running = [pool.submit(piece, first) for first in starts[1:]]
        return np.concatenate([head, *(task.result() for task in progress(running, label))], axis=1)


def accuracy(config: Config, x: np.ndarray, labels: np.ndarray, normalise: bool = True) -> np.ndarray:
    """(readouts, 2): validation and test accuracy of each of READOUTS, its l2 chosen on the validation images."""
    test_part, train = slice(config.n_test), slice(config.n_test + config.n_valid, None)
    valid_part = slice(config.n_test, config.n_test + config.n_valid)
    if normalise:
        share = np.asarray(l1_normalise(x))
        x = share / np.maximum(share[train].max(), np.float32(1e-6))
    known = labels[train].astype(np.int32)
    fits = (lambda l2: soft_label_readout(x[train], soft_labels(known, 10), l2)), partial(logistic, x[train], known)
    out = []
    for fit in fits:
        readouts = [fit(l2=l2) for l2 in config.l2]
        scores = [[float(each.score(x[part], labels[part])) for part in (valid_part, test_part)] for each in readouts]
        out.append(max(scores, key=lambda pair: pair[0]))
    return np.asarray(out)


def separation_rank(counts: np.ndarray) -> int:
    """Rank of spike counts (images, N) to single precision, which gives the published number; exactly, all are full."""
    return int(np.linalg.matrix_rank(counts.astype(np.float32)))


def run(config: Config, key: Array, progress: Progress = quiet, folder: Path | None = None) -> Result:
    """Features of every liquid, then readouts."""
    images = load(config, named(key, "data"))
    found = {kind: np.zeros((config.n_networks, len(READOUTS))) for kind in MODELS}
    spikes, ranks = ({kind: np.zeros(config.n_networks) for kind in MODELS} for _ in range(2))
    weights = np.zeros(config.n_networks)
    for number in range(config.n_networks):
        for kind in MODELS:
            counts = features(config, kind, key, number, images, progress, folder)
            each = np.stack([accuracy(config, one, images.labels) for one in counts])
            best = each[..., 0].argmax(0)  # for each readout its own weight
            found[kind][number] = each[best, np.arange(len(READOUTS)), 1]
            spikes[kind][number] = 1000.0 * counts[best[0]].mean() / config.duration
            ranks[kind][number] = separation_rank(counts[best[0], : config.n_test])
            if kind == "static":
                weights[number] = config.static_weights[best[0]]
    raw = accuracy(config, images.pixels, images.labels, normalise=False)[:, 1]
    return summarise(config, found, spikes, ranks, weights, raw)


def _mean_and_interval(values: np.ndarray) -> tuple[float, str]:
    """Mean over networks and its interval by Student's t."""
    n, mean = values.size, float(values.mean())
    if n < 2:
        return mean, "-"
    reach = student_reach(float(values.std(ddof=1)), n)
    return mean, f"{mean - reach:.4f} to {mean + reach:.4f}"


def summarise(
    config: Config, found: dict[str, np.ndarray], spikes: dict[str, np.ndarray], ranks: dict[str, np.ndarray],
    weights: np.ndarray, raw: np.ndarray,
) -> Result:
    """Tables, with the published numbers beside ours, claims and the figure; found[kind] is (networks, readouts)."""
    published, names = PUBLISHED.get(config.dataset, {}), list(found)
    rows = [(kind, *(cell for column in values.T for cell in _mean_and_interval(column)), published.get(kind),
             spikes[kind].mean(), ranks[kind].mean()) for kind, values in found.items()]
    rows.append(("raw pixels", float(raw[0]), "-", float(raw[1]), "-", None, None, None))
    pairs = [("static", "stdp"), ("nalsm", "static"), ("nalsm", "ap_stdp"), *((kind, "pixels") for kind in MODELS)]
    apart = {pair: found[pair[0]] - (raw if pair[1] == "pixels" else found[pair[1]]) for pair in pairs}
    differences = [(f"{better} - {worse}", *(cell for column in values.T for cell in _mean_and_interval(column)))
                   for (better, worse), values in apart.items()]
    claims = [
        within(f"accuracy of {better} less that of {worse}, mean over networks, {name}",
               GOAL if worse == "pixels" else SOURCE, 0.0, math.inf, float(values[:, i].mean()))
        for (better, worse), values in apart.items() for i, name in enumerate(READOUTS)
        if published and (worse == "pixels" or {better, worse} <= set(published))
    ]
    n_units = math.prod(config.shape)
    if (config.dataset, config.n_test, n_units) == ("mnist", 1000, 1000):
        claims += [within(f"rank of the spike counts, {kind}", SOURCE, *RANKS[kind], float(ranks[kind].mean()))
                   for kind in RANKS]
    note = (f"{config.n_networks} networks each, {config.n_test} test images, {n_units} units; rank: of the "
            f"spike counts of the test images, at most {min(config.n_test, n_units)}")
    columns = [cell for name in READOUTS for cell in (name, "95 % of the mean")]
    return Result(
        figures={**{f"accuracy_{kind}": float(values[:, 0].mean()) for kind, values in found.items()},
                 **{f"accuracy_{kind}_labels": float(values[:, 1].mean()) for kind, values in found.items()},
                 "accuracy_pixels": float(raw[0]), "accuracy_pixels_labels": float(raw[1]),
                 "static_weight": float(weights.mean())},
        claims=claims,
        tables=[Table(f"Test accuracy on {config.dataset}: {config.n_train:,} training images, not 50,000",
                      ("model", *columns, "published", "rate (Hz)", "rank"), rows, note=note),
                Table("Differences of paired networks", ("difference", *columns), differences)],
        data={"accuracy": Variable(("model", "network", "readout"), np.stack([found[k] for k in names]), "1",
                                   "test accuracy"),
              "rate": Variable(("model", "network"), np.stack([spikes[k] for k in names]), "Hz", "mean rate"),
              "rank": Variable(("model", "network"), np.stack([ranks[k] for k in names]), "1",
                               "rank of the spike counts of the test images")},
        coords={"model": Variable(("model",), np.asarray(names), "1", "kind of liquid"),
                "readout": Variable(("readout",), np.asarray(READOUTS), "1", "softmax regression on"),
                "network": Variable(("network",), np.arange(config.n_networks), "1", "index of the network")},
        plots={"nalsm_mnist": partial(draw, found, raw, published)},
        headline=", ".join(f"{kind} {values[:, 0].mean():.4f}" for kind, values in found.items())
        + f", pixels {raw.max():.4f}",
    )


def draw(found: dict[str, np.ndarray], raw: np.ndarray, published: dict[str, float], figure: Any) -> None:
    """Accuracy of every network; open symbols: published with 50,000 training images."""
    figure.set_size_inches(6.4, 4.2)
    ax = figure.subplots()
    for number, (name, color) in enumerate(zip(READOUTS, ("#0072B2", "#D55E00"), strict=True)):
        for at, values in enumerate(found.values()):
            x = at + 0.2 * (number - 0.5)
            ax.plot(np.full(len(values), x), values[:, number], "o", ms=5, alpha=0.6, color=color,
                    label=None if at else name)
            ax.plot(x, values[:, number].mean(), "_", ms=18, mew=2, color="black")
        ax.axhline(raw[number], ls="--", color=color, lw=1.2, label=f"raw pixels, {name}")
    for at, kind in enumerate(found):
        if kind in published:
            ax.plot(at + 0.3, published[kind], "D", mfc="white", mec="black",
                    label="published" if kind == next(iter(published)) else None)
    ax.set_xticks(range(len(found)), list(found))
    ax.set_xlim(-0.5, len(found) - 0.5)
    ax.set_ylabel("test accuracy")
    ax.legend(frameon=False, fontsize=8, ncols=2)


def main() -> int:
    """Run from the command line: python -m experiments.nalsm_mnist [options]."""
    return cli.main(["nalsm_mnist", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
