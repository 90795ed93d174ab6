"""Showing results and progress: pure JSON or tables on stdout, everything else on stderr."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edgepress_runtime.lines import complain, json_line

_QUIET_S = 1.0  # nothing is shown for what takes less
_PERIOD_S = 10.0  # between two lines where there is no terminal
_WIDE = 200


def emit(value: Any, *, as_json: bool, show: Callable[[Console, Any], None]) -> None:
    """Print `value` (a data class or mapping) as one JSON object, or let `show` draw it."""
    if as_json:
        plain = value if isinstance(value, Mapping) else dataclasses.asdict(value)
        print(json_line(plain, _plain))
    else:
        # Files and pipes have no width of their own; nothing should be cut there.
        show(Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDE), value)


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """A table whose columns after the first are right-aligned."""
    drawn = Table(*(), title=escape(title) or None, title_justify="left", box=None, pad_edge=False)
    for i, column in enumerate(columns):
        drawn.add_column(column, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        drawn.add_row(*(escape(str(cell)) for cell in row))
    console.print(drawn)


def facts(console: Console, rows: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line."""
    for name, value in rows:
        console.print(f"[bold]{escape(name):<14}[/bold] {escape(str(value))}")


def percent(share: float | None) -> str:
    """A share of 0 to 1 in per cent, `-` for None."""
    return "-" if share is None else f"{100 * share:.1f} %"


def kilobytes(size: float) -> str:
    """Bytes in kB (1,000 bytes)."""
    return f"{size / 1000:,.1f} kB"


@contextmanager
def progress() -> Iterator[Callable[[str, int, int, str], None]]:
    """A `Progress` callback that draws on stderr: one bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Bar(bars)


class _Bar:
    """Progress for people: a bar for the stage at hand. A stage that begins anew starts its bar and clock again."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._stage, self._done = "", 0
        self._task: Any = None

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        if stage != self._stage or done < self._done:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._task = self._bars.add_task(stage)
        self._stage, self._done = stage, done
        text = escape(f"{stage}  {note}".rstrip())
        self._bars.update(self._task, completed=done, total=total, description=text)


class _Lines:
    """Progress for logs: nothing in the first second, then a line for each new stage and one every ten seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin = clock()
        self._next = self._begin + _QUIET_S
        self._told: set[str] = set()

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        now = self._clock()
        new = stage not in self._told and now >= self._begin + _QUIET_S
        if new or now >= self._next:
            self._told.add(stage)
            self._next = now + _PERIOD_S
            complain(f"{stage} {done}/{total} {note}".rstrip())
