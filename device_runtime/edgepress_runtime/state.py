"""Which release of a model is active: reading and switching generations (the layout is in `store`)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgepress_runtime import disk
from edgepress_runtime import trial as trials
from edgepress_runtime.errors import StoreError
from edgepress_runtime.trial import Trial

FORMAT = 1
REASONS = ("install", "rollback", "trial")
_GENERATION = re.compile(r"generations/([1-9][0-9]{0,9})")
_RELEASE = re.compile(r"\.\./\.\./releases/([0-9a-f]{64})")


@dataclass(frozen=True)
class State:
    """The active generation. `since` is ISO 8601, UTC; `problem` says what in its state.json cannot be understood.

    `reason`: it was installed, rolled back to, or taken again after a failed trial of its successor.
    """

    generation: int
    current: str
    previous: str | None
    reason: str
    since: str
    problem: str | None = None
    trial: Trial = field(default_factory=Trial)

    @property
    def went_back(self) -> bool:
        """Whether the board returned to this release, so that a rollback has nothing left to do."""
        return self.reason in ("rollback", "trial")


def folder(home: Path, now: State) -> Path:
    """Where the active generation lies."""
    return home / "generations" / str(now.generation)


def read(home: Path) -> State | None:
    """The active generation of the model in `home`, or None before its first install. Raises StoreError if damaged."""
    while True:
        target = _readlink(home / "active")
        if target is None:
            return None
        folder = home / target
        generation = _GENERATION.fullmatch(target)
        current = _RELEASE.fullmatch(_readlink(folder / "current") or "")
        previous = _RELEASE.fullmatch(_readlink(folder / "previous") or "")
        if generation and current:
            break
        if _readlink(home / "active") == target:  # else an installer has just switched: look again
            raise StoreError(
                f"the store of {home.name} is damaged: {home / 'active'} leads nowhere",
                f"remove {home} and install the bundle again",
            )
    reason, since, problem = "", "", None
    try:
        reason, since = _parse((folder / "state.json").read_bytes())
    except (OSError, ValueError) as error:
        # The links decide what runs: a damaged note must not stop a board. Installing again writes a new one.
        problem = f"state.json of {home.name} cannot be understood: {error}"
    before = previous[1] if previous else None
    return State(int(generation[1]), current[1], before, reason, since, problem, trials.read(folder))


def switch(home: Path, current: str, previous: str | None, *, reason: str) -> None:
    """Make a new generation and switch to it; a cut before the last rename leaves the old one active.

    What is installed is on trial; what was gone back to has proved itself before.
    """
    for name in ("current", "previous"):
        if _readlink(home / name) != f"active/{name}":
            disk.link(home / name, f"active/{name}")
    now = read(home)
    number = now.generation + 1 if now is not None else 1
    folder = home / "generations" / str(number)
    disk.remove(folder)
    disk.make_dir(folder)
    disk.link(folder / "current", f"../../releases/{current}")
    if previous is not None:
        disk.link(folder / "previous", f"../../releases/{previous}")
    since = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    value = {"format": FORMAT, "reason": reason, "since": since}
    disk.write_bytes(folder / "state.json", json.dumps(value, sort_keys=True).encode() + b"\n")
    trials.write(folder, Trial(confirmed=reason != "install"))
    disk.link(home / "active", f"generations/{number}")


def _parse(data: bytes) -> tuple[str, str]:
    value: Any = json.loads(data.decode("utf-8"))
    if not isinstance(value, dict) or value.keys() != {"format", "reason", "since"}:
        raise ValueError("it has other keys than this version writes")
    if value["format"] != FORMAT or value["reason"] not in REASONS or not isinstance(value["since"], str):
        raise ValueError("it was written by another version")
    return value["reason"], value["since"]


def _readlink(path: Path) -> str | None:
    try:
        return str(path.readlink())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from None
