"""A .tflite file to facts: size, weights, arithmetic, memory, layers. Without TensorFlow, and without running it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress_convert import arena
from edgepress_convert.flatbuffer import BITS, DAMAGE, Graph, Op, Tensor, TfliteError, graphs

_RECURRENT = (
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_RNN", "LSTM", "RNN", "SVDF",
)  # fmt: skip


@dataclass(frozen=True)
class OpFacts:
    """One line of the layer table: `name` and `shape` are those of the first output."""

    op: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    macs: int
    params: int
    per_channel: bool


@dataclass(frozen=True)
class ModelFacts:
    """What a model costs, read from the file alone.

    `bytes`: size of the file. `params`: elements of trained constants, each tensor once. `macs`: multiply-accumulates
    of one inference at the shapes in the file (bodies of loops once; an unknown dimension as 1). `arena_bytes`: memory
    for activations (see `arena`), without the interpreter's own structures and a kernel's scratch buffers.
    `sparsity`: share of exact zeros among weights of two or more dimensions. `ops`: how often each operator occurs.
    `input` and `output` are the first of `inputs` and `outputs`. `per_channel`: names of layers whose weights have one
    scale a channel. `layers`: the operators in execution order.
    """

    bytes: int
    params: int
    macs: int
    arena_bytes: int
    sparsity: float
    ops: dict[str, int]
    input: dict[str, Any]
    output: dict[str, Any]
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...]
    per_channel: tuple[str, ...]
    subgraphs: int
    layers: tuple[OpFacts, ...]


def macs(op: Op, graph: Graph) -> int:
    """Multiply-accumulates of one operator; 0 for those without any.

    Convolution: output elements x kernel elements of one output channel (a grouped one has the smaller kernel).
    Depthwise: output elements x kernel height x width. Transposed convolution: each input element meets the whole
    kernel of its channel. Dense: output elements x inputs. Matrix product: output elements x inner length. Recurrent
    cells: every 2-D weight once a step.
    """
    ins = [graph.tensors[i] if i >= 0 else None for i in op.inputs]
    out = graph.tensors[op.outputs[0]] if op.outputs else None
    first, second = (*ins, None, None)[:2]
    if out is None or first is None:
        return 0
    if op.kind in _RECURRENT:
        steps = math.prod(max(n, 1) for n in first.shape[:-1])
        matrices = (_constant(t, graph) for t in ins[1:] if t is not None)
        return steps * sum(t.size for t in matrices if t is not None and len(t.shape) == 2)
    if second is None:
        return 0
    if op.kind == "CONV_2D":
        return out.size * math.prod(second.shape[1:])
    if op.kind == "DEPTHWISE_CONV_2D":
        return out.size * math.prod(second.shape[1:3])
    if op.kind == "CONV_3D":
        return out.size * math.prod(second.shape[:4])
    if op.kind == "TRANSPOSE_CONV" and len(ins) > 2 and ins[2] is not None:
        return ins[2].size * math.prod(second.shape[:3])
    if op.kind == "FULLY_CONNECTED":
        return out.size * second.shape[-1]
    if op.kind == "BATCH_MATMUL":
        return out.size * first.shape[-2 if op.adj_x else -1]
    return 0


def _constant(tensor: Tensor, graph: Graph) -> Tensor | None:
    """`tensor` if it is a weight, or the float16 weight that a DEQUANTIZE turns into it, or None."""
    if tensor.is_weight:
        return tensor
    for op in graph.ops:
        if op.kind == "DEQUANTIZE" and op.outputs == (tensor.index,):
            source = graph.tensors[op.inputs[0]]
            return source if source.is_weight else None
    return None


def facts(model: bytes, *, name: str = "the model") -> ModelFacts:
    """Everything `inspect` says about the bytes of a .tflite. Raises TfliteError."""
    found = graphs(model, name=name)
    try:
        layers = tuple(layer for graph in found for layer in _layers(graph))
        weights = [t for graph in found for t in graph.tensors if t.is_weight]
        kernels = [t for t in weights if len(t.shape) >= 2]
        zeros = sum(_zeros(t) for t in kernels)
        planned = sum(arena.plan(graph).bytes for graph in found)
    except DAMAGE:
        raise TfliteError(f"{name} is damaged or cut short", "copy it again, or export it again") from None
    inputs = tuple(_described(found[0], i) for i in found[0].inputs)
    outputs = tuple(_described(found[0], i) for i in found[0].outputs)
    return ModelFacts(
        bytes=len(model),
        params=sum(t.size for t in weights),
        macs=sum(layer.macs for layer in layers),
        arena_bytes=planned,
        sparsity=zeros / max(1, sum(t.size for t in kernels)),
        ops=dict(sorted(Counter(layer.op for layer in layers).items())),
        input=inputs[0] if inputs else {},
        output=outputs[0] if outputs else {},
        inputs=inputs,
        outputs=outputs,
        per_channel=tuple(layer.name for layer in layers if layer.per_channel),
        subgraphs=len(found),
        layers=layers,
    )


def _layers(graph: Graph) -> Iterator[OpFacts]:
    for op in graph.ops:
        if not op.outputs:
            continue
        out = graph.tensors[op.outputs[0]]
        resolved = (_constant(graph.tensors[i], graph) for i in op.inputs if i >= 0)
        weights = [] if op.kind == "DEQUANTIZE" else [t for t in resolved if t is not None]
        kernels = [t for t in weights if len(t.shape) >= 2]
        yield OpFacts(
            op=op.kind,
            name=out.name,
            shape=out.shape,
            dtype=kernels[0].dtype if kernels else out.dtype,
            macs=macs(op, graph),
            params=sum(t.size for t in weights),
            per_channel=any(len(t.scales) > 1 for t in kernels),
        )


def _zeros(tensor: Tensor) -> int:
    if tensor.sparse and tensor.data is not None:
        kept = len(tensor.data) * 8 // BITS[tensor.dtype]
        return tensor.size - kept
    zero = tensor.zero_points[0] if tensor.zero_points else 0
    return int(np.count_nonzero(tensor.values() == zero))


def _described(graph: Graph, index: int) -> dict[str, Any]:
    tensor = graph.tensors[index]
    quantized = bool(tensor.scales)
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "scale": tensor.scales[0] if quantized else None,
        "zero_point": (tensor.zero_points[0] if tensor.zero_points else 0) if quantized else None,
    }
