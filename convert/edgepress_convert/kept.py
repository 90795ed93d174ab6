"""Steps whose results are kept in a folder: a finished one is used again while all it came from is the same."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgepress_runtime import disk
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.errors import BundleError, EdgepressError
from edgepress_train.progress import Progress

_NOTE = "steps.json"  # tells such a folder from any other, and what each result in it came from


class Kept:
    """`folder` with its `results/NAME.json`, and the `steps` of this time: name, seconds, whether used again.

    `total` steps are expected in all, for `progress`. With `force` whatever is there is removed first. Raises
    EdgepressError when `folder` holds something else.
    """

    def __init__(self, folder: Path, *, total: int, progress: Progress, force: bool = False) -> None:
        self.folder = folder
        self.steps: list[dict[str, Any]] = []
        self._total, self._progress = total, progress
        note = folder / _NOTE
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not note.is_file()):
            raise EdgepressError(f"{folder} exists and was not made by this command", "give another --out")
        if force:
            disk.remove(folder)
        disk.make_dir(folder / "results")
        try:
            self._sources = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
        except (OSError, ValueError):
            self._sources = {}  # then nothing is known to be finished
        disk.write_bytes(note, _json(self._sources))

    @contextmanager
    def step(self, about: str) -> Iterator[dict[str, Any]]:
        """Time what happens inside and note it; set `reused` in what is given when nothing had to be done."""
        self._progress("steps", len(self.steps), self._total, about)
        note: dict[str, Any] = {"step": about, "seconds": 0.0, "reused": False}
        begin = time.monotonic()
        yield note
        note["seconds"] = round(time.monotonic() - begin, 1)
        self.steps.append(note)

    def once(
        self,
        name: str,
        about: str,
        work: Callable[[], Mapping[str, Any]],
        *,
        source: Mapping[str, Any],
        proof: Callable[[], str | None] = lambda: "",
    ) -> dict[str, Any]:
        """The result of `work`, a step told as `about`, from `results/NAME.json` if it is there already.

        It counts as there while `source`, all that it came from, and `proof()`, which tells the state of what it left
        elsewhere, are as they were.
        """
        path = self.folder / "results" / f"{name}.json"
        with self.step(about) as note:
            note["reused"] = path.is_file() and self._sources.get(name) == {"source": source, "proof": proof()}
            if not note["reused"]:
                self.save(name, work())
                self._sources[name] = {"source": source, "proof": proof()}
                disk.write_bytes(self.folder / _NOTE, _json(self._sources))
            result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return result

    def save(self, name: str, result: Mapping[str, Any]) -> None:
        """Write `result` to `results/NAME.json`, whole or not at all."""
        disk.write_bytes(self.folder / "results" / f"{name}.json", _json(result))


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode("utf-8", "backslashreplace")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bundle_digest(path: Path) -> str | None:
    """The bundle's digest, None when there is no whole one."""
    try:
        return open_bundle(path).digest
    except BundleError:
        return None
