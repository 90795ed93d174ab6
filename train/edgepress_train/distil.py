"""Knowledge distillation: a student learns from labels and from what teachers answer to the same example.

Hinton, Vinyals & Dean 2015, arXiv:1503.02531; teachers see the very augmented examples that the student sees, as Beyer
et al. 2022 (arXiv:2106.05237) found to matter most. With a weight of features the student also looks where they look
(`attention`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_train import attention
from edgepress_train.config import SpeechConfig, TrainConfig
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons
from edgepress_train.progress import Progress, silent
from edgepress_train.teachers import Found, Teacher, engage

Hold = Callable[[Sequence[Any]], Sequence[Any]]
# inputs (n, *input) -> probabilities (n, classes) and feature maps, (n, height, width, channels) each
Look = Callable[[Any], tuple[Any, Sequence[Any]]]


class Distilled(keras.Model):
    """`student` in training: loss = (1 - weight) * loss(labels) + weight * T^2 * KL(teacher_T || student_T) + F.

    The subscript T stands for probabilities softened by the temperature; F is `features` times the distance of the
    attention maps, summed over the maps that `look` and `ask` give, in the same order. `look` runs the student in
    training, `ask` the teachers. Penalties of the student's own weights count in full. `hold` is given the gradients of
    the student's trainable weights, in their order, and gives those to be followed. Only the student's weights are this
    model's.
    """

    def __init__(
        self,
        student: keras.Model,
        look: Look,
        ask: Look,
        *,
        weight: float,
        temperature: float,
        features: float = 0.0,
        hold: Hold | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.weight, self.temperature, self.features = weight, temperature, features
        # Functions, which Keras does not look into: neither the teachers nor a second way to the student are tracked.
        self._look, self._ask, self._hold = look, ask, hold
        self.build(student.input_shape)

    def build(self, input_shape):
        self.built = True  # the student is, and a training that was stopped early is resumed by its weights alone

    def call(self, inputs, training=None):
        return self.student(inputs, training=training)

    def train_step(self, data):
        examples, targets, weights = data
        answers, shown = self._ask(examples)
        wanted = soften(answers, self.temperature)
        variables = self.student.trainable_variables
        with tf.GradientTape() as tape:
            scores, maps = self._look(examples)
            penalties = tf.add_n(self.losses) if self.losses else 0.0
            labelled = self.compute_loss(examples, targets, scores, weights) - penalties
            given = soften(scores, self.temperature)
            apart = tf.reduce_sum(wanted * (_log(wanted) - _log(given)), axis=1)
            taught = self.weight * self.temperature**2 * apart
            for own, other in zip(maps, shown, strict=True):
                taught += self.features * attention.apart(own, other)
            loss = (1 - self.weight) * labelled + tf.reduce_mean(weights * taught) + penalties
        gradients = tape.gradient(loss, variables)
        if self._hold is not None:
            gradients = self._hold(gradients)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return self.compute_metrics(examples, targets, scores, weights)


def soften(probabilities, temperature: float):
    """softmax(log p / T), (n, classes): what a softmax of the logits divided by `temperature` would give."""
    return tf.nn.softmax(_log(probabilities) / temperature, axis=1)


def learner(
    student: keras.Model,
    teachers: Sequence[Teacher],
    *,
    weight: float,
    temperature: float,
    features: float = 0.0,
    hold: Hold | None = None,
) -> Distilled:
    """`student`, to be trained in place by the mean answer of `teachers`.

    With `features` the attention of each teacher's maps counts as well, averaged over the teachers. Raises
    EdgepressError when one of them then is a bundle, or has no maps.
    """
    look, ask = _showing(student, teachers) if features else _answering(student, teachers)
    share = features / len(teachers)
    return Distilled(student, look, ask, weight=weight, temperature=temperature, features=share, hold=hold)


def _answering(student: keras.Model, teachers: Sequence[Teacher]) -> tuple[Look, Look]:
    def look(examples: Any) -> tuple[Any, Sequence[Any]]:
        return student(examples, training=True), ()

    def ask(examples: Any) -> tuple[Any, Sequence[Any]]:
        return _mean([teacher(examples) for teacher in teachers]), ()

    return look, ask


def _showing(student: keras.Model, teachers: Sequence[Teacher]) -> tuple[Look, Look]:
    watched: list[str] = []
    asked: list[tuple[Teacher, Any]] = []
    for teacher in teachers:
        if teacher.model is None:
            raise EdgepressError(
                f"the teacher {teacher.name} is a bundle, which shows its answers and no features",
                "give the RUN that it was made from, or leave the weight of features at 0",
            )
        pairs = attention.pairs(student, teacher.model, (student.input_shape[1:], teacher.shape))
        watched += [own for own, _ in pairs]
        asked.append((teacher, attention.showing(teacher.model, [other for _, other in pairs])))
    watching = attention.showing(student, watched)

    def look(examples: Any) -> tuple[Any, Sequence[Any]]:
        scores, maps = watching(examples, training=True)
        return scores, maps

    def ask(examples: Any) -> tuple[Any, Sequence[Any]]:
        answers, maps = [], []
        for teacher, show in asked:
            scores, seen = show(teacher.see(examples), training=False)
            answers.append(teacher.ordered(scores))
            maps += seen
        return _mean(answers), maps

    return look, ask


def _mean(answers: Sequence[Any]) -> Any:
    return tf.add_n(answers) / len(answers)


def taught(
    student: keras.Model,
    found: Sequence[Found],
    lessons: Lessons,
    config: TrainConfig | SpeechConfig,
    progress: Progress = silent,
) -> keras.Model:
    """What is to be trained so that `student` learns `lessons` from those that were `found` too: itself for none.

    Raises EdgepressError when one of them cannot teach it.
    """
    if not found:
        return student
    engaged = [engage(one, lessons, student.input_shape[1:]) for one in found]
    for number, teacher in enumerate(engaged, 1):
        progress("teachers", number, len(engaged), teacher.note)
    return learner(
        student,
        engaged,
        weight=config.distil_weight,
        temperature=config.distil_temperature,
        features=config.distil_features,
    )


def _log(probabilities):
    return tf.math.log(tf.maximum(probabilities, 1e-7))
