"""What an experiment hands back, and how it reports progress. See docs/experiments.md.

An experiment is one file of this folder with a module docstring (its first line is the question; then the paper
and the expected numbers), a frozen dataclass ``Config`` with ``smoke()``, a pure ``run(config, key, progress)``
that returns a :class:`Result`, and optionally ``validate(config)``, which refuses bad values before anything is
computed. Nothing here imports jax, matplotlib or xarray.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """Reports on long work: ``for item in progress(items, "label"): ...``."""

    def __call__(self, items: Sequence[Item], label: str) -> Iterator[Item]: ...


def quiet(items: Iterable[Item], label: str) -> Iterator[Item]:
    """The progress reporter that says nothing; for tests and for calls from Python."""
    del label
    yield from items


@dataclass(frozen=True)
class Claim:
    """One statement that can be checked: what a source expects, what this run measured.

    Attributes:
        claim: the statement, in words.
        source: where the expectation comes from (theorem, paper with DOI or arXiv number, documentation).
        expected: the expected number, range or bound, as text that names its tolerance.
        measured: the number that this run measured.
        holds: whether the measurement agrees.
    """

    claim: str
    source: str
    expected: str
    measured: float
    holds: bool


def near(claim: str, source: str, expected: float, measured: float, tolerance: float) -> Claim:
    """The claim that `measured` is within +-`tolerance` of `expected`."""
    holds = math.isfinite(measured) and abs(measured - expected) <= tolerance
    return Claim(claim, source, f"{expected:.5g} ± {tolerance:.3g}", float(measured), holds)


def within(claim: str, source: str, low: float, high: float, measured: float) -> Claim:
    """The claim that low <= `measured` <= high; use ``math.inf`` for an open side."""
    if low == -math.inf:
        expected = f"at most {high:.4g}"
    elif high == math.inf:
        expected = f"at least {low:.4g}"
    else:
        expected = f"{low:.4g} to {high:.4g}"
    return Claim(claim, source, expected, float(measured), bool(low <= measured <= high))


@dataclass(frozen=True)
class Table:
    """Rows for the terminal. Numbers are shown with four significant digits, text as it is."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True)
class Variable:
    """A labelled array of the result file.

    Attributes:
        dims: the name of each axis.
        values: the array (or anything NumPy can turn into one, text included).
        units: physical unit, "1" for a pure number.
        description: one line that says what it is.
    """

    dims: Sequence[str]
    values: Any
    units: str
    description: str


@dataclass(frozen=True)
class Result:
    """Everything an experiment returns.

    Attributes:
        figures: name -> number; the numbers to quote. NaN becomes null in summary.json.
        claims: the statements checked; one that does not hold is reported, it is no error.
        tables: printed at the end.
        data: name -> :class:`Variable`, saved as results.nc.
        coords: name -> :class:`Variable`, the coordinates of `data`.
        plots: name -> function(figure) that draws on an empty ``matplotlib.figure.Figure``; saved as NAME.png.
        headline: one line with the main number, printed last.
    """

    figures: Mapping[str, float]
    claims: Sequence[Claim] = ()
    tables: Sequence[Table] = ()
    data: Mapping[str, Variable] = field(default_factory=dict)
    coords: Mapping[str, Variable] = field(default_factory=dict)
    plots: Mapping[str, Callable[[Any], None]] = field(default_factory=dict)
    headline: str = ""
