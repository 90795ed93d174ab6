"""Foreign models: what the file tells is found, what it cannot tell is asked for by the flag's name."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.convert.conftest import LABELS, SPEC, examples

from edgepress_convert import importers, quantize, verify
from edgepress_convert.importers import Hints, ImportFailure
from edgepress_convert.importers.source import image_spec, read_labels
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import normalize

RAW = Hints(mean=(0.0,), std=(255.0,))


@pytest.fixture
def ready(made: dict[str, bytes], tmp_path: Path) -> Path:
    path = tmp_path / "my model.tflite"
    path.write_bytes(made["int8"])
    return path


def appended(path: Path, name: str, text: str) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, text)


LINES = "blue\ngreen\nred\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", LINES),
        ("labels.txt", "\ufeffblue\r\ngreen\r\nred\r\n\r\n"),
        ("temp_meta.txt", "{'names': {0: 'blue', 1: 'green', 2: 'red'}, 'stride': 32}"),
        ("metadata.json", json.dumps({"names": {"0": "blue", "1": "green", "2": "red"}})),
        ("metadata.json", json.dumps({"labels": list(LABELS)})),
        ("metadata.yaml", "stride: 32\nnames:\n  0: blue\n  1: 'green'\n  2: red\nimgsz: 12\n"),
    ],
)
@pytest.mark.parametrize("where", ["appended", "beside"])
def test_labels_are_found(where: str, name: str, text: str, ready: Path) -> None:
    if where == "appended":
        appended(ready, name, text)
    else:
        name = "labels.txt" if name == "temp_meta.txt" else name
        ready.with_name(name).write_text(text, encoding="utf-8")
    source = importers.read(ready, RAW)
    assert (source.labels, source.kind, source.name) == (LABELS, "tflite", "my-model")
    assert source.preprocessing.std == (255.0, 255.0, 255.0)


def test_a_flag_wins_over_what_is_found(ready: Path, tmp_path: Path) -> None:
    appended(ready, "labels.txt", LINES)
    (tmp_path / "mine").write_text("a\nb\nc\n")
    assert importers.read(ready, Hints(labels=tmp_path / "mine", mean=(0.0,), std=(1.0,))).labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("hints", "extra", "sentence", "remedy"),
    [
        (RAW, {}, "{path} has 3 outputs and no labels for them", "give --labels FILE, one label a line"),
        (RAW, {"labels.txt": "a\nb\n"}, "{path} has 3 outputs and no labels for them", "--labels"),
        (
            RAW,
            {"labels.txt": LINES, "metadata.json": '{"names": ["a", "b", "c"]}'},
            "metadata.json and labels.txt give different labels",
            "--labels FILE",
        ),
        (Hints(), {}, "the file does not say how pixels become its input: --mean and --std missing", "--std 255"),
        (Hints(mean=(1.0,)), {}, "the file does not say how pixels become its input: --std missing", "--std 255"),
        (Hints(mean=(1.0, 2.0), std=(1.0,)), {}, "--mean has 2 numbers, the model's input has 3 channels", ""),
        (Hints(mean=(0.0,), std=(1.0,), size=(9, 9)), {}, "--size 9x9 is not the model's input of 12x12", "--size"),
        (Hints(data="x"), {}, "--data has no use for a .tflite, which is packed as it is", "leave --data out"),
        (Hints(mean=(0.0,), std=(0.0,)), {}, "std must be ", ""),
        (Hints(mean=(0.0,), std=(1.0,), fit="squash"), {}, "unknown fit 'squash'; known: stretch, crop, pad", ""),
    ],
)
def test_what_a_tflite_cannot_tell(hints: Hints, extra: dict, sentence: str, remedy: str, ready: Path) -> None:
    for name, text in extra.items():
        ready.with_name(name).write_text(text)
    with pytest.raises(EdgepressError) as caught:
        importers.read(ready, hints)
    assert caught.value.what.startswith(sentence.format(path=ready))
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "is not a file of labels"), (b"\xff\xfe", "is not text in UTF-8"), (b"", "has an empty label")],
)
def test_labels_that_are_none(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ImportFailure) as caught:
        read_labels(path)
    assert sentence in caught.value.what


def test_several_pictures_at_once_are_no_input() -> None:
    with pytest.raises(ImportFailure, match="takes 4 pictures at once"):
        image_spec((4, 12, 12, 3), Hints(mean=(0.0,), std=(1.0,)))


def test_files_of_no_kind(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"x")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    for name, sentence in (
        ("x.bin", "is of no kind that edgepress converts"),
        ("gone.keras", "does not exist"),
        ("saved", "is a SavedModel"),
    ):
        with pytest.raises(ImportFailure, match=sentence):
            importers.read(tmp_path / name, Hints())


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
def test_a_keras_2_file(suffix: str, network, colours: Path, tmp_path: Path) -> None:
    network.save(tmp_path / f"m{suffix}")
    hints = Hints(mean=SPEC.mean, std=SPEC.std, data=str(colours))
    source = importers.read(tmp_path / f"m{suffix}", hints)
    assert (source.labels, source.preprocessing) == (LABELS, SPEC)
    assert not source.recipe["import"]["softmax_added"]
    example = np.ones((1, 12, 12, 3), np.float32)
    np.testing.assert_allclose(source.model(example), network(example), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras 3 beside NumPy 2.4
def test_a_keras_3_file_with_logits_and_an_open_size(tmp_path: Path) -> None:
    import edgepress_train.keras2  # noqa: F401, I001
    import keras as keras3  # noqa: TID251  (the other Keras is what is tested)

    inputs = keras3.Input((None, None, 3))
    model = keras3.Model(inputs, keras3.layers.Dense(3)(keras3.layers.GlobalAveragePooling2D()(inputs)))
    model.save(tmp_path / "m.keras")
    (tmp_path / "labels").write_text(LINES)
    hints = Hints(labels=tmp_path / "labels", mean=(0.0,), std=(255.0,))
    with pytest.raises(ImportFailure, match="leaves its input size open"):
        importers.read(tmp_path / "m.keras", hints)
    sized = Hints(labels=tmp_path / "labels", mean=(0.0,), std=(255.0,), size=(8, 6))
    source = importers.read(tmp_path / "m.keras", sized)
    assert source.recipe["import"]["keras"].startswith("3.")
    assert source.recipe["import"]["softmax_added"]
    example = np.random.default_rng(0).normal(size=(2, 8, 6, 3)).astype(np.float32)
    logits = np.asarray(model(example))
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(source.model(example)), expected, rtol=1e-5)
    assert (source.preprocessing.height, source.preprocessing.width) == (8, 6)
    converted = quantize.convert(source.model, ("float32",))["float32"]
    pixels = np.random.default_rng(1).integers(0, 256, (2, 8, 6, 3), np.uint8)
    expected = np.asarray(source.model(normalize(pixels, source.preprocessing)))
    np.testing.assert_allclose(
        verify.scores(converted, examples(pixels, spec=source.preprocessing)), expected, rtol=1e-4
    )


def test_a_keras_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_bytes(b"nonsense")
    with pytest.raises(ImportFailure, match="cannot read"):
        importers.read(tmp_path / "m.h5", RAW)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(ImportFailure, match="is not a Keras model"):
        importers.read(tmp_path / "m.keras", RAW)


def test_a_run_folder_knows_everything(run_folder: Path, network) -> None:
    source = importers.read(run_folder, Hints())
    assert (source.kind, source.name, source.labels, source.preprocessing) == ("run", "colours", LABELS, SPEC)
    assert source.recipe["data"]["fingerprint"] == source.dataset.fingerprint
    with pytest.raises(ImportFailure, match="--mean, --std cannot change a RUN folder"):
        importers.read(run_folder, RAW)
