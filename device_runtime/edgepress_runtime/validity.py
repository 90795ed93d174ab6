"""Whether a measurement may be believed: rules over what was seen while it ran, each with the reason it gives."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress_runtime.conditions import Conditions, CpuTimes, cpu_times, new_flags, observe, others
from edgepress_runtime.kernel_files import ROOT

LEAST_CALLS = 100  # below, p99 is a single call
LEAST_S = 0.5  # below, clocks have not settled
MOST_SPREAD = 1.5  # p90 over p50
MOST_DRIFT = 1.1  # the slower half's median over the faster one's
LEAST_CLOCK = 0.8  # the slowest clock seen over the fastest
_SHARED = 0.5  # cores' worth of work that may be missing before calls have to wait for one
_PERIOD_S = 0.5


@dataclass(frozen=True)
class Record:
    """What was seen: `before` the warm-up, `during` the calls at most twice a second, `after` them.

    `others_cores` is how many cores other programs kept busy meanwhile, on average; None where that is not counted.
    """

    before: Conditions
    during: tuple[Conditions, ...]
    after: Conditions
    others_cores: float | None


class Watch:
    """Looks at the machine from within a measurement, between two calls: no thread disturbs what is timed."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._before = observe(root)
        self._during: list[Conditions] = []
        self._times: CpuTimes | None = cpu_times(root)
        self._next = time.monotonic() + _PERIOD_S / 5  # short measurements are looked at, too

    def look(self) -> None:
        """To be called between the calls; looks when it is time to."""
        if time.monotonic() >= self._next:
            self._during.append(observe(self._root))
            self._next = time.monotonic() + _PERIOD_S

    def end(self) -> Record:
        """The record, with a last look."""
        meanwhile = others(self._times, cpu_times(self._root))
        return Record(self._before, tuple(self._during), observe(self._root), meanwhile)


def judge(samples_ms: Sequence[float], record: Record, *, threads: int, cores: int | None = None) -> tuple[str, ...]:
    """Why the measurement should not be believed, one sentence each; empty if it may. `samples_ms` in order of time."""
    times = np.asarray(samples_ms)
    return (*_short(times), *_noisy(times), *_held_back(record), *_shared(record, threads, cores or _cores()))


def _short(times: np.ndarray) -> list[str]:
    found = []
    if len(times) < LEAST_CALLS:
        found.append(f"too short: {len(times)} calls, and p99 needs at least {LEAST_CALLS}")
    total = float(times.sum()) / 1e3
    if total < LEAST_S:
        found.append(f"too short: {total:.2f} s of calls, of at least {LEAST_S:g} s")
    return found


def _noisy(times: np.ndarray) -> list[str]:
    found = []
    p50, p90 = (float(value) for value in np.percentile(times, (50, 90)))
    if p90 > MOST_SPREAD * p50:
        found.append(f"too noisy: p90 is {p90 / p50:.2f} times p50")
    if len(times) >= LEAST_CALLS:
        first, second = (float(np.median(half)) for half in np.array_split(times, 2))
        if max(first, second) > MOST_DRIFT * min(first, second):
            slower = "second" if second > first else "first"
            found.append(
                f"not steady: its {slower} half took {max(first, second) / min(first, second):.2f} times as long"
            )
    return found


def _held_back(record: Record) -> list[str]:
    looks = (record.before, *record.during, record.after)
    names = {name for look in looks for name in look.throttled_now}
    names |= set(new_flags(record.before.throttled, record.after.throttled))
    found = [f"throttled: {', '.join(sorted(names))}"] if names else []
    events = [look.throttle_events for look in (record.before, record.after)]
    if events[0] is not None and events[1] is not None and events[1] > events[0]:
        found.append(f"throttled: the processor slowed down {events[1] - events[0]} times because of heat")
    clocks = [look.cpu_mhz for look in record.during if look.cpu_mhz]
    if clocks and min(clocks) < LEAST_CLOCK * max(clocks):
        found.append(f"the clock went between {min(clocks):.0f} and {max(clocks):.0f} MHz")
    return found


def _shared(record: Record, threads: int, cores: int) -> list[str]:
    busy = record.others_cores
    if busy is None or busy + min(threads, cores) <= cores + _SHARED:
        return []
    return [f"busy: other programs kept {busy:.1f} of {cores} cores at work meanwhile"]


def _cores() -> int:
    return os.cpu_count() or 1
