"""Train an image classifier: from a data set's name to a RUN folder."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from functools import partial

import numpy as np

import edgepress_train.keras2  # noqa: F401  first: it decides how TensorFlow starts
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import ImageSpec
from edgepress_train import distil, models, peft, run, teachers, validation
from edgepress_train.config import TrainConfig, as_json, config_of
from edgepress_train.data import augment_image, pipeline, pixels, sources
from edgepress_train.data.budget import Budget, kept
from edgepress_train.data.dataset import Dataset, Holdout, Skipped
from edgepress_train.fit import build_optimizer, fit_config
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons, teach
from edgepress_train.models.init import brought, initialise
from edgepress_train.progress import Progress, silent

# mean and std of the fixed normalisations, in pixel units
NORMALIZE = {"raw": (0.0, 1.0), "unit": (127.0, 128.0)}


def train(
    config: TrainConfig, *, command: Sequence[str] = (), resume: bool = False, force: bool = False,
    progress: Progress = silent,
) -> run.Run:  # fmt: skip
    """Train as `config` says and write the RUN folder `config.out`.

    Every picture is decoded before the first step; those that cannot be are left out and listed in `skipped.json`.
    Raises EdgepressError when the data, the configuration or the output folder do not allow it.
    """
    run.refuse(config.out, as_json(config), resume=resume, force=force)
    augment_image.build(config.augment)  # a wrong word is told before anything is decoded, let alone written
    build_optimizer(fit_config(config, 1))
    peft.check(config.tune, config.init)
    holdout = Holdout(config.split_seed, config.val_fraction, config.test_fraction)
    dataset = sources.open_dataset(config.data, holdout=holdout)
    keras.utils.set_random_seed(config.seed)
    model = models.build(config.arch, (*config.size, config.channels), len(dataset.labels))
    if config.init:  # also with --resume, which may find nothing yet to go on with
        initialise(model, config.init)
    found = teachers.read(config.teacher.split(",")) if config.teacher else ()
    for teacher in found:
        teachers.suit(teacher, image_spec(config), model.input_shape[1:], dataset.labels)
    lessons, skipped = gather(config, dataset, progress=progress)
    tuned = peft.tune(model, config.tune)
    learner = distil.taught(tuned.model, found, lessons, config, progress)
    run.prepare(config.out, as_json(config), resume=resume, force=force)
    fitted = teach(
        learner,
        lessons,
        config=fit_config(config, lessons.size),
        batch=config.batch,
        seed=config.seed,
        out=config.out,
        resume=resume,
        progress=progress,
    )
    run.write_skipped(config.out, skipped)
    model = tuned.finish()
    result = run.Run(
        path=config.out,
        task="image-classification",
        command=shlex.join(command),
        config=as_json(config),
        labels=dataset.labels,
        preprocessing=lessons.preprocessing,
        data={**dataset.describe(), "skipped": len(skipped)},
        metrics={**validation.describe(model, fitted, lessons), **peft.describe(tuned)},
    )
    return run.save(result, model)


def gather(
    config: TrainConfig, dataset: Dataset, *, preprocessing: ImageSpec | None = None, progress: Progress = silent
) -> tuple[Lessons, tuple[Skipped, ...]]:
    """The pictures of `dataset`, decoded, and those that could not be.

    Without `preprocessing` it is chosen as `config` says, its normalisation from the training pictures.
    """
    spec = preprocessing or image_spec(config)
    labelled = kept(dataset.splits["train"], Budget(config.label_fraction, config.labels_per_class, config.seed))
    train_pixels, train_split, train_skipped = pixels.load_split(labelled, spec, progress=progress)
    val_pixels, val_split, val_skipped = pixels.load_split(dataset.splits["val"], spec, progress=progress)
    if preprocessing is None:
        known = brought(config.init, spec) if config.normalize == "data" else None
        mean, std = known or statistics(train_pixels, config.normalize)
        spec = dataclasses.replace(spec, mean=mean, std=std)
    classes = len(dataset.labels)
    data = pipeline.examples(
        train_pixels, train_split, classes, smoothing=config.label_smoothing, class_weight=config.class_weight
    )
    val = pipeline.examples(val_pixels, dataclasses.replace(val_split, targets=None), classes)
    lessons = Lessons(
        labels=dataset.labels,
        preprocessing=spec,
        size=len(data),
        train=partial(pipeline.train_batches, data, spec, augment=config.augment),
        val=pipeline.plain_batches(val, spec) if len(val) else None,
        val_labels=val_split.labels,
    )
    return lessons, (*dataset.skipped, *train_skipped, *val_skipped)


def image_spec(config: TrainConfig) -> ImageSpec:
    """How `config` prepares pictures, without the normalisation, which the data decide."""
    return ImageSpec(*config.size, config.channels, (0.0,) * config.channels, (1.0,) * config.channels, config.fit)


def reopen(trained: run.Run, progress: Progress = silent) -> Lessons:
    """The lessons of the finished run `trained`. Raises EdgepressError when its pictures changed."""
    config = config_of(trained.config)
    assert isinstance(trained.preprocessing, ImageSpec)
    dataset = sources.reopen(trained.data)
    return gather(config, dataset, preprocessing=trained.preprocessing, progress=progress)[0]


def statistics(train_pixels: np.ndarray, normalize: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel for the manifest: those of the training pixels (`data`), or fixed ones."""
    channels = train_pixels.shape[-1]
    if normalize in NORMALIZE:
        mean, std = NORMALIZE[normalize]
        return (mean,) * channels, (std,) * channels
    if normalize != "data":
        raise EdgepressError(f"unknown normalisation {normalize!r}", f"known: data, {', '.join(NORMALIZE)}")
    # One number for all channels, the mean a whole one: then an int8 input stores `pixel - 128`, and the board needs no
    # table to prepare a picture. A net loses nothing by it, since its first layer can scale the channels as it likes.
    sample = train_pixels[:: max(1, len(train_pixels) // 5000)].astype(np.float64)
    return (float(round(sample.mean())),) * channels, (max(1.0, round(float(sample.std()), 2)),) * channels
