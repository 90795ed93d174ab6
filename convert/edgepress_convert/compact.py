"""A smaller .tflite that computes the same: equal vectors are stored once, names are short.

A per-channel int8 layer carries for every output channel twice, for weights and bias, 8 bytes of zero point, always 0.
The converter writes these vectors out layer by layer; FlatBuffers allows any number of tables to point at one.
On a 60,000-weight net this takes a fifth off the file.
"""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress_convert.flatbuffer import short

_IDENTIFIER = b"TFL3"
_FIRST_SIZE = 1 << 16  # bytes; the builder grows by itself
_BUFFER_ALIGNMENT = 16  # `force_align: 16` on Buffer.data in the TFLite schema


def compact(model: bytes) -> bytes:
    """`model` with shared vectors; every table, tensor and buffer keeps its place and value."""
    packed = write(schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0)))
    return packed if len(packed) < len(model) else model


def shorten(model: bytes) -> bytes:
    """`model` with short tensor names, for the board: a layer's own, and for its weights the same.

    The converter writes the path of every layer that was fused into a tensor, a twentieth of a 60,000-weight file.
    Names of inputs and outputs stay, as do names that would be lost to another tensor.
    """
    unpacked = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    for graph in unpacked.subgraphs:
        kept = {int(index) for index in (*graph.inputs, *graph.outputs)}
        taken = {graph.tensors[index].name for index in kept}
        for op in graph.operators:
            if op.outputs is None or not len(op.outputs):
                continue
            first = int(op.outputs[0])
            name = short((graph.tensors[first].name or b"").decode("utf-8", "replace")).encode()
            if first not in kept and name not in taken:
                graph.tensors[first].name = name
                taken.add(name)
            for index in op.inputs if op.inputs is not None else ():
                source = graph.tensors[int(index)] if index >= 0 else None
                if source is not None and index not in kept and unpacked.buffers[source.buffer].data is not None:
                    source.name = graph.tensors[first].name
    packed = write(unpacked)
    return packed if len(packed) < len(model) else model


def write(model: schema.ModelT) -> bytes:
    """The bytes of `model`, with shared vectors."""
    builder = _SharingBuilder(_FIRST_SIZE)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class _SharingBuilder(flatbuffers.Builder):
    """Writes each distinct vector and each distinct string once."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._vectors: dict[tuple[str, bytes], int] = {}
        self._strings: dict[bytes, int] = {}

    def CreateString(self, s: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> int:
        text = s.encode(encoding, errors) if isinstance(s, str) else bytes(s)
        if text not in self._strings:
            self._strings[text] = super().CreateString(text)
        return self._strings[text]

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        key = (x.dtype.str, x.tobytes())
        if key not in self._vectors:
            self._vectors[key] = self._aligned(x) if x.dtype == np.uint8 else super().CreateNumpyVector(x)
        return self._vectors[key]

    def _aligned(self, x: np.ndarray) -> int:
        # The generated writer knows nothing of force_align, and kernels may load weights sixteen bytes at a time.
        self.StartVector(1, x.size, _BUFFER_ALIGNMENT)
        self.head -= x.size
        self.Bytes[self.head : self.head + x.size] = x.tobytes()
        return self.EndVector()
