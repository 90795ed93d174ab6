"""What the doctor says, whatever it looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepress_runtime.doctor.wheels import Platform


@dataclass(frozen=True)
class Problem:
    """Something that should be mended. `remedy` is the command that does; `stops`: no model runs before."""

    what: str
    remedy: str
    stops: bool = False


@dataclass(frozen=True)
class Chapter:
    """One subject: a line for people, facts for scripts, and what is wrong."""

    line: str
    facts: Mapping[str, object]
    problems: Sequence[Problem] = ()


@dataclass(frozen=True)
class Engine:
    """What a process of its own said about the engine. `error` is None where a model ran."""

    name: str | None = None
    numpy: str | None = None
    xnnpack: bool | None = None
    error: str | None = None
    remedy: str = ""


@dataclass(frozen=True)
class Here:
    """What cannot be read from files: who asks, with which Python, and what its engine said.

    `modules` are the optional packages that this Python finds. `pip` installs into this Python. `now` is in seconds
    since 1970.
    """

    platform: Platform
    kernel: str
    python: str
    pip: str
    user: str
    groups: frozenset[str]
    is_root: bool
    modules: frozenset[str]
    engine: Engine
    store: Path
    now: float
