"""A temporal net: depthwise-separable convolutions over time, with the bands as channels.

The idea of TC-ResNet (Choi et al. 2019, arXiv:1904.03814): the first convolution sees all bands at once, so everything
after it is one-dimensional, small, and needs nothing along frequency.
"""

from __future__ import annotations

from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras
from edgepress_train.models.layers import crop_time, pool_time

layers = keras.layers


def ds_tcn(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    width: int = 64,
    kernels: tuple[int, ...] = (5, 7, 9, 11),
    stem: int = 5,
    stride: int = 2,
    expand: int = 1,
    every: int = 1,
    dropout: float = 0.1,
) -> keras.Model:
    """`stem` frames become `width` channels every `stride` frames; then one residual block for each of `kernels`.

    A block is a depthwise convolution over that many (strided) frames and a pointwise one, which `expand` widens
    inside. `every` is how many strided frames lie between two answers of the streaming model.
    """
    if input_shape[2] != 1:
        raise EdgepressError(f"a speech net takes one channel, not {input_shape[2]}")

    def pointwise(x, filters: int, relu: bool = True):
        x = layers.Conv2D(filters, 1, use_bias=False, kernel_initializer="he_normal")(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        return layers.ReLU()(x) if relu else x

    inputs = keras.Input(input_shape)
    x = layers.Conv2D(width, (stem, input_shape[1]), (stride, 1), use_bias=False, kernel_initializer="he_normal")(
        inputs
    )
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    for kernel in kernels:
        y = pointwise(x, width * expand) if expand > 1 else x
        y = layers.DepthwiseConv2D((kernel, 1), use_bias=False, depthwise_initializer="he_normal")(y)
        y = layers.BatchNormalization(momentum=0.9)(y)
        if expand > 1:
            y = layers.ReLU()(y)
        y = pointwise(y, width, relu=False)
        x = layers.ReLU()(layers.Add()([crop_time(x, kernel - 1), y]))
    return keras.Model(inputs, pool_time(x, classes, every=every, dropout=dropout), name="ds_tcn")
