"""Low-rank additions to a net's kernels (Hu et al. 2021, arXiv:2106.09685, equation 3), for Dense and Conv2D.

A kernel W learns as W + A B with W at rest. That of a convolution is taken as a matrix of (height * width * channels
in) rows, so A is a convolution of its size to `rank` channels and B a 1x1 convolution behind it. The scale of the
paper is 1 (alpha equal to the rank).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress_train.keras2 import keras

layers = keras.layers


class LoraConv2D(keras.layers.Conv2D):
    """A Conv2D whose kernel has an addition of `lora_rank`."""

    def __init__(self, filters: int, kernel_size: Any, *, lora_rank: int = 4, **options: Any) -> None:
        super().__init__(filters, kernel_size, **options)
        self.lora_rank = lora_rank  # `rank` is Keras's word for the number of spatial axes

    def build(self, input_shape):
        super().build(input_shape)
        _add(self)

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel + _addition(self))

    def get_config(self):
        return {**super().get_config(), "lora_rank": self.lora_rank}


class LoraDense(keras.layers.Dense):
    """A Dense layer whose kernel has an addition of `lora_rank`."""

    def __init__(self, units: int, *, lora_rank: int = 4, **options: Any) -> None:
        super().__init__(units, **options)
        self.lora_rank = lora_rank  # `rank` is Keras's word for the number of spatial axes

    def build(self, input_shape):
        super().build(input_shape)
        _add(self)

    def call(self, inputs):
        outputs = tf.tensordot(inputs, self.kernel + _addition(self), axes=1)
        outputs = tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs
        return outputs if self.activation is None else self.activation(outputs)

    def get_config(self):
        return {**super().get_config(), "lora_rank": self.lora_rank}


# what gets an addition, and what it becomes; subclasses do not count
WIDENED: dict[type, Any] = {layers.Conv2D: LoraConv2D, layers.Dense: LoraDense}


def _add(layer: Any) -> None:
    rows, columns = _matrix(layer.kernel.shape)
    # B begins with zeros, so the layer begins as what it was
    layer.lora_a = layer.add_weight("lora_a", (rows, layer.lora_rank), initializer=keras.initializers.HeNormal())
    layer.lora_b = layer.add_weight("lora_b", (layer.lora_rank, columns), initializer="zeros")


def _addition(layer: Any) -> Any:
    return tf.reshape(tf.matmul(layer.lora_a, layer.lora_b), layer.kernel.shape)


def _matrix(shape: Sequence[int]) -> tuple[int, int]:
    return int(np.prod(shape[:-1])), int(shape[-1])


def widened(model: keras.Model, rank: int, *, keep: str) -> tuple[keras.Model, tuple[str, ...]]:
    """A copy of `model` whose kernels have additions of `rank`, and what has none, with the reason.

    The layer named `keep` stays as it is. The copy's layers have the names of the originals.
    """
    left_out: list[str] = []

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        reason = "" if layer.name == keep else _reason(layer, rank)
        if reason:
            left_out.append(f"{layer.name}: {reason}")
        if layer.name == keep or type(layer) not in WIDENED or reason:
            return type(layer).from_config(layer.get_config())
        return WIDENED[type(layer)].from_config({**layer.get_config(), "lora_rank": rank})

    wide = keras.models.clone_model(model, clone_function=copied)
    for layer in model.layers:
        if layer.weights:
            twin = wide.get_layer(layer.name)
            twin.set_weights([*layer.get_weights(), *(weight.numpy() for weight in additions(twin))])
    return wide, tuple(left_out)


def additions(layer: Any) -> list[Any]:
    """A and B of a layer that has an addition, nothing for others."""
    return [layer.lora_a, layer.lora_b] if isinstance(layer, (LoraConv2D, LoraDense)) else []


def merge(wide: keras.Model, model: keras.Model) -> None:
    """Give `model` the weights of its copy `wide`, with every addition made a part of its kernel."""
    for layer in model.layers:
        if not layer.weights:
            continue
        twin = wide.get_layer(layer.name)
        weights = {id(weight): weight.numpy() for weight in twin.weights}
        for weight in additions(twin):
            del weights[id(weight)]
        if additions(twin):
            weights[id(twin.kernel)] = (twin.kernel + _addition(twin)).numpy()
        layer.set_weights(list(weights.values()))


def _reason(layer: keras.layers.Layer, rank: int) -> str:
    if isinstance(layer, layers.DepthwiseConv2D):
        return "a depthwise kernel has one filter a channel, and no matrix of which a low rank would be less"
    if not isinstance(layer, (layers.Conv2D, layers.Dense)):
        return ""
    if isinstance(layer, layers.Conv2D) and layer.groups > 1:
        return "a grouped convolution is several matrices"
    rows, columns = _matrix(layer.kernel.shape)
    if rank * (rows + columns) >= rows * columns:
        return f"an addition of rank {rank} would have more weights than the kernel ({rows}x{columns})"
    return ""
