"""The report: everything given is found again on one page that needs nothing else."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from tests.convert.conftest import TONES, edgepress, pack, say

from edgepress_convert.convert import Converted
from edgepress_convert.evaluate import Request, evaluate
from edgepress_convert.inspect import inspect
from edgepress_convert.report import samples, tables
from edgepress_convert.report.build import render, write_report
from edgepress_convert.report.gather import gather
from edgepress_runtime.bench import bench
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.errors import EdgepressError


@pytest.fixture(scope="session")
def given(made, bundle_file, run_folder, colours, tmp_path_factory) -> dict[str, Path]:
    """What a user has after the whole way: a run with its history, two bundles, and what the commands printed."""
    root = tmp_path_factory.mktemp("given")
    history = "epoch,seconds,loss,accuracy,val_loss,val_accuracy\n1,2.0,0.9,0.5,1.0,0.4\n2,2.0,0.5,0.8,0.6,0.75\n"
    (run_folder / "history.csv").write_text(history, encoding="utf-8")
    pack(root / "wide.edge", made["float32"], name="colours-float32")
    paths = {"run": run_folder, "int8": bundle_file, "float32": root / "wide.edge"}
    for scheme in ("int8", "float32"):
        bundle = paths[scheme]
        results = {
            "evaluate": dataclasses.asdict(evaluate(bundle, str(colours))),
            "bench": dataclasses.asdict(bench(open_bundle(bundle), runs=30, threads=1)),
            "inspect": inspect(bundle),
        }
        for kind, value in results.items():
            paths[f"{kind}-{scheme}"] = _write(root / f"{kind}-{scheme}.json", value)
    layers = [
        {"name": "colours/mix/Relu;fused", "op": "CONV_2D", "snr_db": 41.5, "channel_snr_db": 40.0, "loss_db": 2.0},
        {"name": "colours/head/Softmax", "op": "SOFTMAX", "snr_db": 23.4, "channel_snr_db": 20.0, "loss_db": 9.0},
    ]
    parity = {"n": 27, "float_top1": 1.0, "model_top1": 26 / 27, "agreement": 26 / 27, "layers": layers}
    size = len(made["int8"])
    converted = Converted(
        "colours.edge", "colours", "int8", size, 0, {**parity, "worst_layer": layers[1]["name"]}, inspect(bundle_file),
        {"cases": 8, "stable": 8}, {},
    )  # fmt: skip
    return {**paths, "convert-int8": _write(root / "convert-int8.json", dataclasses.asdict(converted))}


def _write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


class Page(HTMLParser):
    """A page taken apart: (tag, attributes) of every element, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._hidden = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._hidden = tag in ("style", "title", "script")

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, data):
        self.text += "" if self._hidden else data.replace("\u00a0", " ")

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="session")
def page(given, tmp_path_factory) -> Page:
    return Page(write_report(list(given.values()), tmp_path_factory.mktemp("page") / "report.html"))


def test_results_find_their_model(given):
    found = gather(list(given.values()))
    assert [m.name for m in found.models] == ["colours", "colours-float32"]
    int8, wide = found.models
    assert (len(int8.evaluations), len(int8.benches), len(wide.evaluations), len(wide.benches)) == (1, 1, 1, 1)
    assert int8.evaluations[0]["digest"] == int8.digest == open_bundle(given["int8"]).digest
    assert int8.bytes == len(open_bundle(given["int8"]).model)
    assert int8.scheme == "int8"
    assert wide.scheme == "float32"
    assert int8.parity["layers"][1]["snr_db"] == 23.4
    assert [row["val_accuracy"] for row in found.trainings[0].history] == [0.4, 0.75]


def test_the_order_of_the_paths_does_not_matter(given):
    forward, backward = gather(list(given.values())), gather(list(given.values())[::-1])
    assert {m.digest for m in forward.models} == {m.digest for m in backward.models}
    assert len(backward.models) == 2


def test_the_page_needs_nothing_from_outside(page):
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "embed"), tag
        for name in ("src", "href", "srcset", "data"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, name)


