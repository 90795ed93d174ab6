from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import load_pixels, normalize
from edgepress_train import config as config_module
from edgepress_train import lessons, run, train_image
from edgepress_train.config import TrainConfig
from edgepress_train.data import sources


def config(pictures, out, **changes):
    plain = TrainConfig(
        data=str(pictures), out=out, arch="ds-cnn:widths=8-16", size=(24, 24), epochs=12, batch=16, lr=0.01,
        augment="shift:0.1, brightness:0.1",
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


@pytest.fixture(scope="module")
def trained(write_pictures, tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    pictures = write_pictures(root / "pictures", {"horizontal": 40, "vertical": 40})
    return train_image.train(config(pictures, root / "run"), command=["edgepress", "train", "image"])


def test_a_run_folder_tells_all_and_its_model_works_on_new_pictures(trained):
    again = run.load(trained.path)
    assert again == trained
    assert again.labels == ("horizontal", "vertical") and again.command == "edgepress train image"
    assert again.metrics["val"]["top1"] == 1.0 and again.metrics["epochs"] == 12
    assert again.versions["tensorflow"] and again.data["counts"] == {"train": 52, "val": 8, "test": 20}
    assert (trained.path / "labels.txt").read_text() == "horizontal\nvertical\n"
    test = sources.reopen(again.data).splits["test"]
    model = run.load_model(again)
    images = np.stack([normalize(load_pixels(path, again.preprocessing), again.preprocessing) for path in test.paths])
    assert (model(images).numpy().argmax(axis=1) == test.labels).mean() >= 0.95


def test_reopened_lessons_are_those_that_it_was_taught(trained):
    again = lessons.reopen(run.load(trained.path))
    images = np.concatenate([batch[0].numpy() for batch in again.val])
    scores = run.load_model(trained)(images).numpy()
    assert float((scores.argmax(axis=1) == again.val_labels).mean()) == trained.metrics["val"]["top1"]
    seen = np.concatenate([b[0].numpy() for b in again.train(batch=16, seed=0, start=0, stop=3)])
    assert abs(seen.mean() - images.mean()) < 0.5 and abs(seen.std() - images.std()) < 0.5


def test_broken_pictures_are_listed_and_do_not_stop_it(pictures, tmp_path):
    (pictures / "vertical" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n junk")
    result = train_image.train(config(pictures, tmp_path / "run", epochs=1))
    listed = json.loads((tmp_path / "run" / "skipped.json").read_text())
    assert [item["path"].rsplit("/", 1)[1] for item in listed] == ["broken.png"]
    assert result.data["skipped"] == 1


def test_nothing_is_overwritten_unasked(trained, pictures, tmp_path):
    before = trained.model_path.read_bytes()
    with pytest.raises(run.RunError, match="holds a training already"):
        train_image.train(config(pictures, trained.path))
    assert trained.model_path.read_bytes() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("x")
    with pytest.raises(run.RunError, match="is not a RUN folder"):
        train_image.train(config(pictures, tmp_path / "other"), force=True)
    assert (tmp_path / "other" / "precious.txt").read_text() == "x"


def test_resuming_with_another_configuration_is_refused(trained):
    with pytest.raises(run.RunError, match="was begun with another lr"):
        train_image.train(config(trained.config["data"], trained.path, lr=0.5), resume=True)


def test_resuming_what_was_never_begun_starts_from_the_given_weights_too(trained, tmp_path):
    """A script that always says --resume must not lose its --init the first time."""
    still = config(
        trained.config["data"], tmp_path / "run", init=str(trained.path), epochs=1, lr=1e-9, weight_decay=0.0
    )
    again = train_image.train(still, resume=True)
    before, after = run.load_model(trained).trainable_weights, run.load_model(again).trainable_weights
    assert all(np.allclose(old, new, atol=1e-6) for old, new in zip(before, after, strict=True))


def test_without_validation_pictures_every_other_one_is_trained_on(pictures, tmp_path):
    result = train_image.train(config(pictures, tmp_path / "run", epochs=1, val_fraction=0.0, test_fraction=0.0))
    assert result.data["counts"] == {"train": 80, "val": 0, "test": 0} and result.metrics["val"] is None


def test_grey_and_raw(pictures, tmp_path):
    result = train_image.train(config(pictures, tmp_path / "run", epochs=1, channels=1, normalize="raw", ema=0.9))
    assert (result.preprocessing.channels, result.preprocessing.mean, result.preprocessing.std) == (1, (0.0,), (1.0,))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"arch": "resnt8"}, "unknown architecture 'resnt8'; did you mean 'resnet8'?"),
        ({"arch": "ds-cnn:widths=0"}, "'ds-cnn:widths=0' makes no network for inputs of 24x24x3"),
        ({"size": (5000, 5000)}, "an image size of 5000x5000 is outside 1 to 4096 pixels"),
        ({"augment": "rotat"}, "unknown augmentation 'rotat'; did you mean 'rotate'?"),
        ({"augment": "rotate:nan"}, "augmentation 'rotate': degrees is nan"),
        ({"augment": "mixup:-1"}, "augmentation 'mixup': alpha is -1"),
        ({"optimizer": "adm"}, "unknown optimizer 'adm'"),
        ({"schedule": "exponential:nan"}, "schedule 'exponential:nan' has an impossible rate"),
        ({"schedule": "constant:5"}, "schedule 'constant:5' has an impossible rate"),
        ({"normalize": "x"}, "unknown normalisation 'x'"),
        ({"class_weight": "x"}, "unknown class weight 'x'"),
        ({"val_fraction": 2.0}, "val_fraction is 2.0, but must be at least 0 and below 0.9"),
        ({"init": "nope"}, "--init 'nope' is neither a RUN folder nor a known checkpoint"),
        ({"data": "no/where"}, "there is no folder or zip 'no/where'"),
    ],
)
def test_a_training_that_cannot_begin_leaves_nothing_and_takes_nothing_away(pictures, tmp_path, changes, sentence):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    for out, force in ((tmp_path / "new", False), (tmp_path / "run", True)):
        with pytest.raises(EdgepressError) as caught:
            train_image.train(config(pictures, out, **changes), force=force)
        assert caught.value.what.startswith(sentence)
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "run" / "config.json").read_text() == "{}"


