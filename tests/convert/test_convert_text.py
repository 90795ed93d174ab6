"""From labelled utterances to a bundle that answers as the trained model does: every step by its own command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgepress_convert import inspect
from edgepress_convert.convert import ConvertConfig, convert
from edgepress_convert.evaluate import evaluate
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.classify_text import TextClassifier
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_train import lessons, run, train_text
from edgepress_train.config_text import TextConfig, text_config_of
from edgepress_train.data.text import open_texts

VERBS = {
    "open": ["open", "unlock", "let me through"],
    "close": ["close", "lock", "shut"],
    "light": ["lights for", "lamp at"],
}
PLACES = ["the door", "the gate", "room 2", "the café", "our big garage", "the garden shed", "flat 17", "the hall"]
ARCH = "transformer:dim=16:blocks=1:heads=2:inner=16:dropout=0.0"


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("text") / "intents"
    for label, verbs in VERBS.items():
        (root / label).mkdir(parents=True)
        lines = [f"{verb} {place}{end}" for verb in verbs for place in PLACES for end in ("", " please", ", now")]
        (root / label / "said.txt").write_text("\n".join(lines), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def trained(spoken) -> run.Run:
    out = spoken.parent / "orders"
    return train_text.train(
        TextConfig(str(spoken), out, arch=ARCH, length=12, pieces=330, epochs=25, lr=1e-2, mask=0.0, batch=32)
    )


@pytest.fixture(scope="module")
def packed(trained) -> Path:
    path = trained.path.parent / "orders.edge"
    made = convert(ConvertConfig(trained.path, path, max_drop=100.0))
    assert (made.name, made.quantize) == ("orders", "int8")
    assert made.parity is not None and made.parity["n"] == len(lessons.reopen(trained).val_labels)
    return path


def test_a_run_says_all_about_itself(trained, spoken):
    assert trained.metrics["val"]["top1"] > 0.9
    again = run.load(trained.path)
    assert (again.task, again.labels) == ("text-classification", ("close", "light", "open"))
    assert text_config_of(again.config) == TextConfig(**{**again.config, "out": trained.path})
    vocabulary = (trained.path / "vocab.txt").read_text(encoding="utf-8")
    assert "▁the" in vocabulary.splitlines() and len(vocabulary.splitlines()) == again.preprocessing.pieces
    counts = again.data["counts"]
    assert sum(counts.values()) == 8 * 8 * 3 and counts["test"] > 20


def test_the_lessons_come_back(trained, spoken):
    again = lessons.reopen(run.load(trained.path))
    ids, targets, _ = next(iter(again.val))
    split = open_texts(str(spoken), holdout=train_text.Holdout(0, 0.15, 0.2)).splits["val"]
    np.testing.assert_array_equal(ids.numpy(), train_text.tokenizer_of(trained)[0].encode_all(split.texts))
    np.testing.assert_array_equal(targets.numpy().argmax(axis=1), split.labels)
    first = next(iter(again.train(batch=8, seed=1, start=3, stop=4)))
    assert [tuple(part.shape) for part in first] == [(8, 12), (8, 3), (8,)]


def test_host_and_device_find_the_same_ids(trained, packed, spoken):
    host, device = train_text.tokenizer_of(trained)[0], open_bundle(packed).tokenizer()
    texts = [text for part in open_texts(str(spoken)).splits.values() for text in part.texts]
    texts += ["CAFÉ  ﬁrst", "ĳ ｆｕｌｌ wide", "emoji 😀 ok", "тест 文字", "x" * 200, "", "21.5°, don't"]
    np.testing.assert_array_equal(host.encode_all(texts), device.encode_all(texts))
    assert host.spec == device.spec


def test_the_bundle_takes_ids_and_answers_as_the_float_model_does(trained, packed, spoken):
    bundle = open_bundle(packed)
    manifest = bundle.manifest
    assert (manifest.task, manifest.labels) == ("text-classification", trained.labels)
    assert [(t.shape, t.dtype) for t in (*manifest.inputs, *manifest.outputs)] == [((1, 12), "int32"), ((1, 3), "int8")]
    assert len(bundle.model) < 40_000
    facts = inspect.inspect(packed)
    assert facts["input"]["dtype"] == "int32"
    assert {layer["dtype"] for layer in facts["layers"]} == {"int8"}  # nothing is computed in float
    test = open_texts(str(spoken)).splits["test"]
    expected = run.load_model(trained).predict(bundle.tokenizer().encode_all(test.texts), verbose=0)
    with open_engine(bundle.model_source, threads=1) as engine:
        classifier = TextClassifier(engine, bundle)
        found = np.stack([classifier.scores(text) for text in test.texts])
    assert np.abs(found - expected).mean() < 0.05
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.9


def test_it_is_judged_on_what_training_never_saw(trained, packed, spoken, tmp_path):
    found = evaluate(packed, str(spoken))
    assert (found.n, found.data["split"], found.data["kind"]) == (trained.data["counts"]["test"], "test", "texts")
    assert found.top1 > 0.9
    other = tmp_path / "other.tsv"
    other.write_text("text\tlabel\nopen the gate\topen\nclose the big gate\tclose\n")
    found = evaluate(packed, str(other))
    assert (found.n, found.data["split"]) == (2, "all")
    copy = tmp_path / "copy.jsonl"  # the training's own data in another form
    rows = [
        (line, file.parent.name) for file in sorted(spoken.rglob("*.txt")) for line in file.read_text().splitlines()
    ]
    copy.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in rows))
    parts = [set(open_texts(str(source)).splits["test"].texts) for source in (copy, spoken)]
    assert parts[0] == parts[1]  # the text alone decides
    other.write_text("text\tlabel\nopen the gate\topen\nfly\taway\n")
    with pytest.raises(EdgepressError, match="has labels that the bundle does not know: away"):
        evaluate(packed, str(other))


def test_changed_texts_are_noticed(trained, spoken, tmp_path):
    file = spoken / "open" / "said.txt"
    before = file.read_text(encoding="utf-8")
    try:
        file.write_text(before + "\nopen the roof")
        with pytest.raises(EdgepressError, match="is not what it was at training"):
            convert(ConvertConfig(trained.path, tmp_path / "x.edge"))
    finally:
        file.write_text(before, encoding="utf-8")
    assert not (tmp_path / "x.edge").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"smoothing_ms": 3.0}, "--smoothing-ms is about keyword spotters, and this model reads text"),
        ({"false_alarms_per_hour": 1.0}, "--false-alarms-per-hour is about keyword spotters"),
    ],
)
def test_what_has_no_use_is_refused(trained, tmp_path, options, sentence):
    with pytest.raises(EdgepressError, match=sentence):
        convert(ConvertConfig(trained.path, tmp_path / "x.edge", **options))


def test_the_board_runs_it(packed):
    source = str(Path(sys.modules["edgepress_runtime"].__file__).parent.parent)  # type: ignore[arg-type]
    line = [sys.executable, "-m", "edgepress_runtime", "run", str(packed), "--json"]
    done = subprocess.run(
        line, env={**os.environ, "PYTHONPATH": source}, input="open the gate\nSHUT our big garage!\n",
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [row["label"] for row in json.loads(done.stdout)["results"]] == ["open", "close"]


def test_the_commands_tell_what_they_need():
    for words, sentence in (
        (["pretrain", "text", "--data", "nowhere", "--out", "x"], "there is no plain text at 'nowhere'"),
        (
            ["train", "text", "--data", "nowhere", "--out", "x", "--length", "5000"],
            "--length 5000 is outside 1 to 1024",
        ),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "edgepress_convert.cli.app", *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1 and done.stdout == ""
        assert sentence in done.stderr and "tip: " in done.stderr
