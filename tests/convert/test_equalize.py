"""Equalization: the same answers, and ranges as the equation has them, computed here again with plain NumPy."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgepress_convert.compress import equalize as subject
from edgepress_convert.compress.equalize import check, equalize
from edgepress_convert.compress.flow import flow
from edgepress_convert.compress.fold import fold
from edgepress_convert.compress.job import Job
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras
from edgepress_train.spec import Step, bind

layers = keras.layers


def inputs(*shape: int, n: int = 16) -> np.ndarray:
    return np.random.default_rng(9).normal(size=(n, *shape)).astype(np.float32)


def job(x: np.ndarray, notes: list[str] | None = None) -> Job:
    return Job(SimpleNamespace(), x, None, Path(), note=(notes if notes is not None else []).append)


def wild(model, seed: int = 0):
    """`model` with channel ranges all over the place: every output channel of every kernel up to 100 times another."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        weights = layer.get_weights()
        if not weights:
            continue
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in weights])
            continue
        kernel = rng.normal(size=weights[0].shape) * 10 ** rng.uniform(-1, 1, weights[0].shape[-1])
        layer.set_weights([kernel / np.sqrt(kernel[..., 0].size), *(rng.normal(size=w.shape) for w in weights[1:])])
    return model


def chain():
    given = keras.Input((8, 8, 3))
    y = layers.Conv2D(6, 3, name="a")(given)
    y = layers.ReLU()(y)
    y = layers.Conv2D(5, 1, name="b")(y)
    return keras.Model(given, layers.GlobalAveragePooling2D()(y))


def triple():
    given = keras.Input((8, 8, 3))
    y = layers.Conv2D(6, 1, use_bias=False, name="a")(given)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="b")(y)
    return keras.Model(given, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, name="c")(y)))


def residual():
    given = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="a")(given)
    y = layers.Conv2D(6, 3, padding="same", activation="relu", name="b")(x)
    y = layers.Conv2D(6, 3, padding="same", name="c")(y)
    x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(given, layers.Dense(4, name="d")(layers.Flatten()(layers.MaxPooling2D(4)(x))))


def branches():
    given = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="a")(given)
    left = layers.Conv2D(5, 1, activation="relu", name="b")(x)
    right = layers.SeparableConv2D(6, 3, padding="same", name="c")(x)
    both = layers.LeakyReLU()(layers.Concatenate()([left, right]))
    pooled = layers.Concatenate()([layers.GlobalAveragePooling2D()(both), layers.GlobalMaxPooling2D()(both)])
    return keras.Model(given, layers.Dense(3, name="d")(layers.Dropout(0.3)(pooled)))


def gated():
    """A squeeze-and-excitation block: the gate is what it is, what it multiplies may be scaled."""
    given = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="a")(given)
    gate = layers.Dense(4, activation="sigmoid", name="gate")(layers.GlobalAveragePooling2D()(x))
    y = layers.Multiply()([x, layers.Reshape((1, 1, 4))(gate)])
    return keras.Model(given, layers.Flatten()(layers.Conv2D(3, 1, name="b")(y)))


def product():
    """Two factors would meet in a product, so neither side may have one."""
    given = keras.Input((8, 8, 3))
    one, two = (layers.Conv2D(4, 1, activation="relu", name=name)(given) for name in "ab")
    y = layers.Conv2D(5, 1, name="c")(layers.Multiply()([one, two]))
    y = layers.ReLU()(layers.Add()([y, layers.Conv2D(5, 1, name="also")(two)]))
    return keras.Model(given, layers.Flatten()(layers.Conv2D(3, 1, name="d")(y)))


def twice():
    given = keras.Input((8, 8, 4))
    shared = layers.Conv2D(4, 1, activation="relu", name="shared")
    y = layers.Conv2D(4, 1, activation="relu", name="a")(given)
    return keras.Model(given, layers.Flatten()(layers.Conv2D(2, 1, name="b")(shared(shared(y)))))


