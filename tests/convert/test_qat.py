"""Training for int8: where it rounds against the converter, what comes out against TF-MOT's own model, what is kept."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tests.convert.taught import converted, job, noted, stripes

from edgepress_convert import flatbuffer, verify
from edgepress_convert.compress import kept_weights, prepare, rounding, simulate
from edgepress_convert.compress import qat as training
from edgepress_convert.compress.cluster import cluster
from edgepress_convert.compress.magnitude import prune
from edgepress_convert.compress.qat import qat
from edgepress_convert.examples import Examples
from edgepress_convert.plan import Plan
from edgepress_runtime.errors import EdgepressError
from edgepress_train import models
from edgepress_train.keras2 import keras, tfmot

layers = keras.layers
DATA = stripes(96, (8, 8, 4), seed=1)


def stack(*found: keras.layers.Layer, shape: tuple[int, ...] = (8, 8, 4)) -> keras.Model:
    keras.utils.set_random_seed(4)
    x = inputs = keras.Input(shape)
    for layer in found:
        x = layer(x)
    return keras.Model(inputs, x, name="net")


def conv_norm_relu(filters: int, kernel: int = 3, **options) -> list[keras.layers.Layer]:
    return [layers.Conv2D(filters, kernel, use_bias=False, **options), layers.BatchNormalization(), layers.ReLU(6.0)]


def head() -> list[keras.layers.Layer]:
    return [layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax", name="head")]


def where(model: keras.Model, plan: Plan | None = None) -> rounding.Rounding:
    parts = prepare.dress(prepare.flat(model), prepare.split)
    return rounding.places(parts.model, plan or Plan())


def kinds(model: bytes) -> Counter:
    return Counter(op.kind for op in flatbuffer.graphs(model)[0].ops)


# What LiteRT computes without rounding anew
_MOVES = ("RESHAPE", "PAD", "STRIDED_SLICE", "MAX_POOL_2D", "SOFTMAX", "CONCATENATION")
PLACES = {
    "resnet": lambda: models.build("resnet:widths=4-8:blocks=1", (16, 16, 3), 3),
    "efficientnet": lambda: models.build("efficientnet-lite0:stages=2:last=8", (16, 16, 3), 3),
    "ds-tcn": lambda: models.build("ds-tcn:width=8:kernels=3-5", (32, 20, 1), 3, archs=models.SPEECH_ARCHS),
    "ds-cnn": lambda: models.build("ds-cnn:width=8:blocks=1", (32, 20, 1), 3, archs=models.SPEECH_ARCHS),
    "one dimension": lambda: stack(
        layers.Conv1D(4, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.SeparableConv1D(4, 3, activation="relu"),
        layers.GlobalAveragePooling1D(),
        layers.Dense(3, activation="softmax"),
        shape=(16, 4),
    ),
    "dense, leaky and sigmoid": lambda: stack(
        layers.Conv2D(4, 3, activation="sigmoid"),
        layers.Conv2D(4, 3),
        layers.LeakyReLU(),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(8, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Dense(3, activation="softmax"),
    ),
    "joined": lambda: joined(),
}


def joined() -> keras.Model:
    inputs = keras.Input((8, 8, 4))
    one = layers.Conv2D(4, 1, activation="relu")(inputs)
    two = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 1)(inputs)))
    x = tf.nn.relu(one + two)
    x = layers.Concatenate()([layers.Conv2D(2, 1)(x), layers.DepthwiseConv2D(3, padding="same")(x)])
    x = layers.Multiply()([x, layers.Conv2D(6, 1, activation="tanh")(x)])
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("name", PLACES)
def test_it_rounds_where_the_converter_does(name):
    """Every operator of the .tflite that makes new numbers rounds once, and so does the simulation; no other place.

    What is put side by side is rounded to one scale: here behind the joint, in the .tflite before it.
    """
    model = PLACES[name]()
    shape = tuple(model.inputs[0].shape[1:])
    found = kinds(converted(model, stripes(4, shape, seed=2)[0]))
    places = where(model)
    assert not places.left
    beside = {"joined": 1}.get(name, 0)  # two tensors rounded once
    assert len(places.outputs) == sum(count for kind, count in found.items() if kind not in _MOVES) - beside
    assert len(places.kernels) == sum(found[kind] for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"))


def integers(model: bytes) -> list[np.ndarray]:
    """Kernels of a .tflite as they are stored, (channels, weights of each), in the order of its operators."""
    graph = flatbuffer.graphs(model)[0]
    found = []
    for op in graph.ops:
        if op.kind in ("CONV_2D", "FULLY_CONNECTED", "DEPTHWISE_CONV_2D"):
            tensor = graph.tensors[op.inputs[1]]
            stored = tensor.values().reshape(tensor.shape)
            channels = -1 if op.kind == "DEPTHWISE_CONV_2D" else 0
            found.append(np.moveaxis(stored, channels, 0).reshape(tensor.shape[channels], -1))
    return found


@pytest.mark.parametrize("weights", ["per-channel", "per-tensor-dense", "per-tensor"])
def test_kernels_are_rounded_to_the_integers_of_the_file(weights, tmp_path):
    """Folding scales whole channels, so rounding before it is the same; with one scale for all it comes behind it."""
    net = stack(*conv_norm_relu(6), layers.DepthwiseConv2D(3, use_bias=False), layers.BatchNormalization(), *head())
    rng = np.random.default_rng(0)
    for layer in net.layers:
        layer.set_weights(
            [rng.uniform(0.2, 2, w.shape) * rng.choice([-1, 1], w.shape[-1:]) for w in layer.get_weights()]
        )
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_variance.assign(np.geomspace(0.1, 10, 6))
    plan = Plan(weights=weights)
    parts = prepare.dress(prepare.flat(net), prepare.split)
    places = rounding.places(parts.model, plan)
    ranges = rounding.observe(parts.model, places, DATA[0][:8])
    trained = simulate.rounded(parts.model, places, ranges, {}, plan)
    trained.model(DATA[0][:8], training=False)
    wrappers = {x.layer.name: x for x in trained.model.layers if hasattr(x, "layer")}
    stored = integers(converted(net, DATA[0][:8], plan))
    for name, numbers in zip(places.kernels, stored, strict=True):
        wrapper = wrappers[name]
        attribute, _ = rounding.KERNELS[type(wrapper.layer)]
        ((variable, quantizer, _),) = wrapper._weight_vars
        kernel = np.asarray(quantizer(variable, False, {}))
        if name in places.folds:
            norm = net.get_layer(places.folds[name])
            gain = (norm.gamma / tf.sqrt(norm.moving_variance + norm.epsilon)).numpy()
            kernel = kernel * (gain[:, None] if attribute == "depthwise_kernel" else gain)
        channels = kernel.reshape(-1, len(numbers)).T
        if weights == "per-channel" or (weights == "per-tensor-dense" and name != "head"):
            steps = np.abs(channels).max(axis=1, keepdims=True) / 127
        else:
            steps = np.abs(channels).max() / 127
        np.testing.assert_allclose(channels / steps, numbers, atol=1e-2)


def test_what_is_kept_is_kept_at_every_step(base):
    """The kernel that is trained with has its zeros and shared values, wherever its variable has gone meanwhile."""
    parts = prepare.dress(prepare.flat(base), prepare.split)
    name = parts.model.layers[1].name
    layer = parts.model.get_layer(name)
    rng = np.random.default_rng(0)
    (kernel,) = layer.get_weights()
    kernel = rng.choice([-0.3, 0.0, 0.1, 0.2], kernel.shape).astype(np.float32)
    layer.set_weights([kernel])
    places = rounding.places(parts.model, Plan())
    ranges = rounding.observe(parts.model, places, DATA[0][:8])
    trained = simulate.rounded(parts.model, places, ranges, {name: kept_weights.read(kernel)}, Plan())
    wrapper = trained.model.get_layer(f"quant_{name}")
    ((variable, quantizer, _),) = wrapper._weight_vars
    variable.assign_add(rng.normal(0, 0.02, kernel.shape))
    held = np.asarray(quantizer(variable, True, {}))
    assert not held[kernel == 0].any()
    for channel in range(kernel.shape[-1]):
        assert np.unique(held[..., channel]).size == np.unique(kernel[..., channel]).size == 4


def test_ranges_are_those_of_the_examples_and_follow_the_batches(base):
    parts = prepare.dress(prepare.flat(base), prepare.split)
    places = rounding.places(parts.model, Plan())
    examples = DATA[0][:37]
    ranges = rounding.observe(parts.model, places, examples)
    for name, (low, high) in ranges.items():
        seen = np.asarray(keras.Model(parts.model.inputs, parts.model.get_layer(name).output)(examples, training=False))
        assert (low, high) == pytest.approx((min(0.0, seen.min()), max(0.0, seen.max())), rel=1e-5)
    assert set(ranges) == {*places.outputs, *(t.node.layer.name for t in parts.model.inputs)}
    trained = simulate.rounded(parts.model, places, ranges, {}, Plan()).model
    first = trained.layers[1]
    (greatest,) = (v for v in first.weights if "max" in v.name)
    assert greatest.numpy() == pytest.approx(examples.max(), rel=1e-5)
    trained(10 * examples, training=False)
    assert greatest.numpy() == pytest.approx(examples.max(), rel=1e-5)
    for _ in range(100):
        first(10 * examples, training=True)
    assert greatest.numpy() == pytest.approx(10 * examples.max(), rel=0.01)


def test_what_comes_out_is_what_tfmot_converts(tmp_path):
    """The plain model through the converter against TF-MOT's own wrapped model of it, with ranges read off it."""
    x = inputs = keras.Input((8, 8, 4))
    for layer in conv_norm_relu(8):
        x = layer(x)
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(x))
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Dense(3, name="logits")(layers.GlobalAveragePooling2D()(x))
    keras.utils.set_random_seed(4)
    trained = qat(keras.Model(inputs, layers.Softmax()(x)), job(tmp_path, *DATA), epochs=3)
    logits = keras.Model(trained.inputs, trained.get_layer("logits").output)
    examples = DATA[0][:48]
    ours = scores(converted(logits, examples, Plan(weights="per-tensor-dense")), DATA[0])

    theirs = tfmot.quantization.keras.quantize_model(logits)
    for layer in theirs.layers:
        if isinstance(getattr(layer, "layer", None), layers.BatchNormalization):
            layer.layer.trainable = False
    theirs(examples, training=True)  # sets the ranges of the weights
    set_ranges(theirs, logits, examples)
    converter = tf.lite.TFLiteConverter.from_keras_model(theirs)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has no use for examples here, and says so
        reference = converter.convert()
    step = flatbuffer.graphs(reference)[0].tensors[flatbuffer.graphs(reference)[0].outputs[0]].scales[0]
    assert np.abs(ours - scores(reference, DATA[0])).max() <= 2.01 * step
    assert np.ptp(ours) > 50 * step


