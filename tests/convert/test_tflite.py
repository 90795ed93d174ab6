"""Facts of a .tflite against counts made by hand and against Keras."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress_convert import quantize, tflite
from edgepress_convert.flatbuffer import Graph, Op, Tensor


def tensor(index: int, shape: tuple[int, ...], dtype: str = "int8", *, data: bytes | None = None, scales=()) -> Tensor:
    return Tensor(index, f"t{index}", shape, dtype, scales, (0,) * len(scales), data)


def weight(index: int, shape: tuple[int, ...], dtype: str = "int8", scales=(0.1,)) -> Tensor:
    return tensor(index, shape, dtype, data=bytes(int(np.prod(shape))), scales=scales)


def test_counts_of_the_network_by_hand(made: dict[str, bytes]) -> None:
    facts = tflite.facts(made["int8"])
    pixels = 12 * 12
    by_hand = [("CONV_2D", pixels * 8 * 3), ("DEPTHWISE_CONV_2D", pixels * 8 * 9), ("MEAN", 0)]
    by_hand += [("FULLY_CONNECTED", 8 * 3), ("SOFTMAX", 0)]
    assert [(layer.op, layer.macs) for layer in facts.layers] == by_hand
    assert facts.macs == sum(macs for _, macs in by_hand)
    assert facts.bytes == len(made["int8"])
    assert (facts.input["shape"], facts.input["dtype"]) == ([1, 12, 12, 3], "int8")
    assert (facts.output["shape"], facts.output["scale"], facts.output["zero_point"]) == ([1, 3], 1 / 256, -128)
    assert facts.subgraphs == 1


@pytest.mark.parametrize("scheme", ["float32", "float16", "int8", "int16x8"])
def test_weights_are_those_of_keras(scheme: str, made: dict[str, bytes], network) -> None:
    facts = tflite.facts(made[scheme])
    assert facts.params == network.count_params() == (3 * 8 + 8) + (9 * 8 + 8) + (8 * 3 + 3)
    # The dead channel of the first convolution: 3 weights; the others are dense, save what rounds to zero.
    assert facts.sparsity >= 3 / (24 + 72 + 24)
    if scheme.startswith("float"):
        assert facts.sparsity == 3 / (24 + 72 + 24)


def test_mlperf_tiny_resnet8_has_twelve_and_a_half_million_macs() -> None:
    from edgepress_train import models

    data = quantize.convert(models.build("resnet8", (32, 32, 3), 10), ("float32",))["float32"]
    by_hand = 32 * 32 * 16 * 27 + 2 * 32 * 32 * 16 * 16 * 9  # first convolution, first stack
    by_hand += 16 * 16 * 32 * (16 * 9 + 32 * 9 + 16)  # second stack with its 1x1 shortcut
    by_hand += 8 * 8 * 64 * (32 * 9 + 64 * 9 + 32) + 64 * 10
    assert tflite.facts(data).macs == by_hand == 12_501_632


@pytest.mark.parametrize(
    ("op", "shapes", "out", "expected"),
    [
        ("CONV_2D", [(1, 8, 8, 4), (16, 3, 3, 4), (16,)], (1, 4, 4, 16), 4 * 4 * 16 * 3 * 3 * 4),
        ("CONV_2D", [(1, 8, 8, 4), (16, 3, 3, 2), (16,)], (1, 8, 8, 16), 8 * 8 * 16 * 3 * 3 * 2),  # two groups
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 4), (1, 5, 5, 8), (8,)], (1, 8, 8, 8), 8 * 8 * 8 * 25),
        ("CONV_3D", [(1, 4, 8, 8, 2), (3, 3, 3, 2, 5)], (1, 4, 8, 8, 5), 4 * 8 * 8 * 5 * 27 * 2),
        ("TRANSPOSE_CONV", [(4,), (6, 3, 3, 2), (1, 5, 5, 2)], (1, 10, 10, 6), 5 * 5 * 2 * 9 * 6),
        ("FULLY_CONNECTED", [(1, 30), (7, 30), (7,)], (1, 7), 210),
        ("FULLY_CONNECTED", [(1, 4, 30), (7, 30)], (1, 4, 7), 4 * 210),
        ("BATCH_MATMUL", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), 2 * 3 * 4 * 5),
        ("SVDF", [(1, 20), (8, 20), (8, 6)], (1, 8), 8 * 20 + 8 * 6),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", [(1, 10, 4), *[(6, 4)] * 4, *[(6, 6)] * 4], (1, 10, 6), 10 * 4 * (24 + 36)),
        ("ADD", [(1, 8, 8, 4), (1, 8, 8, 4)], (1, 8, 8, 4), 0),
    ],
)
def test_macs_by_hand(op: str, shapes: list[tuple[int, ...]], out: tuple[int, ...], expected: int) -> None:
    recurrent = op in ("SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM")
    tensors = [weight(i, s) if recurrent and i else tensor(i, s) for i, s in enumerate([*shapes, out])]
    graph = Graph("", tuple(tensors), (), (0,), (len(shapes),))
    assert tflite.macs(Op(op, tuple(range(len(shapes))), (len(shapes),)), graph) == expected


def test_batch_matmul_with_a_transposed_first_factor() -> None:
    graph = Graph("", (tensor(0, (2, 4, 3)), tensor(1, (2, 4, 5)), tensor(2, (2, 3, 5))), (), (0, 1), (2,))
    assert tflite.macs(Op("BATCH_MATMUL", (0, 1), (2,), adj_x=True), graph) == 2 * 3 * 4 * 5


def test_per_channel_layers_are_named(made: dict[str, bytes]) -> None:
    names = tflite.facts(made["int8"]).per_channel
    assert len(names) == 3  # convolution, depthwise, and the dense layer, which other runtimes stumble over
    assert tflite.facts(made["float32"]).per_channel == ()
