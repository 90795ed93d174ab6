"""BC-ResNet: broadcasted residual learning (Kim et al. 2021, arXiv:2106.04140), made for streams.

Two-dimensional features go through a depthwise convolution along frequency; their mean over frequency goes through one
along time, and is added back to every band. Unlike the paper's, nothing is padded along time, so that a stream and a
whole window give the same numbers: the window must be longer than the dilated convolutions reach.
"""

from __future__ import annotations

from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras
from edgepress_train.models.layers import crop_time, pool_time

layers = keras.layers

# (channels at scale 1, blocks, stride along frequency, dilation along time at `reach` 1): table 1 of the paper
_STAGES = ((8, 2, 1, 1), (12, 2, 2, 2), (16, 4, 2, 4), (20, 4, 1, 8))


def bc_resnet(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    scale: float = 1.0,
    reach: float = 1.0,
    stride: int = 1,
    every: int = 2,
    dropout: float = 0.1,
) -> keras.Model:
    """BC-ResNet of `scale` (the paper's tau: 1, 1.5, 2, 3, 6, 8), for 20 bands or a multiple.

    `reach` scales the dilations: 1 fits a hop of 10 ms, 0.5 one of 20 ms. `stride` is the first convolution's along
    time, `every` how many strided frames lie between two answers of the streaming model.
    """
    _, bands, channels = input_shape
    if channels != 1 or bands % 20:
        raise EdgepressError(
            f"bc-resnet takes 20, 40, 60 ... bands in one channel, not {bands} in {channels}", "use --bands 40"
        )
    wide = [max(4, round(width * scale)) for width, *_ in _STAGES]
    inputs = keras.Input(input_shape)
    x = layers.ZeroPadding2D(((0, 0), (2, 2)))(inputs)
    x = layers.Conv2D(2 * wide[0], 5, (stride, 2), use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.ReLU()(_norm()(x))
    for filters, (_, blocks, down, dilation) in zip(wide, _STAGES, strict=True):
        for block in range(blocks):
            x = _block(x, filters, down if block == 0 else 1, max(1, round(dilation * reach)), block > 0, dropout)
    # Five bands are left; the last depthwise convolution takes them all in.
    x = layers.DepthwiseConv2D((5, x.shape[2]), use_bias=False, depthwise_initializer="he_normal")(x)
    x = layers.Conv2D(round(32 * scale), 1, use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.ReLU()(_norm()(x))
    return keras.Model(inputs, pool_time(x, classes, every=every, dropout=0.0), name="bc_resnet")


def _block(x, filters: int, down: int, dilation: int, residual: bool, dropout: float):
    """x + f2 + broadcast(f1(mean over frequency of f2)), without the first term where the shape changes (figure 2)."""
    y = x
    if not residual:
        y = layers.Conv2D(filters, 1, use_bias=False, kernel_initializer="he_normal")(y)
        y = layers.ReLU()(_norm()(y))
    y = layers.ZeroPadding2D(((0, 0), (1, 1)))(y)
    y = layers.DepthwiseConv2D((1, 3), use_bias=False, depthwise_initializer="he_normal")(y)
    if down > 1:  # Keras has no depthwise convolution with a stride along one axis only
        y = layers.AveragePooling2D((1, down))(y)
    y = _band_norm(y)
    z = layers.AveragePooling2D((1, y.shape[2]))(y)
    z = layers.DepthwiseConv2D((3, 1), dilation_rate=(dilation, 1), use_bias=False, depthwise_initializer="he_normal")(
        z
    )
    z = layers.Activation("swish")(_norm()(z))
    z = layers.Conv2D(filters, 1, use_bias=False, kernel_initializer="he_normal")(z)
    z = layers.SpatialDropout2D(dropout)(z) if dropout else z
    y = crop_time(y, 2 * dilation)
    y = layers.Add()([y, z])
    if residual:
        y = layers.Add()([crop_time(x, 2 * dilation), y])
    return layers.ReLU()(y)


def _band_norm(x):
    """Batch normalisation of each channel in each band by itself.

    The paper's sub-spectral normalisation (Chang et al. 2021, arXiv:2103.13620) has five sub-bands. Where five bands
    are left, in eight of the twelve blocks, this is the same; before, it is finer.
    """
    time, bands, channels = x.shape[1:]
    y = _norm()(layers.Reshape((time, 1, bands * channels))(x))
    return layers.Reshape((time, bands, channels))(y)


def _norm() -> keras.layers.Layer:
    return layers.BatchNormalization(momentum=0.9)
