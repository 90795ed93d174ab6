"""How to train: one frozen configuration, and the named recipes that ship with the kit."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgepress_runtime.errors import EdgepressError

_Config = TypeVar("_Config", "TrainConfig", "SpeechConfig")

# What no training can do anything with, whatever the data; what is merely unwise is let through.
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "epochs": (1, 100_000),
    "batch": (1, 100_000),
    "lr": (1e-9, 1e3),
    "warmup_epochs": (0, 100_000),
    "weight_decay": (0, 1e3),
    "label_smoothing": (0, 0.9),
    "ema": (0, 0.99999),
    "patience": (0, 100_000),
    "distil_weight": (0, 1),
    "distil_temperature": (0.1, 100),
    "distil_features": (0, 1e6),
    "seed": (0, 2**32 - 1),
    "split_seed": (0, 2**32 - 2),
    "rate_hz": (4_000, 48_000),
    "frame_ms": (5, 200),
    "hop_ms": (2.5, 100),
    "window_s": (0.2, 10),
    "clips": (1, 1_000_000),
    "copies": (1, 1_000),
    "hardest": (0.001, 1),
    "label_fraction": (1e-6, 1),
    "labels_per_class": (0, 1_000_000),
}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that shapes an image training; the same configuration and data give the same run.

    `arch` and `augment` are one-line specs (see `edgepress_train.spec`): `resnet8`, `mobilenet-v2:width=0.35`;
    `flip-h, shift:0.1, rotate:15`. `init` is a RUN folder or a published checkpoint to start from. `size` is
    (height, width) in pixels. `normalize` is `data` (one mean and deviation of the training pixels), `unit`
    ((pixel - 127) / 128) or `raw` (none). `lr` is the peak learning rate, `schedule` is `cosine`, `constant` or
    `exponential:RATE` (per epoch), `ema` the decay of the averaged weights, 0 for none. `class_weight` is `none` or
    `balanced`. `patience` is in epochs without a better validation score, 0 to never stop. `teacher` names RUN folders,
    Keras files and bundles, with commas between, that the net learns from too: `distil_weight` is their share of the
    loss, `distil_temperature` softens their answers, `distil_features` is what the likeness of feature maps weighs.
    `tune` says which weights learn (see `peft`). Of each class only `label_fraction` of the training examples, and at
    most `labels_per_class` of them (0: all), are used; `seed` chooses which.
    """

    data: str
    out: Path
    arch: str = "resnet8"
    init: str = ""
    size: tuple[int, int] = (96, 96)
    channels: int = 3
    fit: str = "stretch"
    normalize: str = "data"
    epochs: int = 60
    batch: int = 32
    optimizer: str = "adamw"
    lr: float = 1e-3
    schedule: str = "cosine"
    warmup_epochs: float = 2.0
    weight_decay: float = 0.02
    label_smoothing: float = 0.0
    ema: float = 0.0
    augment: str = "flip-h, shift:0.1, rotate:10, zoom:0.1, brightness:0.1, contrast:0.1"
    class_weight: str = "none"
    patience: int = 0
    teacher: str = ""
    distil_weight: float = 0.7
    distil_temperature: float = 2.0
    distil_features: float = 0.0
    tune: str = "full"
    label_fraction: float = 1.0
    labels_per_class: int = 0
    seed: int = 0
    split_seed: int = 0
    val_fraction: float = 0.15
    test_fraction: float = 0.25

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True)
class SpeechConfig:
    """Everything that shapes the training of a keyword spotter; the same configuration and data give the same run.

    `data` names recordings, `words` keywords to be synthesized, with commas between; with both, the synthetic speech is
    added to the recordings that are trained on. `arch`, `sound` and
    `augment` are one-line specs: the net, what is done to each of the `copies` of a clip's sound, and what is done to
    features anew in every epoch. `front_end` is `log-mel`, `pcen` (log-mel with PCEN), `mfcc` or `micro`, with frames
    of `frame_ms` every `hop_ms`; `coefficients` are the MFCCs kept. `normalize` is `data` (mean and deviation of the
    training features), `raw` (none) or `log10` (the decimal logarithm of the energy, plus 2, which is what
    `speech-embedding` was taught with). The net sees `window_s` seconds at once. `clips`
    is how many are synthesized of each word, `voices` which engines may speak (all that are there when empty),
    `background` folders of sound without any of the words, and `noise` of noises to mix in, with commas between.
    `speaker` is a regular expression whose group finds the speaker in a file's name. Below 1, `hardest` is the share of
    each batch's examples of `unknown` that count, those most like a keyword. The rest is as in `TrainConfig`.
    """

    out: Path
    data: str = ""
    words: str = ""
    arch: str = "ds-tcn"
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
    window_s: float = 1.3
    clips: int = 1_000
    voices: str = ""
    copies: int = 6
    background: str = ""
    noise: str = ""
    sound: str = (
        "speed:0.08, tempo:0.15, formant:0.12, equalizer:6, overdrive:3..12:share=0.05, room:0.7, noise:0..30, "
        "highpass:50..300:share=0.3, lowpass:3..7.5:share=0.3, telephone:0.03, codec:0.08, gain:-24..6"
    )
    augment: str = "stretch:0.2, bands:0.12, equalize:0.4, mask-time:8, mask-bands:5"
    speaker: str = ""
    epochs: int = 40
    batch: int = 128
    optimizer: str = "adamw"
    lr: float = 3e-3
    schedule: str = "cosine"
    warmup_epochs: float = 1.0
    weight_decay: float = 0.02
    label_smoothing: float = 0.0
    ema: float = 0.99
    class_weight: str = "none"
    hardest: float = 1.0
    patience: int = 0
    teacher: str = ""
    distil_weight: float = 0.7
    distil_temperature: float = 2.0
    distil_features: float = 0.0
    tune: str = "full"
    label_fraction: float = 1.0
    labels_per_class: int = 0
    seed: int = 0
    split_seed: int = 0
    val_fraction: float = 0.15
    test_fraction: float = 0.2

    def __post_init__(self) -> None:
        check_bounds(self)
        if not self.data.strip() and not self.words.strip():
            raise EdgepressError("a spotter learns from recordings or from words", "give --data DIR, or --words WORDS")
        if self.hardest < 1 and self.teacher:
            raise EdgepressError(
                "--hardest chooses examples by what the net itself answers, and --teacher by what another does",
                "leave one out: --hardest 1 takes all examples alike",
            )