def set_ranges(theirs: keras.Model, plain: keras.Model, examples: np.ndarray) -> None:
    """Give TF-MOT's quantizers the ranges of the plain model's tensors, which thousands of batches would bring."""
    for layer in theirs.layers:
        found = [layer.quantizer_vars] if hasattr(layer, "quantizer_vars") else []
        found += [layer._output_quantizer_vars] if hasattr(layer, "_output_quantizer_vars") else []
        for activation in getattr(layer, "_quantize_activations", []):
            found += [activation._post_activation_vars] if hasattr(activation, "_post_activation_vars") else []
        values = examples
        if hasattr(layer, "layer"):
            values = keras.Model(plain.inputs, plain.get_layer(layer.layer.name).output)(examples, training=False)
        for ends in found:
            ends["min_var"].assign(min(0.0, float(np.min(values))))
            ends["max_var"].assign(max(0.0, float(np.max(values))))


def scores(model: bytes, inputs: np.ndarray) -> np.ndarray:
    return verify.scores(model, Examples(inputs, lambda part: part, None, "examples"))


def noisy(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Eight pitches that lie close, under noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 8
    angle = np.arange(12)[None, :, None, None] * (0.4 + 0.3 * labels)[:, None, None, None]
    waves = np.sin(angle + rng.uniform(0, 2 * np.pi, (n, 1, 1, 1))) + rng.normal(0, 1.2, (n, 12, 12, 2))
    return waves.astype(np.float32), labels


def test_it_wins_where_rounding_afterwards_loses(tmp_path):
    """Nine of twelve channels a thousand times weaker than the rest: one scale for all of them drowns the nine."""
    inputs, labels = noisy(384, seed=2)
    net = stack(
        layers.Conv2D(12, 3, use_bias=False), layers.BatchNormalization(name="norm"), layers.ReLU(),
        layers.DepthwiseConv2D(3, use_bias=False, name="depthwise"), layers.BatchNormalization(), layers.ReLU(),
        layers.Conv2D(12, 1, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(8, activation="softmax"),
        shape=(12, 12, 2),
    )  # fmt: skip
    job(tmp_path / "float", inputs, labels, lr=1e-2).fine_tune(net, epochs=12)
    scale = np.where(np.arange(12) % 4 == 0, 1.0, 1e-3)
    gamma, beta, *statistics = net.get_layer("norm").get_weights()
    net.get_layer("norm").set_weights([gamma * scale, beta * scale, *statistics])
    (kernel,) = net.get_layer("depthwise").get_weights()
    net.get_layer("depthwise").set_weights([kernel / scale[:, None]])
    trained = qat(net, job(tmp_path / "qat", inputs, labels, lr=1e-3), epochs=4)
    held, truth = noisy(400, seed=102)

    def top1(answers: np.ndarray) -> float:
        return float((answers.argmax(axis=1) == truth).mean())

    assert top1(net.predict(held, verbose=0)) > 0.8
    before, after = (top1(scores(converted(model, inputs[:48]), held)) for model in (net, trained))
    assert before < 0.5
    assert after > 0.65


@pytest.fixture(scope="module")
def base() -> keras.Model:
    return stack(
        *conv_norm_relu(8),
        layers.DepthwiseConv2D(3, padding="same", activation="relu"),
        *conv_norm_relu(16, 1),
        *head(),
    )


KEPT = ("two of four", "cluster", "prune, then cluster")


@pytest.mark.parametrize("what", KEPT)
def test_zeros_and_clusters_reach_the_file(base, what, tmp_path):
    """What TF-MOT calls PQAT, CQAT and PCQAT, chosen by what is in the weights."""
    plan, model = Plan(), base
    if what != "cluster":
        options = {"sparsity": 0.5, "pattern": "2of4"} if what == "two of four" else {"sparsity": 0.7}
        model = prune(model, job(tmp_path / "prune", *DATA), epochs=0, **options)
    if "cluster" in what:
        made = cluster(model, job(tmp_path / "cluster", *DATA), clusters=6, epochs=0)
        model, plan = made.model, made.plan
    task, notes = noted(tmp_path / "qat", *DATA, plan=plan)
    trained = qat(model, task, epochs=1)
    stored = {numbers.size: numbers for numbers in integers(converted(trained, DATA[0][:16], plan))}
    names = [layer.name for layer in trained.layers if isinstance(layer, (layers.Conv2D, layers.Dense))]
    names = [name for name in names if "depthwise" not in name]
    assert len(names) == 3
    for name in names:
        before, after = (one.get_layer(name).get_weights()[0] for one in (model, trained))
        numbers = stored[after.size]
        assert not np.allclose(before, after, atol=1e-6)
        assert not after[before == 0].any()
        assert np.count_nonzero(numbers == 0) >= np.count_nonzero(before == 0)
        if "cluster" in what:
            assert np.unique(after).size <= 6 and np.unique(numbers).size <= 6
        if what == "two of four" and before.shape[-2] % 4 == 0:
            assert (np.count_nonzero(numbers.reshape(-1, 4), axis=1) <= 2).all()
    words = " ".join(notes)
    assert ("zeros of" in words) == (what != "cluster") and ("clusters of" in words) == ("cluster" in what)
    assert ("2 of 4" in words) == (what == "two of four")


class Halved(keras.layers.Layer):
    """A layer of one's own."""

    def call(self, inputs):
        return inputs / 2


REFUSED_BY_TFMOT = {
    "normalisation after the ReLU": lambda: [
        layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization(), layers.Conv2D(4, 3), *head()
    ],
    "normalisation first, rescaling": lambda: [
        layers.Rescaling(1 / 255), layers.BatchNormalization(), layers.Conv2D(4, 3, activation="relu6"), *head()
    ],
    "layer normalisation": lambda: [layers.Conv2D(4, 3), layers.LayerNormalization(name="ln"), layers.ReLU(), *head()],
    "a layer of one's own": lambda: [layers.Conv2D(4, 3), Halved(name="own"), *head()],
    "a lambda": lambda: [layers.Lambda(lambda x: x * 2, name="own"), layers.Conv2D(4, 3), *head()],
    "a nested model": lambda: [stack(*conv_norm_relu(4)), layers.Conv2D(4, 3), *head()],
    "recurrent": lambda: [
        layers.Reshape((16, 16)), layers.Conv1D(4, 3), layers.LSTM(4, name="own"), layers.Dense(3, "softmax")
    ],
    "causal": lambda: [
        layers.Reshape((16, 16)), layers.SeparableConv1D(4, 3, padding="causal", name="own"), layers.Flatten(),
        layers.Dense(3, "softmax"),
    ],
}  # fmt: skip
LEFT = {
    "layer normalisation": "ln (LayerNormalization)",
    "a layer of one's own": "own (Halved)",
    "a lambda": "own (Lambda)",
    "recurrent": "own (LSTM)",
    "causal": "own (SeparableConv1D)",
}


@pytest.mark.parametrize("name", REFUSED_BY_TFMOT)
def test_what_tfmot_refuses_is_trained(name, tmp_path):
    net = stack(*REFUSED_BY_TFMOT[name]())
    before = [w.copy() for w in net.get_weights()]
    task, notes = noted(tmp_path, *DATA)
    training.check(net, task)
    trained = qat(net, task, epochs=1)
    assert notes == ([f"left to post-training quantization: {LEFT[name]}"] if name in LEFT else [])
    assert all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(before, trained.get_weights(), strict=True) if a.size > 8)
    known = {type(layer) for layer in prepare.flat(net).layers}
    assert {type(layer) for layer in trained.layers} == known


PICTURES = {
    "resnet8": "resnet8",
    "resnet": "resnet:widths=4-8:blocks=1",
    "mobilenet-v2": "mobilenet-v2:width=0.35:stages=2",
    "ds-cnn": "ds-cnn:widths=4-8",
    "efficientnet-lite0": "efficientnet-lite0:stages=1:last=8",
}
SPEECH = {
    "ds-tcn": ("ds-tcn:width=8:kernels=3-5", (32, 20, 1)),
    "ds-cnn": ("ds-cnn:width=8:blocks=1", (32, 20, 1)),
    "bc-resnet": ("bc-resnet:scale=0.5:reach=0.125", (49, 20, 1)),
    "speech-embedding": ("speech-embedding:head=8", (116, 32, 1)),
}
QUICK = ("ds-tcn:width=8:kernels=3-5",)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        pytest.param(text, shape, marks=() if text in QUICK else pytest.mark.slow, id=text)
        for text, shape in [*((text, (16, 16, 3)) for text in PICTURES.values()), *SPEECH.values()]
    ],
)
def test_every_architecture_is_trained(text, shape, tmp_path):
    net = models.build(text, shape, 3, archs=models.ARCHS if shape[2] == 3 else models.SPEECH_ARCHS)
    task, notes = noted(tmp_path, *stripes(24, shape, seed=1), max_steps=1, batch=4)
    trained = qat(net, task, epochs=1)
    assert not notes
    assert [type(layer) for layer in trained.layers] == [type(layer) for layer in prepare.flat(net).layers]
    assert np.isfinite(trained.predict(np.zeros((1, *shape), np.float32), verbose=0)).all()


