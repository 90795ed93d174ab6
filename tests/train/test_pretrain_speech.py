from __future__ import annotations

import csv
import dataclasses
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from edgepress_runtime.audio import load
from edgepress_runtime.errors import EdgepressError
from edgepress_train import models, run, train_speech
from edgepress_train.config import SpeechConfig
from edgepress_train.data import pipeline_speech, recordings, speech_material
from edgepress_train.data.speech_examples import Cut, extract
from edgepress_train.models.parts import classifier, encoder, trunk
from edgepress_train.pretrain import image, probe, speech
from edgepress_train.pretrain.config import PretrainConfig, SpeechPretrainConfig

RATE = 16_000
ARCH = "ds-tcn:width=8:kernels=3-5"


def write(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    """Two words, one high and one low, in faint noise."""
    root, rng = tmp_path_factory.mktemp("sound") / "tones", np.random.default_rng(0)
    for word, pitch in (("high", 2000), ("low", 500)):
        for number in range(20):
            samples = rng.normal(0, 20, RATE)
            samples[4000:10000] += 5000 * np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * np.arange(6000) / RATE)
            write(root / word / f"{number:02d}.wav", samples)
    return root


def config(data, out, **changes) -> SpeechPretrainConfig:
    plain = SpeechPretrainConfig(
        data=str(data), out=out, arch=ARCH, window_s=0.8, bands=20, high_hz=3800.0, copies=1, sound="none",
        augment="mask-bands:2", epochs=4, batch=16, lr=0.01, projector=(16, 8),
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def history(folder):
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def pretrained(tones, tmp_path_factory):
    return speech.pretrain(config(tones, tmp_path_factory.mktemp("heard") / "run"))


def test_it_learns_to_tell_what_is_hidden_and_says_what_it_is(pretrained, tones):
    again = run.load(pretrained.path)
    assert again == pretrained and again.task == "speech-pretraining" and again.labels == ()
    assert again.data["sources"][0]["counts"] == {"train": 28, "val": 4, "test": 8}
    rows = history(again.path)
    assert float(rows[-1]["loss"]) < 0.8 * float(rows[0]["loss"]) and "probe" in rows[0]
    assert run.load_model(again).output_shape == (None, 8)
    assert abs(again.preprocessing.mean) > 1 and again.preprocessing.bands == 20


def test_the_probe_hears_what_the_net_hears_on_the_board(pretrained, tones):
    """Its windows, made by another way: features of whole clips through the front end with its normalisation."""
    spec = pretrained.preprocessing
    holdout = speech.listen(config(tones, pretrained.path), RATE, lambda *_: None)
    slack = round(0.16 * RATE / spec.hop)
    frames = run.load_model(pretrained).input_shape[1]
    raw = dataclasses.replace(spec, mean=0.0, std=1.0)
    asked = speech.labelled_slice(holdout, Cut(raw, frames + slack, slack), frames, spec)
    assert (len(asked.known), len(asked.asked)) == (28, 4)
    normalised, _ = extract(holdout.val, Cut(spec, frames + slack, slack), workers=1)
    expected = pipeline_speech.centred(normalised, frames)[..., np.newaxis]
    assert np.allclose(asked.asked, expected, atol=0.02)
    assert probe.probe(run.load_model(pretrained), asked) == pretrained.metrics["probe"]


def test_training_starts_from_the_encoder_with_few_labels_and_another_window(pretrained, tones, tmp_path):
    still = SpeechConfig(
        out=tmp_path / "run", data=str(tones), arch=ARCH, window_s=0.5, bands=20, high_hz=3800.0, copies=1,
        sound="none", augment="none", epochs=1, batch=4, lr=1e-9, weight_decay=0.0, ema=0.0,
        init=str(pretrained.path), tune="lora:1", labels_per_class=3,
    )  # fmt: skip
    trained = train_speech.train(still)
    after = run.load_model(trained)
    for old, new in zip(run.load_model(pretrained).get_weights(), encoder(after).get_weights(), strict=True):
        assert np.allclose(old, new, atol=1e-6)
    assert (trained.preprocessing.mean, trained.preprocessing.std) == (
        pretrained.preprocessing.mean, pretrained.preprocessing.std,
    )  # fmt: skip
    assert train_speech.reopen(trained).size == 6
    assert any("depthwise" in reason for reason in trained.metrics["left_out"])
    assert trained.metrics["trained_params"] < sum(int(np.prod(w.shape)) for w in after.trainable_weights)
    with pytest.raises(EdgepressError, match="was pretrained with bands 20, not 40"):
        train_speech.train(dataclasses.replace(still, bands=40, out=tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_several_sources_and_sound_without_words_are_enough(tones, tmp_path):
    talk = tmp_path / "talk"
    talk.mkdir()
    rng = np.random.default_rng(1)
    for number in range(3):
        write(talk / f"{number}.wav", rng.normal(0, 2000, 5 * RATE))
    found = speech.listen(config(f"{talk}, {tones}", tmp_path / "run"), RATE, lambda *_: None)
    assert len(found.train) == 28 + 3 * 2  # long sound is cut into pieces of two seconds
    assert len(found.labelled) == 28 and len(found.val) == 4
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    alone = speech.pretrain(config(talk, tmp_path / "run", method="vicreg", epochs=1, batch=4))
    assert alone.metrics["probe"] is None and alone.data["sources"][0]["counts"]["train"] == 3


@pytest.mark.slow
def test_a_student_hears_what_its_teacher_says(pretrained, tones, tmp_path):
    student = config(tones, tmp_path / "run", arch="ds-tcn:width=6:kernels=3-5", teacher=str(pretrained.path),
                     epochs=15, augment="none")  # fmt: skip
    done = speech.pretrain(student)
    assert float(history(done.path)[-1]["loss"]) < 0.85  # 1 is what a student that knows nothing gets
    with pytest.raises(EdgepressError, match="hears with another front end, or longer"):
        speech.pretrain(dataclasses.replace(student, window_s=0.6, out=tmp_path / "short"))
    with pytest.raises(EdgepressError, match="efficientnet-lite0 is no speech model"):
        speech.pretrain(dataclasses.replace(student, teacher="efficientnet-lite0", out=tmp_path / "short"))


def test_an_encoder_of_sound_is_none_of_pictures(pretrained, write_pictures, tmp_path):
    photos = write_pictures(tmp_path / "photos", {"horizontal": 4, "vertical": 4})
    with pytest.raises(EdgepressError, match="neither sees nor hears what the student does"):
        image.pretrain(
            PretrainConfig(
                data=str(photos), out=tmp_path / "run", size=(24, 24), arch="ds-cnn:widths=8-16",
                teacher=str(pretrained.path),
            )
        )  # fmt: skip


@pytest.mark.parametrize("name", sorted(models.SPEECH_ARCHS))
def test_every_speech_net_can_tell_the_middle_of_what_it_hears(name):
    bands = 32 if name == "speech-embedding" else 40
    arch = "ds-tcn:kernels=3-5" if name == "ds-tcn" else name
    net = models.build(arch, (150, bands, 1), 3, archs=models.SPEECH_ARCHS)
    decoder, crop = speech.decoding(net, arch=arch)
    ramp = np.broadcast_to(np.arange(150.0)[None, :, None, None], (1, 150, bands, 1)).astype(np.float32)
    told = decoder(trunk(net)(ramp))
    middle = crop(ramp)
    assert told.shape == middle.shape and told.shape[2] == bands
    assert abs(middle[0, :, 0, 0].mean() - 74.5) <= 0.5
    assert encoder(net).output_shape[-1] == classifier(net).input_shape[-1]


def test_the_decoder_stands_where_the_net_listens():
    """Each place of the map is asked for frames that lie in the middle of those that can move it."""
    net = models.build("ds-tcn:kernels=3-5:width=4", (60, 20, 1), 2, archs=models.SPEECH_ARCHS)
    _, crop = speech.decoding(net, arch="ds-tcn:kernels=3-5:width=4")
    body = trunk(net)
    quiet = np.zeros((1, 60, 20, 1), np.float32)
    before, moved = body(quiet).numpy(), []
    for frame in range(60):
        loud = quiet.copy()
        loud[0, frame] = np.random.default_rng(0).normal(size=(20, 1))
        if np.abs(body(loud).numpy() - before)[0, 3].max() > 0:  # the fourth place
            moved.append(frame)
    asked = crop(np.arange(60)[None, :, None, None])[0, 6:8, 0, 0]  # two frames a place
    assert abs(np.mean(moved) - np.mean(asked)) <= 1.0


def test_the_training_part_alone_is_heard(tones, tmp_path):
    asked = config(tones, tmp_path / "run")
    split = recordings.open_recordings(str(tones), holdout=speech_holdout(asked)).splits
    heard = speech.listen(asked, RATE, lambda *_: None)
    known = {clip.samples.tobytes() for clip in heard.train}
    assert not known & {load(path, RATE).tobytes() for path in (*split["test"].paths, *split["val"].paths)}
    assert speech_material.decode  # the same reading as in training


def speech_holdout(asked):
    from edgepress_train.data.dataset import Holdout

    return Holdout(asked.split_seed, asked.val_fraction, asked.test_fraction)


def test_what_cannot_be_is_a_sentence(tones, tmp_path):
    for changes, sentence in (
        ({"method": "maskd"}, "unknown method 'maskd'; did you mean 'masked'?"),
        ({"method": "masked:patch=3"}, "method 'masked' has no option 'patch'"),
        ({"window_s": 0.2}, "'ds-tcn:width=8:kernels=3-5' makes no network for inputs of 9x20x1"),
    ):
        with pytest.raises(EdgepressError) as caught:
            speech.pretrain(config(tones, tmp_path / "run", **changes))
        assert caught.value.what.startswith(sentence), caught.value.what
    with pytest.raises(EdgepressError, match="learns from recordings"):
        config("", tmp_path / "run")
