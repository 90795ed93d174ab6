from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import fit, normalize
from edgepress_runtime.manifest import ImageSpec
from edgepress_train import distil, run
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons

SPEC = ImageSpec(6, 6, 1, (100.0,), (50.0,))


def lessons(*labels):
    return Lessons(labels, SPEC, 0, lambda **_: None, None, np.zeros(0, np.int64))


def net(seed, classes=3):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 1))
    return keras.Model(inputs, keras.layers.Dense(classes, "softmax")(keras.layers.Flatten()(inputs)), name="net")


def batch(n=8):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 6, 6, 1)).astype(np.float32), np.eye(3, dtype=np.float32)[rng.integers(0, 3, n)]


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("weight", "temperature"), [(0.0, 2.0), (1.0, 1.0), (0.7, 4.0)])
def test_one_step_follows_the_gradient_of_the_papers_loss(weight, temperature):
    """Against the analytic gradient of a linear softmax student, in numpy."""
    images, targets = batch()
    student, teacher = net(1), net(2)
    flat = images.reshape(len(images), -1).astype(np.float64)
    (kernel, bias), answers = student.get_weights(), teacher(images).numpy().astype(np.float64)
    logits = flat @ kernel + bias
    soft_teacher = softmax(np.log(answers) / temperature)
    by_labels = softmax(logits) - targets
    by_teacher = temperature * (softmax(logits / temperature) - soft_teacher)  # T^2 * 1/T
    gradient = flat.T @ ((1 - weight) * by_labels + weight * by_teacher) / len(images)
    model = distil.Distilled(student, lambda x: teacher(x), weight=weight, temperature=temperature)
    model.compile(keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy())
    model.train_on_batch(images, targets, sample_weight=np.ones(len(images)))
    assert np.allclose(student.get_weights()[0], kernel - 0.1 * gradient, atol=1e-5)


def test_the_teacher_is_not_the_students_and_does_not_change():
    images, targets = batch()
    student, teacher = net(1), net(2)
    before = [w.copy() for w in teacher.get_weights()]
    model = distil.Distilled(student, lambda x: teacher(x), weight=0.9, temperature=2.0)
    model.compile(keras.optimizers.SGD(1.0), keras.losses.CategoricalCrossentropy())
    model.train_on_batch(images, targets, sample_weight=np.ones(len(images)))
    assert [v.name for v in model.trainable_variables] == [v.name for v in student.trainable_variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, teacher.get_weights(), strict=True))


def saved(path, seed, *, labels=("a", "b", "c"), spec=SPEC):
    path.mkdir()
    return str(
        run.save(run.Run(path, "image-classification", "", {}, labels, spec, {}, {}), net(seed, len(labels))).path
    )


def test_several_teachers_answer_with_their_mean(tmp_path):
    images, _ = batch()
    sources = [saved(tmp_path / str(seed), seed) for seed in (1, 2, 3)]
    teacher = distil.teacher_of(sources, lessons("a", "b", "c"))
    expected = np.mean([net(seed)(images).numpy() for seed in (1, 2, 3)], axis=0)
    assert np.allclose(teacher(tf.constant(images)).numpy(), expected, atol=1e-6)


def test_a_teacher_of_other_classes_is_refused(tmp_path):
    source = saved(tmp_path / "t", 1, labels=("b", "a", "c"))
    with pytest.raises(EdgepressError, match="knows b, a, c, the data has a, b, c"):
        distil.teacher_of([source], lessons("a", "b", "c"))


@pytest.mark.parametrize(("channels", "wanted"), [(3, 3), (3, 1), (1, 3), (1, 1)])
def test_a_teacher_sees_what_the_boards_preprocessing_would_give_it(channels, wanted):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).resize(
        (48, 40), Image.Resampling.BICUBIC
    )
    picture = picture.convert("L" if channels == 1 else "RGB")
    own = ImageSpec(40, 48, channels, (127.0,) * channels, (128.0,) * channels)
    other = ImageSpec(20, 24, wanted, (90.0,) * wanted, (60.0,) * wanted)
    seen = distil.seen_as(tf.constant(normalize(fit(picture, own), own)[None]), own, other).numpy()[0]
    expected = normalize(fit(picture.convert("L" if wanted == 1 else "RGB"), other), other)
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).max() * 60 <= 2.0  # grey levels: Pillow rounds after each step


def test_a_student_learns_from_a_teacher_when_the_labels_say_nothing(tmp_path, pictures):
    from edgepress_train import train_image
    from edgepress_train.config import TrainConfig

    plain = TrainConfig(
        data=str(pictures), out=tmp_path / "teacher", arch="ds-cnn:widths=8-16", size=(24, 24), epochs=12, batch=16,
        lr=0.01, augment="shift:0.1, brightness:0.1",
    )  # fmt: skip
    teacher = train_image.train(plain)
    student = dataclasses.replace(
        plain, out=tmp_path / "student", seed=1, teacher=str(teacher.path), label_smoothing=0.9, distil_weight=1.0
    )
    taught = train_image.train(student)
    assert teacher.metrics["val"]["top1"] == taught.metrics["val"]["top1"] == 1.0
    assert run.load_model(taught).name == "ds_cnn"