def test_no_architecture_is_forgotten():
    assert PICTURES.keys() == models.ARCHS.keys() and SPEECH.keys() == models.SPEECH_ARCHS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetB0"])
def test_networks_of_keras_applications_are_trained(name, tmp_path):
    net = getattr(keras.applications, name)((32, 32, 3), weights=None, classes=3) if name.startswith("Mobile") else (
        keras.applications.EfficientNetB0(weights=None, input_shape=(32, 32, 3), classes=3)
    )  # fmt: skip
    inputs, labels = stripes(16, (32, 32, 3), seed=1)
    task, notes = noted(tmp_path, inputs * 50 + 128, labels, max_steps=1, batch=4)
    trained = qat(net, task, epochs=1)
    assert not notes
    assert kinds(converted(trained, inputs[:2] * 50 + 128)) == kinds(converted(net, inputs[:2] * 50 + 128))


def test_an_interrupted_training_goes_on(base, tmp_path, monkeypatch):
    whole = qat(base, job(tmp_path / "whole", *DATA), epochs=2)
    monkeypatch.setattr("edgepress_train.fit._CHECKPOINT_EVERY_S", 0.0)
    steps = iter(range(100))

    def stop(stage: str, done: int, total: int, note: str) -> None:
        if next(steps) > 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        qat(base, job(tmp_path / "cut", *DATA, progress=stop), epochs=2)
    again = qat(base, job(tmp_path / "cut", *DATA), epochs=2)
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_no_training_changes_nothing(base, tmp_path):
    trained = qat(base, job(tmp_path, *DATA), epochs=0)
    for one, other in zip(base.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_kept_out_and_wide_activations_are_not_rounded(base):
    everything = where(base)
    names = list(everything.kernels)
    kept = where(base, Plan(keep={names[0]: "float32", names[1]: "int16x8", "head": "float16"}))
    assert list(kept.kernels) == names[1:-1]
    assert names[1] not in kept.outputs and len(kept.outputs) < len(everything.outputs)
    wide = where(base, Plan(scheme="int16x8"))
    assert wide.kernels == everything.kernels and not wide.outputs


WRONG = [
    (head, Plan(scheme="float16"), "the model is to be stored as float16, which has no int8 to train for"),
    (lambda: [layers.LSTM(4, name="own")], Plan(), "no layer of net can be trained for int8: own (LSTM)"),
    (lambda: [layers.ReLU()], Plan(), "no layer of net can be trained for int8: it has no convolution or dense layer"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "plan", "sentence"), WRONG)
def test_what_cannot_be_is_said_before_training(found, plan, sentence, tmp_path: Path):
    shape = (8, 4) if "LSTM" in sentence else (8, 8, 4)
    with pytest.raises(EdgepressError) as error:
        training.check(stack(*found(), shape=shape), job(tmp_path, *DATA, plan=plan))
    assert error.value.what == sentence
    assert not list(tmp_path.iterdir())
