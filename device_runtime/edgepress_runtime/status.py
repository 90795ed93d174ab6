"""What the store tells: what an install did, what is installed, and what an app is to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepress_runtime.bundle import Bundle
from edgepress_runtime.trial import MOST_STARTS

if TYPE_CHECKING:
    from edgepress_runtime.selftest import SelfTest


@dataclass(frozen=True)
class Installed:
    """What an install or a rollback did. `installed` and `previous` are digests."""

    name: str
    installed: str
    previous: str | None
    selftest: SelfTest
    changed: bool  # False when it was so already


@dataclass(frozen=True)
class Status:
    """One installed model. `problem` is None, or one sentence that says why it cannot be used.

    `confirmed`: its app has seen it work; until then, `starts` counts how often it was tried.
    """

    name: str
    installed: str
    previous: str | None
    generation: int
    since: str
    size: int
    problem: str | None = None
    confirmed: bool = False
    starts: int = 0


@dataclass(frozen=True)
class Started:
    """What an app is to run. `went_back`: the digest of a release that had its chances and was left; None for none."""

    bundle: Bundle
    confirmed: bool
    went_back: str | None = None

    @property
    def note(self) -> str:
        """One sentence about the release that was left; empty for none."""
        if self.went_back is None:
            return ""
        name, left, now = self.bundle.manifest.name, self.went_back[:12], self.bundle.digest[:12]
        return f"{name}: release {left} never worked in {MOST_STARTS} starts, so {now} runs again"
