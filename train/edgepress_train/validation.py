"""How a trained classifier does on its validation examples: what `run.json` says of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress_train.fit import Fitted
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons


def describe(model: keras.Model, fitted: Fitted, lessons: Lessons) -> dict[str, Any]:
    """How long it was trained, its size, and under `val` its figures on the validation examples.

    Without validation examples `val` is None. `loss` is the mean cross-entropy in nats; `balanced_accuracy` the mean
    recall of the classes that occur.
    """
    told: dict[str, Any] = {
        "epochs": fitted.epochs,
        "kept_epoch": fitted.kept_epoch,
        "train_seconds": round(fitted.seconds, 1),
        "params": int(model.count_params()),
        "val": None,
    }
    truth = lessons.val_labels
    if lessons.val is not None and len(truth):
        scores = model.predict(lessons.val, verbose=0)
        right = scores.argmax(axis=1) == truth
        recalls = [right[truth == label].mean() for label in np.unique(truth)]
        told["val"] = {
            "n": len(truth),
            "top1": float(right.mean()),
            "balanced_accuracy": float(np.mean(recalls)),
            "loss": float(-np.mean(np.log(np.maximum(scores[np.arange(len(truth)), truth], 1e-7)))),
        }
    return told
