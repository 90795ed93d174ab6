"""Residual networks for small pictures (He et al. 2016, arXiv:1512.03385)."""

from __future__ import annotations

from edgepress_train.keras2 import keras
from edgepress_train.models.layers import conv_bn, head

layers = keras.layers


def resnet8(input_shape: tuple[int, int, int], classes: int, *, width: float = 1.0) -> keras.Model:
    """The ResNet-8 of MLPerf Tiny's image benchmark (v1.0), layer for layer: 78,666 weights for 32x32x3 and 10 classes.

    Convolutions carry biases and an L2 penalty of 1e-4, and the shortcuts have no batch normalisation, as there.
    """

    def conv(x, filters: int, kernel: int, strides: int):
        return layers.Conv2D(
            filters,
            kernel,
            strides,
            padding="same",
            kernel_initializer="he_normal",
            kernel_regularizer=keras.regularizers.l2(1e-4),
        )(x)

    inputs = keras.Input(input_shape)
    first = max(4, round(16 * width))
    x = layers.ReLU()(layers.BatchNormalization()(conv(inputs, first, 3, 1)))
    for stage in range(3):
        filters, strides = first << stage, 1 if stage == 0 else 2
        y = layers.ReLU()(layers.BatchNormalization()(conv(x, filters, 3, strides)))
        y = layers.BatchNormalization()(conv(y, filters, 3, 1))
        shortcut = x if stage == 0 else conv(x, filters, 1, strides)
        x = layers.ReLU()(layers.Add()([shortcut, y]))
    x = layers.AveragePooling2D(pool_size=(x.shape[1], x.shape[2]))(x)
    x = layers.Flatten()(x)
    outputs = layers.Dense(classes, activation="softmax", kernel_initializer="he_normal")(x)
    return keras.Model(inputs, outputs, name="resnet8")


def resnet(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    widths: tuple[int, ...] = (16, 24, 36),
    blocks: int = 2,
    stem: int = 1,
    pool: str = "avg",
    dropout: float = 0.0,
) -> keras.Model:
    """A residual network of `blocks` two-convolution blocks in each stage; each stage after the first halves the size.

    `stem` is the stride of the first convolution. Where a block changes the shape, its shortcut averages 2x2 pixels and
    projects with a 1x1 convolution, so that no pixel is skipped (He et al. 2019, arXiv:1812.01187, ResNet-D).
    """
    inputs = keras.Input(input_shape)
    x = conv_bn(inputs, widths[0], strides=stem)
    for stage, filters in enumerate(widths):
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            y = conv_bn(x, filters, strides=strides)
            y = conv_bn(y, filters, relu=False)
            shortcut = x
            if strides == 2:
                shortcut = layers.AveragePooling2D(2, padding="same")(shortcut)
            if shortcut.shape[-1] != filters:
                shortcut = conv_bn(shortcut, filters, kernel=1, relu=False)
            x = layers.ReLU()(layers.Add()([shortcut, y]))
    return keras.Model(inputs, head(x, classes, pool=pool, dropout=dropout), name="resnet")
