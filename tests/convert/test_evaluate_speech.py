"""Judging a spotter: on streams, in noise, and clip by clip."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.convert.conftest import SPOKEN, TONES, edgepress, say, utterance, write_wav

from edgepress_convert import bundle, spotting
from edgepress_convert import evaluate as evaluate_module
from edgepress_convert.evaluate import Evaluation, Request, evaluate
from edgepress_convert.evaluate_speech import SWEEP, StreamEvaluation
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.spot import Spotter

KEYS = {
    "clips", "recall", "per_keyword", "negative_hours", "false_alarms", "false_alarms_per_hour", "threshold",
    "cpu_s_per_audio_s", "model_bytes",
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`said/WORD`, and `other` with two tones among the noise that the spotter must fall for."""
    root = tmp_path_factory.mktemp("sound")
    say(root / "said", dict.fromkeys(TONES, 10), seed=21)
    write_wav(root / "said" / "ping" / "broken.wav", np.zeros(0))
    say(root, {"other/unknown": 6}, seed=22, seconds=4.0)
    rng = np.random.default_rng(23)
    for number in range(2):
        write_wav(root / "other" / f"trap{number}.wav", utterance("pong", rng, seconds=2.0))
    return root


@pytest.fixture(scope="module")
def judged(spotter_file: Path, sound: Path) -> StreamEvaluation:
    return evaluate(spotter_file, Request(positives=sound / "said", negatives=sound / "other"))


def test_words_found_and_false_alarms(judged: StreamEvaluation, spotter_file: Path) -> None:
    assert dataclasses.asdict(judged).keys() >= KEYS
    assert judged.clips == 20
    assert judged.recall >= 0.9
    assert judged.negative_hours == pytest.approx((6 * 4 + 2 * 2) / 3600)
    assert judged.false_alarms == 2
    assert judged.false_alarms_per_hour == pytest.approx(2 / judged.negative_hours)
    assert {Path(alarm["file"]).name for alarm in judged.alarms} == {"trap0.wav", "trap1.wav"}
    assert [judged.per_keyword[word]["false_alarms"] for word in TONES] == [0, 2]
    assert judged.threshold == open_bundle(spotter_file).manifest.thresholds
    assert judged.repeats == 0
    assert judged.cpu_s_per_audio_s > 0
    assert -400 < judged.latency_ms["p50"] < 600
    assert [Path(item.path).name for item in judged.skipped] == ["broken.wav"]
    assert json.loads(json.dumps(dataclasses.asdict(judged), allow_nan=False))["clips"] == 20
    assert len(judged.missed) == round((1 - judged.recall) * 20)


def test_the_sweep_holds_what_shipped_and_falls_both_ways(judged: StreamEvaluation) -> None:
    assert [point["threshold"] for point in judged.det] == list(SWEEP)
    recalls = [point["recall"] for point in judged.det]
    assert recalls == sorted(recalls, reverse=True)
    alarms = [point["false_alarms"] for point in judged.det]
    low, high = min(judged.threshold.values()), max(judged.threshold.values())
    below = [p for p in judged.det if p["threshold"] <= low][-1]
    above = next(p for p in judged.det if p["threshold"] >= high)
    assert below["recall"] >= judged.recall >= above["recall"]
    assert below["false_alarms"] >= judged.false_alarms >= above["false_alarms"]
    assert alarms[0] > alarms[-1]


def test_it_is_what_the_spotter_itself_reports(judged: StreamEvaluation, spotter_file: Path, sound: Path) -> None:
    from edgepress_runtime.audio import load

    opened = open_bundle(spotter_file)
    found = 0
    with open_engine(opened.model_source, threads=1) as engine:
        spotter = Spotter(engine, opened.manifest)
        for word in TONES:
            for path in sorted((sound / "said" / word).glob("[0-9]*.wav")):
                spotter.begin()
                heard = spotter.push(np.pad(load(path, spotter.rate_hz), (0, spotter.window_samples)))
                found += any(detection.label == word for detection in heard)
    assert found == round(judged.recall * judged.clips)


def test_replaying_scores_reports_what_was_reported(spotter_file: Path, sound: Path) -> None:
    opened = open_bundle(spotter_file)
    with open_engine(opened.model_source, threads=1) as engine:
        listener = spotting.Listener(engine, opened.manifest)
        for path in sorted((sound / "other").rglob("*.wav")):
            (_, samples), *_ = spotting.load_each([path], 16_000, [])
            heard = listener.hear(samples)
            assert listener.replay(heard.rows, opened.manifest.thresholds) == [d.label for d in heard.detections]
            assert len(heard.averages) == len(heard.rows)


def test_noise_costs_words_and_the_same_seed_the_same_ones(spotter_file: Path, sound: Path) -> None:
    said = sound / "said"
    mild, again, harsh = (
        evaluate(spotter_file, Request(positives=said, noise="white", snr_db=snr)) for snr in (30.0, 30.0, -30.0)
    )
    assert mild.recall == again.recall > harsh.recall
    assert mild.example == again.example != harsh.example
    assert (mild.false_alarms, mild.false_alarms_per_hour, mild.negative_hours) == (None, None, 0)
    assert mild.data["noise"] == {"kind": "white", "snr_db": 30.0, "seed": 0}
    assert all(point["false_alarms"] is None for point in mild.det)


