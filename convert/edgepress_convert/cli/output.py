"""Showing results and progress: pure JSON or tables on stdout, everything else on stderr."""

from __future__ import annotations

import dataclasses
import json
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

_QUIET_S = 1.0  # nothing is shown for what takes less
_PERIOD_S = 10.0  # between two lines where there is no terminal
_WIDE = 200


def emit(value: Any, *, as_json: bool, show: Callable[[Console, Any], None]) -> None:
    """Print `value` (a data class or mapping) as one JSON object, or let `show` draw it."""
    if as_json:
        plain = value if isinstance(value, Mapping) else dataclasses.asdict(value)
        print(json.dumps(plain, ensure_ascii=False, allow_nan=False, default=_plain))
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
    """A `Progress` callback that draws on stderr: a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        known: dict[str, Any] = {}

        def draw(stage: str, done: int, total: int, note: str) -> None:
            if stage not in known:
                known[stage] = bars.add_task(stage)
            text = escape(f"{stage}  {note}".rstrip())
            bars.update(known[stage], completed=done, total=total, description=text)

        yield draw


class _Lines:
    """Progress for logs: nothing in the first second, then a line every ten, and one for each new stage."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _QUIET_S

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PERIOD_S
            print(f"{stage} {done}/{total} {note}".rstrip(), file=sys.stderr, flush=True)
