"""The release folders of one model: putting a bundle there, and removing what nothing points to."""

from __future__ import annotations

from pathlib import Path

from edgepress_runtime import disk
from edgepress_runtime.bundle import Bundle
from edgepress_runtime.state import State


def place(bundle: Bundle, release: Path) -> None:
    """Make `release` hold the members of `bundle`, whole before it has its name; mend it in place if it is damaged."""
    files = bundle.members
    if not release.is_dir():
        partial = release.with_name(f"{release.name}.partial")
        disk.make_dir(partial)
        for name, data in files.items():
            disk.create(partial / name, data)
        disk.sync_dir(partial)
        disk.rename(partial, release)
        return
    for entry in sorted(release.iterdir()):
        if entry.name not in files:
            disk.remove(entry)
    for name, data in files.items():
        path = release / name
        if path.is_symlink() or not path.is_file() or path.read_bytes() != data:
            disk.write_bytes(path, data)


def clean(home: Path, now: State | None, keep: int) -> None:
    """Remove what nothing points to: leftovers of a cut, old generations, all but the newest `keep` releases."""
    active = str(now.generation) if now is not None else ""
    for entry in sorted(home.iterdir()):
        if entry.name.startswith("."):
            disk.remove(entry)
    for entry in sorted((home / "generations").iterdir()):
        if entry.name != active:
            disk.remove(entry)
    used = {now.current, now.previous} - {None} if now is not None else set()
    spare = []
    for entry in sorted((home / "releases").iterdir()):
        if entry.name.endswith(".partial"):
            disk.remove(entry)
        elif entry.name not in used:
            spare.append(entry)
    spare.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in spare[max(0, keep - len(used)) :]:
        disk.remove(entry)
