"""Which experiments there are, read from the source text: nothing is imported, so listing them is fast.

An experiment is a file ``experiments/NAME.py`` that defines a class ``Config`` and a function ``run`` at its top
level. Every other file here is infrastructure, and so is any name that begins with an underscore. Folders
(such as ``bench/``) are not searched.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Entry:
    """One experiment: its name, its question and the file it is in."""

    name: str
    question: str
    path: Path


def entries(folder: Path = FOLDER) -> list[Entry]:
    """The experiments of a folder, by name."""
    found = []
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if "Config" in classes and "run" in functions:
            docstring = ast.get_docstring(tree) or "(no question: the file has no docstring)"
            found.append(Entry(path.stem, docstring.splitlines()[0], path))
    return found


def find(name: str, folder: Path = FOLDER) -> Entry:
    """The experiment called `name`; a LookupError that lists near matches when there is none."""
    known = {entry.name: entry for entry in entries(folder)}
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(known)}"
    raise LookupError(f"there is no experiment called {name!r}; {hint}")


def load(entry: Entry) -> ModuleType:
    """Import an experiment."""
    if entry.path.parent == FOLDER:
        return importlib.import_module(f"experiments.{entry.name}")
    spec = importlib.util.spec_from_file_location(entry.name, entry.path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {entry.path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[entry.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module
