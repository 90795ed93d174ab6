"""Data that need not have labels: class folders, or files lying anywhere below a folder.

Where classes and parts are told apart they are kept, so that what a later training holds out is held out here too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgepress_train.data import folder
from edgepress_train.data.dataset import DataError, Dataset, Holdout, Skipped, Split
from edgepress_train.data.folder import PARTS, Kind


def open_any(source: str, holdout: Holdout, *, kind: Kind, labelled: Callable[[], Dataset]) -> Dataset:
    """The data at `source`: what `labelled` opens, or all files of `kind` below it, as `train`, with no labels.

    It has labels when it is a name or has at least two folders with files in them, and no files beside them; below
    `train/`, if there is one. Of unlabelled data with parts, only `train/` is taken. Raises DataError.
    """
    path = Path(source)
    if not source.strip() or not path.exists():
        return labelled()  # a name, or the error for what is not there
    root = folder.unpacked_root(path) if path.is_file() else path
    parts = {PARTS[entry.name.lower()]: entry for entry in root.iterdir() if entry.name.lower() in PARTS}
    base = parts.get("train", root)
    skipped: list[Skipped] = []
    if _has_classes(base, kind):
        return labelled()
    files = sorted(folder.files_below(base, skipped, kind))
    if not files:
        raise DataError(f"{source} has no {kind.noun}s", f"known endings: {' '.join(kind.suffixes)}")
    empty = Split((), np.zeros(0, np.int64))
    splits = {"train": Split(tuple(files), np.zeros(len(files), np.int64)), "val": empty, "test": empty}
    return Dataset(root.name, str(path.resolve()), (), splits, holdout, tuple(skipped))


def _has_classes(base: Path, kind: Kind) -> bool:
    entries = [entry for entry in sorted(base.iterdir()) if not entry.name.startswith(".")]
    if any(entry.is_file() and entry.suffix.lower() in kind.suffixes for entry in entries):
        return False
    return sum(entry.is_dir() and bool(folder.files_below(entry, [], kind)) for entry in entries) >= 2
