"""What machine is this? The facts that a measurement needs beside its figures, as far as the kernel tells them."""

from __future__ import annotations

import os
import platform
import sys
from datetime import datetime, timezone
from pathlib import Path

# What /proc/cpuinfo gives instead of a name on Arm boards (implementer 0x41).
_ARM_PARTS = {
    "0xb76": "ARM1176", "0xc07": "Cortex-A7", "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55",
    "0xd08": "Cortex-A72", "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76",
}  # fmt: skip


def describe(root: Path = Path("/")) -> dict[str, object]:
    """Date (ISO 8601, UTC), board, CPU, cores, clock governor, temperature (degrees Celsius), Python, kernel.

    None for what is not told. `root` is where `proc` and `sys` are found.
    """
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "board": _text(root / "proc/device-tree/model") or _text(root / "sys/devices/virtual/dmi/id/product_name"),
        "cpu": _cpu(_text(root / "proc/cpuinfo") or ""),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "governor": _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "temperature_c": _temperature(root),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def load_1min() -> float | None:
    """Processes that ran or wanted to, on average over the last minute; None where the system does not count them."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def peak_rss_mb(root: Path = Path("/")) -> float | None:
    """The most memory that this process has had, in MB of 10^6 bytes; None where the system does not tell.

    Linux's `ru_maxrss` survives exec, so a program started by a larger one would report its parent: `VmHWM` does not.
    """
    for line in (_text(root / "proc/self/status") or "").splitlines():
        key, _, value = line.partition(":")
        if key == "VmHWM":
            return int(value.split()[0]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def _cpu(text: str) -> str | None:
    facts: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and value.strip():
            facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name")
    part = _ARM_PARTS.get(facts.get("CPU part", ""))
    # A 32-bit Arm kernel says only "ARMv7 Processor rev 3 (v7l)" there.
    return part or name or facts.get("Hardware")


def _temperature(root: Path) -> float | None:
    text = _text(root / "sys/class/thermal/thermal_zone0/temp")
    try:
        return round(int(text) / 1000, 1) if text else None
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n") or None
    except OSError:
        return None
