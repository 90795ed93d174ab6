"""Pretrain a speech encoder: from recordings, labelled or not, to a RUN folder that `train speech --init` takes."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

import edgepress_train.keras2  # noqa: F401  first: it decides how TensorFlow starts
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import SpeechSpec
from edgepress_train import models, run, train_speech
from edgepress_train.config import as_json
from edgepress_train.data import augment_features, pipeline_speech
from edgepress_train.data.order import Shuffled
from edgepress_train.data.speech_examples import Cut, Scenery, extract
from edgepress_train.fit import build_optimizer, fit, fit_config
from edgepress_train.keras2 import keras
from edgepress_train.models import parts
from edgepress_train.models.init import brought, initialise
from edgepress_train.pretrain import methods, probe
from edgepress_train.pretrain.config import SpeechPretrainConfig
from edgepress_train.pretrain.listening import Heard, listen
from edgepress_train.pretrain.objectives import MASKED_SPEECH
from edgepress_train.pretrain.teacher import lessons, open_teacher
from edgepress_train.progress import Progress, silent

layers = keras.layers

TASK = "speech-pretraining"


def pretrain(
    config: SpeechPretrainConfig, *, command: Sequence[str] = (), resume: bool = False, force: bool = False,
    progress: Progress = silent,
) -> run.Run:  # fmt: skip
    """Pretrain as `config` says and write the RUN folder `config.out`, whose model gives embeddings.

    All sound is read before the first step. Raises EdgepressError when the data, the configuration or the output
    folder do not allow it.
    """
    run.refuse(config.out, as_json(config), resume=resume, force=force)
    chosen = methods.method(config.method, MASKED_SPEECH)
    hearing = config.hearing()
    spec = train_speech.speech_spec(hearing)
    frames = train_speech.window_frames(hearing, spec)
    augment_features.build(config.augment)
    scenery = Scenery(config.sound, train_speech.folders(config.noise), config.seed)
    train_speech.check_sound(hearing)
    build_optimizer(fit_config(config, 1))
    keras.utils.set_random_seed(config.seed)
    shape = (frames, spec.features, 1)
    net = models.build(config.arch, shape, 2, archs=models.SPEECH_ARCHS)
    if config.init:
        initialise(net, config.init)
    known = brought(config.init, spec) if config.normalize == "data" else None
    teacher = open_teacher(config.teacher, spec, shape) if config.teacher else None
    heard = listen(config, spec.rate_hz, progress)
    slack = round(train_speech.SLACK_S * spec.rate_hz / spec.hop)
    windows = Cut(spec, frames + slack, slack)  # not normalised: that comes with the batches
    found, _ = extract(heard.train, windows, copies=config.copies, scenery=scenery, seed=config.seed, progress=progress)
    mean, std = known or train_speech.statistics(found, config.normalize)
    spec = dataclasses.replace(spec, mean=mean, std=std)
    answers = None
    if teacher:
        middle = pipeline_speech.centred(found, frames)
        plain = (
            pipeline_speech.normalized(middle[start : start + 128], mean, std) for start in range(0, len(found), 128)
        )
        answers = lessons(teacher, plain, spec, len(found), progress=progress)
    order = Shuffled(len(found), config.batch, seed=config.seed)
    learner, batches = methods.learning(
        net,
        chosen,
        gathering(found, frames, spec, order, seed=config.seed),
        changing(config.augment if chosen.paired or config.teacher else _without_masks(config.augment)),
        order,
        projector=config.projector,
        decode=partial(decoding, arch=config.arch),
        answers=answers,
        seed=config.seed,
    )
    asked = labelled_slice(heard, windows, frames, spec)
    run.prepare(config.out, as_json(config), resume=resume, force=force)
    fitted = fit(
        learner,
        batches,
        config=fit_config(config, len(found)),
        out=config.out,
        monitor="probe",
        callbacks=probe.watching(parts.encoder(net), asked),
        resume=resume,
        progress=progress,
    )
    run.write_skipped(config.out, heard.skipped)
    trained = parts.encoder(net)
    result = run.Run(
        path=config.out,
        task=TASK,
        command=shlex.join(command),
        config=as_json(config),
        labels=(),
        preprocessing=spec,
        data=heard.data,
        metrics=probe.describe(trained, fitted, asked),
    )
    return run.save(result, trained)


def gathering(found: np.ndarray, frames: int, spec: SpeechSpec, order: Shuffled, *, seed: int) -> Callable[[Any], Any]:
    """Batch number `step` of windows of `frames` frames, at random places of those stored: normalised, float32."""
    slack = found.shape[1] - frames

    def chosen(step) -> np.ndarray:
        index = order.index(int(step))
        offsets = np.random.default_rng([seed, int(step)]).integers(0, slack + 1, len(index))
        windows = found[index[:, np.newaxis], offsets[:, np.newaxis] + np.arange(frames)]
        return pipeline_speech.normalized(windows, spec.mean, spec.std)

    def gather(step):
        windows = tf.numpy_function(chosen, [step], tf.float32, stateful=False)
        windows.set_shape([order.batch, frames, found.shape[2], 1])
        return windows

    return gather


def changing(augment: str) -> Callable[[Any, Any], Any]:
    """(features, seed) -> the same features augmented."""
    change = augment_features.build(augment)

    def view(found, seed):
        features, _ = change(found, tf.zeros([found.shape[0], 1]), seed)
        features.set_shape(found.shape)
        return features

    return view


def _without_masks(augment: str) -> str:
    """The steps of `augment` that hide nothing: what is hidden for good could not be told."""
    kept = [part for part in augment.split(",") if not part.strip().startswith("mask-")]
    return ",".join(kept) or "none"


def decoding(net: keras.Model, *, arch: str) -> tuple[keras.Model, Callable[[Any], Any]]:
    """A light decoder: two 1x1 convolutions over time that tell, from each place of the last map of `net`, the frames
    in the middle of what it hears.

    These nets pad nothing, so with a stride of s the map's T places tell s T frames, in the middle of the input.
    """
    frames, bands, _ = net.input_shape[1:]
    trunk = parts.trunk(net)
    places, height, depth = trunk.output_shape[1:]
    longer = parts.trunk(models.build(arch, (frames + 64, bands, 1), 2, archs=models.SPEECH_ARCHS))
    stride = 64 // (longer.output_shape[1] - places)
    told = stride * places
    if told > frames:
        raise EdgepressError("the window is too short for masked prediction", "give a longer --window-s")
    x = inputs = keras.Input((places, height, depth))
    x = layers.Reshape((places, 1, height * depth))(x)
    x = layers.Conv2D(128, 1, activation="relu", kernel_initializer="he_normal")(x)
    x = layers.Conv2D(stride * bands, 1)(x)
    decoder = keras.Model(inputs, layers.Reshape((told, bands, 1))(x), name="decoder")
    first = (frames - told) // 2
    return decoder, lambda value: value[:, first : first + told]


def labelled_slice(heard: Heard, cut: Cut, frames: int, spec: SpeechSpec) -> probe.Slice | None:
    """What the probe listens to: training clips with their labels, and validation clips to be named, undisturbed.

    `cut` gives features that are not normalised yet; `spec` says how they are to be. None without labels or validation
    clips.
    """
    if not heard.labelled or not heard.val:
        return None
    known, asked = (
        [clips[i] for i in probe.chosen(np.array([clip.label for clip in clips]), most)]
        for clips, most in ((heard.labelled, probe.BANK), (heard.val, probe.ASKED))
    )
    prepared = []
    for clips in (known, asked):
        windows, labels = extract(clips, cut)
        prepared += [pipeline_speech.normalized(pipeline_speech.centred(windows, frames), spec.mean, spec.std), labels]
    return probe.Slice(*prepared)
