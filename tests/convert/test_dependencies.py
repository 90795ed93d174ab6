"""Which channels go together, against a blind probe: change one channel and see what is reached."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from edgepress_convert.compress.dependencies import follow
from edgepress_convert.compress.surgery import calls, rebuild
from edgepress_runtime.errors import EdgepressError
from edgepress_train import models
from edgepress_train.keras2 import keras

layers = keras.layers
MIXING = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv2DTranspose)


def concat() -> keras.Model:
    """A residual sum over two joined branches, so that each filter of the third goes with one of theirs."""
    inputs = keras.Input((6, 6, 3))
    a, b = layers.Conv2D(4, 3, padding="same")(inputs), layers.Conv2D(6, 1)(inputs)
    x = layers.Concatenate()([a, layers.BatchNormalization()(b)])
    x = layers.Add()([x, layers.Conv2D(10, 1, activation="relu")(x)])
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(x), name="concat")


def squeeze(reshape: bool = True) -> keras.Model:
    """Squeeze and excite, then a second gate of one channel in each place."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Activation("swish")(layers.Conv2D(8, 3)(inputs))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    s = layers.GlobalAveragePooling2D(keepdims=not reshape)(x)
    s = layers.Reshape((1, 1, 16))(s) if reshape else s
    s = layers.Conv2D(4, 1, activation="relu")(s)
    x = layers.Multiply()([x, layers.Conv2D(16, 1, activation="sigmoid")(s)])
    place = layers.Conv2D(1, 1, activation="sigmoid")(x)
    x = layers.Multiply()([x, place])
    x = layers.Conv2D(8, 1)(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)), name="squeeze")