@pytest.mark.parametrize(
    "changes",
    [{"lr": math.nan}, {"lr": -1.0}, {"epochs": 0}, {"batch": 0}, {"seed": -1}, {"split_seed": 2**32}, {"ema": 1.0}],
)
def test_numbers_that_no_training_can_use_are_refused_by_their_flag(changes):
    (name,) = changes
    with pytest.raises(EdgepressError) as caught:
        TrainConfig(data="d", out=Path("r"), **changes)
    assert caught.value.what.startswith(f"--{name.replace('_', '-')} ")


def test_a_damaged_note_of_an_unfinished_training_is_named(pictures, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("[")
    with pytest.raises(run.RunError, match=r"config.json is damaged, so nothing can be resumed"):
        train_image.train(config(pictures, tmp_path / "run"), resume=True)


def edit(path, **changes):
    value = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**value, **changes}))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: (path / "run.json").unlink(), "is not a finished RUN folder"),
        (lambda path: (path / "run.json").write_text("{"), "is damaged"),
        (lambda path: (path / "run.json").write_text('{"format": 99}'), "another version of edgepress"),
        (lambda path: (path / "model.keras").unlink(), "lacks model.keras"),
        (lambda path: (path / "run.json").write_bytes(b"\xff"), "is damaged"),
        (lambda path: (path / "run.json").write_text("[]"), "is damaged"),
        (lambda path: edit(path, data=5), "is damaged: config, data and metrics are no objects"),
        (lambda path: edit(path, preprocessing={"kind": "image"}), "is damaged"),
        (lambda path: ((path / "run.json").unlink(), (path / "run.json").mkdir()), "cannot be read: Is a directory"),
    ],
)
def test_a_damaged_run_folder_is_named(tmp_path, damage, sentence):
    from edgepress_runtime.manifest import ImageSpec
    from edgepress_train.keras2 import keras

    model = keras.Sequential([keras.layers.Dense(2, input_shape=(2,))])
    spec = ImageSpec(1, 2, 1, (0.0,), (1.0,))
    (tmp_path / "run").mkdir()
    run.save(run.Run(tmp_path / "run", "image-classification", "", {}, ("a", "b"), spec, {}, {}), model)
    run.load(tmp_path / "run")
    damage(tmp_path / "run")
    with pytest.raises(run.RunError) as caught:
        run.load(tmp_path / "run")
    assert sentence in caught.value.what


@pytest.mark.parametrize("name", sorted(config_module.RECIPES))
def test_every_recipe_builds(name):
    from edgepress_train import fit, models
    from edgepress_train.data import augment_image

    recipe = config_module.from_recipe(name, data="x")
    models.build(recipe.arch, (*recipe.size, recipe.channels), 3)
    augment_image.build(recipe.augment)
    fit.build_optimizer(fit.fit_config(recipe, 1000))


def test_an_unknown_recipe_is_answered():
    with pytest.raises(EdgepressError) as caught:
        config_module.from_recipe("cifar-10")
    assert caught.value.what == "unknown recipe 'cifar-10'; did you mean 'cifar10'?"
