"""Editing a .tflite: tensors, constants and operators added to the main graph of an unpacked model, and what nothing
uses any more taken out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_Builtin, _Type = schema.BuiltinOperator, schema.TensorType

# Operator versions that brought a dtype, from TensorFlow's lite/tools/versioning/op_version.cc; 1 for the others
_VERSIONS = {
    (_Builtin.CONCATENATION, _Type.INT8): 2,
    (_Builtin.CONCATENATION, _Type.INT16): 3,
    (_Builtin.STRIDED_SLICE, _Type.INT8): 2,
    (_Builtin.STRIDED_SLICE, _Type.INT16): 4,
}


class GraphEditor:
    """Adds to the main graph of `model`; tensors are known by their index. `close` ends the editing."""

    def __init__(self, model: schema.ModelT) -> None:
        self.model = model
        self.graph = model.subgraphs[0]
        self.operators: list[schema.OperatorT] = []
        self._constants: dict[tuple[int, ...], int] = {}

    def shape(self, index: int) -> tuple[int, ...]:
        return tuple(int(n) for n in self.graph.tensors[index].shape)

    def set_frames(self, index: int, frames: int) -> None:
        """Give axis 1 of a tensor this size."""
        shape = self.shape(index)
        tensor = self.graph.tensors[index]
        tensor.shape, tensor.shapeSignature = np.array([shape[0], frames, *shape[2:]], np.int32), None

    def like(self, index: int, frames: int, name: str) -> int:
        """A new tensor of `frames` frames (axis 1), otherwise and in its quantization like tensor `index`."""
        tensor = copy.copy(self.graph.tensors[index])
        tensor.name, tensor.buffer = name.encode(), 0
        new = self._append(tensor)
        self.set_frames(new, frames)
        return new

    def constant(self, values: Sequence[int]) -> int:
        """A constant vector of int32; equal ones are one tensor."""
        key = tuple(values)
        if key not in self._constants:
            buffer, tensor = schema.BufferT(), schema.TensorT()
            buffer.data = np.frombuffer(np.array(key, "<i4").tobytes(), np.uint8)
            tensor.name = ",".join(map(str, key)).encode()
            tensor.shape, tensor.type, tensor.hasRank = np.array([len(key)], np.int32), _Type.INT32, True
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
            self._constants[key] = self._append(tensor)
        return self._constants[key]

    def integers(self, index: int) -> list[int]:
        """The values of a constant vector of integers."""
        dtype = {_Type.INT32: "<i4", _Type.INT64: "<i8"}[self.graph.tensors[index].type]
        data = self.model.buffers[self.graph.tensors[index].buffer].data
        return [int(v) for v in np.frombuffer(np.asarray(data, np.uint8).tobytes(), dtype)]

    def join(self, parts: Sequence[int], target: int) -> None:
        """CONCATENATION of `parts` along axis 1 into `target`."""
        options = schema.ConcatenationOptionsT()
        options.axis = 1
        self._operator(_Builtin.CONCATENATION, schema.BuiltinOptions.ConcatenationOptions, options, parts, target)

    def cut(self, source: int, start: int, target: int) -> None:
        """STRIDED_SLICE: the frames of `source` from `start` on into `target`."""
        shape = self.shape(source)
        bounds = ([0, start, *[0] * (len(shape) - 2)], shape, [1] * len(shape))
        inputs = [source, *(self.constant(values) for values in bounds)]
        options = schema.StridedSliceOptionsT()
        self._operator(_Builtin.STRIDED_SLICE, schema.BuiltinOptions.StridedSliceOptions, options, inputs, target)

    def keep(self, op: schema.OperatorT, inputs: Sequence[int]) -> None:
        """An operator of the old graph, with these inputs."""
        op.inputs = np.array(inputs, np.int32)
        self.operators.append(op)

    def close(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Make what was added the whole graph. What the file says about the old one, and what is unused, goes."""
        model, graph = self.model, self.graph
        graph.operators = self.operators
        graph.inputs, graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        model.signatureDefs = model.metadata = model.metadataBuffer = None
        named = {*inputs, *outputs, *(int(i) for op in self.operators for i in (*op.inputs, *op.outputs))} - {-1}
        places = {old: new for new, old in enumerate(sorted(named))}
        graph.tensors = [graph.tensors[old] for old in places]
        graph.inputs, graph.outputs = _moved(graph.inputs, places), _moved(graph.outputs, places)
        for op in self.operators:
            op.inputs, op.outputs = _moved(op.inputs, places), _moved(op.outputs, places)
        buffers = {0: 0}  # buffer 0 is the empty one, which every tensor without data may name
        for tensor in graph.tensors:
            if model.buffers[tensor.buffer].data is None:
                tensor.buffer = 0
            tensor.buffer = buffers.setdefault(tensor.buffer, len(buffers))
        model.buffers = [model.buffers[old] for old in buffers]
        codes: dict[int, int] = {}
        for op in self.operators:
            op.opcodeIndex = codes.setdefault(op.opcodeIndex, len(codes))
        model.operatorCodes = [model.operatorCodes[old] for old in codes]

    def _append(self, tensor: schema.TensorT) -> int:
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _operator(self, kind: int, options_type: int, options: Any, inputs: Sequence[int], output: int) -> None:
        op = schema.OperatorT()
        op.opcodeIndex = self._code(kind, self.graph.tensors[output].type)
        op.builtinOptionsType, op.builtinOptions = options_type, options
        op.outputs = np.array([output], np.int32)
        self.keep(op, inputs)

    def _code(self, kind: int, dtype: int) -> int:
        """The index of an operator code that is new enough for `dtype`."""
        version = _VERSIONS.get((kind, dtype), 1)
        codes = self.model.operatorCodes
        for index, code in enumerate(codes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == kind and code.version >= version:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = version
        codes.append(code)
        return len(codes) - 1


def _moved(indexes: np.ndarray, places: dict[int, int]) -> np.ndarray:
    return np.array([places.get(int(i), -1) for i in indexes], np.int32)
