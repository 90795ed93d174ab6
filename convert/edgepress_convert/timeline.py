"""How each operator of a .tflite sees time: what a streaming model must remember, worked out from the whole-window one.

Time is axis 1 of every tensor that has it. A tensor's frames come at a rate, one for so many frames of the model's
input, and its last frame always belongs to the last frame of the window. That is what makes a stream possible: the
newest frame of each tensor in a stream is the last frame of that tensor in the window that ends now, so all tensors
of one rate are in step, and branches that meet need nothing but the same number of frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress_convert.flatbuffer import OPS, short
from edgepress_runtime.errors import EdgepressError


class StreamError(EdgepressError):
    """A model that cannot be turned into a streaming one."""


@dataclass(frozen=True)
class Frames:
    """A tensor's time axis: `count` frames in the whole window, one for each `rate` frames of the model's input.

    `count` 0: time has been summed up, and what is left is computed once in `rate` frames.
    """

    count: int
    rate: int


@dataclass(frozen=True)
class Reach:
    """What an operator reads of its input: `size` frames for one of output, then `stride` further.

    `late`: how many of the window's last frames nothing reads.
    """

    size: int = 1
    stride: int = 1
    late: int = 0

    @property
    def held(self) -> int:
        """Frames before the new ones that the operator still needs; negative: of the new ones it skips so many."""
        return self.size - self.stride + self.late


@dataclass(frozen=True)
class Seen:
    """One operator: its input with a time axis, what it reads of it, and the time axis of its outputs.

    `source` is -1 where nothing has time, as between constants.
    """

    source: int
    reach: Reach
    frames: Frames | None


class Net:
    """The main graph of an unpacked model, with the questions that the rules ask."""

    def __init__(self, model: schema.ModelT) -> None:
        self.model = model
        self.graph = model.subgraphs[0]
        self.tensors = self.graph.tensors
        self.frames: dict[int, Frames] = {}

    def kind(self, op: schema.OperatorT) -> str:
        """TFLite's name of the operator."""
        code = self.model.operatorCodes[op.opcodeIndex]
        return OPS.get(max(code.deprecatedBuiltinCode, code.builtinCode), "CUSTOM")

    def shape(self, index: int) -> tuple[int, ...]:
        shape = self.tensors[index].shape
        return () if shape is None else tuple(int(n) for n in shape)

    def constant(self, index: int) -> np.ndarray | None:
        """The integers of a constant tensor (axes, shapes, paddings), or None for one computed at run time."""
        data = self.model.buffers[self.tensors[index].buffer].data
        if data is None or not len(data):
            return None
        dtype = {schema.TensorType.INT32: np.int32, schema.TensorType.INT64: np.int64}[self.tensors[index].type]
        return np.frombuffer(bytes(bytearray(data)), dtype).reshape(self.shape(index))

    def fail(self, op: schema.OperatorT, what: str, remedy: str = "") -> StreamError:
        """The error that names `op` and the tensor it makes."""
        name = short((self.tensors[op.outputs[0]].name or b"").decode("utf-8", "replace"))
        return StreamError(f"{self.kind(op)} ({name}) cannot run on a stream: {what}", remedy)
