"""Where data comes from: a folder, a zip of one, `pv-cells`, or a name that tensorflow-datasets knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgepress_runtime.manifest import check_labels
from edgepress_train.data import folder, pv_cells, tfds
from edgepress_train.data.dataset import DataError, Dataset, Holdout

# the names that edgepress brings; any other is a path, or tensorflow-datasets' business
SOURCES: dict[str, Callable[[Holdout], Dataset]] = {
    "pv-cells": pv_cells.open_pv_cells,
}


def open_dataset(source: str, *, holdout: Holdout = Holdout()) -> Dataset:  # noqa: B008  frozen
    """The data set called `source`: a name in SOURCES, a folder, a zip, or a tensorflow-datasets name.

    Parts that the data brings itself (`train/ val/ test/` folders) are kept; what is missing is split off the training
    part as `holdout` says. Raises DataError.
    """
    if not source.strip():
        raise DataError("no data was named", f"give a path, or one of the names: {', '.join(sorted(SOURCES))}")
    path = Path(source)
    if source in SOURCES:
        dataset = SOURCES[source](holdout)
    elif path.exists():
        opened = folder.open_zip(path, holdout) if path.is_file() else folder.open_folder(path, holdout)
        dataset = dataclasses.replace(opened, source=str(path.resolve()))
    elif source.strip() and "/" not in source.strip("/") and path.suffix != ".zip":
        dataset = dataclasses.replace(tfds.open_tfds(source, holdout), source=source)
    else:
        raise DataError(
            f"there is no folder or zip {source!r}", f"give a path, or one of the names: {', '.join(sorted(SOURCES))}"
        )
    check_labels(dataset.labels)
    if len(dataset.labels) < 2:
        raise DataError(
            f"{source} has only the class {dataset.labels[0]!r}; a classifier needs two",
            "put each class into a folder of its own: class_name/*.jpg",
        )
    for index, label in enumerate(dataset.labels):
        if not (dataset.splits["train"].labels == index).any():
            raise DataError(
                f"class {label!r} of {source} has no training example", "add pictures, or lower the held-out fractions"
            )
    return dataset


def reopen(described: Mapping[str, Any]) -> Dataset:
    """The data set that `Dataset.describe` described, proven to be the same. Raises DataError when it changed."""
    try:
        source, fingerprint = described["source"], described["fingerprint"]
        holdout = Holdout(**described["holdout"])
    except (KeyError, TypeError):
        raise DataError("the run does not say which data it was trained on", "train it again") from None
    dataset = open_dataset(source, holdout=holdout)
    if dataset.fingerprint != fingerprint:
        raise DataError(
            f"{source} is not what it was at training: files were added, removed or changed",
            "restore the data, or train again",
        )
    return dataset
