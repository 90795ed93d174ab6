"""A user's own Keras model, `.keras` or `.h5`, of Keras 2 or 3."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress_convert.importers.source import Hints, ImportFailure, Source, bundle_name, image_spec, read_labels
from edgepress_train import keras_files
from edgepress_train.data import sources
from edgepress_train.keras_files import KerasFileError

if TYPE_CHECKING:
    from edgepress_train.keras2 import keras


def read(path: Path, hints: Hints) -> Source:
    """The model in `path`. Labels come from `hints.labels`, else from the data set; `mean` and `std` must be given.

    A model that gives logits gets a softmax, so that its scores are probabilities. Raises ImportFailure.
    """
    try:
        return _read(path, hints)
    except KerasFileError as error:
        raise ImportFailure(error.what, error.remedy) from None


def _read(path: Path, hints: Hints) -> Source:
    model, version = keras_files.load(path)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        counts = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise ImportFailure(f"{path} has {counts}; an image classifier has one of each")
    model = _with_size(model, hints)
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
    model, softmax = keras_files.with_probabilities(model)
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


def _with_size(model: keras.Model, hints: Hints) -> keras.Model:
    """`model` with the input size of `hints` where it leaves its own open."""
    shape = keras_files.input_shape(model)
    if None not in shape:
        return model
    if hints.size is None or len(shape) != 3 or shape[2] is None:
        raise ImportFailure(f"the model leaves its input size open: {list(shape)}", "choose it with --size, as 96x128")
    return keras_files.sized(model, (*hints.size, shape[2]))
