"""Looking into files."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepress_convert.inspect import inspect
from edgepress_runtime.errors import EdgepressError

KEYS = {"bytes", "params", "macs", "arena_bytes", "sparsity", "ops", "input", "output"}


def test_a_bundle_and_its_model_have_the_same_facts(bundle_file: Path, made: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(made["int8"])
    bare, packed = inspect(tmp_path / "x.tflite"), inspect(bundle_file)
    assert bare.keys() >= KEYS
    assert {key: packed[key] for key in bare} == bare
    assert packed["manifest"]["name"] == "colours"
    assert bare["ops"] == {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "MEAN": 1, "SOFTMAX": 1}


def test_a_bundle_under_another_name(bundle_file: Path, tmp_path: Path) -> None:
    (tmp_path / "download").write_bytes(bundle_file.read_bytes())
    assert inspect(tmp_path / "download")["manifest"]["name"] == "colours"


def test_an_altered_bundle(bundle_file: Path, tmp_path: Path) -> None:
    data = bytearray(bundle_file.read_bytes())
    data[-2000] ^= 1
    (tmp_path / "x.edge").write_bytes(data)
    with pytest.raises(EdgepressError, match=r"x\.edge"):
        inspect(tmp_path / "x.edge")
