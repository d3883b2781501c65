"""Does a spiking liquid recognise digits of a speaker it never heard better than a linear readout of the spectrogram?

Spoken digits are the task on which Maass, Natschlaeger and Markram 2002 (doi:10.1162/089976602760407955) showed their
liquid. Here: the 3,000 recordings of the Free Spoken Digit Dataset, six speakers, each held out once. A log mel
spectrogram becomes ON and OFF events (or Poisson spikes, or a current) that drive leaky integrate-and-fire units on a
lattice; the readout is ridge regression on spike counts in a few windows of each recording. Its ridge and the factor on
the recurrent weights are chosen within the training speakers, by holding out each of them in turn.

Beside it, with the same readout, windows and choice of the ridge: the mean spectrogram (what the question compares
with), the events that drive the liquid, the liquid without recurrent synapses, and as many random rectified features of
the mean spectrogram as the liquid has. No published number is for this protocol. Encoder, threshold, input weights and
number of windows were set in a pilot on the same recordings, for the liquid and for the spectrogram. The official split
(recordings 0 to 4 for test) shares its speakers between training and test and is a second figure.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import LSM, Lattice, RandomInput, check, plots, ridge
from dynlab.keys import named
from experiments import _speech, cli
from experiments._liquid import kept, own_folder
from experiments._speech import HOP, PER, Recordings
from experiments._statistics import student_reach
from experiments.contract import Claim, Progress, Result, Table, Variable, quiet, within

Array = jax.Array
SYSTEMS = ("liquid", "no recurrence", "events", "random features", "spectrogram")


@dataclass(frozen=True)
class Config:
    """What is run; every value can be set on the command line."""

    dataset: Literal["spoken_digits", "tones"] = "spoken_digits"
    """"spoken_digits", or "tones": made-up sounds that are no speech, to try the program without data."""
    n_networks: int = 3
    """Liquids; accuracies are means over them."""
    encoder: Literal["delta", "poisson", "current"] = "delta"
    """How the spectrogram reaches the liquid: ON and OFF events, Poisson spikes, or a current into input units."""
    threshold: float = 0.04
    """Change of the log spectrogram (0 to 1) that is one event of "delta"."""
    max_rate: float = 400.0
    """Hz at the peak of a recording, of "poisson"."""
    current: float = 6.0
    """mV that the peak of a recording adds to its input unit each ms, of "current"."""
    n_bands: int = 32
    """Bands of the mel spectrogram."""
    range_db: float = 40.0
    """Decibels below the peak of a recording that are heard."""
    longest: float = 1.0
    """Seconds; what comes later in a recording is cut (it concerns 1 recording in 100)."""
    shape: tuple[int, ...] = (6, 6, 6)
    """Sites of the lattice."""
    input_share: float = 0.1
    """Share of all pairs of input channel and unit that are connected."""
    input_scale: float = 8.0
    """Size of the input weights, mV a spike."""
    weight_scales: tuple[float, ...] = (1.0, 2.0)
    """Factors on the recurrent weights, one of which is chosen."""
    ridges: tuple[float, ...] = (10.0, 100.0, 1000.0, 10000.0)
    """Ridges, of which one is chosen; features have unit variance over the training recordings."""
    n_windows: int = 4
    """Windows, equal parts of each recording."""

    @staticmethod
    def smoke() -> Config:
        """Made-up tones, 27 units."""
        return Config(dataset="tones", n_networks=2, n_bands=16, shape=(3, 3, 3), input_share=0.3,
                      weight_scales=(1.0,), ridges=(10.0, 1000.0), n_windows=2)


def validate(config: Config) -> None:
    """Refuse values that no run could mean."""
    check.choice("dataset", config.dataset, ("spoken_digits", "tones"))
    check.choice("encoder", config.encoder, _speech.ENCODERS)
    check.integer("n_networks", config.n_networks, 1)
    check.integer("n_bands", config.n_bands, 1)
    check.integer("n_windows", config.n_windows, 1, 14)  # the shortest recording has 14 frames
    for name in ("threshold", "max_rate", "current", "range_db", "input_scale"):
        check.scalar(name, getattr(config, name), 0.0, low_open=True)
    check.scalar("input_share", config.input_share, 0.0, low_open=True)
    check.number("input_share", config.input_share, 0.0, 1.0)
    check.number("longest", config.longest, 0.2)
    for name in ("weight_scales", "ridges"):
        if not getattr(config, name):
            raise ValueError(f"{name} must hold at least one value, got ()")
        check.number(name, getattr(config, name), 0.0, low_open=True)


def liquid(config: Config) -> LSM:
    """The liquid of this configuration: exponential synapses of 5 ms, membranes of 30 ms."""
    direct = config.encoder != "current"
    return LSM(
        n_inputs=config.n_bands * (2 if config.encoder == "delta" else 1), wiring=Lattice(shape=config.shape),
        input_wiring=RandomInput(share=config.input_share), input_layer="direct" if direct else "lif",
        synapse="exponential", tau=30.0, tau_synapse=5.0, input_scale=config.input_scale, input_current=config.current)


def _knob(config: Config) -> float:
    return {"delta": config.threshold, "poisson": config.max_rate, "current": 1.0}[config.encoder]


@jax.jit
def predictions(x: Array, targets: Array, trains: Array, ridges: Array) -> Array:
    """Labels of all recordings (folds, ridges, n) by readouts fitted on the rows `trains` (folds, n) alone.

    Rows that take no part are zeros beside features and targets whose training mean is zero: they add nothing to the
    normal equations, so that folds of any size are one program.
    """

    def fold(train: Array) -> Array:
        here = train[:, None].astype(x.dtype)
        count = here.sum()
        mean, middle = (here * x).sum(0) / count, (here * targets).sum(0) / count
        deviation = jnp.sqrt((here * (x - mean) ** 2).sum(0) / count)
        z = (x - mean) / jnp.where(deviation > 0, deviation, 1.0)
        readout = ridge(here * z, here * (targets - middle), ridges, intercept=False)
        return (readout(z) + middle).argmax(-1)

    return jax.lax.map(fold, trains)


def _right(x: np.ndarray, labels: np.ndarray, trains: np.ndarray, ridges: Any) -> np.ndarray:
    """Which recordings are recognised, (folds, ridges, n)."""
    targets = np.eye(int(labels.max()) + 1, dtype=np.float32)[labels]
    return np.asarray(predictions(x, targets, trains, jnp.asarray(ridges, jnp.float32))) == labels


def scores(variants: list[np.ndarray], labels: np.ndarray, groups: np.ndarray, official: np.ndarray,
           ridges: Any) -> tuple[np.ndarray, float]:
    """(groups, 2): accuracy on each group held out and the variant chosen for it; accuracy on the official test set.

    Variant and ridge of a group are those with the best mean accuracy over the other groups, each held out of the
    training in its turn; the group that is scored takes no part. For the official set they are chosen on every fifth
    of its training recordings.
    """
    names = np.unique(groups)
    n = len(names)
    out = groups[None, :] == names[:, None]  # (groups, recordings)
    pairs = [(i, j) for i in range(n) for j in range(i)]
    valid = ~official & (np.cumsum(~official) % 5 == 0)
    trains = np.stack([*(~one for one in out), *(~(out[i] | out[j]) for i, j in pairs), ~official & ~valid, ~official])
    right = np.stack([_right(x, labels, trains, ridges) for x in variants])  # (variants, folds, ridges, recordings)
    inner = np.zeros((n, len(variants), len(ridges)))
    for number, (i, j) in enumerate(pairs):  # without both: scores either for the choice of the other
        inner[i] += right[:, n + number][..., out[j]].mean(-1)
        inner[j] += right[:, n + number][..., out[i]].mean(-1)
    found = np.zeros((n, 2))
    for i in range(n):
        v, r = np.unravel_index(inner[i].argmax(), inner[i].shape)
        found[i] = right[v, i, r, out[i]].mean(), v
    best = right[:, -2][..., valid].mean(-1)
    v, r = np.unravel_index(best.argmax(), best.shape)
    return found, float(right[v, -1, r, official].mean())


def random_features(x: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Rectified random projections of standardised features, (samples, n)."""
    z = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
    return np.maximum(0.0, z @ rng.standard_normal((x.shape[1], n)) / math.sqrt(x.shape[1])).astype(np.float32)


