"""Depthwise-separable nets: the smallest and cheapest family (Zhang et al. 2017, arXiv:1711.07128, DS-CNN)."""

from __future__ import annotations

from edgepress_train.keras2 import keras
from edgepress_train.models.layers import conv_bn, head


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
