"""Finding the last layer of a classifier in its .tflite: what it sees, and its weights.

A classifier that can be taught ends in a dense layer and a softmax. In a file it is a FULLY_CONNECTED, or a
1x1 CONV_2D over a single place; around it may lie what only reshapes or restores numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress_convert import flatbuffer
from edgepress_convert.compact import write
from edgepress_convert.flatbuffer import Graph, Op, Tensor
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.head import Head

_PASSING = ("RESHAPE", "SQUEEZE", "QUANTIZE", "DEQUANTIZE")
_NEEDED = "teaching needs a net that ends in a dense layer (or a 1x1 convolution of pooled features) and a softmax"


class NotTeachable(EdgepressError):
    """A model whose last layer cannot be separated from what lies before it."""


@dataclass(frozen=True)
class LastLayer:
    """`embedding` is the index of the tensor that the layer sees, `size` its numbers; `head` is the layer itself."""

    embedding: int
    size: int
    head: Head


def find(model: bytes) -> LastLayer:
    """The last layer of the classifier `model`. Raises NotTeachable with what the model ends in instead."""
    graph = flatbuffer.graphs(model)[0]
    makers = {output: number for number, op in enumerate(graph.ops) for output in op.outputs}
    number = _maker(graph, makers, graph.outputs[0])
    if number is None or graph.ops[number].kind != "SOFTMAX":
        raise NotTeachable(f"the model ends in {_named(graph, number)}, not in a softmax", _NEEDED)
    number = _maker(graph, makers, graph.ops[number].inputs[0])
    if number is None or graph.ops[number].kind not in ("FULLY_CONNECTED", "CONV_2D"):
        raise NotTeachable(f"the softmax of the model follows {_named(graph, number)}, not a dense layer", _NEEDED)
    op = graph.ops[number]
    source, kernel = graph.tensors[op.inputs[0]], _constant(graph, makers, op.inputs[1])
    size, classes = math.prod(source.shape), math.prod(graph.tensors[graph.outputs[0]].shape)
    if kernel is None or kernel.size != size * classes:
        raise NotTeachable(f"the last layer, {_named(graph, number)}, looks at more than one place at once", _NEEDED)
    if _activation(model, number) != schema.ActivationFunctionType.NONE:
        raise NotTeachable(f"the last layer, {_named(graph, number)}, has an activation before the softmax", _NEEDED)
    weights = _real(kernel).reshape(classes, size)
    bias = np.zeros(classes)
    if len(op.inputs) > 2 and op.inputs[2] >= 0:
        found = _constant(graph, makers, op.inputs[2])
        if found is None:
            raise NotTeachable(f"the bias of {_named(graph, number)} is computed by the model", _NEEDED)
        # A bias without a scale of its own has that of the products it is added to.
        bias = _real(found) if found.scales or found.dtype[0] == "f" else (
            found.values() * np.multiply(source.scales[0], kernel.scales)
        )  # fmt: skip
    head = Head(np.ascontiguousarray(weights.T, np.float32), np.asarray(bias, np.float32))
    return LastLayer(op.inputs[0], size, head)


def expose(model: bytes, layer: LastLayer) -> bytes:
    """`model` with one output more, the last: the embedding. Nothing else is computed, and nothing otherwise."""
    unpacked: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    graph = unpacked.subgraphs[0]
    graph.outputs = np.append(graph.outputs, layer.embedding).astype(np.int32)
    graph.tensors[layer.embedding].name = b"embedding"
    unpacked.signatureDefs = None  # they name the old outputs alone
    return write(unpacked)


def _maker(graph: Graph, makers: dict[int, int], tensor: int) -> int | None:
    """The number of the operator that computes `tensor`, apart from those that only pass numbers on."""
    number = makers.get(tensor)
    while number is not None and graph.ops[number].kind in _PASSING:
        number = makers.get(graph.ops[number].inputs[0])
    return number


def _constant(graph: Graph, makers: dict[int, int], index: int) -> Tensor | None:
    """The stored weights behind `index`, which a float model of small weights restores first."""
    while graph.tensors[index].data is None:
        number = makers.get(index)
        if number is None or graph.ops[number].kind != "DEQUANTIZE":
            return None
        index = graph.ops[number].inputs[0]
    return graph.tensors[index]


def _real(tensor: Tensor) -> np.ndarray:
    """The numbers that a constant stands for, in its shape with the channels' scales along axis 0."""
    values = tensor.values().astype(np.float64).reshape(tensor.shape)
    if not tensor.scales or tensor.dtype[0] == "f":
        return values
    shape = (-1, *[1] * (values.ndim - 1))
    return (values - np.reshape(tensor.zero_points or (0,), shape)) * np.reshape(tensor.scales, shape)


def _activation(model: bytes, number: int) -> int:
    options = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0)).subgraphs[0].operators[number].builtinOptions
    return 0 if options is None else int(options.fusedActivationFunction)


def _named(graph: Graph, number: int | None) -> str:
    if number is None:
        return "its input"
    op: Op = graph.ops[number]
    return f"{op.kind} ({flatbuffer.short(graph.tensors[op.outputs[0]].name)})"