def run(config: Config, key: Array, progress: Progress = quiet, folder: Path | None = None) -> Result:
    """Spectrograms, then the features of each liquid (kept in `folder`), then readouts."""
    sounds = _speech.recordings(config.dataset, config.longest, np.random.default_rng(0))
    spectra, n_frames = _speech.levels(sounds, config.n_bands, config.range_db)
    plain = _speech.pooled(spectra, n_frames, config.n_windows)
    model, place = liquid(config), own_folder(folder, config, key)
    scales = (*config.weight_scales, 0.0)

    def score(*variants: np.ndarray) -> tuple[np.ndarray, float]:
        return scores(list(variants), sounds.labels, sounds.speakers, sounds.official, config.ridges)

    found = np.zeros((len(SYSTEMS), config.n_networks, len(sounds.names)))
    split, chosen = np.zeros((len(SYSTEMS), config.n_networks)), np.zeros((config.n_networks, len(sounds.names)))
    rates, alike = np.zeros((config.n_networks, len(scales))), score(plain)
    for number in progress(range(config.n_networks), "liquids"):
        own = jax.random.fold_in(key, number)

        def compute(own: Array = own) -> np.ndarray:
            spikes, events = _speech.counts(model, model.init(own), spectra, n_frames, config.n_windows,
                                            named(own, "events"), _knob(config), scales, config.encoder, progress)
            return np.concatenate([*spikes, events], axis=1)

        n_features = config.n_windows * model.n_units
        joined = kept(place, f"counts_{number}", compute)
        *spikes, events = np.split(joined, n_features * np.arange(1, len(scales) + 1), axis=1)
        rates[number] = [np.mean(one.sum(1) / (HOP * n_frames)) / model.n_units for one in spikes]
        rng = np.random.default_rng(int(jax.random.randint(named(own, "random features"), (), 0, 2**31 - 1)))
        each = [score(*spikes[:-1]), score(spikes[-1]), score(events), score(random_features(plain, n_features, rng)),
                alike]
        found[:, number], split[:, number] = np.stack([one[0][:, 0] for one in each]), [one[1] for one in each]
        chosen[number] = np.asarray(scales)[each[0][0][:, 1].astype(int)]
    return summarise(config, sounds, found, split, chosen, rates, example(config, key, sounds, spectra, n_frames))


