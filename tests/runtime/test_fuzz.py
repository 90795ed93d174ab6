"""Mutated bundles: five hundred in every test run, the ten thousand of `benchmarks/fuzz_bundles.py` among the slow."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest


@pytest.mark.parametrize("cases", [500, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("sign", [False, True], ids=["open board", "board that checks signatures"])
def test_mutated_bundles(tmp_path, monkeypatch, cases, sign):
    path = Path(__file__).parents[2] / "benchmarks" / "fuzz_bundles.py"
    spec = importlib.util.spec_from_file_location("fuzz_bundles", path)
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    counts = fuzz.run(tmp_path, cases=cases, seed=500, sign=sign)
    assert counts["refused"] > 0.8 * cases
    assert counts["opened"] > 0.02 * cases
    assert sum(counts.values()) == cases
