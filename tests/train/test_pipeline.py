from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import normalize
from edgepress_runtime.manifest import ImageSpec
from edgepress_train.data import pipeline
from edgepress_train.data.dataset import Split

SPEC = ImageSpec(4, 4, 1, (100.0,), (50.0,))


def numbered(n):
    """Pictures that carry their own number, so that a batch tells which examples it holds."""
    pixels = np.zeros((n, 4, 4, 1), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(n)
    return pixels, Split(tuple(range(n)), np.arange(n) % 3)


def order_of(dataset):
    return [np.rint(images.numpy()[:, 0, 0, 0] * 50 + 100).astype(int).tolist() for images, _, _ in dataset]


def stream(data, start, stop, seed=5):
    return pipeline.train_batches(data, SPEC, augment="none", batch=4, seed=seed, start=start, stop=stop)


def test_each_epoch_is_another_permutation():
    pixels, split = numbered(20)
    data = pipeline.examples(pixels, split, 3)
    batches = order_of(stream(data, 0, 10))
    first, second = (list(itertools.chain(*batches[part])) for part in (slice(5), slice(5, None)))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second


def test_a_stream_begun_in_the_middle_is_the_rest_of_the_whole():
    pixels, split = numbered(22)
    data = pipeline.examples(pixels, split, 3)
    assert order_of(stream(data, 7, 15)) == order_of(stream(data, 0, 15))[7:]


def test_pixels_targets_and_weights_stay_together():
    pixels, split = numbered(21)
    data = pipeline.examples(pixels, split, 3, class_weight="balanced")
    for images, targets, weights in stream(data, 0, 8):
        index = np.rint(images.numpy()[:, 0, 0, 0] * 50 + 100).astype(int)
        assert np.array_equal(targets.numpy().argmax(axis=1), index % 3)
        assert np.array_equal(weights.numpy(), data.weights[index])
        assert np.allclose(images.numpy(), normalize(pixels[index], SPEC))


def test_balanced_weights_make_every_class_count_alike():
    pixels = np.zeros((10, 4, 4, 1), np.uint8)
    data = pipeline.examples(
        pixels, Split(tuple(range(10)), np.array([0] * 7 + [1] * 2 + [2])), 3, class_weight="balanced"
    )
    sums = [data.weights[data.targets[:, c] == 1].sum() for c in range(3)]
    assert np.allclose(sums, 10 / 3) and np.isclose(data.weights.mean(), 1)


def test_smoothing_and_soft_targets():
    pixels, split = numbered(3)
    hard = pipeline.examples(pixels, split, 3, smoothing=0.3)
    assert np.allclose(hard.targets, np.eye(3) * 0.7 + 0.1)
    soft = dataclasses.replace(split, targets=np.array([[0.5, 0.5, 0], [0, 1, 0], [1, 0, 0]], np.float32))
    assert np.array_equal(pipeline.examples(pixels, soft, 3).targets, soft.targets)


def test_plain_batches_give_every_example_once_in_order():
    pixels, split = numbered(10)
    data = pipeline.examples(pixels, split, 3)
    assert order_of(pipeline.plain_batches(data, SPEC, batch=4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_an_unknown_class_weight_is_refused():
    with pytest.raises(EdgepressError, match="unknown class weight 'heavy'"):
        pipeline.examples(*numbered(3), 3, class_weight="heavy")
