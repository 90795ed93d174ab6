"""Adapters: small residual bottlenecks between the blocks of a net that stays as it is.

Houlsby et al. 2019, arXiv:1902.00751, section 2.1, with 1x1 convolutions in the place of dense layers: down to a few
channels, ReLU, up again, added to what came in. The last begins with zeros, so the net begins as it was.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras

layers = keras.layers

PREFIX = "adapter_"


def is_adapter(layer: keras.layers.Layer) -> bool:
    """Whether `layer` is part of an adapter."""
    return layer.name.startswith(PREFIX)


def inserted(model: keras.Model, dim: int) -> keras.Model:
    """`model` with an adapter of `dim` channels behind each block; all its own layers are shared.

    A block ends where a residual is added; in a net without residuals, at the ReLU behind a pointwise convolution.
    Raises EdgepressError for a net that has neither, or has adapters already.
    """
    if any(is_adapter(layer) for layer in model.layers):
        raise EdgepressError("this net has adapters already", "tune it with full, head, bias or lora")
    places = _block_ends(model)
    if not places:
        raise EdgepressError(f"{model.name} has no blocks that adapters could stand behind", "use --tune lora:4")
    tensors: dict[int, Any] = {id(tensor): tensor for tensor in model.inputs}

    def ready(value: Any) -> Any:
        return tensors.get(id(value), value)

    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            args, kwargs = tf.nest.map_structure(ready, (tuple(node.call_args), dict(node.call_kwargs)))
            result = node.layer(*args, **kwargs)
            if node.layer.name in places:
                result = _adapter(result, places.index(node.layer.name), dim)
            for old, new in zip(tf.nest.flatten(node.outputs), tf.nest.flatten(result), strict=True):
                tensors[id(old)] = new
    return keras.Model(model.inputs, tensors[id(model.output)], name=model.name)


def _adapter(x: Any, number: int, dim: int) -> Any:
    y = layers.Conv2D(dim, 1, kernel_initializer="he_normal", name=f"{PREFIX}{number}_down")(x)
    y = layers.ReLU(name=f"{PREFIX}{number}_relu")(y)
    y = layers.Conv2D(x.shape[-1], 1, kernel_initializer="zeros", name=f"{PREFIX}{number}_up")(y)
    return layers.Add(name=f"{PREFIX}{number}_add")([x, y])


def _block_ends(model: keras.Model) -> list[str]:
    """The names of the layers that end a block, in the order of the net."""
    readers: dict[str, set[type]] = {layer.name: set() for layer in model.layers}
    for layer in model.layers:
        for node in layer.inbound_nodes:
            for tensor in tf.nest.flatten(node.keras_inputs):
                readers.setdefault(tensor.node.layer.name, set()).add(type(layer))
    sums = [layer.name for layer in model.layers if isinstance(layer, layers.Add)]
    ends = [name for name in sums if layers.Add not in readers[name]]
    if ends:
        return ends
    found = []
    for layer in model.layers:
        if isinstance(layer, layers.ReLU):
            before = layer.input.node.layer
            if isinstance(before, layers.BatchNormalization):
                before = before.input.node.layer
            if type(before) is layers.Conv2D and tuple(before.kernel_size) == (1, 1):
                found.append(layer.name)
    return found
