"""How to train on text: frozen configurations of the two commands."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress_runtime.errors import EdgepressError
from edgepress_train.config import check_bounds

_BOUNDS: Mapping[str, tuple[float, float]] = {"length": (1, 1024), "mask": (0, 0.9)}


@dataclass(frozen=True)
class TextConfig:
    """Everything that shapes the training of a text classifier; the same configuration and data give the same run.

    `data` is what `data.text.open_texts` opens. `arch` is a one-line spec (`transformer:dim=96:blocks=2`), `init` a RUN
    folder to start from, whose vocabulary and preprocessing are then taken over. `length` is how many pieces the model
    sees, `pieces` the size of the vocabulary, `case` `lower` or `keep`, `accents` `keep` or `fold`. `mask` is the share
    of pieces that are hidden in training, so that no single one is relied on. The rest is as in `TrainConfig`.
    """

    data: str
    out: Path
    arch: str = "transformer"
    init: str = ""
    length: int = 32
    pieces: int = 2000
    case: str = "lower"
    accents: str = "keep"
    mask: float = 0.1
    epochs: int = 60
    batch: int = 32
    optimizer: str = "adamw"
    lr: float = 1e-3
    schedule: str = "cosine"
    warmup_epochs: float = 2.0
    weight_decay: float = 0.02
    label_smoothing: float = 0.0
    ema: float = 0.0
    class_weight: str = "none"
    patience: int = 0
    seed: int = 0
    split_seed: int = 0
    val_fraction: float = 0.15
    test_fraction: float = 0.2

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class PretrainTextConfig:
    """Everything that shapes a pretraining on plain text.

    `data` is a text file or a folder of them; `mask` the share of pieces that are to be predicted (15 % in Devlin et
    al. 2019), `val_fraction` the share of the lines that the loss is watched on. The rest is as in `TextConfig`.
    """

    data: str
    out: Path
    arch: str = "transformer"
    length: int = 32
    pieces: int = 2000
    case: str = "lower"
    accents: str = "keep"
    mask: float = 0.15
    epochs: int = 20
    batch: int = 64
    optimizer: str = "adamw"
    lr: float = 2e-3
    schedule: str = "cosine"
    warmup_epochs: float = 1.0
    weight_decay: float = 0.02
    ema: float = 0.0
    patience: int = 0
    seed: int = 0
    split_seed: int = 0
    val_fraction: float = 0.05

    def __post_init__(self) -> None:
        _check(self)


def text_config_of(value: Mapping[str, Any]) -> TextConfig:
    """What `config.as_json` wrote of a TextConfig. Raises EdgepressError for a configuration of another version."""
    known = {field.name for field in dataclasses.fields(TextConfig)}
    try:
        return TextConfig(**{**{k: v for k, v in value.items() if k in known}, "out": Path(value["out"])})
    except (KeyError, TypeError) as error:
        raise EdgepressError(f"the run's configuration cannot be read: {error}", "train it again") from None


def _check(config: TextConfig | PretrainTextConfig) -> None:
    check_bounds(config)
    for name, (low, high) in _BOUNDS.items():
        if not low <= getattr(config, name) <= high:
            raise EdgepressError(
                f"--{name} {getattr(config, name)} is outside {low} to {high}", f"give another --{name}"
            )
