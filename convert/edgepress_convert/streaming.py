"""A whole-window .tflite rewritten as a streaming one: the same operators, fed with new frames and with what they keep.

Input 0 takes `c` new frames, (1, c, features, 1), output 0 gives one row of scores. Every operator that looks further
back than its stride gets the frames that it still needs joined in front (CONCATENATION) from a state, an extra input;
the last of the joined frames are the state's next value, the extra output of the same number. A state is stored as the
tensor whose frames it holds, so nothing is quantized again, and integer scores are those of the whole window to the bit
(the idea of Rybakov et al. 2020, arXiv:2005.06720, applied to the quantized file instead of the net).

A stream starts with states that hold their zero point. From the step on at which as many frames have come as the window
has, each step's scores are those of the window that ends there. That needs kernels which give a frame the same numbers
wherever it lies. Of those that were tried only one does not: QUANTIZE from int8 to int8 without XNNPACK, which rounds
the last numbers of a tensor unlike the others. The converter writes it where differently scaled tensors are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress_convert import flatbuffer
from edgepress_convert.compact import write
from edgepress_convert.graph_edit import GraphEditor
from edgepress_convert.time_rules import follow
from edgepress_convert.timeline import Net, Reach, Seen, StreamError
from edgepress_runtime import states
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import TensorSpec

_CUTS = ("SLICE", "STRIDED_SLICE")


@dataclass(frozen=True)
class StreamFacts:
    """What a streaming model takes and keeps: new frames a step, states in the order of its inputs, and their bytes."""

    step_frames: int
    states: tuple[TensorSpec, ...]
    state_bytes: int


def stream(model: bytes) -> bytes:
    """The streaming form of `model`, (1, frames, features, 1) -> (1, labels) with nothing padded along time.

    A mean or pool over all frames that are left goes on over the last so many; a pool whose stride is below its size
    keeps it, so that the model answers once in so many frames. Raises StreamError with the operator that no stream can
    run, and TfliteError for a damaged file.
    """
    _check(flatbuffer.graphs(model))
    unpacked = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    net, seen = follow(unpacked)
    scores = net.frames.get(int(net.graph.outputs[0]))
    if scores is None:
        raise StreamError("the scores do not depend on the input")
    _Rewriter(net, seen, step_frames=scores.rate).rewrite()
    rewritten = write(unpacked)
    open_engine(rewritten).close()  # the engine has the last word on shapes
    return rewritten


def facts(graph: flatbuffer.Graph) -> StreamFacts | None:
    """What a streaming model keeps from step to step; None for a model without states."""
    if len(graph.inputs) < 2 or len(graph.outputs) - len(graph.inputs) not in (0, 1):  # one more is an embedding
        return None
    inputs, outputs = flatbuffer.specs(graph, graph.inputs), flatbuffer.specs(graph, graph.outputs)
    try:
        states.initial(inputs, outputs)
    except EdgepressError:  # several inputs, but no states
        return None
    kept = sum(graph.tensors[i].nbytes for i in graph.inputs[1:])
    return StreamFacts(inputs[0].shape[1], inputs[1:], kept)


def run(model: bytes, streams: np.ndarray, *, threads: int = 1, xnnpack: bool = True) -> np.ndarray:
    """Scores (streams, steps, labels) of some streams (streams, steps, c, features, 1), from their start, as stored."""
    with open_engine(model, threads=threads, xnnpack=xnnpack) as engine:
        rows = []
        for chunks in streams:
            kept = states.initial(engine.inputs, engine.outputs)
            for chunk in chunks:
                row, *following = engine.run(chunk[np.newaxis], *kept)
                kept = following[: len(kept)]
                rows.append(row[0])
    return np.stack(rows).reshape(*streams.shape[:2], -1)


def _check(graphs: tuple[flatbuffer.Graph, ...]) -> None:
    graph = graphs[0]
    if len(graphs) > 1 or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        counts = f"{len(graphs)} graphs, {len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        raise StreamError(f"the model has {counts}; a stream is made from one of each")
    shape, scores = (graph.tensors[ends[0]].shape for ends in (graph.inputs, graph.outputs))
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 1 or len(scores) != 2 or scores[0] != 1:
        raise StreamError(
            f"the model goes from {list(shape)} to {list(scores)}",
            "a stream is made from a speech net, (1, frames, features, 1) to (1, labels)",
        )


class _Rewriter:
    """Builds the streaming graph operator by operator, then puts it in the place of the old one."""

    def __init__(self, net: Net, seen: Sequence[Seen], *, step_frames: int) -> None:
        self.net = net
        self.edit = GraphEditor(net.model)
        for index, frames in net.frames.items():
            if step_frames % frames.rate:
                raise StreamError("some branches of the model are slower than its scores", "give all the same strides")
            if frames.count:
                self.edit.set_frames(index, step_frames // frames.rate)
        self.inputs = [int(i) for i in net.graph.inputs]
        self.states_out: list[int] = []
        self.joined: dict[int, int] = {}  # a tensor -> its new frames behind those of its state
        self.alias: dict[int, int] = {}  # a tensor that another one does for
        self.held: dict[int, int] = {}  # a tensor -> how many of its old frames the furthest look needs
        self.steps = list(zip(net.graph.operators, seen, strict=True))
        for op, one in self.steps:
            if one.source < 0:
                continue
            source, target = self._now(one.source), int(op.outputs[0])
            self.held[source] = max(self.held.get(source, 0), one.reach.held)
            same = one.reach.held == 0 and self.edit.shape(source) == self.edit.shape(target)
            if net.kind(op) in _CUTS and same and net.frames[source].count:
                self.alias[target] = source  # it cuts nothing but the past

    def rewrite(self) -> None:
        for op, one in self.steps:
            inputs = [self._now(i) for i in op.inputs]
            if one.source < 0 or not self.net.frames[one.source].count:
                self.edit.keep(op, inputs)
            elif self.net.kind(op) not in _CUTS:
                self._feed(op, inputs, one)
            elif int(op.outputs[0]) not in self.alias:
                self._delay(op, inputs, one)
        (output,) = (self._now(i) for i in self.net.graph.outputs)
        self.net.tensors[self.inputs[0]].name = b"features"
        self.net.tensors[output].name = b"scores"
        self.edit.close(self.inputs, [output, *self.states_out])

    def _now(self, index: int) -> int:
        return self.alias.get(int(index), int(index))

    def _feed(self, op: schema.OperatorT, inputs: list[int], one: Seen) -> None:
        """An operator over the new frames, and over just the old ones that it needs."""
        source = self._now(one.source)
        place, start = self._found(source, one.reach)
        if start:
            fed = self.edit.like(source, self.edit.shape(place)[1] - start, f"stream/fed_{len(self.net.tensors)}")
            self.edit.cut(place, start, fed)
            place = fed
        inputs = [place if i == source else i for i in inputs]
        if self.net.kind(op) == "RESHAPE" and one.frames is not None and one.frames.count:
            shape = self.edit.shape(int(op.outputs[0]))
            inputs = [inputs[0], self.edit.constant(shape)]
            if op.builtinOptions is not None:
                op.builtinOptions.newShape = np.array(shape, np.int32)
        self.edit.keep(op, inputs)

    def _delay(self, op: schema.OperatorT, inputs: list[int], one: Seen) -> None:
        """A cut that leaves out the last frames of the window: in a stream it gives them later."""
        place, start = self._found(self._now(one.source), one.reach)
        count = self.edit.shape(int(op.outputs[0]))[1]
        first, last, *strides = (self.edit.integers(i) for i in inputs[1:])
        first[1] = start
        if strides:  # STRIDED_SLICE: begin, end, strides
            last[1], strides[0][1] = start + (count - 1) * one.reach.stride + 1, one.reach.stride
            op.builtinOptions.beginMask &= ~2
            op.builtinOptions.endMask &= ~2
        else:  # SLICE: begin, size
            last[1] = count
        self.edit.keep(op, [place, *(self.edit.constant(values) for values in (first, last, *strides))])

    def _found(self, source: int, reach: Reach) -> tuple[int, int]:
        """(tensor, start): the frames that an operator of this `reach` needs lie there from `start` on."""
        held = self.held[source]
        return (self._join(source, held), held - reach.held) if reach.held and held else (source, -reach.held)

    def _join(self, source: int, held: int) -> int:
        """`source` with a state of `held` frames in front; the state's next value is cut from the end."""
        if source not in self.joined:
            number, new = len(self.inputs), self.edit.shape(source)[1]
            state = self.edit.like(source, held, f"state_{number}")
            joined = self.edit.like(source, held + new, f"stream/joined_{number}")
            kept = self.edit.like(source, held, f"state_{number}_out")
            self.edit.join([state, source], joined)
            self.edit.cut(joined, new, kept)
            self.inputs.append(state)
            self.states_out.append(kept)
            self.joined[source] = joined
        return self.joined[source]
