"""Batches for learning without labels: views of pictures, or inputs with what is hidden of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress_train.data.order import Shuffled

# (step) -> one batch of examples, not augmented; (examples, seed (2,) int32) -> the same augmented, as a net takes them
Gather = Callable[[Any], Any]
Change = Callable[[Any, Any], Any]
Batches = Callable[[int, int], tf.data.Dataset]


def pairs(gather: Gather, change: Change, *, seed: int) -> Batches:
    """(first, second): the same examples, augmented twice."""

    def load(step):
        examples = gather(step)
        return change(examples, _seed(seed, step, 0)), change(examples, _seed(seed, step, 1))

    return _endless(load)


def hiding(gather: Gather, change: Change, hide: Callable[[Any, tuple[int, ...]], Any], *, seed: int) -> Batches:
    """(inputs, hidden): augmented once, and 1 where `hide` (seed, shape) wants the net not to see."""

    def load(step):
        inputs = change(gather(step), _seed(seed, step, 0))
        return inputs, hide(_seed(seed, step, 1), tuple(inputs.shape))

    return _endless(load)


def told(gather: Gather, change: Change, answers: np.ndarray, order: Shuffled, *, seed: int) -> Batches:
    """(inputs, embeddings): augmented once, and what a teacher said to them, the rows of `answers` in that `order`."""

    def rows(step) -> np.ndarray:
        return answers[order.index(int(step))].astype(np.float32)

    def load(step):
        wanted = tf.numpy_function(rows, [step], tf.float32, stateful=False)
        wanted.set_shape([order.batch, answers.shape[1]])
        return change(gather(step), _seed(seed, step, 0)), wanted

    return _endless(load)


def _seed(seed: int, step: Any, view: int) -> Any:
    # Two views of one step differ in the first number, which no other step has in common with them
    return tf.stack([tf.constant(seed * 2 + view, tf.int64), tf.cast(step, tf.int64)])


def _endless(load: Callable[[Any], Any]) -> Batches:
    def batches(start: int, stop: int) -> tf.data.Dataset:
        return tf.data.Dataset.range(start, stop).map(load, num_parallel_calls=2, deterministic=True).prefetch(2)

    return batches
