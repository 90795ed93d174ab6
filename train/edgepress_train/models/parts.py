"""Which part of a classifier is its encoder: all that comes before the layer that tells classes apart."""

from __future__ import annotations

from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras

layers = keras.layers

# Between the last map and the classifier; none of these has weights
_POOLING = (
    layers.AveragePooling2D,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.Concatenate,
    layers.Flatten,
    layers.Dropout,
)


def classifier(model: keras.Model) -> keras.layers.Layer:
    """The layer of `model` that gives a score for each class: its last Dense, or the 1x1 Conv2D of a speech net.

    Raises EdgepressError for a model that ends otherwise.
    """
    for layer in reversed(model.layers):
        if isinstance(layer, (layers.Dense, layers.Conv2D)):
            return layer
        if layer.weights:
            break
    raise EdgepressError(f"{model.name} does not end in a layer that tells classes apart", "use a known --arch")


def encoder(model: keras.Model) -> keras.Model:
    """(n, *input) -> (n, width) float32, what the classifier of `model` is given; shares its layers and its name.

    Dropout in front of the classifier is left out: it belongs to the head.
    """
    x = classifier(model).input
    while isinstance(x.node.layer, layers.Dropout):
        x = x.node.keras_inputs[0]
    return keras.Model(model.input, layers.Flatten(name="embedding")(x), name=model.name)


def trunk(model: keras.Model) -> keras.Model:
    """(n, *input) -> (n, height, width, channels): the last map of `model`, before it is averaged over its places."""
    x = classifier(model).input
    while isinstance(x.node.layer, _POOLING):
        x = x.node.keras_inputs[0]
    return keras.Model(model.input, x, name=model.name)
