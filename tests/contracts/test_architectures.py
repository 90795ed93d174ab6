"""What every architecture must be: plain, of the asked shape, convertible to int8, trainable and savable."""

from __future__ import annotations

import inspect
from importlib import import_module

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_train import models
from edgepress_train.keras2 import keras

SMALL = {
    "resnet8": "resnet8:width=0.25",
    "resnet": "resnet:widths=4-8:blocks=1:pool=avg-max",
    "mobilenet-v2": "mobilenet-v2:width=0.25:stages=3",
    "ds-cnn": "ds-cnn:widths=8-12-16",
    "efficientnet-lite0": "efficientnet-lite0:stages=2:last=16",
}
PLAIN = {
    "InputLayer",
    "Conv2D",
    "DepthwiseConv2D",
    "BatchNormalization",
    "ReLU",
    "Add",
    "Concatenate",
    "AveragePooling2D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "Flatten",
    "Dropout",
    "Dense",
}


def test_every_architecture_is_tried():
    assert SMALL.keys() == models.ARCHS.keys()


@pytest.fixture(params=sorted(models.ARCHS))
def model(request):
    keras.utils.set_random_seed(0)
    return models.build(SMALL[request.param], (32, 32, 3), 5)


def test_input_and_output_are_as_promised(model):
    assert model.input_shape == (None, 32, 32, 3) and model.output_shape == (None, 5)
    scores = model(np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)).numpy()
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-5) and (scores >= 0).all()


def test_layers_are_those_that_quantization_and_pruning_know(model):
    assert {type(layer).__name__ for layer in model.layers} <= PLAIN


def test_it_survives_saving(model, tmp_path):
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    assert np.array_equal(model(x).numpy(), again(x).numpy())


@pytest.mark.parametrize("name", sorted(models.ARCHS))
def test_every_option_is_a_literal_with_a_default(name):
    module, function = models.ARCHS[name]
    options = list(inspect.signature(getattr(import_module(module), function)).parameters.values())[2:]
    assert options and all(
        option.kind is option.KEYWORD_ONLY and option.default is not option.empty for option in options
    )


def test_resnet8_is_mlperf_tinys():
    """78,666 weights, 480 of them not trained: the table in the benchmark's own training log."""
    model = models.build("resnet8", (32, 32, 3), 10)
    assert model.count_params() == 78_666
    assert sum(int(np.prod(w.shape)) for w in model.non_trainable_weights) == 480
    assert [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)] == [
        16,
        16,
        16,
        32,
        32,
        32,
        64,
        64,
        64,
    ]


def test_mobilenet_v2_has_the_published_size():
    """3,504,872 trainable weights at width 1.0 and 1,000 classes: torchvision's count of the paper's net."""
    model = models.build("mobilenet-v2:width=1.0", (224, 224, 3), 1000)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 3_504_872


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("resnt8", "unknown architecture 'resnt8'; did you mean 'resnet8'?"),
        ("resnet8, resnet", "--arch takes one architecture, got 'resnet8, resnet'"),
        ("resnet:pool=mean", "unknown pool 'mean'"),
        ("resnet8:wide=2", "architecture 'resnet8' has no option 'wide'; did you mean 'width'?"),
    ],
)
def test_a_wrong_name_is_answered(text, sentence):
    with pytest.raises(EdgepressError) as caught:
        models.build(text, (32, 32, 3), 10)
    assert caught.value.what == sentence
