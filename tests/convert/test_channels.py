"""Pruned nets against the whole ones with the same channels silenced, on every architecture."""

from __future__ import annotations

import dataclasses
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from edgepress_convert import converter, quantize, streaming, tflite
from edgepress_convert.compress import budget, channels, importance
from edgepress_convert.compress.channels import check, cut, prune_channels
from edgepress_convert.compress.dependencies import follow
from edgepress_convert.compress.job import Job
from edgepress_convert.compress.surgery import calls, rebuild
from edgepress_runtime.errors import EdgepressError
from edgepress_train import models
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons

layers = keras.layers
CLASSES = 3


def gated() -> keras.Model:
    """Squeeze and excite in a branch, joined with another, then flattened into two dense layers."""
    inputs = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)))
    s = layers.Dense(8, activation="swish")(layers.GlobalAveragePooling2D()(x))
    s = layers.Reshape((1, 1, 16))(layers.Dense(16, activation="sigmoid")(s))
    x = layers.Multiply()([x, s])
    y = layers.SeparableConv2D(12, 3, padding="same", activation="relu", depth_multiplier=2)(x)
    x = layers.MaxPooling2D(2)(layers.Concatenate()([x, y]))
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax")(x), name="gated")


def in_a_row() -> keras.Model:
    return keras.Sequential(
        [
            layers.Conv2D(8, 3, activation="relu", input_shape=(8, 8, 3)),
            layers.Conv2D(8, 3, groups=2),
            layers.LeakyReLU(0.1),
            layers.Conv2DTranspose(6, 2, 2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES, activation="softmax"),
        ],
        name="in_a_row",
    )


def nested() -> keras.Model:
    """A net of keras.applications inside another, as transfer learning builds it."""
    inputs = keras.Input((32, 32, 3))
    base = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None)
    small = keras.Model(base.input, base.get_layer("block_3_project_BN").output, name="base")
    x = small(layers.Rescaling(1 / 2.0)(inputs), training=False)
    x = layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x, name="nested")


BY_HAND = {"gated": gated, "in_a_row": in_a_row, "nested": nested}
IMAGE = {
    "resnet8": "resnet8:width=0.5",
    "resnet": "resnet:widths=8-12:blocks=1:pool=avg-max",
    "mobilenet-v2": "mobilenet-v2:width=0.25:stages=3",
    "ds-cnn": "ds-cnn:widths=8-12-16",
    "efficientnet-lite0": "efficientnet-lite0:stages=2:last=16",
}
SPEECH = {
    "ds-tcn": ("ds-tcn:width=8:kernels=3-5:expand=2", 24, 12),
    "ds-cnn": ("ds-cnn:width=8:blocks=2:residual=true", 30, 10),
    "bc-resnet": ("bc-resnet:scale=0.5:reach=0.125", 49, 20),
    "speech-embedding": ("speech-embedding:head=8", 116, 32),
}
NETS = [*BY_HAND, *(f"image {name}" for name in IMAGE), *(f"speech {name}" for name in SPEECH)]


def test_every_architecture_is_tried():
    assert IMAGE.keys() == models.ARCHS.keys() and SPEECH.keys() == models.SPEECH_ARCHS.keys()


def build(name: str) -> keras.Model:
    """A net with random weights all over, so that nothing is silent and every number occurs once."""
    keras.utils.set_random_seed(1)
    kind, _, arch = name.partition(" ")
    if not arch:
        model = BY_HAND[name]()
    elif kind == "image":
        model = models.build(IMAGE[arch], (16, 16, 3), CLASSES)
    else:
        text, frames, features = SPEECH[arch]
        model = models.build(text, (frames, features, 1), CLASSES, archs=models.SPEECH_ARCHS)
    rng = np.random.default_rng(2)
    for layer in weighted(model):
        layer.set_weights([_drawn(rng, variable).astype(np.float32) for variable in layer.weights])
    return model


