"""The pass `distil`: train on with labels and with the answers of a teacher, by default the model of the beginning."""

from __future__ import annotations

from edgepress_convert.compress import held
from edgepress_convert.compress.finetune import twin
from edgepress_convert.compress.job import Job
from edgepress_runtime.errors import EdgepressError
from edgepress_train import teachers
from edgepress_train.distil import learner
from edgepress_train.keras2 import keras
from edgepress_train.teachers import Teacher

_SEPARATOR = "+"  # a recipe cannot hold commas in its values


def distil(
    model: keras.Model,
    job: Job,
    *,
    epochs: int = 10,
    teacher: str = "",
    weight: float = 0.7,
    temperature: float = 2.0,
    features: float = 0.0,
    lr: float = 0.0,
) -> keras.Model:
    """A copy of `model`, trained for `epochs` more by labels and teachers; see `edgepress_train.distil` for the loss.

    `teacher`: RUN folders, Keras files and bundles with `+` between, the model that the chain began with when empty.
    `weight` is the teachers' share of the loss, `temperature` softens all answers, `features` is what the likeness of
    attention maps weighs. `lr`: peak rate, the job's own when 0. Zeros and shared values of kernels stay, to the bit:
    such weights are given the gradients that keep them so. Raises EdgepressError as `check`.
    """
    engaged = _engaged(model, job, teacher)
    student = twin(model)
    kept = held.kept_of(student)
    for one in engaged:
        if one.note:
            job.note(one.note)
    trained = learner(
        student,
        engaged,
        weight=weight,
        temperature=temperature,
        features=features,
        hold=held.holding(kept),
    )
    job.fine_tune(trained, epochs=epochs, lr=lr or None)
    held.settle(student, kept)
    return student


def check(
    model: keras.Model,
    job: Job,
    *,
    epochs: int = 10,
    teacher: str = "",
    weight: float = 0.7,
    temperature: float = 2.0,
    features: float = 0.0,
    lr: float = 0.0,
) -> None:
    """Whether the teachers can teach `model`. Raises EdgepressError for one that cannot, and for impossible numbers."""
    for name, value, low, high in (
        ("weight", weight, 0, 1),
        ("temperature", temperature, 0.1, 100),
        ("features", features, 0, 1e6),
        ("lr", lr, 0, 1e3),
        ("epochs", epochs, 0, 100_000),
    ):
        if not low <= value <= high:  # NaN is in no range
            raise EdgepressError(f"{name} {value:g} is outside {low:g} to {high:g}", f"give another {name}")
    learner(model, _engaged(model, job, teacher), weight=weight, temperature=temperature, features=features)


def _engaged(model: keras.Model, job: Job, teacher: str) -> list[Teacher]:
    lessons = job.lessons
    if teacher:
        found = teachers.read(teacher.split(_SEPARATOR))
    else:
        found = (teachers.Found("of the beginning", lessons.labels, lessons.preprocessing, model=job.original),)
    return [teachers.engage(one, lessons, model.input_shape[1:]) for one in found]
