"""A net as a board computes it: batch normalisation inside the convolutions, nested models opened, all else the same.

Folding (Jacob et al. 2018, arXiv:1712.05877, eq. 14): w' = g w, b' = g (b - mean) + beta, g = gamma / sqrt(var + eps).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress_convert.compress import prepare, surgery
from edgepress_convert.compress.prepare import Dress
from edgepress_train.keras2 import keras

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_CHUNK = 64


def fold(model: keras.Model) -> keras.Model:
    """A copy of `model` without nested models, separable convolutions (split in two) and foldable normalisation.

    Every convolution and dense layer of the copy has a bias. A BatchNormalization is folded when it is all that reads
    a layer without activation; others stay as they are. Layers keep their names, as `surgery.rebuild` keeps them; the
    depthwise half of a separable layer is called `NAME_depthwise`. Answers stay equal up to rounding. Raises
    EdgepressError as `surgery.rebuild` does.
    """
    nested = any(isinstance(layer, keras.Model) for layer in model.layers)
    plain = prepare.flat(model) if nested or not model._is_graph_network else model
    normalizers = _foldable(plain)
    gone = {id(layer) for layer in normalizers.values()}
    weights: dict[str, list[np.ndarray]] = {}

    def dressed(layer: keras.layers.Layer) -> Dress:
        if id(layer) in gone:
            return Dress((), ())
        stages: list[keras.layers.Layer] = []
        for part in prepare.split(layer).stages if isinstance(layer, _SEPARABLE) else (layer,):
            if not has_kernel(part):
                stages += prepare.bare(part).stages
                continue
            kernel, bias = kernel_and_bias(part)
            if part.name in normalizers:
                gain, mean, beta = _affine(normalizers[part.name])
                kernel, bias = scaled(part, kernel, outs=gain), (bias - mean) * gain + beta
            weights[part.name] = [kernel.astype(np.float32), bias.astype(np.float32)]
            stages.append(type(part).from_config({**part.get_config(), "use_bias": True}))
        return Dress(tuple(stages), ())

    folded = prepare.dress(plain, dressed).model
    prepare.undress(folded, weights)
    return folded


def calls(model: keras.Model) -> list[Any]:
    """Every call of a layer in `model` but those of its inputs, each after those it needs."""
    first = {id(t) for t in model.inputs}
    return [n for n in surgery.calls(model) if not any(id(t) in first for t in tf.nest.flatten(n.outputs))]


def has_kernel(layer: keras.layers.Layer) -> bool:
    """Whether `layer` is a convolution (grouped, depthwise, transposed) or a dense layer."""
    kinds = (*_CONVOLUTIONS, *_DEPTHWISE, keras.layers.Dense)
    return isinstance(layer, kinds) and not isinstance(layer, _SEPARABLE)


def grouped(layer: keras.layers.Layer, kernel: np.ndarray) -> np.ndarray:
    """`kernel`, as Keras holds it, as (places, groups, inputs of a group, outputs of a group), whatever the layer.

    Input channel c of a layer is `[:, c // inputs, c % inputs]`; output channel c likewise on the last axis.
    """
    if isinstance(layer, _DEPTHWISE):
        return kernel.reshape(-1, kernel.shape[-2], 1, kernel.shape[-1])
    if isinstance(layer, _TRANSPOSED):
        kernel = np.swapaxes(kernel, -1, -2)
    groups = getattr(layer, "groups", 1)
    inputs, outputs = kernel.shape[-2:]
    return kernel.reshape(-1, inputs, groups, outputs // groups).swapaxes(1, 2)


def kernel_and_bias(layer: keras.layers.Layer) -> tuple[np.ndarray, np.ndarray]:
    """The kernel as Keras holds it, and the bias (output channels,), zero where there is none; float64."""
    kernel, *rest = (values.astype(np.float64) for values in layer.get_weights())
    _, groups, _, outputs = grouped(layer, kernel).shape
    return kernel, rest[0] if rest else np.zeros(groups * outputs)


def scaled(
    layer: keras.layers.Layer, kernel: np.ndarray, *, ins: np.ndarray | None = None, outs: np.ndarray | None = None
) -> np.ndarray:
    """`kernel` times `ins` (input channels,) and `outs` (output channels,), in its own shape."""
    product = np.array(kernel)
    view = grouped(layer, product)
    assert np.shares_memory(view, product)  # so that what is done to the one is done to the other
    _, groups, inputs, outputs = view.shape
    if ins is not None:
        view *= np.reshape(ins, (1, groups, inputs, 1))
    if outs is not None:
        view *= np.reshape(outs, (1, groups, 1, outputs))
    return product


def without_ceilings(model: keras.Model, examples: np.ndarray) -> tuple[keras.Model, tuple[str, ...], tuple[str, ...]]:
    """`model` with plain ReLUs in the place of those ReLU6 whose ceiling none of `examples` (n, *input) reaches.

    With the names of the layers that were replaced, and of those that were not since some value is cut there. What the
    model answers to `examples` stays the same.
    """
    capped = {layer.name: layer for layer in model.layers if ceiling(layer) is not None}
    if not capped:
        return model, (), ()
    highest = dict.fromkeys(capped, -np.inf)
    probe = keras.Model(model.inputs, [layer.get_input_at(0) for layer in capped.values()])
    for start in range(0, len(examples), _CHUNK):
        seen = tf.nest.flatten(probe(examples[start : start + _CHUNK], training=False))
        for name, values in zip(capped, seen, strict=True):
            highest[name] = max(highest[name], float(tf.reduce_max(values)))
    free = tuple(name for name, layer in capped.items() if highest[name] <= (ceiling(layer) or 0.0))
    settings = {
        name: {"max_value": None} if isinstance(capped[name], keras.layers.ReLU) else {"activation": "relu"}
        for name in free
    }
    plain = surgery.rebuild(model, settings=settings) if free else model
    return plain, free, tuple(name for name in capped if name not in free)


def ceiling(layer: keras.layers.Layer) -> float | None:
    """Where a ReLU that ends somewhere ends, None for any other layer."""
    if isinstance(layer, keras.layers.ReLU) and not layer.threshold and not layer.negative_slope:
        return None if layer.max_value is None else float(layer.max_value)
    if isinstance(layer, keras.layers.Activation) and getattr(layer.activation, "__name__", "") == "relu6":
        return 6.0
    return None


def _foldable(model: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """By the name of the layer that it folds into: each normalisation that is called once, on what one layer puts out.

    That layer must end in no activation, and nothing else may read it.
    """
    order = calls(model)
    times = Counter(id(node.layer) for node in order)
    readers = Counter(id(t) for node in order for t in tf.nest.flatten(node.keras_inputs))
    readers.update(id(t) for t in model.outputs)
    maker = {id(t): node.layer for node in order for t in tf.nest.flatten(node.outputs)}
    found = {}
    for node in order:
        source = node.keras_inputs[0]
        layer = maker.get(id(source))
        if (
            isinstance(node.layer, keras.layers.BatchNormalization)
            and layer is not None
            and (has_kernel(layer) or (isinstance(layer, _SEPARABLE) and layer.padding != "causal"))
            and times[id(node.layer)] == times[id(layer)] == readers[id(source)] == 1
            and list(node.layer.axis) == [len(source.shape) - 1]
            and getattr(layer, "data_format", "channels_last") == "channels_last"
            and getattr(layer.activation, "__name__", "") == "linear"
        ):
            found[layer.name] = node.layer
    return found


def _affine(layer: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gain, mean and offset of a trained normalisation, (channels,) float64 each."""
    weights = [w.astype(np.float64) for w in layer.get_weights()]
    gamma = weights.pop(0) if layer.scale else 1.0
    beta = weights.pop(0) if layer.center else 0.0
    mean, variance = weights
    return gamma / np.sqrt(variance + layer.epsilon), mean, np.broadcast_to(beta, mean.shape)