def example(config: Config, key: Array, sounds: Recordings, spectra: np.ndarray, n_frames: np.ndarray) -> Any:
    """One recording: its spectrogram (frames, bands), the input and the spikes of the first liquid, (steps, ...)."""
    row = int(np.argmin(np.abs(n_frames - np.median(n_frames))))
    own, model = jax.random.fold_in(key, 0), liquid(config)
    keys = jax.random.fold_in(named(own, "events"), row)[None]
    shown = jnp.asarray(spectra[row : row + 1, : n_frames[row]])
    inputs = _speech.encoded(shown, keys, _knob(config), encoder=config.encoder)
    spikes = _speech.respond(model, model.init(own), inputs, config.weight_scales[-1])
    title = f"digit {sounds.labels[row]}, speaker {sounds.names[sounds.speakers[row]]}"
    return shown[0], np.asarray(inputs[0]), np.asarray(spikes[0]), title


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean over speakers and its 95 % interval by Student's t."""
    mean, reach = float(values.mean()), student_reach(float(values.std(ddof=1)), values.size)
    return mean, mean - reach, mean + reach


def summarise(config: Config, sounds: Recordings, found: np.ndarray, split: np.ndarray, chosen: np.ndarray,
              rates: np.ndarray, shown: Any) -> Result:
    """Tables, claims, arrays, figures; `found` (systems, networks, speakers), `split` (systems, networks)."""
    by_speaker, spread = found.mean(1), found.mean(2).std(1, ddof=min(1, config.n_networks - 1))
    ends = {name: _interval(by_speaker[i]) for i, name in enumerate(SYSTEMS)}
    rows = [(name, *by_speaker[i], *ends[name], spread[i], split[i].mean()) for i, name in enumerate(SYSTEMS)]
    less = {name: _interval(by_speaker[0] - by_speaker[i]) for i, name in enumerate(SYSTEMS) if i}
    claims: list[Claim] = []
    if config.dataset == "spoken_digits":
        source = "the question of this experiment"
        claims = [within(f"liquid less {name}: low end of the 95 % interval over speakers", source, 0.0, math.inf,
                         less[name][1]) for name in ("spectrogram", "no recurrence")]
    shares = [f"{scale:g}: {np.mean(chosen == scale):.2f}" for scale in config.weight_scales]
    note = (f"{config.n_networks} liquids; rates {', '.join(f'{r:.0f}' for r in rates.mean(0)[:-1])} Hz at weights "
            f"{', '.join(f'{w:g}' for w in config.weight_scales)}, {rates.mean(0)[-1]:.0f} Hz without recurrence; "
            f"share of folds in which each weight was chosen: {', '.join(shares)}")
    what = "made-up tones, no speech" if config.dataset == "tones" else "spoken digits"
    return Result(
        figures={**{f"accuracy_{name}": ends[name][0] for name in SYSTEMS},
                 **{f"liquid_less_{name}": less[name][0] for name in less},
                 **{f"official_split_{name}": float(split[i].mean()) for i, name in enumerate(SYSTEMS)}},
        claims=claims,
        tables=[Table(f"Accuracy on the speaker held out ({what})",
                      ("features", *sounds.names, "mean", "low", "high", "SD over liquids", "official split"), rows,
                      note=note),
                Table("Paired differences over speakers", ("difference", "mean", "low", "high"),
                      [(f"liquid less {name}", *values) for name, values in less.items()],
                      note="low, high: 95 % interval of the mean over speakers (Student)")],
        data={"accuracy": Variable(("system", "network", "speaker"), found, "1", "accuracy on the speaker held out"),
              "official": Variable(("system", "network"), split, "1", "accuracy on the official test set"),
              "weight_scale": Variable(("network", "speaker"), chosen, "1", "factor chosen for the speaker held out")},
        coords={"system": Variable(("system",), np.asarray(SYSTEMS), "1", "features of the readout"),
                "network": Variable(("network",), np.arange(config.n_networks), "1", "index of the liquid"),
                "speaker": Variable(("speaker",), np.asarray(sounds.names), "1", "speaker held out")},
        plots={"spoken_digits": partial(draw, sounds.names, found), "spoken_digits_liquid": partial(draw_one, shown)},
        headline=f"speakers held out: liquid {ends['liquid'][0]:.3f}, spectrogram {ends['spectrogram'][0]:.3f}, "
        f"difference {less['spectrogram'][0]:+.3f} ({less['spectrogram'][1]:+.3f} to {less['spectrogram'][2]:+.3f})",
    )


