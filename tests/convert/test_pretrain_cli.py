"""Pretraining and tuning few weights, as commands: what is shown, what is refused, and what reaches the board."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from rich.console import Console
from tests.convert.conftest import convert_here

from edgepress_convert import importers
from edgepress_convert.cli import app, boundary
from edgepress_convert.cli import pretrain as command
from edgepress_convert.cli import train as training
from edgepress_convert.tflite import facts
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_train import models, peft, run
from edgepress_train.config import SpeechConfig
from edgepress_train.keras2 import keras
from edgepress_train.pretrain.config import PretrainConfig, SpeechPretrainConfig


def called(*words: object) -> int:
    """The command line in this process."""
    main = typer.main.get_command(app.app)
    return boundary.guarded(lambda rest: main.main(rest, "edgepress", standalone_mode=False), [str(w) for w in words])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("few") / "photos", np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (root / name).mkdir(parents=True)
        for number in range(12):
            picture = np.clip(rng.normal(level, 30, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def encoder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "seen"
    shape = ["--arch", "resnet:widths=4-8:blocks=1", "--size", 16]
    assert called("pretrain", "image", "--data", photos, *shape, "--epochs", 1, "--batch", 8, "--projector", "8-8",
                  "--out", out) == 0  # fmt: skip
    return out


def test_an_encoder_is_told_of_and_leads_to_a_training(
    encoder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.load(encoder).config["projector"] == [8, 8]
    out = tmp_path / "mine"
    words = ["--arch", "resnet:widths=4-8:blocks=1", "--size", 16, "--init", encoder, "--epochs", 1, "--batch", 4]
    few = ["--tune", "adapter:2", "--labels-per-class", 3]
    assert called("train", "image", "--data", photos, *words, *few, "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["metrics"]["trained_params"] == 4 * 2 + 2 + 2 * 4 + 4 + 8 * 2 + 2 + 2 * 8 + 8 + 8 * 2 + 2
    assert told["config"]["labels_per_class"] == 3
    training.show(Console(soft_wrap=True), run.load(out))
    assert "trained_params 82" in " ".join(capsys.readouterr().out.split())
    command._show(Console(soft_wrap=True), run.load(encoder))
    shown = capsys.readouterr().out
    assert "right by its nearest neighbours" in shown and f"edgepress train image --init {encoder}" in shown


def test_an_encoder_alone_cannot_be_converted(encoder: Path) -> None:
    with pytest.raises(EdgepressError) as caught:
        importers.read(encoder, importers.Hints())
    assert caught.value.what.endswith("holds a pretrained encoder, which knows no labels yet")
    assert f"edgepress train image --init {encoder}" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("words", "sentence", "code"),
    [
        (["--projector", "wide"], "'wide' is no list of widths", 2),
        (["--projector", "8-0"], "'8-0' is no list of widths", 2),
        (["--method", "simclear"], "unknown method 'simclear'; did you mean 'simclr'?", 1),
        (["--lr", "0"], "--lr 0.0 is outside", 1),
        (["--size", "big"], "'big' is no size", 2),
    ],
)
def test_bad_input(
    photos: Path, tmp_path: Path, words: list[str], sentence: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called("pretrain", "image", "--data", photos, "--out", tmp_path / "run", *words) == code
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_every_setting_has_its_flag() -> None:
    for config, function in ((PretrainConfig, command.image), (SpeechPretrainConfig, command.speech)):
        flags = set(inspect.signature(function).parameters)
        assert {field.name for field in dataclasses.fields(config)} - flags <= {"channels"}  # --grey
    flags = set(inspect.signature(training.speech).parameters)
    assert {field.name for field in dataclasses.fields(SpeechConfig)} <= flags


def test_what_was_tuned_runs_as_int8_with_the_operators_that_are_promised() -> None:
    """An addition leaves no operator behind, an adapter three: LiteRT puts its ReLU into the convolution."""
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(40, 16, 16, 3)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[np.arange(40) % 3]
    keras.utils.set_random_seed(0)
    counted: dict[str, Counter[str]] = {}
    for text in ("full", "lora:1", "adapter:2"):
        tuned = peft.tune(models.build("resnet:widths=4-8:blocks=1", (16, 16, 3), 3), text)
        tuned.model.compile(keras.optimizers.Adam(0.01), "categorical_crossentropy")
        tuned.model.fit(pictures, targets, epochs=2, verbose=0)
        finished = tuned.finish()
        made = convert_here(finished, ["float32", "int8"], representative=pictures)
        counted[text] = Counter(facts(made["int8"]).ops)
        with open_engine(made["float32"]) as engine:
            said = np.concatenate([engine.run(picture[None])[0].copy() for picture in pictures[:8]])
        assert np.allclose(said, finished(pictures[:8]).numpy(), atol=1e-4)
    assert counted["lora:1"] == counted["full"]
    assert counted["adapter:2"] - counted["full"] == Counter({"CONV_2D": 4, "ADD": 2})
