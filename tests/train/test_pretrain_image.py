from __future__ import annotations

import csv
import dataclasses
import shutil

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import load_pixels, normalize
from edgepress_train import fit as fit_module
from edgepress_train import models, run, teachers, train_image
from edgepress_train.config import TrainConfig
from edgepress_train.data import pixels, sources
from edgepress_train.data.dataset import Holdout
from edgepress_train.keras2 import keras
from edgepress_train.models.parts import encoder, trunk
from edgepress_train.pretrain import image, probe
from edgepress_train.pretrain.config import PretrainConfig


def config(data, out, **changes):
    plain = PretrainConfig(
        data=str(data), out=out, arch="ds-cnn:widths=8-16", size=(24, 24), epochs=3, batch=16, lr=0.01,
        projector=(16, 8),
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def history(folder):
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def labelled(write_pictures, tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("data") / "pictures", {"horizontal": 40, "vertical": 40})


@pytest.fixture(scope="module")
def pretrained(labelled, tmp_path_factory):
    return image.pretrain(
        config(labelled, tmp_path_factory.mktemp("seen") / "run"), command=["edgepress", "pretrain", "image"]
    )


def test_a_run_folder_tells_all_and_its_model_gives_what_the_probe_judged(pretrained, labelled):
    again = run.load(pretrained.path)
    assert again == pretrained and again.task == "image-pretraining" and again.labels == ()
    assert again.data["counts"] == {"train": 52, "val": 8, "test": 20}
    rows = history(again.path)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"] and set(rows[0]) == {"epoch", "seconds", "loss", "probe"}
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    model = run.load_model(again)
    assert model.output_shape == (None, 16) and again.metrics["embedding"] == 16
    splits = sources.open_dataset(str(labelled), holdout=Holdout()).splits
    told = [
        model.predict(np.stack([normalize(load_pixels(p, again.preprocessing), again.preprocessing) for p in s.paths]))
        for s in (splits["train"], splits["val"])
    ]
    judged = probe.accuracy(told[0], splits["train"].labels, told[1], splits["val"].labels)
    assert float(rows[-1]["probe"]) == again.metrics["probe"] == judged


def test_training_starts_from_the_encoder_and_its_numbers(pretrained, labelled, tmp_path):
    still = TrainConfig(
        data=str(labelled), out=tmp_path / "run", arch="ds-cnn:widths=8-16", size=(24, 24), epochs=1, batch=16,
        lr=1e-9, weight_decay=0.0, init=str(pretrained.path), tune="head", labels_per_class=3,
    )  # fmt: skip
    trained = train_image.train(still)
    before, after = run.load_model(pretrained), run.load_model(trained)
    for old, new in zip(before.get_weights(), encoder(after).get_weights(), strict=True):
        assert np.allclose(old, new, atol=1e-6)
    assert trained.preprocessing == pretrained.preprocessing  # six pictures would have other statistics
    assert trained.metrics["trained_params"] == 16 * 2 + 2
    assert trained.data == sources.open_dataset(str(labelled)).describe() | {"skipped": 0}
    assert train_image.reopen(trained).size == 6


def test_only_the_training_part_is_learned_from(pretrained, labelled, tmp_path, monkeypatch):
    shown = []
    original = pixels.load_split

    def watched(split, spec, **options):
        shown.extend(split.paths)
        return original(split, spec, **options)

    monkeypatch.setattr(pixels, "load_split", watched)
    image.pretrain(config(labelled, tmp_path / "run", epochs=1))
    test = set(sources.open_dataset(str(labelled), holdout=Holdout()).splits["test"].paths)
    assert len(test) == 20 and not test & set(shown) and len(set(shown)) == 60


@pytest.mark.parametrize("layout", ["flat", "one folder", "train"])
def test_pictures_without_classes_are_enough(labelled, tmp_path, layout):
    root = tmp_path / "photos"
    inner = {"flat": root, "one folder": root / "2026" / "may", "train": root / "train"}[layout]
    inner.mkdir(parents=True)
    for number, path in enumerate(sorted(labelled.rglob("*.png"))[:20]):
        shutil.copy(path, inner / f"{number}.png")
    if layout == "train":
        (root / "test").mkdir()
        shutil.copy(path, root / "test" / "0.png")
    done = image.pretrain(config(root, tmp_path / "run", epochs=1))
    assert done.data["counts"]["train"] == 20 and done.metrics["probe"] is None
    assert "probe" not in history(done.path)[0]


def test_masked_pixels_are_told_better_and_better(labelled, tmp_path):
    done = image.pretrain(config(labelled, tmp_path / "run", method="masked:share=0.4", epochs=6, augment="flip-h"))
    losses = [float(row["loss"]) for row in history(done.path)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", sorted(models.ARCHS))
def test_every_net_has_an_encoder_and_a_map_that_can_be_decoded(name):
    net = models.build(name, (50, 38, 1), 4)
    decoder, crop = image.decoding(net)
    x = np.zeros((2, 50, 38, 1), np.float32)
    assert decoder(trunk(net)(x)).shape == crop(x).shape
    assert encoder(net)(x).shape == (2, net.layers[-1].input_shape[-1])


def test_a_student_learns_what_its_teacher_says(pretrained, labelled, tmp_path):
    student = config(labelled, tmp_path / "run", arch="ds-cnn:widths=4-12", teacher=str(pretrained.path), epochs=15,
                     augment="none")  # fmt: skip
    done = image.pretrain(student)
    rows = history(done.path)
    assert float(rows[-1]["loss"]) < 0.5  # 1 is what a student that knows nothing gets
    assert done.metrics["embedding"] == 12


def test_what_a_teacher_says_is_standardised_and_turned_but_keeps_its_distances():
    keras.utils.set_random_seed(0)
    net = encoder(models.build("ds-cnn:widths=8-16", (24, 24, 3), 2))
    examples = np.random.default_rng(0).normal(size=(60, 24, 24, 3)).astype(np.float32)
    from edgepress_train.pretrain.teacher import lessons

    told = lessons((net, lambda x, spec: x), np.array_split(examples, 3), None, 60).astype(np.float64)
    said = net(examples).numpy()
    said = (said - said.mean(axis=0))[:, said.std(axis=0) > 1e-6] / said.std(axis=0)[said.std(axis=0) > 1e-6]

    def distances(x):
        return np.linalg.norm(x[:, None] - x[None], axis=2)[np.triu_indices(60, 1)]

    assert np.mean(told**2) == pytest.approx(1, rel=1e-2) and np.allclose(told.mean(axis=0), 0, atol=1e-2)
    assert np.corrcoef(distances(told), distances(said))[0, 1] > 0.999


@pytest.mark.slow
def test_a_resumed_pretraining_ends_where_the_uninterrupted_one_does(labelled, pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_module, "_CHECKPOINT_EVERY_S", 0.0)

    class PowerCut(Exception):
        pass

    def cut(stage, done, total, note):
        if stage == "train" and done == 5:  # in the second epoch
            raise PowerCut

    asked = config(labelled, tmp_path / "run")
    with pytest.raises(PowerCut):
        image.pretrain(asked, progress=cut)
    resumed = image.pretrain(asked, resume=True)
    whole = run.load_model(pretrained).get_weights()
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(whole, run.load_model(resumed).get_weights(), strict=True))
    assert len(history(asked.out)) == 3


def test_what_cannot_be_is_a_sentence(pretrained, labelled, tmp_path):
    for changes, sentence in (
        ({"method": "simclear"}, "unknown method 'simclear'; did you mean 'simclr'?"),
        ({"method": "vicreg:share=1"}, "method 'vicreg' has no option 'share'"),
        ({"method": "simclr, vicreg"}, "--method takes one method"),
        ({"teacher": "efficientnet"}, "--teacher 'efficientnet' is neither a RUN folder nor a known checkpoint"),
        ({"augment": "crap:0.3"}, "unknown augmentation 'crap'; did you mean 'crop'?"),
        ({"data": str(tmp_path / "nowhere")}, "there is no folder or zip"),
    ):
        with pytest.raises(EdgepressError) as caught:
            image.pretrain(config(**{"data": labelled, "out": tmp_path / "run", **changes}))
        assert caught.value.what.startswith(sentence)
    with pytest.raises(EdgepressError, match="which knows no labels"):
        teachers.read([str(pretrained.path)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(EdgepressError, match="has no pictures"):
        image.pretrain(config(tmp_path / "empty", tmp_path / "run"))
    assert not (tmp_path / "run").exists()
