from __future__ import annotations

import dataclasses
import importlib
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import fit, normalize
from edgepress_runtime.manifest import ImageSpec, SpeechSpec
from edgepress_train import distil, run, teachers
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons
from edgepress_train.teacher_input import heard_as, seen_as

keras3 = importlib.import_module("keras")  # the other Keras, behind the door that chose Keras 2 for TensorFlow
LABELS = ("dark", "grey", "light")
SPEC = ImageSpec(6, 6, 1, (100.0,), (50.0,))
HEARING = SpeechSpec("log-mel", bands=8, mean=5.0, std=2.0)
KERAS3 = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras 3 beside NumPy 2.4


def pixels(n=64, *, seed=0):
    """Pictures of three kinds of grey (n, 6, 6, 1), pixels of 0 to 255, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    return np.clip(rng.normal(40 + 85 * labels[:, None, None, None], 12, (n, 6, 6, 1)), 0, 255), labels


def lessons(*labels, spec=SPEC):
    def train(*, batch, seed, start, stop):
        for step in range(start, stop):
            images, kinds = pixels(batch, seed=[seed, step])
            yield ((images - spec.mean) / spec.std).astype(np.float32), np.eye(3, dtype=np.float32)[kinds], None

    return Lessons(labels or LABELS, spec, 256, train, None, np.zeros(0, np.int64))


def net(seed, classes=3, shape=(6, 6, 1), library=keras):
    keras.utils.set_random_seed(seed)
    inputs = library.Input(shape)
    flat = library.layers.Flatten()(inputs)
    weights = np.random.default_rng(seed).normal(0, 0.3, (int(np.prod(shape)), classes)).astype(np.float32)
    outputs = library.layers.Dense(classes, "softmax")
    model = library.Model(inputs, outputs(flat))
    outputs.set_weights([weights, np.zeros(classes, np.float32)])
    return model


def saved(path, seed=1, *, labels=LABELS, spec=SPEC, shape=(6, 6, 1)):
    path.mkdir()
    task = "image-classification" if isinstance(spec, ImageSpec) else "keyword-spotting"
    trained = run.Run(path, task, "", {}, tuple(labels), spec, {}, {})
    return str(run.save(trained, net(seed, len(labels), shape)).path)


def engaged(source, of=None, shape=(6, 6, 1)):
    (found,) = teachers.read([source])
    return teachers.engage(found, of or lessons(), shape)


def test_a_run_answers_what_its_model_answers(tmp_path):
    images, _, _ = next(lessons().train(batch=5, seed=3, start=0, stop=1))
    answers = engaged(saved(tmp_path / "t", seed=4))(tf.constant(images))
    assert np.allclose(answers, net(4).predict(images, verbose=0), atol=1e-6)


def test_labels_in_another_order_are_put_into_the_students(tmp_path):
    images, _, _ = next(lessons().train(batch=5, seed=3, start=0, stop=1))
    teacher = engaged(saved(tmp_path / "t", labels=("light", "dark", "grey")))
    own = dict(zip(("light", "dark", "grey"), net(1).predict(images, verbose=0).T, strict=True))
    assert np.allclose(teacher(images), np.stack([own[label] for label in LABELS], axis=1), atol=1e-6)


@pytest.mark.parametrize(("channels", "wanted"), [(3, 3), (3, 1), (1, 3), (1, 1)])
def test_a_teacher_sees_what_the_boards_preprocessing_would_give_it(channels, wanted):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).resize(
        (48, 40), Image.Resampling.BICUBIC
    )
    picture = picture.convert("L" if channels == 1 else "RGB")
    own = ImageSpec(40, 48, channels, (127.0,) * channels, (128.0,) * channels)
    other = ImageSpec(20, 24, wanted, (90.0,) * wanted, (60.0,) * wanted)
    seen = seen_as(tf.constant(normalize(fit(picture, own), own)[None]), own, other).numpy()[0]
    expected = normalize(fit(picture.convert("L" if wanted == 1 else "RGB"), other), other)
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).max() * 60 <= 2.0  # grey levels: Pillow rounds after each step


def test_a_teacher_hears_the_middle_frames_in_its_own_normalisation():
    features = np.random.default_rng(0).normal(8, 3, (2, 11, 8, 1)).astype(np.float32)
    other = dataclasses.replace(HEARING, mean=7.0, std=3.0)
    heard = heard_as(tf.constant((features - 5.0) / 2.0), HEARING, other, frames=7)
    assert np.allclose(heard, (features[:, 2:9] - 7.0) / 3.0, atol=1e-5)


def test_a_speech_run_with_a_shorter_window_is_asked_about_the_middle(tmp_path):
    source = saved(tmp_path / "t", 2, spec=HEARING, shape=(7, 8, 1))
    sound = Lessons(LABELS, dataclasses.replace(HEARING, mean=4.0), 1, lambda **_: None, None, np.zeros(0, np.int64))
    features = np.random.default_rng(0).normal(size=(3, 10, 8, 1)).astype(np.float32)
    answers = engaged(source, sound, (10, 8, 1))(features)
    expected = net(2, shape=(7, 8, 1)).predict((features[:, 1:8] * 2 + 4 - 5) / 2, verbose=0)
    assert np.allclose(answers, expected, atol=1e-5)


def by_brightness(library, *, top, shape=(6, 6, 1), logits=True):
    """A net that knows its `LABELS` by how bright they are, for pixels of 0 to `top`."""
    places = np.array([40.0, 125.0, 210.0]) * top / 255
    inputs = library.Input(shape)
    outputs = library.layers.Dense(3, None if logits else "softmax")
    model = library.Model(inputs, outputs(library.layers.GlobalAveragePooling2D()(inputs)))
    sharp = 60.0 / top**2
    channels = shape[-1]
    kernel = np.repeat((2 * sharp * places / channels)[None], channels, axis=0)
    outputs.set_weights([kernel.astype(np.float32), (-sharp * places**2).astype(np.float32)])
    return model


@KERAS3
@pytest.mark.parametrize(("top", "way"), [(1.0, "0 to 1"), (255.0, "0 to 255")])
def test_a_keras_3_file_answers_as_keras_3_does_for_the_pixels_that_it_wants(tmp_path, top, way):
    model = by_brightness(keras3, top=top)
    model.save(tmp_path / "m.keras")
    teacher = engaged(str(tmp_path / "m.keras"))
    images, _ = pixels(9, seed=5)
    logits = model.predict((images * top / 255).astype(np.float32), verbose=0)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    answer = tf.function(teacher)(tf.constant(((images - 100) / 50).astype(np.float32)))
    assert np.allclose(answer, expected, atol=1e-3)
    assert f"pixels of {way}" in teacher.note


@KERAS3
def test_a_keras_3_net_shows_its_features_to_a_student_of_keras_2():
    def convolved(library, channels):
        inputs = library.Input((6, 6, 1))
        x = library.layers.Conv2D(channels, 3, padding="same", activation="relu")(inputs)
        outputs = library.layers.Dense(3, "softmax")(library.layers.GlobalAveragePooling2D()(x))
        return library.Model(inputs, outputs)

    keras.utils.set_random_seed(0)
    found = teachers.Found("net", LABELS, SPEC, model=convolved(keras3, 5))
    student = convolved(keras, 2)
    before = student.get_weights()[0]
    teacher = teachers.engage(found, lessons(), (6, 6, 1))
    model = distil.learner(student, [teacher], weight=0.0, temperature=2.0, features=100.0)
    model.compile(keras.optimizers.SGD(0.01), keras.losses.CategoricalCrossentropy())
    images, targets, _ = next(lessons().train(batch=16, seed=0, start=0, stop=1))
    model.train_on_batch(images, targets, sample_weight=np.ones(16, np.float32))
    assert np.isfinite(student.get_weights()[0]).all() and not np.allclose(student.get_weights()[0], before, atol=1e-3)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
def test_a_keras_2_file_of_open_size_takes_the_students(tmp_path):
    by_brightness(keras, top=1.0, shape=(None, None, 1), logits=False).save(tmp_path / "m.h5")
    teacher = engaged(str(tmp_path / "m.h5"))
    assert teacher.shape == (6, 6, 1) and "pixels of 0 to 1" in teacher.note
    images, labels = pixels(50, seed=6)
    assert (teacher(((images - 100) / 50).astype(np.float32)).numpy().argmax(axis=1) == labels).all()


def test_a_keras_file_in_colours_and_twice_the_size(tmp_path):
    by_brightness(keras, top=255.0, shape=(12, 12, 3)).save(tmp_path / "m.keras")
    images, labels = pixels(50, seed=6)
    answers = engaged(str(tmp_path / "m.keras"))(((images - 100) / 50).astype(np.float32)).numpy()
    assert (answers.argmax(axis=1) == labels).all()


def test_a_keras_file_whose_labels_are_in_another_order_is_not_believed(tmp_path):
    model = by_brightness(keras, top=1.0)
    head = model.layers[-1]
    head.set_weights([weights[..., [1, 2, 0]] for weights in head.get_weights()])
    model.save(tmp_path / "m.keras")
    with pytest.raises(EdgepressError, match=r"is right on 0 % of 256 training examples, which guessing is too"):
        engaged(str(tmp_path / "m.keras"))
    (tmp_path / "labels.txt").write_text("grey\nlight\ndark\n")
    assert engaged(str(tmp_path / "m.keras")).order == (2, 0, 1)


LONG = {"spec": HEARING, "shape": (9, 8, 1)}
SPECTRAL = {"spec": dataclasses.replace(HEARING, bands=16), "shape": (7, 16, 1)}


@pytest.mark.parametrize(
    ("made", "student", "sentence", "remedy"),
    [
        ({"labels": ("dark", "grey", "blue")}, SPEC, "knows dark, grey, blue, the data has dark, grey, light", "same"),
        ({"labels": ("dark", "grey")}, SPEC, "knows dark, grey, the data has dark, grey, light", "the same classes"),
        ({}, HEARING, "is no speech model", "give a RUN of train speech"),
        (LONG, SPEC, "is no image model", "give a RUN of train image"),
        (LONG, HEARING, "hears 9 frames at once, the student only 7", "give the student --window-s 0.19"),
        (SPECTRAL, HEARING, "hears with bands 16, the student with 8: teacher and student must share", "front end"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(tmp_path, made, student, sentence, remedy):
    (found,) = teachers.read([saved(tmp_path / "t", **made)])
    with pytest.raises(EdgepressError) as caught:
        teachers.suit(found, student, (6, 6, 1) if student is SPEC else (7, 8, 1), LABELS)
    assert caught.value.what.startswith(f"the teacher {tmp_path / 't'} ") and sentence in caught.value.what
    assert remedy in caught.value.remedy


def test_a_keras_file_that_cannot_teach_is_refused(tmp_path):
    net(1, classes=4).save(tmp_path / "four.keras")
    (found,) = teachers.read([str(tmp_path / "four.keras")])
    with pytest.raises(EdgepressError, match="gives 4 scores, the data has 3 labels"):
        teachers.suit(found, SPEC, (6, 6, 1), LABELS)
    with pytest.raises(EdgepressError, match=r"takes \[6, 6, 1\], the student \[7, 8, 1\]"):
        teachers.suit(found, HEARING, (7, 8, 1))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (" ", "no teacher is named"),
        ("gone", "gone is not a finished RUN folder"),
        ("gone.edge", "gone.edge does not exist"),
        ("m.tflite", "the teacher m.tflite is neither a RUN folder, a Keras file nor a bundle"),
        ("m.keras", "m.keras is not a Keras model"),
    ],
)
def test_what_is_no_teacher(tmp_path, monkeypatch, source, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.tflite").write_bytes(b"TFL3")
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(EdgepressError) as caught:
        teachers.read([source])
    assert caught.value.what.startswith(sentence)
