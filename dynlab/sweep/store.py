"""The folder of a sweep: a manifest, one file a finished chunk, a log of sessions, the labelled result at the end.

Every file is written under a temporary name, flushed to the disk and renamed, so that a chunk that is there is
complete, whenever the process was killed. The manifest holds everything that a number depends on; a folder whose
manifest differs is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1
MANIFEST, CHUNKS, RESULT, LOG, LOCK = "sweep.json", "chunks", "results.nc", "sessions.jsonl", "lock"


class StoreError(OSError):
    """The folder cannot be read or written; what is already stored stays valid."""


class StoreMismatch(ValueError):
    """The folder holds another sweep, or was written by another version."""


def write_file(path: Path, data: bytes) -> None:
    """Write atomically: temporary name, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def digest(config: Any) -> str:
    """Hash of a JSON-able configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def differences(stored: Any, now: Any, path: str = "") -> Iterator[str]:
    """Lines that name each entry in which two JSON-able values differ."""
    if isinstance(stored, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*stored, *now]):
            yield from differences(stored.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif stored != now:
        old, new = (_short(value) for value in (stored, now))
        yield f"{path}: stored {old}, now {new}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:50]} ... {text[-20:]}"


def peek(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder; None when there is none.

    Raises:
        StoreMismatch: another format, or no manifest of a sweep at all.
    """
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    try:
        manifest = json.loads(text)
        written = manifest["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreMismatch(f"{path} is not the manifest of a sweep") from error
    if written != FORMAT:
        raise StoreMismatch(f"{folder} was written in store format {written}, this version reads format {FORMAT}: "
                            "use the version that wrote it, or another folder")
    return manifest


class Store:
    """A folder, opened for one sweep."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], lock: Any) -> None:
        self.folder, self.manifest, self._lock = folder, manifest, lock

    @staticmethod
    def open(folder: Path, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> Store:
        """Make or continue the store of a configuration.

        Raises:
            StoreError: the folder cannot be written, or another process is writing it.
            StoreMismatch: it holds another configuration; the message names what differs.
        """
        try:
            (folder / CHUNKS).mkdir(parents=True, exist_ok=True)
            lock = (folder / LOCK).open("a")
        except OSError as error:
            raise StoreError(f"cannot write into out={str(folder)!r}: {error.strerror}") from error
        _take(lock, folder)
        manifest = peek(folder)
        if manifest is None:
            manifest = {"format": FORMAT, "hash": digest(config), "config": config, "provenance": provenance}
            try:
                write_file(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
            except OSError as error:
                raise StoreError(f"cannot write into out={str(folder)!r}: {error.strerror}") from error
        elif manifest["hash"] != digest(config):
            lines = list(differences(manifest["config"], config)) or ["the hash of the configuration"]
            lock.close()
            raise StoreMismatch(
                f"{folder} holds another sweep; nothing in it was changed. What differs:\n  " + "\n  ".join(lines)
                + "\nUse another folder, or the configuration that began this one."
            )
        for stale in (folder / CHUNKS).glob(".*.tmp"):
            stale.unlink(missing_ok=True)
        return Store(folder, manifest, lock)

    def close(self) -> None:
        self._lock.close()

    def path(self, chunk: int) -> Path:
        return self.folder / CHUNKS / f"{chunk:06d}.npz"

    def done(self) -> set[int]:
        """Numbers of the chunks that are stored."""
        return {int(path.stem) for path in (self.folder / CHUNKS).glob("*.npz") if path.stem.isdigit()}

    def write(self, chunk: int, leaves: Sequence[np.ndarray], failed: np.ndarray) -> None:
        """Store a finished chunk: leaves (blocks, seeds, lanes, ...), failed (blocks, lanes)."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {f"leaf_{i}": leaf for i, leaf in enumerate(leaves)}
        np.savez(buffer, failed=failed, **arrays)
        try:
            write_file(self.path(chunk), buffer.getvalue())
        except OSError as error:
            raise StoreError(
                f"cannot store chunk {chunk} in {str(self.folder)!r}: {error.strerror}. The {len(self.done())} chunks "
                "stored so far stay valid: make room and make the same call again, it goes on from there"
            ) from error

    def read(self, chunk: int, n_leaves: int) -> tuple[list[np.ndarray], np.ndarray]:
        """A stored chunk; StoreError when the file is damaged."""
        try:
            with np.load(self.path(chunk), allow_pickle=False) as data:
                return [data[f"leaf_{i}"] for i in range(n_leaves)], data["failed"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise StoreError(
                f"{self.path(chunk)} is damaged ({error}): delete this file and make the same call again, only that "
                "chunk is computed anew"
            ) from error

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append to the log of sessions; a full disk is no reason to stop."""
        with contextlib.suppress(OSError), (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def write_result(self, dataset: Any) -> Path:
        """Write results.nc, atomically."""
        path = self.folder / RESULT
        data = bytes(dataset.to_netcdf(engine="h5netcdf"))  # in memory: HDF5 ends the process where the disk is full
        try:
            write_file(path, data)
        except OSError as error:
            raise StoreError(f"cannot write {str(path)!r}: {error.strerror or error}. All chunks are stored: make room "
                             "and make the same call again, nothing is computed anew") from error
        return path


def _take(lock: Any, folder: Path) -> None:
    """Lock the folder for this process, where the system has locks; a killed process leaves none behind."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise StoreError(f"another process is writing {str(folder)!r}: wait for it, or use another folder") from None
    except OSError:  # a file system without locks
        return
