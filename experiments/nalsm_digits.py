"""Does an astrocyte help a spiking liquid to recognise digits?

The liquid of Ivanov and Michmizos 2021 (NeurIPS, arXiv:2111.01760) with 1,000 units: static, with STDP, and with STDP
and an astrocyte (NALSM). Features are spike counts over 250 ms, the readout is softmax regression on soft labels; by
its side stands the same readout on the raw pixels.

Expected, from the authors' published runs with 50,000 training images: 0.895 (STDP), 0.953 (static, the best weight
chosen on test accuracy), 0.960 (NALSM); so STDP < static < NALSM. With fewer images all are lower. Every plastic sample
has weights of its own and costs 250 steps of a network of 134,000 synapses: say how many images there may be with
--n-train and --n-test. Features are kept, in pieces, so that the same command with the same folder goes on.
"""

from __future__ import annotations

import functools
import math
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from dynlab import LSM, Lattice, check, data, l1_normalise, soft_label_readout, soft_labels
from dynlab.keys import named
from dynlab.tasks import nalsm_rates, nalsm_scale
from experiments import _liquid, cli
from experiments._liquid import kept, own_folder
from experiments.contract import Claim, Progress, Result, Table, Variable, quiet, within

Array = jax.Array
SOURCE = "arXiv:2111.01760, published runs"
MODELS = ("static", "stdp", "nalsm")
PUBLISHED = {"static": 0.95303, "stdp": 0.89465, "nalsm": 0.95957}


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
                      static_weights=(1.0,), l2=(1e-2,), duration=40, piece=10)


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


