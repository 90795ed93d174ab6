"""Quantization simulated in training: where LiteRT rounds in a model, and TF-MOT's wrappers that round there.

LiteRT stores kernels as int8 and every tensor between two of its operators as int8 (Jacob et al. 2018,
arXiv:1712.05877). Its converter folds normalisation and ReLU into the convolution before them, so nothing is rounded
in between; TF-MOT's own placement knows a short list of layers only, and refuses models with any other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress_convert import quantize
from edgepress_convert.compress import kept_weights, prepare, surgery
from edgepress_convert.compress.kept_weights import Kept
from edgepress_convert.compress.prepare import Dress, Dressed
from edgepress_convert.plan import Plan
from edgepress_train.keras2 import keras, tfmot

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
_ENDS_IN_RELU = (layers.BatchNormalization, layers.Add, layers.Subtract, layers.Multiply)
# LiteRT gives these activations a range of their own, whatever comes out
_FIXED: dict[str, Range] = {"sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}
_DECAY = 0.99  # of the moving range of an activation
_CHUNK = 16


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


def rounding(model: keras.Model, plan: Plan) -> Rounding:
    """Where LiteRT rounds in the flat `model`, quantized as `plan` says; its layers are those that `prepare.split` left.

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
        if not _known(layer, node):
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
            or isinstance(only, layers.Concatenate)
            or (_is_relu(only) and (type(layer) in KERNELS or isinstance(layer, _ENDS_IN_RELU)))
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


def rounded(
    model: keras.Model, where: Rounding, ranges: Mapping[str, Range], kept: Mapping[str, Kept], plan: Plan
) -> Dressed:
    """The flat `model` with rounding in all places of `where`, to be trained; `ranges` as `observe` gives them.

    Kernels named in `kept` keep what it says. Their variables hold the weights before rounding.
    """
    copies = {layer.name: prepare.copied(layer) for layer in model.layers}

    def dressed(layer: keras.layers.Layer) -> Dress:
        copy = copies[layer.name]
        variables = tuple(copy.weights)
        stage = copy
        if layer.name in where.kernels:
            attribute, axes = KERNELS[type(layer)]
            dense = isinstance(layer, layers.Dense)
            apart = plan.weights == "per-channel" or (plan.weights == "per-tensor-dense" and not dense)
            gain = None if apart or layer.name not in where.folds else _gain(copies[where.folds[layer.name]])
            quantizer = _Weights(axes if apart else (), kept.get(layer.name, Kept()), gain)
            stage = tfmot.quantization.keras.QuantizeWrapperV2(copy, _Config(attribute, quantizer, None))
        if layer.name not in where.outputs:
            return Dress((stage,), variables)
        fixed = where.outputs[layer.name]
        return Dress((stage, _stage(layer.name, fixed or ranges[layer.name], fixed is not None)), variables)

    def entrance(name: str) -> Sequence[keras.layers.Layer]:
        int8 = quantize.scheme(plan.scheme).activations == "int8"
        return (_stage(name, ranges[name], False),) if int8 else ()

    return prepare.dress(model, dressed, entrance)


def _stage(name: str, limits: Range, fixed: bool) -> keras.layers.Layer:
    """A layer that rounds what it is given."""
    nothing = layers.Activation("linear", name=f"{name}_rounded")
    return tfmot.quantization.keras.QuantizeWrapperV2(nothing, _Config("", None, _Activations(limits, fixed)))


def _gain(normalizer: keras.layers.Layer) -> Callable[[], Any]:
    """What folding `normalizer` multiplies each channel of a kernel by: gamma / sqrt(var + eps)."""

    def gain():
        scale = tf.math.rsqrt(normalizer.moving_variance + normalizer.epsilon)
        return scale * normalizer.gamma if normalizer.scale else scale

    return gain


