"""A user's own Keras model, `.keras` or `.h5`, of Keras 2 or 3."""

from __future__ import annotations

import importlib
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress_convert.importers.source import Hints, ImportFailure, Source, bundle_name, image_spec, read_labels
from edgepress_train.data import sources

if TYPE_CHECKING:
    from edgepress_train.keras2 import keras


def read(path: Path, hints: Hints) -> Source:
    """The model in `path`. Labels come from `hints.labels`, else from the data set; `mean` and `std` must be given.

    A model that gives logits gets a softmax, so that its scores are probabilities. Raises ImportFailure.
    """
    model, version = load(path)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        counts = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise ImportFailure(f"{path} has {counts}; an image classifier has one of each")
    model = _with_size(model, version, hints)
    preprocessing = image_spec((1, *tuple(model.inputs[0].shape)[1:]), hints)
    dataset = sources.open_dataset(hints.data) if hints.data is not None else None
    if hints.labels is not None:
        labels = read_labels(hints.labels)
    elif dataset is not None:
        labels = dataset.labels
    else:
        raise ImportFailure(f"{path} does not say what its outputs mean", "give --labels FILE, one label a line")
    if dataset is not None and dataset.labels != labels:
        raise ImportFailure(
            f"the labels of {hints.data} ({', '.join(dataset.labels[:8])}) are not those of the model "
            f"({', '.join(labels[:8])}), in this order",
            "give data of the same classes, and --labels in the order of the model's outputs",
        )
    model, softmax = _with_probabilities(model, version)
    story: dict[str, Any] = {"import": {"file": path.name, "keras": version, "softmax_added": softmax}}
    if dataset is not None:
        story["data"] = dataset.describe()
    return Source(
        kind="keras",
        name=bundle_name(path.stem),
        task="image-classification",
        labels=labels,
        preprocessing=preprocessing,
        model=model,
        dataset=dataset,
        recipe=story,
    )


def load(path: Path) -> tuple[keras.Model, str]:
    """The model in `path` and the version of Keras that wrote it. A Keras 3 file is read by Keras 3."""
    version = _written_by(path)
    try:
        return _library(version).models.load_model(path, compile=False), version
    except Exception as error:  # noqa: BLE001  (Keras raises anything for a file that it does not understand)
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ImportFailure(
            f"Keras {version} cannot read {path}: {reason.strip()[:300]}",
            "models with layers of your own must be saved without them, or trained with edgepress",
        ) from None


def _written_by(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        return "2 (HDF5)"
    try:
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (KeyError, ValueError, TypeError, zipfile.BadZipFile, OSError):
        raise ImportFailure(f"{path} is not a Keras model", "save it with model.save('model.keras')") from None


def _keras3() -> Any:
    # The door first: it chooses Keras 2 for TensorFlow. Plain `keras` is Keras 3 all the same.
    importlib.import_module("edgepress_train.keras2")
    return importlib.import_module("keras")


def _with_size(model: keras.Model, version: str, hints: Hints) -> keras.Model:
    """`model` with the input size of `hints` where it leaves its own open."""
    shape = tuple(model.inputs[0].shape)[1:]
    if None not in shape:
        return model
    if hints.size is None or len(shape) != 3 or shape[2] is None:
        raise ImportFailure(f"the model leaves its input size open: {list(shape)}", "choose it with --size, as 96x128")
    library = _library(version)
    inputs = library.Input((*hints.size, shape[2]))
    return library.Model(inputs, model(inputs))


def _library(version: str) -> Any:
    if version.startswith("3"):
        return _keras3()
    from edgepress_train.keras2 import keras

    return keras


def _with_probabilities(model: keras.Model, version: str) -> tuple[keras.Model, bool]:
    """`model`, or `model` and a softmax behind it when its outputs are no probabilities."""
    shape = (4, *tuple(model.inputs[0].shape)[1:])
    scores = np.asarray(model(np.random.default_rng(0).normal(size=shape).astype(np.float32), training=False))
    if scores.ndim != 2:
        raise ImportFailure(f"the model gives {list(scores.shape)}, an image classifier gives one score a label")
    if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1.0, atol=1e-3):
        return model, False
    library = _library(version)
    return library.Model(model.inputs[0], library.layers.Softmax(name="softmax")(model.outputs[0])), True
