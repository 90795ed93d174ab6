"""Reports of compressions and searches: figures are those in the JSON, histograms those that NumPy counts."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tests.convert.conftest import HEARING, SPEC, convert_here, edgepress, heard_windows, pictures

from edgepress_convert import compact, streaming
from edgepress_convert.report import charts, distribution, histograms, kernels, pareto, searched, steps
from edgepress_convert.report.build import render, write_report
from edgepress_convert.report.compression import Pair
from edgepress_convert.report.gather import gather
from edgepress_convert.report.kernels import Layer
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import normalize
from edgepress_train import run
from edgepress_train.keras2 import keras

START = {
    "n": 240, "float_top1": 0.95, "top1": 0.9417, "cross_entropy": 0.21, "bytes": 96320, "deflated_bytes": 81234,
    "macs": 12_501_632, "arena_bytes": 43210, "params": 90000, "sparsity": 0.01,
}  # fmt: skip
SPARSE = {**START, "top1": 0.9292, "deflated_bytes": 30123, "sparsity": 0.8}
SMALL = {**SPARSE, "top1": 0.9333, "float_top1": 0.9375, "bytes": 31456, "deflated_bytes": 11999, "macs": 777_216,
         "arena_bytes": 21098}  # fmt: skip
ZIP = "zip size only: same size on the board (96.3 kB), same MACs, no faster; deflated, 81.2 became 30.1 kB"
EVIL = "<script>alert('x')</script>&\""


def speed(ratio: float, low: float, high: float) -> dict:
    return {"before_ms": 1.5, "after_ms": 1.5 / ratio, "ratio": ratio, "low": low, "high": high, "runs": 377}


def step(name: str, before: dict, after: dict, sentence: str, wins: tuple[str, ...], **changes) -> dict:
    verdict = {key: key in wins for key in ("flash", "deflated", "macs", "arena", "faster_here")}
    return {
        "step": name, "before": before, "after": after, "drop_points": 100 * (before["top1"] - after["top1"]),
        "speedup": None, "verdict": {**verdict, "faster_on_board": None, "sentence": sentence}, "notes": [],
        "seconds": 12.3, **changes,
    }  # fmt: skip


def story() -> dict:
    """What a compression of two steps tells: one that only helps a download, one that helps."""
    words = "smaller, smaller when deflated, fewer MACs, less memory, 1.91 times as fast here"
    wins = ("flash", "deflated", "macs", "arena", "faster_here")
    rows = [
        step("prune:0.8", START, SPARSE, ZIP, ("deflated",), notes=["left alone: head, it is <tiny>"],
             speedup=speed(1.004, 0.991, 1.017)),
        step("prune-channels:0.5:epochs=2", SPARSE, SMALL, words, wins, speedup=speed(1.912, 1.874, 1.951)),
    ]  # fmt: skip
    total = step("prune:0.8,prune-channels:0.5:epochs=2", START, SMALL, words, wins, speedup=speed(1.92, 1.88, 1.96))
    return {"source": "colours", "recipe": total["step"], "start": START, "steps": rows, "total": total}


def zeroed(model: bytes, share: float) -> bytes:
    """`model` with the smallest `share` of each kernel's stored numbers set to its zero point, which is 0."""
    unpacked = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    for tensor in unpacked.subgraphs[0].tensors:
        data = unpacked.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.INT8 and data is not None and len(data) and len(tensor.shape) > 1:
            stored = np.asarray(data, np.uint8).view(np.int8).copy()
            stored[np.argsort(np.abs(stored.astype(int)), kind="stable")[: int(share * len(stored))]] = 0
            unpacked.buffers[tensor.buffer].data = stored.view(np.uint8)
    return compact.write(unpacked)


def truth(model: bytes) -> dict[str, np.ndarray]:
    """Real values of every int8 kernel by tensor name, by what LiteRT itself says of scales and their axis."""
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    found = {}
    for detail in interpreter.get_tensor_details():
        if detail["dtype"] != np.int8 or len(detail["shape"]) < 2:
            continue
        try:
            stored = interpreter.get_tensor(detail["index"]).astype(np.float64)
        except ValueError:  # computed at run time
            continue
        facts = detail["quantization_parameters"]
        shape = [1] * stored.ndim
        shape[facts["quantized_dimension"]] = -1
        scales, zeros = facts["scales"].astype(np.float64), facts["zero_points"]
        if len(scales) > 1:
            found[detail["name"]] = ((stored - zeros.reshape(shape)) * scales.reshape(shape)).reshape(-1)
    return found


