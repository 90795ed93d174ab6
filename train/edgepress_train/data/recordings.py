"""Recordings as data: a folder or zip of `word/*.wav`, or Speech Commands as it is published.

Speech Commands (Warden 2018, arXiv:1804.03209) brings its split by speaker in `validation_list.txt` and
`testing_list.txt`, noises in `_background_noise_/`, and 35 words, of which the usual task keeps ten; the others are
`unknown`, and pieces of the noises are `silence`.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np

from edgepress_runtime.audio import SUFFIXES
from edgepress_runtime.manifest import check_labels
from edgepress_train.data import cache, folder
from edgepress_train.data.dataset import DataError, Dataset, Holdout, Split, complete, hold_out
from edgepress_train.data.folder import Kind

RECORDINGS = Kind(SUFFIXES, "recording", "word/*.wav")
UNKNOWN, SILENCE = "unknown", "silence"
# Labels that are no keyword: a spotter never reports them.
BACKGROUND = (UNKNOWN, SILENCE)
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
_NOISES = "_background_noise_"
_LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}
_URL = "storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz"


def open_recordings(source: str, *, holdout: Holdout = Holdout(), speaker: str = "") -> Dataset:  # noqa: B008  frozen
    """The recordings at `source`: a folder, a zip of one, or `speech-commands`, unpacked in the cache by the user.

    `speaker` is a regular expression whose first group, found in a file's name, tells who speaks: then no speaker is in
    two parts. Raises DataError.
    """
    path = cache.folder("speech-commands") if source == "speech-commands" else Path(source)
    if source == "speech-commands" and not (path / _LISTS["test"]).is_file():
        raise DataError(f"Speech Commands is not in {path}", f"download {_URL} and unpack it there")
    if not source.strip() or not path.exists():
        raise DataError(f"there is no folder or zip {source!r}", "give a folder of word/*.wav, or use --words")
    root = folder.unpacked_root(path) if path.is_file() else path
    if all((root / name).is_file() for name in _LISTS.values()):
        dataset = _speech_commands(root, holdout)
    else:
        brought = Holdout(holdout.split_seed, 0.0, 0.0) if speaker else holdout
        dataset = folder.open_folder(root, brought, kind=RECORDINGS)
        if speaker:
            dataset = _by_speaker(dataset, holdout, speaker)
    check_labels(dataset.labels)
    if len(dataset.labels) < 2:
        raise DataError(
            f"{source} has only the class {dataset.labels[0]!r}; a spotter needs something else to tell it from",
            f"add a folder {UNKNOWN}/ with other words, or use --words, which makes them",
        )
    named = source if source == "speech-commands" else str(path.resolve())
    return dataclasses.replace(dataset, name=path.stem, source=named)


def noises(source: str) -> tuple[Path, ...]:
    """The long noise recordings that `source` brings in `_background_noise_/`, none for most folders."""
    root = cache.folder("speech-commands") if source == "speech-commands" else Path(source)
    found = root / _NOISES
    return tuple(sorted(found.glob("*.wav"))) if found.is_dir() else ()


def _speech_commands(root: Path, holdout: Holdout) -> Dataset:
    """The twelve-class task: ten commands, `unknown` and `silence`, with the published split by speaker."""
    lists: dict[str, set[str]] = {
        part: set((root / name).read_text(encoding="utf-8").split()) for part, name in _LISTS.items()
    }
    words = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(("_", ".")))
    commands = tuple(word for word in COMMANDS if word in words)
    if len(commands) < 2:
        raise DataError(f"{root} has the lists of Speech Commands but not its words", "unpack it again")
    labels = (*commands, SILENCE, UNKNOWN)
    rows: dict[str, list[tuple[Path, int]]] = {"train": [], "val": [], "test": []}
    for word in words:
        for path in sorted((root / word).glob("*.wav")):
            name = f"{word}/{path.name}"
            part = next((part for part, names in lists.items() if name in names), "train")
            rows[part].append((path, labels.index(word if word in commands else UNKNOWN)))
    splits = {part: _thinned(found, labels, holdout.split_seed) for part, found in rows.items()}
    return Dataset(root.name, str(root), labels, splits, holdout)


def _thinned(rows: list[tuple[Path, int]], labels: tuple[str, ...], seed: int) -> Split:
    """As many `unknown` as there are of a command on average: the 25 other words would drown the ten."""
    target = np.array([label for _, label in rows], np.int64)
    unknown = np.flatnonzero(target == labels.index(UNKNOWN))
    keep = max(1, int((target != labels.index(UNKNOWN)).sum() / max(1, len(labels) - 2)))
    chosen = np.random.default_rng(seed).permutation(unknown)[:keep]
    index = np.sort(np.concatenate([np.flatnonzero(target != labels.index(UNKNOWN)), chosen]))
    return Split(tuple(path for path, _ in rows), target).take(index)


def _by_speaker(dataset: Dataset, holdout: Holdout, pattern: str) -> Dataset:
    """`dataset` with its held-out parts drawn again, whole speakers at a time, where it brought none itself."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(f"--speaker {pattern!r} is no regular expression: {error}") from None
    if not compiled.groups:
        raise DataError(
            f"--speaker {pattern!r} has no group", "put what names the speaker into brackets: '(.+)_[0-9]+'"
        )
    train = dataset.splits["train"]
    names = [compiled.search(path.name) for path in train.paths]
    unnamed = next((path for path, found in zip(train.paths, names, strict=True) if not found), None)
    if unnamed is not None:
        raise DataError(f"--speaker {pattern!r} finds nothing in {unnamed.name}", "give a pattern that fits every file")
    speakers = np.array([found.group(1) for found in names if found])
    parts = {name: split for name, split in dataset.splits.items() if len(split)}
    for part, fraction, seed in (
        ("test", holdout.test_fraction, holdout.split_seed),
        ("val", holdout.val_fraction, holdout.split_seed + 1),
    ):
        if part in parts:
            continue
        distinct = np.unique(speakers)
        chosen = distinct[hold_out(["speaker"] * len(distinct), fraction, seed=seed)]
        held = np.isin(speakers, chosen)
        parts[part] = parts["train"].take(np.flatnonzero(held))
        parts["train"], speakers = parts["train"].take(np.flatnonzero(~held)), speakers[~held]
    return dataclasses.replace(dataset, splits=complete(parts, holdout), holdout=holdout)
