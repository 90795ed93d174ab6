"""The built-in data set against what its authors published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("elpv_dataset")


from edgepress_train.data.dataset import Holdout
from edgepress_train.data.sources import open_dataset


@pytest.fixture
def published():
    import elpv_dataset

    table = Path(elpv_dataset.__file__).parent / "data" / "labels.csv"
    return np.genfromtxt(table, dtype=["|S19", "<f8", "|S4"], names=["path", "probability", "type"])


def test_counts_are_the_published_ones():
    train = open_dataset("pv-cells", holdout=Holdout(0, 0.0, 0.0)).splits["train"]
    thirds, counts = np.unique(np.rint(train.targets[:, 0] * 3).astype(int), return_counts=True)
    assert dict(zip(thirds.tolist(), counts.tolist(), strict=True)) == {0: 1508, 1: 295, 2: 106, 3: 715}


def test_labels_follow_the_packages_table(published):
    train = open_dataset("pv-cells", holdout=Holdout(0, 0.0, 0.0)).splits["train"]
    assert np.array_equal(train.labels == 0, published["probability"] >= 0.5)


def test_the_held_out_quarter_has_every_class_and_type_in_proportion(published):
    probability, kind = published["probability"], np.char.decode(published["type"])
    data = open_dataset("pv-cells")
    names = {
        path.name: index
        for index, path in enumerate(open_dataset("pv-cells", holdout=Holdout(0, 0, 0)).splits["train"].paths)
    }
    test = [names[path.name] for path in data.splits["test"].paths]
    for defective in (False, True):
        for cell in ("mono", "poly"):
            of_all = ((probability >= 0.5) == defective) & (kind == cell)
            assert of_all[test].sum() == round(0.25 * of_all.sum())
    assert not {p.name for p in data.splits["test"].paths} & {p.name for p in data.splits["train"].paths}
