"""Readers of the file formats that the data sets come in. Each refuses a file that is not whole."""

from __future__ import annotations

import gzip
import hashlib
import io
import wave
import zipfile
import zlib
from pathlib import Path

import numpy as np


def read_bytes(path: Path) -> bytes:
    """The content of a file, uncompressed if its name ends in .gz; ValueError if the compressed file is damaged."""
    raw = path.read_bytes()
    if path.suffix != ".gz":
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is no whole gzip file: {error}") from error


def verify(content: bytes, digest: str, what: str) -> None:
    """Require the checksum of `content`: `digest` is "md5:HEX" or "sha256:HEX"; ValueError if it differs."""
    kind, expected = digest.split(":")
    got = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
    if got != expected:
        raise ValueError(
            f"{what} is damaged or another version: its uncompressed content has {kind} {got}, expected {expected}"
        )


def read_idx(content: bytes, what: str = "the file") -> np.ndarray:
    """An array in IDX format (two zero bytes, type code, rank, big-endian sizes, data), unsigned bytes only."""
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError(f"{what} is no IDX file: it begins with {content[:4]!r}, an IDX file with two zero bytes")
    if content[2] != 0x08:
        raise ValueError(f"{what} has IDX type code {content[2]:#04x}; only 0x08 (unsigned byte) is read")
    rank = content[3]
    start = 4 + 4 * rank
    if len(content) < start:
        raise ValueError(f"{what} ends inside its IDX header: {len(content)} bytes of {start}")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", rank, 4))
    need = start + int(np.prod(shape, dtype=np.int64))
    if len(content) != need:
        raise ValueError(f"{what} has {len(content)} bytes, its IDX header {shape} asks for {need}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_npy(content: bytes, what: str = "the file") -> np.ndarray:
    """An array in NumPy's format; never unpickles."""
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{what} is no whole .npy file: {error}") from error


def read_table(content: bytes, what: str = "the file") -> np.ndarray:
    """Numbers of a comma-separated file with # comments and one header line, (rows, columns), float64."""
    lines = [line for line in content.decode().splitlines() if line.strip() and not line.startswith("#")]
    try:
        rows = [[float(cell) for cell in line.split(",")] for line in lines[1:]]
    except ValueError as error:
        raise ValueError(f"{what} holds a cell that is no number: {error}") from error
    if not rows or len({len(row) for row in rows}) != 1:
        raise ValueError(f"{what} must hold rows of one length, got lengths {sorted({len(row) for row in rows})}")
    return np.asarray(rows)


def read_ts(content: bytes, what: str = "the file") -> tuple[list[np.ndarray], list[str], list[str]]:
    """A classification set in the .ts format (no time stamps), series of any length.

    Returns:
        ``(series, labels, classes)``: each series (time, channels) float64, its label, the declared classes.
    """
    series: list[np.ndarray] = []
    labels: list[str] = []
    classes: list[str] = []
    in_data = False
    for number, line in enumerate(content.decode().splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if not in_data:
            words = line.split()
            if not line.startswith("@"):
                raise ValueError(f"{what}, line {number}: expected a line that begins with @, got {line[:40]!r}")
            if words[0].lower() == "@timestamps" and words[1:2] != ["false"]:
                raise ValueError(f"{what}, line {number}: series with time stamps are not read")
            if words[0].lower() == "@classlabel":
                classes = words[2:]
            in_data = words[0].lower() == "@data"
            continue
        *channels, label = line.split(":")
        try:
            columns = [[float(cell) for cell in channel.split(",")] for channel in channels]
        except ValueError as error:
            raise ValueError(f"{what}, line {number}: a cell is no number: {error}") from error
        if not columns or len({len(column) for column in columns}) != 1:
            raise ValueError(f"{what}, line {number}: channels of different lengths {[len(c) for c in columns]}")
        if series and len(columns) != series[0].shape[1]:
            raise ValueError(
                f"{what}, line {number}: {len(columns)} channels, the first series has {series[0].shape[1]}"
            )
        if label not in classes:
            raise ValueError(f"{what}, line {number}: label {label!r} is none of the classes {classes}")
        series.append(np.asarray(columns).T)
        labels.append(label)
    if not series:
        raise ValueError(f"{what} holds no series: there is nothing after its @data line")
    return series, labels, classes


def read_wav(content: bytes, what: str = "the file") -> tuple[np.ndarray, int]:
    """A mono 16-bit PCM recording: samples in [-1, 1), float32 (exact), and the sampling rate in Hz."""
    try:
        with wave.open(io.BytesIO(content)) as sound:
            layout, rate, count = (sound.getnchannels(), sound.getsampwidth()), sound.getframerate(), sound.getnframes()
            frames = sound.readframes(count)
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{what} is no whole WAV file: {error}") from error
    if layout != (1, 2):
        raise ValueError(f"{what} must be mono with 2 bytes a sample, got {layout[0]} channels, {layout[1]} bytes")
    if len(frames) != 2 * count:
        raise ValueError(f"{what} ends early: {len(frames) // 2} samples of {count}")
    return np.frombuffer(frames, "<i2").astype(np.float32) / np.float32(32768.0), rate


def read_folder(path: Path, suffix: str) -> dict[str, bytes]:
    """The files of a folder or zip archive (at any depth) whose names end in `suffix`: base name to content, sorted."""
    if path.is_dir():
        return {file.name: file.read_bytes() for file in sorted(path.rglob("*" + suffix), key=lambda file: file.name)}
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted((name for name in archive.namelist() if name.endswith(suffix)), key=lambda n: Path(n).name)
            return {Path(name).name: archive.read(name) for name in names}
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is no whole zip archive: {error}") from error


def pad(series: list[np.ndarray], dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Series (time, channels) of any length as one array (n, longest, channels), zeros after each end; lengths (n,)."""
    lengths = np.asarray([len(one) for one in series], np.int32)
    out = np.zeros((len(series), int(lengths.max()), series[0].shape[1]), dtype)
    for row, one in zip(out, series, strict=True):
        row[: len(one)] = one
    return out, lengths