@pytest.fixture(scope="module")
def sparse(made) -> bytes:
    return zeroed(made["int8"], 0.6)


@pytest.fixture(scope="module")
def compressed(run_folder, made, sparse, tmp_path_factory) -> Path:
    """A RUN folder as `compress` leaves it, of the test network."""
    return keep(tmp_path_factory.mktemp("compressed") / "small", run_folder, made["int8"], sparse)


def keep(path: Path, source: Path, before: bytes, after: bytes, told: dict | None = None) -> Path:
    told = told or story()
    path.mkdir()
    begun = json.loads((source / "run.json").read_text(encoding="utf-8"))
    plan = {"scheme": "int8", "weights": "per-channel", "ranges": "mse", "keep": {"head": "int16x8"}}
    (path / "run.json").write_text(json.dumps({**begun, "plan": plan, "compress": told}), encoding="utf-8")
    (path / "model.keras").write_bytes((source / "model.keras").read_bytes())
    (path / "config.json").write_text(json.dumps({"recipe": told["recipe"]}), encoding="utf-8")
    files = [("00-start", before, "measured.json", told["start"])]
    files += [
        (f"{i:02d}-{row['step'].partition(':')[0]}", after, "report.json", {**row, "plan": plan})
        for i, row in enumerate(told["steps"], 1)
    ]
    for name, model, file, value in files:
        folder = path / "steps" / name
        folder.mkdir(parents=True)
        (folder / "model.tflite").write_bytes(model)
        (folder / file).write_text(json.dumps(value), encoding="utf-8")
    return path


def point(number: int, recipe: str, top1: float, size: int, ms: float) -> dict:
    return {
        "number": number, "recipe": recipe, "top1": top1, "bytes": size, "deflated_bytes": size // 2,
        "macs": 100 * size, "latency_ms": ms,
    }  # fmt: skip


FRONT = [
    point(9, "prune-channels:0.8:epochs=0,finetune:epochs=4", 0.88, 14_000, 0.31),
    point(4, "prune-channels:0.6:epochs=0,distil:epochs=4", 0.921, 28_500, 0.55),
    point(7, "qat:epochs=2", 0.948, 96_320, 1.44),
]
TRIED = [point(0, "", 0.9417, 96_320, 1.5), *FRONT, point(5, "prune-channels:0.7", 0.90, 30_000, 0.6)]
FOUND = {
    "start": START, "pareto": FRONT, "tried": TRIED, "best": FRONT[1], "run": None,
    "limits": {"max_bytes": 60_000, "max_latency_ms": 5.0, "max_drop": 3.0},
    "trials": {"complete": 11, "fail": 1, "running": 0}, "latency_on": "this machine", "storage": "sqlite:///x.db",
    "source": "runs/my cells", "options": ["--seed", "3"],
}  # fmt: skip


@pytest.fixture
def hunted(tmp_path, made, sparse) -> Path:
    """A folder as `search` leaves it."""
    path = tmp_path / "hunt"
    for row, model in ((TRIED[0], made["int8"]), (FRONT[1], sparse)):
        folder = path / "trials" / f"{row['number']:04d}"
        folder.mkdir(parents=True)
        (folder / "model.tflite").write_bytes(model)
        (folder / "point.json").write_text(json.dumps({"point": row, "measured": START, "plan": {}}), encoding="utf-8")
    (path / "search.json").write_text(json.dumps(FOUND), encoding="utf-8")
    return path


class Page(HTMLParser):
    """A page taken apart, and checked: every element is closed where it should be, no id comes twice."""

    VOID = ("meta", "br", "img", "link", "hr", "input")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []
        ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]
        assert len(ids) == len(set(ids))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data.replace("\u00a0", " ").replace("\u2212", "-") if "style" not in self.open else ""

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", self.text)


def page(tmp_path: Path, *paths: Path) -> Page:
    return Page(write_report(list(paths), tmp_path / "r.html"))


