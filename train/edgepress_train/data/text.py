"""Labelled utterances and plain text: reading, and splitting so that no text lies on both sides of a split."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress_runtime.manifest import check_labels
from edgepress_runtime.preprocessing import TextSpec
from edgepress_runtime.text import normalize
from edgepress_train.data.dataset import DataError, Holdout, Skipped
from edgepress_train.data.folder import PARTS, unpacked_root

TABLES = (".csv", ".tsv", ".jsonl")
_LAYOUT = "a folder intent/*.txt with one utterance a line, or a .csv, .tsv or .jsonl with text and label"
# What is the same to a person is one text, whatever the model's own preprocessing is.
_SAME = TextSpec(1, 258, "0" * 64)
Row = tuple[str, str]  # text, label


@dataclass(frozen=True)
class TextSplit:
    """Utterances of one part of a data set: `labels` (n,) int64 indexes into the data set's labels."""

    texts: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, index: np.ndarray | Sequence[int]) -> TextSplit:
        """The utterances at `index`, in that order."""
        index = np.asarray(index, dtype=np.int64)
        return TextSplit(tuple(self.texts[i] for i in index), self.labels[index])


@dataclass(frozen=True)
class TextDataset:
    """A named set of labelled utterances. `splits` holds `train`, `val` and `test`; `val` may be empty.

    `fingerprint`: SHA-256 over labels, split membership and texts. `whole`: the data brought no parts of its own.
    """

    name: str
    source: str
    labels: tuple[str, ...]
    splits: Mapping[str, TextSplit]
    holdout: Holdout
    skipped: tuple[Skipped, ...] = ()
    whole: bool = True

    @property
    def fingerprint(self) -> str:
        parts = {name: [split.texts, split.labels.tolist()] for name, split in self.splits.items()}
        told = json.dumps([self.labels, parts], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """What `run.json` keeps: enough to reopen the data and to know that it is the same."""
        return {
            "name": self.name,
            "source": self.source,
            "holdout": dataclasses.asdict(self.holdout),
            "fingerprint": self.fingerprint,
            "counts": {name: len(split) for name, split in self.splits.items()},
            "skipped": len(self.skipped),
        }


def open_texts(source: str, *, holdout: Holdout = Holdout()) -> TextDataset:  # noqa: B008  frozen
    """The labelled utterances at `source`: a folder, a zip of one, or a table.

    `intent/*.txt` has one utterance a line; a table has the columns `text` and `label`, or no header and the text
    first. `train`, `val` and `test` folders or tables in a folder are kept as parts; what is missing is split off the
    training part. Texts that are equal but for case and spaces stay on one side: of `train` those are left out that
    `test` or `val` has, too. Raises DataError.
    """
    path = Path(source)
    if not source.strip() or not path.exists():
        raise DataError(f"there is no text data {source!r}", f"give {_LAYOUT}")
    skipped: list[Skipped] = []
    root = unpacked_root(path) if path.is_file() and path.suffix.lower() == ".zip" else path
    rows = _parts(root, skipped)
    labels = tuple(sorted({label for part in rows.values() for _, label in part}))
    if len(labels) < 2:
        raise DataError(f"{source} has {len(labels)} labels; a classifier needs two", f"give {_LAYOUT}")
    check_labels(labels)
    whole = set(rows) == {"train"}
    rows = split(rows, holdout, skipped)
    splits = {part: _split(rows.get(part, []), labels) for part in ("train", "val", "test")}
    for index, label in enumerate(labels):
        if not (splits["train"].labels == index).any():
            raise DataError(
                f"class {label!r} of {source} has no training example",
                "add utterances, or lower the held-out fractions",
            )
    return TextDataset(path.stem, str(path.resolve()), labels, splits, holdout, tuple(skipped), whole)


def reopen(described: Mapping[str, Any]) -> TextDataset:
    """The data set that `TextDataset.describe` described, proven to be the same. Raises DataError when it changed."""
    try:
        source, fingerprint = described["source"], described["fingerprint"]
        holdout = Holdout(**described["holdout"])
    except (KeyError, TypeError):
        raise DataError("the run does not say which data it was trained on", "train it again") from None
    dataset = open_texts(source, holdout=holdout)
    if dataset.fingerprint != fingerprint:
        raise DataError(
            f"{source} is not what it was at training: texts were added, removed or changed",
            "restore the data, or train again",
        )
    return dataset


def split(
    rows: Mapping[str, Sequence[Row]], holdout: Holdout, skipped: list[Skipped] | None = None
) -> dict[str, list[Row]]:
    """`rows` with `test` and `val` split off `train` where they are missing.

    Every label gives its share of distinct texts, those with the smallest SHA-256 of the seed and the text: a text that
    is added later moves no other, and equal texts go together. A text that has several labels goes with its first.
    """
    skipped = [] if skipped is None else skipped
    parts = {name: list(part) for name, part in rows.items()}
    for name, fraction, salt in (("test", holdout.test_fraction, 0), ("val", holdout.val_fraction, 1)):
        if name not in parts:
            held = _held(parts["train"], fraction, holdout.split_seed + salt)
            parts[name] = [row for row in parts["train"] if same(row[0]) in held]
            parts["train"] = [row for row in parts["train"] if same(row[0]) not in held]
    for name, others in (("val", ("test",)), ("train", ("test", "val"))):
        seen = {same(text) for other in others for text, _ in parts[other]}
        skipped += [Skipped(text, f"in {name}, and held out as well") for text, _ in parts[name] if same(text) in seen]
        parts[name] = [row for row in parts[name] if same(row[0]) not in seen]
    return parts


def same(text: str) -> str:
    """What two texts have in common that are one to a person."""
    return normalize(text, _SAME)


def read_lines(source: str) -> Iterator[str]:
    """The lines that are not empty of a text file, or of every `*.txt` and `*.md` in a folder, in order of their names.

    Raises DataError when there is no text.
    """
    path = Path(source)
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix.lower() in (".txt", ".md"))
    if not source.strip() or not path.exists() or not files:
        raise DataError(f"there is no plain text at {source!r}", "give a .txt file, or a folder of them")
    for file in files:
        for line in _lines(file):
            if line.strip():
                yield line.strip()


