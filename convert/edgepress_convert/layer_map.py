"""Which operators of a .tflite compute which layer of the Keras model that it was made from.

The converter folds normalisation into convolutions, fuses activations, drops layers that do nothing and renames the
rest, so names tell little. Values tell all: the tensor that equals a layer's output on some examples is that output,
and the operators between the outputs of two layers belong to the later one. Names decide between equal tensors only.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgepress_convert import flatbuffer
from edgepress_convert.flatbuffer import Graph
from edgepress_convert.tensors import open_glass
from edgepress_runtime.errors import EdgepressError

if TYPE_CHECKING:
    from edgepress_train.keras2 import keras

_EXAMPLES = 2
_TOLERANCE = 1e-3  # of the largest value: floats differ by a few 1e-6 a layer, what is not the same by far more


@dataclass(frozen=True)
class Unit:
    """Operators of the main graph, by their places, that one or several `layers` were made into.

    A convolution with its normalisation and activation is one unit of three layers, the first of which gives its name.
    """

    layers: tuple[str, ...]
    ops: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.layers[0]


@dataclass(frozen=True)
class LayerMap:
    """The `units` of a model in the order in which they run, and the `idle` layers that nothing computes, as inputs."""

    units: tuple[Unit, ...]
    idle: tuple[str, ...] = ()

    def of(self, layer: str) -> tuple[Unit, ...]:
        """The units that compute `layer`, several if it is called several times. Raises EdgepressError."""
        found = tuple(unit for unit in self.units if layer in unit.layers)
        if found:
            return found
        if layer in self.idle:
            raise EdgepressError(f"layer {layer!r} computes nothing, so it cannot be kept apart", "name another layer")
        known = list(dict.fromkeys(name for unit in self.units for name in unit.layers))
        near = difflib.get_close_matches(layer, known, 1)
        raise EdgepressError(
            f"the model has no layer {layer!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            f"its layers: {', '.join(known)}",
        )


@dataclass(frozen=True)
class _Call:
    """One output of one call of a layer: what it was on the examples, and the Keras tensors that go in and come out."""

    layer: str
    value: np.ndarray
    sources: tuple[int, ...]
    target: int


def trace(model: keras.Model, float_model: bytes, examples: np.ndarray) -> LayerMap:
    """The layers of `model` in `float_model`, its float32 .tflite, told apart by what they give for two `examples`.

    `model` is a functional or sequential Keras 2 model; layers of nested models count as its own, under the names that
    `surgery.rebuild` gives them. Raises EdgepressError for another model.
    """
    graph = flatbuffer.graphs(float_model)[0]
    examples = examples[np.unique(np.linspace(0, len(examples) - 1, _EXAMPLES).astype(np.int64))]
    calls = _calls(model, examples)
    tensors = _tensors(float_model, graph, examples)
    ends: dict[int, set[str]] = {graph.outputs[0]: {calls[-1].layer}}  # a tensor -> layers that end with it
    missing = []
    for n, call in enumerate(calls):
        tensor = _match(call, tensors, graph)
        if tensor is None:
            missing.append(n)
        else:
            ends.setdefault(tensor, set()).add(call.layer)
    places = {name: end for end, names in ends.items() for name in names}
    for n in reversed(missing):  # its numbers appear later only, behind what it was fused with
        readers = [c.layer for c in calls[n + 1 :] if calls[n].target in c.sources and c.layer in places]
        for reader in readers[:1]:
            ends[places[reader]].add(calls[n].layer)
            places.setdefault(calls[n].layer, places[reader])
    owners = _owners(graph, ends)
    order = {call.layer: n for n, call in reversed(list(enumerate(calls)))}
    units = []
    for end, names in ends.items():
        ops = tuple(n for n, owner in enumerate(owners) if owner == end)
        if ops:
            units.append(Unit(tuple(sorted(names, key=order.__getitem__)), ops))
    units.sort(key=lambda unit: unit.ops)
    busy = {name for unit in units for name in unit.layers}
    return LayerMap(tuple(units), tuple(name for name in order if name not in busy))


def _calls(model: keras.Model, examples: np.ndarray) -> tuple[_Call, ...]:
    import tensorflow as tf

    from edgepress_convert.compress import surgery
    from edgepress_train.keras2 import keras

    nested = any(isinstance(layer, keras.Model) for layer in getattr(model, "layers", ()))
    if nested or not getattr(model, "_is_graph_network", False):
        model = surgery.rebuild(model)
    nodes = surgery.calls(model)
    targets = [tensor for node in nodes for tensor in tf.nest.flatten(node.outputs)]
    given = [np.asarray(value) for value in keras.Model(model.inputs, [*targets, targets[0]])(examples, training=False)]
    values = dict(zip(map(id, targets), given, strict=False))
    return tuple(
        _Call(node.layer.name, values[id(tensor)], tuple(id(source) for source in node.keras_inputs), id(tensor))
        for node in nodes
        for tensor in tf.nest.flatten(node.outputs)
    )


def _tensors(model: bytes, graph: Graph, examples: np.ndarray) -> dict[int, np.ndarray]:
    """Every activation (n, ...) of the float model, in the order in which they are computed."""
    interpreter = open_glass(model)
    watched = list(dict.fromkeys([*graph.inputs, *(i for op in graph.ops for i in op.outputs)]))
    found: dict[int, list[np.ndarray]] = {i: [] for i in watched}
    for example in examples:
        interpreter.reset_all_variables()
        interpreter.set_tensor(graph.inputs[0], example[np.newaxis].astype(np.float32))
        interpreter.invoke()
        for i in watched:
            found[i].append(interpreter.get_tensor(i))
    return {i: np.stack(values) for i, values in found.items()}


def _match(call: _Call, tensors: dict[int, np.ndarray], graph: Graph) -> int | None:
    """The tensor that holds the output of `call`: of its own shape if there is one, then with its name, then first."""
    wanted = call.value.astype(np.float64)
    allowed = _TOLERANCE * max(float(np.abs(wanted).max(initial=0.0)), 1e-6)
    equal = []
    for n, (index, value) in enumerate(tensors.items()):
        if value.size != wanted.size or value.dtype.kind != "f":
            continue
        if float(np.abs(value.reshape(wanted.shape) - wanted).max(initial=0.0)) <= allowed:
            named = call.layer in graph.tensors[index].name.replace(";", "/").split("/")
            same_shape = graph.tensors[index].shape[1:] == wanted.shape[1:]
            equal.append((not same_shape, not named, n, index))
    return min(equal)[-1] if equal else None


def _owners(graph: Graph, ends: dict[int, set[str]]) -> Sequence[int | None]:
    """For each operator, the end that it works for: the first one behind it."""
    owners: list[int | None] = [None] * len(graph.ops)
    readers: dict[int, int] = {}  # a tensor -> the first operator that reads it
    for n in reversed(range(len(graph.ops))):
        op = graph.ops[n]
        own = [i for i in op.outputs if i in ends]
        later = [readers[i] for i in op.outputs if i in readers]
        owners[n] = own[0] if own else (owners[min(later)] if later else None)
        for i in op.inputs:
            readers[i] = n
    return owners