def _drawn(rng: np.random.Generator, variable: tf.Variable) -> np.ndarray:
    name, shape = variable.name.rpartition("/")[2], variable.shape
    if "depthwise" in name:
        return rng.normal(0, np.prod(shape[:-2]) ** -0.5, shape)
    if len(shape) > 1:
        return rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)
    return rng.uniform(0.5, 1.5, shape) if "gamma" in name or "variance" in name else rng.normal(0, 0.2, shape)


def weighted(model: keras.Model):
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from weighted(layer)
        elif layer.weights and all(v.dtype == tf.float32 for v in layer.weights):
            yield layer


def job(model: keras.Model, folder: Path | None = None, **options) -> Job:
    """Noise to learn from, the same each time."""
    shape = model.input_shape[1:]

    def train(*, batch, seed, start, stop):
        rng = np.random.default_rng(seed)
        count = (stop - start) * batch
        inputs = rng.normal(size=(count, *shape)).astype(np.float32)
        targets = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, count)]
        return tf.data.Dataset.from_tensor_slices((inputs, targets, np.ones(count, np.float32))).batch(batch)

    lessons = Lessons(("a", "b", "c"), None, 16, train, None, np.zeros(0, np.int64))  # type: ignore[arg-type]
    return Job(
        lessons, np.zeros((1, *shape), np.float32), model, folder or Path(tempfile.mkdtemp()), batch=8, **options
    )


def noise(model: keras.Model) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(4, *model.input_shape[1:])).astype(np.float32)


@cache
def pruned(name: str):
    """(model, its weights and configuration before, the pruned one): a quarter by the criterion that needs no data."""
    model = build(name)
    before = [w.copy() for w in model.get_weights()], model.get_config()
    return model, before, prune_channels(model, job(model), ratio=0.25, criterion="l1", epochs=0, multiple=2)


def survivors(layer: keras.layers.Layer, smaller: keras.layers.Layer) -> np.ndarray:
    """Which output channels of `layer` are in `smaller`, (n,) bool: those whose numbers are found there."""
    whole, part = layer.get_weights()[-1], smaller.get_weights()[-1]
    axis = whole.ndim - 1
    if isinstance(layer, layers.DepthwiseConv2D) and whole.ndim == 4:
        axis = 2
    if isinstance(layer, layers.Conv2DTranspose) and whole.ndim == 4:
        axis = 2
    columns = np.moveaxis(whole, axis, 0).reshape(whole.shape[axis], -1)
    kept = np.isin(columns, part).mean(axis=1) > 0.05  # some inputs may be gone; a few numbers may occur twice
    assert kept.sum() == part.shape[axis]
    return kept


