"""The whole way on a few pictures: what the demo promises, looked at from outside."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.convert.conftest import edgepress

from edgepress_convert import demo
from edgepress_convert.local_board import device
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.errors import EdgepressError
from edgepress_train.config import TrainConfig


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TrainConfig:
    """Stripes across and upright, which a tiny net learns in seconds and its int8 form tells apart as well."""
    root = tmp_path_factory.mktemp("data") / "stripes"
    rng = np.random.default_rng(0)
    for label in ("across", "upright"):
        (root / label).mkdir(parents=True)
        for number in range(40):
            wave = 128 + 90 * np.sin(np.arange(16) * 0.9 + rng.uniform(0, 6))
            plane = np.broadcast_to(wave if label == "upright" else wave[:, np.newaxis], (16, 16))
            pixels = np.clip(plane + rng.normal(0, 8, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number:02}.png")
    arch = "resnet:widths=8-8:blocks=1"
    return TrainConfig(
        data=str(root), out=Path(), arch=arch, size=(16, 16), channels=1, epochs=10, batch=8, lr=0.01, augment="none"
    )


@pytest.fixture(scope="module")
def first(config, tmp_path_factory) -> dict:
    return demo.run_demo(tmp_path_factory.mktemp("demo") / "out", config=config, parts=("image",), runs=20)


def test_it_gives_the_promised_keys(first):
    assert {"image", "speech", "report"} <= first.keys()
    image = first["image"]
    promised = {"bundle", "float_metric", "int8_metric", "float_bytes", "int8_bytes", "latency_ms_p50"}
    assert promised <= image.keys()
    assert first["speech"] is None
    assert json.loads(json.dumps(first)) == first
    assert image["float_metric"] == image["int8_metric"] == 1.0
    assert image["n"] == 20  # a quarter of 80
    assert image["int8_bytes"] == len(open_bundle(image["bundle"]).model) < image["float_bytes"]
    assert image["latency_ms_p50"] > 0


def test_the_board_root_holds_the_very_bundle(first):
    (model,) = device("list", root=Path(first["image"]["board"]["root"]))["models"]
    assert model["installed"] == open_bundle(first["image"]["bundle"]).digest
    assert model["problem"] is None
    assert first["image"]["board"]["selftest"]["cases"] == first["image"]["board"]["selftest"]["exact"] > 0


def test_the_board_saw_held_out_photos_only(first, config):
    folder = Path(first["report"]).parent / "photos"
    shown = {path.read_bytes() for path in folder.iterdir()}
    counts = json.loads((folder.parent / "run/run.json").read_text(encoding="utf-8"))["data"]["counts"]
    assert len(shown) == first["image"]["board"]["photos"] == first["image"]["board"]["right"] == 16
    assert counts["test"] == 20
    from edgepress_train.data.sources import open_dataset

    held_out = {path.read_bytes() for path in open_dataset(config.data).splits["test"].paths}
    assert shown <= held_out


def test_the_report_is_about_both_models(first):
    text = Path(first["report"]).read_text(encoding="utf-8")
    assert "stripes-float32" in text
    assert text.count("<img ") >= 8
    assert text.count("<svg ") >= 5


def test_again_only_the_board_is_asked(first, config):
    folder = Path(first["report"]).parent
    again = demo.run_demo(folder, config=config, parts=("image",), runs=20)
    assert [step["reused"] for step in again["steps"]] == [True] * 5 + [False] * 5
    assert open_bundle(again["image"]["bundle"]).digest == open_bundle(first["image"]["bundle"]).digest
    assert again["image"]["int8_metric"] == first["image"]["int8_metric"]


def test_another_configuration_is_another_training(first):
    from edgepress_train import run

    path = Path(first["report"]).parent / "run"
    found = run.load(path)
    assert run.finished(path, found.config) == found
    assert run.finished(path, {**found.config, "epochs": 5}) is None
    assert run.finished(path.parent, found.config) is None


def test_a_folder_of_something_else_is_refused(tmp_path, config):
    (tmp_path / "letter.txt").write_text("dear", encoding="utf-8")
    done = edgepress("demo", "--out", tmp_path, "--force")
    assert done.returncode == 1
    assert f"error: {tmp_path} exists and was not made by this command" in done.stderr
    assert (tmp_path / "letter.txt").exists()


def test_the_board_s_own_sentence_comes_through(tmp_path):
    (tmp_path / "x.edge").write_bytes(b"nonsense")
    with pytest.raises(EdgepressError) as caught:
        device("install", tmp_path / "x.edge", root=tmp_path / "board")
    assert caught.value.what.startswith("x.edge")
    with pytest.raises(EdgepressError, match="no model is installed") as caught:
        device("bench", root=tmp_path / "board")
    assert "edgepress-device install" in caught.value.remedy


def test_a_config_keeps_its_own_values(config, first):
    stored = json.loads((Path(first["report"]).parent / "run/run.json").read_text(encoding="utf-8"))["config"]
    given = dataclasses.asdict(config)
    assert {k: v for k, v in stored.items() if k not in ("out", "size")} == {
        k: v for k, v in given.items() if k not in ("out", "size")
    }
