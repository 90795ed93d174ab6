from __future__ import annotations

import dataclasses
import json
import wave
from pathlib import Path

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_train import config as config_module
from edgepress_train import lessons, run, train_speech
from edgepress_train.config import SpeechConfig
from edgepress_train.data import recordings, speech_material
from edgepress_train.data.dataset import DataError, Holdout
from edgepress_train.data.speech_examples import Clip, Cut, extract

RATE = 16_000


def chirp(rng: np.random.Generator, *, rising: bool) -> np.ndarray:
    """A whistle of a third of a second, up or down, somewhere in a second of faint noise."""
    length = RATE // 3
    sweep = np.linspace(600, 1800, length)[:: 1 if rising else -1] * rng.uniform(0.9, 1.1)
    samples = rng.normal(0, 10, RATE)
    start = int(rng.integers(500, RATE - length - 500))
    samples[start : start + length] += rng.uniform(1000, 8000) * np.sin(2 * np.pi * np.cumsum(sweep) / RATE)
    return samples.astype(np.int16)


def write(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())


@pytest.fixture(scope="session")
def whistles(tmp_path_factory) -> Path:
    """Two words that differ in the order of their tones only, and noise that is neither."""
    root, rng = tmp_path_factory.mktemp("whistles"), np.random.default_rng(0)
    for number in range(30):
        write(root / "up" / f"{number:02d}.wav", chirp(rng, rising=True))
        write(root / "down" / f"{number:02d}.wav", chirp(rng, rising=False))
    for number in range(12):
        write(root / "unknown" / f"{number:02d}.wav", rng.normal(0, 10 ** rng.uniform(1, 3), 2 * RATE))
    return root


