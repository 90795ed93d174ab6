"""Starting from weights that were learned before: a published checkpoint, or an earlier RUN."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgepress_runtime.errors import EdgepressError
from edgepress_train import run
from edgepress_train.keras2 import keras
from edgepress_train.models import efficientnet_lite

# name -> function that puts the published weights into a model of that family and counts the layers it filled
CHECKPOINTS: dict[str, Callable[[keras.Model], int]] = {
    "efficientnet-lite0": efficientnet_lite.load_imagenet,
}


def initialise(model: keras.Model, source: str) -> int:
    """Fill `model` from `source`, a name in CHECKPOINTS or a RUN folder; returns how many layers were filled.

    Layers are matched by name and shape; the rest keep their fresh weights (a classifier of other classes, say).
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


def _from_run(model: keras.Model, trained: run.Run) -> int:
    before = {layer.name: layer for layer in run.load_model(trained).layers if layer.weights}
    filled = 0
    for layer in model.layers:
        twin = before.get(layer.name)
        if twin is not None and layer.weights and [w.shape for w in layer.weights] == [w.shape for w in twin.weights]:
            layer.set_weights(twin.get_weights())
            filled += 1
    return filled
