"""The training model of every method without labels: an encoder, what is only needed to train it, and a cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from edgepress_train.keras2 import keras
from edgepress_train.pretrain.objectives import embedding, masked

layers = keras.layers


class Learner(keras.Model):
    """`encoder` and `head` in training: `cost` is given a batch, calls both and answers with a loss, ().

    Penalties of the encoder's weights are added. It is a function, which Keras does not look into.
    """

    def __init__(self, encoder: keras.Model, head: keras.Model, cost: Callable[[Any], Any]) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self._cost = cost
        self._loss = keras.metrics.Mean(name="loss")
        self.build(encoder.input_shape)

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, training=None):
        return self.encoder(inputs, training=training)

    def train_step(self, data):
        with tf.GradientTape() as tape:
            penalties = tf.add_n(self.losses) if self.losses else 0.0
            loss = self._cost(data) + penalties
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        self._loss.update_state(loss)
        return {"loss": self._loss.result()}


def paired(encoder: keras.Model, loss: Callable[[Any, Any], Any], widths: tuple[int, ...]) -> Learner:
    """Learns to give two views of an example alike projections; a batch is (first, second), each (n, *input).

    The projector is one Dense layer for each of `widths`, all but the last with batch normalisation and ReLU. It is
    thrown away afterwards: what suits the loss is not what suits later tasks.
    """
    x = inputs = keras.Input(encoder.output_shape[1:])
    for width in widths[:-1]:
        x = layers.Dense(width, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    head = keras.Model(inputs, layers.Dense(widths[-1], use_bias=False)(x), name="projector")

    def cost(data):
        views = tf.concat(data, axis=0)
        first, second = tf.split(head(encoder(views, training=True), training=True), 2)
        return loss(first, second)

    return Learner(encoder, head, cost)


def masking(trunk: keras.Model, decoder: keras.Model, crop: Callable[[Any], Any]) -> Learner:
    """Learns to tell what is hidden; a batch is (inputs, hidden), where `hidden` is 1 on what the net may not see.

    `crop` gives the part of an input that the decoder tells of.
    """

    def cost(data):
        inputs, hidden = data
        told = decoder(trunk(inputs * (1 - hidden), training=True), training=True)
        return masked.loss(told, crop(inputs), crop(hidden))

    return Learner(trunk, decoder, cost)


def following(encoder: keras.Model, width: int) -> Learner:
    """Learns to tell a teacher's embeddings by one linear layer; a batch is (inputs, embeddings (n, width))."""
    inputs = keras.Input(encoder.output_shape[1:])
    head = keras.Model(inputs, layers.Dense(width)(inputs), name="translator")

    def cost(data):
        examples, wanted = data
        return embedding.loss(head(encoder(examples, training=True), training=True), wanted)

    return Learner(encoder, head, cost)
