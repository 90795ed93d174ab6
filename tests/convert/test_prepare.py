"""Models in training dress and back, and what is read from weights, against the plain models and loops."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tests.convert.taught import job, stripes

from edgepress_convert.compress import kept_weights, prepare
from edgepress_train.keras2 import keras

layers = keras.layers


def nested() -> keras.Model:
    """A model in a model, the inner one called as frozen; a shared layer; a formula; normalised inputs."""
    keras.utils.set_random_seed(1)
    inner_in = keras.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inner_in)
    x = layers.BatchNormalization(name="norm")(x)
    inner = keras.Model(inner_in, layers.ReLU()(x), name="body")
    inputs = keras.Input((8, 8, 3))
    normalization = layers.Normalization(name="scale")
    normalization.adapt(np.random.default_rng(0).normal(3, 2, (64, 8, 8, 3)).astype(np.float32))
    shared = layers.Conv2D(4, 1, name="conv_again")
    x = shared(normalization(inputs))
    x = inner(x, training=False)
    x = layers.Conv2D(3, 1, name="mix")(x) * 0.5 + 1.0
    x = layers.GlobalAveragePooling2D()(shared(x))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x))
    rng = np.random.default_rng(2)
    for layer in (inner.get_layer("norm"), shared, model.get_layer("head")):
        layer.set_weights([rng.uniform(0.5, 1.5, w.shape).astype(np.float32) for w in layer.get_weights()])
    return model


def answers(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    return np.asarray(model(inputs, training=False))


def test_dressing_changes_no_answer_and_shares_nothing():
    model = nested()
    inputs = stripes(6, (8, 8, 3), seed=1)[0] + 3
    plain = prepare.flat(model)
    dressed = prepare.dress(plain, prepare.bare)
    assert not any(isinstance(layer, keras.Model) for layer in plain.layers)
    for other in (plain, dressed.model):
        np.testing.assert_allclose(answers(other, inputs), answers(model, inputs), atol=1e-6)
    mine = {id(v) for v in model.variables}
    assert not mine & {id(v) for v in [*plain.variables, *dressed.model.variables]}


def test_learned_weights_come_back(tmp_path):
    model = nested()
    inputs, labels = stripes(48, (8, 8, 3), seed=1)
    plain = prepare.flat(model)
    dressed = prepare.dress(plain, prepare.split)
    job(tmp_path, inputs, labels).fine_tune(dressed.model, epochs=1)
    assert np.abs(answers(dressed.model, inputs) - answers(plain, inputs)).max() > 1e-3
    prepare.undress(plain, dressed.values())
    np.testing.assert_allclose(answers(plain, inputs), answers(dressed.model, inputs), atol=1e-6)
    before, after = model.get_layer("body").get_layer("norm").get_weights(), plain.get_layer("norm").get_weights()
    # A normalisation that was called as frozen learns its scale, but its statistics stay.
    assert not np.array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[2:], after[2:])


SPLIT = {
    "separable": lambda: layers.SeparableConv2D(5, 3, strides=2, depth_multiplier=2, activation="relu", name="it"),
    "separable, dilated, gated": lambda: layers.SeparableConv2D(
        5, 3, dilation_rate=2, padding="same", use_bias=False, activation="swish", name="it"
    ),
    "convolution with a sigmoid": lambda: layers.Conv2D(5, 3, activation="sigmoid", name="it"),
    "convolution with a ReLU": lambda: layers.Conv2D(5, 3, activation="relu", name="it"),
    "depthwise with a tanh": lambda: layers.DepthwiseConv2D(3, activation="tanh", name="it"),
}
SPLIT_1D = {
    "separable": lambda: layers.SeparableConv1D(5, 3, strides=2, activation="tanh", name="it"),
    "separable, causal": lambda: layers.SeparableConv1D(5, 3, padding="causal", name="it"),
    "convolution, causal": lambda: layers.Conv1D(5, 3, padding="causal", dilation_rate=2, activation="elu", name="it"),
}


@pytest.mark.parametrize(
    ("shape", "layer"),
    [pytest.param((9, 9, 3), f, id=n) for n, f in SPLIT.items()]
    + [pytest.param((9, 3), f, id=f"{n} (1-D)") for n, f in SPLIT_1D.items()],
)
def test_parts_compute_what_the_whole_does(shape, layer):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer()(inputs))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    batch = rng.normal(size=(2, *shape)).astype(np.float32)
    plain = prepare.flat(model)
    parts = prepare.dress(plain, prepare.split)
    np.testing.assert_allclose(answers(parts.model, batch), answers(model, batch), atol=1e-5)
    for variable in parts.model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    prepare.undress(plain, parts.values())
    np.testing.assert_allclose(answers(plain, batch), answers(parts.model, batch), atol=1e-5)


def test_parts_end_in_what_a_board_computes_with_them():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, activation="relu", name="fused")(inputs)
    x = layers.SeparableConv2D(4, 3, activation="swish", name="pair")(x)
    model = keras.Model(inputs, layers.Dense(2, activation="softmax", name="head")(x))
    names = [layer.name for layer in prepare.dress(prepare.flat(model), prepare.split).model.layers[1:]]
    assert names == ["fused", "pair_depthwise", "pair", "pair_swish", "head", "head_softmax"]


def test_statistics_follow_within_a_short_training(tmp_path):
    """Keras's own pace would leave a third of the old ones after 100 steps; the model that comes back keeps it."""
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.BatchNormalization(name="norm")(inputs))
    plain = prepare.flat(model)
    dressed = prepare.dress(plain, prepare.bare)
    batch = np.random.default_rng(0).normal(5, 1, (16, 8, 8, 3)).astype(np.float32)
    for _ in range(50):
        dressed.model(batch, training=True)
    prepare.undress(plain, dressed.values())
    np.testing.assert_allclose(plain.get_layer("norm").moving_mean, batch.mean(axis=(0, 1, 2)), rtol=0.01)
    assert plain.get_layer("norm").get_config()["momentum"] == 0.99


