"""Real data sets, read from files that packages ship: nothing is ever downloaded.

``load(name)`` gives the data, ``available()`` a table of what is at hand. Sunspots come with dynlab; the others
are looked for in ``$DYNLAB_DATA``, then in an installed package, then in the system's folder. Contents are
checked against known checksums. Arrays are NumPy arrays on the host.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from dynlab import check
from dynlab.data import formats
from dynlab.data.catalogue import CATALOGUE, Entry, locate, places

__all__ = ["Images", "Labelled", "Sequences", "Series", "available", "load"]


@dataclasses.dataclass(frozen=True)
class Series:
    """One real time series."""

    values: np.ndarray  # (time, n_features), default float dtype
    times: np.ndarray  # (time,) float64: sample number, or year (the start of the interval)
    name: str
    unit: str
    licence: str
    source: str


@dataclasses.dataclass(frozen=True)
class Labelled:
    """One split of a classification set."""

    values: np.ndarray  # (n, 28, 28) uint8, or (n, longest, channels) float with zeros after each end
    labels: np.ndarray  # (n,) int32, index into `classes`
    lengths: np.ndarray  # (n,) int32: valid steps of each sequence (rows, for images)
    groups: np.ndarray  # (n,) int32: index into `group_names` (the speaker), 0 where there are none


@dataclasses.dataclass(frozen=True)
class Images:
    """An image classification set with its official split."""

    train: Labelled
    test: Labelled
    classes: tuple[str, ...]
    name: str
    licence: str
    source: str


@dataclasses.dataclass(frozen=True)
class Sequences:
    """A set of labelled sequences of different lengths, padded, with its official split."""

    train: Labelled
    test: Labelled
    classes: tuple[str, ...]
    group_names: tuple[str, ...]
    rate: float  # samples (or frames) a second
    name: str
    licence: str
    source: str


def _read(name: str, paths: dict[str, Path], verify: bool) -> dict[str, bytes]:
    """The uncompressed content of each file, its checksum compared."""
    out = {}
    for file, path in paths.items():
        out[file] = formats.read_bytes(path)
        if verify:
            formats.verify(out[file], CATALOGUE[name].files[file], f"{file} of {name} at {path}")
    return out


def _series(name: str, entry: Entry, paths: dict[str, Path], verify: bool) -> Series:
    ((file, content),) = _read(name, paths, verify).items()
    unit = "sunspot number (Wolf)"
    if name == "santa_fe":
        values = formats.read_npy(content, file).reshape(-1)
        times, unit = np.arange(values.size, dtype=float), "intensity, 8-bit counts"
    else:
        table = formats.read_table(content, file)
        values = table[:, 1:].reshape(-1)
        width = table.shape[1] - 1
        times = (table[:, :1] + np.arange(width) / width).reshape(-1)
    column = values[:, None].astype(check.default_float())
    return Series(column, times, name, unit, entry.licence, entry.source)


_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_DIGITS = tuple(str(digit) for digit in range(10))


def _images(name: str, entry: Entry, paths: dict[str, Path], verify: bool) -> Images:
    arrays = {file: formats.read_idx(content, file) for file, content in _read(name, paths, verify).items()}

    def split(prefix: str) -> Labelled:
        values, labels = arrays[f"{prefix}-images-idx3-ubyte"], arrays[f"{prefix}-labels-idx1-ubyte"]
        if values.ndim != 3 or labels.ndim != 1 or len(values) != len(labels):
            raise ValueError(f"{prefix} images {values.shape} and labels {labels.shape} of {name} do not match")
        count = len(values)
        lengths, groups = np.full(count, values.shape[1], np.int32), np.zeros(count, np.int32)
        return Labelled(values, labels.astype(np.int32), lengths, groups)

    classes = _FASHION if name == "fashion_mnist" else _DIGITS
    return Images(split("train"), split("t10k"), classes, name, entry.licence, entry.source)


_FRAMES = 1000.0 / 6.4  # frames a second: the analysis window moves by 6.4 ms


def _vowels(name: str, entry: Entry, paths: dict[str, Path], verify: bool) -> Sequences:
    contents = _read(name, paths, verify)
    splits: list[Labelled] = []
    classes: list[str] = []
    for file, content in contents.items():
        series, labels, classes = formats.read_ts(content, file)
        values, lengths = formats.pad(series, check.default_float())
        index = np.asarray([classes.index(label) for label in labels], np.int32)
        splits.append(Labelled(values, index, lengths, np.zeros_like(index)))
    train, test = splits
    return Sequences(train, test, tuple(classes), (), _FRAMES, name, entry.licence, entry.source)


_RECORDING = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")


def _digits(name: str, entry: Entry, paths: dict[str, Path], verify: bool) -> Sequences:
    ((file, path),) = paths.items()
    recordings = formats.read_folder(path, ".wav")
    if not recordings:
        raise ValueError(f"{path} holds no .wav recording")
    if verify:
        joined = b"".join(base.encode() + b"\0" + content for base, content in recordings.items())
        formats.verify(joined, entry.files[file], f"the set of {len(recordings)} recordings of {name} at {path}")
    rows: dict[bool, list[tuple[np.ndarray, int, str]]] = {True: [], False: []}
    rates = set()
    for base, content in recordings.items():
        match = _RECORDING.fullmatch(base)
        if match is None:
            raise ValueError(f"{base} in {path} is not named DIGIT_SPEAKER_NUMBER.wav")
        samples, rate = formats.read_wav(content, base)
        rates.add(rate)
        rows[int(match[3]) < 5].append((samples[:, None], int(match[1]), match[2]))  # numbers 0 to 4 are the test set
    if len(rates) != 1 or not rows[True] or not rows[False]:
        raise ValueError(
            f"{path} must hold recordings of one rate, numbers 0 to 4 (test) and above (training): got rates "
            f"{sorted(rates)} Hz, {len(rows[True])} for test and {len(rows[False])} for training"
        )
    speakers = sorted({speaker for split in rows.values() for _, _, speaker in split})

    def split(test: bool) -> Labelled:
        values, lengths = formats.pad([samples for samples, _, _ in rows[test]], np.dtype(np.float32))
        labels = np.asarray([digit for _, digit, _ in rows[test]], np.int32)
        groups = np.asarray([speakers.index(speaker) for _, _, speaker in rows[test]], np.int32)
        return Labelled(values, labels, lengths, groups)

    return Sequences(
        split(False), split(True), _DIGITS, tuple(speakers), float(rates.pop()), name, entry.licence, entry.source
    )


def load(name: str, *, verify: bool = True) -> Any:
    """Read a data set.

    Args:
        name: one of ``available()``: "sunspots_yearly", "sunspots_monthly" and "santa_fe" give a :class:`Series`;
            "mnist" and "fashion_mnist" :class:`Images`; "japanese_vowels" and "spoken_digits" :class:`Sequences`.
        verify: compare the uncompressed content with the known checksum. Turn it off only for another version of
            a set that you mean to use.

    Raises:
        ValueError: unknown name, wrong checksum, or a file that is damaged or cut short.
        FileNotFoundError: the set is not at hand; the message says how to get it. Nothing is ever downloaded.
    """
    check.choice("name", name, CATALOGUE)
    entry = CATALOGUE[name]
    root = os.environ.get("DYNLAB_DATA")
    paths = locate(entry)
    if paths is None:
        looked = ", ".join(str(place) for place in places(entry)) or "no folder"
        note = ""
        if not root:
            note = " The environment variable DYNLAB_DATA, a folder for data sets, is not set."
        elif not Path(root).expanduser().is_dir():
            note = f" The environment variable DYNLAB_DATA is {root!r}, which is no folder."
        raise FileNotFoundError(
            f"data set {name!r} needs {', '.join(entry.files)}; looked in {looked}.{note} To get it: {entry.how}. "
            f"Licence: {entry.licence}."
        )
    if entry.kind == "series":
        return _series(name, entry, paths, verify)
    if entry.kind == "images":
        return _images(name, entry, paths, verify)
    return (_vowels if name == "japanese_vowels" else _digits)(name, entry, paths, verify)


def available() -> list[dict[str, Any]]:
    """One row a data set: name, present, kind, summary, licence, how (to get it). Looks for files, reads none."""
    return [
        {
            "name": name,
            "present": locate(entry) is not None,
            "kind": entry.kind,
            "summary": entry.summary,
            "licence": entry.licence,
            "how": entry.how,
        }
        for name, entry in CATALOGUE.items()
    ]
