"""A functional Keras model built anew: nested models flattened, layers with other settings, weights of other sizes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras


def rebuild(
    model: keras.Model,
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    weights: Mapping[str, Sequence[np.ndarray]] | None = None,
) -> keras.Model:
    """A functional copy of `model` that shares nothing with it; models nested in it are laid out in the copy.

    `settings`: layer name -> entries of its configuration that change. `weights`: layer name -> its weights in the
    order of `layer.weights`; layers that are not named keep theirs. Names are kept, save where a nested model's layer
    has the name of another: it gets that of its model in front. Raises EdgepressError for a model that is not made of
    a graph of layers, or a layer that cannot be made from its configuration.
    """
    if not _is_graph(model):
        raise EdgepressError(
            f"{model.name} is no functional or sequential model, so its layers cannot be taken apart",
            "build it with keras.Model(inputs, outputs), or give it an input shape",
        )
    return _Rebuilt(settings or {}, weights or {}).copy(model)


def calls(model: keras.Model) -> tuple[Any, ...]:
    """Every call of a layer that `model`'s outputs depend on, each after those it needs: Keras's nodes.

    A node has `layer`, `keras_inputs`, `outputs`, `call_args` and `call_kwargs`.
    """
    order: dict[int, Any] = {}
    pending = [(tensor.node, False) for tensor in reversed(model.outputs)]
    first = {id(tensor) for tensor in model.inputs}
    while pending:
        node, ready = pending.pop()
        if id(node) in order:
            continue
        if ready:
            order[id(node)] = node
            continue
        pending.append((node, True))
        if not any(id(tensor) in first for tensor in tf.nest.flatten(node.outputs)):
            pending += [(tensor.node, False) for tensor in reversed(node.keras_inputs)]
    return tuple(order.values())


def _is_graph(model: keras.Model) -> bool:
    return isinstance(model, keras.Model) and bool(getattr(model, "_is_graph_network", False)) and bool(model.inputs)


class _Rebuilt:
    def __init__(self, settings: Mapping[str, Mapping[str, Any]], weights: Mapping[str, Sequence[np.ndarray]]) -> None:
        self.settings, self.weights = settings, weights
        self.copies: dict[int, keras.layers.Layer] = {}
        self.names: set[str] = set()

    def copy(self, model: keras.Model) -> keras.Model:
        self.names = {layer.name for layer in model.layers}  # these keep their names, nested ones give way
        inputs = [self._copied(tensor.node.layer, "").output for tensor in model.inputs]
        outputs = self._play(model, inputs, {}, "")
        for original, made in self._pairs(model):
            made.set_weights(self.weights.get(made.name) or original.get_weights())
            made.finalize_state()  # for Normalization, which computes from its weights what it works with
        # A model of one output gives it bare, not in a list
        return keras.Model(inputs[0] if len(inputs) == 1 else inputs, _bare(outputs), name=model.name)

    def _play(self, model: keras.Model, inputs: list[Any], given: Mapping[str, Any], prefix: str) -> list[Any]:
        """The outputs of copies of `model`'s layers, called on `inputs` as the originals were on its own."""
        tensors = {id(old): new for old, new in zip(model.inputs, inputs, strict=True)}
        for node in calls(model):
            if all(id(tensor) in tensors for tensor in tf.nest.flatten(node.outputs)):
                continue
            args, kwargs = _arguments(node, tensors)
            layer = node.layer
            if _is_graph(layer):
                passed = {**given, **({"training": kwargs["training"]} if kwargs.get("training") is not None else {})}
                fed = tf.nest.flatten(args[0] if args else next(iter(kwargs.values())))
                results = self._play(layer, fed, passed, f"{prefix}{layer.name}_")
            else:
                accepted = inspect.signature(layer.call).parameters
                extra = {key: value for key, value in given.items() if key in accepted and kwargs.get(key) is None}
                results = tf.nest.flatten(self._copied(layer, prefix)(*args, **{**kwargs, **extra}))
            tensors |= {id(old): new for old, new in zip(tf.nest.flatten(node.outputs), results, strict=True)}
        return [tensors[id(tensor)] for tensor in model.outputs]

    def _copied(self, layer: keras.layers.Layer, prefix: str) -> keras.layers.Layer:
        if id(layer) not in self.copies:
            name = prefix + layer.name if prefix and layer.name in self.names else layer.name
            self.names.add(name)
            try:
                config = {**layer.get_config(), "name": name}
                self.copies[id(layer)] = type(layer).from_config({**config, **self.settings.get(name, {})})
            except (NotImplementedError, TypeError, ValueError) as error:
                raise EdgepressError(
                    f"layer {layer.name} ({type(layer).__name__}) cannot be made anew from its configuration: "
                    f"{str(error).splitlines()[0]}",
                    "give it a get_config that holds all arguments of its constructor",
                ) from None
        return self.copies[id(layer)]

    def _pairs(self, model: keras.Model) -> Iterator[tuple[keras.layers.Layer, keras.layers.Layer]]:
        for layer in model.layers:
            if _is_graph(layer):
                yield from self._pairs(layer)
            elif id(layer) in self.copies and layer.weights:
                yield layer, self.copies[id(layer)]


def _arguments(node: Any, tensors: Mapping[int, Any]) -> Any:
    """What `node` was called with, (args, kwargs), with other tensors in the place of those in `tensors`, by id."""
    return tf.nest.map_structure(
        lambda value: tensors.get(id(value), value), (tuple(node.call_args), dict(node.call_kwargs))
    )


def _bare(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
