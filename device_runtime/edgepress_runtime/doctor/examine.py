"""All the doctor looks at, one after another."""

from __future__ import annotations

import importlib.util
import os
import platform
import struct
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

from edgepress_runtime.doctor import peripherals, system, upkeep
from edgepress_runtime.doctor.engine_probe import probe
from edgepress_runtime.doctor.finding import Chapter, Here
from edgepress_runtime.doctor.wheels import Platform
from edgepress_runtime.kernel_files import ROOT
from edgepress_runtime.lines import one_line

CHECKS: Mapping[str, Callable[[Path, Here], Chapter]] = {
    "board": system.board,
    "system": system.system,
    "python": system.python,
    "engine": system.engine,
    "cameras": peripherals.cameras,
    "microphones": peripherals.microphones,
    "sensors": peripherals.sensors,
    "storage": upkeep.storage,
    "clock": upkeep.clock,
    "throttling": upkeep.throttling,
    "governor": upkeep.governor,
    "groups": upkeep.groups,
}
_OPTIONAL = ("picamera2", "linuxpy", "sounddevice", "PIL", "cryptography", "soundfile")


def examine(here: Here, root: Path = ROOT) -> dict[str, Chapter]:
    """A chapter for each check."""
    return {name: check(root, here) for name, check in CHECKS.items()}


def told(chapters: Mapping[str, Chapter]) -> dict[str, Any]:
    """The keys of `doctor --json`: `ok` (nothing stops models from running), `problems`, and the facts by subject."""
    problems = [
        {"about": name, "what": problem.what, "remedy": problem.remedy, "stops": problem.stops}
        for name, chapter in chapters.items()
        for problem in chapter.problems
    ]
    facts = {name: dict(chapter.facts) for name, chapter in chapters.items()}
    return {"ok": not any(problem["stops"] for problem in problems), "problems": problems, **facts}


def lines(chapters: Mapping[str, Chapter]) -> list[str]:
    """A line a subject, then each problem with what mends it."""
    found = [f"{name:<12} {one_line(chapter.line)}" for name, chapter in chapters.items()]
    for chapter in chapters.values():
        for problem in chapter.problems:
            found += [
                f"{'STOPS MODELS' if problem.stops else 'problem'}: {one_line(problem.what)}",
                f"        mend: {one_line(problem.remedy)}",
            ]
    return found


def here(store: Path) -> Here:
    """This process and its user, with the engine tried in a process of its own."""
    libc, version = platform.libc_ver()
    return Here(
        platform=Platform(
            machine=platform.machine(),
            bits=struct.calcsize("P") * 8,
            python=sys.version_info[:2],
            libc=libc or _other_libc(),
            libc_version=_version(version),
        ),
        kernel=platform.release(),
        python=sys.executable,
        pip=_pip(),
        user=_user(),
        groups=_groups(),
        is_root=os.geteuid() == 0,
        modules=frozenset(name for name in _OPTIONAL if importlib.util.find_spec(name) is not None),
        engine=probe(),
        store=store,
        now=time.time(),
    )


def _pip() -> str:
    """What installs into this Python; a system that keeps its own Python to itself (PEP 668) wants a venv first."""
    in_venv = sys.prefix != sys.base_prefix
    marker = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"
    if not in_venv and marker.exists():
        return "python3 -m venv --system-site-packages ~/edgepress && ~/edgepress/bin/pip"
    return f"{sys.executable} -m pip"


def _other_libc() -> str | None:
    return "musl" if "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or "") else None


def _version(found: str) -> tuple[int, int] | None:
    parts = found.split(".")
    return (int(parts[0]), int(parts[1])) if len(parts) >= 2 and parts[0].isdigit() and parts[1].isdigit() else None


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _groups() -> frozenset[str]:
    import grp

    names = set()
    for number in {*os.getgroups(), os.getegid()}:
        try:
            names.add(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return frozenset(names)
