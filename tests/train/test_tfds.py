"""The catalogue's loader against a builder of the shape that `tensorflow-datasets` gives, without its downloads."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from PIL import Image

from edgepress_train.data.dataset import DataError, Holdout
from edgepress_train.data.sources import open_dataset, reopen


class Split(list):
    def as_numpy_iterator(self):
        return iter(self)


class Builder:
    """Three digits in two splits, grey, with the classes in an order that is not the alphabet's."""

    names = ("zero", "one", "a/two")

    def __init__(self, labelled=True):
        rng = np.random.default_rng(0)
        self.examples = {
            part: Split(
                {"image": rng.integers(0, 256, (8, 8, 1), dtype=np.uint8), "label": np.int64(number % 3)}
                for number in range(count)
            )
            for part, count in (("train", 30), ("test", 6))
        }
        label = types.SimpleNamespace(names=list(self.names)) if labelled else types.SimpleNamespace()
        self.info = types.SimpleNamespace(name="digits", features={"image": None, "label": label}, splits=self.examples)
        self.prepared = 0

    def download_and_prepare(self):
        self.prepared += 1

    def as_dataset(self, *, split):
        return self.examples[split]


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def catalogue(monkeypatch):
    """A stand-in for the package, with one builder; asking for another name fails as the package does."""
    builder = Builder()
    module = types.ModuleType("tensorflow_datasets")

    def find(name):
        if name != "digits":
            raise ValueError(f"Dataset {name} not found.\nAvailable datasets: many")
        return builder

    module.builder = find
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
    return builder


def test_splits_order_of_classes_and_pixels_are_kept(catalogue):
    data = open_dataset("digits", holdout=Holdout(0, 0.2, 0.5))
    assert data.labels == ("zero", "one", "a-two")
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 24, "val": 6, "test": 6}
    for number, (path, label) in enumerate(
        sorted(zip(data.splits["test"].paths, data.splits["test"].labels, strict=True), key=lambda item: item[0].name)
    ):
        example = catalogue.examples["test"][number]
        assert label == example["label"]
        assert np.array_equal(np.asarray(Image.open(path)), example["image"][..., 0])


def test_it_is_fetched_once(catalogue):
    described = open_dataset("digits").describe()
    assert reopen(described).fingerprint == described["fingerprint"]
    assert catalogue.prepared == 1


def test_an_unknown_name_is_one_sentence(catalogue):
    with pytest.raises(DataError) as caught:
        open_dataset("digit")
    assert caught.value.what == "tensorflow-datasets cannot give 'digit': Dataset digit not found."


def test_data_without_labels_is_refused_and_leaves_nothing(monkeypatch, tmp_path):
    module = types.ModuleType("tensorflow_datasets")
    module.builder = lambda name: Builder(labelled=False)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
    with pytest.raises(DataError, match="does not hold labelled pictures"):
        open_dataset("faces")
    assert not list((tmp_path / "cache" / "tfds").iterdir())


def test_without_the_package_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError) as caught:
        open_dataset("mnist")
    assert "edgepress[tfds]" in caught.value.remedy