def of_kind(svg, kind: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(str(svg))
    return [node for node in root.iter() if kind in (node.get("class") or "").split()]


def test_the_table_of_steps_says_what_the_run_says(compressed, tmp_path):
    found = page(tmp_path, compressed)
    for measured in (START, SPARSE, SMALL):
        for key in ("bytes", "deflated_bytes", "arena_bytes"):
            assert f"{measured[key] / 1000:,.1f} kB" in found.words
        for key in ("top1", "float_top1"):
            assert f"{100 * measured[key]:.1f} %" in found.words
    assert "12.50 M" in found.words
    assert "777.2 k" in found.words
    assert "1.91 × (claimed)1.87 to 1.951.50 ms → 0.785 ms" in found.words
    assert "1.00 ×0.99 to 1.02" in found.words
    for row in story()["steps"]:
        assert row["verdict"]["sentence"] in found.words
    assert "left alone: head, it is <tiny>" in found.words
    assert "mse, head in int16x8" in found.words
    assert "240 validation examples" in found.words
    emphasized = [attributes for attributes in found.all("strong") if attributes.get("class") == "only"]
    assert len(emphasized) == 1  # one step alone helped nothing but a download
    assert "Speed on the board" not in found.words
    assert len(found.all("caption")) == len(found.all("table"))
    assert all(svg["role"] == "img" and len(svg["aria-label"]) > 20 for svg in found.all("svg"))


def test_each_column_claims_what_its_verdict_claims(compressed):
    (found,) = gather([compressed]).compressions
    start, first, second, total = steps.table(found)
    names = steps.columns(found)
    assert [cell.better for cell in start.cells] == [None] * len(names)
    claimed = {name for name, cell in zip(names, first.cells, strict=True) if cell.better}
    assert claimed == {"Deflated"}
    assert [cell.better for cell in second.cells] == [None, None, None, True, True, True, True, True]
    plain = [cell.figure.replace("\u2212", "-") for cell in (start.cells[2], first.cells[2], second.cells[2])]
    assert plain == ["—", "1.2", "-0.4"]
    assert (total.name, total.strong) == ("in all", True)
    assert first.cells[3].beside == ("same",)
    assert second.cells[3].beside == ("\u221267.3\u00a0%",)  # 31456 of 96320


def test_what_a_board_measured_gets_a_column_of_its_own(run_folder, made, tmp_path):
    told = story()
    told["steps"][1]["verdict"]["faster_on_board"] = False
    told["steps"][1]["on_board"] = speed(0.97, 0.96, 0.98)
    path = keep(tmp_path / "small", run_folder, made["int8"], made["int8"], told)
    (found,) = gather([path]).compressions
    rows = steps.table(found)
    assert steps.columns(found)[-1] == "Speed on the board"
    assert {len(row.cells) for row in rows} == {len(steps.columns(found))}
    assert (rows[2].cells[-1].figure, rows[2].cells[-1].better) == ("0.97\u00a0×", False)
    assert "Speed on the board" in page(tmp_path, path).words


def test_folder_and_json_tell_of_one_compression(compressed, tmp_path):
    told = {**story(), "run": str(compressed), "plan": {"scheme": "int8"}}
    del told["source"]
    printed = tmp_path / "result.json"
    printed.write_text(json.dumps(told), encoding="utf-8")
    (both,) = gather([printed, compressed]).compressions
    assert both.models is not None
    alone = page(tmp_path, printed)
    assert ZIP in alone.words
    assert "Weights before and after" in alone.words
    (tmp_path / "elsewhere.json").write_text(json.dumps({**told, "run": "gone/small"}), encoding="utf-8")
    assert "Weights before and after" not in page(tmp_path, tmp_path / "elsewhere.json").words


def test_a_compression_that_was_cut_off_shows_its_steps(compressed, run_folder, made, tmp_path):
    path = keep(tmp_path / "cut", run_folder, made["int8"], made["int8"])
    (path / "run.json").unlink()
    (path / "steps" / "02-prune-channels" / "report.json").unlink()
    found = page(tmp_path, path)
    assert "not finished" in found.words
    assert ZIP in found.words
    assert "in all" not in found.words
    assert "31.5 kB" not in found.words


def test_a_run_without_compression_has_no_such_chapter(run_folder, tmp_path):
    text = write_report([run_folder], tmp_path / "r.html").read_text(encoding="utf-8")
    assert not re.search(r"compress|verdict|\.hit|\.zero|chapter", text, re.IGNORECASE)


def test_the_best_run_of_a_search_tells_its_recipe(run_folder, tmp_path):
    path = tmp_path / "best"
    path.mkdir()
    value = json.loads((run_folder / "run.json").read_text(encoding="utf-8"))
    value["compress"] = {"source": "colours", "recipe": "qat:epochs=2", "search": "edgepress", "trial": 12}
    (path / "run.json").write_text(json.dumps(value), encoding="utf-8")
    (path / "model.keras").write_bytes((run_folder / "model.keras").read_bytes())
    assert "Recipe: qat:epochs=2. It comes from trial 12 of a search." in page(tmp_path, path).words


def test_kernels_are_the_real_weights_of_the_network(made, network):
    by_name = {layer.name: layer for layer in kernels.layers(made["int8"])}
    mix, blur, head = (network.get_layer(name).get_weights()[0] for name in ("mix", "blur", "head"))
    expected = {
        "mix": mix.transpose(3, 0, 1, 2),  # LiteRT stores (out, height, width, in)
        "blur": blur.transpose(3, 0, 1, 2),
        "head": head.T,
    }
    assert list(by_name) == ["mix", "blur", "head"]
    for name, weights in expected.items():
        axis = 3 if name == "blur" else 0
        others = tuple(i for i in range(weights.ndim) if i != axis)
        steps_ = np.abs(weights).max(axis=others, keepdims=True) / 127
        real = by_name[name].kernel.reshape(weights.shape)
        assert np.all(np.abs(real - weights) <= 0.51 * steps_ + 1e-9), name
    wide = {layer.name: layer for layer in kernels.layers(made["float32"])}
    for name, weights in expected.items():
        np.testing.assert_array_equal(wide[name].kernel, weights.reshape(-1).astype(np.float64))
    half = {layer.name: layer for layer in kernels.layers(made["float16"])}
    np.testing.assert_allclose(half["mix"].kernel, expected["mix"].reshape(-1), rtol=1e-3, atol=1e-6)


def test_scales_lie_along_the_axis_that_litert_names():
    layers = keras.layers
    net = [layers.DepthwiseConv2D(3, name="blur"), layers.Conv2D(4, 3, name="mix")]  # 3x3 kernels of 3 channels
    keras.utils.set_random_seed(6)
    model = keras.Sequential([keras.Input((6, 6, 3)), *net, layers.Flatten(), layers.Softmax()])
    inputs = np.random.default_rng(6).normal(size=(4, 6, 6, 3)).astype(np.float32)
    made = convert_here(model, ["int8"], representative=inputs)["int8"]
    expected = sorted(truth(made).values(), key=len)
    found = sorted((layer.kernel for layer in kernels.layers(made)), key=len)
    assert [len(kernel) for kernel in found] == [27, 108]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_histograms_count_what_numpy_counts(made, sparse):
    before, after = (np.concatenate(list(truth(model).values())) for model in (made["int8"], sparse))
    ours = [np.concatenate([layer.kernel for layer in kernels.layers(model)]) for model in (made["int8"], sparse)]
    np.testing.assert_allclose(np.sort(ours[0]), np.sort(before), rtol=1e-6)
    found = distribution.compare(*ours)
    for counts, real in ((found.before, before), (found.after, after)):
        others = real[real != 0]
        inner = np.histogram(others, found.edges)[0]
        assert counts.n == len(real)
        assert counts.zeros == len(real) - len(others)
        assert counts.bins.sum() == len(others)
        np.testing.assert_array_equal(counts.bins[1:-1], inner[1:-1])
        assert counts.bins[0] == np.count_nonzero(others < found.edges[1])
    assert found.after.zero_share == pytest.approx(0.6, abs=0.08)
    figure, *layers = histograms.weights(Pair(made["int8"], sparse))
    names = {"1. mix (CONV_2D)", "2. blur (DEPTHWISE_CONV_2D)", "3. head (FULLY_CONNECTED)"}
    assert layers
    assert {layer.title for layer in layers} <= names
    moved = [float(re.search(r"Moved by ([\d.]+)", layer.note)[1]) for layer in layers]
    assert moved == sorted(moved, reverse=True)
    tips = [node[0].text for node in of_kind(figure.svg, "hit")]
    told = [tuple(int(n.replace(",", "")) for n in re.findall(r"([\d,]+) (?:before|after)", tip)) for tip in tips]
    assert told == list(zip(found.before.bins.tolist(), found.after.bins.tolist(), strict=True))
    zeros = [node[0].text for node in of_kind(figure.svg, "zero")]
    assert zeros == [f"exact zeros: {c.zeros} {name}" for name, c in (("before", found.before), ("after", found.after))]
    assert charts.percent(found.after.zero_share) in of_kind(figure.svg, "note")[0].text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (np.zeros(5), np.zeros(3)),
        (np.zeros(0), np.ones(2)),
        (np.full(4, 0.25), np.full(9, 0.25)),
        (np.array([-3.0, -1.0]), np.array([-2.0, 0.0])),
        (np.r_[np.zeros(900), np.ones(100)], np.random.default_rng(0).normal(size=1000)),
    ],
    ids=["only zeros", "nothing before", "one value", "negative", "many zeros"],
)
def test_every_number_is_counted_once_and_can_be_drawn(before, after):
    found = distribution.compare(before, after)
    for counts, numbers in ((found.before, before), (found.after, after)):
        assert counts.zeros == np.count_nonzero(numbers == 0)
        assert counts.bins.sum() + counts.zeros == counts.n == len(numbers)
    assert found.edges[0] <= 0 <= found.edges[-1]
    svg = distribution.draw(found, alt="numbers", x_label="value", y_label="numbers")
    inside = [(float(node.get("y")), float(node.get("height"))) for node in of_kind(svg, "bar")]
    assert all(y >= charts.TOP - 0.05 and height >= -0.05 for y, height in inside)


