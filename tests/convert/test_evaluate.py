"""Judging a bundle: numbers against loops, label order by name, and only pictures that training never saw."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.convert.conftest import LABELS, pack, picture

from edgepress_convert import evaluate
from edgepress_convert.evaluate import Evaluation
from edgepress_runtime.errors import EdgepressError
from edgepress_train.data.dataset import Holdout
from edgepress_train.data.sources import open_dataset


def test_confusion_and_metrics_by_loop() -> None:
    rng = np.random.default_rng(0)
    truth, answers = rng.integers(0, 3, 200), rng.integers(0, 4, 200)  # class 3 never occurs
    counts = evaluate.confusion(truth, answers, 4)
    found = evaluate.metrics(counts, ("a", "b", "c", "d"))
    recalls, scores = [], []
    for index, label in enumerate("abcd"):
        hits = sum(1 for t, a in zip(truth, answers, strict=True) if t == a == index)
        real, said = int((truth == index).sum()), int((answers == index).sum())
        assert [sum((truth == index) & (answers == j)) for j in range(4)] == counts[index].tolist()
        row = found["per_class"][label]
        assert (row["n"], row["precision"]) == (real, hits / said)
        if real:
            recalls.append(hits / real)
            scores.append(2 / (said / hits + real / hits))
            assert (row["top1"], row["f1"]) == (recalls[-1], pytest.approx(scores[-1]))
        else:
            assert row["top1"] is None
    assert found["top1"] == (truth == answers).mean()
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert found["f1"] == pytest.approx(np.mean(scores))


def test_top5_by_hand() -> None:
    scores = np.tile(np.arange(7.0), (3, 1))  # class 6 best
    assert evaluate.top_k(scores, np.array([6, 2, 1]), 5) == pytest.approx(2 / 3)
    assert evaluate.top_k(np.zeros((2, 7)), np.array([4, 5]), 5) == 0.5  # equal scores: by label order


def test_a_folder_of_its_own_is_used_whole(bundle_file: Path, colours: Path) -> None:
    result = evaluate.evaluate(bundle_file, str(colours))
    assert (result.n, result.data["split"], result.labels) == (120, "all", LABELS)
    assert result.top1 > 0.9
    assert result.top5 is None
    assert sum(map(sum, result.confusion)) == 120
    assert {field.name for field in dataclasses.fields(Evaluation)} >= {
        "n", "top1", "top5", "per_class", "confusion", "model_bytes",
    }  # fmt: skip


def test_a_classifier_of_pictures_is_not_played_sound(bundle_file: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgepressError, match="colours sees pictures and hears nothing"):
        evaluate.evaluate(bundle_file, evaluate.Request(positives=tmp_path))


def test_of_the_training_data_only_the_held_out_part_is_used(
    made: dict[str, bytes], colours: Path, tmp_path: Path
) -> None:
    dataset = open_dataset(str(colours))
    pack(tmp_path / "x.edge", made["int8"], recipe={"data": dataset.describe()})
    assert evaluate.evaluate(tmp_path / "x.edge", str(colours)).n == len(dataset.splits["test"])
    copy = shutil.copytree(colours, tmp_path / "elsewhere")  # the same pictures under another name
    result = evaluate.evaluate(tmp_path / "x.edge", str(copy))
    assert (result.n, result.data["split"]) == (len(dataset.splits["test"]), "test")


def test_a_training_without_validation_part_is_judged_on_its_held_out_part(
    made: dict[str, bytes], colours: Path, tmp_path: Path
) -> None:
    dataset = open_dataset(str(colours), holdout=Holdout(val_fraction=0.0))
    pack(tmp_path / "x.edge", made["int8"], recipe={"data": dataset.describe()})
    result = evaluate.evaluate(tmp_path / "x.edge", str(colours))
    assert (result.n, result.data["split"]) == (len(dataset.splits["test"]), "test") == (30, "test")
    nothing = open_dataset(str(colours), holdout=Holdout(val_fraction=0.0, test_fraction=0.0))
    pack(tmp_path / "y.edge", made["int8"], recipe={"data": nothing.describe()})
    with pytest.raises(EdgepressError, match="has no held-out picture"):
        evaluate.evaluate(tmp_path / "y.edge", str(colours))


def test_a_test_part_of_the_folder_wins_and_bad_files_are_told(bundle_file: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for part, n in (("train", 2), ("test", 4)):
        for index, label in enumerate(LABELS):
            folder = tmp_path / "data" / part / label
            folder.mkdir(parents=True)
            for number in range(n):
                Image.fromarray(picture(rng, index)).save(folder / f"{number}.png")
    (tmp_path / "data" / "test" / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    result = evaluate.evaluate(bundle_file, str(tmp_path / "data"))
    assert (result.n, result.data["split"]) == (12, "test")
    assert [Path(item.path).name for item in result.skipped] == ["broken.png"]


def test_names_decide_never_order(made: dict[str, bytes], colours: Path, tmp_path: Path) -> None:
    pack(tmp_path / "x.edge", made["int8"], labels=("zebra", "green", "blue"))  # not the folders' order
    assert evaluate.label_map(("blue", "green"), ("zebra", "green", "blue"), "d").tolist() == [2, 1]
    with pytest.raises(EdgepressError) as caught:
        evaluate.evaluate(tmp_path / "x.edge", str(colours))
    assert caught.value.what == f"{colours} has labels that the bundle does not know: red"
    assert caught.value.remedy == "the bundle knows: zebra, green, blue"
