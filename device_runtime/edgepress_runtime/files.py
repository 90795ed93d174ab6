"""Which of a command's words is the model, and which files do the others mean?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgepress_runtime import audio, image
from edgepress_runtime.bundle import is_bundle
from edgepress_runtime.store import Store

_JUNK = ("__MACOSX", "Thumbs.db")


def split_target(words: Sequence[str], root: str | None) -> tuple[str | None, list[Path]]:
    """(model or None, paths): the first word is a model if it is a bundle, an installed name, or no path at all."""
    first = words[0]
    named = is_bundle(first) or first in Store(root).names()
    if not named and not os.path.lexists(first):
        # Neither here nor installed: a file by its suffix or folder, else a mistyped name.
        named = os.sep not in first and Path(first).suffix.lower() not in (*image.SUFFIXES, *audio.SUFFIXES)
    return (first, [Path(w) for w in words[1:]]) if named else (None, [Path(w) for w in words])


def find(paths: Sequence[Path], suffixes: Sequence[str]) -> list[Path]:
    """The files meant by `paths`: files as they are; folders searched for `suffixes`, in order of their names."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _JUNK)
            found += [Path(folder, f) for f in sorted(files) if _is_meant(f, suffixes)]
    return found


def _is_meant(name: str, suffixes: Sequence[str]) -> bool:
    return not name.startswith(".") and name not in _JUNK and Path(name).suffix.lower() in suffixes
