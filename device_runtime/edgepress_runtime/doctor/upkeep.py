"""What makes a board that once ran fail or slow down: a full disk, a wrong clock, a weak supply, missing rights."""

from __future__ import annotations

import os
import time
from pathlib import Path

from edgepress_runtime.conditions import flags, observe, throttled
from edgepress_runtime.doctor.finding import Chapter, Here, Problem
from edgepress_runtime.kernel_files import text

LEAST_FREE_MB = 50  # two releases of a large model, and what an install needs besides
_EARLIEST = 2025
_GROUPS = {"video": "cameras", "audio": "microphones", "gpio": "pins"}
_REMEDIES = {
    "under-voltage": "use the board's own supply (Pi 5: 5 V 5 A, Pi 4: 5 V 3 A, Zero 2 W: 5 V 2.5 A) and a short cable",
    "clock capped": "cool the board, or use a stronger supply; then: sudo reboot",
    "throttled": "cool the board (heat sink, fan), or use a stronger supply; then: sudo reboot",
    "soft temperature limit": "cool the board (heat sink, fan)",
}


def storage(root: Path, here: Here) -> Chapter:
    """Free space where models are stored, and whether this user may write there."""
    place = here.store
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        found = os.statvfs(place)
    except OSError as error:
        return Chapter(f"{here.store}: {error.strerror}", {"path": str(here.store), "free_mb": None, "writable": None})
    free = found.f_bavail * found.f_frsize / 1e6
    read_only = bool(found.f_flag & os.ST_RDONLY)
    writable = not read_only and os.access(place, os.W_OK)
    problems = []
    if free < LEAST_FREE_MB:
        problems.append(Problem(f"only {free:.0f} MB are free at {here.store}", "sudo apt clean; df -h"))
    if read_only:
        problems.append(Problem(f"{place} is mounted read-only", f"sudo mount -o remount,rw {_mount(place)}"))
    elif not writable:
        make = f"sudo install -d -o {here.user} {here.store}"
        problems.append(Problem(f"{here.user} may not write to {here.store}", make))
    facts = {"path": str(here.store), "free_mb": round(free), "writable": writable}
    return Chapter(f"{here.store}: {free:.0f} MB free{'' if writable else ', not writable'}", facts, problems)


def clock(root: Path, here: Here) -> Chapter:
    """Whether the time may be believed: a Pi before the 5 has no battery and starts in the past."""
    now = time.gmtime(here.now)
    told = time.strftime("%Y-%m-%d %H:%M UTC", now)
    synchronized: bool | None = (root / "run/systemd/timesync/synchronized").exists()
    other = any(
        (root / path).exists() for path in ("run/chrony", "run/ntpd.pid", "run/chronyd.pid", "run/openntpd.sock")
    )
    if not synchronized and (other or not (root / "run/systemd/system").exists()):
        synchronized = None  # somebody else keeps the time, or nobody tells
    problems = []
    if now.tm_year < _EARLIEST:
        problems.append(Problem(f"the clock says {now.tm_year}", "sudo timedatectl set-ntp true"))
    elif synchronized is False:
        problems.append(Problem("the clock is not synchronized", "sudo timedatectl set-ntp true; timedatectl status"))
    state = {True: "synchronized", False: "not synchronized", None: "not told whether synchronized"}[synchronized]
    return Chapter(f"{told}, {state}", {"utc": told, "synchronized": synchronized}, problems)


def throttling(root: Path, here: Here) -> Chapter:
    """What holds the board back now, or did since it was started."""
    value = throttled(root)
    if value is None:
        return Chapter("not told by this board", {"flags": None, "now": [], "since_start": []})
    now, before = flags(value), flags(value, since_start=True)
    problems = [Problem(f"{name} at this moment", _REMEDIES[name]) for name in now]
    problems += [Problem(f"{name} since the start", _REMEDIES[name]) for name in before if name not in now]
    line = f"now: {', '.join(now) or 'nothing'}; since the start: {', '.join(before) or 'nothing'}"
    return Chapter(line, {"flags": f"{value:#x}", "now": list(now), "since_start": list(before)}, problems)


def governor(root: Path, here: Here) -> Chapter:
    """The clock's governor."""
    found = observe(root)
    facts = {"governor": found.governor, "cpu_mhz": found.cpu_mhz, "max_mhz": found.max_mhz}
    if found.governor is None:
        return Chapter("not told by this board", facts)
    problems = []
    if found.governor == "powersave" and not (root / "sys/devices/system/cpu/intel_pstate").exists():
        # intel_pstate's powersave is its ordinary, dynamic governor; everyone else's pins the lowest clock.
        remedy = "echo ondemand | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        problems.append(Problem("the governor keeps the clock at its lowest", remedy))
    most = "" if found.max_mhz is None else f", up to {found.max_mhz:.0f} MHz"
    return Chapter(f"{found.governor}{most}", facts, problems)


def groups(root: Path, here: Here) -> Chapter:
    """Whether this user may open cameras, microphones and pins."""
    known = {line.split(":")[0] for line in (text(root / "etc/group") or "").splitlines()}
    wanted = [name for name in _GROUPS if name in known]
    missing = [] if here.is_root else [name for name in wanted if name not in here.groups]
    problems = []
    if missing:
        what = f"{here.user} may not use {' and '.join(_GROUPS[name] for name in missing)}"
        problems.append(Problem(what, f"sudo usermod -aG {','.join(missing)} {here.user}, then log in again"))
    member = ", ".join(name for name in wanted if name not in missing)
    facts = {"user": here.user, "member": [n for n in wanted if n in here.groups], "missing": missing}
    return Chapter(f"{here.user}: {'root' if here.is_root else member or 'none of them'}", facts, problems)


def _mount(place: Path) -> str:
    while not place.is_mount() and place != place.parent:
        place = place.parent
    return str(place)
