"""The layers of a .tflite that have weights: their real values, and what they put out on some examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgepress_convert import flatbuffer, streaming
from edgepress_convert.flatbuffer import DAMAGE, Graph, Op, Tensor, TfliteError
from edgepress_convert.tensors import open_glass
from edgepress_runtime import states
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import quantize

MAX_EXAMPLES = 32
MAX_VALUES = 4096  # of one layer's output that are looked at, evenly spread over it, for each example and step
# What the converter puts behind the last slash of a kernel's name
_SUFFIXES = ("Conv2D", "depthwise", "MatMul", "conv2d_transpose", "Tensordot", "kernel", "ReadVariableOp")


@dataclass(frozen=True, eq=False)
class Layer:
    """One operator with weights. `kernel` (n,) float64: the real values; `output`: index of its output tensor."""

    name: str
    op: str
    kernel: np.ndarray
    output: int


def layers(model: bytes, *, name: str = "the model") -> tuple[Layer, ...]:
    """The operators of the main graph that have kernels, in execution order; a kernel counts where it is used first.

    Kernels stored as sparse tensors are left out. Raises TfliteError.
    """
    graph = flatbuffer.graphs(model, name=name)[0]
    try:
        return tuple(_layers(graph))
    except DAMAGE:
        raise TfliteError(f"{name} is damaged or cut short", "compress the run again") from None


def pairs(before: Sequence[Layer], after: Sequence[Layer]) -> tuple[tuple[Layer, Layer], ...]:
    """The layers that correspond: by their place where both are of the same kinds in the same order, else by name."""
    if [layer.op for layer in before] == [layer.op for layer in after]:
        return tuple(zip(before, after, strict=True))
    by_name = {layer.name: layer for layer in before}
    return tuple((by_name[layer.name], layer) for layer in after if layer.name in by_name)


def outputs(model: bytes, found: Sequence[Layer], inputs: np.ndarray) -> Mapping[int, np.ndarray]:
    """What each layer of `found` puts out on `inputs` (n, ...) float32, by tensor: (values,) float32 reals.

    A streaming model gets each example as a stream of its own, and all of its steps count. At most MAX_EXAMPLES are
    run, and MAX_VALUES kept of each output. Raises EdgepressError when the model does not run on them.
    """
    graph = flatbuffer.graphs(model)[0]
    watched = [layer.output for layer in found]
    kept: dict[int, list[np.ndarray]] = {index: [] for index in watched}
    interpreter = open_glass(model)
    try:
        for example in inputs[:MAX_EXAMPLES]:
            for fed in _feeds(graph, interpreter, example):
                for index, stored in zip(graph.inputs, fed, strict=True):
                    interpreter.set_tensor(index, stored)
                interpreter.invoke()
                for index in watched:
                    values = interpreter.get_tensor(index).reshape(-1)
                    thinned = values[:: max(1, len(values) // MAX_VALUES)]
                    kept[index].append(_real(thinned, graph.tensors[index], 0).astype(np.float32))
    except (RuntimeError, ValueError) as error:
        raise EdgepressError(f"the examples of this compression do not run through its models: {error}") from None
    return {index: np.concatenate(values) if values else np.zeros(0, np.float32) for index, values in kept.items()}


def _feeds(graph: Graph, interpreter: Interpreter, example: np.ndarray) -> Iterator[list[np.ndarray]]:
    """What the inputs get, call after call: the example, or its frames step by step with what the model keeps."""
    taken = flatbuffer.specs(graph, graph.inputs)
    stored = quantize(example, taken[0])
    if streaming.facts(graph) is None:
        yield [stored[np.newaxis]]
        return
    kept = states.initial(taken, flatbuffer.specs(graph, graph.outputs))
    frames = taken[0].shape[1]
    for at in range(0, len(stored) - frames + 1, frames):
        yield [stored[np.newaxis, at : at + frames], *kept]
        kept = [interpreter.get_tensor(index) for index in graph.outputs[1:]]


def _layers(graph: Graph) -> Iterator[Layer]:
    sources = {op.outputs[0]: graph.tensors[op.inputs[0]] for op in graph.ops if op.kind == "DEQUANTIZE"}
    seen: set[int] = set()
    for op in graph.ops:
        if op.kind == "DEQUANTIZE" or not op.outputs:
            continue
        for index in op.inputs:
            if index < 0:
                continue
            tensor = graph.tensors[index]
            tensor = tensor if tensor.data is not None else sources.get(index, tensor)
            if tensor.is_weight and len(tensor.shape) > 1 and not tensor.sparse and tensor.index not in seen:
                seen.add(tensor.index)
                values = tensor.values().reshape(tensor.shape)
                kernel = _real(values, tensor, _channel_axis(op, tensor)).astype(np.float64).reshape(-1)
                yield Layer(_name(tensor), op.kind, kernel, op.outputs[0])
                break


def _channel_axis(op: Op, tensor: Tensor) -> int:
    """Along which axis the scales of a kernel lie (LiteRT's 8-bit quantization specification)."""
    axis = len(tensor.shape) - 1 if op.kind == "DEPTHWISE_CONV_2D" else 0
    if len(tensor.scales) in (0, 1, tensor.shape[axis]):
        return axis
    return tensor.shape.index(len(tensor.scales))


def _real(stored: np.ndarray, tensor: Tensor, axis: int) -> np.ndarray:
    """Stored numbers as real ones: scale * (stored - zero point), for one scale or one a channel along `axis`."""
    if not tensor.scales or stored.dtype.kind == "f":
        return stored.astype(np.float64)
    shape = [1] * stored.ndim
    shape[axis] = len(tensor.scales)
    zeros = np.asarray(tensor.zero_points or [0] * len(tensor.scales), np.float64).reshape(shape)
    return (stored.astype(np.float64) - zeros) * np.asarray(tensor.scales, np.float64).reshape(shape)


def _name(tensor: Tensor) -> str:
    """The Keras layer's name, out of what the converter made of it: `net/stem/Conv2D` is `stem`."""
    parts = [part.strip("/") for part in tensor.name.split(";")]
    own = [part for part in parts if part.rpartition("/")[2].rstrip("0123456789").startswith(_SUFFIXES)]
    words = (own or parts)[0].split("/")
    middle = words[1:-1] or words[-1:]
    return "/".join(middle) or "unnamed"
