from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from edgepress_train.hardest import Hardest, hardest
from edgepress_train.keras2 import keras


def by_hand(scores, targets, weights, background, share) -> float:
    """Example by example: the mean of the keywords, and of the worst part of the rest."""
    words, rest = [], []
    for row, wanted, weight in zip(scores, targets, weights, strict=True):
        loss = -sum(t * np.log(s) for t, s in zip(wanted, row, strict=True))
        (rest if wanted.argmax() == background else words).append((loss, weight))
    rest = sorted(rest, reverse=True)[: int(np.ceil(share * len(rest)))]
    return 0.5 * sum(
        sum(loss * w for loss, w in part) / sum(w for _, w in part) if part else 0.0 for part in (words, rest)
    )


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_the_loss_is_that_of_the_worst_examples_of_the_background(share):
    rng = np.random.default_rng(int(100 * share))
    scores = rng.dirichlet(np.ones(3), 41).astype(np.float32)
    targets = (np.eye(3)[rng.integers(0, 3, 41)] * 0.9 + 0.1 / 3).astype(np.float32)
    weights = rng.uniform(0.5, 2, 41).astype(np.float32)
    found = float(hardest(scores, targets, weights, 2, share=share))
    assert found == pytest.approx(by_hand(scores, targets, weights, 2, share), rel=1e-5)


@pytest.mark.parametrize("label", [0, 1])
def test_a_batch_of_one_kind_alone_has_a_loss(label):
    scores, targets = np.full((4, 2), 0.5, np.float32), np.eye(2, dtype=np.float32)[np.full(4, label)]
    assert float(hardest(scores, targets, np.ones(4, np.float32), 1, share=0.5)) == pytest.approx(0.5 * np.log(2))


def test_what_is_easily_told_teaches_nothing():
    logits = tf.Variable([[0.0, 0.0], [-4.0, 4.0], [-3.0, 3.0], [1.0, -1.0]])
    targets = np.eye(2, dtype=np.float32)[[0, 1, 1, 1]]
    with tf.GradientTape() as tape:
        loss = hardest(tf.nn.softmax(logits), targets, np.ones(4, np.float32), 1, share=0.3)
    moved = np.abs(tape.gradient(loss, logits).numpy()).sum(axis=1)
    assert (moved[[1, 2]] == 0).all() and (moved[[0, 3]] > 0.1).all()


def test_it_teaches_the_student_and_has_no_weights_of_its_own():
    keras.utils.set_random_seed(0)
    student = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="softmax")])
    model = Hardest(student, 1, share=0.2)
    told_by = {"loss": keras.losses.CategoricalCrossentropy(), "weighted_metrics": ["accuracy"]}
    model.compile(optimizer=keras.optimizers.Adam(0.05), **told_by)
    rng = np.random.default_rng(0)
    places = rng.normal(size=(256, 2)).astype(np.float32)
    targets = np.eye(2, dtype=np.float32)[(places[:, 0] < 1).astype(int)]
    told = model.fit(places, targets, sample_weight=np.ones(256), epochs=20, verbose=0).history
    assert told["loss"][-1] < 0.5 * told["loss"][0]
    assert [w.ref() for w in model.weights] == [w.ref() for w in student.weights]
    # the hardest sounds are kept out: no more than a few of the background are taken for the word
    answers = student(places).numpy().argmax(axis=1)
    assert (answers[targets[:, 1] == 1] == 0).mean() < 0.05
