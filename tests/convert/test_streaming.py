"""A streaming model gives, step by step, the scores of the whole window that ends there: integers to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tests.convert.conftest import convert_here

from edgepress_convert import flatbuffer, streaming
from edgepress_convert.compact import write
from edgepress_convert.flatbuffer import TfliteError
from edgepress_convert.timeline import StreamError
from edgepress_runtime.engine import open_engine
from edgepress_train import models
from edgepress_train.keras2 import keras  # isort: split

import tensorflow as tf

layers = keras.layers


def tflite(model: keras.Model, scheme: str) -> bytes:
    frames, features = model.input_shape[1:3]
    examples = np.resize(drifting(4 * frames, features), (4, *model.input_shape[1:]))
    return convert_here(model, (scheme,), representative=examples)[scheme]


def classifier(frames: int, features: int, body, *, head=None, gain: float = 2.5) -> keras.Model:
    """A net from (frames, features, 1) through `body` to three scores."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((frames, features, 1))
    x = body(inputs)
    if head is None:
        x = layers.AveragePooling2D((x.shape[1], x.shape[2]), (1, 1))(x)
        x = layers.Flatten()(layers.Conv2D(3, 1)(x))
    else:
        x = head(x)
    model = keras.Model(inputs, layers.Softmax()(x))
    last = model.weights[-2]  # of the scores; large ones, so that they move
    last.assign(np.random.default_rng(2).normal(0, gain, last.shape))
    return model


def stem(x, filters: int = 6, kernel: int = 3, stride: int = 1):
    return layers.Conv2D(filters, (kernel, x.shape[2]), (stride, 1), activation="relu")(x)


