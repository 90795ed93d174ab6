"""What tensors store, against the plain arithmetic of `image.quantize`."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import quantize
from edgepress_runtime.manifest import TensorSpec
from edgepress_runtime.tensors import reading, storing

TENSORS = {
    "int8": TensorSpec("t", (1, 4), "int8", 0.0291, -6),
    "uint8": TensorSpec("t", (1, 4), "uint8", 0.5, 131),
    "int16": TensorSpec("t", (1, 4), "int16", 3e-4, 0),
    "int8 without a scale": TensorSpec("t", (1, 4), "int8"),
    "float32": TensorSpec("t", (1, 4), "float32"),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_storing_is_quantizing(kind):
    rng = np.random.default_rng(0)
    real = rng.normal(0, 5, (300, 4)).astype(np.float32)
    real[:40] *= 1e6  # both ends saturate
    halves = (np.arange(-40, 40, dtype=np.float32) + np.float32(0.5)).reshape(-1, 4) * np.float32(0.5)
    given = np.concatenate((real, halves))
    kept = given.copy()
    np.testing.assert_array_equal(storing(TENSORS[kind])(given), quantize(given, TENSORS[kind]), strict=True)
    np.testing.assert_array_equal(given, kept)


@pytest.mark.parametrize("kind", TENSORS)
def test_reading_gives_what_was_meant(kind):
    tensor = TENSORS[kind]
    real = np.linspace(-3, 3, 40, dtype=np.float32).reshape(-1, 4)
    found = reading(tensor)(quantize(real, tensor))
    assert found.dtype == np.float32
    reachable = np.maximum(real, -65.5) if kind == "uint8" else real
    np.testing.assert_allclose(found, reachable, atol=(tensor.scale or (0 if kind == "float32" else 1)) / 2 + 1e-6)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_floats_that_are_no_numbers(wrong):
    with pytest.raises(EdgepressError, match="no number"):
        reading(TENSORS["float32"])(np.array([[0, wrong]], np.float32))
