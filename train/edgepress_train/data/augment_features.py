"""Augmentation of features in batches, inside the TensorFlow graph, described by one line.

`stretch:0.2, bands:0.1, equalize:0.4, noise:0.1, mask-time:12, mask-bands:6`. Bent time and bent frequency are other
speeds and other throats; it costs nothing beside doing the same to sound. Random numbers are stateless: the same seed
and step give the same batch, so a resumed training sees what the uninterrupted one would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_train import spec
from edgepress_train.data.augment_image import Draws, mixup

# TensorFlow ships no types that a checker could follow; these names say what travels
Features: TypeAlias = Any  # (n, frames, features, 1) float32, normalised
Targets: TypeAlias = Any  # (n, classes) float32
Augment = Callable[[Features, Targets, Any], tuple[Features, Targets]]


def stretch(draws: Draws, batch: Features, *, fraction: float = 0.2) -> Features:
    """Play two stretches of time, parted anywhere, each faster or slower by a factor of up to `1 + fraction`.

    The middle frame keeps its place; what is missing at the ends repeats the first or last frame.
    """
    n, frames = tf.shape(batch)[0], tf.shape(batch)[1]
    last = tf.cast(frames - 1, tf.float32)
    pivot = draws.uniform([n, 1], 0.2, 0.8) * last
    time = tf.range(tf.cast(frames, tf.float32))[None, :] - pivot
    bound = math.log1p(fraction)
    before, after = (tf.exp(draws.uniform([n, 1], -bound, bound)) for _ in range(2))
    bent = tf.where(time < 0, time * before, time * after)
    middle = last / 2 - pivot
    bent += pivot + middle - tf.where(middle < 0, middle * before, middle * after)
    return _resampled(batch, bent, axis=1)


def bands(draws: Draws, batch: Features, *, fraction: float = 0.1) -> Features:
    """Scale the frequency axis by a factor of up to `1 + fraction` (vocal tract length; Jaitly & Hinton 2013)."""
    n, count = tf.shape(batch)[0], tf.cast(tf.shape(batch)[2], tf.float32)
    bound = math.log1p(fraction)
    scale = tf.exp(draws.uniform([n, 1], -bound, bound))
    return _resampled(batch, tf.range(count)[None, :] * scale, axis=2)


def equalize(draws: Draws, batch: Features, *, strength: float = 0.4) -> Features:
    """Add a curve over the bands, smooth, the same for every frame: another microphone. In units of the features."""
    n, count = tf.shape(batch)[0], tf.cast(tf.shape(batch)[2], tf.float32)
    place = tf.range(count)[None, :] / count
    curve = tf.zeros_like(place)
    for wave in range(4):
        phase = draws.uniform([n, 1], 0.0, 2 * math.pi)
        height = strength * tf.random.stateless_normal([n, 1], draws.next_seed()) / math.sqrt(4)
        curve += height * tf.cos(math.pi * wave * place + phase)
    return batch + curve[:, None, :, None]


def noise(draws: Draws, batch: Features, *, sigma: float = 0.1) -> Features:
    """Add Gaussian noise of standard deviation up to `sigma`."""
    strength = draws.uniform([tf.shape(batch)[0], 1, 1, 1], 0.0, sigma)
    return batch + strength * tf.random.stateless_normal(tf.shape(batch), draws.next_seed())


def mask_time(draws: Draws, batch: Features, *, frames: int = 12) -> Features:
    """Replace a stretch of up to `frames` frames by the mean (SpecAugment, Park et al. 2019, arXiv:1904.08779)."""
    return _masked(draws, batch, frames, axis=1)


def mask_bands(draws: Draws, batch: Features, *, bands: int = 6) -> Features:
    """Replace up to `bands` neighbouring bands by the mean, as `mask-time` does frames."""
    return _masked(draws, batch, bands, axis=2)


def _masked(draws: Draws, batch: Features, most: int, *, axis: int) -> Features:
    n, size = tf.shape(batch)[0], tf.shape(batch)[axis]
    width = tf.floor(draws.uniform([n, 1], 0.0, most + 1.0))
    start = tf.floor(draws.uniform([n, 1], 0.0, 1.0) * (tf.cast(size, tf.float32) - width + 1))
    place = tf.range(tf.cast(size, tf.float32))[None, :]
    hidden = tf.cast((place >= start) & (place < start + width), tf.float32)
    hidden = hidden[:, :, None, None] if axis == 1 else hidden[:, None, :, None]
    mean = tf.reduce_mean(batch, axis=[1, 2], keepdims=True)
    return batch * (1 - hidden) + mean * hidden


def _resampled(batch: Features, places: Any, *, axis: int) -> Features:
    """`batch` read at fractional `places` (n, size) along `axis`, linearly, the ends repeated."""
    size = tf.shape(batch)[axis]
    places = tf.clip_by_value(places, 0.0, tf.cast(size - 1, tf.float32))
    low = tf.cast(tf.floor(places), tf.int32)
    high = tf.minimum(low + 1, size - 1)
    share = places - tf.cast(low, tf.float32)
    share = share[:, :, None, None] if axis == 1 else share[:, None, :, None]
    first, second = (tf.gather(batch, index, axis=axis, batch_dims=1) if axis == 1 else _columns(batch, index)
                     for index in (low, high))  # fmt: skip
    return first * (1 - share) + second * share


def _columns(batch: Features, index: Any) -> Features:
    turned = tf.transpose(batch, [0, 2, 1, 3])
    return tf.transpose(tf.gather(turned, index, axis=1, batch_dims=1), [0, 2, 1, 3])


STEPS: dict[str, Callable[..., Features]] = {
    "stretch": stretch,
    "bands": bands,
    "equalize": equalize,
    "noise": noise,
    "mask-time": mask_time,
    "mask-bands": mask_bands,
}
MIXING: dict[str, Callable[..., tuple[Features, Targets]]] = {"mixup": mixup}


def build(text: str) -> Augment:
    """The augmentation that `text` describes: (features, targets, seed (2,) int32) -> (features, targets).

    Steps happen in the order written. Raises EdgepressError for an unknown step or option.
    """
    steps: list[tuple[Callable[..., Any], dict[str, Any], bool]] = []
    for step in spec.parse(text):
        function: Callable[..., Any] = spec.choose(step, {**STEPS, **MIXING}, kind="augmentation")
        options = spec.bind(step, function, kind="augmentation")
        for name, value in options.items():
            if not 0 <= value < math.inf:
                raise EdgepressError(f"augmentation {step.name!r}: {name} is {value}", "give a number from 0 up")
        steps.append((function, options, step.name in MIXING))

    def augment(batch: Features, targets: Targets, seed: Any) -> tuple[Features, Targets]:
        draws = Draws(seed)
        for function, options, mixes in steps:
            if mixes:
                batch, targets = function(draws, batch, targets, **options)
            else:
                batch = function(draws, batch, **options)
        return batch, targets

    return augment
