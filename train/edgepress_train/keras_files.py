"""Models in `.keras` and `.h5` files of Keras 2 or 3, each read by the Keras that wrote it."""

from __future__ import annotations

import importlib
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress_runtime.errors import EdgepressError

if TYPE_CHECKING:
    from edgepress_train.keras2 import keras

SUFFIXES = (".keras", ".h5", ".hdf5")


class KerasFileError(EdgepressError):
    """A file that holds no model, or one that cannot be used."""


def load(path: Path) -> tuple[keras.Model, str]:
    """The model in `path` and the version of Keras that wrote it. Raises KerasFileError."""
    version = _written_by(path)
    try:
        return _library(version.startswith("3")).models.load_model(path, compile=False), version
    except Exception as error:  # noqa: BLE001  (Keras raises anything for a file that it does not understand)
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise KerasFileError(
            f"Keras {version} cannot read {path}: {reason.strip()[:300]}",
            "models with layers of your own must be saved without them, or trained with edgepress",
        ) from None


def library_of(model: keras.Model) -> Any:
    """The Keras that `model` is made of, whose layers can be put around it."""
    return _library(not isinstance(model, _library(False).Model))


def input_shape(model: keras.Model) -> tuple[int | None, ...]:
    """The shape of the only input, without the batch; None for a size that the model leaves open."""
    return tuple(model.inputs[0].shape)[1:]


def sized(model: keras.Model, shape: tuple[int, ...]) -> keras.Model:
    """`model` behind an input of exactly `shape`, for one that leaves some of its sizes open."""
    library = library_of(model)
    inputs = library.Input(shape)
    return library.Model(inputs, model(inputs))


def with_probabilities(model: keras.Model, shape: tuple[int, ...] | None = None) -> tuple[keras.Model, bool]:
    """`model`, or `model` and a softmax behind it when its outputs are no probabilities; whether one was added.

    `shape` of one input, for a model that leaves it open. Raises KerasFileError for a model that does not give one row
    of scores an example.
    """
    sizes = shape or tuple(size or 1 for size in input_shape(model))
    example = np.random.default_rng(0).normal(size=(4, *sizes)).astype(np.float32)
    scores = np.asarray(model(example, training=False))
    if scores.ndim != 2:
        raise KerasFileError(f"the model gives {list(scores.shape)}, an image classifier gives one score a label")
    if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1.0, atol=1e-3):
        return model, False
    library = library_of(model)
    return library.Model(model.inputs[0], library.layers.Softmax(name="softmax")(model.outputs[0])), True


def _library(third: bool) -> Any:
    door = importlib.import_module("edgepress_train.keras2")  # first: it chooses Keras 2 for TensorFlow
    # Plain `keras` is Keras 3 all the same.
    return importlib.import_module("keras") if third else door.keras


def _written_by(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        return "2 (HDF5)"
    try:
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (KeyError, ValueError, TypeError, zipfile.BadZipFile, OSError):
        raise KerasFileError(f"{path} is not a Keras model", "save it with model.save('model.keras')") from None
