"""A float .tflite in which single operators round as their int8 form would, and all others do not.

That is what one layer's share in the damage of quantization is measured with. A kernel is rounded to int8 where it
lies; an output goes through QUANTIZE and DEQUANTIZE. Only the bias is left alone, whose 32 bits lose nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress_convert import flatbuffer
from edgepress_convert.activation_ranges import Range
from edgepress_convert.compact import write
from edgepress_convert.flatbuffer import Graph, Op
from edgepress_convert.islands import FIXED, code_of, stored_in

_Builtin, _Type = schema.BuiltinOperator, schema.TensorType

# Where the output channels of a kernel lie, each with a scale of its own (LiteRT 8-bit quantization specification)
CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
# What gives out only numbers that it was given, at their own scale
MOVES = frozenset({
    "BATCH_TO_SPACE_ND", "DEPTH_TO_SPACE", "EXPAND_DIMS", "GATHER", "GATHER_ND", "MAX_POOL_2D", "PAD", "PADV2",
    "REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH",
    "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK",
})  # fmt: skip
# Means of numbers, which are rounded, but at the scale of the numbers
_MEANS = frozenset({"AVERAGE_POOL_2D", "MEAN", "RESIZE_BILINEAR"})


def rounded(
    model: bytes,
    ranges: Mapping[str, Range],
    *,
    kernels: Collection[int] = (),
    outputs: Collection[int] = (),
    weights: str = "per-channel",
) -> bytes:
    """The float `model` with the kernels of the operators `kernels` and the outputs of `outputs` rounded to int8.

    `ranges`: of every activation, by the name of its tensor. `weights`: one of `quantize.WEIGHTS`.
    """
    graph = flatbuffer.graphs(model)[0]
    spans = spans_of(graph, ranges)
    unpacked = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    main = unpacked.subgraphs[0]
    made: list[schema.OperatorT] = []
    now: dict[int, int] = {}
    for n, (op, facts) in enumerate(zip(main.operators, graph.ops, strict=True)):
        inputs = [now.get(int(i), int(i)) for i in op.inputs]
        if n in kernels:
            inputs = [_kernel(unpacked, graph, facts, i, weights) for i in inputs]
        op.inputs = np.array(inputs, np.int32)
        made.append(op)
        for i in facts.outputs if n in outputs else ():
            name = graph.tensors[i].name
            if name not in spans:  # integers
                continue
            stored, restored = len(main.tensors), len(main.tensors) + 1
            main.tensors += [copy.copy(main.tensors[i]), copy.copy(main.tensors[i])]
            main.tensors[stored].name, main.tensors[restored].name = f"{name}_int8".encode(), f"{name}_real".encode()
            main.tensors[stored].type = _Type.INT8
            main.tensors[stored].quantization = stored_in(spans[name], _Type.INT8)
            made.append(_conversion(unpacked, _Builtin.QUANTIZE, 1, i, stored))
            made.append(_conversion(unpacked, _Builtin.DEQUANTIZE, 2, stored, restored))
            now[i] = restored
    main.operators = made
    main.outputs = np.array([now.get(int(i), int(i)) for i in main.outputs], np.int32)
    unpacked.signatureDefs = None  # it names the tensors of the old graph
    return write(unpacked)


def spans_of(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """What LiteRT makes of `ranges`: some operators have their input's range, some a range of their own."""
    found = dict(ranges)
    for op in graph.ops:
        source = graph.tensors[op.inputs[0]].name if op.inputs else ""
        for i in op.outputs:
            name = graph.tensors[i].name
            if op.kind in FIXED:
                found[name] = FIXED[op.kind]
            elif (op.kind in MOVES or op.kind in _MEANS) and source in found:
                found[name] = found[source]
    return found


def kernel_of(op: Op, graph: Graph) -> int | None:
    """The tensor of the kernel that `op` stores in int8, if it has one."""
    if op.kind in CHANNEL_AXIS and graph.tensors[op.inputs[1]].is_weight:
        return op.inputs[1]
    return None


def round_kernel(values: np.ndarray, axis: int | None) -> np.ndarray:
    """`values` float32 as int8 stores them: -127 to 127 steps of max |w| / 127, along `axis` or of all of them."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(127)
    return (np.rint(values / scale) * scale).astype(np.float32)


def _kernel(model: schema.ModelT, graph: Graph, op: Op, index: int, weights: str) -> int:
    """A rounded copy of tensor `index` where it is the kernel of `op`."""
    if index != kernel_of(op, graph):
        return index
    tensor = graph.tensors[index]
    alone = weights == "per-tensor" or (weights == "per-tensor-dense" and op.kind == "FULLY_CONNECTED")
    values = round_kernel(tensor.values().reshape(tensor.shape), None if alone else CHANNEL_AXIS[op.kind])
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
    model.buffers.append(buffer)
    made = copy.copy(model.subgraphs[0].tensors[index])
    made.name, made.buffer = f"{tensor.name}_rounded".encode(), len(model.buffers) - 1
    model.subgraphs[0].tensors.append(made)
    return len(model.subgraphs[0].tensors) - 1


def _conversion(model: schema.ModelT, builtin: int, version: int, source: int, target: int) -> schema.OperatorT:
    op = schema.OperatorT()
    op.opcodeIndex = code_of(model, builtin, version)
    op.inputs, op.outputs = np.array([source], np.int32), np.array([target], np.int32)
    return op
