"""Reads a config.json back into an experiment's ``Config``, with errors that name the entry."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any


def load(path: Path, experiment: str, config_type: type) -> tuple[Any, int]:
    """The config and the seed stored in a config.json.

    Raises:
        ValueError: the file cannot be read, belongs to another experiment, or holds an unknown or wrong entry.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read --config {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"--config {path} is not JSON: {error}") from error
    if not isinstance(stored, dict) or not isinstance(stored.get("config"), dict):
        raise ValueError(f"--config {path} must hold an object with the entries experiment, seed and config")
    if stored.get("experiment") != experiment:
        raise ValueError(f"--config {path} belongs to {stored.get('experiment')!r}, not to {experiment!r}")
    seed = convert(stored.get("seed", 0), int, "seed")
    return convert(stored["config"], config_type, "config"), seed


def convert(value: Any, kind: Any, name: str) -> Any:
    """`value` as read from JSON, converted to the annotation `kind`; ValueError naming `name` where it cannot be."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(value, kind, name)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        if value in arguments:
            return value
    elif origin in (typing.Union, types.UnionType):
        for option in arguments:
            try:
                return convert(value, option, name)
            except ValueError:
                continue
    elif origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) == len(value):
            pairs = zip(value, kinds, strict=True)
            return tuple(convert(item, one, f"{name}[{i}]") for i, (item, one) in enumerate(pairs))
    elif kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif isinstance(kind, type) and type(value) is kind:
        return value
    raise ValueError(f"{name} must be {getattr(kind, '__name__', kind)}, got {value!r}")


def _dataclass(value: Any, kind: type, name: str) -> Any:
    hints = typing.get_type_hints(kind)
    known = [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object, got {value!r}")
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise ValueError(f"{name} has unknown entries {', '.join(unknown)}; allowed: {', '.join(known)}")
    return kind(**{key: convert(item, hints[key], f"{name}.{key}") for key, item in value.items()})
