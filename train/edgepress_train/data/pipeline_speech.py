"""From features to batches for `fit`: order, place of the window, augmentation, all functions of the step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edgepress_train.data import augment_features
from edgepress_train.data.order import Shuffled


@dataclass(frozen=True)
class Examples:
    """`features` (n, frames, features) float16, not normalised; `targets` (n, classes) and `weights` (n,) float32."""

    features: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.features)


def normalized(features: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Features as the net takes them: (n, frames, features) -> (n, frames, features, 1) float32."""
    return ((features.astype(np.float32) - np.float32(mean)) / np.float32(std))[..., np.newaxis]


def centred(features: np.ndarray, frames: int) -> np.ndarray:
    """The middle `frames` of each example."""
    start = (features.shape[1] - frames) // 2
    return features[:, start : start + frames]


def train_batches(
    data: Examples, frames: int, mean: float, std: float, *, augment: str, batch: int, seed: int, start: int, stop: int
) -> tf.data.Dataset:
    """Batches number `start` to `stop` of an endless, reshuffled, augmented stream: (features, targets, weights).

    features (batch, frames, features, 1) float32: a window at a random place of the stored frames, then augmented.
    """
    shuffled = Shuffled(len(data), batch, seed=seed)
    change = augment_features.build(augment)
    slack = data.features.shape[1] - frames

    def gather(step: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        index = shuffled.index(int(step))
        offsets = np.random.default_rng([seed, int(step)]).integers(0, slack + 1, len(index))
        places = offsets[:, np.newaxis] + np.arange(frames)
        windows = data.features[index[:, np.newaxis], places]
        return normalized(windows, mean, std), data.targets[index], data.weights[index]

    shape = [shuffled.batch, frames, data.features.shape[2], 1]

    def load(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        kinds = (tf.float32, tf.float32, tf.float32)
        features, targets, weights = tf.numpy_function(gather, [step], kinds, stateful=False)
        features.set_shape(shape)
        targets.set_shape([shuffled.batch, data.targets.shape[1]])
        weights.set_shape([shuffled.batch])
        features, targets = change(features, targets, tf.cast([seed, step], tf.int32))
        features.set_shape(shape)
        return features, targets, weights

    return tf.data.Dataset.range(start, stop).map(load, num_parallel_calls=2, deterministic=True).prefetch(2)


def plain_batches(data: Examples, frames: int, mean: float, std: float, *, batch: int = 512) -> tf.data.Dataset:
    """Every example once, in order, its middle window, not augmented: (features, targets, weights)."""

    def generate():
        for start in range(0, len(data), batch):
            part = slice(start, start + batch)
            windows = normalized(centred(data.features[part], frames), mean, std)
            yield windows, data.targets[part], data.weights[part]

    signature = (
        tf.TensorSpec([None, frames, data.features.shape[2], 1], tf.float32),
        tf.TensorSpec([None, data.targets.shape[1]], tf.float32),
        tf.TensorSpec([None], tf.float32),
    )
    return tf.data.Dataset.from_generator(generate, output_signature=signature)
