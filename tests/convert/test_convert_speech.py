"""From the RUN of a spotter to a bundle that hears: streaming, proven, with thresholds chosen through the spotter."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.convert.conftest import SPOKEN, TONES, WINDOW_FRAMES, convert_here, utterance

from edgepress_convert import convert_speech, importers, quantize
from edgepress_convert.convert import ConvertConfig, convert
from edgepress_convert.examples import Examples
from edgepress_convert.inspect import inspect
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.selftest import self_test
from edgepress_runtime.spot import Spotter


def test_the_bundle_streams_and_says_how_it_was_made(spotter_file: Path) -> None:
    bundle = open_bundle(spotter_file)
    manifest = bundle.manifest
    assert (manifest.task, manifest.labels, set(manifest.thresholds)) == ("keyword-spotting", SPOKEN, set(TONES))
    assert manifest.detection.window_frames == WINDOW_FRAMES
    assert manifest.inputs[0].shape == (1, 2, 12, 1)
    assert len(manifest.inputs) == len(manifest.outputs) > 2
    assert manifest.metrics["val"]["model_top1"] >= manifest.metrics["val"]["float_top1"] - 0.02
    assert manifest.metrics["val"]["data"] == {"name": "tones", "fingerprint": "5" * 64}
    assert manifest.recipe["stream"]["steps_compared"] > WINDOW_FRAMES
    found = manifest.metrics["spotting"]
    assert found["chosen_on"] == "validation sound"
    assert found["negative_hours"] == pytest.approx(12 * 3 / 3600)
    assert (found["false_alarms"], found["clips"], found["wanted_false_alarms_per_hour"]) == (0, 16, 0.5)
    assert found["recall"] > 0.9
    for word, row in found["per_keyword"].items():
        assert row["clips"] == 8
        assert row["threshold"] == manifest.thresholds[word] == found["thresholds"][word]
        assert row["rule"].startswith("no false alarm, and 25 % of the way")
    assert found["at_most_per_hour"] == pytest.approx(2.996 / found["negative_hours"], rel=1e-3)


def test_its_golden_cases_are_one_stream_longer_than_the_window(spotter_file: Path) -> None:
    bundle = open_bundle(spotter_file)
    golden = bundle.golden()
    assert golden.inputs.shape == (WINDOW_FRAMES // 2 + 8, 2, 12, 1)
    assert len(set(golden.outputs.argmax(axis=1))) > 1  # words are in it, not silence alone
    for xnnpack in (True, False):
        with open_engine(bundle.model_source, threads=1, xnnpack=xnnpack) as engine:
            assert self_test(bundle, engine).ok


def test_it_hears_its_words(spotter_file: Path) -> None:
    bundle = open_bundle(spotter_file)
    rng = np.random.default_rng(99)
    with open_engine(bundle.model_source, threads=1) as engine:
        spotter = Spotter(engine, bundle.manifest)
        for word in (*TONES, "unknown") * 3:
            spotter.begin()
            sound = np.concatenate([utterance(word, rng), np.zeros(16_000, np.int16)])
            assert [d.label for d in spotter.push(sound)] == ([word] if word in TONES else [])


def test_what_was_taught_by_synthetic_voices_alone_is_averaged_longer(speech_run: Path) -> None:
    source = importers.read(speech_run, importers.Hints())
    spoken = dataclasses.replace(source, recipe={**source.recipe, "data": {"source": "synthetic speech"}})
    assert convert_speech.smoothing_ms(source) == 200 < convert_speech.smoothing_ms(spoken) == 400


def test_inspect_tells_of_steps_and_states(spotter_file: Path) -> None:
    found = inspect(spotter_file)
    stream = found["stream"]
    assert (stream["step_frames"], stream["step_ms"]) == (2, 40.0)
    assert stream["macs_per_s"] == round(found["macs"] * 25)
    assert stream["state_bytes"] == sum(np.prod(state["shape"]) for state in stream["states"])
    assert [state["name"] for state in stream["states"]] == [f"state_{i}" for i in range(1, len(found["inputs"]))]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The converter in this process: what it does in a child is tested elsewhere."""
    monkeypatch.setattr(quantize, "convert", convert_here)


