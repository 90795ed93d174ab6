"""Depthwise-separable nets: the smallest and cheapest family (Zhang et al. 2017, arXiv:1711.07128, DS-CNN)."""

from __future__ import annotations

from edgepress_train.keras2 import keras
from edgepress_train.models.layers import conv_bn, crop_time, head, pool_time

layers = keras.layers


def ds_cnn_image(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    widths: tuple[int, ...] = (24, 48, 96, 128),
    blocks: int = 1,
    stem: int = 2,
    pool: str = "avg",
    dropout: float = 0.0,
) -> keras.Model:
    """A strided stem, then stages of `blocks` depthwise 3x3 + pointwise 1x1 pairs, each stage halving the size.

    The first width is the stem's; every further one is a stage.
    """
    inputs = keras.Input(input_shape)
    x = conv_bn(inputs, widths[0], strides=stem)
    for filters in widths[1:]:
        for block in range(blocks):
            x = conv_bn(x, x.shape[-1], strides=2 if block == 0 else 1, depthwise=True)
            x = conv_bn(x, filters, kernel=1)
    return keras.Model(inputs, head(x, classes, pool=pool, dropout=dropout), name="ds_cnn")


def ds_cnn_speech(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    width: int = 64,
    blocks: int = 4,
    stem: tuple[int, ...] = (10, 4),
    every: int = 1,
    residual: bool = False,
    dropout: float = 0.2,
) -> keras.Model:
    """The DS-CNN of MLPerf Tiny's keyword benchmark: a strided `stem` (time, frequency), then depthwise-separable 3x3.

    There it sees 49 frames of 10 MFCCs and pads them at their ends; here nothing is padded along time, so that a stream
    and a whole window give the same numbers. `every` is how many strided frames lie between two answers of the
    streaming model; `residual` adds each block's input to its output.
    """

    def frame(kernel: int):  # what `same` would do, along frequency alone
        return layers.ZeroPadding2D(((0, 0), ((kernel - 1) // 2, kernel // 2)))

    def norm_relu(y):
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(y))

    inputs = keras.Input(input_shape)
    x = layers.Conv2D(width, stem, 2, use_bias=False, kernel_initializer="he_normal")(frame(stem[1])(inputs))
    x = norm_relu(x)
    x = layers.Dropout(dropout)(x) if dropout else x
    for _ in range(blocks):
        y = layers.DepthwiseConv2D(3, use_bias=False, depthwise_initializer="he_normal")(frame(3)(x))
        y = layers.Conv2D(width, 1, use_bias=False, kernel_initializer="he_normal")(norm_relu(y))
        y = norm_relu(y)
        x = layers.Add()([crop_time(x, 2), y]) if residual else y
    x = layers.AveragePooling2D((1, x.shape[2]))(x)
    return keras.Model(inputs, pool_time(x, classes, every=every, dropout=2 * dropout), name="ds_cnn")
