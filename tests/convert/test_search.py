"""A whole search on a small run: what it begins with, what it keeps, and that it goes on where it was."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from tests.convert.conftest import convert_here
from tests.convert.test_compress import colour_run  # noqa: F401  (a fixture)

from edgepress_convert import quantize
from edgepress_convert.compress.chain import CompressConfig, compress
from edgepress_convert.convert import ConvertConfig, convert
from edgepress_convert.search import search as searching
from edgepress_convert.search import study as studies
from edgepress_convert.search.front import Limits, dominates
from edgepress_convert.search.search import SearchConfig, search
from edgepress_convert.search.space import Space
from edgepress_runtime.errors import EdgepressError
from edgepress_train import run


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "convert", convert_here)
    monkeypatch.setattr(searching, "Space", lambda epochs, criteria: Space(epochs, ("prune-channels",), criteria))
    monkeypatch.setattr(searching, "PROXY_STEPS", 2)


@pytest.fixture
def config(colour_run, tmp_path) -> SearchConfig:  # noqa: F811
    return SearchConfig(colour_run, tmp_path / "search", Limits(max_drop=40.0), minutes=5, trials=6, epochs=1)


def test_a_search_finds_a_smaller_model_and_can_be_gone_on_with(config, tmp_path):
    found = search(config, command=["edgepress", "search"])
    assert found.trials["complete"] + found.trials["fail"] == 6
    assert [point.recipe for point in found.tried[:2]] == [
        "none",
        "prune-channels:0.3:criterion=taylor:epochs=0,finetune:epochs=1",
    ]
    assert found.tried[0].bytes == found.start["bytes"]
    assert found.tried[0].top1 == found.start["top1"]
    assert min(point.bytes for point in found.tried) < found.start["bytes"]
    shown = {row["number"]: row for row in found.pareto}
    worth = [point for point in found.tried if point.number in shown]
    for point in found.tried:
        assert point in worth or any(dominates(better, point) for better in worth)
    for point in worth:
        row = shown[point.number]
        assert row["metric"] == point.top1
        assert Path(row["path"]).stat().st_size == row["bytes"] == point.bytes
    assert (found.source, found.options) == (str(config.source), ())
    assert found.latency_on == "this machine"
    kept = json.loads((config.out / "search.json").read_text())
    assert kept == json.loads(json.dumps(dataclasses.asdict(found)))

    made = run.load(config.out / "best")
    assert made.compress["recipe"] == found.best.recipe
    converted = convert(ConvertConfig(config.out / "best", tmp_path / "best.edge"))
    assert converted.bytes == found.best.bytes

    more = search(dataclasses.replace(config, trials=8))
    assert more.trials["complete"] + more.trials["fail"] == 8
    assert more.tried[: len(found.tried)] == found.tried


@pytest.mark.slow
def test_what_a_search_found_can_be_made_again_by_compress(config, tmp_path):
    found = search(config)
    point = next(point for point in found.tried if point.recipe != "none")
    again = compress(CompressConfig(config.source, tmp_path / "again", point.recipe))
    assert again.total.after.top1 == point.top1
    assert again.total.after.bytes == point.bytes


def test_limits_that_nothing_meets_are_told(config):
    found = search(dataclasses.replace(config, limits=Limits(max_bytes=10), trials=1))
    assert (found.best, found.run) == (None, None)
    assert not (config.out / "best").exists()


def test_a_recipe_that_fails_fails_alone(config, monkeypatch):
    real = searching.climb

    def fails_on_pruning(begun, steps, **rest):
        if steps and steps[0].value == 0.3:
            raise EdgepressError("this pass cannot")
        return real(begun, steps, **rest)

    monkeypatch.setattr(searching, "climb", fails_on_pruning)
    found = search(dataclasses.replace(config, trials=3))
    assert found.trials["complete"] + found.trials["fail"] == 3
    study = studies.connect(found.storage, "edgepress", seed=0)
    failed = [t.user_attrs["stopped"] for t in study.get_trials() if t.state.name == "FAIL"]
    assert failed[0] == "this pass cannot"
    # this net has three layers, and cannot lose as much as every search tries first
    assert all(why == "this pass cannot" or "can remove at most" in why for why in failed)


def test_a_folder_of_something_else_is_refused(config):
    config.out.mkdir()
    (config.out / "photo.jpg").touch()
    with pytest.raises(EdgepressError, match="exists and is no search"):
        search(config)
