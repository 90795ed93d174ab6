"""The pass `distil`, and bundles as teachers: they need what the conversion makes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tests.convert import taught
from tests.convert.conftest import (
    HEARING,
    LABELS,
    SPEC,
    SPOKEN,
    convert_here,
    heard_windows,
    pack,
    pictures,
)

from edgepress_convert import bundle, streaming
from edgepress_convert.compress import PASSES, distil
from edgepress_convert.compress.job import Job
from edgepress_convert.golden_stream import golden_stream
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.classify import Classifier
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import normalize, quantize
from edgepress_runtime.manifest import DetectionSpec
from edgepress_train import run, spec, teachers
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons


def job(folder: Path, original: keras.Model, **changes) -> Job:
    """A job on the colours, with labels that say nothing: what is learned comes from the teacher."""
    pixels, labels = pictures(240, seed=1)
    plain = taught.job(folder, normalize(pixels, SPEC), labels, original=original, **changes)

    def train(**numbers) -> tf.data.Dataset:
        blank = tf.ones((3,)) / 3
        return plain.lessons.train(**numbers).map(lambda x, y, w: (x, tf.zeros_like(y) + blank, w))

    return dataclasses.replace(
        plain, lessons=dataclasses.replace(plain.lessons, labels=LABELS, preprocessing=SPEC, train=train)
    )


def right(model: keras.Model) -> float:
    pixels, labels = pictures(300, seed=9)
    return float((model(normalize(pixels, SPEC)).numpy().argmax(axis=1) == labels).mean())


def damaged(network: keras.Model) -> keras.Model:
    """The network, pruned and clustered hard: half of `mix` is zero, `blur` has five values, the head is at odds."""
    model = keras.models.clone_model(network)
    weights = [w.copy() for w in network.get_weights()]
    weights[0].reshape(-1)[::2] = 0
    near = np.quantile(weights[2], [0.1, 0.3, 0.5, 0.7, 0.9]).astype(np.float32)
    weights[2] = near[np.abs(weights[2][..., None] - near).argmin(axis=-1)]
    weights[4] = weights[4] + np.random.default_rng(0).normal(0, 1.0, weights[4].shape).astype(np.float32)
    model.set_weights(weights)
    return model


def test_a_damaged_model_learns_from_that_of_the_beginning_and_keeps_its_zeros_and_clusters(network, tmp_path):
    student, whole = damaged(network), [w.copy() for w in network.get_weights()]
    before = [w.copy() for w in student.get_weights()]
    work = job(tmp_path, network)
    after = distil.distil(student, work, epochs=6, weight=1.0, features=0.5, lr=0.02)
    assert right(network) >= 0.95 and right(student) <= 0.75 and right(after) >= 0.9
    assert all(np.array_equal(a, b) for a, b in zip(before, student.get_weights(), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(whole, network.get_weights(), strict=True))
    mix, blur, head = (after.get_layer(name).get_weights()[0] for name in ("mix", "blur", "head"))
    assert np.array_equal(mix == 0, before[0] == 0) and len(np.unique(mix)) > 8
    assert len(np.unique(blur)) == 5 and not np.isin(blur[:, :, :7], before[2]).any()  # the last channel is dead
    assert all(len(np.unique(blur[before[2] == value])) == 1 for value in np.unique(before[2]))
    assert len(np.unique(head)) == head.size
    after.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras", compile=False)  # nothing of our own is in it
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in network.layers]


@pytest.fixture(scope="module")
def bundle_file(network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "colours.edge"
    pack(path, convert_here(network, ["float32"])["float32"])
    return path


def test_several_teachers_stand_with_a_plus_between(network, run_folder, bundle_file, tmp_path):
    step, *_ = spec.parse(f"distil:3:teacher={run_folder}+{bundle_file}:temperature=4:weight=1")
    options = spec.bind(step, distil.distil, kind="pass")
    assert options == {"epochs": 3, "teacher": f"{run_folder}+{bundle_file}", "temperature": 4.0, "weight": 1.0}
    distil.check(network, job(tmp_path, network), **options)
    two = distil._engaged(network, job(tmp_path, network), options["teacher"])
    assert [one.name for one in two] == [str(run_folder), str(bundle_file)]
    assert PASSES["distil"][:2] == (distil.distil.__module__, "distil")


def test_zeros_and_shared_values_do_not_move_while_training(network, tmp_path, monkeypatch):
    student = damaged(network)
    before, seen = student.get_weights(), []

    def fine_tune(self: Job, model: keras.Model, **_) -> None:
        model.compile(keras.optimizers.AdamW(0.05, weight_decay=0.1), keras.losses.CategoricalCrossentropy())
        model.fit(self.lessons.train(batch=16, seed=0, start=0, stop=20), verbose=0)
        seen.extend(model.student.get_weights())

    monkeypatch.setattr(Job, "fine_tune", fine_tune)
    distil.distil(student, job(tmp_path, network))
    assert (seen[0][before[0] == 0] == 0).all() and not np.allclose(seen[0], before[0], atol=1e-2)
    groups = [seen[2][before[2] == value] for value in np.unique(before[2])]
    assert all(np.allclose(group, group[0], rtol=1e-4) for group in groups)
    assert not np.allclose(seen[2][:, :, :7], before[2][:, :, :7], atol=1e-2)


def test_no_epochs_change_nothing(network, tmp_path):
    after = distil.distil(network, job(tmp_path, network), epochs=0)
    assert after is not network
    assert all(np.allclose(a, b, rtol=1e-6) for a, b in zip(network.get_weights(), after.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"teacher": "gone"}, "gone is not a finished RUN folder"),
        ({"weight": 1.5}, "weight 1.5 is outside 0 to 1"),
        ({"temperature": 0.0}, "temperature 0 is outside 0.1 to 100"),
        ({"features": float("nan")}, "features nan is outside"),
        ({"epochs": -1}, "epochs -1 is outside"),
        ({"teacher": "{bundle}", "features": 1.0}, "the teacher {bundle} is a bundle, which shows its answers"),
        ({"teacher": "{others}"}, "the teacher {others} knows cat, dog, the data has blue, green, red"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_trained(options, sentence, network, bundle_file, tmp_path):
    (tmp_path / "others").mkdir()
    small = keras.Sequential([keras.layers.Flatten(input_shape=(12, 12, 3)), keras.layers.Dense(2, "softmax")])
    kind = "image-classification"
    run.save(run.Run(tmp_path / "others", kind, "", {}, ("cat", "dog"), SPEC, {}, {}), small)
    places = {"bundle": bundle_file, "others": tmp_path / "others"}
    options = {key: value.format(**places) if isinstance(value, str) else value for key, value in options.items()}
    with pytest.raises(EdgepressError) as caught:
        distil.check(network, job(tmp_path, network), **options)
    assert caught.value.what.startswith(sentence.format(**places))
    assert not (tmp_path / "fine-tune").exists()


@pytest.mark.parametrize("scheme", ["int8", "float32"])
def test_a_bundle_of_pictures_answers_as_the_runtime_does(scheme, network, representative, tmp_path):
    pack(tmp_path / "m.edge", convert_here(network, [scheme], representative=representative)[scheme])
    own = dataclasses.replace(SPEC, mean=(127.0,) * 3, std=(64.0,) * 3)
    lessons = Lessons(("red", "green", "blue"), own, 1, lambda **_: None, None, np.zeros(0, np.int64))
    (found,) = teachers.read([str(tmp_path / "m.edge")])
    teacher = teachers.engage(found, lessons, (12, 12, 3))
    pixels, _ = pictures(20, seed=3)
    answers = tf.function(teacher)(tf.constant(normalize(pixels, own))).numpy()
    opened = open_bundle(tmp_path / "m.edge")
    with open_engine(opened.model_source) as engine:
        classifier = Classifier(engine, opened.manifest)
        assert np.array_equal(answers[:, ::-1], [classifier.scores(one) for one in pixels])
        best = [classifier.classify(one).score for one in pixels]
    assert np.allclose(answers.max(axis=1), best)


def test_a_bundle_that_gives_logits_is_softened(network, representative, tmp_path):
    head = network.get_layer("head")
    logits = keras.layers.Dense(3, name="logits")
    model = keras.Model(network.inputs, logits(head.input))
    logits.set_weights(head.get_weights())
    pack(tmp_path / "m.edge", convert_here(model, ["float32"], representative=representative)["float32"])
    lessons = Lessons(LABELS, SPEC, 1, lambda **_: None, None, np.zeros(0, np.int64))
    (found,) = teachers.read([str(tmp_path / "m.edge")])
    inputs = normalize(pictures(20, seed=3)[0], SPEC)
    assert np.allclose(teachers.engage(found, lessons, (12, 12, 3))(inputs), network(inputs), atol=1e-4)


def odd_net() -> keras.Model:
    """25 frames, which its steps of two do not divide."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((25, HEARING.features, 1))
    x = keras.layers.Conv2D(8, (3, HEARING.features), (2, 1), activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    decided = keras.initializers.RandomNormal(0, 3.0, seed=1)
    return keras.Model(inputs, keras.layers.Dense(3, "softmax", kernel_initializer=decided)(x))


@pytest.mark.parametrize(("scheme", "length"), [("int8", 24), ("float32", 25)])
def test_a_stream_answers_what_the_whole_window_does(scheme, length, spotter_net, tmp_path):
    """The truth is the model before it was made a stream, run on the quantized window at once."""
    found = np.concatenate([heard_windows(60, seed=8)[0]] * 2, axis=1)[:, :length, :, None].astype(np.float32)
    windows = (found - HEARING.mean) / HEARING.std
    net = spotter_net if length == 24 else odd_net()
    whole = convert_here(net, [scheme], representative=windows[:40])[scheme]
    streamed = streaming.stream(whole)
    with open_engine(whole) as engine:
        stored = quantize(windows, engine.inputs[0])
        rows = np.concatenate([engine.run(one[None])[0] for one in stored]).astype(np.float64)
        target = engine.outputs[0]
        expected = (rows - (target.zero_point or 0)) * (target.scale or 1.0)
    with open_engine(streamed) as engine:
        step = engine.inputs[0].shape[1]
    chunks = stored[:4, : length // step * step].reshape(4, length // step, step, *stored.shape[2:])
    bundle.pack(
        tmp_path / "m.edge",
        streamed,
        name="tones",
        task="keyword-spotting",
        labels=SPOKEN,
        preprocessing=HEARING,
        golden=golden_stream(streamed, chunks),
        created="2026-11-25T00:00:00+00:00",
        detection=DetectionSpec(length, 60.0, 1000.0),
        thresholds=dict.fromkeys(SPOKEN[:2], 0.5),
    )
    own = dataclasses.replace(HEARING, mean=9.0, std=2.0)
    lessons = Lessons(SPOKEN, own, 1, lambda **_: None, None, np.zeros(0, np.int64))
    (teacher,) = teachers.read([str(tmp_path / "m.edge")])
    shape = (length + 3, HEARING.features, 1)  # the student hears more, the teacher the middle of it
    longer = np.pad(found, ((0, 0), (1, 2), (0, 0), (0, 0)), mode="edge")
    answers = teachers.engage(teacher, lessons, shape)(tf.constant((longer - 9.0) / 2.0)).numpy()
    assert np.ptp(expected, axis=0).max() > 0.1
    # Features come to the teacher by another normalisation, and may round to the next step
    close = np.abs(answers - expected).max(axis=1)
    assert close.max() <= 0.05 and np.median(close) <= (0 if scheme == "int8" else 1e-5)
