"""Where a board rounds: the places of a model at which LiteRT stores 8 bits, and the ranges of the values there.

LiteRT stores kernels as int8, and so every tensor between two of its operators (Jacob et al. 2018, arXiv:1712.05877).
Its converter folds normalisation and ReLU into the convolution before them, so nothing is rounded in between. TF-MOT's
own placement knows a short list of layers, and refuses models with any other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress_convert import quantize
from edgepress_convert.compress import prepare, surgery
from edgepress_convert.plan import Plan
from edgepress_train.keras2 import keras

layers = keras.layers
Range = tuple[float, float]

# How each kind of layer names its kernel, and the axes of the kernel along which its channels lie, as LiteRT has them
KERNELS: dict[type, tuple[str, tuple[int, ...]]] = {
    layers.Conv1D: ("kernel", (-1,)),
    layers.Conv2D: ("kernel", (-1,)),
    layers.Conv2DTranspose: ("kernel", (-2,)),
    layers.Dense: ("kernel", (-1,)),
    layers.DepthwiseConv1D: ("depthwise_kernel", (-2, -1)),
    layers.DepthwiseConv2D: ("depthwise_kernel", (-2, -1)),
}
# What gives out only values that it was given (or zeros), and so rounds nothing; softmax keeps its 8 bits to itself
_SILENT = (
    layers.InputLayer, layers.Flatten, layers.Reshape, layers.Permute, layers.RepeatVector, layers.Dropout,
    layers.SpatialDropout1D, layers.SpatialDropout2D, layers.GaussianNoise, layers.GaussianDropout,
    layers.ActivityRegularization, layers.ZeroPadding1D, layers.ZeroPadding2D, layers.Cropping1D, layers.Cropping2D,
    layers.MaxPooling1D, layers.MaxPooling2D, layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D,
    layers.UpSampling1D, layers.UpSampling2D, layers.Softmax,
)  # fmt: skip
_ROUNDING = (
    layers.BatchNormalization, layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum,
    layers.Minimum, layers.Concatenate, layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU, layers.Activation,
    layers.AveragePooling1D, layers.AveragePooling2D, layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D,
    layers.Rescaling, layers.Normalization,
)  # fmt: skip
_FORMULAS = ("add", "subtract", "multiply", "maximum", "minimum")  # as TensorFlow calls them
_ENDS_IN_RELU = (layers.BatchNormalization, layers.Add, layers.Subtract, layers.Multiply)
# LiteRT gives these activations a range of their own, whatever comes out
_FIXED: dict[str, Range] = {"sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}
_CHUNK = 16  # examples at a time


@dataclass(frozen=True)
class Rounding:
    """Where a flat model is rounded, by the names of its layers.

    `kernels`: those whose kernel is stored as int8. `outputs`: those whose output is, with its range where LiteRT
    fixes it, None where it comes of the data. `folds`: convolution -> the normalisation that is folded into it. `left`:
    layers that compute something that is not simulated.
    """

    kernels: tuple[str, ...]
    outputs: Mapping[str, Range | None]
    folds: Mapping[str, str]
    left: tuple[str, ...]


def places(model: keras.Model, plan: Plan) -> Rounding:
    """Where LiteRT rounds in the flat `model`, whose layers `prepare.split` took apart, when quantized as `plan` says.

    Activations of more than 8 bits, and layers that `plan` keeps out, are not rounded.
    """
    order = _calls(model)
    readers: dict[int, list[Any]] = defaultdict(list)
    for node in order:
        for tensor in node.keras_inputs:
            readers[id(tensor)].append(node.layer)
    for tensor in model.outputs:
        readers[id(tensor)].append(None)
    times = Counter(node.layer.name for node in order)
    int8 = quantize.scheme(plan.scheme).activations == "int8"
    kernels: list[str] = []
    outputs: dict[str, Range | None] = {}
    folds: dict[str, str] = {}
    left: list[str] = []
    for node in order:
        layer, name = node.layer, node.layer.name
        found = tf.nest.flatten(node.outputs)
        if not _known(layer):
            left.append(name)
            continue
        keep = plan.keep.get(name)
        if type(layer) in KERNELS and keep in (None, "int16x8"):
            kernels.append(name)
        only = readers[id(found[0])][0] if len(readers[id(found[0])]) == 1 else None
        if isinstance(only, layers.BatchNormalization) and _folds(layer, only) and times[name] == times[only.name] == 1:
            folds[name] = only.name
            continue
        if (
            not int8
            or keep is not None
            or isinstance(layer, _SILENT)
            # of a hard swish, which is one operator, or a bound
            or (_is_formula(layer) and len(node.keras_inputs) == 1)
            or isinstance(only, layers.Concatenate)
            or (_is_relu(only) and (type(layer) in KERNELS or isinstance(layer, _ENDS_IN_RELU) or _is_formula(layer)))
        ):
            continue
        ended = prepare.activation(layer) if isinstance(layer, layers.Activation) else ""
        if ended in ("linear", "softmax") or (ended in _FIXED and None in readers[id(found[0])]):
            continue
        outputs[name] = _FIXED.get(ended or "")
    return Rounding(tuple(dict.fromkeys(kernels)), outputs, folds, tuple(dict.fromkeys(left)))


def observe(model: keras.Model, where: Rounding, examples: np.ndarray) -> dict[str, Range]:
    """The least and greatest value that `examples` (n, *input) bring to each place whose range is not fixed, by name.

    The inputs of the model are among them, by the names of their layers. Zero is always within, as LiteRT needs it.
    """
    tensors: dict[str, list[Any]] = {t.node.layer.name: [t] for t in model.inputs}
    for node in _calls(model):
        if node.layer.name in where.outputs and where.outputs[node.layer.name] is None:
            tensors.setdefault(node.layer.name, []).extend(tf.nest.flatten(node.outputs))
    probe = keras.Model(model.inputs, list(tensors.values()))

    @tf.function
    def ends(batch):
        # Reduced within the graph, which lets go of each tensor once it is read
        return [(tf.reduce_min(t), tf.reduce_max(t)) for t in tf.nest.flatten(probe(batch, training=False))]

    lows = [name for name, found in tensors.items() for _ in found]
    ranges: dict[str, Range] = dict.fromkeys(tensors, (0.0, 0.0))
    for part in np.array_split(examples, max(1, len(examples) // _CHUNK)):
        for name, (low, high) in zip(lows, ends(tf.constant(part, tf.float32)), strict=True):
            old = ranges[name]
            ranges[name] = (min(old[0], float(low)), max(old[1], float(high)))
    return ranges


def _calls(model: keras.Model) -> list[Any]:
    first = {id(t) for t in model.inputs}
    return [n for n in surgery.calls(model) if not any(id(t) in first for t in tf.nest.flatten(n.outputs))]


def _known(layer: keras.layers.Layer) -> bool:
    if type(layer) in KERNELS:
        return getattr(layer, "data_format", "channels_last") == "channels_last"
    # Exact types: what a class derived from them computes is its own affair
    return type(layer) in _SILENT or type(layer) in _ROUNDING or _is_relu(layer) or _is_formula(layer)


def _is_formula(layer: keras.layers.Layer) -> bool:
    """Whether `layer` is one of _FORMULAS, of two tensors or of a tensor and a number."""
    return (getattr(layer, "symbol", None) or "").rpartition(".")[2] in _FORMULAS


def _is_relu(layer: Any) -> bool:
    """Whether `layer` is a ReLU that LiteRT computes inside the operator before it."""
    if type(layer) is layers.ReLU:
        return not layer.negative_slope and not layer.threshold and layer.max_value in (None, 6)
    if type(layer) is layers.Activation:
        return prepare.activation(layer) in ("relu", "relu6")
    return getattr(layer, "symbol", None) in ("nn.relu", "nn.relu6")


def _folds(layer: keras.layers.Layer, normalizer: keras.layers.BatchNormalization) -> bool:
    return (
        type(layer) in KERNELS
        and prepare.activation(layer) == "linear"
        and list(normalizer.axis) == [len(normalizer.input_shape) - 1]
    )