def as_json(config: Any) -> dict[str, Any]:
    """`config`, a data class, as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def config_of(value: Mapping[str, Any]) -> TrainConfig:
    """What `as_json` wrote of a TrainConfig. Raises EdgepressError for a configuration of another version."""
    return _from_json(TrainConfig, value)


def speech_config_of(value: Mapping[str, Any]) -> SpeechConfig:
    """What `as_json` wrote of a SpeechConfig. Raises EdgepressError for a configuration of another version."""
    return _from_json(SpeechConfig, value)


def _from_json(kind: type[_Config], value: Mapping[str, Any]) -> _Config:
    known = {field.name for field in dataclasses.fields(kind)}
    try:
        given: dict[str, Any] = {
            key: tuple(item) if isinstance(item, list) else item for key, item in value.items() if key in known
        }
        return kind(**{**given, "out": Path(given["out"])})
    except (KeyError, TypeError) as error:
        raise EdgepressError(f"the run's configuration cannot be read: {error}", "train it again") from None


def check_bounds(config: Any) -> None:
    """Raise EdgepressError for a number of a configuration (a data class) that no training can do anything with."""
    for field in dataclasses.fields(config):
        if field.name in _BOUNDS:
            low, high = _BOUNDS[field.name]
            value = getattr(config, field.name)
            if not low <= value <= high:  # NaN is in no range
                flag = f"--{field.name.replace('_', '-')}"
                raise EdgepressError(f"{flag} {value} is outside {low} to {high}", f"give another {flag}")


# Solar cells: 2,000 photos are too few to learn from nothing, so a net that saw ImageNet is cut where it still looks at
# texture. Cells have no up or left; how bright one is says something, so light is hardly touched.
_PV_CELLS: Mapping[str, Any] = {
    "arch": "efficientnet-lite0:stages=3:last=64:tail=64:pool=avg-max:dropout=0.1",
    "init": "efficientnet-lite0",
    "size": (224, 224),
    "channels": 1,
    "normalize": "unit",
    "epochs": 40,
    "batch": 32,
    "lr": 1e-3,
    "warmup_epochs": 1.0,
    "ema": 0.99,
    "augment": "flip-h, flip-v, transpose, shift:0.03, zoom:0.05, brightness:0.03, contrast:0.1",
    "val_fraction": 0.1,
}

# Complete recipes for known jobs; what each reached stands in benchmarks/README.md.
RECIPES: dict[str, Mapping[str, Any]] = {
    # MLPerf Tiny's published image training, number for number: Adam at 1e-3 times 0.99 an epoch, 500 epochs in batches
    # of 32, raw pixels, turns of 15 degrees, shifts of a tenth, mirrored. Only that two percent of the pictures are
    # kept for the int8 gate.
    "mlperf-tiny-resnet8": {
        "arch": "resnet8",
        "size": (32, 32),
        "normalize": "raw",
        "epochs": 500,
        "batch": 32,
        "optimizer": "adam",
        "lr": 1e-3,
        "schedule": "exponential:0.99",
        "warmup_epochs": 0.0,
        "weight_decay": 0.0,
        "augment": "flip-h, rotate:15, shift:0.1, fill:nearest",
        "val_fraction": 0.02,
    },
    # 50,000 pictures of 32 x 32 are few as well: the same cut net, seeing them at twice their size, knows after a few
    # epochs what one that begins with nothing does not learn in hundreds.
    "cifar10": {
        "arch": "efficientnet-lite0:stages=3:last=64:tail=64:pool=avg:dropout=0.0",
        "init": "efficientnet-lite0",
        "size": (64, 64),
        "normalize": "unit",
        "epochs": 15,
        "batch": 64,
        "lr": 2e-3,
        "warmup_epochs": 0.5,
        "ema": 0.99,
        "augment": "flip-h, shift:0.1",
        "val_fraction": 0.02,
    },
    # The whole net: a teacher for `cifar10`, and something to prune.
    "cifar10-teacher": {
        "arch": "efficientnet-lite0:dropout=0.2",
        "init": "efficientnet-lite0",
        "size": (64, 64),
        "normalize": "unit",
        "epochs": 6,
        "batch": 64,
        "lr": 1e-3,
        "warmup_epochs": 0.5,
        "ema": 0.99,
        "augment": "flip-h, shift:0.1",
        "val_fraction": 0.02,
    },
    # Without anything learned before: thinner and deeper than ResNet-8 for the same bytes; 75,000
    # weights underfit 50,000 pictures, so the augmentation is light and nothing blurs the pixels.
    "cifar10-scratch": {
        "arch": "resnet:widths=16-24-36:blocks=2",
        "size": (32, 32),
        "epochs": 70,
        "batch": 128,
        "optimizer": "sgd",
        "lr": 0.1,
        "schedule": "cosine",
        "warmup_epochs": 2.0,
        "weight_decay": 2e-3,
        "ema": 0.999,
        "augment": "flip-h, shift-pixels:4",
        "val_fraction": 0.02,
    },
    "pv-cells": _PV_CELLS,
    # The whole net, ten times too big for the board: what `pv-cells` may learn from, as `--teacher`.
    "pv-cells-teacher": {
        **_PV_CELLS,
        "arch": "efficientnet-lite0:dropout=0.3",
        "epochs": 20,
        "lr": 4e-4,
        "augment": "flip-h, flip-v, transpose, shift:0.04, zoom:0.08, brightness:0.05, contrast:0.1",
    },
    "pv-cells-demo": {**_PV_CELLS, "size": (192, 192), "epochs": 10},
}


# The features that Google's speech embedding was trained on.
_EMBEDDED: Mapping[str, Any] = {
    "front_end": "log-mel",
    "frame_ms": 25.0,
    "hop_ms": 10.0,
    "bands": 32,
    "low_hz": 60.0,
    "high_hz": 3800.0,
    "normalize": "log10",
}

# Words from nothing but themselves: the head of a net that heard millions of people, trained on synthetic speech. The
# whole net, trained like that, forgets people for synthesizers. What it must not hear decides: the hardest fifth.
_WAKE_WORD: Mapping[str, Any] = {
    "arch": "speech-embedding",
    "init": "speech-embedding",
    **_EMBEDDED,
    "window_s": 1.43,
    "copies": 16,
    "sound": (
        "speed:0.1, tempo:0.2, formant:0.14, equalizer:6, overdrive:3..12:share=0.05, room:0.7, "
        "noise:-3..25:share=0.9, highpass:50..300:share=0.3, lowpass:3..7.5:share=0.3, telephone:0.03, codec:0.08, "
        "gain:-24..6"
    ),
    "augment": "none",
    "hardest": 0.2,
    "epochs": 24,
    "batch": 1024,
    "lr": 2e-3,
    "weight_decay": 0.0,
}

# Complete recipes for known jobs of speech; what each reached stands in benchmarks/README.md.
SPEECH_RECIPES: dict[str, Mapping[str, Any]] = {
    "wake-word": _WAKE_WORD,
    # with --init RUN of the one above
    "wake-word-tune": {
        **_WAKE_WORD,
        "arch": "speech-embedding:frozen=false",
        "init": "",
        "copies": 4,
        "hardest": 1.0,
        "epochs": 3,
        "batch": 128,
        "lr": 5e-5,
    },
    "wake-word-demo": {**_WAKE_WORD, "clips": 120, "copies": 8},
    # A few words of one's own, from recordings: a small net, and beside it MLPerf Tiny's, trained the same way.
    "keywords": {"arch": "ds-tcn", "epochs": 40, "copies": 6},
    "keywords-ds-cnn": {"arch": "ds-cnn", "front_end": "mfcc", "epochs": 40, "copies": 6},
    # Spoken digits, with or without --words: half a second each, no background.
    "digits": {"arch": "ds-tcn:kernels=3-5-7-9", "window_s": 1.0, "epochs": 40, "copies": 6, "val_fraction": 0.1},
    # The twelve classes of Speech Commands with BC-ResNet (Kim et al. 2021, arXiv:2106.04140, section 4): 40 bands,
    # frames of 30 ms every 10 ms, 200 epochs in batches of 100, SGD at 0.1 with five epochs of warm-up and weight decay
    # 1e-3. The window is longer than their second, since nothing is padded along time.
    "speech-commands": {
        "data": "speech-commands",
        "arch": "bc-resnet:scale=1",
        "hop_ms": 10.0,
        "window_s": 1.5,
        "copies": 4,
        "epochs": 200,
        "batch": 100,
        "optimizer": "sgd",
        "lr": 0.1,
        "warmup_epochs": 5.0,
        "weight_decay": 1e-3,
        "ema": 0.0,
    },
    # MLPerf Tiny's keyword net on the same task, with its ten MFCCs of 30 ms every 20 ms.
    "mlperf-tiny-ds-cnn": {
        "data": "speech-commands",
        "arch": "ds-cnn",
        "front_end": "mfcc",
        "coefficients": 10,
        "window_s": 1.0,
        "copies": 4,
        "epochs": 36,
        "batch": 100,
        "optimizer": "adam",
        "lr": 5e-4,
        "weight_decay": 0.0,
        "ema": 0.0,
        "augment": "none",
    },
}


def from_recipe(name: str, **overrides: Any) -> TrainConfig:
    """The image recipe `name` with `overrides` laid over it. Raises EdgepressError for an unknown name."""
    return dataclasses.replace(TrainConfig(**{"data": "", "out": Path(), **_recipe(name, RECIPES)}), **overrides)


def speech_from_recipe(name: str, **overrides: Any) -> SpeechConfig:
    """The speech recipe `name` with `overrides` laid over it. Raises EdgepressError for an unknown name."""
    return SpeechConfig(**{"out": Path(), **_recipe(name, SPEECH_RECIPES), **overrides})


def _recipe(name: str, table: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, 1)
    raise EdgepressError(
        f"unknown recipe {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        f"known recipes: {', '.join(sorted(table))}",
    )
