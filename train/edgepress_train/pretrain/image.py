"""Pretrain an image encoder: from pictures, labelled or not, to a RUN folder that `train image --init` takes."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

import edgepress_train.keras2  # noqa: F401  first: it decides how TensorFlow starts
from edgepress_runtime.image import normalize
from edgepress_runtime.manifest import ImageSpec
from edgepress_train import models, run, train_image
from edgepress_train.config import as_json
from edgepress_train.data import augment_image, pixels, sources, unlabelled
from edgepress_train.data.dataset import Dataset, Holdout
from edgepress_train.data.folder import PICTURES
from edgepress_train.data.order import Shuffled
from edgepress_train.fit import build_optimizer, fit, fit_config
from edgepress_train.keras2 import keras
from edgepress_train.models import parts
from edgepress_train.models.init import brought, initialise
from edgepress_train.pretrain import methods, probe
from edgepress_train.pretrain.config import PretrainConfig
from edgepress_train.pretrain.objectives import MASKED
from edgepress_train.pretrain.teacher import lessons, open_teacher
from edgepress_train.progress import Progress, silent

layers = keras.layers

TASK = "image-pretraining"


def pretrain(
    config: PretrainConfig, *, command: Sequence[str] = (), resume: bool = False, force: bool = False,
    progress: Progress = silent,
) -> run.Run:  # fmt: skip
    """Pretrain as `config` says and write the RUN folder `config.out`, whose model gives embeddings.

    Raises EdgepressError when the data, the configuration or the output folder do not allow it.
    """
    run.refuse(config.out, as_json(config), resume=resume, force=force)
    chosen = methods.method(config.method, MASKED)
    augment_image.build(config.augment)
    build_optimizer(fit_config(config, 1))
    dataset = open_data(config)
    keras.utils.set_random_seed(config.seed)
    net = models.build(config.arch, (*config.size, config.channels), max(2, len(dataset.labels)))
    if config.init:
        initialise(net, config.init)
    spec = ImageSpec(*config.size, config.channels, (0.0,) * config.channels, (1.0,) * config.channels, config.fit)
    teacher = open_teacher(config.teacher, spec, net.input_shape[1:]) if config.teacher else None
    seen, split, skipped = pixels.load_split(dataset.splits["train"], spec, progress=progress)
    known = brought(config.init, spec) if config.normalize == "data" else None
    mean, std = known or train_image.statistics(seen, config.normalize)
    spec = dataclasses.replace(spec, mean=mean, std=std)
    answers = None
    if teacher:
        plain = (normalize(np.asarray(seen[start : start + 128]), spec) for start in range(0, len(seen), 128))
        answers = lessons(teacher, plain, spec, len(seen), progress=progress)
    order = Shuffled(len(seen), config.batch, seed=config.seed)
    learner, batches = methods.learning(
        net,
        chosen,
        gathering(seen, order),
        changing(config.augment, spec),
        order,
        projector=config.projector,
        decode=decoding,
        answers=answers,
        seed=config.seed,
    )
    asked = labelled_slice(dataset, (seen, split.labels), spec, progress=progress)
    run.prepare(config.out, as_json(config), resume=resume, force=force)
    fitted = fit(
        learner,
        batches,
        config=fit_config(config, len(seen)),
        out=config.out,
        monitor="probe",
        callbacks=probe.watching(parts.encoder(net), asked),
        resume=resume,
        progress=progress,
    )
    run.write_skipped(config.out, (*dataset.skipped, *skipped))
    trained = parts.encoder(net)
    result = run.Run(
        path=config.out,
        task=TASK,
        command=shlex.join(command),
        config=as_json(config),
        labels=(),
        preprocessing=spec,
        data={**dataset.describe(), "skipped": len(dataset.skipped) + len(skipped)},
        metrics=probe.describe(trained, fitted, asked),
    )
    return run.save(result, trained)


def open_data(config: PretrainConfig) -> Dataset:
    """The pictures that `config` names; `labels` is empty for a folder without classes."""
    holdout = Holdout(config.split_seed, config.val_fraction, config.test_fraction)
    return unlabelled.open_any(
        config.data, holdout, kind=PICTURES, labelled=lambda: sources.open_dataset(config.data, holdout=holdout)
    )


def gathering(seen: np.ndarray, order: Shuffled) -> Callable[[Any], Any]:
    """Batch number `step` of the pictures `seen`: uint8, not augmented."""

    def gather(step):
        found = tf.numpy_function(lambda at: seen[order.index(int(at))], [step], tf.uint8, stateful=False)
        found.set_shape([order.batch, *seen.shape[1:]])
        return found

    return gather


def changing(augment: str, spec: ImageSpec) -> Callable[[Any, Any], Any]:
    """(pixels, seed) -> the same pictures augmented and normalised, float32."""
    change = augment_image.build(augment)
    mean, std = tf.constant(spec.mean, tf.float32), tf.constant(spec.std, tf.float32)

    def view(found, seed):
        images, _ = change(tf.cast(found, tf.float32), tf.zeros([found.shape[0], 1]), seed)
        images.set_shape(found.shape)
        return (images - mean) / std

    return view


def decoding(net: keras.Model) -> tuple[keras.Model, Callable[[Any], Any]]:
    """A light decoder of the last map of `net`: one 3x3 convolution, and one that tells all pixels of each place.

    As SimMIM's (arXiv:2111.09886, section 3.4), whose decoder is the second of them alone.
    """
    height, width, channels = net.input_shape[1:]
    map_height, map_width, depth = parts.trunk(net).output_shape[1:]
    block = max(-(-height // map_height), -(-width // map_width))
    x = inputs = keras.Input((map_height, map_width, depth))
    x = layers.Conv2D(64, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
    x = layers.Conv2D(block * block * channels, 1)(x)
    x = tf.nn.depth_to_space(x, block) if block > 1 else x
    decoder = keras.Model(inputs, x[:, :height, :width], name="decoder")
    return decoder, lambda value: value


def labelled_slice(
    dataset: Dataset, train: tuple[np.ndarray, np.ndarray], spec: ImageSpec, *, progress: Progress = silent
) -> probe.Slice | None:
    """What the probe looks at: training pictures and their labels (`train`), and validation pictures to be named.

    None without labels or validation pictures.
    """
    if not dataset.labels or not len(dataset.splits["val"]):
        return None
    asked = dataset.splits["val"].take(probe.chosen(dataset.splits["val"].labels, probe.ASKED))
    asked_pixels, asked_split, _ = pixels.load_split(asked, spec, progress=progress)
    seen, labels = train
    index = probe.chosen(labels, probe.BANK)
    return probe.Slice(
        normalize(np.asarray(seen[index]), spec), labels[index], normalize(np.asarray(asked_pixels), spec),
        asked_split.labels,
    )  # fmt: skip
