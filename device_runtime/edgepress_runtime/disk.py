"""The only durable system calls: what this module has done survives a power cut, in the order in which it was done.

Every call goes through `_call`, one at a time, so that tests can cut the power before any of them or let it fail.
A StoreError in one sentence stands for every refusal of the operating system.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Callable

from edgepress_runtime.errors import StoreError

_CHUNK = 1 << 20
_REASONS = {
    errno.ENOSPC: ("no space is left for {}", "free some space, or use a smaller model"),
    errno.EDQUOT: ("the quota leaves no space for {}", "free some space, or use a smaller model"),
    errno.EROFS: ("{} lies on a read-only file system", "mount it writable, or choose another folder"),
    errno.EACCES: ("{} may not be written by this user", "choose a folder of your own, or use sudo"),
    errno.EPERM: ("{} may not be written by this user", "choose a folder of your own, or use sudo"),
    errno.EIO: ("the disk failed while working on {}", "check the card; it may be worn out"),
}


def make_dir(path: Path) -> None:
    """Make `path` and whatever is missing above it, durably; a folder that is there already is left alone."""
    if path.is_dir():
        return
    if path.exists():
        raise StoreError(f"{path} is a file, not a folder", "give another folder, or move it away")
    if path.parent != path:
        make_dir(path.parent)
    _call("mkdir", path, lambda: path.mkdir(0o755))
    sync_dir(path.parent)


def create(path: Path, data: bytes | memoryview) -> None:
    """Write a new file and its contents to the disk. Its name is durable only after `sync_dir` of its folder."""
    descriptor = _call("create", path, lambda: os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o644))
    try:
        rest = memoryview(data)
        while rest:
            written = _call("write", path, partial(os.write, descriptor, rest[:_CHUNK]))
            rest = rest[written:]  # the system may take less than it was given
        _call("fsync", path, lambda: os.fsync(descriptor))
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Put `data` into `path`, new or not: whoever reads it sees the old contents or the new, whole."""
    unfinished = path.with_name(f".{path.name}.partial")
    remove(unfinished)
    try:
        create(unfinished, data)
        rename(unfinished, path)
    except StoreError:
        with suppress(StoreError):  # a full disk should not be left fuller
            remove(unfinished)
        raise


def publish(finished: Path, path: Path) -> None:
    """Give a finished file or folder its final name, durably, after all of it has reached the disk."""
    for file in [finished, *sorted(finished.rglob("*"))] if finished.is_dir() else [finished]:
        descriptor = _call("open", file, partial(os.open, file, os.O_RDONLY | _BINARY))
        try:
            _call("fsync", file, partial(os.fsync, descriptor))
        finally:
            os.close(descriptor)
    rename(finished, path)


def rename(source: Path, target: Path) -> None:
    """Rename atomically, over `target` if it is there, and durably."""
    _call("rename", target, lambda: source.replace(target))
    sync_dir(target.parent)
    if source.parent != target.parent:
        sync_dir(source.parent)


def link(path: Path, target: str) -> None:
    """Make `path` a symbolic link to `target`, replacing another link atomically. Durable."""
    unfinished = path.with_name(f".{path.name}.partial")
    remove(unfinished)
    _call("symlink", unfinished, lambda: unfinished.symlink_to(target))
    rename(unfinished, path)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; nothing if it is not there. Not synced."""
    if path.is_dir() and not path.is_symlink():
        for entry in _call("list", path, lambda: sorted(path.iterdir())):
            remove(entry)
        _call("rmdir", path, lambda: path.rmdir())
    elif os.path.lexists(path):
        _call("unlink", path, lambda: path.unlink())


def sync_dir(path: Path) -> None:
    """Make the names in a folder durable."""
    if os.name == "nt":  # Windows opens no folders; there it is only a host that trains
        return
    descriptor = _call("open", path, lambda: os.open(path, os.O_RDONLY))
    try:
        _call("fsync", path, lambda: os.fsync(descriptor))
    finally:
        os.close(descriptor)


def refused(path: Path, error: OSError) -> StoreError:
    """The sentence for an operating system that would not do something to `path`."""
    what, remedy = _REASONS.get(
        error.errno or 0, (f"{{}} cannot be changed: {error.strerror or error}", "choose another place")
    )
    return StoreError(what.format(path), remedy)


_BINARY = getattr(os, "O_BINARY", 0)


def _system_call(name: str, path: Path, action: Callable[[], Any]) -> Any:
    """The seam: tests put a failing disk or a power cut here. `name` says which call it is."""
    return action()


def _call(name: str, path: Path, action: Callable[[], Any]) -> Any:
    try:
        return _system_call(name, path, action)
    except OSError as error:
        raise refused(path, error) from error