class _Weights(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds a kernel as LiteRT does: to 255 steps, symmetric about zero, of one size along `axes`.

    With `gain` it is the kernel times the gain (of a normalisation that is to be folded into it) that is rounded. Its
    gradient is that of the kernel itself (straight through, Bengio et al. 2013, arXiv:1308.3432). TF-MOT's own
    quantizer gives all channels of a depthwise kernel one step; LiteRT gives each its own.
    """

    def __init__(self, axes: tuple[int, ...], kept: Kept, gain: Callable[[], Any] | None) -> None:
        self.axes, self.kept, self.gain = axes, kept, gain

    def build(self, tensor_shape, name, layer):
        return {}

    def __call__(self, inputs, training, weights, **kwargs):
        kernel = kept_weights.held(inputs, self.kept)
        gain = 1.0
        if self.gain is not None:
            gain = self.gain()
            if kernel.shape[-1] != gain.shape[0]:  # a depthwise kernel (..., inputs, outputs of each)
                gain = tf.reshape(gain, kernel.shape[-2:])
        seen = kernel * gain
        rank = len(kernel.shape)
        others = [axis for axis in range(rank) if axis - rank not in self.axes]
        step = tf.maximum(tf.reduce_max(tf.abs(seen), axis=others, keepdims=True) / 127.0, 1e-12)
        landed = tf.math.divide_no_nan(tf.round(seen / step) * step, gain * tf.ones_like(seen))
        return kernel + tf.stop_gradient(landed - kernel)

    def get_config(self):
        return {}


class _Activations(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds a tensor to 256 steps between two ends, which follow the batches seen in training unless `fixed`.

    TF-MOT's own begins at -6 and 6 and follows at 1/1000, which takes thousands of batches to arrive.
    """

    def __init__(self, limits: Range, fixed: bool) -> None:
        self.limits, self.fixed = limits, fixed

    def build(self, tensor_shape, name, layer):
        low, high = min(self.limits[0], 0.0), max(self.limits[1], 0.0)
        made = {}
        for end, value in (("min", low), ("max", max(high, low + 1e-6))):
            start = keras.initializers.Constant(value)
            made[f"{end}_var"] = layer.add_weight(f"{name}_{end}", initializer=start, trainable=False)
        return made

    def __call__(self, inputs, training, weights, **kwargs):
        low, high = weights["min_var"], weights["max_var"]
        if training and not self.fixed:
            seen = tf.minimum(tf.reduce_min(inputs), 0.0), tf.maximum(tf.reduce_max(inputs), 0.0)
            low.assign(_DECAY * low + (1 - _DECAY) * seen[0])
            high.assign(_DECAY * high + (1 - _DECAY) * seen[1])
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high, num_bits=8)

    def get_config(self):
        return {}


class _Config(tfmot.quantization.keras.QuantizeConfig):
    """What TF-MOT's wrapper rounds of a layer: the kernel called `attribute`, its output, either or both."""

    def __init__(self, attribute: str, kernel: _Weights | None, output: _Activations | None) -> None:
        self.attribute, self.kernel, self.output = attribute, kernel, output

    def get_weights_and_quantizers(self, layer):
        return [] if self.kernel is None else [(getattr(layer, self.attribute), self.kernel)]

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_weights(self, layer, quantize_weights):
        for weight in quantize_weights:
            setattr(layer, self.attribute, weight)

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        return [] if self.output is None else [self.output]

    def get_config(self):
        return {}


def _calls(model: keras.Model) -> list[Any]:
    first = {id(t) for t in model.inputs}
    return [n for n in surgery.calls(model) if not any(id(t) in first for t in tf.nest.flatten(n.outputs))]


def _known(layer: keras.layers.Layer, node: Any) -> bool:
    if type(layer) in KERNELS:
        return getattr(layer, "data_format", "channels_last") == "channels_last"
    # Exact types: what a class derived from them computes is its own affair
    return type(layer) in _SILENT or type(layer) in _ROUNDING or _is_relu(layer) or _joins(layer, node)


def _joins(layer: keras.layers.Layer, node: Any) -> bool:
    """Whether `layer` is a + b, a - b or a * b of two tensors, written as a formula."""
    symbol = getattr(layer, "symbol", None) or ""
    return symbol.rpartition(".")[2] in ("add", "subtract", "multiply") and len(node.keras_inputs) == 2


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