def _held(rows: Sequence[Row], fraction: float, seed: int) -> set[str]:
    first: dict[str, str] = {}
    for text, label in rows:
        first.setdefault(same(text), label)
    held: set[str] = set()
    for label in sorted(set(first.values())):
        texts = sorted((text for text, own in first.items() if own == label), key=lambda text: _place(text, seed))
        held.update(texts[: round(fraction * len(texts))])
    return held


def _place(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{text}".encode()).digest()


def _split(rows: Sequence[Row], labels: tuple[str, ...]) -> TextSplit:
    index = {label: number for number, label in enumerate(labels)}
    return TextSplit(tuple(text for text, _ in rows), np.array([index[label] for _, label in rows], np.int64))


def _parts(root: Path, skipped: list[Skipped]) -> dict[str, list[Row]]:
    if root.is_file():
        if root.suffix.lower() not in TABLES:
            raise DataError(f"{root} is no table of labelled texts", f"give {_LAYOUT}")
        return {"train": _table(root, skipped)}
    entries = [entry for entry in sorted(root.iterdir()) if not entry.name.startswith((".", "__"))]
    tables = [entry for entry in entries if entry.is_file() and entry.suffix.lower() in TABLES]
    folders = [entry for entry in entries if entry.is_dir()]
    named: dict[str, list[Row]] = {}
    for entry in (*tables, *folders):
        part = PARTS.get(entry.stem.lower() if entry.is_file() else entry.name.lower())
        if part is not None:
            named.setdefault(part, []).extend(_table(entry, skipped) if entry.is_file() else _intents(entry, skipped))
    if "train" in named:
        return named
    if tables:
        return {"train": [row for table in tables for row in _table(table, skipped)]}
    return {"train": _intents(root, skipped)}


def _intents(root: Path, skipped: list[Skipped]) -> list[Row]:
    rows = []
    for folder in sorted(entry for entry in root.iterdir() if entry.is_dir()):
        for file in sorted(folder.rglob("*.txt")):
            rows += [(line.strip(), folder.name) for line in _lines(file) if _is_text(line)]
    if not rows:
        raise DataError(f"{root} has no labelled texts", f"give {_LAYOUT}")
    return rows


def _table(path: Path, skipped: list[Skipped]) -> list[Row]:
    rows = []
    for number, (text, label) in enumerate(_jsonl(path) if path.suffix.lower() == ".jsonl" else _columns(path), 1):
        if _is_text(text) and label.strip():
            rows.append((text.strip(), label.strip()))
        else:
            skipped.append(Skipped(f"{path.name}:{number}", "no text, or no label"))
    if not rows:
        raise DataError(f"{path} has no labelled texts", f"give {_LAYOUT}")
    return rows


def _columns(path: Path) -> Iterator[Row]:
    try:
        table = list(csv.reader(_lines(path), delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True))
    except csv.Error as error:
        raise DataError(f"{path} is not a table: {error}", "quote texts that hold a comma") from None
    table = [row for row in table if row]
    header = [name.strip().lower() for name in table[0]] if table else []
    named = {"text", "label"} <= set(header)
    text, label = (header.index("text"), header.index("label")) if named else (0, 1)
    for row in table[1:] if named else table:
        if len(row) <= max(text, label) or (not named and len(row) != 2):
            raise DataError(
                f"{path} has a row of {len(row)} columns: {','.join(row)[:60]!r}",
                "name the columns text and label in the first line, or give exactly these two; quote texts with commas",
            )
        yield row[text], row[label]


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            yield str(value["text"]), str(value["label"])
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"line {number} of {path} is no object with text and label", 'write {"text": "...", "label": "..."}'
            ) from None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text in UTF-8", "save it as such") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _is_text(text: str) -> bool:
    return bool(same(text))
