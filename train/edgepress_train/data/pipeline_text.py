"""From ids to batches for `fit`: order, hidden pieces, targets and weights, all functions of the step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from edgepress_runtime.preprocessing import MASK, PAD
from edgepress_runtime.text import FIRST_BYTE
from edgepress_train.data.order import Shuffled
from edgepress_train.data.pipeline import wanted


@dataclass(frozen=True)
class Examples:
    """Encoded texts: `ids` (n, length) int32, `targets` (n, classes) float32, `weights` (n,) float32."""

    ids: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def examples(
    ids: np.ndarray, labels: np.ndarray, classes: int, *, smoothing: float = 0.0, class_weight: str = "none"
) -> Examples:
    """Encoded texts with their labels (n,), ready for training; `smoothing` and `class_weight` as for pictures."""
    return Examples(ids, *wanted(labels, classes, smoothing=smoothing, class_weight=class_weight))


def train_batches(data: Examples, *, hide: float, batch: int, seed: int, start: int, stop: int) -> tf.data.Dataset:
    """Batches number `start` to `stop` of an endless, reshuffled stream: (ids, targets, weights).

    A share `hide` of the pieces is replaced by the mask, other ones in every epoch.
    """
    shuffled = Shuffled(len(data), batch, seed=seed)

    def gather(step: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        index = shuffled.index(int(step))
        ids = data.ids[index]
        hidden = chosen(ids, hide, np.random.default_rng([seed, int(step)]))
        return np.where(hidden, np.int32(MASK), ids), data.targets[index], data.weights[index]

    shapes = ((shuffled.batch, *data.ids.shape[1:]), (shuffled.batch, data.targets.shape[1]), (shuffled.batch,))
    return _stream(gather, (tf.int32, tf.float32, tf.float32), shapes, start, stop)


def plain_batches(data: Examples, *, batch: int = 256) -> tf.data.Dataset:
    """Every example once, in order, nothing hidden: (ids, targets, weights)."""
    return tf.data.Dataset.from_tensor_slices((data.ids, data.targets, data.weights)).batch(batch)


def masked_batches(
    ids: np.ndarray, pieces: int, *, share: float, batch: int, seed: int, start: int, stop: int
) -> tf.data.Dataset:
    """Batches number `start` to `stop` for masked prediction: (corrupted ids, ids, chosen), each (batch, length).

    See `corrupt`; the choice is another one in every epoch.
    """
    shuffled = Shuffled(len(ids), batch, seed=seed)

    def gather(step: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        real = ids[shuffled.index(int(step))]
        return corrupt(real, pieces, share, np.random.default_rng([seed, int(step)]))

    shape = (shuffled.batch, ids.shape[1])
    return _stream(gather, (tf.int32, tf.int32, tf.float32), (shape, shape, shape), start, stop)


def masked_once(ids: np.ndarray, pieces: int, *, share: float, seed: int, batch: int = 256) -> tf.data.Dataset:
    """Every row of `ids` once, in order, as `masked_batches` gives them, always hidden alike."""
    return tf.data.Dataset.from_tensor_slices(corrupt(ids, pieces, share, np.random.default_rng(seed))).batch(batch)


def corrupt(
    ids: np.ndarray, pieces: int, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(corrupted ids, ids, chosen float32), (n, length) each: the task of Devlin et al. 2019, section 3.1.

    `share` of the real pieces is chosen, at least one a row. Of those 80 % become the mask, 10 % any piece of the
    vocabulary, and 10 % stay what they are.
    """
    picked = chosen(ids, share, rng)
    real = ids != PAD
    # A row of few pieces may have none chosen: then one of its own is.
    lonely = np.argmax(np.where(real, rng.random(ids.shape), -1.0), axis=1)
    empty = ~picked.any(axis=1) & real.any(axis=1)
    picked[empty, lonely[empty]] = True
    kind = rng.random(ids.shape)
    other = rng.integers(FIRST_BYTE, pieces, ids.shape, dtype=np.int32)
    corrupted = np.where(picked & (kind < 0.8), np.int32(MASK), np.where(picked & (kind < 0.9), other, ids))
    return corrupted, ids, picked.astype(np.float32)


def chosen(ids: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Which pieces of `ids` (n, length) are chosen, each with the chance `share`, never padding: bool."""
    return (rng.random(ids.shape) < share) & (ids != PAD)


def _stream(gather, kinds, shapes, start: int, stop: int) -> tf.data.Dataset:
    def load(step: tf.Tensor):
        parts = tf.numpy_function(gather, [step], kinds, stateful=False)
        for part, shape in zip(parts, shapes, strict=True):
            part.set_shape(shape)
        return tuple(parts)

    return tf.data.Dataset.range(start, stop).map(load, num_parallel_calls=2, deterministic=True).prefetch(2)