def silenced(model: keras.Model, smaller: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """What `model` answers when every layer with weights puts out 0 in the channels that `smaller` does not have."""
    values = {id(model.inputs[0]): inputs}
    for node in calls(model):
        if id(node.outputs) in values:
            continue
        args, kwargs = tf.nest.map_structure(
            lambda v: values.get(id(v), v), (tuple(node.call_args), dict(node.call_kwargs))
        )
        outputs = node.layer(*args, **kwargs)
        if node.layer.weights and node.layer.weights[-1].dtype == tf.float32:
            kept = survivors(node.layer, smaller.get_layer(node.layer.name))
            outputs *= np.repeat(kept, outputs.shape[-1] // len(kept)).astype(np.float32)
        values[id(node.outputs)] = outputs
    return np.asarray(values[id(model.outputs[0])])


@pytest.mark.parametrize("name", NETS)
def test_a_pruned_net_is_the_whole_one_with_channels_silenced(name):
    model, _, smaller = pruned(name)
    flat = rebuild(model) if name == "nested" else model
    inputs = noise(model)
    found, expected = np.asarray(smaller(inputs)), silenced(flat, smaller, inputs)
    assert smaller.count_params() < model.count_params()
    assert np.abs(expected - np.asarray(model(inputs))).max() > 1e-4  # it is no idle comparison
    assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_the_whole_net_stays_as_it_was(name):
    model, (weights, config), smaller = pruned(name)
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
    assert config == model.get_config()
    assert not {id(layer) for layer in model.layers} & {id(layer) for layer in smaller.layers}
    assert all(len(layer.inbound_nodes) == 1 for layer in model.layers if name != "nested")


def macs(model: keras.Model) -> int:
    """Multiply-accumulates, counted from Keras's layers."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2DTranspose):
            total += np.prod(layer.input_shape[1:-1]) * layer.kernel.shape.num_elements()
        elif isinstance(layer, layers.SeparableConv2D):
            kernels = layer.depthwise_kernel.shape.num_elements() + layer.pointwise_kernel.shape.num_elements()
            total += np.prod(layer.output_shape[1:-1]) * kernels
        elif isinstance(layer, (layers.Dense, layers.Conv2D, layers.DepthwiseConv2D)):
            total += np.prod(layer.output_shape[1:-1]) * layer.weights[0].shape.num_elements()
    return int(total)


@pytest.mark.parametrize("name", NETS)
def test_at_least_the_share_that_was_asked_for_goes(name):
    model, _, smaller = pruned(name)
    share = 1 - macs(smaller) / macs(rebuild(model))
    assert 0.25 <= share < 0.5  # blocks of two channels in nets this narrow are coarse
    for layer in smaller.layers:
        if isinstance(layer, (layers.Conv2D, layers.Dense)) and not isinstance(layer, layers.DepthwiseConv2D):
            n = layer.output_shape[-1]
            assert n == CLASSES or n % 2 == 0


@pytest.mark.parametrize("name", ["gated", "speech speech-embedding"])
def test_it_loads_again_as_a_plain_model(name, tmp_path):
    _, _, smaller = pruned(name)
    smaller.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert np.array_equal(np.asarray(again(noise(smaller))), np.asarray(smaller(noise(smaller))))


def converted(model: keras.Model) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        quantize.export(model, Path(folder))
        return converter.convert(Path(folder), dataclasses.asdict(quantize.SCHEMES["float32"]), None, "per-channel")


def test_a_spotter_still_runs_on_a_stream_with_fewer_macs():
    model, _, smaller = pruned("speech ds-tcn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *a, **k: None)
        before, after = converted(model), converted(smaller)
    whole, less = (tflite.facts(data) for data in (before, after))
    assert whole.macs == macs(model) and less.macs == macs(smaller) <= 0.75 * whole.macs
    steps = [tflite.facts(streaming.stream(data)) for data in (before, after)]
    assert steps[1].macs <= 0.8 * steps[0].macs
    assert len(steps[0].inputs) == len(steps[1].inputs)


@pytest.mark.parametrize(
    ("name", "criterion"), [("image resnet", "taylor"), ("image resnet", "bn"), ("image mobilenet-v2", "l1")]
)
def test_silent_channels_go_first_and_change_nothing(name, criterion):
    model = rebuild(build(name))
    found = follow(model)
    silent = np.zeros(found.units, bool)
    for group in found.groups:
        silent[group.units[1::2][:2]] = True
    for slot in found.slots:
        if slot.role != "in":
            weights = model.get_layer(slot.layer).get_weights()
            weights[slot.weight][(slice(None),) * slot.axis + (silent[slot.units],)] = 0
            model.get_layer(slot.layer).set_weights(weights)
    table = budget.costs(found)
    size = budget.sizes(found)
    share = 1 - table.macs(size - 2) / table.macs(size)
    options = {"criterion": criterion, "epochs": 0, "multiple": 2, "least": 0.0}
    smaller = prune_channels(model, job(model), ratio=float(share) * 0.999, **options)
    assert macs(smaller) <= table.macs(size - 2)
    assert np.allclose(np.asarray(smaller(noise(model))), np.asarray(model(noise(model))), atol=1e-5)


def test_taylor_is_the_square_of_the_slope_by_finite_differences():
    """A gate on each channel of a residual sum, where the net takes that channel in: twice, here written by hand."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(5, 3, padding="same", activation="tanh", name="first")(inputs)
    y = layers.Conv2D(5, 3, padding="same", name="second")(x)
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    model = keras.Model(inputs, layers.Dense(CLASSES, activation="softmax", name="last")(x))
    work = job(model)
    batches = list(work.lessons.train(batch=8, seed=0, start=0, stop=2))
    (k1, b1), (k2, b2), (k3, b3) = (model.get_layer(n).get_weights() for n in ("first", "second", "last"))

    def loss(batch, gate):
        pictures, targets, _ = (np.asarray(part, np.float64) for part in batch)

        def convolution(values, kernel, bias):
            padded = np.pad(values, ((0, 0), (1, 1), (1, 1), (0, 0)))
            spots = [
                padded[:, i : i + 4, j : j + 4] @ kernel[i, j].astype(np.float64) for i in range(3) for j in range(3)
            ]
            return sum(spots) + bias

        first = np.tanh(convolution(pictures, k1, b1))
        total = first + convolution(first * gate, k2, b2)
        logits = (total * gate).mean(axis=(1, 2)) @ k3.astype(np.float64) + b3
        return float((np.log(np.exp(logits).sum(axis=1)) - (logits * targets).sum(axis=1)).mean())

    found = follow(model)
    (group,) = found.groups
    ranked = importance.taylor(model, found, work)
    order = next(slot.units for slot in found.slots if slot.layer == "last" and slot.role == "in")
    assert sorted(order) == sorted(group.units)
    for channel, unit in enumerate(order):
        step = 1e-4 * np.eye(5)[channel]
        slopes = [(loss(b, 1 + step) - loss(b, 1 - step)) / 2e-4 for b in batches]
        assert ranked[unit] == pytest.approx(np.mean(np.square(slopes)), rel=1e-3)


def test_l1_and_bn_are_those_of_the_papers():
    model = rebuild(build("image resnet8"))
    found = follow(model)
    first = next(layer for layer in model.layers if isinstance(layer, layers.Conv2D))
    lone = next(g for g in found.groups if "+" not in g.name)
    kernel = model.get_layer(lone.name).get_weights()[0]
    norms = np.abs(kernel).sum(axis=(0, 1, 2))
    out = next(slot.units for slot in found.slots if slot.layer == lone.name and slot.role == "out")
    assert np.allclose(importance.l1(model, found, job(model))[out], norms / norms.mean(), rtol=1e-5)
    shared = next(g for g in found.groups if g.name.startswith(f"{first.name} +"))
    scales = [layer.gamma.numpy() for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    told = importance.bn(model, found, job(model))
    assert np.allclose(told[shared.units], (scales[0] + scales[2]) / 2)


@pytest.mark.parametrize("priced", [True, False])
def test_choice_leaves_the_most_important_and_takes_no_more_than_it_must(priced):
    model = rebuild(build("image mobilenet-v2"))
    found = follow(model)
    rng = np.random.default_rng(0)
    worth = rng.uniform(size=found.units)
    table, sizes = budget.costs(found), budget.sizes(found)
    floors = budget.floors(found, share=0.25, multiple=4)
    target = 0.5 * table.macs(sizes)
    removed = budget.choose(found, worth, macs=target, priced=priced, floors=floors, multiple=4)
    left = np.array([np.count_nonzero(~removed[group.units]) for group in found.groups])
    assert table.macs(left) <= target and macs(cut(model, found, removed)) == table.macs(left)
    for group, n in zip(found.groups, left, strict=True):
        assert n >= floors[group.name] >= 0.25 * len(group.units) and n % 4 == 0
        gone = removed[group.units]
        assert not gone.any() or worth[group.units[gone]].max() < worth[group.units[~gone]].min()
    for more in np.diag(np.full(len(left), 4)) + left:
        assert (more > sizes).any() or table.macs(more) > target


def test_in_steps_with_training_between_and_an_interruption(tmp_path, monkeypatch):
    model = build("image ds-cnn")
    model.layers[1].trainable = False
    work = job(model, tmp_path, max_steps=1)
    trained = []
    fine_tune = Job.fine_tune

    def watched(self, net, **options):
        trained.append((macs(net), options))
        fine_tune(self, net, **options)

    monkeypatch.setattr(Job, "fine_tune", watched)
    smaller = prune_channels(model, work, ratio=0.5, epochs=2, steps=2, multiple=2)
    whole = macs(model)
    assert [options for _, options in trained] == [{"epochs": 1, "stage": "after-1"}, {"epochs": 2}]
    assert 0.5 * whole < trained[0][0] <= 0.5**0.5 * whole and trained[1][0] <= 0.5 * whole
    assert not model.layers[1].trainable and smaller.layers[1].trainable  # it is no longer what was frozen
    # Whatever gradients say the second time, checkpoints belong to what was removed the first time
    anew = importance.Criterion(lambda *_: pytest.fail("chosen anew"), priced=True)
    monkeypatch.setitem(importance.CRITERIA, "taylor", anew)
    again = prune_channels(model, work, ratio=0.5, epochs=2, steps=2, multiple=2)
    assert all(np.array_equal(a, b) for a, b in zip(smaller.get_weights(), again.get_weights(), strict=True))


def test_layers_left_alone_are_told():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, name="a")(inputs)
    x = layers.LayerNormalization(name="norm")(layers.Conv2D(8, 3, name="b")(x))
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))
    notes: list[str] = []
    smaller = prune_channels(model, job(model, note=notes.append), ratio=0.3, criterion="l1", epochs=0)
    assert notes == ["norm: LayerNormalization reckons with all channels at once; this keeps the channels of b"]
    assert smaller.get_layer("a").filters == 4 and smaller.get_layer("b").filters == 8