def test_without_sound_thresholds_come_from_windows_and_it_says_so(
    speech_run: Path, tmp_path: Path, quick: None
) -> None:
    run = shutil.copytree(speech_run, tmp_path / "quiet", ignore=shutil.ignore_patterns("validation"))
    out = tmp_path / "x.edge"
    result = convert(ConvertConfig(run, out, quantize="float32", smoothing_ms=0, refractory_ms=500))
    assert result.spotting["chosen_on"] == "validation windows"
    assert result.spotting["windows"] == 120
    assert "false_alarms" not in result.spotting
    assert json.loads(json.dumps(dataclasses.asdict(result), allow_nan=False))["spotting"] == result.spotting
    manifest = open_bundle(out).manifest
    assert all(0.2 <= value < 0.99 for value in manifest.thresholds.values())
    assert (manifest.detection.smoothing_ms, manifest.detection.refractory_ms) == (0, 500)
    assert manifest.inputs[0].dtype == "float32"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"quantize": "dynamic"}, "dynamic measures the range of a whole window, and a stream has none"),
        ({"false_alarms_per_hour": 0.0}, "--false-alarms-per-hour is 0, but must be above 0 and at most 1000"),
    ],
)
def test_settings_that_cannot_be(speech_run: Path, tmp_path: Path, change: dict, sentence: str) -> None:
    with pytest.raises(EdgepressError) as caught:
        convert(ConvertConfig(speech_run, tmp_path / "x.edge", **change))
    assert caught.value.what == sentence
    assert not list(tmp_path.iterdir())


def test_settings_of_spotters_are_refused_for_pictures(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgepressError, match="--false-alarms-per-hour is about keyword spotters"):
        convert(ConvertConfig(run_folder, tmp_path / "x.edge", false_alarms_per_hour=0.5))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"PK\x03\x04 not a zip"), "cannot be read"),
        (lambda path: np.savez(path, train_features=np.zeros(3)), "cannot be read"),
        (
            lambda path: np.savez(path, val_features=np.zeros((9, 20, 12), np.float16), val_labels=np.zeros(9)),
            r"holds val features of \[9, 20, 12\], the model takes \[24, 12\]",
        ),
        (
            lambda path: np.savez(path, val_features=np.zeros((0, 24, 12), np.float16), val_labels=np.zeros(0)),
            "has no validation windows, so nothing can be verified",
        ),
    ],
)
def test_a_run_without_its_examples(speech_run: Path, tmp_path: Path, damage, sentence: str) -> None:
    run = shutil.copytree(speech_run, tmp_path / "run", ignore=shutil.ignore_patterns("validation"))
    damage(run / "features.npz")
    with pytest.raises(EdgepressError, match=sentence):
        convert(ConvertConfig(run, tmp_path / "x.edge"))


def test_a_stream_with_other_scores_is_refused(spotter_net, tmp_path: Path) -> None:
    from edgepress_convert.streaming import stream

    frames = np.random.default_rng(0).normal(size=(6, WINDOW_FRAMES, 12)).astype(np.float16)
    held = Examples(frames, lambda part: part.astype(np.float32)[..., np.newaxis], None, "windows")
    whole = convert_here(spotter_net, ("float32",))["float32"]
    assert convert_speech.prove(whole, stream(whole), held) > WINDOW_FRAMES
    weights = spotter_net.get_layer("head").get_weights()
    try:
        spotter_net.get_layer("head").set_weights([weights[0] * 1.01, weights[1]])
        other = convert_here(spotter_net, ("float32",))["float32"]
    finally:
        spotter_net.get_layer("head").set_weights(weights)
    with pytest.raises(EdgepressError, match="the streaming model's scores are not those of the whole window"):
        convert_speech.prove(whole, stream(other), held)