def test_the_page_can_be_heard_as_well_as_seen(page):
    images, charts = page.all("img"), page.all("svg")
    assert images
    assert all(image["alt"] for image in images)
    assert len(charts) >= 6  # accuracy, loss, size, layers, two latencies
    assert all(chart["role"] == "img" and len(chart["aria-label"]) > 20 for chart in charts)
    assert len(page.all("caption")) == len(page.all("table"))
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert all(header["scope"] in ("row", "col") for header in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(section["aria-labelledby"] in ids for section in page.all("section"))


def test_figures_on_the_page_are_those_of_the_results(page, given):
    judged = json.loads(given["evaluate-int8"].read_text(encoding="utf-8"))
    measured = json.loads(given["bench-int8"].read_text(encoding="utf-8"))
    assert f"{100 * judged['top1']:.1f} %" in page.text
    assert f"{judged['model_bytes'] / 1000:,.1f} kB" in page.text
    assert f"F1, mean of classes{judged['f1']:.3f}" in re.sub(r"\s*\n\s*", "", page.text)
    assert measured["engine"] in page.text
    assert judged["data"]["fingerprint"] in page.text
    assert "edgepress train image --data colours" in page.text
    assert "not measured" in page.text  # energy, since no meter was read
    for row in judged["confusion"]:
        for count in row:
            assert str(count) in page.text


def test_the_layer_that_lost_most_is_named(page):
    (chart,) = [svg["aria-label"] for svg in page.all("svg") if "layers of colours" in svg["aria-label"]]
    assert "lowest, 23 dB, in layer 2, head/Softmax (SOFTMAX)" in chart


@pytest.fixture(scope="session")
def spoken(spotter_file, tmp_path_factory) -> dict[str, Path]:
    """A keyword spotter with what was judged of it."""
    root = tmp_path_factory.mktemp("spoken")
    say(root / "said", dict.fromkeys(TONES, 4), seed=41)
    say(root, {"other/unknown": 3}, seed=42, seconds=3.0)
    request = Request(positives=root / "said", negatives=root / "other")
    judged = dataclasses.asdict(evaluate(spotter_file, request))
    noisy = dataclasses.asdict(evaluate(spotter_file, Request(positives=root / "said", noise="white", snr_db=10.0)))
    return {
        "bundle": spotter_file,
        "judged": _write(root / "judged.json", judged),
        "noisy": _write(root / "noisy.json", noisy),
        "inspect": _write(root / "inspect.json", inspect(spotter_file)),
    }


def test_a_spotter_has_its_curve_its_words_and_a_clip(spoken, tmp_path):
    judged = json.loads(spoken["judged"].read_text(encoding="utf-8"))
    (model,) = gather(list(spoken.values())).models
    assert [len(model.streams), len(model.evaluations)] == [2, 0]
    found = Page(write_report(list(spoken.values()), tmp_path / "r.html"))
    charts = [svg["aria-label"] for svg in found.all("svg")]
    assert any(label.startswith("Share of words found against false alarms an hour") for label in charts)
    assert any(label.startswith("Averaged scores over") and judged["example"]["keyword"] in label for label in charts)
    assert f"{100 * judged['recall']:.1f} %" in found.text
    assert "Words in a stream" in found.text
    assert "12 features of 30 ms every 20 ms, 16000 Hz" in found.text
    assert "white at 10 dB, seed 0" in found.text
    assert found.all("img") == []
    assert "No sample pictures" not in found.text
    for word, row in judged["per_keyword"].items():
        assert word in found.text
        assert f"{row['threshold']:.2f}" in found.text
    assert len(found.all("caption")) == len(found.all("table"))


@pytest.mark.parametrize("kind", ["bundle", "judged", "noisy", "inspect"])
def test_each_input_about_a_spotter_makes_a_page_by_itself(spoken, tmp_path, kind):
    found = Page(write_report([spoken[kind]], tmp_path / "r.html"))
    assert "tones" in found.text
    assert "Validity record" in found.text


@pytest.mark.parametrize(
    ("key", "value"),
    [("per_keyword", {"ping": {}}), ("det", [{"threshold": 0.5}]), ("example", {"file": "x"}),
     ("det", [{"threshold": "a", "recall": 1.0, "false_alarms_per_hour": 1.0}])],
)  # fmt: skip
def test_a_damaged_evaluation_of_streams_is_one_sentence(spoken, tmp_path, key, value):
    judged = json.loads(spoken["judged"].read_text(encoding="utf-8"))
    with pytest.raises(EdgepressError, match="the evaluation of tones is damaged"):
        gather([_write(tmp_path / "b.json", {**judged, key: value})])


def test_labels_cannot_write_into_the_page(given, tmp_path):
    value = json.loads(given["evaluate-int8"].read_text(encoding="utf-8"))
    value["labels"][0] = evil = "<script>alert(1)</script>\"'"
    value["per_class"] = {evil: value["per_class"]["blue"]}
    value["bundle"] = evil
    path = write_report([_write(tmp_path / "e.json", value)], tmp_path / "r.html")
    found = Page(path)
    assert found.all("script") == []
    assert evil in found.text


def test_pictures_show_what_the_model_answered(bundle_file, colours):
    shown = samples.pick(open_bundle(bundle_file), str(colours), count=6)
    right = [s for s in shown if s.right]
    assert len(right) == 6
    assert {s.truth for s in right} == {"blue", "green", "red"}
    for sample in shown:
        kind, _, data = sample.image.partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.size == (12, 12)
        assert 1 / 3 <= sample.score <= 1
        assert (colours / sample.truth / sample.file).is_file()
    wrong = [s.score for s in shown if not s.right]
    assert wrong == sorted(wrong, reverse=True)


def test_large_pictures_become_small_ones(tmp_path):
    Image.new("RGB", (900, 450), (200, 30, 30)).save(tmp_path / "wide.png")
    data = base64.b64decode(samples.thumbnail(tmp_path / "wide.png", 3).partition(",")[2])
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (176, 88)
    assert len(data) < 3000


def test_without_its_data_a_report_says_so(given, tmp_path):
    value = json.loads(given["evaluate-int8"].read_text(encoding="utf-8"))
    value["data"]["source"] = str(tmp_path / "gone" / "colours")
    result = _write(tmp_path / "e.json", value)
    found = Page(write_report([given["int8"], result], tmp_path / "r.html"))
    assert found.all("img") == []
    assert "No sample pictures: there is no folder or zip" in found.text


@pytest.mark.parametrize("kind", ["run", "int8", "evaluate-int8", "bench-int8", "inspect-int8", "convert-int8"])
def test_each_input_makes_a_page_by_itself(given, tmp_path, kind):
    found = Page(write_report([given[kind]], tmp_path / "r.html"))
    assert "colours" in found.text
    assert "Validity record" in found.text
    if kind == "bench-int8":
        machine = json.loads(given[kind].read_text(encoding="utf-8"))["machine"]
        assert machine["date"] in found.text
        assert f"{machine['load_1min_before']} before, {machine['load_1min_after']} after" in found.text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "{path} does not exist"),
        ("[1, 2]", "{path} is neither a RUN folder, a bundle, nor what evaluate, bench, convert or inspect print"),
        ("{not json", "{path} is neither a RUN folder, a bundle, nor what evaluate, bench, convert or inspect print"),
        ('{"n": 3, "top1": 0.5}', "{path} is neither a RUN folder, a bundle, nor what"),
        ("\x89PNG", "{path} is neither a RUN folder, a bundle, nor what"),
    ],
)
def test_foreign_files_are_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(EdgepressError) as caught:
        gather([path])
    assert caught.value.what.startswith(sentence.format(path=path))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("samples_ms", "fast", "is damaged: samples_ms is not what bench prints"),
        ("samples_ms", [0.1, -2.0], "holds impossible times"),
        ("latency_ms", {"p50": 1.0}, "holds impossible times"),
    ],
)
def test_a_damaged_measurement_is_one_sentence(given, tmp_path, key, value, sentence):
    measured = json.loads(given["bench-int8"].read_text(encoding="utf-8"))
    with pytest.raises(EdgepressError, match=sentence):
        gather([_write(tmp_path / "b.json", {**measured, key: value})])


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("evaluate-int8", "confusion", [[1, 2]]),
        ("evaluate-int8", "confusion", [["a"] * 3] * 3),
        ("evaluate-int8", "n", 0),
        ("convert-int8", "parity", "fine"),
        ("convert-int8", "model", {}),
    ],
)
def test_a_damaged_result_is_one_sentence(given, tmp_path, kind, key, value):
    result = json.loads(given[kind].read_text(encoding="utf-8"))
    with pytest.raises(EdgepressError, match="colours is damaged"):
        gather([_write(tmp_path / "b.json", {**result, key: value})])


