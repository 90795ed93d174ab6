from __future__ import annotations

import json
import os
import stat
import zipfile

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_train.data.dataset import DataError, Holdout
from edgepress_train.data.sources import open_dataset, reopen

NOTHING_HELD = Holdout(0, 0.0, 0.0)


def test_classes_are_folders_and_every_picture_is_in_one_split(pictures):
    data = open_dataset(str(pictures))
    assert data.labels == ("horizontal", "vertical")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 52, "val": 8, "test": 20}
    everything = [path for split in data.splits.values() for path in split.paths]
    assert len(set(everything)) == len(everything) == 80
    for split in data.splits.values():
        assert np.bincount(split.labels).tolist() == [len(split) // 2] * 2
        assert [data.labels[i] for i in split.labels] == [path.parent.name for path in split.paths]


def test_the_split_depends_on_its_seed_alone(pictures):
    first = open_dataset(str(pictures))
    again = open_dataset(str(pictures))
    other = open_dataset(str(pictures), holdout=Holdout(split_seed=1))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_parts_that_the_data_brings_are_kept(tmp_path, write_pictures):
    write_pictures(tmp_path / "d" / "train", {"a": 10, "b": 10})
    write_pictures(tmp_path / "d" / "test", {"a": 3, "b": 2})
    data = open_dataset(str(tmp_path / "d"), holdout=Holdout(0, 0.2, 0.5))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 16, "val": 4, "test": 5}


def test_litter_is_left_out_and_listed(pictures):
    (pictures / ".DS_Store").write_bytes(b"x")
    (pictures / "vertical" / "Thumbs.db").write_bytes(b"x")
    (pictures / "__MACOSX").mkdir()
    (pictures / "vertical" / "._000.png").write_bytes(b"x")
    (pictures / "vertical" / "notes.txt").write_text("x")
    (pictures / "vertical" / "zero.png").write_bytes(b"")
    data = open_dataset(str(pictures), holdout=NOTHING_HELD)
    assert data.labels == ("horizontal", "vertical")
    assert len(data.splits["train"]) == 80
    assert sorted(skipped.reason for skipped in data.skipped) == [
        "an empty file",
        "left behind by a file manager",
        "left behind by a file manager",
        "left behind by a file manager",
        "left behind by a file manager",
        "not a picture",
    ]


def test_the_stored_order_of_labels_wins(tmp_path, write_pictures):
    root = write_pictures(tmp_path / "d", {"1": 4, "2": 4, "10": 4})
    assert open_dataset(str(root)).labels == ("1", "10", "2")
    (root / "labels.txt").write_text("1\n2\n10\n")
    data = open_dataset(str(root), holdout=NOTHING_HELD)
    assert data.labels == ("1", "2", "10")
    assert [data.labels[i] for i in data.splits["train"].labels] == ["1"] * 4 + ["2"] * 4 + ["10"] * 4


def test_a_zip_of_the_folder_is_the_same_data(pictures, tmp_path):
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(pictures.rglob("*.png")):
            opened.write(path, f"pictures/{path.relative_to(pictures)}")
        opened.writestr("__MACOSX/pictures/vertical/._000.png", b"x")
    zipped, plain = open_dataset(str(archive)), open_dataset(str(pictures))
    assert zipped.fingerprint == plain.fingerprint
    assert reopen(zipped.describe()).fingerprint == plain.fingerprint


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a\\..\\..\\evil.png"])
def test_a_zip_that_reaches_outside_itself_is_refused(tmp_path, name):
    archive = tmp_path / "d.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a/1.png", b"x")
        opened.writestr(name, b"x")
    with pytest.raises(DataError, match="asks for a path outside itself"):
        open_dataset(str(archive))
    assert not list(tmp_path.rglob("evil.png"))


def test_a_zip_with_a_link_is_refused(tmp_path):
    archive = tmp_path / "d.zip"
    link = zipfile.ZipInfo("a/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="asks for a path outside itself"):
        open_dataset(str(archive))


def test_a_zip_bomb_is_refused(tmp_path):
    archive = tmp_path / "d.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a/1.png", b"\0" * 50_000_000)
    with pytest.raises(DataError, match="compression bomb"):
        open_dataset(str(archive))


def test_a_truncated_zip_is_refused_and_leaves_nothing(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    archive = tmp_path / "d.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(pictures.rglob("*.png")):
            opened.write(path, path.relative_to(pictures))
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DataError, match="is not a whole zip"):
        open_dataset(str(archive))
    assert not list((tmp_path / "cache" / "zips").iterdir())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root, write: None, "there is no folder or zip"),
        (lambda root, write: root.mkdir(), "has no class folders"),
        (lambda root, write: write(root, {"only": 5}), "has only the class 'only'"),
        (lambda root, write: (write(root, {"a": 5}), (root / "b").mkdir()), "class 'b' of"),
        (lambda root, write: (root / "a").mkdir(parents=True), "has no pictures to train on"),
        (lambda root, write: write(root, {"train": 0, "other": 3}), "has both train/ and class folders beside it"),
    ],
)
def test_data_that_cannot_be_trained_on_is_named(tmp_path, write_pictures, make, sentence):
    make(tmp_path / "d", write_pictures)
    with pytest.raises(DataError) as caught:
        open_dataset(str(tmp_path / "d"))
    assert sentence in caught.value.what


@pytest.mark.parametrize("source", ["", "  "])
def test_no_name_at_all_is_no_data(source):
    with pytest.raises(DataError, match="no data was named"):
        open_dataset(source)


def test_a_folder_whose_name_is_no_text_is_data_like_any_other(tmp_path, write_pictures):
    root = tmp_path / os.fsdecode(b"caf\xe9")
    described = open_dataset(str(write_pictures(root, {"a": 5, "b": 5}))).describe()
    assert reopen(json.loads(json.dumps(described))).fingerprint == described["fingerprint"]


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "two\nlines"])
def test_a_class_that_could_not_be_a_label_is_refused_before_training(tmp_path, write_pictures, name):
    write_pictures(tmp_path / "d", {"a": 5, name: 5})
    with pytest.raises(EdgepressError, match="holds control characters or bytes that are no UTF-8") as caught:
        open_dataset(str(tmp_path / "d"))
    assert caught.value.remedy == "rename the class"


@pytest.mark.parametrize("described", [{}, {"source": "x", "fingerprint": "y", "holdout": {"odd": 1}}])
def test_a_description_that_says_nothing_is_refused(described):
    with pytest.raises(DataError, match="does not say which data it was trained on"):
        reopen(described)


def test_labels_that_disagree_with_the_folders_are_refused(pictures):
    (pictures / "labels.txt").write_text("horizontal\nvertcal\n")
    with pytest.raises(DataError, match=r"disagree about 'vertcal'"):
        open_dataset(str(pictures))


def test_data_that_changed_since_is_refused(pictures):
    described = open_dataset(str(pictures)).describe()
    (pictures / "vertical" / "000.png").unlink()
    with pytest.raises(DataError, match="is not what it was at training"):
        reopen(described)