def config(data, out, **changes) -> SpeechConfig:
    plain = SpeechConfig(
        out=out, data=str(data), arch="ds-tcn:width=16:kernels=3-5", window_s=0.6, bands=20, high_hz=3800.0,
        copies=3, sound="speed:0.05, gain:-6..6", augment="mask-bands:2", epochs=12, batch=32, lr=0.01,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


@pytest.fixture(scope="module")
def trained(whistles, tmp_path_factory):
    out = tmp_path_factory.mktemp("speech") / "run"
    return train_speech.train(config(whistles, out), command=["edgepress", "train", "speech"])


def test_a_run_folder_tells_all_and_its_model_works_on_new_recordings(trained, whistles):
    again = run.load(trained.path)
    assert again == trained and again.task == "keyword-spotting"
    assert again.labels == ("down", "unknown", "up") and again.metrics["val"]["top1"] >= 0.9
    spec = again.preprocessing
    assert (spec.rate_hz, spec.window, spec.hop, spec.bands) == (RATE, 480, 320, 20)
    model = run.load_model(again)
    rng = np.random.default_rng(7)
    clips = [Clip(chirp(rng, rising=bool(number % 2)), number % 2) for number in range(20)]
    windows, rising = extract(clips, Cut(spec, model.input_shape[1]), workers=1)
    scores = model(windows.astype(np.float32)[..., np.newaxis]).numpy()
    answers = [again.labels[index] for index in scores.argmax(axis=1)]
    assert sum(answer == ("up" if up else "down") for answer, up in zip(answers, rising, strict=True)) >= 17


def test_the_run_keeps_examples_as_the_net_takes_them(trained):
    with np.load(trained.path / "features.npz") as kept:
        assert set(kept.files) == {"train_features", "train_labels", "val_features", "val_labels"}
        frames = run.load_model(trained).input_shape[1]
        assert kept["train_features"].shape[1:] == (frames, 20) and kept["train_features"].dtype == np.float16
        assert len(kept["val_features"]) == len(kept["val_labels"]) == trained.metrics["val"]["n"]
        scores = run.load_model(trained)(kept["val_features"].astype(np.float32)[..., None]).numpy()
        top1 = float((scores.argmax(axis=1) == kept["val_labels"]).mean())
        assert abs(top1 - trained.metrics["val"]["top1"]) < 0.02
        assert abs(kept["train_features"].astype(float).mean()) < 0.3
        assert 0.7 < kept["train_features"].astype(float).std() < 1.3


def test_reopened_lessons_are_those_that_it_was_taught(trained):
    again = lessons.reopen(run.load(trained.path))
    inputs = np.concatenate([batch[0].numpy() for batch in again.val])
    with np.load(trained.path / "features.npz") as kept:  # all of so few
        np.testing.assert_allclose(inputs[..., 0], kept["val_features"].astype(np.float32), atol=0.01)
        np.testing.assert_array_equal(again.val_labels, kept["val_labels"])
        spread = kept["train_features"].astype(np.float32)
    heard = np.concatenate([b[0].numpy() for b in again.train(batch=32, seed=0, start=0, stop=4)])
    assert abs(heard.mean() - spread.mean()) < 0.3 and abs(heard.std() - spread.std()) < 0.3


def test_broken_recordings_are_listed_and_do_not_stop_it(whistles, tmp_path):
    data = tmp_path / "data"
    for path in whistles.rglob("*.wav"):
        (data / path.parent.name).mkdir(parents=True, exist_ok=True)
        (data / path.parent.name / path.name).write_bytes(path.read_bytes())
    (data / "up" / "broken.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEjunk")
    (data / "up" / "empty.wav").write_bytes(b"")
    (data / "up" / "notes.txt").write_text("x")
    result = train_speech.train(config(data, tmp_path / "run", epochs=1, test_fraction=0.0))
    listed = {
        Path(item["path"]).name: item["reason"] for item in json.loads((tmp_path / "run/skipped.json").read_text())
    }
    assert set(listed) == {"broken.wav", "empty.wav", "notes.txt"} and listed["notes.txt"] == "not a recording"
    assert result.data["skipped"] == 3


def test_resumed_it_ends_where_it_would_have(whistles, tmp_path):
    short = {"epochs": 3, "copies": 1, "arch": "ds-tcn:width=16:kernels=3-5:dropout=0.0"}  # dropout draws anew
    whole = train_speech.train(config(whistles, tmp_path / "whole", **short))

    def stop_after_one(stage: str, done: int, total: int, note: str) -> None:
        if stage == "train" and note.startswith("epoch 2/"):
            raise KeyboardInterrupt

    import edgepress_train.fit as fit_module

    before, fit_module._CHECKPOINT_EVERY_S = fit_module._CHECKPOINT_EVERY_S, 0.0
    try:
        with pytest.raises(KeyboardInterrupt):
            train_speech.train(config(whistles, tmp_path / "cut", **short), progress=stop_after_one)
        resumed = train_speech.train(config(whistles, tmp_path / "cut", **short), resume=True)
    finally:
        fit_module._CHECKPOINT_EVERY_S = before
    for one, other in zip(run.load_model(whole).weights, run.load_model(resumed).weights, strict=True):
        assert np.allclose(one, other, atol=1e-4)


def test_windows_show_parts_of_words_as_unknown(whistles):
    found = speech_material.from_recordings(str(whistles), rate_hz=RATE, holdout=Holdout(0, 0.1, 0.1))
    unknown = found.labels.index("unknown")
    parts = [clip for clip in found.train if clip.label == unknown and clip.whole]
    assert len(parts) == sum(clip.label != unknown for clip in found.train)
    assert all(0.05 * RATE < len(clip.samples) < 0.25 * RATE for clip in parts)


def test_long_recordings_without_a_word_become_many_and_pauses_none():
    rng = np.random.default_rng(0)
    talk = rng.normal(0, 1000, 10 * RATE).astype(np.int16)
    talk[4 * RATE : 6 * RATE] = 1
    clips = list(speech_material.as_clips(talk, 2, keyword=False, rate_hz=RATE))
    assert len(clips) == 4 and all(len(clip.samples) == 2 * RATE and not clip.whole for clip in clips)
    assert [len(clip.samples) for clip in speech_material.as_clips(talk, 1, keyword=True, rate_hz=RATE)] == [10 * RATE]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"front_end": "mel"}, "unknown front end 'mel'"),
        ({"normalize": "unit"}, "unknown normalisation 'unit'"),
        ({"arch": "ds-tnc"}, "unknown architecture 'ds-tnc'; did you mean 'ds-tcn'?"),
        ({"augment": "mask:3"}, "unknown augmentation 'mask'"),
        ({"sound": "echo:1"}, "unknown augmentation 'echo'"),
        ({"window_s": 0.25}, "'ds-tcn:width=16:kernels=3-5' makes no network for inputs of 12x20x1"),
        ({"class_weight": "even"}, "unknown class weight 'even'"),
        ({"background": "/nowhere"}, "/nowhere holds no sound"),
        ({"rate_hz": 8000, "high_hz": 3800.0}, "sound can be changed at 16000 Hz only, not at 8000"),
        ({"front_end": "micro"}, "the micro front end has 40 bands of 30 ms every 10 ms at 16 kHz, and nothing else"),
    ],
)
def test_wrong_wishes_are_answered_before_anything_is_written(whistles, tmp_path, changes, sentence):
    with pytest.raises(EdgepressError) as caught:
        train_speech.train(config(whistles, tmp_path / "run", **changes))
    assert caught.value.what.startswith(sentence)
    assert not (tmp_path / "run").exists()


def test_something_must_be_learned_from(tmp_path):
    with pytest.raises(EdgepressError, match="learns from recordings or from words"):
        SpeechConfig(out=tmp_path)
    with pytest.raises(EdgepressError, match="--copies 0 is outside"):
        SpeechConfig(out=tmp_path, data="x", copies=0)


@pytest.mark.parametrize("name", sorted(config_module.SPEECH_RECIPES))
def test_every_recipe_makes_a_net(name, tmp_path):
    from edgepress_train import models

    data = {} if "data" in config_module.SPEECH_RECIPES[name] else {"data": "x"}
    recipe = config_module.speech_from_recipe(name, out=tmp_path, **data)
    spec = train_speech.speech_spec(recipe)
    frames = train_speech.window_frames(recipe, spec)
    model = models.build(recipe.arch, (frames, spec.features, 1), 3, archs=models.SPEECH_ARCHS)
    assert model.output_shape == (None, 3)


def test_words_that_the_recordings_lack_are_answered():
    def material(*labels):
        return speech_material.Material(labels, (), (), {})

    with pytest.raises(DataError, match="the recordings have no class 'three'"):
        speech_material.joined(material("one", "two"), material("one", "three", recordings.UNKNOWN))