def test_clip_by_clip_like_a_classifier(spotter_file: Path, tmp_path: Path) -> None:
    say(tmp_path / "clips", dict.fromkeys(SPOKEN, 8), seed=31, seconds=0.45)
    write_wav(tmp_path / "clips" / "ping" / "empty.wav", np.zeros(0))
    result = evaluate(spotter_file, str(tmp_path / "clips"))
    assert isinstance(result, Evaluation)
    assert (result.n, result.data["split"], result.data["kind"]) == (24, "all", "clips")
    assert result.top1 > 0.9
    assert len(result.skipped) == 1
    shutil.move(tmp_path / "clips" / "ping", tmp_path / "clips" / "zing")
    with pytest.raises(EdgepressError, match="has labels that the bundle does not know: zing"):
        evaluate(spotter_file, str(tmp_path / "clips"))


def test_clips_of_the_only_keyword_may_lie_directly_in_the_folder(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.ones(10))
    assert spotting.find_positives(tmp_path, ("ping",)) == {"ping": (tmp_path / "a.wav",)}
    with pytest.raises(EdgepressError, match="holds clips, but the bundle knows 2 keywords: ping, pong"):
        spotting.find_positives(tmp_path, ("ping", "pong"))
    (tmp_path / "sub").mkdir()
    with pytest.raises(EdgepressError, match="holds no sound; the bundle spots ping"):
        spotting.find_positives(tmp_path / "sub", ("ping",))
    write_wav(tmp_path / "sub" / "pang" / "b.wav", np.ones(10))
    with pytest.raises(EdgepressError, match="has the folder 'pang'; the bundle spots ping"):
        spotting.find_positives(tmp_path / "sub", ("ping",))


def test_the_only_keyword_needs_no_folder_and_its_threshold_is_a_number(
    spotter_file: Path, sound: Path, tmp_path: Path
) -> None:
    whole = open_bundle(spotter_file)
    golden = whole.golden()
    bundle.pack(
        tmp_path / "ping.edge",
        bytes(whole.model),
        name="ping",
        task=whole.manifest.task,
        labels=whole.manifest.labels,
        preprocessing=whole.manifest.preprocessing,
        golden=bundle.Golden(golden.inputs, golden.outputs, len(golden)),
        created="2026-11-25T00:00:00+00:00",
        thresholds={"ping": 0.7},
        detection=whole.manifest.detection,
    )
    found = evaluate(tmp_path / "ping.edge", Request(positives=sound / "said" / "ping", negatives=sound / "other"))
    assert (found.clips, found.threshold, list(found.per_keyword)) == (10, 0.7, ["ping"])
    assert found.recall == 1.0
    assert {alarm["keyword"] for alarm in found.alarms} <= {"ping"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "evaluate needs one of --data and --positives or --negatives"),
        ({"data": "d", "positives": Path("p")}, "evaluate needs one of --data and --positives or --negatives"),
        ({"positives": Path("p"), "noise": "white"}, "--noise and --snr go together, with --positives"),
        ({"negatives": Path("n"), "noise": "white", "snr_db": 10.0}, "--noise and --snr go together, with --positives"),
        ({"positives": Path("p"), "noise": "white", "snr_db": float("nan")}, "--snr nan is outside -60 to 100 dB"),
    ],
)
def test_requests_that_cannot_be(options: dict, sentence: str) -> None:
    with pytest.raises(EdgepressError) as caught:
        Request(**options)
    assert caught.value.what == sentence


def test_wrong_material_is_one_sentence(spotter_file: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgepressError, match="gone does not exist"):
        evaluate(spotter_file, Request(negatives=tmp_path / "gone"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(EdgepressError, match="empty holds no sound"):
        evaluate(spotter_file, Request(negatives=tmp_path / "empty"))
    write_wav(tmp_path / "none" / "a.wav", np.zeros(0))
    with pytest.raises(EdgepressError, match="none of the recordings can be read"):
        evaluate(spotter_file, Request(negatives=tmp_path / "none"))


def test_every_task_has_a_judge() -> None:
    from edgepress_runtime.manifest import TASKS

    assert evaluate_module.TASKS.keys() == set(TASKS)


def test_as_a_command(spotter_file: Path, sound: Path) -> None:
    done = edgepress("evaluate", spotter_file, "--positives", sound / "said", "--negatives", sound / "other", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).keys() >= KEYS
    shown = edgepress("evaluate", spotter_file, "--positives", sound / "said", "--noise", "white", "--snr", "20")
    assert shown.returncode == 0, shown.stderr
    assert "of 20 clips in noise, 20 dB below the voice" in shown.stdout
    assert "CPU seconds a second of sound" in shown.stdout
