"""Operators that ai-edge-quantizer does not know, made integer between integer neighbours.

It leaves them in float, a DEQUANTIZE before and a QUANTIZE behind, and so a net with a global maximum would compute in
float in its middle. LiteRT has integer kernels of those below; TensorFlow's converter uses them, too.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress_convert.activation_ranges import Range
from edgepress_convert.flatbuffer import OPS, Graph
from edgepress_convert.graph_edit import GraphEditor

_Builtin, _Type = schema.BuiltinOperator, schema.TensorType
_LIMITS = {_Type.INT8: (-128, 127), _Type.INT16: (-32767, 32767)}  # int16 is symmetric

# What gives out only numbers that it was given, and so at their own scale: kind -> operator version for int8 and int16,
# from TensorFlow's lite/tools/versioning/op_version.cc
_SAME_SCALE = {
    "REDUCE_MAX": (2, 3),
    "EXPAND_DIMS": (1, 1),
    "SQUEEZE": (1, 1),
    "SPACE_TO_BATCH_ND": (2, 2),
    "BATCH_TO_SPACE_ND": (2, 2),
}
_OWN_SCALE = {"LEAKY_RELU": (2, 2)}
JOINED = {**_SAME_SCALE, **_OWN_SCALE}
# Ranges that LiteRT's 8-bit quantization specification fixes
FIXED = {
    "SOFTMAX": (0.0, 255 / 256),
    "LOGISTIC": (0.0, 255 / 256),
    "TANH": (-1.0, 127 / 128),
    "L2_NORMALIZATION": (-1.0, 127 / 128),
    "LOG_SOFTMAX": (-255 / 16, 0.0),
}


def settled(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """`ranges`, but for outputs of operators that only hand numbers on, which have their input's, and FIXED ones."""
    found = dict(ranges)
    handed = {i for op in graph.ops if op.kind in _SAME_SCALE for i in op.outputs}
    for op in graph.ops:
        for target in (graph.tensors[i].name for i in op.outputs):
            if op.kind in FIXED:
                found[target] = FIXED[op.kind]
            elif op.kind in _SAME_SCALE:
                found[target] = found[graph.tensors[op.inputs[0]].name]
            elif op.kind == "CONCATENATION" and handed.intersection(op.inputs):  # all of its inputs get its scale
                parts = [found[graph.tensors[i].name] for i in op.inputs if graph.tensors[i].name in found]
                found[target] = (min(low for low, _ in parts), max(high for _, high in parts))
    return found


def join(model: schema.ModelT, ranges: Mapping[str, Range], *, left: Collection[str]) -> None:
    """Make the operators in JOINED integer where their input is, and take out conversions that cancel.

    `left`: names of outputs that stay float. `ranges`: where an output of its own scale gets that from.
    """
    edit = GraphEditor(model)
    tensors = edit.graph.tensors
    exact: dict[int, int] = {}  # a float tensor -> the integer one that holds the same numbers
    now: dict[int, int] = {}  # a tensor -> what its readers are to read
    steps: list[tuple[schema.OperatorT, list[int]]] = []
    for op in edit.graph.operators:
        code = model.operatorCodes[op.opcodeIndex]
        kind = OPS[max(code.builtinCode, code.deprecatedBuiltinCode)]
        inputs = [now.get(int(i), int(i)) for i in op.inputs]
        source, output = exact.get(inputs[0]) if inputs else None, int(op.outputs[0])
        if kind == "DEQUANTIZE" and tensors[inputs[0]].type in _LIMITS:
            exact[output] = inputs[0]
        elif kind == "QUANTIZE" and source is not None:
            if _alike(tensors[source], tensors[output]):
                now[output] = source
                continue
            inputs = [source]
        elif kind in JOINED and source is not None and (name := tensors[output].name.decode()) not in left:
            restored = len(tensors)
            tensors.append(copy.copy(tensors[output]))
            tensors[restored].name = f"{name}_dequantized".encode()
            dtype = tensors[output].type = tensors[source].type
            tensors[output].quantization = (
                tensors[source].quantization if kind in _SAME_SCALE else stored_in(ranges[name], dtype)
            )
            op.opcodeIndex = code_of(model, code.builtinCode, JOINED[kind][dtype == _Type.INT16])
            steps.append((op, [source, *inputs[1:]]))
            op, inputs = schema.OperatorT(), [output]
            op.opcodeIndex = code_of(model, _Builtin.DEQUANTIZE, 3 if dtype == _Type.INT16 else 2)
            op.outputs = np.array([restored], np.int32)
            exact[restored], now[output] = output, restored
        steps.append((op, inputs))
    outputs = [now.get(int(i), int(i)) for i in edit.graph.outputs]
    for op, inputs in _needed(steps, outputs):
        edit.keep(op, inputs)
    edit.close([int(i) for i in edit.graph.inputs], outputs)


def _needed(
    steps: list[tuple[schema.OperatorT, list[int]]], outputs: list[int]
) -> list[tuple[schema.OperatorT, list[int]]]:
    """The operators that `outputs` depend on, in their order."""
    wanted, kept = set(outputs), []
    for op, inputs in reversed(steps):
        if wanted.intersection(int(i) for i in op.outputs):
            wanted.update(inputs)
            kept.append((op, inputs))
    return kept[::-1]


def _alike(one: schema.TensorT, two: schema.TensorT) -> bool:
    """Whether the same integer stands for the same number in both."""
    a, b = one.quantization, two.quantization
    return (
        one.type == two.type
        and np.allclose(a.scale, b.scale, rtol=1e-6, atol=0)
        and np.array_equal(a.zeroPoint, b.zeroPoint)
    )


def stored_in(span: Range, dtype: int) -> schema.QuantizationParametersT:
    """Scale and zero point of a range that holds zero: all 256 steps of int8, 65,535 about zero of int16."""
    first, last = _LIMITS[dtype]
    low, high = span if dtype == _Type.INT8 else (-max(-span[0], span[1]), max(-span[0], span[1]))
    scale = max(high - low, 1e-9) / (last - first)
    made = schema.QuantizationParametersT()
    made.scale = np.array([scale], np.float32)
    made.zeroPoint = np.array([round(first - low / scale)], np.int64)
    return made


def code_of(model: schema.ModelT, builtin: int, version: int) -> int:
    """The index of an operator code that is new enough; added where there is none."""
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin and code.version >= version:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
