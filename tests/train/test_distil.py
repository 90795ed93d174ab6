from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import ImageSpec
from edgepress_train import attention, distil, fit, run
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons, teach
from edgepress_train.teachers import Teacher

SPEC = ImageSpec(6, 6, 1, (100.0,), (50.0,))


def net(seed, *, l2=0.0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 1))
    penalty = keras.regularizers.l2(l2) if l2 else None
    head = keras.layers.Dense(3, "softmax", kernel_regularizer=penalty)
    return keras.Model(inputs, head(keras.layers.Flatten()(inputs)), name="net")


def watcher(seed, channels=2):
    """A net with one map: pixels mixed one by one, averaged, then weighed."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 1))
    shifted = keras.initializers.RandomNormal(0, 0.5, seed=seed)  # else all maps are alike
    seen = keras.layers.Conv2D(channels, 1, bias_initializer=shifted)(inputs)
    head = keras.layers.Dense(3, "softmax")
    return keras.Model(inputs, head(keras.layers.GlobalAveragePooling2D()(seen)), name="watcher")


def teacher_of(model, name="t", order=(0, 1, 2)):
    return Teacher(name, lambda inputs: inputs, lambda seen: model(seen, training=False), order, model, (6, 6, 1))


def batch(n=8, seed=0):
    rng = np.random.default_rng(seed)
    images, kinds = rng.normal(size=(n, 6, 6, 1)).astype(np.float32), rng.integers(0, 3, n)
    return images, np.eye(3, dtype=np.float32)[kinds], rng.uniform(0.5, 1.5, n).astype(np.float32)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def step(model, *, lr=0.1):
    images, targets, weights = batch()
    model.compile(keras.optimizers.SGD(lr), keras.losses.CategoricalCrossentropy())
    model.train_on_batch(images, targets, sample_weight=weights)


@pytest.mark.parametrize(("weight", "temperature", "l2"), [(0.0, 2.0, 0.0), (1.0, 1.0, 0.05), (0.7, 4.0, 0.05)])
def test_one_step_follows_the_gradient_of_the_papers_loss(weight, temperature, l2):
    """Against the analytic gradient of a linear softmax student, in numpy."""
    images, targets, weights = batch()
    student, teacher = net(1, l2=l2), net(2)
    flat = images.reshape(len(images), -1).astype(np.float64)
    (kernel, bias), answers = student.get_weights(), teacher(images).numpy().astype(np.float64)
    logits = flat @ kernel + bias
    soft_teacher = softmax(np.log(answers) / temperature)
    by_labels = softmax(logits) - targets
    by_teacher = temperature * (softmax(logits / temperature) - soft_teacher)  # T^2 * 1/T
    mixed = weights[:, None] * ((1 - weight) * by_labels + weight * by_teacher)
    gradient = flat.T @ mixed / len(images) + 2 * l2 * kernel
    step(distil.learner(student, [teacher_of(teacher)], weight=weight, temperature=temperature))
    assert np.allclose(student.get_weights()[0], kernel - 0.1 * gradient, atol=1e-5)


def looked_at(maps):
    """Attention in numpy: the strength of each cell, as a vector of length 1."""
    strength = (maps**2).sum(axis=3).reshape(len(maps), -1)
    return strength / np.sqrt((strength**2).sum(axis=1, keepdims=True))


def test_attention_against_numpy():
    rng = np.random.default_rng(0)
    own, other = rng.normal(size=(5, 4, 3, 7)), rng.normal(size=(5, 4, 3, 2))
    assert np.allclose(attention.attention(tf.constant(own)), looked_at(own), atol=1e-6)
    expected = 0.5 * ((looked_at(own) - looked_at(other)) ** 2).sum(axis=1)
    assert np.allclose(attention.apart(tf.constant(own), tf.constant(other)), expected, atol=1e-6)
    assert np.allclose(attention.apart(tf.constant(own), tf.constant(-3 * own)), 0, atol=1e-6)


def test_attention_of_a_map_that_is_twice_as_fine_is_that_of_its_blocks():
    coarse = np.random.default_rng(0).uniform(1, 2, (2, 3, 3, 4)).astype(np.float32)
    fine = coarse.repeat(2, axis=1).repeat(2, axis=2)
    apart = attention.apart(tf.constant(coarse), tf.constant(fine)).numpy()
    assert (apart < 5e-3).all()  # the filter reaches a little into the neighbours
    assert (attention.apart(tf.constant(coarse), tf.constant(fine[:, ::-1].copy())).numpy() > 3 * apart).all()


def test_a_dark_map_has_no_gradient_that_is_no_number():
    maps = tf.zeros((2, 3, 3, 4))
    with tf.GradientTape() as tape:
        tape.watch(maps)
        loss = tf.reduce_sum(attention.apart(maps, tf.ones((2, 3, 3, 1))))
    assert np.isfinite(loss) and np.isfinite(tape.gradient(loss, maps)).all()


def test_one_step_with_features_follows_the_slope_of_the_whole_loss():
    """Against differences of a loss that numpy computes, with two teachers of other channels."""
    images, targets, weights = batch()
    student, others = watcher(1), [watcher(2, 5), watcher(3, 4)]
    start = [weight.astype(np.float64) for weight in student.get_weights()]

    def forward(values, x):
        maps = x.astype(np.float64) @ values[0][0] + values[1]
        return softmax(maps.mean(axis=(1, 2)) @ values[2] + values[3]), maps

    told = [forward([w.astype(np.float64) for w in other.get_weights()], images) for other in others]
    wanted = np.mean([answers for answers, _ in told], axis=0)
    wanted = softmax(np.log(wanted) / 3.0)

    def loss(values):
        scores, maps = forward(values, images)
        given = softmax(np.log(scores) / 3.0)
        labelled = -(targets * np.log(scores)).sum(axis=1)
        taught = 0.6 * 9.0 * (wanted * np.log(wanted / given)).sum(axis=1)
        for _, seen in told:
            taught = taught + 5.0 / 2 * 0.5 * ((looked_at(maps) - looked_at(seen)) ** 2).sum(axis=1)
        return (weights * (0.4 * labelled + taught)).mean()

    step(distil.learner(student, [teacher_of(one) for one in others], weight=0.6, temperature=3.0, features=5.0))
    for number, after in enumerate(student.get_weights()):
        for place in np.ndindex(after.shape):
            bent = [[w.copy() for w in start] for _ in range(2)]
            bent[0][number][place] += 1e-5
            bent[1][number][place] -= 1e-5
            slope = (loss(bent[0]) - loss(bent[1])) / 2e-5
            assert after[place] == pytest.approx(start[number][place] - 0.1 * slope, abs=2e-5)


def staged(*sizes, edge=24):
    """Two convolutions at each size, a rescaling before them and a row of scores behind."""
    inputs = keras.Input((edge, edge, 1))
    x = keras.layers.Rescaling(2.0, name="rescale")(inputs)
    for size in sizes:
        x = keras.layers.Conv2D(2, 1, x.shape[1] // size, name=f"first{size}")(x)
        x = keras.layers.Conv2D(2, 3, padding="same", name=f"last{size}")(x)
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    return keras.Model(inputs, keras.layers.Flatten()(pooled))


@pytest.mark.parametrize(
    ("student", "teacher", "edges", "expected"),
    [
        ((12, 6), (24, 12, 6, 3), (24, 24), [("last12", "last12"), ("last6", "last6")]),
        ((12, 6), (24, 12, 6), (24, 48), [("last12", "last24"), ("last6", "last12")]),
        ((24, 8), (12, 6), (24, 24), [("last8", "last6")]),
    ],
)
def test_maps_of_one_size_are_paired_and_the_last_ones_where_there_are_none(student, teacher, edges, expected):
    nets = staged(*student, edge=edges[0]), staged(*teacher, edge=edges[1])
    shapes = (edges[0], edges[0], 1), (edges[1], edges[1], 1)
    assert attention.pairs(*nets, shapes) == expected


def test_pairs_can_be_named_and_must_exist():
    shapes = ((24, 24, 1),) * 2
    named = [("first12", "last6")]
    assert attention.pairs(staged(12, 6), staged(12, 6), shapes, named=named) == named
    for wrong in ("rescale", "nothing"):
        with pytest.raises(EdgepressError, match=f"'{wrong}' is no layer of .* with a map of features"):
            attention.pairs(staged(12, 6), staged(12, 6), shapes, named=[("last12", wrong)])
    with pytest.raises(EdgepressError, match="net has no layer with a map of features"):
        attention.pairs(net(1), staged(12), ((6, 6, 1), (24, 24, 1)))


def test_a_bundle_shows_no_features():
    teacher = dataclasses.replace(teacher_of(net(1), "x.edge"), model=None)
    with pytest.raises(
        EdgepressError, match=r"the teacher x.edge is a bundle, which shows its answers and no features"
    ):
        distil.learner(watcher(1), [teacher], weight=0.5, temperature=2.0, features=1.0)


def test_the_teacher_is_not_the_students_and_does_not_change():
    student, teacher = watcher(1), watcher(2)
    before = [w.copy() for w in teacher.get_weights()]
    model = distil.learner(student, [teacher_of(teacher)], weight=0.9, temperature=2.0, features=1.0)
    step(model, lr=1.0)
    assert [v.name for v in model.trainable_variables] == [v.name for v in student.trainable_variables]
    assert len(model.weights) == len(student.weights)
    assert all(np.array_equal(a, b) for a, b in zip(before, teacher.get_weights(), strict=True))


def test_gradients_go_through_what_holds_them():
    student = watcher(1)
    before = student.get_weights()

    def hold(gradients):
        return [gradients[0] * 0, *gradients[1:]]

    step(distil.learner(student, [teacher_of(watcher(2))], weight=0.5, temperature=2.0, hold=hold))
    after = student.get_weights()
    assert np.array_equal(before[0], after[0]) and not np.allclose(before[2], after[2], atol=1e-4)


@pytest.mark.parametrize("features", [0.0, 1.0])
def test_several_teachers_answer_with_their_mean_in_the_students_order(features):
    models = [watcher(seed) for seed in (1, 2, 3)]
    orders = [(0, 1, 2), (2, 0, 1), (0, 1, 2)]
    found = [teacher_of(model, order=order) for model, order in zip(models, orders, strict=True)]
    learner = distil.learner(watcher(4), found, weight=1.0, temperature=1.0, features=features)
    images, *_ = batch()
    expected = np.mean([m(images).numpy()[:, o] for m, o in zip(models, orders, strict=True)], axis=0)
    assert np.allclose(learner._ask(tf.constant(images))[0], expected, atol=1e-6)


def lessons():
    def train(*, batch, seed, start, stop):
        return tf.data.Dataset.from_tensors(globals()["batch"](16)).repeat(stop - start)

    return Lessons(("a", "b", "c"), SPEC, 16, train, tf.data.Dataset.from_tensors(batch(9, 1)), np.zeros(9, np.int64))


@pytest.mark.parametrize("kept", [{"ema": 0.5}, {"patience": 2}])
def test_the_only_loop_trains_resumes_and_saves_nothing_of_the_teacher(tmp_path, kept):
    config = fit.FitConfig(6, 2, "adamw", 0.05, "cosine", 0.0, 0.01, **{"ema": 0.0, "patience": 0, **kept})
    teacher = watcher(2, channels=17)

    def train(seed, **options):
        student = watcher(seed)
        model = distil.learner(student, [teacher_of(teacher)], weight=0.7, temperature=2.0, features=1.0)
        return student, teach(model, lessons(), config=config, batch=16, seed=0, out=tmp_path, **options)

    student, fitted = train(1)
    assert not np.allclose(student.get_weights()[0], watcher(1).get_weights()[0], atol=1e-3)
    again, refitted = train(5, resume=True)
    assert refitted == fitted
    assert all(np.array_equal(a, b) for a, b in zip(student.get_weights(), again.get_weights(), strict=True))
    listed = tf.train.list_variables(tf.train.latest_checkpoint(str(tmp_path / "checkpoints")))
    assert listed and not [shape for _, shape in listed if 17 in shape]
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,seconds,loss,accuracy,val_loss,val_accuracy")


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
    watching = dataclasses.replace(student, out=tmp_path / "watching", distil_features=1.0, epochs=1)
    blind = dataclasses.replace(watching, out=tmp_path / "blind", distil_features=0.0)
    one, other = (run.load_model(train_image.train(each)).get_weights()[0] for each in (watching, blind))
    assert not np.allclose(one, other, atol=1e-4)


@pytest.mark.slow
def test_a_spotter_learns_from_a_teacher_when_the_labels_say_nothing(tmp_path):
    from tests.train.test_train_speech import RATE, chirp, config, write

    from edgepress_train import train_speech

    rng = np.random.default_rng(0)
    for number in range(24):
        write(tmp_path / "data" / "up" / f"{number:02d}.wav", chirp(rng, rising=True))
        write(tmp_path / "data" / "down" / f"{number:02d}.wav", chirp(rng, rising=False))
        write(tmp_path / "data" / "unknown" / f"{number:02d}.wav", rng.normal(0, 30, RATE).astype(np.int16))
    plain = config(tmp_path / "data", tmp_path / "teacher", sound="none", copies=2, test_fraction=0.0, ema=0.0)
    teacher = train_speech.train(plain)
    student = dataclasses.replace(
        plain, out=tmp_path / "student", seed=1, teacher=str(teacher.path), label_smoothing=0.9, distil_weight=1.0,
        arch="ds-tcn:width=12:kernels=3-5",
    )  # fmt: skip
    taught = train_speech.train(student)
    assert teacher.metrics["val"]["top1"] >= 0.9 and taught.metrics["val"]["top1"] >= 0.9
    with pytest.raises(EdgepressError, match="hears with bands 20, the student with 16"):
        train_speech.train(dataclasses.replace(student, out=tmp_path / "other", bands=16))
    assert not (tmp_path / "other").exists()
