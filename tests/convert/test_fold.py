"""Folding: the same answers from fewer layers, whatever kind of layer it is that a normalisation goes into."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress_convert.compress.fold import fold, grouped, scaled, without_ceilings
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras

layers = keras.layers


def trained(model, seed: int = 0):
    """`model` with normalisations as a training leaves them: no two channels alike."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            trained(layer, seed + 1)
        elif isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return model


def inputs(*shape: int) -> np.ndarray:
    return np.random.default_rng(9).normal(size=(4, *shape)).astype(np.float32)


def kinds(model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


FOLDABLE = {
    "conv": ((8, 8, 4), lambda: layers.Conv2D(6, 3, padding="same")),
    "grouped": ((8, 8, 4), lambda: layers.Conv2D(6, 3, groups=2, use_bias=False)),
    "depthwise": ((8, 8, 4), lambda: layers.DepthwiseConv2D(3, depth_multiplier=2)),
    "transposed": ((8, 8, 4), lambda: layers.Conv2DTranspose(5, 3, strides=2)),
    "separable": ((8, 8, 4), lambda: layers.SeparableConv2D(5, 3, depth_multiplier=2)),
    "conv1d": ((8, 4), lambda: layers.Conv1D(6, 3)),
    "depthwise1d": ((8, 4), lambda: layers.DepthwiseConv1D(3)),
    "dense": ((4,), lambda: layers.Dense(6, use_bias=False)),
}


@pytest.mark.parametrize("kind", FOLDABLE)
def test_a_normalisation_goes_into_the_layer_before_it(kind: str):
    shape, layer = FOLDABLE[kind]
    given = keras.Input(shape)
    normalized = layers.BatchNormalization(name="norm")(layer()(given))
    model = trained(keras.Model(given, layers.ReLU(name="relu")(normalized)))
    before = [w.copy() for w in model.get_weights()]

    folded = fold(model)

    x = inputs(*shape)
    np.testing.assert_allclose(folded(x), model(x), rtol=1e-5, atol=1e-5)
    assert "BatchNormalization" not in kinds(folded) and "ReLU" in kinds(folded)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_folded_weights_are_those_of_the_equation():
    given = keras.Input((5, 5, 2))
    y = layers.Conv2D(3, 3, use_bias=False, name="conv")(given)
    model = keras.Model(given, layers.BatchNormalization(epsilon=0.5, name="norm")(y))
    gamma, beta, mean, variance = np.array([[2, 3, 4], [1, 0, -1], [5, 6, 7], [0.5, 3.5, 8.5]], np.float32)
    model.get_layer("norm").set_weights([gamma, beta, mean, variance])
    kernel = model.get_layer("conv").get_weights()[0]

    got_kernel, got_bias = fold(model).get_layer("conv").get_weights()

    gain = np.array([2 / 1, 3 / 2, 4 / 3])
    np.testing.assert_allclose(got_kernel, kernel * gain, rtol=1e-6)
    np.testing.assert_allclose(got_bias, [1 - 5 * 2, 0 - 6 * 1.5, -1 - 7 * 4 / 3], rtol=1e-6)


def unfoldable():
    x = keras.Input((8, 8, 4))
    conv = layers.Conv2D(4, 1, name="conv")

    def net(y):
        return keras.Model(x, layers.GlobalAveragePooling2D()(y))

    read_twice = conv(x)
    yield "read by another layer too", net(layers.Add()([layers.BatchNormalization()(read_twice), read_twice]))
    yield "behind an activation", net(layers.BatchNormalization()(layers.Conv2D(4, 1, activation="relu")(x)))
    yield "along another axis", net(layers.BatchNormalization(axis=1)(layers.Conv2D(4, 1)(x)))
    yield "behind the input", net(layers.BatchNormalization()(x))
    shared = layers.Conv2D(4, 1)
    yield "of a layer called twice", net(layers.BatchNormalization()(shared(shared(x))))
    normalizer = layers.BatchNormalization()
    yield "called twice", net(normalizer(layers.Conv2D(4, 1)(normalizer(layers.Conv2D(4, 1)(x)))))


@pytest.mark.parametrize(("why", "model"), list(unfoldable()), ids=[why for why, _ in unfoldable()])
def test_what_cannot_be_folded_stays(why: str, model):
    trained(model)
    folded = fold(model)
    x = inputs(8, 8, 4)
    np.testing.assert_allclose(folded(x), model(x), rtol=1e-5, atol=1e-5)
    assert "BatchNormalization" in kinds(folded)


def test_nested_models_are_opened_and_names_stay_apart():
    inner_in = keras.Input((8, 8, 4))
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, padding="same", name="conv")(inner_in))
    inner = keras.Model(inner_in, layers.ReLU()(y), name="inner")
    given = keras.Input((8, 8, 4))
    z = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 1, name="conv")(given))
    model = trained(keras.Model(given, layers.Flatten()(inner(z))))

    folded = fold(model)

    x = inputs(8, 8, 4)
    np.testing.assert_allclose(folded(x), model(x), rtol=1e-5, atol=1e-5)
    assert {layer.name for layer in folded.layers} >= {"conv", "inner_conv"}
    assert not {"BatchNormalization", "Functional"} & set(kinds(folded))


