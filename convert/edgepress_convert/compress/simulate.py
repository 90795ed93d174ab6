"""Quantization simulated in training: TF-MOT's wrappers around the layers of a model, with LiteRT's way to round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from edgepress_convert import quantize
from edgepress_convert.compress import kept_weights, prepare
from edgepress_convert.compress.kept_weights import Kept
from edgepress_convert.compress.prepare import Dress, Dressed
from edgepress_convert.compress.rounding import KERNELS, Range, Rounding
from edgepress_convert.plan import Plan
from edgepress_train.keras2 import keras, tfmot

layers = keras.layers
_DECAY = 0.95  # of the moving range of an activation


def rounded(
    model: keras.Model, where: Rounding, ranges: Mapping[str, Range], kept: Mapping[str, Kept], plan: Plan
) -> Dressed:
    """The flat `model`, to be trained, rounded in all places of `where`; `ranges` as `rounding.observe` gives them.

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
