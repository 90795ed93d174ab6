"""A model in training dress: layers split or wrapped for TF-MOT, and the way back to the plain model.

`surgery.rebuild` opens nested models; what is here then puts one layer or several in the place of each, keeps hold of
the variables that are trained (TF-MOT's wrappers hide them), and writes their values back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress_convert.compress import surgery
from edgepress_train.keras2 import keras

layers = keras.layers
_MOMENTUM = 0.9  # with Keras's 0.99 a third of the old statistics is left after 100 steps
_TOLD = 5  # layers that a sentence names
# Activations that LiteRT computes inside the operator before them
FUSED = ("linear", "relu", "relu6")
_SEPARABLE = {
    layers.SeparableConv1D: (layers.DepthwiseConv1D, layers.Conv1D),
    layers.SeparableConv2D: (layers.DepthwiseConv2D, layers.Conv2D),
}
_WITH_KERNELS = (
    layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv1D, layers.DepthwiseConv2D,
    *_SEPARABLE,
)  # fmt: skip


@dataclass(frozen=True)
class Dress:
    """What stands in the place of a layer: `stages`, called one behind the other on what the layer was called on.

    `variables`: those that hold the layer's own weights, in the order of its `weights`.
    """

    stages: tuple[keras.layers.Layer, ...]
    variables: tuple[tf.Variable, ...]


@dataclass(frozen=True)
class Dressed:
    """`model` is trained; `variables`, by the name of the plain layer, are what was learned."""

    model: keras.Model
    variables: Mapping[str, Sequence[tf.Variable]]

    def values(self) -> dict[str, list[np.ndarray]]:
        """The weights of each plain layer as they are now, by name."""
        return {name: [v.numpy() for v in found] for name, found in self.variables.items()}


def flat(model: keras.Model) -> keras.Model:
    """A plain copy of `model` without nested models. Raises EdgepressError as `surgery.rebuild` does."""
    return surgery.rebuild(model)


def dress(
    plain: keras.Model,
    dressed: Callable[[keras.layers.Layer], Dress],
    entrance: Callable[[str], Sequence[keras.layers.Layer]] = lambda name: (),
) -> Dressed:
    """The flat model `plain` again with `dressed(layer)` in the place of each layer, sharing nothing with it.

    `entrance(name)` gives the layers to put behind the input of that name.
    """
    first = {id(t) for t in plain.inputs}
    inputs = [keras.Input(t.shape[1:], dtype=t.dtype, name=t.node.layer.name) for t in plain.inputs]
    seen: dict[int, Any] = {}

    def fed(value: Any) -> Any:
        return seen.get(id(value), value)

    for old, new in zip(plain.inputs, inputs, strict=True):
        seen[id(old)] = new
        for layer in entrance(old.node.layer.name):
            seen[id(old)] = layer(seen[id(old)])
    made: dict[str, Dress] = {}
    for node in surgery.calls(plain):
        if any(id(t) in first for t in tf.nest.flatten(node.outputs)):
            continue
        layer = node.layer
        if layer.name not in made:
            made[layer.name] = dressed(layer)
        args, kwargs = tf.nest.map_structure(fed, (tuple(node.call_args), dict(node.call_kwargs)))
        outputs: Any = args[0] if args else None
        for place, stage in enumerate(made[layer.name].stages):
            outputs = stage(outputs) if place else stage(*args, **kwargs)
        seen |= {id(a): b for a, b in zip(tf.nest.flatten(node.outputs), tf.nest.flatten(outputs), strict=True)}
    ends = [seen[id(t)] for t in plain.outputs]
    model = keras.Model(_bare(inputs), _bare(ends), name=plain.name)
    return Dressed(model, {name: one.variables for name, one in made.items()})


def undress(plain: keras.Model, values: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Give the layers of `plain` the weights `values`, by name."""
    for layer in plain.layers:
        if layer.weights and layer.name in values:
            layer.set_weights(values[layer.name])


def copied(layer: keras.layers.Layer, **changes: Any) -> keras.layers.Layer:
    """A built copy of `layer` with its weights, to be trained; `changes` override entries of its configuration.

    Passes move the statistics of normalisation, and train for hundreds of steps: its momentum is at most 0.9.
    """
    copy = type(layer).from_config({**layer.get_config(), **changes})
    if layer.weights:
        if not copy.built:
            with tf.name_scope(copy.name):
                copy.build_from_config(layer.get_build_config())
        copy.set_weights(layer.get_weights())
    if isinstance(copy, layers.BatchNormalization):
        copy.momentum = min(copy.momentum, _MOMENTUM)
    return copy


def bare(layer: keras.layers.Layer) -> Dress:
    """`layer` as it is, copied."""
    copy = copied(layer)
    return Dress((copy,), tuple(copy.weights))


def split(layer: keras.layers.Layer) -> Dress:
    """`layer` in the parts that LiteRT computes one by one, so that each has an output of its own.

    A separable convolution becomes a depthwise and a pointwise one; an activation other than those in FUSED becomes a
    layer `NAME_ACTIVATION`.
    """
    name = activation(layer)
    after: tuple[keras.layers.Layer, ...] = ()
    changes: dict[str, Any] = {}
    if name is not None and name not in FUSED and has_kernel(layer):
        after = (layers.Activation(layer.activation, name=f"{layer.name}_{name}"),)
        changes = {"activation": "linear"}
    if type(layer) not in _SEPARABLE or layer.padding == "causal":
        copy = copied(layer, **changes)
        return Dress((copy, *after), tuple(copy.weights))
    one, two = _SEPARABLE[type(layer)]
    across = one(
        layer.kernel_size,
        layer.strides,
        layer.padding,
        depth_multiplier=layer.depth_multiplier,
        data_format=layer.data_format,
        dilation_rate=layer.dilation_rate,
        use_bias=False,
        trainable=layer.trainable,
        name=f"{layer.name}_depthwise",
    )
    along = two(
        layer.filters,
        1,
        data_format=layer.data_format,
        activation="linear" if after else layer.activation,
        use_bias=layer.use_bias,
        trainable=layer.trainable,
        name=layer.name,
    )
    depthwise, pointwise, *bias = layer.get_weights()
    for part, kernels in ((across, [depthwise]), (along, [pointwise, *bias])):
        axis = -1 if layer.data_format == "channels_last" else 1
        shape = [None] * (len(layer.kernel_size) + 2)
        shape[axis] = kernels[0].shape[-2]
        with tf.name_scope(part.name):
            part.build(tuple(shape))
        part.set_weights(kernels)
    return Dress((across, along, *after), (*across.weights, *along.weights))


def has_kernel(layer: keras.layers.Layer) -> bool:
    """Whether `layer` is a convolution of any kind, or a dense layer."""
    return isinstance(layer, _WITH_KERNELS)


def activation(layer: keras.layers.Layer) -> str | None:
    """The name of the activation that `layer` ends in, None for a layer that has no such thing."""
    function = getattr(layer, "activation", None)
    return None if function is None else getattr(function, "__name__", type(function).__name__)


def listed(found: Sequence[keras.layers.Layer]) -> str:
    """Layers with their kinds, for a sentence; the first few of many."""
    words = [f"{layer.name} ({type(layer).__name__})" for layer in found[:_TOLD]]
    return ", ".join(words) + (f" and {len(found) - _TOLD} more" if len(found) > _TOLD else "")


def _bare(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
