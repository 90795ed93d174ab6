"""A tiny encoder of text in the manner of BERT (Devlin et al. 2019, arXiv:1810.04805), made for int8.

Everything is a layer of Keras's own, and every value has a range that 8 bits can hold: padding is kept away from
attention by 10 instead of a billion, and there is no variance to divide by (see `NORMS`).
"""

from __future__ import annotations

import numpy as np

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.preprocessing import PAD
from edgepress_train.keras2 import keras

layers = keras.layers
NAME = "text_transformer"
FAR = -10.0  # what is added to the attention to padding: exp(-10) is less than int8 probabilities can tell from 0


def transformer(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    dim: int = 96,
    blocks: int = 2,
    heads: int = 4,
    inner: int = 192,
    norm: str = "unit",
    dropout: float = 0.1,
) -> keras.Model:
    """Ids of pieces to class probabilities: the encoder, the mean over real pieces, and a dense layer.

    `input_shape` is (length, pieces); input (n, length) int32. `dim` channels, `blocks` blocks of attention with
    `heads` heads and a ReLU layer of `inner` channels.
    """
    inputs, x, bias = encoder(input_shape, dim=dim, blocks=blocks, heads=heads, inner=inner, norm=norm, dropout=dropout)
    # Equal weights for what is real and none for padding: the softmax of the bias. So the mean is int8 arithmetic, too.
    share = layers.Softmax()(bias)
    mean = layers.Reshape((dim,))(layers.Dot(axes=(2, 1))([share, x]))
    mean = layers.Dropout(dropout)(mean) if dropout else mean
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(mean), name=NAME)


def encoder(input_shape: tuple[int, ...], *, dim: int, blocks: int, heads: int, inner: int, norm: str, dropout: float):
    """(inputs (n, length) int32, hidden (n, length, dim), bias (n, 1, length): 0 for pieces, FAR for padding)."""
    length, pieces = input_shape
    if dim % heads:
        raise EdgepressError(f"{dim} channels cannot be divided among {heads} heads", "such as dim=96:heads=4")
    if norm not in NORMS:
        raise EdgepressError(f"unknown norm {norm!r}", f"known: {', '.join(NORMS)}")
    inputs = keras.Input((length,), dtype="int32")
    far = np.zeros((pieces, 1), np.float32)
    far[PAD] = FAR
    bias = layers.Embedding(pieces, 1, embeddings_initializer=keras.initializers.Constant(far), trainable=False)(inputs)
    bias = layers.Reshape((1, length))(bias)
    x = layers.Embedding(pieces, dim, embeddings_initializer=keras.initializers.RandomNormal(stddev=0.05))(inputs)
    # A learned bias of its own for each place is what tells the places apart.
    x = layers.EinsumDense("btd,de->bte", (length, dim), bias_axes="te", bias_initializer=_small())(x)
    for _ in range(blocks):
        x = layers.Add()([x, _attention(NORMS[norm](x), bias, dim, heads, dropout)])
        y = layers.Dense(inner, activation="relu", kernel_initializer="he_normal")(NORMS[norm](x))
        y = layers.Dense(dim, kernel_initializer=_small(0.5 / blocks))(y)
        x = layers.Add()([x, layers.Dropout(dropout)(y) if dropout else y])
    return inputs, NORMS[norm](x), bias


def _attention(x, bias, dim: int, heads: int, dropout: float):
    """Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762, equation 1), head by head."""
    size = dim // heads
    found = []
    for _ in range(heads):
        # The division by the root of the size lies in the first weights.
        scaled = keras.initializers.VarianceScaling(1.0 / size**0.5, "fan_avg", "uniform")
        query, key = layers.Dense(size, kernel_initializer=scaled)(x), layers.Dense(size, use_bias=False)(x)
        scores = layers.Add()([layers.Dot(axes=(2, 2))([query, key]), bias])
        found.append(layers.Dot(axes=(2, 1))([layers.Softmax()(scores), layers.Dense(size)(x)]))
    y = layers.Concatenate()(found) if heads > 1 else found[0]
    y = layers.Dense(dim, kernel_initializer=_small(0.5))(y)
    return layers.Dropout(dropout)(y) if dropout else y


def _small(scale: float = 0.02):
    return keras.initializers.VarianceScaling(scale, "fan_avg", "truncated_normal")


def _unit(x):
    """Each piece's vector divided by its length: RMS normalisation (Zhang & Sennrich 2019, arXiv:1910.07467) whose
    scale lies in the next weights."""
    return layers.UnitNormalization()(x)


NORMS = {
    "unit": _unit,
    "layer": lambda x: layers.LayerNormalization(epsilon=1e-5)(x),
}