def test_bars_of_zeros_that_would_dwarf_the_rest_are_cut_and_say_so():
    numbers = np.random.default_rng(1).normal(size=1000)
    svg = distribution.draw(distribution.compare(numbers, np.where(np.abs(numbers) < 1.5, 0, numbers)), alt="pruned",
                            x_label="value", y_label="weights")  # fmt: skip
    assert len(of_kind(svg, "break")) == 1
    assert of_kind(svg, "note")[0].text.startswith("zeros 0 % → 8")


def test_distance_is_how_far_numbers_moved():
    rng = np.random.default_rng(2)
    numbers = rng.normal(0, 2.0, 4001)
    spread = float(numbers.std())
    assert distribution.distance(numbers, numbers) == 0
    assert distribution.distance(numbers, rng.permutation(numbers)) == 0
    assert distribution.distance(numbers, numbers + 0.5) == pytest.approx(0.5 / spread, rel=1e-6)
    a, b = np.array([0.0, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])  # a quarter of the mass moves by 1
    assert distribution.distance(a, b) == pytest.approx(0.25 / 0.5, rel=0.02)


def test_layers_correspond_by_place_or_by_name():
    def layer(name: str, op: str) -> Layer:
        return Layer(name, op, np.zeros(1), 0)

    old = [layer("stem", "CONV_2D"), layer("mix", "CONV_2D"), layer("head", "FULLY_CONNECTED")]
    same = [layer("quant_stem", "CONV_2D"), layer("quant_mix", "CONV_2D"), layer("quant_head", "FULLY_CONNECTED")]
    assert [b.name for _, b in kernels.pairs(old, same)] == ["quant_stem", "quant_mix", "quant_head"]
    assert [(a.name, b.name) for a, b in kernels.pairs(old, [old[2], layer("new", "CONV_2D")])] == [("head", "head")]