def test_a_folded_model_is_plain_and_can_be_saved(tmp_path):
    given = keras.Input((8, 8, 4))
    model = trained(keras.Model(given, layers.BatchNormalization()(layers.SeparableConv2D(3, 3)(given))))
    fold(model).save(tmp_path / "net.keras")
    x = inputs(8, 8, 4)
    again = keras.models.load_model(tmp_path / "net.keras", compile=False)
    np.testing.assert_allclose(again(x), model(x), rtol=1e-5, atol=1e-5)


def test_channels_of_a_grouped_kernel_are_scaled_by_group():
    layer = layers.Conv2D(6, 3, groups=2, use_bias=False)
    given = keras.Input((8, 8, 4))
    model = keras.Model(given, layer(given))
    x, ins, outs = inputs(8, 8, 4), np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 0.5, 2.0, 3.0, 4.0, 5.0])
    kernel = layer.get_weights()[0]
    wanted = model(x * ins.astype(np.float32)).numpy() * outs

    layer.set_weights([scaled(layer, kernel, ins=ins, outs=outs)])

    np.testing.assert_allclose(model(x), wanted, rtol=1e-4, atol=1e-5)
    assert grouped(layer, kernel).shape == (9, 2, 2, 3)


def relu6_net(scale: float, kind: str):
    end = {"layer": lambda: layers.ReLU(6.0, name="end"), "name": lambda: layers.Activation("relu6", name="end")}[kind]
    given = keras.Input((8, 8, 3))
    conv = layers.Conv2D(4, 1, name="conv")
    model = keras.Model(given, layers.GlobalAveragePooling2D()(end()(conv(given))))
    conv.set_weights([np.full((1, 1, 3, 4), scale, np.float32), np.zeros(4, np.float32)])
    return model


@pytest.mark.parametrize("kind", ["layer", "name"])
def test_a_ceiling_that_nothing_reaches_goes(kind: str):
    model, x = relu6_net(0.1, kind), inputs(8, 8, 3)
    plain, replaced, left = without_ceilings(model, x)
    assert (replaced, left) == (("end",), ())
    np.testing.assert_allclose(plain(x), model(x), rtol=1e-6)
    assert plain(100 * x).numpy().max() > 6 >= model(100 * x).numpy().max()


@pytest.mark.parametrize("kind", ["layer", "name"])
def test_a_ceiling_that_is_used_stays(kind: str):
    model, x = relu6_net(10.0, kind), inputs(8, 8, 3)
    plain, replaced, left = without_ceilings(model, x)
    assert (replaced, left) == ((), ("end",))
    assert plain(100 * x).numpy().max() <= 6


def test_a_model_without_a_graph_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(EdgepressError, match="own is no functional or sequential model"):
        fold(Own(name="own"))
