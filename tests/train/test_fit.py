from __future__ import annotations

import csv
import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_train import fit as fit_module
from edgepress_train.fit import FitConfig, build_optimizer, build_schedule, fit
from edgepress_train.keras2 import keras


def config(**changes):
    plain = FitConfig(
        epochs=4, steps_per_epoch=5, optimizer="sgd", lr=0.1, schedule="cosine", warmup_epochs=1.0, weight_decay=0.0,
        ema=0.0, patience=0,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def history(folder):
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


def net(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.layers.Dense(8, "relu", input_shape=(4,)), keras.layers.Dense(3, "softmax")])


def batches(start, stop):
    def one(step):
        x = tf.random.stateless_normal([16, 4], tf.cast([7, step], tf.int32))
        return x, tf.one_hot(tf.argmax(x[:, :3], axis=1), 3), tf.ones([16])

    return tf.data.Dataset.range(start, stop).map(one)


def run(tmp_path, settings, *, model=None, **options):
    model = model or net()
    loss = keras.losses.CategoricalCrossentropy()
    metrics = [keras.metrics.CategoricalAccuracy(name="accuracy")]
    return model, fit(model, batches, config=settings, out=tmp_path, loss=loss, metrics=metrics, **options)


def test_it_learns_and_writes_a_row_an_epoch(tmp_path):
    _, fitted = run(tmp_path, config(epochs=30), val=batches(1000, 1010))
    rows = history(tmp_path)
    assert fitted.epochs == fitted.kept_epoch == len(rows) == 30
    assert float(rows[-1]["loss"]) < 0.7 * float(rows[0]["loss"])
    assert set(rows[0]) == {"epoch", "seconds", "loss", "accuracy", "val_loss", "val_accuracy"}


def test_a_resumed_training_ends_where_the_uninterrupted_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(fit_module, "_CHECKPOINT_EVERY_S", 0.0)
    for name, settings in {"sgd": config(), "adamw": config(optimizer="adamw", ema=0.9, weight_decay=0.1)}.items():
        whole, _ = run(tmp_path / name / "whole", settings)

        class PowerCut(Exception):
            pass

        def cut(stage, done, total, note):
            if done == 12:  # in the third epoch
                raise PowerCut

        with pytest.raises(PowerCut):
            run(tmp_path / name / "cut", settings, progress=cut)
        resumed, fitted = run(tmp_path / name / "cut", settings, model=net(seed=99), resume=True)
        assert fitted.epochs == 4
        for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
            assert np.allclose(a, b, atol=1e-6)
        assert len(history(tmp_path / name / "cut")) == 4


def test_resuming_a_finished_training_changes_nothing(tmp_path):
    model, _ = run(tmp_path, config())
    again, fitted = run(tmp_path, config(), model=net(seed=5), resume=True)
    assert fitted.epochs == 4
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights(), strict=True))


def test_patience_keeps_the_best_epoch(tmp_path):
    weights = {}

    class Falling(keras.Sequential):
        """Its validation score is best in epoch 2."""

        def evaluate(self, *args, **kwargs):
            epoch = len(weights) + 1
            weights[epoch] = self.get_weights()
            return {"loss": 1.0, "accuracy": {1: 0.5, 2: 0.9}.get(epoch, 0.4)}

    keras.utils.set_random_seed(0)
    model = Falling([keras.layers.Dense(3, "softmax", input_shape=(4,))])
    _, fitted = run(tmp_path, config(epochs=20, patience=3), model=model, val=batches(0, 1))
    assert (fitted.epochs, fitted.kept_epoch) == (5, 2)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), weights[2], strict=True))


def test_averaged_weights_are_the_exponential_mean(tmp_path):
    seen = []
    model = net()
    loss = keras.losses.CategoricalCrossentropy()
    settings = config(epochs=1, ema=0.9, schedule="constant", warmup_epochs=0.0)
    original = [w.copy() for w in model.get_weights()]
    plain = net()
    plain.compile(build_optimizer(config(epochs=1, schedule="constant", warmup_epochs=0.0)), loss)
    for x, y, _ in batches(0, 5):
        plain.train_on_batch(x, y)
        seen.append([w.copy() for w in plain.get_weights()])
    expected = original
    for weights in seen:
        expected = [0.9 * e + 0.1 * w for e, w in zip(expected, weights, strict=True)]
    fit(model, batches, config=settings, out=tmp_path, loss=loss)
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(model.get_weights(), expected, strict=True))


def test_a_diverged_training_is_a_sentence(tmp_path):
    with pytest.raises(EdgepressError, match="the training diverged in epoch 1"):
        run(tmp_path, config(lr=1e30, warmup_epochs=0.0, schedule="constant"))


def test_schedules_against_their_formulas():
    cosine = build_schedule(config(epochs=10, steps_per_epoch=10, lr=1.0, warmup_epochs=2.0))
    assert float(cosine(0)) == pytest.approx(1 / 20)
    assert float(cosine(19)) == pytest.approx(1.0)
    assert float(cosine(60)) == pytest.approx(0.5)
    assert float(cosine(100)) == pytest.approx(0.0, abs=1e-6)
    decay = build_schedule(config(lr=0.001, schedule="exponential:0.99", warmup_epochs=0.0))
    for epoch in (0, 1, 7, 300):
        assert float(decay(epoch * 5 + 3)) == pytest.approx(0.001 * math.pow(0.99, epoch), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"optimizer": "adamm"}, "unknown optimizer 'adamm'"),
        ({"schedule": "linear"}, "unknown schedule 'linear'"),
        ({"schedule": "exponential"}, "schedule 'exponential' lacks its rate"),
    ],
)
def test_unknown_settings_are_refused(changes, sentence):
    with pytest.raises(EdgepressError) as caught:
        build_optimizer(config(**changes))
    assert caught.value.what == sentence


def test_weight_decay_spares_biases(tmp_path):
    model = net()
    model.layers[0].bias.assign(np.ones(8))
    before = [w.copy() for w in model.get_weights()]
    model.compile(build_optimizer(config(lr=0.1, weight_decay=0.5, schedule="constant", warmup_epochs=0.0)))
    model.optimizer.build(model.trainable_variables)
    model.optimizer.apply_gradients([(tf.zeros_like(v), v) for v in model.trainable_variables])
    after = model.get_weights()
    assert np.allclose(after[0], before[0] * (1 - 0.05)) and np.array_equal(after[1], before[1])
