from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgepress_runtime.image import load_pixels
from edgepress_runtime.manifest import ImageSpec
from edgepress_train.data import pixels
from edgepress_train.data.dataset import DataError, Holdout
from edgepress_train.data.sources import open_dataset

SPEC = ImageSpec(16, 20, 3, (0.0,) * 3, (1.0,) * 3)


def everything(root):
    return open_dataset(str(root), holdout=Holdout(0, 0.0, 0.0)).splits["train"]


def test_pixels_are_those_of_the_board(pictures):
    split = everything(pictures)
    found, kept, skipped = pixels.load_split(split, SPEC)
    assert (found.shape, found.dtype, skipped, kept.paths) == ((80, 16, 20, 3), np.uint8, (), split.paths)
    for index in (0, 41, 79):
        assert np.array_equal(found[index], load_pixels(split.paths[index], SPEC))


def test_broken_files_are_named_and_the_rest_stays_aligned(pictures):
    whole = (pictures / "vertical" / "005.png").read_bytes()
    (pictures / "vertical" / "005.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "horizontal" / "000.png").write_bytes(b"not a picture")
    Image.new("CMYK", (30, 30), (0, 255, 255, 0)).save(pictures / "vertical" / "cmyk.jpg")
    found, kept, skipped = pixels.load_split(everything(pictures), SPEC)
    assert {item.path.rsplit("/", 2)[1] + "/" + item.path.rsplit("/", 1)[1] for item in skipped} == {
        "vertical/005.png",
        "horizontal/000.png",
    }
    assert len(found) == len(kept) == 79
    for path, label, picture in zip(kept.paths, kept.labels, found, strict=True):
        assert label == (path.parent.name == "vertical")
        assert np.array_equal(picture, load_pixels(path, SPEC))


def test_a_second_reading_comes_from_the_cache_and_a_changed_file_does_not(pictures, monkeypatch):
    split = everything(pictures)
    pixels.load_split(split, SPEC)
    calls = []
    monkeypatch.setattr(pixels, "load_pixels", lambda path, spec: calls.append(path) or load_pixels(path, spec))
    again, _, _ = pixels.load_split(split, SPEC)
    assert not calls and len(again) == 80
    Image.new("RGB", (9, 9)).save(split.paths[3])
    changed, _, _ = pixels.load_split(split, SPEC)
    assert len(calls) == 80 and not changed[3].any()


def test_nothing_decodable_is_an_error(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "d" / name).mkdir(parents=True)
        (tmp_path / "d" / name / "1.jpg").write_bytes(b"junk")
    with pytest.raises(DataError, match="none of 2 pictures can be decoded"):
        pixels.load_split(everything(tmp_path / "d"), SPEC)
