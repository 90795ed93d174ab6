"""Parity against counts made by hand, and the gate on a network that plain per-tensor quantization breaks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.convert.conftest import examples, pictures

from edgepress_convert import quantize, verify
from edgepress_convert.verify import DropError
from edgepress_runtime.errors import EdgepressError


def one_hot(answers: list[int]) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[answers]


def test_counts_by_hand() -> None:
    truth = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    before = one_hot([0, 1, 2, 0, 1, 2, 0, 1, 0, 1])  # 8 right
    after = one_hot([0, 1, 2, 0, 1, 0, 1, 2, 2, 1])  # 3 turned wrong, 1 turned right, 1 wrong either way
    parity = verify.judge(before, after, truth)
    assert (parity.n, parity.float_top1, parity.model_top1) == (10, 0.8, 0.6)
    assert (parity.lost, parity.gained, parity.changed, parity.agreement) == (3, 1, 4, 0.6)
    assert parity.drop_points == pytest.approx(20)
    assert parity.drop_stderr_points == pytest.approx(100 * np.sqrt(4 - 4 / 10) / 10)
    assert parity.score_error == 1.0


def test_the_standard_error_is_that_of_the_paired_differences() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 500)
    before, after = rng.random((500, 3)), rng.random((500, 3))
    parity = verify.judge(before, after, truth)
    difference = (before.argmax(1) == truth).astype(float) - (after.argmax(1) == truth)
    assert parity.drop_stderr_points == pytest.approx(100 * difference.std() / np.sqrt(500))


def test_without_labels_only_agreement_is_known() -> None:
    parity = verify.judge(one_hot([0, 1]), one_hot([0, 2]), None)
    assert (parity.float_top1, parity.lost, parity.drop_points, parity.agreement) == (None, None, None, 0.5)
    verify.gate(parity, 0.0, scheme="int8", remedies="")


def test_a_good_model_passes_and_its_parity_is_plain_json(network, made: dict[str, bytes]) -> None:
    pixels, labels = pictures(90, seed=8)
    parity = verify.compare(network, made["int8"], reference=made["float32"], examples=examples(pixels, labels))
    assert parity.float_top1 > 0.95
    assert parity.drop_points <= 2
    verify.gate(parity, 2.0, scheme="int8", remedies="")
    assert json.loads(json.dumps(verify.as_json(parity), allow_nan=False))["n"] == 90


def test_a_model_that_breaks_is_refused_with_the_layer(network, representative: np.ndarray) -> None:
    made = quantize.convert(network, ("float32", "int8"), representative=representative, weights="per-tensor")
    pixels, labels = pictures(90, seed=8)
    parity = verify.compare(network, made["int8"], reference=made["float32"], examples=examples(pixels, labels))
    assert parity.drop_points > 20
    worst = max(parity.layers, key=lambda layer: layer.loss_db)
    assert (worst.op, worst.name) == ("DEPTHWISE_CONV_2D", parity.worst_layer)
    assert worst.channel_snr_db < 5  # seven of eight channels rounded to nothing
    with pytest.raises(DropError) as caught:
        verify.gate(parity, 2.0, scheme="int8", remedies="leave out --per-tensor")
    assert f"int8 loses {parity.drop_points:.1f} points (allowed: 2) on 90 validation pictures" in caught.value.what
    assert "(DEPTHWISE_CONV_2D), where the signal falls from" in caught.value.what
    assert caught.value.remedy == "leave out --per-tensor"


def test_a_float_model_with_other_scores_is_refused() -> None:
    near = verify.judge(one_hot([0, 1]), one_hot([0, 1]) * 0.96, None)
    verify.gate_scores(near, scheme="float32")
    far = verify.judge(one_hot([0, 1]), one_hot([0, 1]) * 0.9, None)
    with pytest.raises(
        DropError, match=r"the float32 model gives other scores than Keras, by up to 0\.1 on 2 pictures"
    ):
        verify.gate_scores(far, scheme="float32")


def test_nothing_to_compare_on(network, made: dict[str, bytes]) -> None:
    none = examples(np.zeros((0, 12, 12, 3), np.uint8))
    with pytest.raises(EdgepressError, match="there are no validation pictures"):
        verify.compare(network, made["int8"], reference=made["float32"], examples=none)
