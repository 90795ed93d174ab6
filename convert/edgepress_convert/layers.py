"""Where does quantization lose the signal? Two .tflite files of one model compared, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress_convert import flatbuffer
from edgepress_convert.flatbuffer import Graph, Op, Tensor
from edgepress_convert.tensors import open_glass

CEILING_DB = 120.0  # what an exact copy is given, since JSON has no infinity
# The best that 8 bits can do, 6.02 dB a bit + 1.76 (Bennett 1948, for a signal that fills the range): no layer is
# blamed for falling to this from an exact input, as that of pictures is.
_BEST_8_BIT_DB = 49.9
_PLUMBING = ("QUANTIZE", "DEQUANTIZE", "CAST")


@dataclass(frozen=True)
class LayerError:
    """One layer's output in the converted model against the float one, both running whole, on the same inputs.

    `snr_db`: 10 log10(sum of x^2 / sum of (x - y)^2) over the whole tensor; errors of earlier layers are in it.
    `channel_snr_db`: the same with noise / signal taken in each channel (last axis), at most 1, then averaged, so that
    a lost weak channel shows although strong ones drown it. `loss_db`: how much `channel_snr_db` fell from the layer's
    worst input to its output, which is this layer's own doing; an input better than 8 bits can hold counts as that.
    Decibels end at CEILING_DB, an exact copy.
    """

    name: str
    op: str
    snr_db: float
    channel_snr_db: float
    loss_db: float


def compare(reference: bytes, converted: bytes, inputs: np.ndarray) -> tuple[LayerError, ...]:
    """The layers of both models that correspond, in execution order. `inputs`: (n, ...) float32 real values.

    Layers correspond by their place in the sequence of operators once quantize, dequantize and cast are left out; where
    the converter made the two sequences differ, by the names of their outputs. Raises EdgepressError when a model does
    not run.
    """
    before, after = flatbuffer.graphs(reference)[0], flatbuffer.graphs(converted)[0]
    pairs = list(_pairs(before, after))
    ours = _Probe(reference, before)
    theirs = _Probe(converted, after)
    watched = [(before.inputs[0], after.inputs[0]), *((a.outputs[0], b.outputs[0]) for a, b in pairs)]
    # (signal, noise) sums of each channel for each watched pair
    sums: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for example in inputs:
        ours.run(example[np.newaxis])
        theirs.run(example[np.newaxis])
        for a, b in watched:
            x, y = ours.value(a), theirs.value(b)
            if x.size != y.size or not x.ndim:
                continue
            x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1])
            signal, noise = (x**2).sum(axis=0), ((x - y) ** 2).sum(axis=0)
            old = sums.get(b, (0.0, 0.0))
            sums[b] = (old[0] + signal, old[1] + noise)
    channel_db = {b: _channel_snr_db(*sums[b]) for _, b in watched if b in sums}
    plumbed = {op.outputs[0]: op.inputs[0] for op in after.ops if op.kind in _PLUMBING}
    found = []
    for _, op in pairs:
        target = op.outputs[0]
        if target not in sums:
            continue
        sources = [channel_db[i] for i in (plumbed.get(i, i) for i in op.inputs) if i in channel_db]
        signal, noise = sums[target]
        found.append(
            LayerError(
                name=flatbuffer.short(after.tensors[target].name),
                op=op.kind,
                snr_db=_db(float(signal.sum()), float(noise.sum())),
                channel_snr_db=channel_db[target],
                loss_db=min([*sources, max(_BEST_8_BIT_DB, channel_db[target])]) - channel_db[target],
            )
        )
    return tuple(found)


def as_json(layer: LayerError) -> dict[str, Any]:
    """`layer` with decibels to one decimal."""
    return {k: round(v, 1) if isinstance(v, float) else v for k, v in vars(layer).items()}


def _pairs(before: Graph, after: Graph) -> Iterator[tuple[Op, Op]]:
    first = [op for op in before.ops if op.kind not in _PLUMBING and op.outputs]
    second = [op for op in after.ops if op.kind not in _PLUMBING and op.outputs]
    if [op.kind for op in first] == [op.kind for op in second]:
        yield from zip(first, second, strict=True)
        return
    by_name = {before.tensors[op.outputs[0]].name: op for op in first}
    for op in second:
        name = after.tensors[op.outputs[0]].name
        if name in by_name:
            yield by_name[name], op


def _channel_snr_db(signal: np.ndarray, noise: np.ndarray) -> float:
    share = np.where(signal > 0, np.minimum(noise / np.where(signal > 0, signal, 1.0), 1.0), np.sign(noise))
    return _db(1.0, float(share.mean()))


def _db(signal: float, noise: float) -> float:
    if noise <= 0:
        return CEILING_DB
    if signal <= 0:
        return 0.0
    return min(CEILING_DB, 10.0 * math.log10(signal / noise))


class _Probe:
    """One model whose every tensor can be read after a run, as real numbers."""

    def __init__(self, model: bytes, graph: Graph) -> None:
        self.graph = graph
        self.source = graph.tensors[graph.inputs[0]]
        self.interpreter = open_glass(model)

    def run(self, real: np.ndarray) -> None:
        stored = real
        if self.source.scales:
            limits = np.iinfo(np.dtype(self.source.dtype))
            steps = np.rint(real / np.float32(self.source.scales[0])) + self.source.zero_points[0]
            stored = np.clip(steps, limits.min, limits.max)
        self.interpreter.set_tensor(self.source.index, stored.astype(np.dtype(self.source.dtype)))
        self.interpreter.invoke()

    def value(self, index: int) -> np.ndarray:
        """Tensor `index` as float64 reals."""
        return _real(self.interpreter.get_tensor(index), self.graph.tensors[index])


def _real(stored: np.ndarray, tensor: Tensor) -> np.ndarray:
    stored = stored.astype(np.float64)
    if not tensor.scales or tensor.dtype == "float32":
        return stored
    return (stored - tensor.zero_points[0]) * tensor.scales[0]
