"""Where a chain or a search begins, a RUN or a foreign Keras model with data, and what it leaves: a RUN again."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress_convert import importers
from edgepress_convert.compress import Candidate
from edgepress_convert.compress.measure import Measured, held_out
from edgepress_convert.convert import ConvertConfig, task_of
from edgepress_convert.examples import Examples
from edgepress_convert.importers import Hints, Source
from edgepress_convert.importers.keras3 import in_keras2
from edgepress_convert.plan import as_json, from_json
from edgepress_runtime import disk
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import ImageSpec
from edgepress_train import config as training
from edgepress_train import lessons as teaching
from edgepress_train import run, train_image
from edgepress_train.config_text import TextConfig, text_config_of
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons
from edgepress_train.progress import Progress

# How a foreign model's pictures are varied: what leaves every photo what it is
_GENTLE = "shift:0.05, zoom:0.05, brightness:0.1, contrast:0.1"
_CARRIED = ("features.npz", "validation", "vocab.txt", "skipped.json")  # of a run, what converting needs
_SGD_LR = 1e-3  # a rate of SGD says nothing about AdamW, which fine-tunes


@dataclass(frozen=True)
class Start:
    """A model to begin with, and all that is needed to train it on and to judge it.

    `config` is the training's, as JSON; `data` what finds its examples again. `lr`, `batch` and `weight_decay` are what
    fine-tuning uses.
    """

    source: Source
    candidate: Candidate
    lessons: Lessons
    representative: np.ndarray
    held: Examples
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    lr: float
    batch: int
    weight_decay: float

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.source.name


def start(
    path: Path, *, hints: Hints, calibration_size: int = 200, seed: int = 0, lr: float | None = None, progress: Progress
) -> Start:
    """The model at `path` with its data. Raises EdgepressError when it is ready-made, or has no data to judge it by."""
    source = importers.read(path, hints)
    if source.model is None:
        raise EdgepressError(
            f"{path} is converted already, and only a Keras model can be compressed",
            "give the RUN folder or the Keras file that it was made from",
        )
    settings: training.TrainConfig | training.SpeechConfig | TextConfig
    if source.folder is not None:
        trained = run.load(source.folder)
        learned = teaching.reopen(trained, progress)
        settings, config, plan = _settings(trained), dict(trained.config), from_json(trained.plan)
    else:
        foreign = _foreign_config(source, path, hints)
        learned = _foreign_lessons(source, foreign, progress)
        settings, config, plan = foreign, training.as_json(foreign), from_json({})
    if learned.val is None:
        raise EdgepressError(
            f"{path} has no validation examples, so nothing can be judged", "train with --val-fraction 0.15"
        )
    asked = ConvertConfig(source=path, out=Path(), calibration_size=calibration_size, seed=seed)
    representative, _ = task_of(source.task).representative(source, asked, progress)
    rate = settings.lr if settings.optimizer != "sgd" else _SGD_LR
    return Start(
        source=source,
        candidate=Candidate(_keras2(source.model), plan),
        lessons=learned,
        representative=representative,
        held=held_out(learned),
        config=config,
        data=dict(source.recipe.get("data", {})),
        lr=lr or rate,
        batch=settings.batch,
        weight_decay=settings.weight_decay if settings.optimizer == "adamw" else 0.0,
    )


def _keras2(model: keras.Model) -> keras.Model:
    return model if isinstance(model, keras.Model) else in_keras2(model)


def _settings(trained: run.Run) -> training.TrainConfig | training.SpeechConfig | TextConfig:
    if trained.task == "image-classification":
        return training.config_of(trained.config)
    if trained.task == "text-classification":
        return text_config_of(trained.config)
    return training.speech_config_of(trained.config)


def _foreign_config(source: Source, path: Path, hints: Hints) -> training.TrainConfig:
    spec = source.preprocessing
    if hints.data is None:
        raise EdgepressError(f"{path} comes without data, and compression needs some", "give --data DIR|NAME")
    assert isinstance(spec, ImageSpec)
    return training.TrainConfig(
        data=hints.data,
        out=path.with_suffix(""),
        arch=source.name,
        size=(spec.height, spec.width),
        channels=spec.channels,
        fit=spec.fit,
        augment=_GENTLE,
        lr=3e-4,
    )


def _foreign_lessons(source: Source, config: training.TrainConfig, progress: Progress) -> Lessons:
    assert isinstance(source.preprocessing, ImageSpec)
    assert source.dataset is not None  # importers give one for --data
    return train_image.gather(config, source.dataset, preprocessing=source.preprocessing, progress=progress)[0]


def write_run(
    out: Path,
    begun: Start,
    candidate: Candidate,
    measured: Measured,
    *,
    story: Mapping[str, Any],
    command: Sequence[str],
) -> None:
    """The RUN folder `out` of what became of `begun`; `story` goes to its `compress`."""
    disk.make_dir(out)
    if begun.source.folder is not None:
        for name in _CARRIED:
            found = begun.source.folder / name
            if found.is_dir():
                shutil.copytree(found, out / name, dirs_exist_ok=True)
            elif found.is_file():
                shutil.copyfile(found, out / name)
    val = {"n": measured.n, "top1": measured.float_top1, "quantized_top1": measured.top1}
    made = run.Run(
        path=out,
        task=begun.source.task,
        command=shlex.join(command),
        config=dict(begun.config),
        labels=begun.lessons.labels,
        preprocessing=begun.lessons.preprocessing,
        data=begun.data,
        metrics={"params": int(candidate.model.count_params()), "val": val},
        plan=as_json(candidate.plan),
        compress=json.loads(json.dumps(story)),
    )
    run.save(made, candidate.model)
