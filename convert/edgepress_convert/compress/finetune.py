"""The pass `finetune`: train on with labels alone, what `distil` must beat."""

from __future__ import annotations

from edgepress_convert.compress import held
from edgepress_convert.compress.job import Job
from edgepress_train.keras2 import keras


def finetune(model: keras.Model, job: Job, *, epochs: int = 5, lr: float = 0.0) -> keras.Model:
    """A copy of `model`, trained for `epochs` more at peak rate `lr`, the job's own when 0.

    Zeros and shared values of kernels stay.
    """
    copy = twin(model)
    kept = held.kept_of(copy)
    job.fine_tune(held.Held(copy, held.holding(kept)), epochs=epochs, lr=lr or None)
    held.settle(copy, kept)
    return copy


def twin(model: keras.Model) -> keras.Model:
    """A plain copy of `model` with the same weights, sharing nothing with it."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy
