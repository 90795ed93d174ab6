"""The live table of a fleet: one row a board on a terminal, one line an event elsewhere. All on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from edgepress_convert.fleet import Device
from edgepress_runtime.lines import complain


class FleetTable:
    """A context manager; `tell` may be called from any thread."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self._rows = {device.host: ("waiting", "") for device in devices}
        self._lock = Lock()
        console = Console(stderr=True)
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> FleetTable:
        if self._live is not None:
            self._live.start()
            self._live.update(self._drawn(), refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, host: str, state: str, sentence: str) -> None:
        """`host` is now in `state`."""
        with self._lock:
            self._rows[host] = (state, sentence)
            if self._live is not None:
                self._live.update(self._drawn(), refresh=True)
            else:
                complain(f"{host}: {state}" + (f", {sentence}" if sentence else ""))

    def _drawn(self) -> Table:
        drawn = Table(box=None, pad_edge=False)
        for column in ("board", "state", ""):
            drawn.add_column(column, no_wrap=True, overflow="ellipsis")
        for host, (state, sentence) in self._rows.items():
            drawn.add_row(escape(host), state, escape(sentence))
        return drawn
