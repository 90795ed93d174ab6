"""How much memory a model's activations take: TensorFlow Lite's own arena plan, computed from the graph.

Greedy by size: tensors in decreasing order of bytes, each at the offset where it fits best among those that live at
the same time (Y. Pisarchyk and J. Lee, "Efficient Memory Management for Deep Neural Net Inference", MLSys 2020
workshop, arXiv:2001.03288, section 5.2). Kernels that write in place are not modelled, so the result is an upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepress_convert.flatbuffer import Graph

ALIGNMENT = 64  # bytes; LiteRT aligns every tensor of the arena so


@dataclass(frozen=True)
class Slot:
    """A tensor's place: bytes [`offset`, `offset + size`) while operators `first` to `last` run, both included."""

    tensor: int
    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """The arena: `bytes` in all, and who lies where."""

    bytes: int
    slots: tuple[Slot, ...]


def plan(graph: Graph) -> Plan:
    """The arena plan of one subgraph.

    A tensor lives from the operator that writes it to the last that reads it. Inputs and variables live throughout,
    outputs to the end, as in LiteRT, where an application may read or set them at any time between two runs. Constants
    live in the file; float32 copies of float16 weights are left out, since XNNPACK reads the float16 ones.
    """
    end = len(graph.ops)
    lives: dict[int, tuple[int, int]] = {i: (0, end) for i in graph.inputs if i >= 0}
    lives |= {t.index: (0, end) for t in graph.tensors if t.variable}
    copies: set[int] = set()
    for step, op in enumerate(graph.ops):
        if op.kind == "DEQUANTIZE" and op.inputs[0] >= 0 and graph.tensors[op.inputs[0]].data is not None:
            copies.update(op.outputs)
        for index in (*op.outputs, *op.inputs):
            if index >= 0 and graph.tensors[index].data is None:
                first, last = lives.get(index, (step, step))
                lives[index] = (first, max(last, step))
    for index in graph.outputs:
        if index in lives:
            lives[index] = (lives[index][0], end)
    sizes = {i: _aligned(graph.tensors[i].nbytes) for i in lives if i not in copies and graph.tensors[i].nbytes}
    whole = {i for i in sizes if lives[i] == (0, end)}
    order = sorted(sizes, key=lambda i: (i not in whole, -sizes[i], lives[i][0], i))
    slots: list[Slot] = []
    for index in order:
        first, last = lives[index]
        beside = sorted((s for s in slots if s.first <= last and first <= s.last), key=lambda s: s.offset)
        slots.append(Slot(index, _best_gap(beside, sizes[index]), sizes[index], first, last))
    return Plan(max((s.offset + s.size for s in slots), default=0), tuple(slots))


def _best_gap(beside: list[Slot], size: int) -> int:
    """The smallest gap between live slots that holds `size` bytes, else behind them all."""
    best, best_gap, cursor = -1, -1, 0
    for slot in beside:
        gap = slot.offset - cursor
        if gap >= size and (best < 0 or gap < best_gap):
            best, best_gap = cursor, gap
        cursor = max(cursor, slot.offset + slot.size)
    return cursor if best < 0 else best


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
