"""A new release is on trial until its app has seen it work; a board that only ever restarts goes back by itself.

A start is counted, durably, before the model is loaded: a model that takes the whole board down is counted, too. The
first healthy answers confirm the release, and only then does the lowest version that is still installed rise
(`floor`), so that a release nobody could use shuts nobody out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from edgepress_runtime import disk
from edgepress_runtime.errors import StoreError

FORMAT = 1
HEALTHY = 3  # answers in a row that end a trial
MOST_STARTS = 3  # without a healthy answer, before the previous release is taken again
_NOTE, _FLOOR = "trial.json", "floor.json"


@dataclass(frozen=True)
class Trial:
    """How often the active release was started, and whether it has proved itself since."""

    starts: int = 0
    confirmed: bool = False

    @property
    def failed(self) -> bool:
        """Whether it had its chances."""
        return not self.confirmed and self.starts >= MOST_STARTS


def read(generation: Path) -> Trial:
    """The trial of the release in the folder `generation`; a note that is missing or damaged starts it anew."""
    try:
        value = json.loads((generation / _NOTE).read_bytes())
        if value["format"] == FORMAT and type(value["starts"]) is int and type(value["confirmed"]) is bool:
            return Trial(value["starts"], value["confirmed"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return Trial()


def write(generation: Path, trial: Trial) -> None:
    """Store the trial durably. Raises StoreError."""
    disk.write_bytes(generation / _NOTE, _json({"starts": trial.starts, "confirmed": trial.confirmed}))


def floor(home: Path) -> int:
    """The lowest version that may still be installed in `home`: that of the newest release that proved itself there.

    Raises StoreError for one that cannot be read, since an old bundle must not get in through a damaged note.
    """
    try:
        value = json.loads((home / _FLOOR).read_bytes())
        if value["format"] != FORMAT or type(value["version"]) is not int:
            raise ValueError
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(
            f"{home / _FLOOR} cannot be understood, so no version can be checked",
            "remove it to take any version once more",
        ) from None
    return int(value["version"])


def raise_floor(home: Path, version: int) -> None:
    """Take nothing below `version` from now on; a floor that is higher already stays."""
    if version > floor(home):
        disk.write_bytes(home / _FLOOR, _json({"version": version}))


def _json(value: dict[str, object]) -> bytes:
    return json.dumps({"format": FORMAT, **value}, sort_keys=True).encode() + b"\n"