def test_activations_are_those_of_the_model(made, sparse):
    inputs = normalize(pictures(9, seed=7)[0], SPEC)
    found = kernels.layers(made["float32"])
    outputs = kernels.outputs(made["float32"], found, inputs)
    mix = next(layer for layer in found if layer.name == "mix")
    kernel = mix.kernel.reshape(8, 3).T
    bias = np.array([0.1] * 7 + [-1.0])
    expected = np.maximum(inputs.reshape(-1, 3) @ kernel + bias, 0)
    np.testing.assert_allclose(outputs[mix.output].reshape(-1, 8), expected, atol=1e-4)
    drawn = histograms.activations(Pair(made["int8"], sparse, inputs))
    assert drawn
    assert all("outputs" in figure.note for figure in drawn)
    assert histograms.activations(Pair(made["int8"], sparse)) == ()
    many = np.zeros((kernels.MAX_EXAMPLES + 5, 12, 12, 3), np.float32)
    assert len(kernels.outputs(made["float32"], [mix], many)[mix.output]) == kernels.MAX_EXAMPLES * 12 * 12 * 8


def test_a_spotter_is_run_as_the_stream_that_it_is(spotter_file, speech_run, tmp_path):
    model = bytes(open_bundle(spotter_file).model)
    windows = heard_windows(6, seed=9)[0][..., np.newaxis].astype(np.float32)
    found = kernels.layers(model)
    scores = kernels.outputs(model, found[-1:], windows)[found[-1].output].reshape(6, -1, 3).astype(np.float64)
    logits = np.exp(scores[:, -1] - scores[:, -1].max(axis=1, keepdims=True))
    tensor = streaming.flatbuffer.specs(streaming.flatbuffer.graphs(model)[0], (0,))[0]
    assert tensor.shape[2] == HEARING.features
    frames = tensor.shape[1]
    stored = np.rint(windows / np.float32(tensor.scale)) + tensor.zero_point
    chunks = np.clip(stored, -128, 127).astype(np.int8).reshape(6, -1, frames, HEARING.features, 1)
    whole = (streaming.run(model, chunks)[:, -1].astype(np.float64) + 128) / 256
    np.testing.assert_allclose(logits / logits.sum(axis=1, keepdims=True), whole, atol=0.02)
    path = keep(tmp_path / "small", speech_run, model, zeroed(model, 0.5))
    np.save(path / "steps" / "representative.npy", windows)
    shown = page(tmp_path, path)
    assert "Activations before and after" in shown.words
    assert "Weights before and after" in shown.words
    assert "windows" in shown.words or "validation examples" in shown.words


