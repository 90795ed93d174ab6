"""How the machine is doing: clock, heat, throttling and load, before, during and after a measurement."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgepress_runtime.kernel_files import ROOT, numbered, text, vcgencmd, whole
from edgepress_runtime.machine import load_1min

# The firmware's own flags (raspberrypi.com, documentation of vcgencmd get_throttled); 16 bits higher: since the start.
THROTTLED = {0: "under-voltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}
_SINCE_START = 16
_FLAGS = ("sys/devices/platform/soc/soc:firmware/get_throttled", "sys/devices/platform/*/*firmware*/get_throttled")


@dataclass(frozen=True)
class Conditions:
    """One look at the machine; None for what it does not tell.

    `cpu_mhz` is that of the fastest core at this moment, `temperature_c` that of the hottest zone. `throttled` are the
    firmware's flags, `throttle_events` what an x86 processor has counted since the start.
    """

    t: float
    cpu_mhz: float | None
    max_mhz: float | None
    governor: str | None
    temperature_c: float | None
    throttled: int | None
    throttle_events: int | None
    load_1min: float | None

    @property
    def throttled_now(self) -> tuple[str, ...]:
        """What holds the board back at this moment."""
        return flags(self.throttled)


def observe(root: Path = ROOT) -> Conditions:
    """Look once; t is seconds since 1970."""
    clocks = numbered(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq")
    speeds = [whole(folder / "scaling_cur_freq") for folder in clocks]
    limits = [whole(folder / "scaling_max_freq") for folder in clocks]
    heat = [whole(path) for path in numbered(root, "sys/class/thermal/thermal_zone*/temp")]
    events = [
        whole(path) for path in numbered(root, "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")
    ]
    fast, limit, hot = _most(speeds), _most(limits), _most(heat)
    counted = [n for n in events if n is not None]
    return Conditions(
        t=time.time(),
        cpu_mhz=None if fast is None else fast / 1e3,
        max_mhz=None if limit is None else limit / 1e3,
        governor=text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        temperature_c=None if hot is None else round(hot / 1e3, 1),
        throttled=throttled(root),
        throttle_events=sum(counted) if counted else None,
        load_1min=load_1min(),
    )


def throttled(root: Path = ROOT) -> int | None:
    """The firmware's throttling flags, from its file where there is one, else from `vcgencmd`; None elsewhere."""
    for pattern in _FLAGS:
        for path in numbered(root, pattern):
            found = text(path)
            if found is not None:
                return _hexadecimal(found)
    told = vcgencmd(root, "get_throttled")
    return None if told is None else _hexadecimal(told.partition("=")[2])


def flags(value: int | None, *, since_start: bool = False) -> tuple[str, ...]:
    """The names of the flags that are set now, or that were set at any time since the board was started."""
    shift = _SINCE_START if since_start else 0
    return tuple(name for bit, name in THROTTLED.items() if value is not None and value >> (bit + shift) & 1)


def new_flags(before: int | None, after: int | None) -> tuple[str, ...]:
    """What came up between two looks, by the flags that stay set until the next start."""
    return () if before is None or after is None else flags(after & ~before, since_start=True)


@dataclass(frozen=True)
class CpuTimes:
    """Processor seconds: of the whole machine but its idling, and of this process; at `t` seconds, monotonic."""

    t: float
    all_s: float
    own_s: float


def cpu_times(root: Path = ROOT) -> CpuTimes | None:
    """The times so far; None where the kernel does not count them. Children that have ended count as our own."""
    first = (text(root / "proc/stat") or "").partition("\n")[0].split()
    try:
        # user, nice, system, idle, iowait, irq, softirq, steal (proc(5)); guest time is in user's already.
        ticks = [int(word) for word in first[1:9]]
        busy = (sum(ticks[:3]) + sum(ticks[5:])) / os.sysconf("SC_CLK_TCK")
    except (ValueError, AttributeError, OSError):
        return None
    if len(ticks) < 8:
        return None
    own = os.times()
    return CpuTimes(time.monotonic(), busy, own.user + own.system + own.children_user + own.children_system)


def others(before: CpuTimes | None, after: CpuTimes | None) -> float | None:
    """How many cores other programs kept busy between two counts, on average; None where it was not counted."""
    if before is None or after is None or after.t <= before.t:
        return None
    foreign = (after.all_s - before.all_s) - (after.own_s - before.own_s)
    return max(0.0, foreign / (after.t - before.t))


def told(found: Conditions) -> Mapping[str, object]:
    """One look as it stands in JSON."""
    value: dict[str, object] = dict(vars(found))
    value["throttled"] = None if found.throttled is None else f"{found.throttled:#x}"
    value["throttled_now"] = list(found.throttled_now)
    return value


def _hexadecimal(found: str) -> int | None:
    try:
        return int(found, 16)
    except ValueError:
        return None


def _most(values: list[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