def rounded_normal(shape: tuple[int, ...], values: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(values, size=shape).astype(np.float32)


SIXTEEN = np.linspace(-1, 1, 16)
PLAIN = np.random.default_rng(5).normal(size=(3, 3, 8, 6)).astype(np.float32)
CASES = {
    # kernel -> (share of zeros, clusters, each channel by itself, pattern)
    "trained": (PLAIN, (0, 0, False, None)),
    "one zero": (np.where(np.arange(PLAIN.size).reshape(PLAIN.shape) == 7, 0, PLAIN), (0, 0, False, None)),
    "half of it": (PLAIN * (np.arange(8) % 2)[:, None], (0.5, 0, False, (2, 4))),
    "four of eight": (PLAIN * np.isin(np.arange(8), (0, 1, 2, 3))[:, None], (0.5, 0, False, (4, 8))),
    "begun at zero": (np.zeros((1, 1, 8, 6), np.float32), (0, 0, False, None)),
    "begun at one": (np.ones((3, 3, 8, 1), np.float32), (0, 0, False, None)),
    "sixteen values": (rounded_normal((3, 3, 8, 6), SIXTEEN), (0, 16, False, None)),
    "sixteen values and zeros": (
        rounded_normal((3, 3, 8, 6), SIXTEEN) * (np.arange(6) > 0),
        (1 / 6, 16, False, None),
    ),
    "four values a channel": (
        rounded_normal((3, 3, 8, 60), np.array([-2, -1, 1, 3])) * np.linspace(0.1, 1, 60).astype(np.float32),
        (0, 4, True, None),
    ),
    "one of the channels dead": (
        rounded_normal((3, 3, 8, 60), np.array([-2, -1, 1, 3])) * (np.arange(60) / 59).astype(np.float32),
        (1 / 60, 4, True, None),
    ),
    "int8 turned into floats": (rounded_normal((3, 3, 32, 32), np.arange(-127, 128) / 127), (None, 0, False, None)),
    "few weights": (np.arange(6, dtype=np.float32).reshape(3, 2), (1 / 6, 0, False, None)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_kept_is_read_from_the_weights(name):
    kernel, (sparsity, clusters, per_channel, pattern) = CASES[name]
    kept = kept_weights.read(kernel)
    if sparsity is not None:
        assert kept.sparsity == pytest.approx(sparsity)
    assert (kept.clusters, kept.per_channel, kept.pattern) == (clusters, per_channel, pattern)
    assert (kept.groups is not None) == (clusters > 0)
    if kept.groups is not None:
        for number in np.unique(kept.groups):
            assert np.unique(kernel[kept.groups == number]).size == 1


def test_a_pattern_is_counted_in_blocks_along_the_inputs():
    rng = np.random.default_rng(1)
    for seed in range(20):
        kernel = rng.normal(size=(2, 2, 10, 3)) * (rng.random((2, 2, 10, 3)) < 0.3 + 0.03 * seed)
        most = {
            size: max(
                np.count_nonzero(kernel[y, x, start : start + size, o])
                for y in range(2) for x in range(2) for o in range(3) for start in range(0, 10, size)
            )
            for size in (4, 8)
        }  # fmt: skip
        expected = next(((live, size) for size, live in most.items() if 0 < live < size), None)
        assert kept_weights.pattern(kernel) == expected


def test_held_weights_move_together_and_zeros_stay():
    kernel = rounded_normal((3, 3, 4, 4), np.array([-1.0, 0.0, 0.5, 2.0]))
    kept = kept_weights.read(kernel)
    moved = tf.Variable(kernel + np.random.default_rng(3).normal(0, 0.1, kernel.shape).astype(np.float32))
    weight = tf.constant(np.random.default_rng(4).normal(size=kernel.shape).astype(np.float32))
    with tf.GradientTape() as tape:
        result = kept_weights.held(moved, kept)
        loss = tf.reduce_sum(result * weight)
    gradient = np.asarray(tape.gradient(loss, moved))
    assert np.unique(result).size == 4
    for value in (-1.0, 0.5, 2.0):
        members = kernel == value
        np.testing.assert_allclose(np.asarray(result)[members], moved.numpy()[members].mean(), rtol=1e-5)
        np.testing.assert_allclose(gradient[members], weight.numpy()[members].mean(), rtol=1e-4)
    assert not np.asarray(result)[kernel == 0].any()
    assert not gradient[kernel == 0].any()
