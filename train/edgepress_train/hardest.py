"""Learning from the hardest: of the background's examples in a batch only those count that are most nearly a keyword.

Online hard example mining (Shrivastava et al. 2016, arXiv:1604.03540, section 4.2). Nearly everything that is not a
word is easily told from it, and a mean over all of it says nothing of the few sounds that would wake a spotter: they
alone decide at which threshold it can be used.
"""

from __future__ import annotations

import tensorflow as tf

from edgepress_train.keras2 import keras


class Hardest(keras.Model):
    """`student` in training: loss = (mean over keywords + mean over the hardest `share` of the background) / 2.

    `background` is the number of the label that keywords are told from. Examples count by their weights within either
    mean. Penalties of the student's own weights count in full. Only the student's weights are this model's.
    """

    def __init__(self, student: keras.Model, background: int, *, share: float) -> None:
        super().__init__()
        self.student, self.background, self.share = student, background, share
        self.build(student.input_shape)

    def build(self, input_shape):
        self.built = True  # the student is, and a training that was stopped early is resumed by its weights alone

    def call(self, inputs, training=None):
        return self.student(inputs, training=training)

    def train_step(self, data):
        examples, targets, weights = data
        variables = self.student.trainable_variables
        with tf.GradientTape() as tape:
            scores = self.student(examples, training=True)
            penalties = tf.add_n(self.losses) if self.losses else 0.0
            loss = hardest(scores, targets, weights, self.background, share=self.share) + penalties
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        self.compute_loss(examples, targets, scores, weights)  # the plain one is told, as it is of validation
        return self.compute_metrics(examples, targets, scores, weights)


def hardest(scores, targets, weights, background: int, *, share: float):
    """The loss of `Hardest`, a scalar in nats, of probabilities (n, classes), targets (n, classes), weights (n,)."""
    losses = -tf.reduce_sum(targets * tf.math.log(tf.maximum(scores, 1e-7)), axis=1)
    behind = tf.equal(tf.argmax(targets, axis=1), background)
    others, theirs = tf.boolean_mask(losses, behind), tf.boolean_mask(weights, behind)
    count = tf.cast(tf.math.ceil(share * tf.cast(tf.size(others), tf.float32)), tf.int32)
    chosen = tf.math.top_k(others, count, sorted=False).indices
    return 0.5 * (
        _mean(tf.boolean_mask(losses, ~behind), tf.boolean_mask(weights, ~behind))
        + _mean(tf.gather(others, chosen), tf.gather(theirs, chosen))
    )


def _mean(losses, weights):
    return tf.math.divide_no_nan(tf.reduce_sum(losses * weights), tf.reduce_sum(weights))
