"""How far something is, on stderr."""

from __future__ import annotations

import sys
import time

from edgepress_runtime.lines import complain


class Progress:
    """Says on stderr how far something is, once it has taken a second; five times a second on a terminal."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + 1.0
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (0.2 if self._terminal else 5.0)
        self._shown = True
        text = f"{done} of {total} {self._unit}"
        if not self._terminal:
            complain(text)
            return
        print(f"\r{text}", end="", file=sys.stderr, flush=True)  # noqa: T201  where progress speaks

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._terminal:
            complain("")
