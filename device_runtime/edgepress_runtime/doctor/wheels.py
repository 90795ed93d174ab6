"""Which engine fits a board: a pure verdict over what PyPI has, for this board or for one that is only heard of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RUNTIME_PYTHONS = ((3, 9), (3, 13))


@dataclass(frozen=True)
class Platform:
    """`machine` as `uname -m` tells, `bits` of the Python itself: a 64-bit kernel may well run 32-bit programs.

    `libc` is "glibc" or another name, `libc_version` its version; None where it is not known.
    """

    machine: str
    bits: int
    python: tuple[int, int]
    libc: str | None = "glibc"
    libc_version: tuple[int, int] | None = None


@dataclass(frozen=True)
class Wheel:
    """Wheels of one engine, as their tags on PyPI tell."""

    requirements: Sequence[str]
    machines: frozenset[str]
    bits: int
    oldest: tuple[int, int]
    newest: tuple[int, int]
    glibc: tuple[int, int]


@dataclass(frozen=True)
class Fit:
    """What to install, or, where nothing fits, one sentence on what would; both where only our own wheel does not."""

    requirements: Sequence[str] = ()
    reason: str = ""


_ARM32 = frozenset(("armv7l", "armv8l", "aarch64"))  # the last two: a 64-bit kernel below 32-bit programs
_ARM64_X86 = frozenset(("aarch64", "arm64", "x86_64", "AMD64"))
# Looked up on 2026-11-25: ai-edge-litert 2.3.0 (2.1.0 was the last for 3.9), tflite-runtime 2.14.0.
WHEELS = (
    Wheel(("ai-edge-litert",), _ARM64_X86, 64, (3, 10), (3, 14), (2, 27)),
    Wheel(("ai-edge-litert==2.1.0",), _ARM64_X86, 64, (3, 9), (3, 9), (2, 27)),
    Wheel(("tflite-runtime==2.14.0", "numpy<2"), _ARM32, 32, (3, 9), (3, 11), (2, 34)),
)
_BOOKWORM = "32-bit Raspberry Pi OS Bookworm with its Python 3.11 (tflite-runtime 2.14)"
_SIXTY_FOUR = "a 64-bit Raspberry Pi OS (ai-edge-litert)"


def fitting(board: Platform) -> Fit:
    """The engine's wheel for `board`, and why there is none."""
    made = [w for w in WHEELS if board.machine in w.machines and board.bits == w.bits]
    if not made:
        return Fit(reason=_no_machine(board))
    if board.libc not in (None, "glibc"):
        return Fit(reason=f"the engines' wheels need glibc, and this system has {board.libc}: Raspberry Pi OS fits")
    python = version_text(board.python)
    fitting_python = [w for w in made if w.oldest <= board.python <= w.newest]
    if not fitting_python:
        would = f"{_SIXTY_FOUR}, or {_BOOKWORM}" if board.bits == 32 else _pythons(made)
        kind = "32-bit " if board.bits == 32 else ""
        return Fit(reason=f"there is no engine for {kind}Python {python}; what fits: {would}")
    wheel = fitting_python[0]
    if board.libc_version is not None and board.libc_version < wheel.glibc:
        return Fit(
            reason=f"{wheel.requirements[0]} needs glibc {version_text(wheel.glibc)}, and this system has "
            f"{version_text(board.libc_version)}; what fits: Raspberry Pi OS Bookworm or newer"
        )
    oldest, newest = RUNTIME_PYTHONS
    if not oldest <= board.python <= newest:
        return Fit(
            wheel.requirements,
            f"edgepress-runtime is for Python {version_text(oldest)} to {version_text(newest)}, not {python}",
        )
    return Fit(wheel.requirements)


def quoted(requirements: Sequence[str]) -> str:
    """Requirements as words of a command line."""
    return " ".join(f"'{word}'" if set(word) & set("<>[] ") else word for word in requirements)


def _no_machine(board: Platform) -> str:
    if board.machine.startswith("armv6"):
        return "there is no engine for ARMv6 (Pi Zero and Pi 1); what fits: a Pi Zero 2 W or newer"
    return f"there is no engine for {board.bits}-bit {board.machine}; what fits: {_SIXTY_FOUR}, or {_BOOKWORM}"


def _pythons(made: Sequence[Wheel]) -> str:
    oldest, newest = RUNTIME_PYTHONS
    return f"Python {version_text(max(oldest, min(w.oldest for w in made)))} to {version_text(newest)}"


def version_text(version: tuple[int, int] | None) -> str | None:
    """A version as people write it."""
    return None if version is None else ".".join(str(part) for part in version)
