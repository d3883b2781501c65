"""What the terminal shows: progress, tables, claims."""

from __future__ import annotations

import math
import numbers
import time
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from experiments import contract
from experiments.catalogue import Entry


def console(stream: TextIO) -> Console:
    """A console as wide as the terminal, or 120 columns where the output goes elsewhere."""
    return Console(file=stream, width=None if stream.isatty() else 120)


class Reporter:
    """A :class:`contract.Progress`: a bar in a terminal, one plain line a stage elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, items: Sequence[contract.Item], label: str) -> Iterator[contract.Item]:
        if not self.console.is_terminal:
            started = time.perf_counter()
            yield from items
            seconds = time.perf_counter() - started
            self.console.print(f"{label}: {len(items)} done in {seconds:.1f} s", highlight=False, markup=False)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as bar:
            yield from bar.track(items, description=escape(label))

    def note(self, line: str) -> None:
        """One line between the others, such as the loss after an epoch."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def text(value: Any) -> str:
    """One cell: numbers with four significant digits, None and NaN as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, int)):
        return f"{float(value):.4g}"
    return str(value)


def print_table(console: Console, table: contract.Table) -> None:
    """A result table; columns that hold a number are right-aligned."""
    shown = Table(title=escape(table.title), caption=escape(table.note) or None, title_justify="left")
    for index, column in enumerate(table.columns):
        is_number = any(isinstance(row[index], numbers.Real) for row in table.rows)
        shown.add_column(escape(column), justify="right" if is_number else "left")
    for row in table.rows:
        shown.add_row(*(escape(text(cell)) for cell in row))
    console.print(shown)


def print_claims(console: Console, claims: Sequence[contract.Claim]) -> None:
    """Each claim with what was expected and measured; one that does not hold says so."""
    if not claims:
        return
    shown = Table(title="Claims", title_justify="left")
    shown.add_column("", no_wrap=True)
    shown.add_column("measured", justify="right", no_wrap=True)
    shown.add_column("expected", no_wrap=True)
    shown.add_column("claim (source)")
    for claim in claims:
        mark = "[green]holds[/]" if claim.holds else "[bold red]NOT HELD[/]"
        cells = (text(claim.measured), claim.expected, f"{claim.claim} ({claim.source})")
        shown.add_row(mark, *(escape(cell) for cell in cells))
    console.print(shown)
    for claim in claims:
        if not claim.holds:
            console.print(
                f"NOT HELD: {claim.claim}: measured {text(claim.measured)}, expected {claim.expected}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


def print_catalogue(console: Console, entries: Sequence[Entry]) -> None:
    """The experiments with their questions."""
    shown = Table(title="Experiments", title_justify="left")
    shown.add_column("name", no_wrap=True)
    shown.add_column("question")
    for entry in entries:
        shown.add_row(escape(entry.name), escape(entry.question))
    console.print(shown)
    console.print(
        "python -m experiments NAME [--smoke] [--config FILE] [--out DIR] [--seed S] [--FIELD VALUE ...]\n"
        "python -m experiments NAME --help shows the fields",
        markup=False,
        highlight=False,
    )
