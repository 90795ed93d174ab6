"""What a model learns from and is judged on, whatever it hears or sees, and the one way to be taught it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from edgepress_runtime.manifest import Preprocessing
from edgepress_train.fit import FitConfig, Fitted, fit
from edgepress_train.keras2 import keras
from edgepress_train.progress import Progress, silent
from edgepress_train.run import Run


class Batches(Protocol):
    """Batches number `start` to `stop` of an endless, reshuffled, augmented stream of training examples."""

    def __call__(self, *, batch: int, seed: int, start: int, stop: int) -> tf.data.Dataset:
        """(inputs (batch, *shape), targets (batch, classes), weights (batch,)), float32, as the net takes them.

        Ids of texts are int32.
        """


@dataclass(frozen=True)
class Lessons:
    """Examples of one kind, made ready for nets whose input is `preprocessing`'s and whose outputs are `labels`.

    `train`: training batches, `size` how many examples they are drawn from. `val`: every validation example once, in
    order, not augmented, as (inputs, targets, weights) float32, with `val_labels` (n,); None when there are none.
    """

    labels: tuple[str, ...]
    preprocessing: Preprocessing
    size: int
    train: Batches
    val: tf.data.Dataset | None
    val_labels: np.ndarray


def teach(
    model: keras.Model,
    lessons: Lessons,
    *,
    config: FitConfig,
    batch: int,
    seed: int,
    out: Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    resume: bool = False,
    progress: Progress = silent,
) -> Fitted:
    """Train `model` in place on `lessons`: cross-entropy against soft targets, unless its `train_step` knows better."""

    def batches(start: int, stop: int) -> tf.data.Dataset:
        return lessons.train(batch=batch, seed=seed, start=start, stop=stop)

    return fit(
        model,
        batches,
        config=config,
        out=out,
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        val=lessons.val,
        callbacks=callbacks,
        resume=resume,
        progress=progress,
    )


def reopen(trained: Run, progress: Progress = silent) -> Lessons:
    """The lessons that the finished run `trained` was taught with. Raises EdgepressError.

    Pictures are decoded again, sound is cut and augmented again as the run's configuration says.
    """
    if trained.task == "image-classification":
        from edgepress_train import train_image

        return train_image.reopen(trained, progress)
    if trained.task == "text-classification":
        from edgepress_train import train_text

        return train_text.reopen(trained, progress)
    from edgepress_train import train_speech

    return train_speech.reopen(trained, progress)