def sound():
    given = keras.Input((20, 4))
    y = layers.Conv1D(6, 3, activation="relu", name="a")(given)
    y = layers.Conv1D(6, 3, groups=3, activation="relu", name="b")(y)
    y = layers.DepthwiseConv1D(3, name="c")(layers.ZeroPadding1D(1)(y))
    return keras.Model(given, layers.Dense(3, name="d")(layers.GlobalMaxPooling1D()(y)))


NETS = {f.__name__: f for f in (chain, triple, residual, branches, gated, product, twice, sound)}


@pytest.mark.parametrize("by", ["weights", "activations"])
@pytest.mark.parametrize("net", NETS)
def test_answers_stay_and_weights_do_not(net: str, by: str):
    model = wild(NETS[net]())
    x = inputs(*model.input_shape[1:])
    before = [w.copy() for w in model.get_weights()]

    made = equalize(model, job(x), by=by)

    wanted = model(x).numpy()
    np.testing.assert_allclose(made(x), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    pairs = zip(made.get_weights(), fold(model).get_weights(), strict=True)
    assert any(not np.allclose(a, b) for a, b in pairs)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_one_pair_is_what_equation_11_says():
    model = wild(chain())
    (a, a_bias), (b, b_bias) = (model.get_layer(name).get_weights() for name in "ab")
    r1, r2 = np.abs(a).max(axis=(0, 1, 2)), np.abs(b).max(axis=(0, 1, 3))
    s = np.sqrt(r1 * r2) / r2

    made = equalize(model, job(inputs(8, 8, 3)))

    (got_a, got_a_bias), (got_b, got_b_bias) = (made.get_layer(name).get_weights() for name in "ab")
    np.testing.assert_allclose(got_a, a / s, rtol=1e-5)
    np.testing.assert_allclose(got_a_bias, a_bias / s, rtol=1e-5)
    np.testing.assert_allclose(got_b, b * s[:, np.newaxis], rtol=1e-5)
    np.testing.assert_array_equal(got_b_bias, b_bias)


def test_a_depthwise_triple_ends_with_three_equal_ranges():
    """Appendix A of the paper: the rounds meet where all three ranges are the cube root of their product."""
    model = wild(triple())
    folded = fold(model)
    made = equalize(model, job(inputs(8, 8, 3)), iterations=200)
    for net, equal in ((folded, False), (made, True)):
        a, b, c = (net.get_layer(name).get_weights()[0] for name in "abc")
        wide = np.abs(a).max(axis=(0, 1, 2)), np.abs(b).max(axis=(0, 1, 3))
        own = np.abs(b).max(axis=(0, 1)).reshape(-1), np.abs(c).max(axis=(0, 1, 3))
        close = [np.allclose(one, other, rtol=0.01) for one, other in (wide, own)]
        assert close == [equal, equal]


def test_by_activations_is_what_smoothquant_says():
    model = wild(chain())
    x = inputs(8, 8, 3)
    a, b = (model.get_layer(name).get_weights()[0] for name in "ab")
    seen = np.abs(keras.Model(model.inputs, model.layers[2].output)(x)).max(axis=(0, 1, 2))
    s = np.sqrt(seen / np.abs(b).max(axis=(0, 1, 3)))

    made = equalize(model, job(x), by="activations")

    np.testing.assert_allclose(made.get_layer("a").get_weights()[0], a / s, rtol=1e-4)


def test_channels_that_meet_in_an_addition_are_scaled_alike():
    model = wild(residual())
    made = equalize(model, job(inputs(8, 8, 3)))

    def change(name: str) -> np.ndarray:
        before, after = (net.get_layer(name).get_weights()[0] for net in (model, made))
        return (after / before)[0, 0]  # (inputs, outputs)

    given_by_a = change("a")[0]  # what a reads is the picture, which stays
    assert np.ptp(given_by_a) > 0.5
    apart = change("c") / given_by_a  # what c reads is scaled, too, by input channel
    np.testing.assert_allclose(apart, np.broadcast_to(apart[:, :1], apart.shape), rtol=1e-4)


def test_a_swish_keeps_its_channels_and_is_named():
    given = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 1, activation="swish", name="a")(given)
    y = layers.Conv2D(4, 1, activation="relu", name="b")(y)
    model = wild(keras.Model(given, layers.Flatten()(layers.Conv2D(3, 1, name="c")(y))))
    notes: list[str] = []
    made = equalize(model, job(inputs(8, 8, 3), notes))
    assert notes == ["equalize left the channels of 1 of 3 layers alone: a, since a ends in swish"]
    np.testing.assert_array_equal(made.get_layer("a").get_weights()[0], model.get_layer("a").get_weights()[0])
    assert flow(fold(model)).parts()[0].size == 4


