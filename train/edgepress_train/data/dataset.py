"""What a data set is: examples with labels in named splits, and how they are split and told apart."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress_runtime.errors import EdgepressError


class DataError(EdgepressError):
    """A data set that is missing, empty, or of a shape that cannot be trained on."""


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Split:
    """Examples of one part of a data set: `labels` (n,) int64 indexes into the data set's labels.

    `targets` (n, classes) float32 are soft labels, for data whose annotators were unsure; None means one-hot.
    """

    paths: tuple[Path, ...]
    labels: np.ndarray
    targets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, index: np.ndarray | Sequence[int]) -> Split:
        """The examples at `index`, in that order."""
        index = np.asarray(index, dtype=np.int64)
        targets = None if self.targets is None else self.targets[index]
        return Split(tuple(self.paths[i] for i in index), self.labels[index], targets)


@dataclass(frozen=True)
class Holdout:
    """Which shares to hold out of data that brings no such parts itself, and the seed that chooses them.

    `test_fraction` is of everything, `val_fraction` of what then remains.
    """

    split_seed: int = 0
    val_fraction: float = 0.15
    test_fraction: float = 0.25

    def __post_init__(self) -> None:
        for name in ("val_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 0.9:
                raise DataError(f"{name} is {getattr(self, name)}, but must be at least 0 and below 0.9")


@dataclass(frozen=True)
class Dataset:
    """A named set of labelled files. `splits` holds `train`, `val` and `test`; `val` may be empty.

    `source` and `holdout` are what `sources.reopen` needs to find the same data again; `fingerprint` tells whether it
    did: SHA-256 over labels, split membership, file names and sizes.
    """

    name: str
    source: str
    labels: tuple[str, ...]
    splits: Mapping[str, Split]
    holdout: Holdout
    skipped: tuple[Skipped, ...] = ()

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(os.fsencode("\0".join(self.labels)))
        for name in sorted(self.splits):
            split = self.splits[name]
            digest.update(f"\0{name}\0{len(split)}".encode())
            for path, label in zip(split.paths, split.labels, strict=True):
                digest.update(os.fsencode(f"\0{path.parent.name}/{path.name}\0{path.stat().st_size}\0{label}"))
        return digest.hexdigest()

    def describe(self) -> dict:
        """What `run.json` keeps: enough to reopen the data and to know that it is the same."""
        counts = {name: len(split) for name, split in self.splits.items()}
        return {
            "name": self.name,
            "source": self.source,
            "holdout": dataclasses.asdict(self.holdout),
            "fingerprint": self.fingerprint,
            "counts": counts,
            "skipped": len(self.skipped),
        }


def hold_out(strata: Sequence[object], fraction: float, *, seed: int) -> np.ndarray:
    """Which examples to hold out: (n,) bool, `fraction` of every stratum (rounded), the same for the same seed."""
    names = np.asarray([str(s) for s in strata])
    rng = np.random.default_rng(seed)
    held = np.zeros(len(names), dtype=bool)
    for name in sorted(set(names.tolist())):
        index = np.flatnonzero(names == name)
        rng.shuffle(index)
        held[index[: round(fraction * len(index))]] = True
    return held


def complete(parts: Mapping[str, Split], holdout: Holdout, *, strata: np.ndarray | None = None) -> dict[str, Split]:
    """`parts` with `test` and `val` split off `train` where they are missing.

    Stratified by label, or by `strata` (n,), one for each example of `train`.
    """
    splits = dict(parts)
    train = splits["train"]
    left = np.arange(len(train))
    strata = train.labels if strata is None else strata
    for part, fraction, seed in (
        ("test", holdout.test_fraction, holdout.split_seed),
        ("val", holdout.val_fraction, holdout.split_seed + 1),
    ):
        if part not in splits:
            held = hold_out(strata[left].tolist(), fraction, seed=seed)
            splits[part], left = train.take(left[held]), left[~held]
    splits["train"] = train.take(left)
    return splits