def frozen_in_place() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.LayerNormalization(name="norm")(layers.Conv2D(8, 3, name="a")(inputs))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)), name="held")


def bare() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(inputs)), name="bare")


class Drawn(keras.Model):
    def call(self, x):
        return x


REFUSALS = [
    (in_a_row, {"criterion": "tailor"}, "unknown criterion 'tailor'; did you mean 'taylor'?"),
    (in_a_row, {"ratio": 1.0}, "prune-channels cannot remove 1 of a net"),
    (in_a_row, {"ratio": -0.5}, "prune-channels cannot remove -0.5 of a net"),
    (in_a_row, {"steps": 0}, "prune-channels cannot work with epochs=5, steps=0, multiple=4, least=0.1"),
    (
        in_a_row,
        {"criterion": "bn"},
        "no layer of in_a_row that may lose channels has the scales of batch normalisation that bn ranks",
    ),
    (
        frozen_in_place,
        {},
        "no channel of held can be removed: norm: LayerNormalization reckons with all channels at once; this keeps the "
        "channels of a",
    ),
    (bare, {}, "no channel of bare can be removed"),
    (in_a_row, {"ratio": 0.9}, "prune-channels can remove at most 60.7 % of what in_a_row computes, not 90 %"),
    (
        lambda: Drawn(name="drawn"),
        {},
        "drawn is no functional or sequential model, so its layers cannot be taken apart",
    ),
]


@pytest.mark.parametrize(("net", "options", "sentence"), REFUSALS, ids=[sentence[:40] for *_, sentence in REFUSALS])
def test_what_cannot_be_is_said_before_training(net, options, sentence):
    model = net()
    work = job(in_a_row())
    with pytest.raises(EdgepressError) as caught:
        check(model, work, **options)
    assert caught.value.what == sentence and caught.value.remedy
    with pytest.raises(EdgepressError):
        prune_channels(model, work, **options)
    assert not any(work.scratch.iterdir())


def test_every_criterion_has_a_name_that_the_docstring_tells():
    assert all(f"`{name}`" in channels.prune_channels.__doc__ for name in importance.CRITERIA)
