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


def crop_time(x, frames: int):
    """`x` (n, time, bands, channels) without `frames` frames of time, half of them at each end.

    What a residual connection needs beside a convolution of `frames + 1` frames that pads nothing.
    """
    return layers.Cropping2D(((frames // 2, frames - frames // 2), (0, 0)))(x) if frames else x


def pool_time(x, classes: int, *, every: int, dropout: float):
    """Average over the time that is left, and classify: (n, time, 1, channels) -> (n, classes).

    The pool's stride means nothing for one window; the streaming model answers once in so many frames.
    """
    time = x.shape[1]
    if time < every:
        raise EdgepressError(
            f"the window is too short for this net: {time} of its frames are left at the end, {every} are needed",
            "give a longer --window, or a net that reaches less far",
        )
    x = layers.AveragePooling2D((time, 1), (every, 1))(x)
    x = layers.Dropout(dropout)(x) if dropout else x
    x = layers.Conv2D(classes, 1, kernel_initializer="he_normal")(x)
    return layers.Softmax()(layers.Flatten()(x))
