from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_train import models, peft
from edgepress_train.keras2 import keras
from edgepress_train.models.lora import LoraConv2D, LoraDense, additions
from edgepress_train.models.parts import classifier, encoder, trunk

RNG = np.random.default_rng(0)
PICTURES = RNG.normal(size=(48, 16, 16, 3)).astype(np.float32)
TARGETS = np.eye(3, dtype=np.float32)[np.arange(48) % 3]
ALL = {
    "resnet8": "resnet8:width=0.25",
    "resnet": "resnet:widths=4-8:blocks=1:pool=avg-max:dropout=0.1",
    "mobilenet-v2": "mobilenet-v2:width=0.25:stages=3",
    "ds-cnn": "ds-cnn:widths=8-12-16",
    "efficientnet-lite0": "efficientnet-lite0:stages=2:last=16",
}
SPEECH = {
    "ds-tcn": "ds-tcn:width=8:kernels=3-5",
    "ds-cnn": "ds-cnn:width=8:blocks=2:residual=true",
    "bc-resnet": "bc-resnet:reach=0.25",
    "speech-embedding": "speech-embedding:head=8",
}


def net(text="resnet8:width=0.25", seed=0):
    """A net whose batch normalisation has seen something, so that its statistics matter."""
    keras.utils.set_random_seed(seed)
    model = models.build(text, (16, 16, 3), 3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([w + RNG.uniform(0.1, 0.3, w.shape).astype(np.float32) for w in layer.get_weights()])
    return model


def learned(tuned, steps=6):
    tuned.model.compile(keras.optimizers.Adam(0.02), keras.losses.CategoricalCrossentropy())
    tuned.model.fit(PICTURES, TARGETS, batch_size=16, epochs=steps // 3, verbose=0)


def copies(weights):
    return {weight.name: weight.numpy().copy() for weight in weights}


def test_every_architecture_is_tried():
    assert ALL.keys() == models.ARCHS.keys() and SPEECH.keys() == models.SPEECH_ARCHS.keys()


@pytest.mark.parametrize("text", ["head", "bias", "lora:1", "adapter:4"])
@pytest.mark.parametrize("arch", ["resnet8:width=0.25", "ds-cnn:widths=8-12-16"])
def test_only_what_was_named_learns_and_statistics_rest(text, arch):
    model = net(arch)
    before = copies(model.weights)
    tuned = peft.tune(model, text)
    learned(tuned)
    after = tuned.finish()
    assert tuned.trained == sum(int(np.prod(w.shape)) for w in tuned.model.trainable_weights) < model.count_params()
    own = {weight.name for weight in classifier(model).weights}
    kernels = {
        w.name
        for layer in model.layers
        if type(layer) in (keras.layers.Conv2D, keras.layers.Dense)
        for w in layer.weights[:1]
    }
    biases = {name for name in before if "bias" in name or "beta" in name}
    may = {"head": own, "bias": own | biases, "lora:1": own | kernels, "adapter:4": own}[text]
    changed = {w.name for w in after.weights if w.name in before and not np.array_equal(before[w.name], w.numpy())}
    assert changed <= may and own <= changed
    assert not any("moving" in name for name in changed)
    if text == "bias":
        assert changed == may
    plain = {"InputLayer", "Conv2D", "DepthwiseConv2D", "BatchNormalization", "ReLU", "Add", "AveragePooling2D",
             "GlobalAveragePooling2D", "Flatten", "Dense"}  # fmt: skip
    assert {type(layer).__name__ for layer in after.layers} <= plain
    assert all(layer.trainable for layer in after.layers)


def test_merged_kernels_answer_as_the_additions_did(tmp_path):
    model = net()
    tuned = peft.tune(model, "lora:2")
    assert np.allclose(tuned.model(PICTURES), model(PICTURES), atol=1e-6)  # it begins as it was
    learned(tuned)
    wide = tuned.model(PICTURES, training=False).numpy()
    assert np.abs(wide - model(PICTURES).numpy()).max() > 1e-3
    merged = tuned.finish()
    assert np.allclose(wide, merged(PICTURES).numpy(), atol=1e-5)
    merged.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")  # no custom objects
    assert np.allclose(wide, again(PICTURES).numpy(), atol=1e-5)
    assert merged.count_params() == net().count_params()


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_convolutions_addition_is_a_low_rank_convolution_behind_another(padding):
    keras.utils.set_random_seed(1)
    layer = LoraConv2D(6, 3, strides=2, padding=padding, lora_rank=2, activation="relu")
    layer(PICTURES[:4])
    layer.lora_b.assign(RNG.normal(size=layer.lora_b.shape))
    narrow = tf.reshape(layer.lora_a, (3, 3, 3, 2))
    wide = tf.reshape(layer.lora_b, (1, 1, 2, 6))
    plain = tf.nn.conv2d(PICTURES[:4], layer.kernel, 2, padding.upper())
    added = tf.nn.conv2d(tf.nn.conv2d(PICTURES[:4], narrow, 2, padding.upper()), wide, 1, "VALID")
    assert np.allclose(layer(PICTURES[:4]), tf.nn.relu(plain + added + layer.bias), atol=1e-4)
    dense = LoraDense(5, lora_rank=2)
    x = RNG.normal(size=(7, 8)).astype(np.float32)
    dense(x)
    dense.lora_b.assign(RNG.normal(size=(2, 5)))
    expected = x @ dense.kernel.numpy() + x @ dense.lora_a.numpy() @ dense.lora_b.numpy() + dense.bias.numpy()
    assert np.allclose(dense(x), expected, atol=1e-5)


def test_what_lora_leaves_out_is_told_with_the_reason():
    tuned = peft.tune(net("ds-cnn:widths=8-12-16"), "lora:2")
    depthwise = [reason for reason in tuned.left_out if "depthwise" in reason]
    assert len(depthwise) == 2 and all(name.startswith("depthwise_conv2d") for name in depthwise)
    wide = peft.tune(net(), "lora:99")
    assert all("would have more weights than the kernel" in reason for reason in wide.left_out)
    assert wide.trained == sum(int(np.prod(w.shape)) for w in classifier(wide.model).weights)
    assert peft.describe(wide)["left_out"] == list(wide.left_out)
    assert peft.describe(peft.tune(net(), "full")) == {"trained_params": net().count_params() - 120}


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_image_net_can_be_tuned_and_begins_as_it_was(name):
    model = net(ALL[name])
    said = model(PICTURES[:4]).numpy()
    for text in ("lora:1", "adapter:2", "bias"):
        tuned = peft.tune(model, text)
        assert np.allclose(tuned.model(PICTURES[:4]), said, atol=1e-5)
        assert tuned.trained < model.count_params()
    assert encoder(model).output_shape == (None, classifier(model).input_shape[-1])
    assert trunk(model).output_shape[-1] in (encoder(model).output_shape[-1], encoder(model).output_shape[-1] // 2)


@pytest.mark.parametrize("name", sorted(SPEECH))
def test_every_speech_net_can_be_tuned_and_begins_as_it_was(name):
    bands = 32 if name == "speech-embedding" else 20
    keras.utils.set_random_seed(0)
    model = models.build(SPEECH[name], (140, bands, 1), 3, archs=models.SPEECH_ARCHS)
    sound = RNG.normal(size=(2, 140, bands, 1)).astype(np.float32)
    said = model(sound).numpy()
    for text in ("lora:1", "bias") if name == "speech-embedding" else ("lora:1", "adapter:2", "bias"):
        tuned = peft.tune(model, text)
        assert np.allclose(tuned.model(sound), said, atol=1e-5)
        assert {w.name for w in classifier(model).weights} <= {w.name for w in tuned.model.trainable_weights}
    assert len(encoder(model).output_shape) == 2 and len(trunk(model).output_shape) == 4


def test_a_frozen_embedding_can_learn_by_additions():
    model = models.build("speech-embedding:head=8", (140, 32, 1), 3, archs=models.SPEECH_ARCHS)
    tuned = peft.tune(model, "lora:1")
    wide = [layer.name for layer in tuned.model.layers if additions(layer)]
    assert "embedding_5" in wide


def test_adapters_stay_where_they_were_put_and_only_once(tmp_path):
    model = net("resnet:widths=4-8:blocks=2")
    tuned = peft.tune(model, "adapter:4")
    learned(tuned)
    after = tuned.finish()
    names = [layer.name for layer in after.layers if layer.name.startswith("adapter_")]
    assert sum(name.endswith("_add") for name in names) == 4  # one a block
    after.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert np.allclose(again(PICTURES), after(PICTURES), atol=1e-6)
    with pytest.raises(EdgepressError, match="has adapters already"):
        peft.tune(again, "adapter:4")
    assert tuned.trained == 2 * (4 * 4 + 4 + 4 * 4 + 4) + 2 * (8 * 4 + 4 + 4 * 8 + 8) + 8 * 3 + 3


def test_a_resumed_tuning_restores_all_that_was_trained(tmp_path):
    tuned = peft.tune(net(), "lora:2")
    learned(tuned)
    tuned.model.save_weights(tmp_path / "best.weights.h5")
    other = peft.tune(net(seed=5), "lora:2")
    other.model.load_weights(tmp_path / "best.weights.h5")
    assert np.allclose(other.finish()(PICTURES), tuned.finish()(PICTURES), atol=1e-5)


@pytest.mark.parametrize(
    ("text", "init", "sentence"),
    [
        ("lore:4", "run", "unknown way of tuning 'lore'; did you mean 'lora'?"),
        ("lora:0", "run", "--tune lora:0: rank is 0"),
        ("adapter:dimension=4", "run", "way of tuning 'adapter' has no option 'dimension'"),
        ("head:3", "run", "way of tuning 'head' takes no value"),
        ("head, bias", "run", "--tune takes one method, got 'head, bias'"),
        ("lora:4", "", "--tune lora:4 changes little of a net, so it needs one that has learned something"),
    ],
)
def test_wrong_ways_are_answered(text, init, sentence):
    with pytest.raises(EdgepressError) as caught:
        peft.check(text, init)
    assert caught.value.what.startswith(sentence)


def test_right_ways_are_let_through():
    for text, init in (("full", ""), ("full", "run"), ("lora", "run"), ("adapter:8", "run"), ("bias", "run")):
        peft.check(text, init)
    assert dataclasses.is_dataclass(peft.Tuned)
