from __future__ import annotations

import dataclasses
import wave
from pathlib import Path

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_train import frozen_lessons, run, train_speech
from edgepress_train.config import SpeechConfig, speech_from_recipe

RATE = 16_000


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    """A word of two tones, and noise that is none."""
    root, rng = tmp_path_factory.mktemp("tones"), np.random.default_rng(0)
    for number in range(20):
        sound = rng.normal(0, 20, RATE)
        sound[4000:9000] += 4000 * np.sin(np.arange(5000) * np.where(np.arange(5000) < 2500, 0.2, 0.5))
        for name, samples in (("beep", sound), ("unknown", rng.normal(0, 10 ** rng.uniform(1, 3), RATE))):
            path = root / name / f"{number:02d}.wav"
            path.parent.mkdir(exist_ok=True)
            with wave.open(str(path), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE)
                file.writeframes(samples.astype("<i2").tobytes())
    return root


def config(data: Path, out: Path, **changes) -> SpeechConfig:
    plain = speech_from_recipe(
        "wake-word", data=str(data), out=out, arch="speech-embedding:head=8", window_s=1.11, copies=3, epochs=6,
        batch=32, lr=0.01, sound="speed:0.05, gain:-6..6",
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def test_only_the_head_learns_and_the_kept_net_is_the_one_that_was_judged(tones, tmp_path):
    pytest.importorskip("pyopen_wakeword")
    done = train_speech.train(config(tones, tmp_path / "run"))
    assert done.metrics["val"]["top1"] >= 0.9
    model = run.load_model(done)
    assert done.metrics["params"] == model.count_params() > 320_000
    assert model.input_shape[1:] == (109, 32, 1)
    with np.load(done.path / "features.npz") as kept:
        assert kept["train_features"].shape[1:] == (109, 32)
        scores = model(kept["val_features"].astype(np.float32)[..., np.newaxis]).numpy()
        right = (scores.argmax(axis=1) == kept["val_labels"]).mean()
    assert abs(right - done.metrics["val"]["top1"]) < 0.15  # windows are a step apart at most
    again = train_speech.train(config(tones, tmp_path / "again"))
    for one, other in zip(model.get_weights(), run.load_model(again).get_weights(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "changes",
    [{"augment": "mask-bands:2"}, {"normalize": "data"}, {"teacher": "runs/big", "hardest": 1.0}, {"tune": "head"}],
)
def test_what_changes_features_or_needs_them_is_taught_the_usual_way(changes, tones, tmp_path):
    assert frozen_lessons.suits(config(tones, tmp_path))
    assert not frozen_lessons.suits(config(tones, tmp_path, **changes))


def test_the_hardest_are_chosen_by_the_net_itself(tones, tmp_path):
    with pytest.raises(EdgepressError, match="--hardest"):
        config(tones, tmp_path, teacher="runs/big")
