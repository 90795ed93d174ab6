"""The measurement in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.convert.conftest import edgepress

from edgepress_convert.bench import bench
from edgepress_runtime.errors import EdgepressError

KEYS = {
    "latency_ms", "first_ms", "load_ms", "peak_rss_mb", "overhead_ratio", "energy_mj", "power_source", "threads",
    "engine", "machine",
}  # fmt: skip


def test_the_keys_of_the_contract(bundle_file: Path) -> None:
    done = edgepress("bench", bundle_file, "--runs", 20, "--threads", 1, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result.keys() >= KEYS
    assert (result["latency_ms"]["n"], result["threads"]) == (20, 1)
    assert result["energy_mj"] is None
    assert result["peak_rss_mb"] < 200  # with TensorFlow it would be three times that


def test_the_child_s_sentence_is_ours(tmp_path: Path) -> None:
    (tmp_path / "x.edge").write_bytes(b"nothing")
    with pytest.raises(EdgepressError) as caught:
        bench(tmp_path / "x.edge")
    assert caught.value.what == "x.edge is not an edgepress bundle"
    assert caught.value.remedy == "make one with: edgepress convert RUN --out X.edge"
