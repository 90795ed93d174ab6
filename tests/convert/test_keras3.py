"""Keras 3 models carried over into Keras 2: the same answers, and nothing that a file could not hold."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress_convert.importers.keras3 import in_keras2
from edgepress_convert.importers.source import ImportFailure
from edgepress_train.keras2 import keras as keras2

keras = pytest.importorskip("keras")
L = keras.layers


def shaken(model):
    """The model with random weights everywhere, so that none of them could be forgotten."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.2, 1.0, w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def functional():
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, padding="same", use_bias=False)(L.Rescaling(1 / 255.0)(inputs))
    y = L.Activation("hard_swish")(L.BatchNormalization()(x))
    z = L.Concatenate()([x + y, keras.ops.multiply(y, 2.0), L.SeparableConv2D(2, 3, padding="same")(x)])
    z = keras.Sequential([L.Conv2D(5, 1, activation="silu"), L.DepthwiseConv2D(3, activation="relu6")])(z)
    z = L.LayerNormalization()(L.Dropout(0.5)(z))
    return keras.Model(inputs, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(z)), name="mine")


def sequential():
    return keras.Sequential(
        [keras.Input((12, 6)), L.Conv1D(4, 3, activation="hard_sigmoid"), L.Flatten(), L.Dense(2, activation="softmax")]
    )


def shared():
    inputs = keras.Input((6, 6, 2))
    twice = L.Conv2D(2, 3, padding="same", activation="relu")
    x = L.Add()([twice(inputs), twice(L.MaxPooling2D(3, 1, "same")(inputs))])
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(x)))


@pytest.mark.parametrize("build", [functional, sequential, shared])
def test_it_answers_the_same_and_can_be_saved(build, tmp_path):
    model = shaken(build())
    twin = in_keras2(model)
    assert isinstance(twin, keras2.Model)
    assert twin.count_params() == model.count_params()
    twin.save(tmp_path / "twin.keras")
    again = keras2.models.load_model(tmp_path / "twin.keras", compile=False)
    example = np.random.default_rng(1).normal(size=(3, *model.inputs[0].shape[1:])).astype(np.float32)
    expected = np.asarray(model(example, training=False))
    assert np.allclose(np.asarray(again(example, training=False)), expected, atol=1e-4 * np.abs(expected).max())


def test_a_layer_without_a_twin_is_named():
    inputs = keras.Input((8, 4))
    model = keras.Model(inputs, L.RMSNormalization(name="odd")(inputs))
    with pytest.raises(ImportFailure) as caught:
        in_keras2(model)
    assert caught.value.what == ("the layer odd (RMSNormalization) has no twin in Keras 2, which compression needs")


def test_arithmetic_without_a_twin_is_named():
    inputs = keras.Input((8,))
    with pytest.raises(ImportFailure, match=r"^the layer \S+ \(Exp\) has no twin in Keras 2"):
        in_keras2(keras.Model(inputs, keras.ops.exp(inputs)))
