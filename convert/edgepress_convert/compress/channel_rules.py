"""What each kind of layer does with channels. A layer that is not in `RULES` keeps those that it meets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress_convert.compress.units import Call, Walk
from edgepress_train.keras2 import keras

layers = keras.layers
Rule = Callable[[Walk, Call], Sequence[np.ndarray]]

# Functions of one number; what they are called in Keras and in tf.nn
_POINTWISE = {
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "swish", "silu", "sigmoid", "hard_sigmoid", "tanh",
    "softplus", "softsign", "exponential", "mish",
}  # fmt: skip


def unknown(walk: Walk, call: Call) -> list[np.ndarray]:
    """Whatever goes in stays, and so does whatever comes out."""
    kind = getattr(call.layer, "symbol", None) or type(call.layer).__name__
    why = f"edgepress does not know what {kind} does with channels"
    if getattr(call.layer, "data_format", "channels_last") != "channels_last":
        why = "its channels do not come last"
    for labels in call.inputs:
        walk.freeze(labels, call.layer.name, why)
    made = [walk.fresh(shape[-1]) for shape in call.out_shapes]
    for labels in made:
        walk.freeze(labels, call.layer.name, why)
    return made


def _pass(walk: Walk, call: Call) -> list[np.ndarray]:
    """Every channel by itself, at whatever places."""
    return [call.inputs[0]]


def _mix(walk: Walk, call: Call) -> list[np.ndarray]:
    """A sum over channels stands in each of them: without a silent channel the others would change."""
    why = f"{type(call.layer).__name__} reckons with all channels at once"
    walk.freeze(call.inputs[0], call.layer.name, why)
    return [call.inputs[0]]


def _activated(walk: Walk, call: Call, labels: np.ndarray) -> list[np.ndarray]:
    activation = call.layer.activation
    name = getattr(activation, "__name__", type(activation).__name__)
    if name not in _POINTWISE and RULES.get(type(activation)) is not _pass:
        walk.freeze(labels, call.layer.name, f"its activation {name} may reckon with all channels at once")
    return [labels]


def _activation(walk: Walk, call: Call) -> list[np.ndarray]:
    return _activated(walk, call, call.inputs[0])


def _convolution(walk: Walk, call: Call) -> list[np.ndarray]:
    """Kernel (*size, in / groups, out). All groups lose the same positions, so that they stay equally large."""
    layer, given = call.layer, call.inputs[0]
    made = walk.make(call, layer.filters, "filters")
    for labels in (given, made):
        parts = np.split(labels, layer.groups)
        for part in parts[1:]:
            walk.join(parts[0], part)
    walk.slot(call, layer.kernel, layer.rank, given[: len(given) // layer.groups], "in")
    walk.slot(call, layer.kernel, layer.rank + 1, made, "out")
    walk.slot(call, layer.bias, 0, made, "each")
    walk.kernel(call, layer.kernel, call.places)
    return _activated(walk, call, made)


def _transposed(walk: Walk, call: Call) -> list[np.ndarray]:
    """Kernel (*size, out, in), met by every place of the input."""
    layer = call.layer
    if layer.groups != 1:
        return unknown(walk, call)
    made = walk.make(call, layer.filters, "filters")
    walk.slot(call, layer.kernel, layer.rank + 1, call.inputs[0], "in")
    walk.slot(call, layer.kernel, layer.rank, made, "out")
    walk.slot(call, layer.bias, 0, made, "each")
    walk.kernel(call, layer.kernel, math.prod(call.in_shapes[0][:-1]))
    return _activated(walk, call, made)


def _depthwise(walk: Walk, call: Call) -> list[np.ndarray]:
    """Kernel (*size, in, multiplier); the outputs of one channel lie side by side."""
    layer = call.layer
    made = np.repeat(call.inputs[0], layer.depth_multiplier)
    walk.slot(call, layer.depthwise_kernel, layer.rank, call.inputs[0], "each")
    walk.slot(call, layer.bias, 0, made, "each")
    walk.kernel(call, layer.depthwise_kernel, call.places)
    return _activated(walk, call, made)


def _separable(walk: Walk, call: Call) -> list[np.ndarray]:
    """A depthwise kernel (*size, in, multiplier) and a pointwise one (*1, in x multiplier, out)."""
    layer, given = call.layer, call.inputs[0]
    made = walk.make(call, layer.filters, "filters")
    walk.slot(call, layer.depthwise_kernel, layer.rank, given, "each")
    walk.slot(call, layer.pointwise_kernel, layer.rank, np.repeat(given, layer.depth_multiplier), "in")
    walk.slot(call, layer.pointwise_kernel, layer.rank + 1, made, "out")
    walk.slot(call, layer.bias, 0, made, "each")
    walk.kernel(call, layer.depthwise_kernel, call.places)
    walk.kernel(call, layer.pointwise_kernel, call.places)
    return _activated(walk, call, made)


def _dense(walk: Walk, call: Call) -> list[np.ndarray]:
    layer = call.layer
    made = walk.make(call, layer.units, "units")
    walk.slot(call, layer.kernel, 0, call.inputs[0], "in")
    walk.slot(call, layer.kernel, 1, made, "out")
    walk.slot(call, layer.bias, 0, made, "each")
    walk.kernel(call, layer.kernel, call.places)
    return _activated(walk, call, made)


def _batch_norm(walk: Walk, call: Call) -> list[np.ndarray]:
    layer, labels = call.layer, call.inputs[0]
    if list(layer.axis) != [len(call.in_shapes[0])]:
        return _mix(walk, call)
    for variable in layer.weights:
        walk.slot(call, variable, 0, labels, "each")
    return [labels]


def _prelu(walk: Walk, call: Call) -> list[np.ndarray]:
    axis = len(call.layer.alpha.shape) - 1
    if call.layer.alpha.shape[axis] == len(call.inputs[0]):
        walk.slot(call, call.layer.alpha, axis, call.inputs[0], "each")
    return [call.inputs[0]]


def _softmax(walk: Walk, call: Call) -> list[np.ndarray]:
    rank = len(call.in_shapes[0]) + 1
    axes = {axis % rank for axis in np.atleast_1d(call.layer.axis).tolist()}
    return _mix(walk, call) if rank - 1 in axes else _pass(walk, call)


def _reshaped(walk: Walk, call: Call) -> list[np.ndarray]:
    """Reshape and Flatten: fine as long as every row of the result holds the same channels in the same order."""
    (labels,), (before,), (after,) = call.inputs, call.in_shapes, call.out_shapes
    rows = np.broadcast_to(labels, before).reshape(-1, after[-1])
    if (rows != rows[0]).any():
        walk.freeze(labels, call.layer.name, "it moves channels to other axes")
        return [_kept(walk, call, "it moves channels to other axes")]
    if isinstance(call.layer, layers.Reshape):
        walk.reshape(call, rows[0])
    return [rows[0]]


def _kept(walk: Walk, call: Call, why: str) -> np.ndarray:
    made = walk.fresh(call.out_shapes[0][-1])
    walk.freeze(made, call.layer.name, why)
    return made


def _permuted(walk: Walk, call: Call) -> list[np.ndarray]:
    if call.layer.dims[-1] == len(call.layer.dims):
        return _pass(walk, call)
    walk.freeze(call.inputs[0], call.layer.name, "it moves channels to other axes")
    return [_kept(walk, call, "it moves channels to other axes")]


def _sum(walk: Walk, call: Call) -> list[np.ndarray]:
    return [_met(walk, call, product=False)]


def _product(walk: Walk, call: Call) -> list[np.ndarray]:
    return [_met(walk, call, product=True)]


def _met(walk: Walk, call: Call, *, product: bool) -> np.ndarray:
    """Channel by channel. One channel that meets many stays; added to a silent one it would still be heard."""
    wide = max(call.inputs, key=len)
    for labels in call.inputs:
        if len(labels) == len(wide):
            walk.join(wide, labels)
            continue
        walk.freeze(labels, call.layer.name, "it spreads one channel over many")
        if not product:
            walk.freeze(wide, call.layer.name, "it adds one channel to many")
    return wide


def _concatenated(walk: Walk, call: Call) -> list[np.ndarray]:
    return _joined(walk, call, call.layer.axis)


def _joined(walk: Walk, call: Call, axis: int) -> list[np.ndarray]:
    rank = len(call.out_shapes[0]) + 1
    if axis % rank == rank - 1:
        return [np.concatenate(call.inputs)]
    return _sum(walk, call)


_OPS_OF_ONE = {
    "nn.relu", "nn.relu6", "nn.leaky_relu", "nn.elu", "nn.selu", "nn.silu", "nn.gelu", "nn.softplus", "nn.softsign",
    "math.sigmoid", "math.tanh", "math.abs", "math.exp", "math.square", "math.negative", "identity", "stop_gradient",
    "clip_by_value", "cast",
}  # fmt: skip
_OPS_OF_TWO = {
    "math.add", "__operators__.add", "math.subtract", "__operators__.sub", "math.maximum", "math.minimum",
}  # fmt: skip
_PRODUCTS = {"math.multiply", "__operators__.mul"}
_QUOTIENTS = {"math.divide", "math.truediv", "__operators__.truediv"}


def _operator(walk: Walk, call: Call) -> list[np.ndarray]:
    """A TensorFlow function in the net, as `tf.maximum(x, -0.4)`, with constants that are alike for all channels."""
    symbol, many = call.layer.symbol, len(call.inputs) > 1
    given = tf.nest.flatten((call.node.call_args, call.node.call_kwargs))
    if symbol == "concat" and many:
        arguments = dict(zip(("values", "axis"), call.node.call_args, strict=False)) | call.node.call_kwargs
        return _joined(walk, call, int(arguments["axis"]))
    if symbol not in _OPS_OF_ONE | _OPS_OF_TWO | _PRODUCTS | _QUOTIENTS or (many and symbol in _QUOTIENTS):
        return unknown(walk, call)
    if any(_varies(value) for value in given) or len(call.out_shapes[0]) < max(map(len, call.in_shapes)):
        return unknown(walk, call)
    if many:
        return [_met(walk, call, product=symbol in _PRODUCTS)]
    return _pass(walk, call) if len(call.inputs[0]) == call.out_shapes[0][-1] else unknown(walk, call)


def _varies(value: Any) -> bool:
    """Whether a constant may be another for another channel."""
    if tf.is_tensor(value) and hasattr(value, "node"):
        return False  # of the net, no constant
    return not isinstance(value, (str, tf.DType, type(None))) and np.size(value) > 1


def _rescaled(walk: Walk, call: Call) -> list[np.ndarray]:
    plain = np.size(call.layer.scale) == 1 and np.size(call.layer.offset) == 1
    return _pass(walk, call) if plain else unknown(walk, call)


_EACH_BY_ITSELF = (
    "ActivityRegularization", "AlphaDropout", "AveragePooling1D", "AveragePooling2D", "CenterCrop", "Cropping1D",
    "Cropping2D", "Dropout", "ELU", "GaussianDropout", "GaussianNoise", "GlobalAveragePooling1D",
    "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "Identity", "LeakyReLU", "MaxPooling1D",
    "MaxPooling2D", "ReLU", "RepeatVector", "Resizing", "SpatialDropout1D", "SpatialDropout2D", "ThresholdedReLU",
    "UpSampling1D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D",
)  # fmt: skip

# The very classes: what is derived from them may do anything
RULES: dict[type, Rule] = {
    **{getattr(layers, name): _pass for name in _EACH_BY_ITSELF},
    layers.Conv1D: _convolution,
    layers.Conv2D: _convolution,
    layers.Conv3D: _convolution,
    layers.Conv1DTranspose: _transposed,
    layers.Conv2DTranspose: _transposed,
    layers.DepthwiseConv1D: _depthwise,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv1D: _separable,
    layers.SeparableConv2D: _separable,
    layers.Dense: _dense,
    layers.BatchNormalization: _batch_norm,
    layers.LayerNormalization: _mix,
    layers.UnitNormalization: _mix,
    layers.Softmax: _softmax,
    layers.PReLU: _prelu,
    layers.Activation: _activation,
    layers.Rescaling: _rescaled,
    layers.Flatten: _reshaped,
    layers.Reshape: _reshaped,
    layers.Permute: _permuted,
    layers.Add: _sum,
    layers.Subtract: _sum,
    layers.Average: _sum,
    layers.Maximum: _sum,
    layers.Minimum: _sum,
    layers.Multiply: _product,
    layers.Concatenate: _concatenated,
}


def rule_of(layer: keras.layers.Layer) -> Rule:
    """The rule of a layer; `unknown` where there is none."""
    if type(layer).__name__ == "TFOpLambda":  # a class that Keras does not give out
        return _operator
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return unknown
    return RULES.get(type(layer), unknown)
