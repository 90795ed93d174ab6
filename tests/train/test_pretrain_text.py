"""Masked language modelling: what is hidden, the loss against NumPy, and what a training from it starts with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.preprocessing import MASK, PAD
from edgepress_runtime.text import FIRST_BYTE
from edgepress_train import models, run, train_text
from edgepress_train.config_text import PretrainTextConfig, TextConfig
from edgepress_train.data import pipeline_text
from edgepress_train.data.dataset import DataError
from edgepress_train.keras2 import keras
from edgepress_train.pretrain import text as pretraining
from edgepress_train.pretrain.text import MaskedLanguage, embeddings_of, hidden_of

ARCH = "transformer:dim=16:blocks=1:heads=2:inner=16:dropout=0.0"
SMALL = {"arch": ARCH, "length": 10, "pieces": 320}


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "orders.txt"
    lines = [
        f"{verb} the {thing} in room {n}"
        for verb in ("open", "close", "lock")
        for thing in ("door", "gate")
        for n in range(20)
    ]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def learned(plain, tmp_path_factory) -> run.Run:
    out = tmp_path_factory.mktemp("runs") / "words"
    return pretraining.train(PretrainTextConfig(str(plain), out, **SMALL, epochs=30, batch=32, lr=1e-2))


def test_what_is_hidden_is_the_task_of_the_paper():
    ids = np.random.default_rng(0).integers(FIRST_BYTE, 1000, (4000, 20)).astype(np.int32)
    ids[:, 15:] = PAD
    corrupted, same, chosen = pipeline_text.corrupt(ids, 1000, 0.15, np.random.default_rng(1))
    picked = chosen > 0
    assert same is ids and not picked[:, 15:].any()
    share = picked[:, :15].mean()
    assert 0.15 < share < 0.16  # a little more: a row has one at least, which happens by itself in all but 9 %
    assert picked.any(axis=1).all()
    assert (corrupted == ids)[~picked].all()
    masked, kept = (corrupted == MASK)[picked].mean(), (corrupted == ids)[picked].mean()
    assert abs(masked - 0.8) < 0.01 and abs(kept - 0.1) < 0.01
    others = corrupted[picked & (corrupted != MASK) & (corrupted != ids)]
    assert others.min() >= FIRST_BYTE and len(np.unique(others)) > 500


def test_hidden_anew_in_every_epoch_and_the_same_when_resumed():
    ids = np.random.default_rng(0).integers(FIRST_BYTE, 300, (8, 12)).astype(np.int32)
    args = {"share": 0.3, "batch": 8, "seed": 5}
    whole = [tuple(map(np.asarray, b)) for b in pipeline_text.masked_batches(ids, 300, **args, start=0, stop=4)]
    later = [tuple(map(np.asarray, b)) for b in pipeline_text.masked_batches(ids, 300, **args, start=2, stop=4)]
    for a, b in zip(whole[2:], later, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
    assert not np.array_equal(np.sort(whole[0][2].sum(axis=1)), np.sort(whole[1][2].sum(axis=1)))


def test_the_loss_is_the_cross_entropy_of_the_chosen_pieces():
    keras.utils.set_random_seed(0)
    encoder = hidden_of(models.build(ARCH, (6, 270), 2, archs=models.TEXT_ARCHS))
    learner = MaskedLanguage(encoder, embeddings_of(encoder, 270))
    rng = np.random.default_rng(2)
    learner.piece_bias.assign(rng.normal(0, 1, 270))
    ids = rng.integers(FIRST_BYTE, 270, (5, 6)).astype(np.int32)
    corrupted, _, chosen = pipeline_text.corrupt(ids, 270, 0.4, rng)
    hidden = np.maximum(
        encoder(corrupted).numpy() @ learner.transform.kernel.numpy() + learner.transform.bias.numpy(), 0
    )
    logits = hidden.astype(np.float64) @ embeddings_of(encoder, 270).embeddings.numpy().T + learner.piece_bias.numpy()
    logs = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    expected = -np.take_along_axis(logs, ids[..., None], axis=2)[..., 0][chosen > 0]
    right = (logits.argmax(axis=2) == ids)[chosen > 0]
    told = {k: float(v) for k, v in learner.test_step((corrupted, ids, chosen)).items()}
    assert told["loss"] == pytest.approx(expected.mean(), rel=1e-4)
    assert told["accuracy"] == pytest.approx(right.mean())


def test_every_weight_but_the_fixed_one_learns():
    encoder = hidden_of(models.build(ARCH, (6, 270), 2, archs=models.TEXT_ARCHS))
    learner = MaskedLanguage(encoder, embeddings_of(encoder, 270))
    learner.compile(optimizer=keras.optimizers.SGD(0.1))
    ids = np.random.default_rng(0).integers(FIRST_BYTE, 270, (32, 6)).astype(np.int32)
    before = [w.numpy() for w in learner.trainable_weights]
    assert len(before) == len(encoder.trainable_weights) + 3  # the dense layer's two, and the bias of the pieces
    learner.train_step(pipeline_text.corrupt(ids, 270, 0.5, np.random.default_rng(0)))
    assert all(not np.array_equal(old, new.numpy()) for old, new in zip(before, learner.trainable_weights, strict=True))


def test_it_learns_the_language_and_leaves_a_run(learned, plain):
    val = learned.metrics["val"]
    assert val["accuracy"] > 0.45  # the commonest piece alone is right in 0.2
    assert learned.task == "text-pretraining"
    again = run.load(learned.path)
    assert again.preprocessing == learned.preprocessing and again.labels == ()
    rows = (learned.path / "history.csv").read_text().splitlines()
    assert len(rows) == 31 and "val_accuracy" in rows[0]
    assert again.data["counts"]["lines"] == 120
    assert hidden_of(run.load_model(again)).output_shape == (None, 10, 16)


def test_a_classifier_starts_from_it_with_its_vocabulary(learned, tmp_path):
    data = tmp_path / "data.csv"
    rows = [
        f"{verb} the {thing} {n},{verb}" for verb in ("open", "close") for thing in ("door", "gate") for n in range(6)
    ]
    data.write_text("text,label\n" + "\n".join(rows))
    config = TextConfig(
        str(data), tmp_path / "out", arch=ARCH, init=str(learned.path), epochs=1, lr=1e-9, warmup_epochs=0
    )
    made = train_text.train(config)
    assert made.preprocessing == learned.preprocessing  # the length and the vocabulary of the run, not of the options
    assert (made.path / "vocab.txt").read_bytes() == (learned.path / "vocab.txt").read_bytes()
    encoder, whole = hidden_of(run.load_model(learned)), run.load_model(made)
    ids = train_text.tokenizer_of(made)[0].encode_all(["open the gate 3", "close it"])
    np.testing.assert_allclose(hidden_of(whole).predict(ids, verbose=0), encoder.predict(ids, verbose=0), atol=1e-4)


def test_a_run_of_another_architecture_is_no_start(learned, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "\n".join(f"open {n},a\nclose {n},b" for n in range(6)))
    config = TextConfig(str(data), tmp_path / "out", arch=ARCH.replace("inner=16", "inner=24"), init=str(learned.path))
    with pytest.raises(EdgepressError, match="only 11 of the 13 layers") as caught:
        train_text.train(config)
    assert caught.value.remedy == f"give --arch {ARCH}"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_resuming_gives_what_one_go_gives(plain, tmp_path):
    def config(out: str, epochs: int) -> PretrainTextConfig:
        return PretrainTextConfig(str(plain), tmp_path / out, **SMALL, epochs=epochs, schedule="constant", lr=1e-3)

    whole = pretraining.train(config("whole", 3))
    pretraining.train(config("parts", 2))
    started = tmp_path / "parts" / "config.json"
    told = json.loads(started.read_text())
    started.write_text(json.dumps({**told, "epochs": 3}))
    parts = pretraining.train(config("parts", 3), resume=True)
    for a, b in zip(run.load_model(whole).get_weights(), run.load_model(parts).get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_text_that_is_too_short_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match="has no line of 3 pieces or more"):
        pretraining.train(PretrainTextConfig(str(tmp_path), tmp_path / "out", **SMALL))
    assert not (tmp_path / "out").exists()
