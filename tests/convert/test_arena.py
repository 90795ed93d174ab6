"""The arena plan against plans made by hand, and its laws on random graphs."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_convert import arena
from edgepress_convert.flatbuffer import Graph, Op, Tensor


def graph(sizes: list[int], ops: list[tuple[tuple[int, ...], tuple[int, ...]]], inputs, outputs) -> Graph:
    tensors = tuple(Tensor(i, f"t{i}", (size,), "int8", (), (), None) for i, size in enumerate(sizes))
    return Graph("", tensors, tuple(Op("ADD", a, b) for a, b in ops), inputs, outputs)


def test_a_chain_by_hand() -> None:
    # 100 -> 200 -> 50 -> 180 bytes: aligned 128, 256, 64, 192. The input stays; 1 and 3 never live together.
    plan = arena.plan(graph([100, 200, 50, 180], [((0,), (1,)), ((1,), (2,)), ((2,), (3,))], (0,), (3,)))
    places = {slot.tensor: slot.offset for slot in plan.slots}
    assert places == {0: 0, 1: 128, 3: 128, 2: 128 + 256}
    assert plan.bytes == 128 + 256 + 64


def test_a_shortcut_keeps_its_source_alive() -> None:
    # 1 is read again by the last operator, so 1, 2 and 3 live together.
    plan = arena.plan(graph([64, 64, 64, 64], [((0,), (1,)), ((1,), (2,)), ((1, 2), (3,))], (0,), (3,)))
    assert plan.bytes == 4 * 64


def test_constants_and_variables() -> None:
    tensors = (
        Tensor(0, "in", (64,), "int8", (), (), None),
        Tensor(1, "weights", (640,), "int8", (0.1,), (0,), bytes(640)),
        Tensor(2, "state", (64,), "int8", (), (), None, variable=True),
        Tensor(3, "out", (64,), "int8", (), (), None),
    )
    plan = arena.plan(Graph("", tensors, (Op("SVDF", (0, 1, 2), (3,)),), (0,), (3,)))
    assert plan.bytes == 3 * 64


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 5000), min_size=2, max_size=14), st.integers(0, 2**32 - 1))
def test_nothing_overlaps_and_nothing_is_wasted_wildly(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ops = [(tuple(int(v) for v in rng.integers(0, i, 2)), (i,)) for i in range(1, len(sizes))]
    plan = arena.plan(graph(sizes, ops, (0,), (len(sizes) - 1,)))
    for a in plan.slots:
        assert a.offset % arena.ALIGNMENT == 0
        for b in plan.slots:
            together = a.first <= b.last and b.first <= a.last
            apart = a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
            assert a is b or apart or not together
    at_once = [sum(s.size for s in plan.slots if s.first <= step <= s.last) for step in range(len(ops) + 1)]
    assert max(at_once) <= plan.bytes <= sum(s.size for s in plan.slots)
