"""The small files in which a kernel tells about its machine, below a root so that a tree of plain files will do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path("/")


def text(path: Path) -> str | None:
    """What a file says, without the blanks and NULs around it; None where it is missing, empty or refuses."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\n") or None
    except (OSError, ValueError):
        return None


def whole(path: Path) -> int | None:
    """The whole number in a file (decimal, or hexadecimal after 0x); None where it holds none."""
    found = text(path)
    try:
        return None if found is None else int(found, 0)
    except ValueError:
        return None


def numbered(root: Path, pattern: str) -> list[Path]:
    """What matches `pattern` below `root`, in the order of the numbers in the names: hwmon2 before hwmon10."""
    try:
        return sorted(root.glob(pattern), key=lambda path: [_digits(part) for part in path.parts])
    except OSError:
        return []


def vcgencmd(root: Path, *words: str, timeout_s: float = 5.0) -> str | None:
    """What a Raspberry Pi's firmware answers; None where there is no `vcgencmd`, or it fails or hangs."""
    folders = ":".join(str(root / folder) for folder in ("usr/bin", "opt/vc/bin"))
    program = shutil.which("vcgencmd", path=folders)
    if program is None:
        return None
    try:
        done = subprocess.run([program, *words], capture_output=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout.decode("utf-8", "replace").strip()


def _digits(name: str) -> tuple[str, int, str]:
    head = name.rstrip("0123456789")
    return head, int(name[len(head) :] or -1), name
