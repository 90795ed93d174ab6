"""What a spotter is trained on: clips for training and validation, with labels, from recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgepress_runtime.audio import SUFFIXES, AudioError, load
from edgepress_train.data import recordings
from edgepress_train.data.budget import Budget, kept
from edgepress_train.data.dataset import DataError, Holdout, Skipped, Split
from edgepress_train.data.recordings import BACKGROUND, SILENCE, UNKNOWN
from edgepress_train.data.speech_examples import Clip
from edgepress_train.data.windows import spoken
from edgepress_train.progress import Progress, silent

_LONG_S = 2.0  # a longer clip without a keyword is cut into pieces of this length, each an example of its own
_PAUSE = 1000.0  # times less power than the loudest piece
_PART = (0.3, 0.5)  # of a word is heard in a window that it has only begun to enter, or almost left


@dataclass(frozen=True)
class Material:
    """`labels`, the `train` and `val` clips, and for `run.json` where they come from (`data`) and what was left out.

    `positives` (label -> clips) and `negatives`, where there are any, are unseen sound for choosing thresholds.
    """

    labels: tuple[str, ...]
    train: tuple[Clip, ...]
    val: tuple[Clip, ...]
    data: Mapping[str, Any]
    skipped: tuple[Skipped, ...] = ()
    positives: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    negatives: tuple[np.ndarray, ...] = ()


def from_recordings(
    source: str,
    *,
    rate_hz: int,
    holdout: Holdout,
    speaker: str = "",
    background: Sequence[str] = (),
    budget: Budget = Budget(),  # noqa: B008  frozen
    progress: Progress = silent,
) -> Material:
    """The recordings at `source`, all decoded now, so that a broken file is found by name and not in the middle.

    Files below the folders `background` are further examples of `unknown`, and nobody had to label them, so the
    `budget` of labels does not count them. Raises DataError.
    """
    dataset = recordings.open_recordings(source, holdout=holdout, speaker=speaker)
    labels, skipped = dataset.labels, list(dataset.skipped)
    others = find_sounds(background)
    if others and UNKNOWN not in labels:
        labels = (*labels, UNKNOWN)
    train, lost = decode(kept(dataset.splits["train"], budget), labels, rate_hz, progress, "decode")
    val, lost_too = decode(dataset.splits["val"], labels, rate_hz, progress, "decode validation")
    skipped += [*lost, *lost_too]
    for paths, label in ((recordings.noises(source), SILENCE), (others, UNKNOWN)):
        if paths and label in labels:
            split = Split(tuple(paths), np.full(len(paths), labels.index(label), np.int64))
            pieces, lost = decode(split, labels, rate_hz, progress, "decode background")
            skipped += lost
            # Every sixth piece is validated on; pieces of one file are as unlike as of two.
            train += [clip for number, clip in enumerate(pieces) if number % 6]
            val += pieces[::6]
    if UNKNOWN in labels:
        train += parts_of_words([clip for clip in train if clip.whole], labels.index(UNKNOWN), rate_hz=rate_hz)
    if not train:
        raise DataError(f"none of the recordings in {source} can be read: {skipped[0].reason}")
    for index, label in enumerate(labels):
        if not any(clip.label == index for clip in train):
            raise DataError(f"class {label!r} of {source} has no recording to train on", "add some")
    data = {**dataset.describe(), "speaker": speaker, "background": list(background), "skipped": len(skipped)}
    return Material(labels, tuple(train), tuple(val), data, tuple(skipped))


def joined(recorded: Material, spoken: Material) -> Material:
    """`recorded` with the training clips of `spoken` added; what is validated on stays real.

    Negatives are added where the recordings have `unknown`. Raises DataError when a synthesized word is none of their
    labels.
    """
    strangers = [label for label in spoken.labels if label not in (*recorded.labels, UNKNOWN)]
    if strangers:
        raise DataError(
            f"the recordings have no class {strangers[0]!r}", "give --words the names of classes, with commas between"
        )
    places = {
        index: recorded.labels.index(label) for index, label in enumerate(spoken.labels) if label in recorded.labels
    }
    added = [replace(clip, label=places[clip.label]) for clip in spoken.train if clip.label in places]
    data = {**recorded.data, "spoken": dict(spoken.data)}
    return replace(recorded, train=(*recorded.train, *added), data=data)


def find_sounds(folders: Sequence[str]) -> tuple[Path, ...]:
    """Every sound file below `folders`, sorted. Raises DataError for a folder that is missing or holds none."""
    found: list[Path] = []
    for name in folders:
        below = sorted(path for path in Path(name).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not below:
            raise DataError(f"{name} holds no sound", f"give a folder of files that end in {' '.join(SUFFIXES)}")
        found += below
    return tuple(found)


def decode(
    split: Split, labels: tuple[str, ...], rate_hz: int, progress: Progress, about: str
) -> tuple[list[Clip], tuple[Skipped, ...]]:
    """The clips of `split`, and the files that cannot be read, and why. `about` tells `progress` what is done."""

    def one(path: Path) -> np.ndarray | str:
        try:
            return load(path, rate_hz)
        except AudioError as error:
            return error.what

    clips: list[Clip] = []
    skipped: list[Skipped] = []
    with ThreadPoolExecutor() as pool:
        for done, (samples, label) in enumerate(zip(pool.map(one, split.paths), split.labels, strict=True)):
            progress(about, done + 1, len(split), "")
            if isinstance(samples, str):
                skipped.append(Skipped(str(split.paths[done]), samples))
            else:
                clips += as_clips(samples, int(label), keyword=labels[label] not in BACKGROUND, rate_hz=rate_hz)
    return clips, tuple(skipped)


def as_clips(samples: np.ndarray, label: int, *, keyword: bool, rate_hz: int) -> Iterator[Clip]:
    """`samples` as one clip, or, when they are long and hold no keyword, as pieces of two seconds."""
    length = round(_LONG_S * rate_hz)
    if keyword or len(samples) <= length:
        yield Clip(samples, label, whole=keyword)
        return
    pieces = [samples[start : start + length] for start in range(0, len(samples) - length // 2, length)]
    loudness = np.array([np.mean(np.square(piece, dtype=np.float64)) for piece in pieces])
    for piece, power in zip(pieces, loudness, strict=True):
        if power * _PAUSE > loudness.max():  # a pause between sentences is no example of speech
            yield Clip(piece, label, whole=False)


def parts_of_words(clips: Sequence[Clip], unknown: int, *, rate_hz: int) -> list[Clip]:
    """The beginning of every other word and the end of the rest, as examples of `unknown`.

    A stream's window sees every word come and go; a net that was shown whole words only answers at half of them.
    """
    found = []
    for number, clip in enumerate(clips):
        span = spoken(clip.samples, rate_hz)
        length = round(len(span) * np.random.default_rng([number]).uniform(*_PART))
        at = span.start if number % 2 else span.stop - length
        found.append(Clip(clip.samples[at : at + length], unknown))
    return found
