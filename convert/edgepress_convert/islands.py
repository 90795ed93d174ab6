"""Operators that ai-edge-quantizer does not know, made integer between integer neighbours.

It leaves them in float, a DEQUANTIZE before and a QUANTIZE behind, and so a net with a global maximum would compute in
float in its middle. LiteRT has integer kernels of those below; TensorFlow's converter uses them, too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

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
_OWN_SCALE = {"LEAKY_RELU": (1, 2)}
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


def join(model: schema.ModelT, graph: Graph, ranges: Mapping[str, Range], kept: Mapping[int, str]) -> None:
    """Make the operators in JOINED integer, and take out conversions that cancel.

    `graph` is the float model that `model` was made from, with the `ranges` of its tensors by name; `kept`: operators
    of it that are int16x8, or stay in float. The others become int8.
    """
    edit = GraphEditor(model)
    tensors = edit.graph.tensors
    asked = {graph.tensors[op.outputs[0]].name: (kept.get(n, "int8"), op) for n, op in enumerate(graph.ops)}
    exact: dict[int, int] = {}  # a float tensor -> the integer one that holds the same numbers
    now: dict[int, int] = {}  # a tensor -> what its readers are to read
    steps: list[tuple[schema.OperatorT, list[int]]] = []

    def convert(source: int, kind: int, name: str, dtype: int, span: Range | None) -> int:
        """A new tensor that QUANTIZE or DEQUANTIZE makes of `source`."""
        version = {_Builtin.QUANTIZE: 2, _Builtin.DEQUANTIZE: 3 if tensors[source].type == _Type.INT16 else 2}[kind]
        made, op = copy.copy(tensors[source]), schema.OperatorT()
        made.name, made.type, made.buffer = name.encode(), dtype, 0
        made.quantization = None if span is None else stored_in(span, dtype)
        tensors.append(made)
        op.opcodeIndex, op.outputs = code_of(model, kind, version), np.array([len(tensors) - 1], np.int32)
        steps.append((op, [source]))
        return len(tensors) - 1

    for op in edit.graph.operators:
        code = model.operatorCodes[op.opcodeIndex]
        kind = OPS[max(code.builtinCode, code.deprecatedBuiltinCode)]
        inputs = [now.get(int(i), int(i)) for i in op.inputs]
        source, output = exact.get(inputs[0]) if inputs else None, int(op.outputs[0])
        scheme, original = asked.get(name := tensors[output].name.decode(), ("", None))
        if kind == "DEQUANTIZE" and tensors[inputs[0]].type in _LIMITS:
            exact[output] = inputs[0]
        elif kind == "QUANTIZE" and source is not None:
            if _alike(tensors[source], tensors[output]):
                now[output] = source
                continue
            inputs = [source]
        elif kind in JOINED and original is not None and not scheme.startswith("float"):
            dtype = _Type.INT16 if scheme == "int16x8" else _Type.INT8
            source = inputs[0] if source is None else source
            if tensors[source].type != dtype:
                span = ranges[graph.tensors[original.inputs[0]].name]
                source = convert(source, _Builtin.QUANTIZE, f"{name}_input", dtype, span)
            like = tensors[source].quantization if kind in _SAME_SCALE else stored_in(ranges[name], dtype)
            tensors[output].type, tensors[output].quantization = dtype, like
            op.opcodeIndex = code_of(model, code.builtinCode, JOINED[kind][dtype == _Type.INT16])
            steps.append((op, [source, *inputs[1:]]))
            now[output] = convert(output, _Builtin.DEQUANTIZE, f"{name}_real", _Type.FLOAT32, None)
            exact[now[output]] = output
            continue
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