def speech_arch(text: str, frames: int, features: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = models.build(text, (frames, features, 1), 3, archs=models.SPEECH_ARCHS)
    for layer in model.layers:  # what training would leave: statistics of the data, and weights that are not all alike
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
            layer.gamma.assign(np.random.default_rng(0).uniform(0.5, 1.5, layer.gamma.shape))
    model(drifting(16 * frames, features).reshape(16, frames, features, 1), training=True)
    return model


def drifting(count: int, features: int) -> np.ndarray:
    """Frames (count, features, 1) float32 that change slowly, as those of speech do; noise alone averages out."""
    noise = np.random.default_rng(3).normal(size=(count, features, 1))
    for now in range(1, count):
        noise[now] = 0.95 * noise[now - 1] + 0.31 * noise[now]
    return noise.astype(np.float32)


def two_branches(x):
    """One tensor seen three ways: by a reach of 5, by a delay, and by a reach of 3 of which two frames are never read.

    The first cut only forgets the past, so it goes away, and what looks at it shares a state with the rest.
    """
    x = stem(x)
    cut = layers.Cropping2D(((1, 0), (0, 0)))(x)
    far = layers.DepthwiseConv2D((5, 1))(cut)
    late = layers.Cropping2D(((3, 2), (0, 0)))(x)
    near = layers.Cropping2D(((1, 2), (0, 0)))(layers.MaxPooling2D((3, 1), (1, 1))(x))
    return layers.Concatenate()([layers.Add()([far, late]), near])


def odd_strides(x):
    """A stride above the kernel, then one whose window leaves the last frame unread."""
    x = layers.Conv2D(4, (1, x.shape[2]), (2, 1))(x)
    return layers.Conv2D(6, (4, 1), (2, 1), activation="relu")(x)


def bands(x):
    """Frequency is padded, strided, parted, pooled and put together again; time is left alone."""
    x = layers.ZeroPadding2D(((0, 0), (1, 1)))(x)
    x = layers.Conv2D(4, 3, (1, 2), activation="relu")(x)
    low, high = x[:, :, :3], x[:, :, 3:]
    low = layers.Conv2D(4, (1, 3), padding="same")(low)
    x = layers.Concatenate(axis=2)([low, high])
    z = layers.AveragePooling2D((1, x.shape[2]))(x)
    z = layers.Activation("swish")(layers.DepthwiseConv2D((3, 1), dilation_rate=(2, 1))(z))
    return layers.Multiply()([layers.Cropping2D(((2, 2), (0, 0)))(x), z])


def cuts(x):
    """Ends cut by SLICE and STRIDED_SLICE, from front and back, in time and beside it; then every second frame."""
    x = stem(x, filters=6)
    a = layers.Lambda(lambda x: tf.slice(x, (0, 2, 0, 0), (-1, 9, -1, 4)))(x)
    b, c = x[:, -9:, :, 2:], x[:, 1:10, :, 1:5]
    low, high = layers.Lambda(lambda x: tf.split(x, 2, axis=3))(layers.Maximum()([a, b, c]))
    return layers.Concatenate()([high, low])[:, 1::2]


def dense_frames(x):
    x = layers.Dense(5, activation="tanh")(stem(x))
    return layers.Conv2D(4, (3, 1))(x)


def every(x):
    """The average over all that is left, but only in every third frame."""
    x = stem(x)
    x = layers.AveragePooling2D((x.shape[1], 1), (3, 1))(x)
    return layers.Flatten()(layers.Conv2D(3, 1)(x))


def mean_and_maximum(x):
    x = stem(x)
    average = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(3)(layers.Concatenate()([average, layers.GlobalMaxPooling2D()(x)]))


NETS = {
    "ds-tcn": lambda: speech_arch("ds-tcn:width=8:kernels=3-5:expand=2:every=2", 25, 12),
    "ds-cnn": lambda: speech_arch("ds-cnn:width=8:blocks=2:residual=true", 30, 10),
    "bc-resnet": lambda: speech_arch("bc-resnet:scale=0.5:reach=0.25", 60, 20),
    "two branches": lambda: classifier(15, 4, two_branches),
    "odd strides": lambda: classifier(21, 4, odd_strides),
    "bands": lambda: classifier(14, 10, bands, gain=12),
    "cuts": lambda: classifier(15, 4, cuts),
    "dense frames": lambda: classifier(13, 4, dense_frames),
    "every": lambda: classifier(14, 4, lambda x: x, head=every),
    "dense": lambda: classifier(11, 4, stem, head=lambda x: layers.Dense(3)(layers.Flatten()(x))),
    "mean and maximum": lambda: classifier(11, 4, lambda x: x, head=mean_and_maximum),
    "Keras's own stride of a pool": lambda: classifier(
        11, 4, stem, head=lambda x: layers.Flatten()(layers.Conv2D(3, 1)(layers.AveragePooling2D((9, 1))(x)))
    ),
}
STEP_FRAMES = {"ds-tcn": 4, "ds-cnn": 2, "bc-resnet": 2, "odd strides": 4, "cuts": 2, "every": 3}


@pytest.fixture(scope="module")
def made():
    """Whole-window models by name and scheme, converted when asked for."""
    nets: dict[str, keras.Model] = {}
    kept: dict[tuple[str, str], bytes] = {}

    def get(name: str, scheme: str = "int8") -> bytes:
        if (name, scheme) not in kept:
            nets.setdefault(name, NETS[name]())
            kept[name, scheme] = tflite(nets[name], scheme)
        return kept[name, scheme]

    return get


def end(model: bytes, which: str = "inputs") -> flatbuffer.Tensor:
    graph = flatbuffer.graphs(model)[0]
    return graph.tensors[getattr(graph, which)[0]]


def stored_frames(model: bytes, count: int) -> np.ndarray:
    """Drifting frames (count, features, 1) as the model's input stores them."""
    source = end(model)
    real = drifting(count, source.shape[2])
    if source.dtype == "float32":
        return real
    limits = np.iinfo(source.dtype)
    steps = np.rint(real / source.scales[0]) + source.zero_points[0]
    return np.clip(steps, limits.min, limits.max).astype(source.dtype)


def windows(model: bytes, frames: np.ndarray, step: int, *, xnnpack: bool) -> dict[int, np.ndarray]:
    """Scores of the whole window that ends with each step, from the first on that is full."""
    size = end(model).shape[1]
    with open_engine(model, threads=1, xnnpack=xnnpack) as engine:
        ends = ((n, (n + 1) * step) for n in range(len(frames) // step))
        return {n: engine.run(frames[np.newaxis, e - size : e])[0][0] for n, e in ends if e >= size}


def compare(model: bytes, *, xnnpack: bool) -> tuple[np.ndarray, np.ndarray, streaming.StreamFacts]:
    """Scores of whole windows and of the stream, for each step whose window is full."""
    streamed = streaming.stream(model)
    facts = streaming.facts(flatbuffer.graphs(streamed)[0])
    frames = stored_frames(model, 3 * end(model).shape[1] // facts.step_frames * facts.step_frames)
    expected = windows(model, frames, facts.step_frames, xnnpack=xnnpack)
    (found,) = streaming.run(streamed, frames.reshape(1, -1, facts.step_frames, *frames.shape[1:]), xnnpack=xnnpack)
    return np.stack(list(expected.values())), found[list(expected)], facts


@pytest.mark.parametrize("xnnpack", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_integers_are_equal_to_the_bit(made, name, xnnpack):
    expected, found, facts = compare(made(name), xnnpack=xnnpack)
    assert len(expected) >= 7
    assert np.ptp(expected, axis=0).max() > 5  # or nothing is compared
    assert np.array_equal(expected, found)
    assert facts.step_frames == STEP_FRAMES.get(name, 1)


@pytest.mark.parametrize("scheme", ["float32", "float16", "int16x8"])
@pytest.mark.parametrize("name", ["ds-cnn", "two branches"])
def test_other_schemes(made, name, scheme):
    for xnnpack in (True, False):
        expected, found, _ = compare(made(name, scheme), xnnpack=xnnpack)
        assert np.abs(expected.astype(np.float64) - found).max() <= (0 if scheme == "int16x8" else 1e-6)


def test_states_pair_with_their_next_values(made):
    model = made("ds-tcn")
    streamed = streaming.stream(model)
    graph = flatbuffer.graphs(streamed)[0]
    names = [graph.tensors[i].name for i in graph.inputs], [graph.tensors[i].name for i in graph.outputs]
    numbers = range(1, len(graph.inputs))
    assert names == (["features", *(f"state_{i}" for i in numbers)], ["scores", *(f"state_{i}_out" for i in numbers)])
    with open_engine(streamed) as engine:
        assert engine.inputs[0].shape == (1, 4, 12, 1) and engine.outputs[0].shape == (1, 3)
        for before, after in zip(engine.inputs[1:], engine.outputs[1:], strict=True):
            assert (before.shape, before.dtype, before.scale, before.zero_point) == (
                after.shape, after.dtype, after.scale, after.zero_point,
            )  # fmt: skip
        assert [s.shape[1] for s in engine.inputs[1:]] == [3, 2, 1, 4, 2, 3]  # by hand: (k - 1) x dilation + 1 - stride
        facts = streaming.facts(graph)
        assert facts.states == engine.inputs[1:]
    assert facts.state_bytes == 3 * 12 + (2 + 4) * 16 + (1 + 2 + 3) * 8
    assert streaming.facts(flatbuffer.graphs(model)[0]) is None
    unpacked = schema.ModelT.InitFromObj(schema.Model.GetRootAs(streamed, 0))
    assert not unpacked.signatureDefs and not unpacked.metadata
    assert len(streamed) < 1.25 * len(model)


def test_what_looks_at_one_tensor_shares_one_state(made):
    """Reaches of 5 and 3 and a delay of 2 into the stem's frames: one state of 4 beside that of the stem itself.

    Then the delay of 2 behind the short reach, and the head.
    """
    streamed = streaming.stream(made("two branches"))
    facts = streaming.facts(flatbuffer.graphs(streamed)[0])
    assert [s.shape[1] for s in facts.states] == [2, 4, 2, 7]


def test_the_same_model_gives_the_same_bytes(made):
    assert streaming.stream(made("bands")) == streaming.stream(made("bands"))


def refused(body, *, frames: int = 12, head=None):
    return lambda: classifier(frames, 4, body, head=head)


def gated(x):
    """Squeeze and excite: one number a channel for the whole window."""
    x = stem(x)
    return layers.Multiply()([x, layers.GlobalAveragePooling2D(keepdims=True)(x)])


def two_speeds(x):
    slow = layers.Conv2D(2, (1, 4), (2, 1))(x)
    return layers.Concatenate()([slow, layers.Cropping2D(((3, 3), (0, 0)))(layers.Conv2D(2, (1, 4))(x))])


def positions(x):
    x = stem(x)
    return x * np.linspace(1, 2, x.shape[1]).reshape((1, -1, 1, 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (refused(lambda x: layers.Conv2D(4, 3, padding="same")(x)), r"CONV_2D \(.*cannot run on a stream: it pads"),
        (refused(lambda x: layers.ZeroPadding2D(1)(x)), r"PAD \(.*\) cannot run on a stream: it pads time"),
        (refused(gated), r"MUL \(.*branches of different times meet here \(frames: 1 at one in 1 and 10 at one in 1\)"),
        (refused(two_speeds), r"CONCATENATION \(.*frames: 6 at one in 1 and 6 at one in 2"),
        (refused(positions), r"MUL \(.*a constant of it differs from frame to frame"),
        (refused(lambda x: layers.Permute((2, 1, 3))(x)), r"TRANSPOSE \(.*does not know how this operator treats time"),
        (refused(lambda x: layers.Reshape((6, 8, 1))(x)), r"RESHAPE \(.*moves time, from \[1, 12, 4, 1\] to"),
        (refused(lambda x: layers.Concatenate(axis=1)([x, x])), r"CONCATENATION \(.*it joins or parts time"),
        (refused(lambda x: layers.UpSampling2D((2, 1))(x)), r"RESIZE_NEAREST_NEIGHBOR \(.*does not know"),
    ],
    ids=["same", "pad", "gate", "speeds", "positions", "transpose", "reshape", "concatenate", "unknown"],
)  # fmt: skip
def test_what_no_stream_can_run_is_named(build, sentence):
    with pytest.raises(StreamError, match=sentence) as caught:
        streaming.stream(tflite(build(), "float32"))
    assert caught.value.remedy


def test_ranges_measured_over_the_window_are_refused(made):
    keras.utils.set_random_seed(0)
    wide = classifier(12, 8, lambda x: stem(stem(x, 64)[:, :, :, :], 64, 3))  # small kernels stay float
    with pytest.raises(StreamError, match=r"CONV_2D .*measures the range of the whole window"):
        streaming.stream(tflite(wide, "dynamic"))


def test_other_models_are_refused(made, network):
    with pytest.raises(TfliteError, match="is not a TensorFlow Lite model"):
        streaming.stream(b"nothing of the kind, and long enough")
    with pytest.raises(StreamError, match=r"the model has 1 graphs, 7 inputs and 7 outputs"):
        streaming.stream(streaming.stream(made("ds-tcn")))
    with pytest.raises(StreamError, match=r"the model goes from \[1, 12, 12, 3\] to \[1, 3\]"):
        streaming.stream(tflite(network, "float32"))


def test_scores_without_the_input_are_refused(made):
    unpacked = schema.ModelT.InitFromObj(schema.Model.GetRootAs(made("dense", "float32"), 0))
    graph = unpacked.subgraphs[0]
    loose = next(t for t in graph.tensors if t.name == b"serving_default_input:0")
    graph.tensors.append(loose)
    graph.inputs = np.array([len(graph.tensors) - 1], np.int32)  # nobody reads it
    with pytest.raises(StreamError, match="the scores do not depend on the input"):
        streaming.stream(write(unpacked))
