from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_train.data import augment_features

TARGETS = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]


def changed(text: str, batch: np.ndarray, seed: int = 0) -> np.ndarray:
    found, _ = augment_features.build(text)(tf.constant(batch), tf.constant(TARGETS), tf.constant([seed, 1]))
    return found.numpy()


@pytest.fixture
def ramp() -> np.ndarray:
    """Features that tell where they come from: frame number + 100 * band number."""
    frames, bands = np.arange(40, dtype=np.float32), np.arange(12, dtype=np.float32)
    return np.tile((frames[:, None] + 100 * bands)[None, :, :, None], (4, 1, 1, 1))


def test_time_bends_and_the_middle_stays(ramp):
    found = changed("stretch:0.3", ramp)[:, :, 0, 0]
    assert np.allclose(found[:, [19, 20]].mean(axis=1), 19.5, atol=0.4)
    steps = np.diff(found, axis=1)
    inside = (found[:, 1:] < 39) & (found[:, :-1] > 0)
    assert (steps >= -1e-4).all() and steps.max() <= 1.3 + 1e-3 and (steps[inside] >= 1 / 1.3 - 1e-3).all()
    assert len({round(float(row[0]), 3) for row in found}) > 1  # each its own bend


def test_bands_are_scaled_from_the_lowest(ramp):
    found = changed("bands:0.2", ramp)[:, 0, :, 0] / 100
    assert np.allclose(found[:, 0], 0)
    scale = found[:, 4] / 4
    assert (np.abs(np.log(scale)) <= np.log(1.2) + 1e-4).all() and np.ptp(scale) > 0.01
    for row, factor in zip(found, scale, strict=True):
        assert np.allclose(row, np.minimum(np.arange(12) * factor, 11), atol=1e-3)


def test_an_equalizer_is_the_same_for_every_frame_and_smooth(ramp):
    curve = changed("equalize:0.5", ramp) - ramp
    assert np.allclose(curve, curve[:, :1], atol=1e-3)
    assert 0.05 < np.abs(curve).max() < 5 and np.abs(np.diff(curve[:, 0, :, 0], axis=1)).max() < 1.5


def test_masks_hide_so_many_and_leave_the_rest(ramp):
    for text, axis, most in (("mask-time:8", 1, 8), ("mask-bands:3", 2, 3)):
        hidden = np.concatenate([changed(text, ramp, seed) != ramp for seed in range(20)])
        lines = hidden.all(axis=tuple({1, 2, 3} - {axis})).sum(axis=1)
        assert lines.max() == most and lines.min() <= 1 and hidden.any(axis=3).sum() > 0


def test_the_same_seed_gives_the_same_batch(ramp):
    text = "stretch:0.2, bands:0.1, equalize:0.4, noise:0.1, mask-time:6, mask-bands:3, mixup:0.2"
    assert np.array_equal(changed(text, ramp, 5), changed(text, ramp, 5))
    assert not np.array_equal(changed(text, ramp, 5), changed(text, ramp, 6))


def test_a_mistyped_step_is_answered():
    with pytest.raises(EdgepressError) as caught:
        augment_features.build("strech:0.2")
    assert caught.value.what == "unknown augmentation 'strech'; did you mean 'stretch'?"
    with pytest.raises(EdgepressError, match="noise"):
        augment_features.build("noise:-1")
