"""How to pretrain: one frozen configuration for pictures, one for sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress_runtime.errors import EdgepressError
from edgepress_train.config import SpeechConfig, check_bounds


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that shapes the pretraining of an image encoder; the fields of `TrainConfig` mean the same here.

    `data` is a folder of pictures, in class folders or in none, a zip of one, or the name of a data set. Labels are
    looked at by the probe alone. What the same `split_seed` and fractions hold out of a training is held out here too.
    `method` is a one-line spec of an entry of `objectives`: `simclr:temperature=0.2`, `masked:share=0.6`; with
    `teacher`, a RUN folder or a published checkpoint, its embeddings are told instead. `augment` makes the views.
    `projector` are the widths of the layers behind the embedding that only the pretraining has.
    """

    data: str
    out: Path
    arch: str = "resnet8"
    method: str = "simclr"
    teacher: str = ""
    init: str = ""
    size: tuple[int, int] = (96, 96)
    channels: int = 3
    fit: str = "stretch"
    normalize: str = "data"
    epochs: int = 100
    batch: int = 256
    optimizer: str = "adamw"
    lr: float = 2e-3
    schedule: str = "cosine"
    warmup_epochs: float = 1.0
    weight_decay: float = 1e-4
    ema: float = 0.0
    augment: str = "crop:0.25, flip-h, brightness:0.3, contrast:0.4, colour:0.4, hue:20, grey:0.2"
    projector: tuple[int, ...] = (256, 128)
    patience: int = 0
    seed: int = 0
    split_seed: int = 0
    val_fraction: float = 0.15
    test_fraction: float = 0.25

    def __post_init__(self) -> None:
        check_bounds(self)
        _check_projector(self.projector)


@dataclass(frozen=True)
class SpeechPretrainConfig:
    """Everything that shapes the pretraining of a speech encoder; the fields of `SpeechConfig` mean the same here.

    `data` names folders or zips of recordings, with commas between, in word folders or in none. `window_s` may be
    longer than what is trained on later: a speech net is the same at any length, and masked prediction needs sound on
    both sides of what is hidden.
    """

    data: str
    out: Path
    arch: str = "ds-tcn"
    method: str = "masked"
    teacher: str = ""
    init: str = ""
    front_end: str = "log-mel"
    rate_hz: int = 16_000
    frame_ms: float = 30.0
    hop_ms: float = 20.0
    bands: int = 40
    low_hz: float = 60.0
    high_hz: float = 7600.0
    coefficients: int = 10
    normalize: str = "data"
    window_s: float = 2.0
    copies: int = 2
    noise: str = ""
    sound: str = "speed:0.08, tempo:0.15, formant:0.12, equalizer:6, room:0.5, noise:5..30, gain:-18..6"
    augment: str = "stretch:0.2, bands:0.12, equalize:0.4, mask-time:8, mask-bands:5"
    speaker: str = ""
    epochs: int = 60
    batch: int = 128
    optimizer: str = "adamw"
    lr: float = 3e-3
    schedule: str = "cosine"
    warmup_epochs: float = 1.0
    weight_decay: float = 1e-3
    ema: float = 0.0
    projector: tuple[int, ...] = (256, 128)
    patience: int = 0
    seed: int = 0
    split_seed: int = 0
    val_fraction: float = 0.15
    test_fraction: float = 0.2

    def __post_init__(self) -> None:
        check_bounds(self)
        _check_projector(self.projector)
        if not self.data.strip():
            raise EdgepressError("a speech encoder learns from recordings", "give --data DIR")

    def hearing(self) -> SpeechConfig:
        """The training whose nets would hear as this one does, for all that asks for a `SpeechConfig`."""
        shared = {field.name for field in dataclasses.fields(SpeechConfig)} & {f.name for f in dataclasses.fields(self)}
        values: Mapping[str, Any] = {name: getattr(self, name) for name in shared}
        return SpeechConfig(**{**values, "teacher": "", "init": ""})


def _check_projector(widths: tuple[int, ...]) -> None:
    if not widths or not all(1 <= width <= 65_536 for width in widths):
        raise EdgepressError(f"--projector {widths} is no list of widths", "give 256 or 256-128")
