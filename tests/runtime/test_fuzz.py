"""Five hundred mutated bundles in every test run; `benchmarks/fuzz_bundles.py` runs ten thousand."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def test_mutated_bundles(tmp_path, monkeypatch):
    path = Path(__file__).parents[2] / "benchmarks" / "fuzz_bundles.py"
    spec = importlib.util.spec_from_file_location("fuzz_bundles", path)
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    counts = fuzz.run(tmp_path, cases=500, seed=500)
    assert counts["refused"] > 400
    assert counts["opened"] > 10
    assert sum(counts.values()) == 500