def test_sensitivity_is_drawn_worst_first(compressed, run_folder, made, tmp_path):
    path = keep(tmp_path / "small", run_folder, made["int8"], made["int8"])
    rows = [{"name": f"layer_{i}", "damage": 0.1 * i - 0.2} for i in range(20)]
    (path / "steps" / "02-prune-channels" / "sensitivity.json").write_text(json.dumps(rows), encoding="utf-8")
    (found,) = gather([path]).compressions
    (one,) = found.sensitivity
    assert one.step == "prune-channels:0.5:epochs=2"
    figure = steps.sensitivity(one)
    bars = of_kind(figure.svg, "bar")
    assert [node[0].text for node in bars] == [f"layer_{i}: {0.1 * i - 0.2:.3g}" for i in range(19, 3, -1)]
    widths = [float(node.get("width")) for node in bars]
    assert widths[0] / widths[-1] == pytest.approx(1.7 / 0.2, rel=0.02)
    assert "16 of 20 layers are shown" in figure.note
    assert "Where it hurts" in page(tmp_path, path).words


def test_bars_below_zero_go_the_other_way():
    bars = of_kind(charts.bars(["up", "down"], [1.0, -0.5], alt="two", x_label="damage"), "bar")
    (up, down) = [(float(b.get("x")), float(b.get("x")) + float(b.get("width"))) for b in bars]
    assert up[0] == pytest.approx(down[1], abs=0.2)
    assert up[1] - up[0] == pytest.approx(2 * (down[1] - down[0]), abs=0.3)


def test_the_front_runs_through_its_points(hunted):
    (found,) = gather([hunted]).searches
    for figure, cost in zip(pareto.figures(found), ("bytes", "latency_ms"), strict=True):
        (line,) = of_kind(figure.svg, "line")
        corners = line.get("points").split()
        dots = {f"{d.get('cx')},{d.get('cy')}" for d in of_kind(figure.svg, "dot") if "start" not in d[0].text}
        assert set(corners) == dots
        assert len(corners) == len(FRONT)
        xs = [float(corner.split(",")[0]) for corner in corners]
        ordered = sorted(FRONT, key=lambda p: p[cost])
        share = [(x - xs[0]) / (xs[-1] - xs[0]) for x in xs]
        costs = [p[cost] for p in ordered]
        assert share == pytest.approx([(c - costs[0]) / (costs[-1] - costs[0]) for c in costs], abs=0.002)
        ys = [float(corner.split(",")[1]) for corner in corners]
        assert ys == sorted(ys, reverse=True)  # upwards on a screen is a smaller y
        tried = [node[0].text for node in of_kind(figure.svg, "tried")]
        assert sorted(int(re.match(r"trial (\d+)", text)[1]) for text in tried) == [0, 5]


