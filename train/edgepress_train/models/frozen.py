"""A net whose beginning is frozen, parted: what never changes is computed once, and only the rest is taught.

The beginning of `speech-embedding` takes a hundred times the work of its head. Its answers to a stretch of sound, once
computed, serve every epoch and every window that lies in the stretch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepress_train.keras2 import keras

layers = keras.layers

_MEASURED = 500_000  # steps are enough to know a mean
_LEAST = 1e-3  # of the largest deviation: a channel that never moves stays still


@dataclass(frozen=True)
class Parted:
    """`front`: (n, frames, features, 1) of any number of frames -> (n, steps, 1, channels), one step every `stride`.

    `head`: (n, steps, channels, 1) -> (n, classes), with the very layers of the whole net: teaching it teaches the net.
    `border` is the name of the last frozen layer, in the whole net and in the front.
    """

    front: keras.Model
    head: keras.Model
    stride: int
    border: str

    @property
    def steps(self) -> int:
        """How many steps the head takes."""
        return int(self.head.input_shape[1])

    def look(self, features: np.ndarray, mean: float, std: float, *, batch: int = 64) -> np.ndarray:
        """Features (n, frames, features), not normalised -> (n, steps, channels) float16."""
        rows = []
        for start in range(0, len(features), batch):
            part = (features[start : start + batch].astype(np.float32) - np.float32(mean)) / np.float32(std)
            rows.append(np.asarray(self.front(part[..., np.newaxis], training=False))[:, :, 0].astype(np.float16))
        return np.concatenate(rows) if rows else np.zeros((0, self.steps, self.head.input_shape[2]), np.float16)


def parted(model: keras.Model) -> Parted | None:
    """`model` after its last frozen layer with weights, and what comes before; None where there is no such place.

    The front must not pad time, and end with one value a channel in each step.
    """
    weighted = [layer for layer in model.layers if layer.weights]
    frozen = [layer for layer in weighted if not layer.trainable]
    if not frozen or weighted[: len(frozen)] != frozen or len(frozen) == len(weighted):
        return None
    border = frozen[-1].output
    if len(border.shape) != 4 or border.shape[2] != 1:
        return None
    whole = keras.Model(model.input, border)
    free = keras.Input((None, *model.input_shape[2:]))
    front = keras.models.clone_model(whole, input_tensors=free)
    front.set_weights(whole.get_weights())
    steps, channels = int(border.shape[1]), int(border.shape[3])
    inputs = keras.Input((steps, channels, 1))
    head = keras.Model(inputs, keras.Model(border, model.output)(layers.Reshape((steps, 1, channels))(inputs)))
    return Parted(front, head, _stride(whole), frozen[-1].name)


def standardized(part: Parted, model: keras.Model, heard: np.ndarray) -> np.ndarray:
    """`heard` (n, steps, channels) with mean 0 and deviation 1 in every channel, changed in place.

    The last frozen layer of `model` and of the front is scaled so that they give just this. That costs nothing in use,
    and a head learns faster, and as much from channels that hardly move. A layer that is not linear stays as it is.
    """
    layer, twin = model.get_layer(part.border), part.front.get_layer(part.border)
    if not isinstance(layer, layers.Conv2D) or layer.activation is not keras.activations.linear or not len(heard):
        return heard
    rows = heard.reshape(-1, heard.shape[-1])[:: max(1, heard.shape[0] * heard.shape[1] // _MEASURED)]
    mean, std = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    std = np.maximum(std, _LEAST * std.max())
    kernel, bias = layer.get_weights()
    for one in (layer, twin):
        one.set_weights([kernel / std, (bias - mean) / std])
    for start in range(0, len(heard), 4096):
        heard[start : start + 4096] = (heard[start : start + 4096] - mean) / std
    return heard


def _stride(front: keras.Model) -> int:
    """How many frames lie between two steps."""
    stride = 1
    for layer in front.layers:
        if isinstance(layer, layers.Conv2D | layers.MaxPooling2D | layers.AveragePooling2D):
            stride *= int(layer.strides[0])
    return stride
