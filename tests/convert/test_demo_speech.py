"""The speech half of the demo on a few clips: one word, spoken by small engines, all the way to a board root."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgepress_convert import demo
from edgepress_convert.local_board import device
from edgepress_runtime.bundle import open_bundle
from edgepress_train.config import SpeechConfig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> dict:
    pytest.importorskip("hibari")
    pytest.importorskip("py_nanotts")
    pytest.importorskip("soundfile")
    config = SpeechConfig(
        out=Path(), words="computer", arch="ds-tcn:width=24", clips=60, voices="hibari,pico", copies=4, epochs=15,
        sound="speed:0.1, tempo:0.1, formant:0.1, gain:-12..6", augment="stretch:0.2, bands:0.1, equalize:0.3",
    )  # fmt: skip
    return demo.run_demo(tmp_path_factory.mktemp("demo") / "out", speech=config, parts=("speech",), runs=20)


def test_it_gives_the_promised_keys(first):
    assert first["image"] is None and json.loads(json.dumps(first)) == first
    speech = first["speech"]
    promised = {"bundle", "float_metric", "int8_metric", "float_bytes", "int8_bytes", "latency_ms_p50"}
    assert promised <= speech.keys()
    assert speech["labels"] == ["computer", "unknown"] and speech["n"] > 20
    assert speech["int8_metric"] > 0.7 and speech["int8_metric"] > speech["float_metric"] - 0.05
    assert speech["int8_bytes"] < speech["float_bytes"] and speech["latency_ms_p50"] > 0
    assert 0 < speech["cpu_s_per_audio_s"] < 1


def test_the_board_root_holds_the_very_bundle_and_hears(first):
    root = Path(first["report"]).parent / "board"
    (model,) = device("list", root=root)["models"]
    manifest = open_bundle(first["speech"]["bundle"])
    assert model["installed"] == manifest.digest
    board = first["speech"]["board"]
    assert board["selftest"]["cases"] == board["selftest"]["exact"] > 0 and board["clips"] > 0
    assert manifest.manifest.task == "keyword-spotting" and set(manifest.manifest.thresholds) == {"computer"}


def test_the_voices_that_validate_did_not_train(first):
    kept = json.loads((Path(first["report"]).parent / "run-speech" / "run.json").read_text(encoding="utf-8"))
    assert kept["data"]["source"] == "synthetic speech" and kept["data"]["speakers"] >= 2
    assert (Path(first["report"]).parent / "run-speech" / "validation" / "negatives").is_dir()


def test_a_second_call_trains_and_converts_nothing_again(first):
    folder = Path(first["report"]).parent
    config = json.loads((folder / "run-speech" / "config.json").read_text(encoding="utf-8"))
    again = demo.run_demo(folder, speech=SpeechConfig(**{**config, "out": Path()}), parts=("speech",), runs=20)
    reused = [step["step"] for step in again["steps"] if step["reused"]]
    assert len(reused) == 3 and again["speech"]["int8_bytes"] == first["speech"]["int8_bytes"]
