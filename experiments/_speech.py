"""Spoken digits for a liquid: recordings, their spectrograms, what is encoded of them, and counts in windows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynlab import data
from dynlab.simulation import simulate
from dynlab.tasks import delta_encode, log_compress, mel_spectrogram, poisson_encode

Array = jax.Array
ENCODERS = ("delta", "poisson", "current")
WINDOW, HOP, PER = 0.025, 0.01, 10  # seconds of a frame and between frames; steps of 1 ms a frame
BUCKET = 20  # frames; recordings run in programs whose length is a multiple


@dataclass(frozen=True)
class Recordings:
    """Recordings of digits by several speakers.

    Attributes:
        waves: (n, samples), zeros after each end. lengths: (n,) samples. labels: (n,). speakers: (n,), index into
            `names`. official: (n,) bool, the official test set. names: of the speakers. rate: samples a second.
    """

    waves: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    official: np.ndarray
    names: tuple[str, ...]
    rate: float


def tones(rng: np.random.Generator, n_each: int = 4) -> Recordings:
    """Made-up sounds that are no speech: each class a glide between two tones, each of three "speakers" a pitch."""
    rate, names = 8000.0, ("a", "b", "c")
    waves, lengths, rows = np.zeros((30 * n_each, 2400), np.float32), [], []
    for row in range(len(waves)):
        speaker, label = row % 3, row // 3 % 10
        n = int(rng.integers(1400, 2400))
        pitch = 0.9 + 0.1 * speaker
        frequency = np.linspace(pitch * (300.0 + 300.0 * label), pitch * (3300.0 - 300.0 * label), n)
        phase = 2 * np.pi * np.cumsum(frequency) / rate
        waves[row, :n] = np.sin(phase) * np.hanning(n) + 0.02 * rng.standard_normal(n)
        lengths.append(n)
        rows.append((label, speaker, row // 30 == 0))
    labels, speakers, official = np.array(rows).T
    return Recordings(waves, np.array(lengths), labels, speakers, official.astype(bool), names, rate)


def recordings(dataset: str, longest: float, rng: np.random.Generator) -> Recordings:
    """Those of "spoken_digits", both official parts together and cut after `longest` seconds, or "tones"."""
    if dataset == "tones":
        return tones(rng)
    digits = data.load(dataset)
    n = round(longest * digits.rate)

    def cut(values: np.ndarray) -> np.ndarray:
        return np.pad(values[:, :n, 0], ((0, 0), (0, max(0, n - values.shape[1]))))

    parts = digits.train, digits.test
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("lengths", "labels", "groups")}
    return Recordings(np.concatenate([cut(part.values) for part in parts]), np.minimum(joined["lengths"], n),
                      joined["labels"], joined["groups"], np.repeat([False, True], [len(p.labels) for p in parts]),
                      digits.group_names, digits.rate)


def levels(sounds: Recordings, n_bands: int, range_db: float, piece: int = 250) -> tuple[np.ndarray, np.ndarray]:
    """Log spectrograms (n, frames, n_bands) from 0 to 1, and the number of frames of each recording (n,)."""
    out = [np.asarray(log_compress(mel_spectrogram(sounds.waves[i : i + piece], sounds.rate, n_bands, window=WINDOW,
                                                   hop=HOP), range_db))
           for i in range(0, len(sounds.waves), piece)]
    window, hop = round(WINDOW * sounds.rate), round(HOP * sounds.rate)
    return np.concatenate(out), np.maximum(1, 1 + (sounds.lengths - window) // hop)


def edges(n_frames: np.ndarray, n_windows: int, per: int = 1) -> np.ndarray:
    """Where the windows of each recording begin and end (n, n_windows + 1): equal parts of its own duration."""
    return np.round(per * n_frames[:, None] * np.arange(n_windows + 1) / n_windows).astype(np.int32)


@jax.jit
def windows(values: Array, borders: Array) -> Array:
    """Sums over windows: (n, time, channels), borders (n, windows + 1) -> (n, windows, channels)."""
    t = jnp.arange(values.shape[1])
    inside = (t >= borders[:, :-1, None]) & (t < borders[:, 1:, None])
    return jnp.einsum("nwt,ntc->nwc", inside.astype(values.dtype), values, precision="highest")


def pooled(spectra: np.ndarray, n_frames: np.ndarray, n_windows: int) -> np.ndarray:
    """Mean log spectrum in each window, (n, n_windows * n_bands)."""
    borders = edges(n_frames, n_windows)
    sums = np.asarray(windows(jnp.asarray(spectra), jnp.asarray(borders)))
    return (sums / np.maximum(1, np.diff(borders))[:, :, None]).reshape(len(spectra), -1)


def encode(spectrum: Array, key: Array, encoder: str, knob: Any) -> Array:
    """What the liquid gets in steps of 1 ms, (steps, channels), of frames (frames, bands) joined by straight lines.

    "delta": ON and OFF events of changes by `knob`; "poisson": spikes at up to `knob` Hz; "current": `knob` mV a step.
    """
    after = jnp.concatenate([spectrum[1:], spectrum[-1:]])
    share = jnp.arange(PER, dtype=spectrum.dtype)[:, None] / PER
    line = (spectrum[:, None] + share * (after - spectrum)[:, None]).reshape(-1, spectrum.shape[1])
    if encoder == "delta":
        return delta_encode(line, knob, single=True)
    return poisson_encode(key, knob * line, 1e-3) if encoder == "poisson" else line


@partial(jax.jit, static_argnames="encoder")
def encoded(spectra: Array, keys: Array, knob: Any, *, encoder: str) -> Array:
    """Inputs (n, steps, channels) of recordings (n, frames, bands), a key each."""
    return jax.vmap(lambda one, key: encode(one, key, encoder, knob))(spectra, keys)


@jax.jit
def respond(model: Any, params: Any, inputs: Array, scale: Any) -> Array:
    """Spikes (n, steps, N) of a liquid with this factor on its recurrent weights."""
    return simulate(model, params.replace(weight_scale=scale), inputs).outputs


@partial(jax.jit, static_argnames="encoder")
def _count(model: Any, params: Any, spectra: Array, borders: Array, keys: Array, knob: Any, scales: Array, *,
           encoder: str) -> tuple[Array, Array]:
    x = encoded(spectra, keys, knob, encoder=encoder)
    counts = jax.lax.map(lambda scale: windows(respond(model, params, x, scale), borders), scales)
    return counts, windows(x, borders)


def counts(model: Any, params: Any, spectra: np.ndarray, n_frames: np.ndarray, n_windows: int, key: Array, knob: float,
           scales: Any, encoder: str, progress: Any, piece: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Spikes of the liquid (scales, n, windows * N) and events of its input (n, windows * channels) in windows.

    Recordings of like length run together; all of one length, to the next 0.2 s, are one compiled program.
    """
    order, most = np.argsort(n_frames, kind="stable"), spectra.shape[1]
    spikes = np.zeros((len(scales), len(order), n_windows, model.n_units), np.float32)
    events = np.zeros((len(order), n_windows, model.n_inputs), np.float32)
    for start in progress(range(0, len(order), piece), "pieces"):
        rows = order[np.minimum(np.arange(start, start + piece), len(order) - 1)]  # the last fills up the piece
        length = min(most, -(-int(n_frames[rows].max()) // BUCKET) * BUCKET)
        keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.asarray(rows))
        found = _count(model, params, jnp.asarray(spectra[rows, :length]),
                       jnp.asarray(edges(n_frames[rows], n_windows, PER)), keys, knob, jnp.asarray(scales),
                       encoder=encoder)
        spikes[:, rows], events[rows] = (np.asarray(leaf) for leaf in found)
    return spikes.reshape(*spikes.shape[:2], -1), events.reshape(len(events), -1)
