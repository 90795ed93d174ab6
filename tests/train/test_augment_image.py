from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_train.data import augment_image

SEED = tf.constant([1, 2])


def batch(n=64, size=12, channels=3):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, size, size, channels)).astype(np.float32)
    return images, np.eye(4, dtype=np.float32)[rng.integers(0, 4, n)]


def apply(text, images, targets, seed=SEED):
    out = augment_image.build(text)(tf.constant(images), tf.constant(targets), seed)
    return out[0].numpy(), out[1].numpy()


def test_the_eight_symmetries_are_exact_and_all_occur():
    images, targets = batch(n=200, size=5)
    found, _ = apply("flip-h, flip-v, transpose", images, targets)
    seen = set()
    for before, after in zip(images, found, strict=True):
        turns = [np.rot90(m, k) for m in (before, before[:, ::-1]) for k in range(4)]
        matching = [index for index, turn in enumerate(turns) if np.array_equal(turn, after)]
        assert len(matching) == 1
        seen.add(matching[0])
    assert seen == set(range(8))


def test_whole_pixel_shifts_are_what_numpy_rolls_give():
    images, targets = batch(n=100, size=9)
    found, _ = apply("shift-pixels:2, fill:wrap", images, targets)
    seen = set()
    for before, after in zip(images, found, strict=True):
        moves = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
        matching = [move for move in moves if np.array_equal(np.roll(before, move, (0, 1)), after)]
        assert len(matching) == 1
        seen.add(matching[0])
    assert len(seen) > 15


def test_rotation_turns_about_the_centre():
    image = np.zeros((1, 21, 21, 1), np.float32)
    image[0, 10, 10] = 255
    found, _ = apply("rotate:180", np.repeat(image, 30, axis=0), np.ones((30, 4), np.float32))
    assert np.allclose(found[:, 10, 10], 255, atol=1e-2)


def test_zoom_keeps_constants_and_the_range():
    images = np.full((8, 10, 10, 3), 200, np.float32)
    found, _ = apply("zoom:0.3, rotate:40, stretch:0.2", images, np.ones((8, 4), np.float32))
    assert np.allclose(found, 200, atol=1e-2)
    found, _ = apply("brightness:1.0, contrast:0.9, noise:0.5", *batch())
    assert found.min() >= 0 and found.max() <= 255


def test_a_crop_shows_part_of_the_picture_and_nothing_beside_it():
    ramp = np.broadcast_to(np.linspace(0, 255, 32, dtype=np.float32)[None, None, :, None], (200, 32, 32, 1))
    found, _ = apply("crop:0.25, fill:constant", ramp, np.ones((200, 4), np.float32))
    wide = (found[:, 16, -1, 0] - found[:, 16, 0, 0]) / 255
    assert 0.4 < wide.min() < 0.55 and 0.95 < wide.max() <= 1.0
    assert found[:, :, 4:-4].min() > 0  # what comes in from outside would be black


def test_hue_turns_colours_about_the_axis_of_greys():
    images, targets = batch()
    images = 80 + images / 4  # nothing is clipped
    found, _ = apply("hue:60", images, targets)
    assert np.allclose(found.mean(axis=3), images.mean(axis=3), atol=1e-2)
    length = [np.linalg.norm(x - x.mean(axis=3, keepdims=True), axis=3) for x in (found, images)]
    assert np.allclose(*length, atol=1e-2) and np.abs(found - images).max() > 5
    cosine = np.einsum("nhwc,nhwc->nhw", *(x - x.mean(axis=3, keepdims=True) for x in (found, images)))
    angles = np.degrees(np.arccos(np.clip(cosine / np.maximum(length[0] * length[1], 1e-6), -1, 1)))
    assert np.allclose(angles, angles[:, :1, :1], atol=2) and 50 < angles.max() < 62
    grey = np.repeat(batch(channels=1)[0], 3, axis=3)
    assert np.allclose(apply("hue:60", grey, targets)[0], grey, atol=1e-2)
    one = batch(channels=1)[0]
    assert np.array_equal(apply("hue:60, grey:1.0", one, targets)[0], one)


def test_grey_takes_all_colour_from_its_share():
    images, targets = batch(n=400)
    found, _ = apply("grey:0.3", images, targets)
    plain = (np.ptp(found, axis=3) < 1e-3).all(axis=(1, 2))
    assert 0.2 < plain.mean() < 0.4 and np.array_equal(found[~plain], images[~plain])
    assert np.allclose(found[plain][..., 0], images[plain] @ [0.299, 0.587, 0.114], atol=1e-2)


def test_colour_leaves_grey_alone_and_brightness_adds_one_number():
    grey = np.repeat(batch(channels=1)[0], 3, axis=3)
    found, _ = apply("colour:0.9", grey, np.ones((64, 4), np.float32))
    assert np.allclose(found, grey, atol=1e-3)
    middle = np.clip(grey, 100, 150)
    found, _ = apply("brightness:0.2", middle, np.ones((64, 4), np.float32))
    added = (found - middle).reshape(64, -1)
    assert np.allclose(added, added[:, :1], atol=1e-3) and np.ptp(added[:, 0]) > 20


def test_mixing_keeps_targets_a_distribution_and_agrees_with_the_pixels():
    images, targets = batch()
    for text in ("mixup:0.4", "cutmix:1.0"):
        found, mixed = apply(text, images, targets)
        assert np.allclose(mixed.sum(axis=1), 1, atol=1e-5)
        partner = images[::-1]
        own_share = np.array(
            [np.vdot(f - p, b - p) / np.vdot(b - p, b - p) for f, b, p in zip(found, images, partner, strict=True)]
        )
        expected = own_share[:, None] * targets + (1 - own_share[:, None]) * targets[::-1]
        tolerance = 1e-3 if text.startswith("mixup") else 0.15  # the projection weighs pixels, the area does not
        assert np.allclose(mixed, expected, atol=tolerance)


def test_cutout_paints_one_box_with_the_mean():
    images, targets = batch(size=16)
    found, _ = apply("cutout:0.5", images, targets)
    for before, after in zip(images, found, strict=True):
        changed = np.abs(before - after).max(axis=2) > 1e-3
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert 3 <= len(rows) <= 9 and 3 <= len(columns) <= 9
        box = after[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert np.allclose(box, before.mean(axis=(0, 1)), atol=0.5)


def test_the_same_seed_gives_the_same_batch():
    images, targets = batch()
    text = "flip-h, rotate:20, brightness:0.1, mixup:0.2, cutmix:1.0"
    one, two = apply(text, images, targets), apply(text, images, targets)
    other = apply(text, images, targets, tf.constant([1, 3]))
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])
    assert not np.array_equal(one[0], other[0])


def test_nothing_asked_changes_nothing():
    images, targets = batch()
    found = apply("none", images, targets)
    assert np.array_equal(found[0], images) and np.array_equal(found[1], targets)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("flip-x", "unknown augmentation 'flip-x'; did you mean 'flip-v'?"),
        ("flip-h:2", "augmentation 'flip-h' takes no value"),
        ("rotate:degree=3", "augmentation 'rotate' has no option 'degree'; did you mean 'degrees'?"),
        ("fill:mirror", "unknown fill 'mirror'"),
    ],
)
def test_a_mistyped_line_is_answered(text, sentence):
    with pytest.raises(EdgepressError) as caught:
        augment_image.build(text)
    assert caught.value.what == sentence
