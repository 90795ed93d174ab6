"""Which of a command's words is the model, and which files or texts do the others mean?"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgepress_runtime import audio, image
from edgepress_runtime.bundle import is_bundle
from edgepress_runtime.manifest import is_name
from edgepress_runtime.store import Store

_JUNK = ("__MACOSX", "Thumbs.db")


def split_target(words: Sequence[str], root: str | None) -> tuple[str | None, list[str]]:
    """(model or None, the other words): the first one is a model if it is a bundle, an installed name, or could be a
    name and is no path at all."""
    first = words[0]
    named = is_bundle(first) or first in Store(root).names()
    if not named and not os.path.lexists(first):
        # Neither here nor installed: a file by its suffix or folder, else a mistyped name.
        named = is_name(first) and Path(first).suffix.lower() not in (*image.SUFFIXES, *audio.SUFFIXES)
    return (first, list(words[1:])) if named else (None, list(words))


def find(words: Sequence[str | Path], suffixes: Sequence[str]) -> list[Path]:
    """The files meant by `words`: files as they are; folders searched for `suffixes`, in order of their names."""
    found: list[Path] = []
    for path in map(Path, words):
        if not path.is_dir():
            found.append(path)
            continue
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _JUNK)
            found += [Path(folder, f) for f in sorted(files) if _is_meant(f, suffixes)]
    return found


def _is_meant(name: str, suffixes: Sequence[str]) -> bool:
    return not name.startswith(".") and name not in _JUNK and Path(name).suffix.lower() in suffixes


def texts(words: Sequence[str]) -> Iterable[str]:
    """The texts meant by `words`: the lines of a `.txt` file that is there or, for `-` and without words, of stdin as
    they come; any other word is a text itself."""
    if words and "-" not in words and not any(map(_is_file_of_lines, words)):
        return list(words)
    return _lines(words or ["-"])


def _lines(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if word == "-":
            if hasattr(sys.stdin, "reconfigure"):
                sys.stdin.reconfigure(encoding="utf-8", errors="replace")
            yield from (line.rstrip("\r\n") for line in sys.stdin)
        elif _is_file_of_lines(word):
            yield from Path(word).read_text(encoding="utf-8-sig", errors="replace").splitlines()
        else:
            yield word


def _is_file_of_lines(word: str) -> bool:
    return word.lower().endswith(".txt") and Path(word).is_file()
