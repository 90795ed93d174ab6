"""The file of an external power logger: a line a reading, lined up with what ran here by the time in it.

A header names the columns: a time, and either a power or a voltage and a current. Times are seconds (or milliseconds,
or microseconds, told apart by their size) since 1970, or dates as in ISO 8601; a date without a zone is local time.
"""

from __future__ import annotations

import csv
import math
import re
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from edgepress_runtime.meters.reading import WATTS, MeterError, Reading

# Name of a column, in lower case and without what is no letter: what it holds, and how many of it make one unit.
COLUMNS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("time", "timestamp", "times", "t", "date", "datetime", "epoch"), ("t", 1.0)),
    **dict.fromkeys(("timems", "timestampms", "timeus", "timestampus"), ("t", 1.0)),
    **dict.fromkeys(("power", "powerw", "watts", "watt", "w", "pw"), ("w", 1.0)),
    **dict.fromkeys(("powermw", "milliwatts", "mw"), ("w", 1e-3)),
    **dict.fromkeys(("voltage", "voltagev", "volts", "volt", "v", "busv", "vbus"), ("v", 1.0)),
    **dict.fromkeys(("voltagemv", "millivolts", "mv"), ("v", 1e-3)),
    **dict.fromkeys(("current", "currenta", "amps", "ampere", "amperes", "a"), ("a", 1.0)),
    **dict.fromkeys(("currentma", "milliamps", "milliamperes", "ma"), ("a", 1e-3)),
    **dict.fromkeys(("currentua", "microamps", "ua"), ("a", 1e-6)),
}  # fmt: skip
WAIT_S = 10.0  # for a logger that writes in bursts
_SHAPE = "a first line such as time,watts or time,volts,amps"


class LogFile:
    """A log as a recorder: it was, or is being, written by something else. Its clock is the time of day."""

    unit = WATTS
    clock = staticmethod(time.time)

    def __init__(self, path: Path, *, wait_s: float = WAIT_S) -> None:
        self.path = path
        self.source = f"csv {path.name}"
        self.period_s = 0.0
        self._wait_s = wait_s

    def __enter__(self) -> LogFile:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def readings(self, until: float) -> tuple[Reading, ...]:
        """What the log holds, once it reaches `until` or has had its time to. Raises MeterError for what is no log."""
        give_up = time.monotonic() + self._wait_s
        while True:
            found = read(self.path)
            if (found and found[-1].t >= until) or time.monotonic() > give_up:
                return found
            time.sleep(0.2)


def read(path: Path) -> tuple[Reading, ...]:
    """The readings of a log in watts, in order of time. Lines that are cut or hold no numbers are left out.

    Raises MeterError for a file that cannot be read or whose first line does not name the columns.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise MeterError(f"{path} cannot be read: {error.strerror}", "give the logger's CSV file") from None
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    if not lines:
        raise MeterError(f"{path} is empty", f"it needs {_SHAPE}")
    delimiter = max(",;\t", key=lines[0].count)
    rows = list(csv.reader(lines, delimiter=delimiter))
    places = _places(rows[0])
    if "t" not in places or not ("w" in places or {"v", "a"} <= places.keys()):
        raise MeterError(f"{path} does not name a time and a power in its first line", f"it needs {_SHAPE}")
    found = []
    for row in rows[1:]:
        try:
            t = _seconds(row[places["t"][0]])
            value = _value(row, places["w"]) if "w" in places else _value(row, places["v"]) * _value(row, places["a"])
        except (ValueError, IndexError):
            continue
        if math.isfinite(t) and math.isfinite(value):
            found.append(Reading(value, WATTS, t, f"csv {path.name}"))
    return tuple(sorted(found, key=lambda reading: reading.t))


def _places(header: Sequence[str]) -> dict[str, tuple[int, float]]:
    """Where each quantity stands and its factor; the first column of several with one quantity."""
    places: dict[str, tuple[int, float]] = {}
    for i, name in enumerate(header):
        quantity, factor = COLUMNS.get(re.sub(r"[^a-zµ]", "", name.lower()).replace("µ", "u"), (None, 1.0))
        if quantity is not None:
            places.setdefault(quantity, (i, factor))
    return places


def _value(row: Sequence[str], place: tuple[int, float]) -> float:
    return float(row[place[0]]) * place[1]


def _seconds(text: str) -> float:
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        # Python before 3.11 reads no Z, and fractions of 3 or 6 digits only.
        text = re.sub(r"\.(\d+)", lambda found: f".{found[1][:6]:0<6}", text.replace("Z", "+00:00"))
        return datetime.fromisoformat(text).timestamp()
    return number / (1e6 if number > 1e14 else 1e3 if number > 1e11 else 1.0)
