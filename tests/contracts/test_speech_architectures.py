"""What every speech net must be: plain, of the asked shape, and without padding along time."""

from __future__ import annotations

import inspect
from importlib import import_module

import numpy as np
import pytest

from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_train import models
from edgepress_train.keras2 import keras
from edgepress_train.models import speech_embedding
from edgepress_train.models.init import initialise

# name -> (spec, frames, features)
SMALL = {
    "ds-tcn": ("ds-tcn:width=8:kernels=3-5:expand=2", 24, 12),
    "ds-cnn": ("ds-cnn:width=8:blocks=2:residual=true", 30, 10),
    "bc-resnet": ("bc-resnet:scale=0.5:reach=0.125", 49, 20),
    "speech-embedding": ("speech-embedding:head=8", 116, 32),
}
PLAIN = {
    "Activation", "Add", "AveragePooling2D", "BatchNormalization", "Conv2D", "Cropping2D", "DepthwiseConv2D", "Dropout",
    "Flatten", "InputLayer", "LeakyReLU", "MaxPooling2D", "ReLU", "Reshape", "Softmax", "SpatialDropout2D",
    "TFOpLambda", "ZeroPadding2D",
}  # fmt: skip


def test_every_architecture_is_tried():
    assert SMALL.keys() == models.SPEECH_ARCHS.keys()


def build(name: str, more: int = 0) -> keras.Model:
    text, frames, features = SMALL[name]
    keras.utils.set_random_seed(0)
    return models.build(text, (frames + more, features, 1), 3, archs=models.SPEECH_ARCHS)


@pytest.fixture(params=sorted(models.SPEECH_ARCHS))
def name(request):
    return request.param


def test_input_and_output_are_as_promised(name):
    model = build(name)
    _, frames, features = SMALL[name]
    assert model.input_shape == (None, frames, features, 1) and model.output_shape == (None, 3)
    scores = model(np.random.default_rng(0).normal(size=(4, frames, features, 1)).astype(np.float32)).numpy()
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-5) and (scores >= 0).all()


def test_layers_are_those_that_quantization_and_streaming_know(name):
    assert {type(layer).__name__ for layer in build(name).layers} <= PLAIN


def test_the_answer_to_one_window_is_the_same_inside_a_longer_one(name):
    """Nothing is padded along time: before the last pool, frame t of the longer input is frame 0 of the one from t."""
    shorter, longer = build(name), build(name, more=8)
    longer.set_weights(shorter.get_weights())
    _, frames, features = SMALL[name]
    x = np.random.default_rng(1).normal(size=(1, frames + 8, features, 1)).astype(np.float32)

    def before_pool(model, given):
        pool = [layer for layer in model.layers if isinstance(layer, keras.layers.AveragePooling2D)][-1]
        return keras.Model(model.input, pool.input)(given).numpy()

    whole = before_pool(longer, x)
    stride = 8 // (whole.shape[1] - before_pool(shorter, x[:, :frames]).shape[1])
    for start in range(0, 9, stride):
        part = before_pool(shorter, x[:, start : start + frames])
        inside = whole[:, start // stride : start // stride + part.shape[1]]
        assert np.allclose(part, inside, atol=1e-5)


def test_every_option_is_a_literal_with_a_default(name):
    module, function = models.SPEECH_ARCHS[name]
    options = list(inspect.signature(getattr(import_module(module), function)).parameters.values())[2:]
    assert options and all(
        option.kind is option.KEYWORD_ONLY and option.default is not option.empty for option in options
    )


def test_it_survives_saving(name, tmp_path):
    model = build(name)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    x = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    assert np.array_equal(model(x).numpy(), again(x).numpy())


def test_bc_resnet_has_the_published_size():
    """9.2 thousand weights at scale 1 and 54.2 at scale 3 with 12 classes (table 2 of the paper), within a few percent.

    Sub-bands are finer here in the first two stages, which adds some; statistics of batch normalisation do not count.
    """
    for scale, published in ((1, 9_200), (3, 54_200)):
        model = models.build(f"bc-resnet:scale={scale}", (151, 40, 1), 12, archs=models.SPEECH_ARCHS)
        trained = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
        assert abs(trained / published - 1) < 0.15, trained


def test_the_speech_embedding_has_the_published_weights_and_answers():
    """332,616 weights in twenty convolutions; one 76-frame window through the published file gives the same numbers."""
    pytest.importorskip("pyopen_wakeword")
    keras.utils.set_random_seed(0)
    model = models.build("speech-embedding", (140, 32, 1), 2, archs=models.SPEECH_ARCHS)
    before = model.get_layer("embedding_0").get_weights()[0].copy()
    assert initialise(model, "speech-embedding") == 20
    assert not np.array_equal(before, model.get_layer("embedding_0").get_weights()[0])
    x = np.random.default_rng(0).normal(5, 1.5, (1, 140, 32, 1)).astype(np.float32)
    found = keras.Model(model.input, model.get_layer("embedding_19").output)(x).numpy()
    with open_engine(speech_embedding.checkpoint(), threads=1) as engine:
        published = [engine.run(x[:, start : start + 76])[0].reshape(96) for start in range(0, 65, 8)]
    assert np.allclose(found[0, :, 0] * 20, published, atol=1e-3)


def test_ds_cnn_has_the_published_size():
    """24,908 weights in MLPerf Tiny's keyword model of 12 classes, of which its convolutions' biases are not ours."""
    model = models.build("ds-cnn", (49, 10, 1), 12, archs=models.SPEECH_ARCHS)
    assert model.count_params() == 24_908 - 9 * 64


@pytest.mark.parametrize(
    ("text", "shape", "sentence"),
    [
        ("ds-tcnn", (50, 40, 1), "unknown architecture 'ds-tcnn'; did you mean 'ds-tcn'?"),
        ("bc-resnet", (150, 30, 1), "bc-resnet takes 20, 40, 60 ... bands in one channel, not 30 in 1"),
        ("ds-tcn:every=9", (65, 40, 1), "the window is too short for this net: 3 of its frames are left at the end, "
         "9 are needed"),
        ("ds-tcn", (20, 40, 1), "'ds-tcn' makes no network for inputs of 20x40x1"),
    ],
)  # fmt: skip
def test_a_wrong_wish_is_answered(text, shape, sentence):
    with pytest.raises(EdgepressError) as caught:
        models.build(text, shape, 4, archs=models.SPEECH_ARCHS)
    assert caught.value.what.startswith(sentence)
