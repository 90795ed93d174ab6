"""Training on without losing what a pass left in the weights: zeros stay zero, shared values shared, to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from edgepress_convert.compress import kept_weights
from edgepress_convert.compress.kept_weights import Kept
from edgepress_train.distil import Hold
from edgepress_train.keras2 import keras


class Held(keras.Model):
    """`student` in training by labels alone, its gradients projected by `hold`."""

    def __init__(self, student: keras.Model, hold: Hold) -> None:
        super().__init__()
        self.student, self._hold = student, hold
        self.build(student.input_shape)

    def build(self, input_shape):
        self.built = True  # the student is

    def call(self, inputs, training=None):
        return self.student(inputs, training=training)

    def train_step(self, data):
        inputs, targets, weights = data
        variables = self.student.trainable_variables
        with tf.GradientTape() as tape:
            scores = self.student(inputs, training=True)
            loss = self.compute_loss(inputs, targets, scores, weights)
        gradients = self._hold(tape.gradient(loss, variables))
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return self.compute_metrics(inputs, targets, scores, weights)


def kept_of(model: keras.Model) -> list[Kept | None]:
    """What each trainable weight of `model` has that must be kept, None for those without kernels."""
    return [
        kept_weights.read(variable.numpy()) if len(variable.shape) > 1 else None
        for variable in model.trainable_variables
    ]


def holding(kept: Sequence[Kept | None]) -> Hold:
    """The function that gives gradients which leave `kept` alone."""
    return partial(_held, kept)


def settle(model: keras.Model, kept: Sequence[Kept | None]) -> None:
    """Put the weights back to the bit: equal weights with equal gradients stay equal but for rounding."""
    variables = model.trainable_variables
    for variable, value in zip(variables, _held(kept, variables), strict=True):
        variable.assign(value)


def _held(kept: Sequence[Kept | None], values: Sequence[Any]) -> list[Any]:
    """Gradients, or weights, with nothing where zeros are kept and one mean where a value is shared."""
    return [
        value if one is None or value is None else kept_weights.held(value, one)
        for value, one in zip(values, kept, strict=True)
    ]