def load(config: Config, key: Array) -> tuple[Array, np.ndarray, np.ndarray]:
    """Rates (images, 784) and labels of training, validation and test images in this order, and raw pixels."""
    sizes = config.n_train + config.n_valid, config.n_test
    if config.dataset == "templates":
        rates = jnp.tile(_liquid.templates(key), (-(-sum(sizes) // 64), 1))[: sum(sizes)]
        return rates, np.arange(sum(sizes)) % 64 % 10, np.asarray(rates)
    images = data.load(config.dataset)
    order = np.random.default_rng(int(jax.random.randint(named(key, "order"), (), 0, 2**31 - 1)))
    parts = []
    for split, size in zip((images.train, images.test), sizes, strict=True):
        if size > len(split.labels):
            raise ValueError(f"there are {len(split.labels)} images, got {size} wanted")
        chosen = order.permutation(len(split.labels))[:size]
        parts.append((split.values[chosen].reshape(-1, 784), split.labels[chosen]))
    pixels, labels = (np.concatenate(both) for both in zip(*parts, strict=True))
    scale = nalsm_scale(images.train.values.reshape(-1, 784))
    return nalsm_rates(pixels.astype(np.float32), scale), labels, pixels / 255.0


def _events(rates: Array, key: Array, first: int, duration: int) -> Array:
    """Events (images, T, 784); those of an image do not depend on the piece it is in."""
    keys = jax.vmap(partial(jax.random.fold_in, key))(first + jnp.arange(rates.shape[0]))
    return _liquid.events(keys, rates, duration)


def features(config: Config, kind: str, network: Array, rates: Array, key: Array, progress: Progress,
             folder: Path | None) -> np.ndarray:
    """Spike counts (settings, images, N); settings are the weights of a static liquid, one for a plastic one."""
    wiring, starts = Lattice(shape=config.shape), range(0, rates.shape[0], config.piece)
    pieces = []
    if kind == "static":
        model, scales = LSM(wiring=wiring), jnp.asarray(config.static_weights)
        compute: Any = lambda events: _liquid.run_static(model, network, events, scales).sum(-2)  # noqa: E731
    else:
        plastic = _liquid.plastic_liquid(config.shape)
        params, gains = plastic.init(network), jnp.array([config.astro_gain if kind == "nalsm" else 0.0])
        shown = jax.random.choice(named(network, "start"), config.n_train, (config.n_start,))
        begin = functools.cache(lambda: _liquid.start_plastic(  # only if a piece is missing
            plastic, params, rates[shown], named(network, "events"), gains, steps=20))
        compute = lambda events: _liquid.run_plastic(  # noqa: E731
            plastic, params, begin(), events, gains)[..., : wiring.n_units].sum(-2)
    for first in progress(starts, f"{kind}, pieces of {config.piece} images"):
        shown_now = partial(_events, rates[first : first + config.piece], key, first, config.duration)
        pieces.append(kept(folder, f"{kind}_{first}", lambda now=shown_now: compute(now())))
    return np.concatenate(pieces, axis=1)


def accuracy(config: Config, x: np.ndarray, labels: np.ndarray, normalise: bool = True) -> tuple[float, float]:
    """``(validation, test)`` accuracy of the readout, its l2 chosen on the validation images."""
    cut = config.n_train, config.n_train + config.n_valid
    if normalise:
        share = x / np.maximum(x.sum(-1, keepdims=True), 1.0)
        x = np.asarray(l1_normalise(x, float(max(share[: cut[0]].max(), 1e-6))))
    targets = soft_labels(labels[: cut[0]].astype(np.int32), 10)
    best = (-1.0, 0.0)
    for l2 in config.l2:
        readout = soft_label_readout(x[: cut[0]], targets, l2)
        valid, test = (float(readout.score(x[part], labels[part])) for part in (slice(*cut), slice(cut[1], None)))
        best = max(best, (valid, test), key=lambda pair: pair[0])
    return best


def run(config: Config, key: Array, progress: Progress = quiet, folder: Path | None = None) -> Result:
    """Features of every liquid, then readouts."""
    rates, labels, pixels = load(config, named(key, "data"))
    folder = own_folder(folder, config, key)
    found = {kind: np.zeros(config.n_networks) for kind in MODELS}
    weights = np.zeros(config.n_networks)
    spikes = {kind: np.zeros(config.n_networks) for kind in MODELS}
    for number in range(config.n_networks):
        network = jax.random.fold_in(key, number)
        for kind in MODELS:
            place = None if folder is None else folder / f"network_{number}"
            counts = features(config, kind, network, rates, named(network, "samples"), progress, place)
            each = [accuracy(config, one, labels) for one in counts]
            best = int(np.argmax([valid for valid, _ in each]))
            found[kind][number] = each[best][1]
            spikes[kind][number] = 1000.0 * counts[best].mean() / config.duration
            if kind == "static":
                weights[number] = config.static_weights[best]
    raw = accuracy(config, pixels, labels, normalise=False)[1]
    return summarise(config, found, spikes, weights, raw)


def summarise(
    config: Config, found: dict[str, np.ndarray], spikes: dict[str, np.ndarray], weights: np.ndarray, raw: float
) -> Result:
    """The table, with the published numbers beside it, the claims and the figure."""
    n, published = config.n_networks, config.dataset == "mnist"

    def interval(values: np.ndarray) -> str:
        if n < 2:
            return "-"
        reach = float(scipy.stats.t.ppf(0.975, n - 1)) * values.std(ddof=1) / math.sqrt(n)
        return f"{values.mean() - reach:.4f} to {values.mean() + reach:.4f}"

    rows = [(kind, values.mean(), interval(values), values.min(), values.max(),
             PUBLISHED[kind] if published else None, spikes[kind].mean()) for kind, values in found.items()]
    rows.append(("raw pixels", raw, "-", None, None, None, None))
    claims: list[Claim] = []
    if published:
        for better, worse in (("static", "stdp"), ("nalsm", "static"), ("nalsm", "pixels"), ("static", "pixels")):
            other = raw if worse == "pixels" else found[worse]
            claims.append(within(f"accuracy of {better} less that of {worse}, mean over networks", SOURCE, 0.0,
                                 math.inf, float((found[better] - other).mean())))
    names = list(found)
    return Result(
        figures={**{f"accuracy_{kind}": float(values.mean()) for kind, values in found.items()}, "accuracy_pixels": raw,
                 "static_weight": float(weights.mean())},
        claims=claims,
        tables=[Table(f"Test accuracy on {config.dataset}: {config.n_train:,} training images, not 50,000",
                      ("model", "accuracy", "95 % of the mean", "least", "most", "published", "rate (Hz)"), rows,
                      note=f"{n} networks each, {config.n_test} test images, {math.prod(config.shape)} units")],
        data={"accuracy": Variable(("model", "network"), np.stack([found[k] for k in names]), "1", "test accuracy"),
              "rate": Variable(("model", "network"), np.stack([spikes[k] for k in names]), "Hz", "mean rate")},
        coords={"model": Variable(("model",), np.asarray(names), "1", "kind of liquid"),
                "network": Variable(("network",), np.arange(n), "1", "index of the network")},
        plots={"nalsm_digits": partial(draw, found, raw, published)},
        headline=", ".join(f"{kind} {values.mean():.4f}" for kind, values in found.items()) + f", pixels {raw:.4f}",
    )


def draw(found: dict[str, np.ndarray], raw: float, published: bool, figure: Any) -> None:
    """Accuracy of every network; open symbols: published with 50,000 training images."""
    figure.set_size_inches(6.0, 4.0)
    ax = figure.subplots()
    for at, (kind, values) in enumerate(found.items()):
        ax.plot(np.full(values.size, at), values, "o", ms=5, alpha=0.6, color="#0072B2")
        ax.plot(at, values.mean(), "_", ms=22, mew=2, color="black")
        if published:
            ax.plot(at + 0.2, PUBLISHED[kind], "D", mfc="white", mec="black", label=None if at else "published")
    ax.axhline(raw, ls="--", color="0.4", lw=1.2, label="raw pixels, same readout")
    ax.set_xticks(range(len(found)), list(found))
    ax.set_xlim(-0.5, len(found) - 0.5)
    ax.set_ylabel("test accuracy")
    ax.legend(frameon=False)


def main() -> int:
    """Run from the command line: python -m experiments.nalsm_digits [options]."""
    return cli.main(["nalsm_digits", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