def test_limits_are_lines_where_they_are(hunted):
    (found,) = gather([hunted]).searches
    size, spent = pareto.figures(found)
    upright, level = sorted(of_kind(size.svg, "mark"), key=lambda node: node.get("x1") != node.get("x2"))
    (line,) = of_kind(size.svg, "line")
    (x0, y0), *_, (x1, y1) = [tuple(map(float, c.split(","))) for c in line.get("points").split()]
    at = (float(upright.get("x1")) - x0) / (x1 - x0)
    assert at == pytest.approx((60_000 - 14_000) / (96_320 - 14_000), abs=0.002)
    height = (float(level.get("y1")) - y0) / (y1 - y0)
    assert height == pytest.approx((0.92 - 0.88) / (0.948 - 0.88), abs=0.01)  # 3 points below 95 %
    assert [node.text for node in of_kind(size.svg, "note")] == ["at most 60 kB", "at least 92 %"]
    assert "the limit of 5 ms" in spent.note  # far from every point, so not drawn
    assert [node.text for node in of_kind(spent.svg, "note")] == ["at least 92 %"]


def test_recipes_of_the_front_come_with_their_commands(hunted, tmp_path):
    found = page(tmp_path, hunted)
    for row in FRONT:
        assert f"{100 * row['top1']:.1f} %" in found.words
        assert f"{row['bytes'] / 1000:,.1f} kB" in found.words
        command = shlex.join(["edgepress", "compress", "runs/my cells", "--recipe", row["recipe"], "--seed", "3",
                              "--out", f"hunt-{row['number']}"])  # fmt: skip
        assert command in found.words
    assert "11 complete, 1 fail" in found.words
    assert "at most 60.0 kB, at most 5.00 ms, at most 3 points below the float model" in found.words
    assert "times were measured on the machine that searched" in found.words
    rows = pareto.table(searched.of_file(hunted / "search.json"))
    assert [(row.row.name, row.row.cells[-1], row.row.strong) for row in rows] == [
        ("9", "no", False), ("4", "best", True), ("7", "no", False),
    ]  # fmt: skip
    assert "Weights before and after" in found.words  # the kept files of trial 0 and of the best


@pytest.mark.parametrize("given", ["folder", "file", "printed"])
def test_a_search_is_found_however_it_is_given(hunted, tmp_path, given):
    path = {"folder": hunted, "file": hunted / "search.json", "printed": tmp_path / "printed.json"}[given]
    if given == "printed":
        path.write_text((hunted / "search.json").read_text(encoding="utf-8"), encoding="utf-8")
    (found,) = gather([path]).searches
    assert [dataclasses.asdict(p) for p in found.front] == FRONT
    assert found.name == ("printed" if given == "printed" else "hunt")
    assert (found.models is None) == (given == "printed")


def test_a_search_without_limits_or_success_makes_a_page(hunted, tmp_path):
    value = {**FOUND, "best": None, "limits": {"max_bytes": None, "max_latency_ms": None, "max_drop": None}}
    del value["source"], value["options"]
    (hunted / "search.json").write_text(json.dumps(value), encoding="utf-8")
    found = page(tmp_path, hunted)
    assert "nothing in particular" in found.words
    assert "edgepress compress RUN --recipe qat:epochs=2 --out hunt-7" in found.words
    (hunted / "search.json").write_text(json.dumps({**value, "pareto": [], "tried": []}), encoding="utf-8")
    assert "0 recipes were tried in full" in page(tmp_path, hunted).words


def test_the_model_as_it_is_needs_no_compression(hunted, tmp_path):
    value = {**FOUND, "pareto": [TRIED[0]], "tried": [TRIED[0]], "best": TRIED[0]}
    (hunted / "search.json").write_text(json.dumps(value), encoding="utf-8")
    found = page(tmp_path, hunted)
    assert "the model as it is" in found.words
    assert "edgepress convert 'runs/my cells' --out hunt-0.edge" in found.words


def test_nothing_can_write_into_the_page(run_folder, made, hunted, tmp_path):
    told = json.loads(json.dumps(story()).replace("prune:0.8", EVIL.replace('"', '\\"')))
    told["steps"][0]["notes"] = [EVIL]
    told["steps"][0]["verdict"]["sentence"] = f"zip size only{EVIL}"
    path = keep(tmp_path / "small", run_folder, made["int8"], made["int8"], {**told, "steps": told["steps"][1:]})
    value = json.loads((path / "run.json").read_text(encoding="utf-8"))
    value["compress"] = told
    (path / "run.json").write_text(json.dumps(value), encoding="utf-8")
    rows = [{"name": EVIL, "damage": 1.0}]
    (path / "steps" / "01-prune-channels" / "sensitivity.json").write_text(json.dumps(rows), encoding="utf-8")
    search = {**FOUND, "pareto": [{**FRONT[0], "recipe": EVIL}], "latency_on": EVIL, "best": None}
    (hunted / "search.json").write_text(json.dumps(search), encoding="utf-8")
    found = page(tmp_path, path, hunted)
    assert found.all("script") == []
    assert found.words.count("<script>alert('x')</script>&\"") >= 6


