"""Starting from weights that were learned before: a published checkpoint, or an earlier RUN."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import ImageSpec, SpeechSpec
from edgepress_train import run
from edgepress_train.keras2 import keras
from edgepress_train.models import efficientnet_lite, speech_embedding
from edgepress_train.models.adapters import is_adapter

# name -> function that puts the published weights into a model of that family and counts the layers it filled
CHECKPOINTS: dict[str, Callable[[keras.Model], int]] = {
    "efficientnet-lite0": efficientnet_lite.load_imagenet,
    "speech-embedding": speech_embedding.load_published,
}


def initialise(model: keras.Model, source: str) -> int:
    """Fill `model` from `source`, a name in CHECKPOINTS or a RUN folder; returns how many layers were filled.

    Layers whose shapes differ keep their fresh weights (a classifier of other classes, say).
    Raises EdgepressError when nothing matches.
    """
    if source in CHECKPOINTS:
        filled = CHECKPOINTS[source](model)
    elif Path(source).is_dir():
        filled = _from_run(model, run.load(source))
    else:
        raise EdgepressError(
            f"--init {source!r} is neither a RUN folder nor a known checkpoint",
            f"known checkpoints: {', '.join(sorted(CHECKPOINTS))}",
        )
    if not filled:
        raise EdgepressError(
            f"no layer of {model.name} matches {source}", "use the architecture that was trained there"
        )
    return filled


def brought(source: str, spec: ImageSpec | SpeechSpec) -> Any:
    """(mean, std) that the encoder at `source` was pretrained with; None for anything but a pretraining RUN.

    An encoder wants to be shown the numbers that it knows. Raises EdgepressError when `spec` prepares sound otherwise.
    """
    if not source or source in CHECKPOINTS or not Path(source).is_dir():
        return None
    trained = run.load(source)
    theirs = trained.preprocessing
    if trained.task not in run.PRETRAINING:
        return None
    if isinstance(theirs, ImageSpec) and isinstance(spec, ImageSpec):
        return (theirs.mean, theirs.std) if theirs.channels == spec.channels else None
    if isinstance(theirs, SpeechSpec) and isinstance(spec, SpeechSpec):
        for field in dataclasses.fields(SpeechSpec):
            own, known = getattr(spec, field.name), getattr(theirs, field.name)
            if field.name not in ("mean", "std") and own != known:
                raise EdgepressError(
                    f"the encoder {source} was pretrained with {field.name} {known}, not {own}",
                    "train with the front end of the pretraining",
                )
        return theirs.mean, theirs.std
    raise EdgepressError(f"{source} was pretrained on another kind of data", "give --init a RUN of the same kind")


def _from_run(model: keras.Model, trained: run.Run) -> int:
    before = run.load_model(trained)
    if before.name != model.name:
        raise EdgepressError(
            f"{trained.path} holds a {before.name}, not a {model.name}", "use the architecture that was trained there"
        )
    filled = 0
    # By position, since Keras numbers its layers through the whole process
    for layer, twin in zip(_weighted(model), _weighted(before), strict=False):
        if [w.shape for w in layer.weights] == [w.shape for w in twin.weights]:
            layer.set_weights(twin.get_weights())
            filled += 1
    return filled


def _weighted(model: keras.Model) -> list[keras.layers.Layer]:
    # Adapters belong to the task that they were trained for
    return [layer for layer in model.layers if layer.weights and not is_adapter(layer)]
