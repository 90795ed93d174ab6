"""What a student is shown, as a teacher with another preprocessing would have been shown it."""

from __future__ import annotations

import tensorflow as tf

from edgepress_runtime.manifest import ImageSpec, SpeechSpec


def seen_as(images, spec: ImageSpec, wanted: ImageSpec):
    """`images` (n, height, width, channels) float32, prepared as `spec`, as they would be if prepared as `wanted`.

    They keep the shape of `spec`'s fit: what was cut off or padded stays so.
    """
    pixels = images * tf.constant(spec.std) + tf.constant(spec.mean)
    if (spec.height, spec.width) != (wanted.height, wanted.width):
        pixels = tf.image.resize(pixels, (wanted.height, wanted.width), method="bilinear", antialias=True)
    if spec.channels < wanted.channels:
        pixels = tf.repeat(pixels, wanted.channels, axis=3)
    elif spec.channels > wanted.channels:
        # the luma of ITU-R BT.601, which Pillow uses for grey
        pixels = tf.tensordot(pixels, tf.constant([[0.299], [0.587], [0.114]]), axes=1)
    return (pixels - tf.constant(wanted.mean)) / tf.constant(wanted.std)


def heard_as(features, spec: SpeechSpec, wanted: SpeechSpec, frames: int):
    """(n, frames, features, 1) float32, normalised as `spec`, normalised as `wanted`: the middle `frames` of them.

    The two specs may differ in nothing else.
    """
    start = (features.shape[1] - frames) // 2
    middle = features[:, start : start + frames]
    if (spec.mean, spec.std) == (wanted.mean, wanted.std):
        return middle
    return (middle * spec.std + (spec.mean - wanted.mean)) / wanted.std
