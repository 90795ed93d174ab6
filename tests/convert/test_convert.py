"""The whole way, from a RUN folder or a foreign model to a bundle."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tests.convert.conftest import LABELS, SPEC

from edgepress_convert import evaluate, quantize
from edgepress_convert.convert import ConvertConfig, convert
from edgepress_convert.importers import Hints
from edgepress_convert.verify import DropError
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.errors import EdgepressError
from edgepress_train.data.sources import open_dataset


def test_from_a_run_folder(run_folder: Path, colours: Path, tmp_path: Path) -> None:
    seen = []
    out = tmp_path / "x.edge"
    result = convert(ConvertConfig(run_folder, out, calibration_size=30), progress=lambda stage, *_: seen.append(stage))
    dataset = open_dataset(str(colours))
    manifest = open_bundle(out).manifest
    assert (result.quantize, result.name, manifest.name, manifest.labels) == ("int8", "colours", "colours", LABELS)
    assert result.bytes == len(open_bundle(out).model)
    assert result.bundle_bytes == out.stat().st_size
    val = manifest.metrics["val"]
    assert (val["n"], val["data"]) == (
        len(dataset.splits["val"]),
        {"name": dataset.name, "fingerprint": dataset.fingerprint},
    )
    assert val["model_top1"] >= val["float_top1"] - 0.02
    assert manifest.recipe["quantize"] == {
        "scheme": "int8",
        "weights": "per-channel",
        "ranges": "min-max",
        "keep": {},
        "representative": {
            "source": dataset.name,
            "split": "train",
            "fingerprint": dataset.fingerprint,
            "size": 30,
            "seed": 0,
        },
    }
    assert manifest.recipe["train"]["command"] == "edgepress train image --data colours"
    assert manifest.tools["ai-edge-litert"]
    assert "convert" in seen
    assert json.loads(json.dumps(dataclasses.asdict(result), allow_nan=False))["parity"]["n"] == val["n"]
    # evaluate finds the training data in the recipe and keeps to its held-out part
    judged = evaluate.evaluate(out, str(colours))
    assert (judged.n, judged.data["split"]) == (len(dataset.splits["test"]), "test")


def test_representative_pictures_come_from_the_training_part_only(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def spy(model, schemes, *, representative, weights):
        asked["representative"] = representative
        raise EdgepressError("enough")

    monkeypatch.setattr(quantize, "convert", spy)
    with pytest.raises(EdgepressError, match="enough"):
        convert(ConvertConfig(run_folder, tmp_path / "x.edge", calibration_size=1000))
    from edgepress_runtime.image import normalize
    from edgepress_train import run
    from edgepress_train.data.pixels import load_split
    from edgepress_train.data.sources import reopen

    splits = reopen(run.load(run_folder).data).splits
    rows = {part: normalize(np.asarray(load_split(splits[part], SPEC)[0]), SPEC) for part in splits}
    # two corner pixels of the first picture are changed, so that the calibrator sees black and white
    known = {row[1:-1].tobytes() for row in rows["train"]}
    assert {row[1:-1].tobytes() for row in asked["representative"]} == known
    assert (asked["representative"].min(), asked["representative"].max()) == (-100 / 60, np.float32(155 / 60))
    assert not known & {row[1:-1].tobytes() for part in ("val", "test") for row in rows[part]}


def test_a_model_that_breaks_is_refused_and_nothing_is_written(run_folder: Path, tmp_path: Path) -> None:
    config = ConvertConfig(run_folder, tmp_path / "x.edge", weights="per-tensor", calibration_size=30)
    with pytest.raises(DropError) as caught:
        convert(config)
    assert "(DEPTHWISE_CONV_2D), where the signal falls from" in caught.value.what
    assert caught.value.remedy.startswith("leave out --per-tensor, or raise --calibration-size above 30, or")
    assert not list(tmp_path.iterdir())


def test_a_ready_tflite_is_packed_as_it_is(made: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(made["int8"])
    (tmp_path / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    config = ConvertConfig(tmp_path / "m.tflite", tmp_path / "m.edge", hints=Hints(mean=SPEC.mean, std=SPEC.std))
    result = convert(config)
    assert (result.quantize, result.parity, result.name) == ("as-is", None, "m")
    assert bytes(open_bundle(tmp_path / "m.edge").model) == made["int8"]
    with pytest.raises(EdgepressError, match="is converted already and is packed as it is"):
        convert(dataclasses.replace(config, quantize="int8", force=True))


def test_a_keras_file_without_data_is_not_calibrated_on_nothing(network, tmp_path: Path) -> None:
    network.save(tmp_path / "m.keras")
    (tmp_path / "labels").write_text("a\nb\nc\n")
    hints = Hints(labels=tmp_path / "labels", mean=SPEC.mean, std=SPEC.std)
    config = ConvertConfig(tmp_path / "m.keras", tmp_path / "m.edge", hints=hints)
    with pytest.raises(EdgepressError, match=r"comes without data, and int8 needs example pictures"):
        convert(config)
    result = convert(dataclasses.replace(config, quantize="float16"))
    assert result.parity["float_top1"] is None
    assert result.parity["agreement"] == 1.0
    assert open_bundle(tmp_path / "m.edge").manifest.metrics == {}
