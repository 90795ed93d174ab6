"""The few blocks that the architectures share."""

from __future__ import annotations

from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras

layers = keras.layers


def conv_bn(x, filters: int, *, kernel: int = 3, strides: int = 1, depthwise: bool = False, relu: bool = True):
    """Convolution without bias, batch normalisation, and a ReLU unless told otherwise.

    With `depthwise` each channel is convolved by itself and `filters` is not used.
    """
    if depthwise:
        x = layers.DepthwiseConv2D(kernel, strides, padding="same", use_bias=False, depthwise_initializer="he_normal")(
            x
        )
    else:
        x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.ReLU()(x) if relu else x


def rounded(channels: float, divisor: int = 8) -> int:
    """`channels` as a multiple of `divisor`, never more than 10 % below it (Sandler et al. 2018, reference code)."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * channels else nearest + divisor


def head(x, classes: int, *, pool: str = "avg", dropout: float = 0.0):
    """Pool over space and classify: `avg`, `max`, or `avg-max` (both, side by side)."""
    pooled = {
        "avg": lambda: layers.GlobalAveragePooling2D()(x),
        "max": lambda: layers.GlobalMaxPooling2D()(x),
        "avg-max": lambda: layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]),
    }
    if pool not in pooled:
        raise EdgepressError(f"unknown pool {pool!r}", f"known: {', '.join(pooled)}")
    features = pooled[pool]()
    if dropout:
        features = layers.Dropout(dropout)(features)
    return layers.Dense(classes, activation="softmax", kernel_initializer="he_normal")(features)
