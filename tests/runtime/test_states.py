"""The states of a streaming model: which tensors are some, and what they hold at the start."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress_runtime import states
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import TensorSpec


def tensor(shape, dtype="int8", scale=0.5, zero_point=3) -> TensorSpec:
    return TensorSpec("t", shape, dtype, scale, zero_point)


NEW, SCORES = tensor((1, 2, 4, 1)), tensor((1, 3))


def test_every_state_starts_at_its_zero_point():
    real = TensorSpec("t", (1, 5, 1), "float32")
    pair = (tensor((1, 7, 4, 1), zero_point=-128), real)
    first, second = states.initial((NEW, *pair), (SCORES, *pair))
    np.testing.assert_array_equal(first, np.full((1, 7, 4, 1), -128, np.int8), strict=True)
    np.testing.assert_array_equal(second, np.zeros((1, 5, 1), np.float32), strict=True)


def test_a_model_with_one_input_has_none():
    assert states.initial((NEW,), (SCORES,)) == []
    assert states.initial((NEW,), (SCORES, SCORES)) == []


@pytest.mark.parametrize(
    ("taken", "given", "sentence"),
    [
        ((tensor((1, 3)),), (), "the model takes 1 states but gives 0"),
        (
            (tensor((1, 3)),),
            (tensor((1, 4)),),
            "state 1 goes in as int8 [1, 3] scale 0.5 zero point 3 and comes out as",
        ),
        (
            (tensor((1, 3)),),
            (TensorSpec("t", (1, 3), "float32"),),
            "state 1 goes in as int8 [1, 3] scale 0.5 zero point 3 and comes out as float32 [1, 3]",
        ),
        (
            (tensor((1, 3)), tensor((1, 2), scale=0.25)),
            (tensor((1, 3)), tensor((1, 2))),
            "state 2 goes in as int8 [1, 2] scale 0.25 zero point 3 and comes out as int8 [1, 2] scale 0.5",
        ),
    ],
)
def test_states_that_do_not_come_back(taken, given, sentence):
    with pytest.raises(EdgepressError) as caught:
        states.initial((NEW, *taken), (SCORES, *given))
    assert caught.value.what.startswith(sentence)