def operators() -> keras.Model:
    """Functions of TensorFlow in the place of layers, as MobileNetV3 has them."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3)(inputs)
    x = x * (tf.nn.relu6(x + 3.0) / 6.0)
    y = tf.maximum(layers.Conv2D(8, 1)(x), -0.4)
    x = tf.concat([tf.maximum(x, y), layers.Conv2D(4, 1)(y)], axis=-1)
    x = layers.UpSampling2D(2)(layers.Conv2DTranspose(6, 2)(x))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)), name="operators")


def flattened() -> keras.Model:
    """One-dimensional, with the channels of seven places side by side in the end, and twice on the way."""
    inputs = keras.Input((14, 3))
    x = layers.Conv1D(4, 3, padding="causal")(inputs)
    x = layers.MaxPooling1D(2)(layers.PReLU(shared_axes=[1])(x))
    x = layers.Reshape((7, 4))(layers.BatchNormalization()(layers.Reshape((1, 28))(x)))
    x = layers.Flatten()(layers.Dropout(0.2)(x))
    x = layers.Add()([layers.Dense(28)(x), x])
    return keras.Model(inputs, layers.Dense(3)(layers.Dense(6, activation="relu")(x)), name="flattened")


def twice() -> keras.Model:
    """The same convolution called on two tensors."""
    inputs = keras.Input((6, 6, 3))
    a, b = layers.Conv2D(4, 1)(inputs), layers.Conv2D(4, 1)(inputs)
    shared = layers.Conv2D(5, 3)
    x = layers.Concatenate()([shared(a), layers.ReLU()(shared(b))])
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)), name="twice")


BY_HAND = (concat, squeeze, operators, flattened, twice)
FROM_LISTS = {
    "resnet:widths=4-8:blocks=1:pool=avg-max": (models.ARCHS, (16, 16, 3)),
    "mobilenet-v2:width=0.25:stages=3": (models.ARCHS, (16, 16, 3)),
    "ds-tcn:width=6:kernels=3-5:expand=2": (models.SPEECH_ARCHS, (24, 12, 1)),
    "bc-resnet:scale=0.5:reach=0.125": (models.SPEECH_ARCHS, (49, 20, 1)),
}


def probe(model: keras.Model) -> dict[tuple[str, str, int], int]:
    """(layer, `in` or `out`, channel) -> number of its set, by running what lies between the layers that mix channels.

    Outputs of mixing layers are not computed but made up; in each example of the batch one channel of one of them is
    raised, and every channel that changes on its way into a mixing layer goes with it. A lone channel is left out: as a
    gate it would tie all that it opens for.
    """
    rng = np.random.default_rng(0)
    sources = [(t.node.layer.name, t) for t in model.inputs]
    sources += [
        (node.layer.name, tensor)
        for node in calls(model)
        if isinstance(node.layer, MIXING) and not isinstance(node.layer, layers.DepthwiseConv2D)
        for tensor in [node.outputs]
    ]
    raised = [(name, channel) for name, tensor in sources for channel in range(tensor.shape[-1])]
    raised = [one for one in dict.fromkeys(raised) if (one[0], 1) in raised or one[0] in model.input_names]
    values = {}
    for name, tensor in sources:
        made = np.repeat(rng.uniform(0.1, 0.2, (1, *tensor.shape[1:])).astype(np.float32), len(raised) + 1, axis=0)
        for example, (other, channel) in enumerate(raised, 1):
            if other == name:
                made[example, ..., channel] += 0.3
        values[id(tensor)] = made
    for layer in model.layers:  # nothing may cancel out or fall below zero
        if isinstance(layer, layers.DepthwiseConv2D):
            layer.set_weights([rng.uniform(0.1, 0.2, w.shape) for w in layer.get_weights()])
    sets: dict[tuple[str, str, int], int] = {("", "", 0): 0}

    def join(a, b):
        old, new = sets.setdefault(a, len(sets)), sets.setdefault(b, len(sets))
        for key, value in sets.items():
            sets[key] = new if value == old else value

    for node in calls(model):
        if node.layer.name in (n for n, _ in sources[: len(model.inputs)]):
            continue
        args, kwargs = tf.nest.map_structure(
            lambda v: values.get(id(v), v), (tuple(node.call_args), dict(node.call_kwargs))
        )
        if id(node.outputs) in values:
            fed = np.asarray(args[0])
            changed = (np.abs(fed[1:] - fed[:1]) > 1e-7).any(axis=tuple(range(1, fed.ndim - 1)))
            for example, channel in np.argwhere(changed):
                join((raised[example][0], "out", raised[example][1]), (node.layer.name, "in", int(channel)))
        else:
            values[id(node.outputs)] = np.asarray(node.layer(*args, **kwargs))
    del sets["", "", 0]
    return sets


def partition(sets: dict) -> set[frozenset]:
    return {frozenset(key for key, value in sets.items() if value == one) for one in set(sets.values())}


@pytest.mark.parametrize("net", [*BY_HAND, *FROM_LISTS], ids=lambda net: getattr(net, "__name__", net))
def test_channels_that_reach_the_same_place_are_one_unit(net):
    keras.utils.set_random_seed(0)
    if callable(net):
        model = rebuild(net())
    else:
        archs, shape = FROM_LISTS[net]
        model = models.build(net, shape, 3, archs=archs)
    expected = partition(probe(model))
    mixing = {layer.name for layer in model.layers if isinstance(layer, MIXING)}
    found = {}
    for slot in follow(model).slots:
        if slot.layer in mixing and slot.role in ("in", "out"):
            found |= {(slot.layer, slot.role, place): unit for place, unit in enumerate(slot.units.tolist())}
    # The probe sees what reaches a layer; the classes reach none, and the input is no layer
    last = [node.layer.name for node in calls(model) if isinstance(node.layer, MIXING)][-1]
    ends = {key for key in found if key[:2] == (last, "out") or (key[1:] == ("out", 0) and (*key[:2], 1) not in found)}
    reaching = {key for one in expected for key in one}
    assert reaching and {key for key in reaching if key[0] not in model.input_names} == found.keys() - ends
    alike = {frozenset(key for key in one if key[0] not in model.input_names) for one in expected}
    assert partition({key: value for key, value in found.items() if key in reaching}) == alike


@pytest.mark.parametrize("net", BY_HAND)
def test_inputs_classes_and_lone_gates_stay(net):
    model = rebuild(net())
    found = follow(model)
    free = {int(unit) for group in found.groups for unit in group.units}
    assert free
    first, last = model.layers[1], model.layers[-1]
    held = {first.name: "in", last.name: "out"}
    for slot in found.slots:
        if held.get(slot.layer) == slot.role and first is not last:
            assert not free & set(slot.units.tolist())
        if slot.role == "out" and len(slot.units) == 1:
            assert not free & set(slot.units.tolist())


def test_groups_part_where_branches_part():
    found = follow(rebuild(concat()))
    sizes = sorted((len(group.units), group.name.count("+")) for group in found.groups)
    assert sizes == [(4, 1), (6, 1)]  # the sum's filters go with those of either branch


def grouped() -> keras.Model:
    inputs = keras.Input((6, 6, 4))
    x = layers.Conv2D(8, 1)(inputs)
    x = layers.Conv2D(12, 3, groups=2)(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def test_groups_of_a_convolution_stay_equally_large():
    found = follow(rebuild(grouped()))
    assert [(len(group.units), group.channels) for group in found.groups] == [(4, 2), (6, 2)]
    first = next(slot for slot in found.slots if slot.role == "out")
    assert np.array_equal(first.units[:4], first.units[4:])


@keras.utils.register_keras_serializable("test")
class Turned(layers.Layer):
    def call(self, x):
        return tf.reverse(x, [-1])


def after(*tail):
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(6, 1, name="first")(inputs)
    x = layers.ReLU()(layers.Conv2D(6, 1, name="second")(x))
    for layer in tail:
        x = layer(x)
    return keras.Model(inputs, layers.Dense(2, name="last")(layers.GlobalAveragePooling2D()(x)), name="net")


STAYS = [
    (Turned(name="t"), "t: edgepress does not know what Turned does with channels"),
    (layers.Lambda(lambda x: x[..., ::-1], name="t"), "t: edgepress does not know what Lambda does with channels"),
    (layers.LayerNormalization(name="t"), "t: LayerNormalization reckons with all channels at once"),
    (layers.Softmax(name="t"), "t: Softmax reckons with all channels at once"),
    (layers.BatchNormalization(axis=1, name="t"), "t: BatchNormalization reckons with all channels at once"),
    (layers.Activation("softmax", name="t"), "t: its activation softmax may reckon with all channels at once"),
    (layers.Permute((3, 2, 1), name="t"), "t: it moves channels to other axes"),
    (layers.Reshape((4, 8, 3), name="t"), "t: it moves channels to other axes"),
    (layers.Rescaling([1.0, 2, 3, 4, 5, 6], name="t"), "t: edgepress does not know what Rescaling does with channels"),
]


@pytest.mark.parametrize(("layer", "sentence"), STAYS, ids=[sentence for _, sentence in STAYS])
def test_channels_that_meet_the_unknown_stay(layer, sentence):
    found = follow(after(type(layer).from_config(layer.get_config())))
    assert [group.name for group in found.groups] == ["first"]
    assert [str(left) for left in found.left_alone] == [f"{sentence}; this keeps the channels of second"]


@pytest.mark.parametrize(
    "layer",
    [
        layers.Softmax(axis=1),
        layers.Permute((2, 1, 3)),
        layers.Activation("hard_sigmoid"),
        layers.SpatialDropout2D(0.1),
        layers.Rescaling(2.0, 1.0),
        layers.Reshape((16, 6)),
        layers.Resizing(2, 2),
    ],
    ids=lambda layer: layer.name,
)
def test_channels_pass(layer):
    inputs = keras.Input((4, 4, 2))
    x = layer(layers.Conv2D(6, 1)(inputs))
    found = follow(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))
    assert [len(group.units) for group in found.groups] == [6] and not found.left_alone


def test_one_channel_added_to_many_holds_them():
    inputs = keras.Input((4, 4, 2))
    x, y = layers.Conv2D(6, 1, name="many")(inputs), layers.Conv2D(1, 1, name="one")(inputs)
    x = layers.Conv2D(6, 1, name="next")(layers.Add(name="sum")([x, y]))
    found = follow(keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x))))
    assert [group.name for group in found.groups] == ["next"]
    assert sorted(map(str, found.left_alone)) == [
        "sum: it adds one channel to many; this keeps the channels of many",
        "sum: it spreads one channel over many; this keeps the channels of one",
    ]


def test_an_open_size_is_refused():
    inputs = keras.Input((None, None, 3))
    with pytest.raises(EdgepressError) as caught:
        follow(keras.Model(inputs, layers.Conv2D(4, 1)(inputs)))
    assert caught.value.what == "the model's input is [None, None, 3]: channels can be counted for fixed sizes only"
