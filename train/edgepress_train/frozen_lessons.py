"""Lessons for the head of a speech net whose beginning is frozen: sound goes through it once, for all epochs.

A hundred times as many windows can be taught in the same time. What is done to sound is done before; nothing can be
done to features anew in every epoch, so `augment` must be `none`.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np

from edgepress_runtime.manifest import SpeechSpec
from edgepress_train.config import SpeechConfig
from edgepress_train.data import pipeline_speech
from edgepress_train.data.speech_examples import Clip, Cut, Scenery, extract
from edgepress_train.data.speech_material import Material
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons
from edgepress_train.models.frozen import Parted, standardized
from edgepress_train.progress import Progress, silent
from edgepress_train.train_speech import NORMALIZE, SLACK_S, Parts, examples, window_frames

# Noise on what the front gives, of a deviation up to this many of its own: small differences, by which one synthesizer
# is known from another, are lost in it, and what the head then relies on is found in people too
_BLUR = "noise:1.8"
_SHOWN = 1000  # training windows whose features are kept as features, for quantization


def suits(config: SpeechConfig) -> bool:
    """Whether features stay as they are from epoch to epoch, in a range known before, and the net learns alone."""
    return config.augment == "none" and config.normalize in NORMALIZE and not config.teacher and config.tune == "full"


def cut(
    part: Parted, model: keras.Model, config: SpeechConfig, material: Material, spec: SpeechSpec, *, scenery: Scenery,
    progress: Progress = silent,
) -> tuple[Lessons, Parts]:  # fmt: skip
    """What `part.head` is to be taught with, and some features and labels of each part, as `train_speech.cut` gives.

    Every clip is heard `copies` times; the windows begin at whole steps of the front. What the front gives is
    standardized, in `model` as well, whose parts are `part`.
    """
    frames = window_frames(config, spec)
    mean, std = NORMALIZE[config.normalize]
    raw = dataclasses.replace(spec, mean=0.0, std=1.0)
    slack = round(SLACK_S * spec.rate_hz / spec.hop) // part.stride * part.stride
    windows = Cut(raw, frames + slack, slack)
    through = partial(part.look, mean=mean, std=std)
    heard, labels = extract(
        material.train, windows, copies=config.copies, scenery=scenery, seed=config.seed, through=through,
        progress=progress,
    )  # fmt: skip
    heard = standardized(part, model, heard)
    shown, shown_labels = extract(some(material.train, _SHOWN), windows, scenery=scenery, seed=config.seed)
    val, val_labels = extract(material.val, windows, seed=config.seed + 1, progress=progress)
    classes = len(material.labels)
    data = examples(heard, labels, classes, config)
    checked = examples(through(val), val_labels, classes, dataclasses.replace(config, label_smoothing=0.0))
    plain = (part.steps, 0.0, 1.0)
    lessons = Lessons(
        labels=material.labels,
        preprocessing=dataclasses.replace(spec, mean=mean, std=std),
        size=len(data),
        train=partial(pipeline_speech.train_batches, data, *plain, augment=_BLUR),
        val=pipeline_speech.plain_batches(checked, *plain) if len(checked) else None,
        val_labels=val_labels,
    )
    return lessons, {"train": (shown, shown_labels), "val": (val, val_labels)}


def some(clips: tuple[Clip, ...], count: int) -> list[Clip]:
    """At most `count` of `clips`, evenly spread."""
    places = np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)
    return [clips[place] for place in places]
