"""Masked prediction: parts of the input are hidden, and told from what is left around them.

Pictures as in SimMIM (Xie et al. 2022, arXiv:2111.09886): square patches, absolute error on hidden pixels only.
Spectrograms: spans of time and bands of frequency, as in SpecAugment (Park et al. 2019, arXiv:1904.08779), but to be
filled in.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_train.data.augment_image import Draws


def patches(seed: Any, shape: tuple[int, ...], *, share: float = 0.5, patch: int = 4):
    """Hide `share` of the squares of `patch` pixels, the same number in each picture: (n, height, width, 1) of 0 and 1.

    `seed` is (2,) int32, `shape` (n, height, width, channels).
    """
    _within(share, "share", 0.01, 0.99)
    _within(patch, "patch", 1, min(shape[1], shape[2]))
    n, height, width, _ = shape
    rows, columns = -(-height // patch), -(-width // patch)
    hidden = max(1, min(rows * columns - 1, round(share * rows * columns)))
    order = tf.argsort(tf.argsort(Draws(seed).uniform([n, rows * columns], 0.0, 1.0), axis=1), axis=1)
    grid = tf.reshape(tf.cast(order < hidden, tf.float32), [n, rows, columns, 1])
    return tf.repeat(tf.repeat(grid, patch, axis=1), patch, axis=2)[:, :height, :width]


def spans(seed: Any, shape: tuple[int, ...], *, share: float = 0.4, frames: int = 8, bands: float = 0.2):
    """Hide about `share` of the time in spans of `frames`, and up to the share `bands` of neighbouring bands.

    `seed` is (2,) int32, `shape` (n, frames, bands, 1); what is hidden is 1 in the (n, frames, bands, 1) given back.
    Spans may overlap, so a span begins at each frame with the probability at which `share` of them are covered.
    """
    _within(share, "share", 0.01, 0.99)
    _within(frames, "frames", 1, shape[1])
    _within(bands, "bands", 0, 1)
    n, time, height, _ = shape
    draws = Draws(seed)
    begins = 1 - (1 - share) ** (1 / frames)
    starts = tf.cast(draws.uniform([n, time + frames - 1], 0.0, 1.0) < begins, tf.float32)
    covered = tf.nn.max_pool1d(starts[..., None], frames, 1, "VALID")[..., 0]
    wide = tf.floor(draws.uniform([n, 1], 0.0, bands * height + 1))
    low = tf.floor(draws.uniform([n, 1], 0.0, 1.0) * (height - wide + 1))
    place = tf.range(float(height))[None]
    low_bands = tf.cast((place >= low) & (place < low + wide), tf.float32)
    return tf.maximum(covered[:, :, None, None], low_bands[:, None, :, None])


def loss(told, truth, hidden):
    """The mean absolute error where `hidden` is 1, in units of the input; all (n, a, b, channels), `hidden` (.., 1)."""
    error = tf.reduce_mean(tf.abs(told - truth), axis=-1, keepdims=True)
    return tf.reduce_sum(error * hidden) / tf.maximum(tf.reduce_sum(hidden), 1.0)


def _within(value: float, name: str, low: float, high: float) -> None:
    if not low <= value <= high:
        raise EdgepressError(f"method 'masked': {name} is {value}", f"give a number from {low:g} to {high:g}")
