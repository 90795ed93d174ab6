"""Folders of pictures or recordings, one folder a class, with optional `train/ val/ test/` above; and zips of them."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from edgepress_runtime.image import SUFFIXES
from edgepress_train.data import cache
from edgepress_train.data.dataset import DataError, Dataset, Holdout, Skipped, Split, complete

PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# What file managers and archivers leave behind: never data, never worth a warning
_LITTER = {".ds_store", "thumbs.db", "desktop.ini", "__macosx", ".git", ".ipynb_checkpoints"}


@dataclass(frozen=True)
class Kind:
    """What a folder is searched for: the endings of its files' names, what to call one, and an example for tips."""

    suffixes: tuple[str, ...]
    noun: str
    example: str


PICTURES = Kind(SUFFIXES, "picture", "class_name/*.jpg")


def open_folder(root: Path, holdout: Holdout, *, kind: Kind = PICTURES) -> Dataset:
    """The files of `kind` below `root`: `class/*.jpg`, or `train/class/*.jpg` and so on.

    The classes are sorted by name, unless `labels.txt` in `root` gives their order. Files of other kinds are listed as
    skipped. Raises DataError when nothing is there.
    """
    skipped: list[Skipped] = []
    entries = _entries(root, skipped)
    found = {entry.name: entry for entry in entries if entry.is_dir()}
    parts = {PARTS[name.lower()]: entry for name, entry in found.items() if name.lower() in PARTS}
    if "train" in parts:
        extra = sorted(set(found) - {entry.name for entry in parts.values()})
        if extra:
            raise DataError(
                f"{root} has both train/ and class folders beside it ({extra[0]}/)",
                "put every class into train/, or remove train/",
            )
        folders = {part: _classes(_entries(entry, skipped), skipped, kind) for part, entry in parts.items()}
    elif found:
        folders = {"train": _classes(entries, skipped, kind)}
    else:
        raise DataError(f"{root} has no class folders", f"put each class into a folder of its own: {kind.example}")
    labels = _labels(root, sorted({name for classes in folders.values() for name in classes}))
    splits = {part: _split(classes, labels) for part, classes in folders.items()}
    if not len(splits["train"]):
        raise DataError(f"{root} has no {kind.noun}s to train on", f"known endings: {' '.join(kind.suffixes)}")
    return Dataset(root.name, str(root), labels, complete(splits, holdout), holdout, tuple(skipped))


def open_zip(archive: Path, holdout: Holdout, *, kind: Kind = PICTURES) -> Dataset:
    """The folder inside a zip, unpacked once into the cache. Raises DataError for a damaged or hostile zip."""
    return dataclasses.replace(open_folder(unpacked_root(archive), holdout, kind=kind), name=archive.stem)


def unpacked_root(archive: Path) -> Path:
    """The folder that a zip is of, unpacked: its top, or the only folder in it, as file managers make zips."""
    root = unpack(archive)
    inner = [entry for entry in _entries(root, []) if entry.is_dir()]
    return inner[0] if len(inner) == 1 and inner[0].name.lower() not in PARTS else root


def unpack(archive: Path) -> Path:
    """`archive` unpacked into the cache, keyed by its content; whole or not at all."""
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    target = cache.folder("zips") / digest.hexdigest()[:32]
    if target.is_dir():
        return target
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                _extract(opened, member, partial, archive)
        partial.rename(target)
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive} is not a whole zip: {error}", "copy it again") from None
    except (OSError, RuntimeError, NotImplementedError) as error:
        if target.is_dir():  # another process was faster
            return target
        raise DataError(f"{archive} cannot be unpacked: {error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, root: Path, archive: Path) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if member.is_dir() or _is_litter(path.parts):
        return
    if path.is_absolute() or ".." in path.parts or stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(f"{archive} asks for a path outside itself: {member.filename!r}", "do not trust this zip")
    if member.file_size > 1000 * max(member.compress_size, 1000):
        raise DataError(f"{archive} holds a compression bomb: {member.filename!r}", "do not trust this zip")
    target = root.joinpath(*path.parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def _is_litter(parts: tuple[str, ...]) -> bool:
    return any(part.lower() in _LITTER or part.startswith("._") for part in parts)


def _entries(root: Path, skipped: list[Skipped]) -> list[Path]:
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise DataError(f"{root} cannot be read: {error.strerror}") from None
    skipped += [Skipped(str(entry), "left behind by a file manager") for entry in entries if _is_litter((entry.name,))]
    return [entry for entry in entries if not _is_litter((entry.name,)) and not entry.name.startswith(".")]


def _classes(entries: list[Path], skipped: list[Skipped], kind: Kind) -> dict[str, list[Path]]:
    classes: dict[str, list[Path]] = {}
    for entry in entries:
        if entry.is_dir():
            classes[entry.name] = sorted(files_below(entry, skipped, kind))
        elif entry.name != "labels.txt":
            skipped.append(Skipped(str(entry), "not in a class folder"))
    return classes


def files_below(folder: Path, skipped: list[Skipped], kind: Kind) -> list[Path]:
    """The files of `kind` at any depth below `folder`; others are added to `skipped`, with the reason."""
    files = []
    for entry in _entries(folder, skipped):
        if entry.is_dir():
            files += files_below(entry, skipped, kind)
        elif entry.suffix.lower() not in kind.suffixes:
            skipped.append(Skipped(str(entry), f"not a {kind.noun}"))
        elif entry.stat().st_size == 0:
            skipped.append(Skipped(str(entry), "an empty file"))
        else:
            files.append(entry)
    return files


def _labels(root: Path, names: list[str]) -> tuple[str, ...]:
    stored = root / "labels.txt"
    if not stored.is_file():
        return tuple(names)
    labels = tuple(line.strip() for line in stored.read_text(encoding="utf-8").splitlines() if line.strip())
    if sorted(labels) != names:
        odd = sorted(set(labels) ^ set(names))
        raise DataError(f"{stored} and the class folders disagree about {odd[0]!r}", "mend or remove labels.txt")
    return labels


def _split(classes: dict[str, list[Path]], labels: tuple[str, ...]) -> Split:
    paths = [(path, index) for index, label in enumerate(labels) for path in classes.get(label, ())]
    return Split(tuple(path for path, _ in paths), np.array([index for _, index in paths], dtype=np.int64))