def test_a_folder_that_is_no_run_and_nothing_at_all(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(EdgepressError, match="pictures is not a finished RUN folder"):
        gather([tmp_path / "pictures"])
    with pytest.raises(EdgepressError, match="needs something to report on"):
        gather([])


def test_a_failed_report_leaves_the_old_page(given, tmp_path):
    out = tmp_path / "r.html"
    out.write_text("old", encoding="utf-8")
    with pytest.raises(EdgepressError):
        write_report([given["int8"], tmp_path / "missing.edge"], out)
    assert out.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [out]
    with pytest.raises(EdgepressError, match="is a folder"):
        write_report([given["int8"]], tmp_path)


def test_many_classes_become_a_list_of_confusions():
    labels = [f"class {i}" for i in range(40)]
    counts = [[5 if i == j else 0 for j in range(40)] for i in range(40)]
    counts[7][3] = 4
    counts[2][9] = 2
    row = {"n": 5, "top1": 1.0, "precision": None, "f1": None}
    found = tables.confusion({"labels": labels, "confusion": counts, "per_class": dict.fromkeys(labels, row)})
    assert found.matrix == ()
    assert found.common == (("class 7", "class 3", 4), ("class 2", "class 9", 2))
    assert found.per_class[0].cells == ("5", "100.0\u00a0%", "—", "—")


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # The score interval without continuity correction in Newcombe 1998, Statistics in Medicine 17:857, table I.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_are_those_in_print(right, n, low, high):
    assert tables.wilson(right, n) == pytest.approx((low, high), abs=6e-5)


def test_the_same_findings_give_the_same_page(given):
    findings = gather(list(given.values()))
    assert render(findings, created="2026-01-01T00:00:00+00:00") == render(
        findings, created="2026-01-01T00:00:00+00:00"
    )


def test_the_command_writes_and_refuses_to_overwrite(given, tmp_path):
    out = tmp_path / "r.html"
    done = edgepress("report", given["int8"], given["bench-int8"], "--out", out, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"report": str(out)})
    again = edgepress("report", given["int8"], "--out", out)
    assert again.returncode == 1
    assert f"error: {out} exists already" in again.stderr