def test_a_relu6_is_opened_where_no_example_reaches_six():
    def net(scale: float):
        given = keras.Input((8, 8, 3))
        y = layers.ReLU(6.0)(layers.Conv2D(4, 1, name="a")(given))
        model = wild(keras.Model(given, layers.Flatten()(layers.Conv2D(3, 1, name="b")(y))))
        kernel, bias = model.get_layer("a").get_weights()
        model.get_layer("a").set_weights([scale * kernel, scale * bias])
        return model

    x = inputs(8, 8, 3)
    quiet = net(0.01)
    made = equalize(quiet, job(x))
    np.testing.assert_allclose(made(x), quiet(x), rtol=1e-4, atol=1e-6)
    with pytest.raises(EdgepressError, match=r"a must keep its range, since re_lu\w* \(ReLU\) lets no factor through"):
        equalize(net(100.0), job(x))


def test_a_dead_channel_is_left_as_it_is():
    model = wild(chain())
    kernel, bias = model.get_layer("a").get_weights()
    kernel[..., 2] = 0
    model.get_layer("a").set_weights([kernel, bias])
    made = equalize(model, job(inputs(8, 8, 3)))
    assert np.isfinite(np.concatenate([w.reshape(-1) for w in made.get_weights()])).all()
    np.testing.assert_array_equal(
        made.get_layer("b").get_weights()[0][:, :, 2], model.get_layer("b").get_weights()[0][:, :, 2]
    )
    np.testing.assert_array_equal(made.get_layer("a").get_weights()[1][2], bias[2])


def test_clusters_are_not_scaled_apart():
    model = wild(chain())
    kernel, bias = model.get_layer("b").get_weights()
    model.get_layer("b").set_weights([np.where(kernel > 0, np.float32(0.5), np.float32(-0.25)), bias])
    with pytest.raises(EdgepressError, match="b has clustered weights, which equalize would scale apart"):
        check(model, job(inputs(8, 8, 3)))


def test_zeros_stay():
    model = wild(chain())
    kernel, bias = model.get_layer("b").get_weights()
    kernel[:, :, ::2, 1:] = 0
    model.get_layer("b").set_weights([kernel, bias])
    made = equalize(model, job(inputs(8, 8, 3)))
    np.testing.assert_array_equal(made.get_layer("b").get_weights()[0] == 0, kernel == 0)


REFUSED = {
    "one layer": (lambda g: layers.Dense(3)(g), {}, "no channel of the model can be equalized: it is a single layer"),
    "no kernel": (lambda g: layers.ReLU()(g), {}, "no convolution or dense layer"),
    "swish": (
        lambda g: layers.Dense(3)(layers.Dense(3, activation="swish", name="a")(g)), {},
        "a must keep its range, since a ends in swish",
    ),
    "softmax": (
        lambda g: layers.Dense(3)(layers.Softmax(name="s")(layers.Dense(3, name="a")(g))), {},
        r"since s \(Softmax\) lets no factor through",
    ),
    "by": (lambda g: layers.Dense(3)(layers.Dense(3)(g)), {"by": "wight"}, "unknown way to equalize: by 'wight'"),
    "rounds": (lambda g: layers.Dense(3)(layers.Dense(3)(g)), {"iterations": 0}, "0 iterations"),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_equalized_is_told_beforehand(why: str):
    build, options, sentence = REFUSED[why]
    given = keras.Input((5,))
    with pytest.raises(EdgepressError, match=sentence):
        check(keras.Model(given, build(given)), job(inputs(5)), **options)


def test_it_can_be_written_in_a_recipe():
    assert bind(Step("equalize", 7, {"by": "activations"}), subject.equalize, kind="pass") == {
        "iterations": 7, "by": "activations",
    }  # fmt: skip
