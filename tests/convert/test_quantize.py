"""Every scheme against Keras; an int8 layer against NumPy; what the converter cannot do, in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
from tests.convert.conftest import SPEC, examples, pictures

from edgepress_convert import flatbuffer, layers, quantize, tflite, verify
from edgepress_convert.quantize import QuantizeError
from edgepress_runtime.image import normalize

# The largest difference of a score from Keras's that each scheme is allowed
TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "dynamic": 1e-5, "int8": 0.12, "int16x8": 0.02}


@pytest.mark.parametrize("scheme", quantize.SCHEMES)
def test_scores_are_near_those_of_keras(scheme: str, made: dict[str, bytes], network) -> None:
    pixels, _ = pictures(30, seed=6)
    expected = network.predict(normalize(pixels, SPEC), verbose=0)
    found = verify.scores(made[scheme], examples(pixels))
    np.testing.assert_allclose(found, expected, atol=TOLERANCE[scheme])


@pytest.mark.parametrize("scheme", quantize.SCHEMES)
def test_inputs_outputs_and_weights_are_stored_as_promised(scheme: str, made: dict[str, bytes]) -> None:
    graph = flatbuffer.graphs(made[scheme])[0]
    promised = quantize.SCHEMES[scheme]
    for index in (*graph.inputs, *graph.outputs):
        assert graph.tensors[index].dtype == promised.io
        assert graph.tensors[index].shape[0] == 1
    kernels = {t.dtype for t in graph.tensors if t.is_weight and len(t.shape) > 1}
    # TensorFlow leaves weights of fewer than 1,024 elements alone under dynamic: all of these
    assert kernels == {"float32" if scheme == "dynamic" else promised.weights}


def test_the_first_int8_layer_in_numpy(made: dict[str, bytes], representative: np.ndarray) -> None:
    """q_out = round(sum((q_in - z_in) * q_w + b) * s_in * s_w / s_out) + z_out (Jacob et al. 2018, eq. 7)."""
    graph = flatbuffer.graphs(made["int8"])[0]
    op = next(op for op in graph.ops if op.kind == "CONV_2D")
    source, kernel, bias, out = (graph.tensors[i] for i in (*op.inputs, *op.outputs))
    probe = layers._Probe(made["int8"], graph)
    probe.run(representative[:1])
    stored = probe.interpreter.get_tensor(source.index)[0].astype(np.int64)
    weights = kernel.values().reshape(8, 3).astype(np.int64)
    total = (stored - source.zero_points[0]) @ weights.T + np.frombuffer(bias.data, np.int32)
    scale = source.scales[0] * np.array(kernel.scales) / out.scales[0]
    expected = np.rint(total * scale).astype(np.int64) + out.zero_points[0]
    expected = np.clip(expected, out.zero_points[0], 127)  # ReLU, and the end of int8
    found = probe.interpreter.get_tensor(out.index)[0]
    assert np.abs(found - expected).max() <= 1  # fixed-point multipliers round a few ties the other way
    assert (found == expected).mean() > 0.97


def test_same_arguments_same_bytes_and_per_tensor_weights(network, representative: np.ndarray, made) -> None:
    again = quantize.convert(network, ("int8",), representative=representative)["int8"]
    assert again == made["int8"]


@pytest.mark.parametrize(("weights", "left"), [("per-tensor-dense", 2), ("per-tensor", 0)])
def test_layers_with_a_scale_a_channel(weights: str, left: int, network, representative: np.ndarray) -> None:
    data = quantize.convert(network, ("int8",), representative=representative, weights=weights)["int8"]
    assert len(tflite.facts(data).per_channel) == left


def test_a_gru_that_kills_the_converter_becomes_a_sentence() -> None:
    from edgepress_train.keras2 import keras

    model = keras.Sequential([keras.Input((6, 4)), keras.layers.GRU(3), keras.layers.Dense(2)])
    with pytest.raises(QuantizeError) as caught:
        quantize.convert(model, ("int8",), representative=np.zeros((2, 6, 4), np.float32))
    assert caught.value.what.startswith("TensorFlow's converter crashed on this model (signal SIG")
    assert "unroll=True" in caught.value.remedy


def test_an_operator_that_no_board_has_is_named() -> None:
    import tensorflow as tf

    from edgepress_train.keras2 import keras

    inputs = keras.Input((4, 4))
    model = keras.Model(inputs, keras.layers.Flatten()(keras.layers.Lambda(tf.linalg.inv)(inputs)))
    with pytest.raises(QuantizeError, match="the model uses MatrixInverse, which a board's LiteRT does not have"):
        quantize.convert(model, ("float32",))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"schemes": ("int9",)}, "unknown quantization 'int9'; did you mean 'int8'?"),
        ({"schemes": ("int8",)}, "int8 needs example inputs to choose ranges"),
        ({"schemes": ("float32",), "weights": "per-row"}, "unknown choice of weights 'per-row'"),
    ],
)
def test_wrong_requests(arguments: dict, sentence: str, network) -> None:
    with pytest.raises(QuantizeError) as caught:
        quantize.convert(network, **arguments)
    assert caught.value.what == sentence


def test_an_open_input_size_is_refused() -> None:
    from edgepress_train.keras2 import keras

    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D()])
    with pytest.raises(QuantizeError, match=r"the model's input is \[None, None, 3\]: a board needs fixed sizes"):
        quantize.convert(model, ("float32",))


def test_a_stratified_choice_keeps_shares_and_every_class() -> None:
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    chosen = quantize.stratified(labels, 100, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [90, 9, 1]
    assert len(set(chosen.tolist())) == 100
    assert (quantize.stratified(labels, 100, seed=0) == chosen).all()
    assert (quantize.stratified(labels, 100, seed=1) != chosen).any()
    assert sorted(labels[quantize.stratified(labels, 3, seed=0)]) == [0, 1, 2]
    assert len(quantize.stratified(labels, 5000, seed=0)) == 1000
    assert len(quantize.stratified(labels[:0], 5, seed=0)) == 0


def test_interleaved_takes_each_class_in_turn() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    index = quantize.interleaved(labels, 6, seed=0)
    assert labels[index].tolist() == [0, 1, 2, 0, 1, 0]
    assert sorted(index.tolist()) == list(range(6))
