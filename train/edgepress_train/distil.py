"""Knowledge distillation: a student learns from labels and from what teachers answer to the same picture.

Hinton, Vinyals & Dean 2015, arXiv:1503.02531; teachers see the very augmented pictures that the student sees, as Beyer
et al. 2022 (arXiv:2106.05237) found to matter most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import ImageSpec
from edgepress_train import run
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons

# (n, height, width, channels) as the student sees them -> (n, classes) probabilities
Teacher = Callable[[Any], Any]


class Distilled(keras.Model):
    """`student` in training: loss = (1 - weight) * loss(labels) + weight * T^2 * KL(teacher_T || student_T).

    The subscript T stands for probabilities softened by the temperature. Only the student's weights are this model's.
    """

    def __init__(self, student: keras.Model, teacher: Teacher, *, weight: float, temperature: float) -> None:
        super().__init__()
        self.student = student
        self.teacher, self.weight, self.temperature = teacher, weight, temperature

    def call(self, inputs, training=None):
        return self.student(inputs, training=training)

    def train_step(self, data):
        images, targets, weights = data
        wanted = soften(self.teacher(images), self.temperature)
        with tf.GradientTape() as tape:
            scores = self.student(images, training=True)
            labelled = self.compute_loss(images, targets, scores, weights)
            given = soften(scores, self.temperature)
            apart = tf.reduce_sum(wanted * (_log(wanted) - _log(given)), axis=1)
            loss = (1 - self.weight) * labelled + self.weight * self.temperature**2 * tf.reduce_mean(apart)
        self.optimizer.minimize(loss, self.student.trainable_variables, tape=tape)
        return self.compute_metrics(images, targets, scores, weights)


def soften(probabilities, temperature: float):
    """softmax(log p / T), (n, classes): what a softmax of the logits divided by `temperature` would give."""
    return tf.nn.softmax(_log(probabilities) / temperature, axis=1)


def teacher_of(sources: Sequence[str], lessons: Lessons) -> Teacher:
    """The mean answer of the RUN folders `sources` to the pictures of `lessons`.

    Teachers may want another size, colour or normalisation: they get it. Raises EdgepressError when their labels are
    not those of the lessons, in that order.
    """
    labels, spec = lessons.labels, lessons.preprocessing
    assert isinstance(spec, ImageSpec)
    members = []
    for source in sources:
        trained = run.load(source)
        if trained.labels != labels:
            raise EdgepressError(
                f"the teacher {source} knows {', '.join(trained.labels)}, the data has {', '.join(labels)}",
                "train the teacher on the same classes",
            )
        if not isinstance(trained.preprocessing, ImageSpec):
            raise EdgepressError(f"the teacher {source} is no image classifier", "give a RUN of train image")
        model = run.load_model(trained)
        model.trainable = False
        members.append((model, trained.preprocessing))

    def teacher(images):
        answers = [model(seen_as(images, spec, wanted), training=False) for model, wanted in members]
        return tf.add_n(answers) / len(answers)

    return teacher


def seen_as(images, spec: ImageSpec, wanted: ImageSpec):
    """`images` (n, height, width, channels) float32, prepared as `spec`, as they would be if prepared as `wanted`."""
    pixels = images * tf.constant(spec.std) + tf.constant(spec.mean)
    if (spec.height, spec.width) != (wanted.height, wanted.width):
        pixels = tf.image.resize(pixels, (wanted.height, wanted.width), method="bilinear", antialias=True)
    if spec.channels < wanted.channels:
        pixels = tf.repeat(pixels, wanted.channels, axis=3)
    elif spec.channels > wanted.channels:
        # the luma of ITU-R BT.601, which Pillow uses for grey
        pixels = tf.tensordot(pixels, tf.constant([[0.299], [0.587], [0.114]]), axes=1)
    return (pixels - tf.constant(wanted.mean)) / tf.constant(wanted.std)


def _log(probabilities):
    return tf.math.log(tf.maximum(probabilities, 1e-7))
