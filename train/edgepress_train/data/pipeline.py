"""From decoded pixels to batches for `fit`: order, augmentation, targets and weights, all functions of the step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import normalize
from edgepress_runtime.manifest import ImageSpec
from edgepress_train.data import augment_image
from edgepress_train.data.dataset import Split
from edgepress_train.data.order import Shuffled

CLASS_WEIGHTS = ("none", "balanced")


@dataclass(frozen=True)
class Examples:
    """Decoded examples: `pixels` (n, height, width, channels) uint8, `targets` (n, classes) float32, `weights` (n,)."""

    pixels: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)


def examples(
    pixels: np.ndarray, split: Split, classes: int, *, smoothing: float = 0.0, class_weight: str = "none"
) -> Examples:
    """`split` with its pixels, ready for training: see `wanted`."""
    soft = split.targets
    targets, weights = wanted(split.labels, classes, soft=soft, smoothing=smoothing, class_weight=class_weight)
    return Examples(pixels, targets, weights)


def wanted(
    labels: np.ndarray, classes: int, *, soft: np.ndarray | None = None, smoothing: float, class_weight: str
) -> tuple[np.ndarray, np.ndarray]:
    """Targets (n, classes) and weights (n,), float32, of examples with `labels` (n,).

    Targets are the `soft` ones where there are some, else one-hot; `smoothing` mixes in that share of the uniform
    distribution (Szegedy et al. 2016, arXiv:1512.00567, section 7). `balanced` weighs each class by
    n / (classes * n_class).
    """
    if class_weight not in CLASS_WEIGHTS:
        raise EdgepressError(f"unknown class weight {class_weight!r}", f"known: {', '.join(CLASS_WEIGHTS)}")
    targets = np.eye(classes, dtype=np.float32)[labels] if soft is None else soft
    targets = (targets * (1 - smoothing) + smoothing / classes).astype(np.float32)
    weights = np.ones(len(labels), np.float32)
    if class_weight == "balanced":
        counts = np.maximum(np.bincount(labels, minlength=classes), 1)
        weights = (len(labels) / (classes * counts))[labels].astype(np.float32)
    return targets, weights


def train_batches(
    data: Examples, preprocessing: ImageSpec, *, augment: str, batch: int, seed: int, start: int, stop: int
) -> tf.data.Dataset:
    """Batches number `start` to `stop` of an endless, reshuffled, augmented stream: (images, targets, weights).

    images (batch, height, width, channels) float32, normalised. Each epoch is a permutation of its own; its last,
    incomplete batch is left out.
    """
    shuffled = Shuffled(len(data), batch, seed=seed)
    batch = shuffled.batch
    change = augment_image.build(augment)
    mean, std = tf.constant(preprocessing.mean, tf.float32), tf.constant(preprocessing.std, tf.float32)

    def gather(step: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        index = shuffled.index(int(step))
        return data.pixels[index], data.targets[index], data.weights[index]

    def load(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        pixels, targets, weights = tf.numpy_function(gather, [step], (tf.uint8, tf.float32, tf.float32), stateful=False)
        pixels.set_shape([batch, *data.pixels.shape[1:]])
        targets.set_shape([batch, data.targets.shape[1]])
        weights.set_shape([batch])
        images, targets = change(tf.cast(pixels, tf.float32), targets, tf.cast([seed, step], tf.int32))
        images.set_shape([batch, *data.pixels.shape[1:]])
        targets.set_shape([batch, data.targets.shape[1]])
        return (images - mean) / std, targets, weights

    return tf.data.Dataset.range(start, stop).map(load, num_parallel_calls=2, deterministic=True).prefetch(2)


def plain_batches(data: Examples, preprocessing: ImageSpec, *, batch: int = 256) -> tf.data.Dataset:
    """Every example once, in order, not augmented: (images, targets, weights), preprocessed as on the board."""

    def generate():
        for start in range(0, len(data), batch):
            part = slice(start, start + batch)
            yield normalize(np.asarray(data.pixels[part]), preprocessing), data.targets[part], data.weights[part]

    shape = [None, *data.pixels.shape[1:]]
    signature = (
        tf.TensorSpec(shape, tf.float32),
        tf.TensorSpec([None, data.targets.shape[1]], tf.float32),
        tf.TensorSpec([None], tf.float32),
    )
    return tf.data.Dataset.from_generator(generate, output_signature=signature)
