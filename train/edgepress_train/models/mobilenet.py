"""MobileNetV2: inverted residuals with linear bottlenecks (Sandler et al. 2018, arXiv:1801.04381, table 2)."""

from __future__ import annotations

from edgepress_train.keras2 import keras
from edgepress_train.models.layers import conv_bn, head, rounded

layers = keras.layers

# expansion, channels, blocks, stride of the first block
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v2(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 0.35,
    stem: int = 2,
    stages: int = 7,
    pool: str = "avg",
    dropout: float = 0.0,
) -> keras.Model:
    """MobileNetV2 with a `width` multiplier; `stages` below 7 cuts it short and leaves out the final 1x1 convolution.

    The multiplier also narrows the last convolution below 1280 channels, since at small widths it would hold most of
    the weights (the original keeps it at 1280). ReLU is plain, not ReLU6: int8 needs no clipping at 6.
    """
    inputs = keras.Input(input_shape)
    x = conv_bn(inputs, rounded(32 * width), strides=stem)
    for expansion, channels, blocks, first in _STAGES[:stages]:
        for block in range(blocks):
            x = _inverted_residual(x, rounded(channels * width), expansion, first if block == 0 else 1)
    if stages >= len(_STAGES):
        x = conv_bn(x, rounded(1280 * width), kernel=1)
    return keras.Model(inputs, head(x, classes, pool=pool, dropout=dropout), name="mobilenet_v2")


def _inverted_residual(x, filters: int, expansion: int, strides: int):
    channels = x.shape[-1]
    y = conv_bn(x, channels * expansion, kernel=1) if expansion > 1 else x
    y = conv_bn(y, channels * expansion, strides=strides, depthwise=True)
    y = conv_bn(y, filters, kernel=1, relu=False)
    return layers.Add()([x, y]) if strides == 1 and channels == filters else y