def draw(names: tuple[str, ...], found: np.ndarray, figure: Any) -> None:
    """Accuracy on each speaker held out, mean over liquids, a line a speaker; bars: mean over speakers."""
    figure.set_size_inches(7.2, 4.4)
    ax = figure.subplots()
    means = found.mean(1)
    ax.bar(range(len(SYSTEMS)), means.mean(1), width=0.7, color="0.88", zorder=0)
    for number, name in enumerate(names):
        ax.plot(means[:, number], marker="o", ms=5, lw=1.0, color=plots.style.COLORS[number], label=name)
    for at, mean in enumerate(means.mean(1)):
        ax.annotate(f"{mean:.3f}", (at, 0.02), xycoords=("data", "axes fraction"), ha="center")
    ax.set_xticks(range(len(SYSTEMS)), SYSTEMS)
    ax.set_ylim(0.0, 1.0)
    ax.set_ylabel("accuracy on the speaker held out")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=6)


def draw_one(shown: Any, figure: Any) -> None:
    """A recording as the liquid gets it, and what the liquid does."""
    spectrum, inputs, spikes, title = shown
    figure.set_size_inches(7.0, 6.6)
    top, bottom = figure.subplots(2, 1, height_ratios=(1, 2.4))
    top.imshow(np.asarray(spectrum).T, origin="lower", aspect="auto", cmap="magma",
               extent=(0, PER * len(spectrum), 0, spectrum.shape[1]))
    top.set_ylabel("mel band")
    top.set_title(f"{title}: log mel spectrogram", loc="left", fontsize=10)
    plots.raster(spikes, inputs=inputs, title="liquid, and its input below", ax=bottom)


def main() -> int:
    """Run from the command line: python -m experiments.spoken_digits [options]."""
    return cli.main(["spoken_digits", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
