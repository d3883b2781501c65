"""Members done, rate and time left: a bar where rich is installed and the output is a terminal, lines elsewhere."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import Any


def clock(seconds: float) -> str:
    """Seconds as 12 s, 3:05 or 2:10:00."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Meter:
    """Reports to standard error.

    Args:
        total: members of the whole sweep. before: those already stored. show: None shows in a terminal only.
    """

    def __init__(self, total: int, before: int, show: bool | None, stream: Any = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        terminal = bool(getattr(self.stream, "isatty", lambda: False)())
        self.show = terminal if show is None else bool(show)
        self.total, self.before, self.done = total, before, 0
        self._started: float | None = None
        self._said = 0.0
        self._bar: Any = None
        if self.show and terminal and importlib.util.find_spec("rich") is not None:
            self._bar = _bar(self.stream)

    def note(self, text: str) -> None:
        """One line, above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif self.show:
            self._line(text)

    def start(self) -> None:
        """Begin to count time (after compilation, the first time)."""
        if self._started is None:
            self._started = self._said = time.perf_counter()
            if self._bar is not None:
                self._bar.start()
                self._task = self._bar.add_task("sweep", total=self.total, completed=self.before, rate="")

    def text(self) -> str:
        """For example ``640 of 4,096 members, 120 a second, 29 s left``."""
        done = self.before + self.done
        line = f"{done:,} of {self.total:,} members"
        passed = time.perf_counter() - self._started if self._started is not None else 0.0
        if self.done and passed > 0:
            rate = self.done / passed
            line += f", {rate:,.3g} a second, {clock((self.total - done) / rate)} left"
        return line

    def add(self, members: int) -> None:
        """That many more are done."""
        self.done += members
        if self._bar is not None:
            self._bar.update(self._task, completed=self.before + self.done, rate=self.text())
        elif self.show and (time.perf_counter() - self._said > 10.0 or self.before + self.done == self.total):
            self._said = time.perf_counter()
            self._line(self.text())

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _line(self, text: str) -> None:
        self.stream.write(text + "\n")
        self.stream.flush()


def _bar(stream: Any) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"))
    return Progress(*columns, console=Console(file=stream))
