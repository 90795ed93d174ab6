"""What a speech encoder is pretrained on: clips of every recording, cut where they are long, labels for the probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from edgepress_train.data import recordings, speech_material, unlabelled
from edgepress_train.data.dataset import DataError, Dataset, Holdout, Skipped
from edgepress_train.data.speech_examples import Clip
from edgepress_train.pretrain.config import SpeechPretrainConfig
from edgepress_train.progress import Progress


@dataclass(frozen=True)
class Heard:
    """`train`: all clips, of no class. `labelled` and `val`: those of the first source that has labels, with them.

    `data` is for `run.json`: one description a source.
    """

    train: tuple[Clip, ...]
    labelled: tuple[Clip, ...]
    val: tuple[Clip, ...]
    data: Mapping[str, Any]
    skipped: tuple[Skipped, ...]


def listen(config: SpeechPretrainConfig, rate_hz: int, progress: Progress) -> Heard:
    """The training parts of all sources that `config` names, decoded. Raises DataError."""
    train: list[Clip] = []
    labelled: list[Clip] = []
    val: list[Clip] = []
    skipped: list[Skipped] = []
    described = []
    for source in (part.strip() for part in config.data.split(",") if part.strip()):
        dataset = open_source(source, config)
        labels = dataset.labels or (recordings.UNKNOWN,)  # which may be cut into pieces
        clips, lost = speech_material.decode(dataset.splits["train"], labels, rate_hz, progress, "decode")
        skipped += [*dataset.skipped, *lost]
        train += clips
        if dataset.labels and not labelled:
            found, lost = speech_material.decode(dataset.splits["val"], labels, rate_hz, progress, "decode validation")
            labelled, val = clips, found
            skipped += lost
        described.append({**dataset.describe(), "skipped": len(dataset.skipped) + len(lost)})
    if not train:
        raise DataError(f"nothing in {config.data} can be heard", "give a folder of recordings")
    return Heard(tuple(train), tuple(labelled), tuple(val), {"sources": described}, tuple(skipped))


def open_source(source: str, config: SpeechPretrainConfig) -> Dataset:
    """One source of `config`; `labels` is empty for a folder without classes."""
    holdout = Holdout(config.split_seed, config.val_fraction, config.test_fraction)
    opened = partial(recordings.open_recordings, source, holdout=holdout, speaker=config.speaker)
    return unlabelled.open_any(source, holdout, kind=recordings.RECORDINGS, labelled=opened)
