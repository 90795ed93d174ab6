"""Classifying texts: the class, and `edgepress-device` as people and scripts run it, with a linear model of ids."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgepress_runtime import manifest as manifests
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.classify_text import TextClassifier
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import BundleError, EdgepressError
from edgepress_runtime.text import FIRST_MERGED, TextError, Tokenizer, dump_vocabulary

LABELS = ("lamp", "door", "music")
LENGTH = 6
MERGED = [b" l", b" la", b" lamp", b" d", b" do", b" doo", b" door", b" o", b" on"]
VOCABULARY = dump_vocabulary(MERGED)
SPEC = {
    "kind": "text",
    "length": LENGTH,
    "pieces": FIRST_MERGED + len(MERGED),
    "vocabulary": hashlib.sha256(VOCABULARY).hexdigest(),
    "case": "lower",
    "accents": "keep",
}
WEIGHTS = np.random.default_rng(0).normal(0, 0.01, (len(LABELS), LENGTH)).astype(np.float32)


def linear(build, *, source: str = "int32") -> bytes:
    """(1, LENGTH) ids -> as floats, times WEIGHTS -> (1, 3) float32."""
    flat = build.FlatModel()
    given = flat.tensor((1, LENGTH), source, name="ids")
    real = flat.tensor((1, LENGTH), "float32") if source == "int32" else given
    if source == "int32":
        flat.operator(
            schema.BuiltinOperator.CAST, [given], [real], schema.CastOptionsT(), schema.BuiltinOptions.CastOptions
        )
    weights = flat.tensor(WEIGHTS.shape, "float32", data=WEIGHTS)
    answer = flat.tensor((1, len(LABELS)), "float32", name="scores")
    options, kind = schema.FullyConnectedOptionsT(), schema.BuiltinOptions.FullyConnectedOptions
    flat.operator(schema.BuiltinOperator.FULLY_CONNECTED, [real, weights, -1], [answer], options, kind)
    flat.graph.inputs, flat.graph.outputs = [given], [answer]
    return flat.finish()


def text_members(build, *, vocabulary: bytes | None = VOCABULARY, source: str = "int32", **changes):
    model = linear(build, source=source)
    inputs, outputs = build.described(model)
    cases = np.random.default_rng(1).integers(2, FIRST_MERGED, (3, LENGTH)).astype(source)
    members = {
        "labels.txt": "".join(f"{label}\n" for label in LABELS).encode(),
        "golden.npz": build.npz(
            inputs=cases, outputs=np.stack([build.bare_run(model, c[np.newaxis])[0] for c in cases])
        ),
        **({} if vocabulary is None else {"vocab.txt": vocabulary}),
        "model.tflite": model,
    }
    told = json.loads(build.members_of()["manifest.json"])
    told |= {
        "name": "orders", "task": "text-classification", "inputs": inputs, "outputs": outputs, "preprocessing": SPEC,
        "labels": list(LABELS), "members": {name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
    }  # fmt: skip
    return {"manifest.json": json.dumps({**told, **changes}).encode(), **members}


@pytest.fixture
def bundle(build, tmp_path):
    path = tmp_path / "orders.edge"
    path.write_bytes(build.zipped(text_members(build)))
    return path


@pytest.fixture
def device(environment, tmp_path):
    def run(*words, stdin: str = "") -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "edgepress_runtime", *map(str, words)]
        return subprocess.run(
            line, env=environment, cwd=tmp_path, input=stdin, capture_output=True, text=True, check=False
        )

    return run


def truth(text: str) -> np.ndarray:
    ids = Tokenizer(manifests.load_preprocessing(SPEC), VOCABULARY).encode(text)
    return WEIGHTS.astype(np.float64) @ ids


def test_scores_are_those_of_the_ids(bundle):
    opened = open_bundle(bundle)
    with open_engine(opened.model_source, threads=1) as engine:
        classifier = TextClassifier(engine, opened)
        for text in ("Lamp ON", "the door", "é", "a very long text indeed, which is cut"):
            np.testing.assert_allclose(classifier.scores(text), truth(text), rtol=1e-4, atol=1e-4)
            best = classifier.top(text, 2)
            assert [s.index for s in best] == list(np.argsort(-truth(text))[:2])
            assert best[0].label == LABELS[best[0].index]
        for nothing in ("", " \n", "\u200b\ufeff"):
            with pytest.raises(TextError, match="the text is empty"):
                classifier.scores(nothing)


def test_a_bundle_of_another_task_is_refused(build, make_bundle, bundle):
    pictures = open_bundle(make_bundle())
    with open_engine(pictures.model_source) as engine:
        with pytest.raises(EdgepressError, match="is a model for image-classification, not for text-classification"):
            TextClassifier(engine, pictures)
        with pytest.raises(EdgepressError):
            TextClassifier(engine, open_bundle(bundle))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"vocabulary": None}, "lacks vocab.txt"),
        ({"vocabulary": dump_vocabulary(MERGED[:-1])}, "not the vocabulary that the model was trained with"),
        ({"preprocessing": {**SPEC, "pieces": 300}}, "vocab.txt has 267 pieces, not 300"),
        ({"task": "image-classification"}, "cannot go with the preprocessing of another one"),
        ({"preprocessing": {**SPEC, "kind": "speech"}}, "preprocessing"),
    ],
)
def test_a_bundle_that_lies_about_its_text_is_refused(build, tmp_path, changes, sentence):
    path = tmp_path / "bad.edge"
    path.write_bytes(build.zipped(text_members(build, **changes)))
    with pytest.raises(BundleError, match=sentence):
        open_bundle(path)


def test_an_altered_vocabulary_is_noticed(build, tmp_path):
    members = text_members(build)
    members["vocab.txt"] = members["vocab.txt"].replace("▁on".encode(), "▁of".encode())
    path = tmp_path / "bad.edge"
    path.write_bytes(build.zipped(members))
    with pytest.raises(BundleError, match=r"vocab\.txt in bad\.edge does not match its checksum"):
        open_bundle(path)


def test_a_model_that_takes_no_ids_is_refused(build, tmp_path):
    path = tmp_path / "float.edge"
    path.write_bytes(build.zipped(text_members(build, source="float32")))
    opened = open_bundle(path)
    with open_engine(opened.model_source) as engine, pytest.raises(EdgepressError, match="prepares texts as int32"):
        TextClassifier(engine, opened)


def test_a_text_on_the_command_line(device, bundle):
    done = device("run", bundle, "Lamp on", "a\tdoor")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    best = int(truth("lamp on").argmax())
    assert first == f"Lamp on\t{LABELS[best]}\t{truth('lamp on')[best]:.4f}"
    assert second.startswith("a\\tdoor\t")


def test_lines_on_stdin_and_json(device, bundle):
    done = device("run", bundle, "--json", "--top", "2", stdin="lamp on\r\n\n  door\n")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert [row["text"] for row in value["results"]] == ["lamp on", "  door"]
    assert [len(row["top"]) for row in value["results"]] == [2, 2]
    assert value["skipped"] == [{"text": "", "reason": "the text is empty"}]
    assert "skipped a line: the text is empty" in done.stderr
    assert device("run", bundle, "-", stdin="lamp\n").stdout.startswith("lamp\t")


def test_a_file_of_lines(device, bundle, tmp_path):
    (tmp_path / "said.txt").write_text("lamp\ndoor\n")
    assert [line.split("\t")[0] for line in device("run", bundle, "said.txt").stdout.splitlines()] == ["lamp", "door"]
    assert device("run", bundle, "gone.txt").stdout.startswith("gone.txt\t")  # then it is a text like any other


def test_answers_come_line_by_line(environment, bundle):
    line = [sys.executable, "-m", "edgepress_runtime", "run", str(bundle)]
    with subprocess.Popen(line, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as talk:
        assert talk.stdin is not None and talk.stdout is not None
        for text in ("lamp", "door"):
            talk.stdin.write(f"{text}\n")
            talk.stdin.flush()
            assert talk.stdout.readline().startswith(f"{text}\t")
        talk.stdin.close()
        assert talk.wait(60) == 0


def test_installed_the_name_may_be_left_out(device, bundle):
    assert json.loads(device("install", bundle, "--json").stdout)["selftest"] == {"cases": 3, "exact": 3}
    assert device("run", "lamp on").stdout.startswith("lamp on\t")
    assert device("run", "orders", "lamp on").stdout.startswith("lamp on\t")
    assert device("selftest").stdout == "orders: 3 of 3 golden cases exact\n"
    found = json.loads(device("bench", "--runs", "20", "--json").stdout)
    assert (found["threads"], found["latency_ms"]["n"] >= 20) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["run", "orders.edge"], 1, "error: no text could be classified"),
        (["run", "orders.edge", "  "], 1, "error: no text could be classified"),
        (["run", "lampe"], 1, "error: no model named 'lampe' is installed"),
    ],
)
def test_sentences_and_exit_codes(device, bundle, words, code, sentence):
    done = device(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr


def test_nothing_heavy_is_loaded(bundle, environment):
    script = (
        "import sys\nfrom edgepress_runtime.cli import main\n"
        f"code = main(['run', {str(bundle)!r}, 'lamp'])\n"
        "heavy = {'tensorflow', 'PIL', 'soundfile', 'scipy', 'tokenizers'} & set(sys.modules)\n"
        "sys.exit(code or (str(heavy) if heavy else 0))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