DAMAGE = [
    ("search.json", "{", "search.json is damaged: it is no JSON"),
    ("search.json", "[]", "search.json is damaged: it is no object"),
    ("search.json", "{}", "search.json has no result yet"),
    ("search.json", {**FOUND, "pareto": [{"number": 1}]}, "search.json: pareto is damaged: it lacks recipe"),
    ("search.json", {**FOUND, "start": {**START, "top1": float("nan")}}, "start is damaged: top1 is not what was"),
    ("search.json", {**FOUND, "limits": {"max_bytes": "60kB"}}, "limits is damaged: max_bytes is not"),
    ("search.json", {**FOUND, "tried": 5}, "search.json is damaged: tried is not what was written there"),
    ("trials/0000/point.json", "x", "point.json is damaged: it is no JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "sentence"), DAMAGE)
def test_a_damaged_search_is_one_sentence(hunted, name, content, sentence):
    (hunted / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(EdgepressError) as caught:
        gather([hunted])
    assert sentence in caught.value.what
    assert "\n" not in caught.value.what


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("steps/01-prune/report.json", "{", "01-prune/report.json is damaged: it is no JSON"),
        ("steps/01-prune/report.json", {**story()["steps"][0], "after": {}}, "json: after is damaged: it lacks n"),
        ("steps/01-prune/report.json", {**story()["steps"][0], "speedup": {"ratio": 1}}, "speedup is damaged: it"),
        ("steps/00-start/measured.json", {**START, "bytes": "many"}, "measured.json is damaged: bytes is not what"),
        ("steps/00-start/model.tflite", "TFL", "the model before compression is not a TensorFlow Lite model"),
        ("steps/01-prune/sensitivity.json", {"name": 1}, "sensitivity.json is damaged: it is no list of layers"),
        ("steps/01-prune/sensitivity.json", [{"name": "a"}], "sensitivity.json is damaged: it lacks damage"),
        ("steps/representative.npy", "hello", "representative.npy is damaged: it holds no array of examples"),
        ("config.json", {"recipe": 3}, "config.json is damaged: recipe is not what was written there"),
    ],
)  # fmt: skip
def test_a_damaged_step_is_one_sentence(run_folder, made, tmp_path, name, content, sentence):
    path = keep(tmp_path / "cut", run_folder, made["int8"], made["int8"])
    (path / "run.json").unlink()
    (path / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(EdgepressError) as caught:
        write_report([path], tmp_path / "r.html")
    assert sentence in caught.value.what
    assert not (tmp_path / "r.html").exists()


def test_a_damaged_story_of_a_run_is_one_sentence(run_folder, made, tmp_path):
    told = story()
    del told["steps"][1]["verdict"]["sentence"]
    path = keep(tmp_path / "small", run_folder, made["int8"], made["int8"])
    value = json.loads((path / "run.json").read_text(encoding="utf-8"))
    (path / "run.json").write_text(json.dumps({**value, "compress": told}), encoding="utf-8")
    with pytest.raises(EdgepressError, match=r"run\.json: step 2: verdict is damaged: it lacks sentence"):
        gather([path])


def test_examples_of_another_shape_are_one_sentence(compressed, run_folder, made, sparse, tmp_path):
    path = keep(tmp_path / "small", run_folder, made["int8"], sparse)
    np.save(path / "steps" / "representative.npy", np.zeros((2, 5, 5, 3), np.float32))
    with pytest.raises(EdgepressError, match="do not run through its models"):
        write_report([path], tmp_path / "r.html")


def test_the_same_findings_give_the_same_page(compressed, hunted):
    findings = gather([compressed, hunted])
    assert render(findings) == render(findings)


def test_the_command_takes_runs_and_searches(compressed, hunted, tmp_path):
    out = tmp_path / "r.html"
    done = edgepress("report", compressed, hunted, "--out", out, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"report": str(out)})
    found = Page(out)
    assert "Compression to small" in found.words
    assert "Search hunt" in found.words
    assert run.load(compressed).compress["recipe"] in found.words
