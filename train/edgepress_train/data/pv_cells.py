"""`pv-cells`: 2,624 electroluminescence photos of solar cells, from the package `elpv-dataset`.

Deitsch et al. 2019, "Automatic classification of defective photovoltaic module cells in electroluminescence images",
arXiv:1807.02894; Buerhop-Lutz et al. 2018. Each cell has a probability of being defective (0, 1/3, 2/3 or 1) and a type
(mono- or polycrystalline). A probability of 0.5 or more counts as `defective`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from edgepress_train.data.dataset import DataError, Dataset, Holdout, Split, complete

LABELS = ("defective", "functional")


def open_pv_cells(holdout: Holdout) -> Dataset:
    """The photos, split by class and cell type. Soft targets hold the annotators' probabilities.

    Raises DataError when the package is not installed.
    """
    found = importlib.util.find_spec("elpv_dataset")
    if found is None or found.origin is None:
        raise DataError("pv-cells needs the package elpv-dataset", "pip install 'edgepress[pv-cells]'")
    root = Path(found.origin).parent / "data"
    rows = [line.split() for line in (root / "labels.csv").read_text(encoding="utf-8").splitlines() if line.strip()]
    probability = np.array([float(row[1]) for row in rows], dtype=np.float32)
    labels = np.where(probability >= 0.5, 0, 1).astype(np.int64)
    targets = np.stack([probability, 1 - probability], axis=1)
    everything = Split(tuple(root / row[0] for row in rows), labels, targets)
    strata = np.array([f"{LABELS[label]}/{row[2]}" for label, row in zip(labels, rows, strict=True)])
    return Dataset("pv-cells", "pv-cells", LABELS, complete({"train": everything}, holdout, strata=strata), holdout)
