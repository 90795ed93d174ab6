"""Architectures. `ARCHS` is the whole list; each builds a plain Keras model whose output is class probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from edgepress_runtime.errors import EdgepressError
from edgepress_train import spec

if TYPE_CHECKING:
    from edgepress_train.keras2 import keras

# name -> module and function; imported when built, so that listing names does not load TensorFlow
ARCHS: dict[str, tuple[str, str]] = {
    "resnet8": ("edgepress_train.models.resnet", "resnet8"),
    "resnet": ("edgepress_train.models.resnet", "resnet"),
    "mobilenet-v2": ("edgepress_train.models.mobilenet", "mobilenet_v2"),
    "ds-cnn": ("edgepress_train.models.ds_cnn", "ds_cnn_image"),
    "efficientnet-lite0": ("edgepress_train.models.efficientnet_lite", "efficientnet_lite0"),
}

# Nets over (frames, features, 1) that pad nothing along time, so that they can be run on a stream
SPEECH_ARCHS: dict[str, tuple[str, str]] = {
    "ds-tcn": ("edgepress_train.models.ds_tcn", "ds_tcn"),
    "ds-cnn": ("edgepress_train.models.ds_cnn", "ds_cnn_speech"),
    "bc-resnet": ("edgepress_train.models.bc_resnet", "bc_resnet"),
    "speech-embedding": ("edgepress_train.models.speech_embedding", "speech_embedding"),
}

# Nets over ids of pieces, (length,) int32; what they are built for is (length, pieces)
TEXT_ARCHS: dict[str, tuple[str, str]] = {
    "transformer": ("edgepress_train.models.transformer", "transformer"),
}


def build(
    text: str,
    input_shape: tuple[int, ...],
    classes: int,
    *,
    archs: Mapping[str, tuple[str, str]] = ARCHS,
) -> keras.Model:
    """The architecture that `text` describes, as `resnet8` or `mobilenet-v2:width=0.35`, untrained.

    Input (n, height, width, channels) float32, normalised; for those of `SPEECH_ARCHS` (n, frames, features, 1).
    Those of `TEXT_ARCHS` take (n, length) int32, and `input_shape` is (length, pieces).
    Output (n, classes) float32 probabilities.
    """
    steps = spec.parse(text)
    if len(steps) != 1:
        raise EdgepressError(f"--arch takes one architecture, got {text!r}", f"known: {', '.join(sorted(archs))}")
    module, name = spec.choose(steps[0], archs, kind="architecture")
    function: Callable[..., keras.Model] = getattr(import_module(module), name)
    options = spec.bind(steps[0], function, kind="architecture")
    try:
        return function(input_shape, classes, **options)
    except ValueError as error:  # what Keras raises for layers that cannot be
        size, reason = "x".join(map(str, input_shape)), str(error).splitlines()[0]
        raise EdgepressError(
            f"{text!r} makes no network for inputs of {size}: {reason}",
            "check the options of --arch, and the size (or, for speech, the --window) that it must fit",
        ) from None
