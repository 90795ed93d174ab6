"""Bundles: byte for byte the same, aligned, readable by any zip reader, and refused when their cases do not hold."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.convert.conftest import LABELS, SPEC, pack, pictures

from edgepress_convert import bundle, flatbuffer
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import BundleError, EdgepressError
from edgepress_runtime.image import normalize, quantize
from edgepress_runtime.manifest import ImageSpec, SpeechSpec, TensorSpec
from edgepress_runtime.selftest import self_test


@pytest.mark.parametrize("scheme", ["float32", "float16", "dynamic", "int8", "int16x8"])
def test_what_goes_in_comes_out(scheme: str, made: dict[str, bytes], tmp_path: Path) -> None:
    written = pack(tmp_path / "x.edge", made[scheme], metrics={"val": {"n": 3}}, recipe={"a": [1, None]})
    opened = open_bundle(tmp_path / "x.edge")
    assert opened.manifest == written
    assert bytes(opened.model) == made[scheme]
    assert (opened.manifest.labels, opened.manifest.preprocessing) == (LABELS, SPEC)
    with open_engine(opened.model_source) as engine:
        assert self_test(opened, engine).ok
        engine.expect(written.inputs, written.outputs)
    assert [path.name for path in tmp_path.iterdir()] == ["x.edge"]


def test_the_same_arguments_give_the_same_bytes(made: dict[str, bytes], tmp_path: Path) -> None:
    for name in ("a.edge", "b.edge"):
        pack(tmp_path / name, made["int8"])
    assert (tmp_path / "a.edge").read_bytes() == (tmp_path / "b.edge").read_bytes()


@pytest.mark.parametrize("name", ["x", "a-much-longer-name.of-64-characters"])
def test_members_are_stored_dated_1980_and_the_model_is_aligned(
    name: str, made: dict[str, bytes], tmp_path: Path
) -> None:
    pack(tmp_path / "x.edge", made["int8"], name=name)
    data = (tmp_path / "x.edge").read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "labels.txt", "golden.npz", "model.tflite"]
        for info in archive.infolist():
            assert (info.compress_type, info.date_time) == (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))
    assert data.index(made["int8"]) % bundle.ALIGNMENT == 0


@pytest.mark.parametrize("before", range(0, 64, 7))
def test_alignment_whatever_comes_before(before: int) -> None:
    data = bundle.archive({"manifest.json": bytes(before), "model.tflite": b"MODEL" * 20})
    assert data.index(b"MODEL") % bundle.ALIGNMENT == 0
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("model.tflite") == b"MODEL" * 20


def golden(model: bytes, n: int = 24) -> bundle.Golden:
    graph = flatbuffer.graphs(model)[0]
    stored = quantize(normalize(pictures(n, seed=4)[0], SPEC), flatbuffer.specs(graph, graph.inputs)[0])
    return bundle.golden_cases(model, stored)


def test_golden_cases_hold_under_every_kernel_and_thread_count(made: dict[str, bytes]) -> None:
    cases = golden(made["int8"])
    assert 1 <= len(cases.inputs) <= bundle.GOLDEN_CASES
    assert cases.stable == len(cases.inputs)
    for threads, xnnpack in ((1, True), (2, True), (4, True), (1, False), (2, False)):
        with open_engine(made["int8"], threads=threads, xnnpack=xnnpack) as engine:
            for given, expected in zip(cases.inputs, cases.outputs, strict=True):
                assert (engine.run(given[np.newaxis])[0][0] == expected).all()


@pytest.mark.parametrize("scheme", ["int8", "float32"])
def test_one_changed_answer_is_caught_and_nothing_is_written(
    scheme: str, made: dict[str, bytes], tmp_path: Path
) -> None:
    cases = golden(made[scheme])
    outputs = cases.outputs.copy()
    outputs[-1, 0] += 1 if scheme == "int8" else 1e-3
    with pytest.raises(BundleError, match="the bundle fails its own self-test: 1 of"):
        pack(tmp_path / "x.edge", made[scheme], golden=dataclasses.replace(cases, outputs=outputs))
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_old_bundle(made: dict[str, bytes], tmp_path: Path) -> None:
    pack(tmp_path / "x.edge", made["int8"])
    old = (tmp_path / "x.edge").read_bytes()
    with pytest.raises(EdgepressError, match=r"x\.edge exists already"):
        pack(tmp_path / "x.edge", made["float32"])
    with pytest.raises(BundleError, match="2 labels"):
        pack(tmp_path / "x.edge", made["float32"], labels=("a", "b"), force=True)
    assert (tmp_path / "x.edge").read_bytes() == old
    pack(tmp_path / "x.edge", made["float32"], force=True)
    assert (tmp_path / "x.edge").read_bytes() != old


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"labels": LABELS[:2]}, "the model gives [1, 3], which does not fit 2 labels"),
        ({"labels": ("a", "b", "a")}, "the labels are missing or not distinct"),
        ({"name": "../x"}, "the name '../x' is not usable as a folder name"),
        ({"task": "dance"}, "unknown task 'dance'"),
        (
            {"preprocessing": ImageSpec(12, 16, 3, (0.0,) * 3, (1.0,) * 3)},
            "the model takes [1, 12, 12, 3], the preprocessing gives [1, 12, 16, 3]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict, sentence: str, made: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        pack(tmp_path / "x.edge", made["int8"], **changes)
    assert caught.value.what == sentence
    assert not list(tmp_path.iterdir())


def test_the_name_must_end_in_edge(made: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(EdgepressError, match=r"should end in \.edge"):
        pack(tmp_path / "x.zip", made["int8"])


def frames(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, shape, "float32")


@pytest.mark.parametrize(
    ("inputs", "outputs", "sentence"),
    [
        (
            (frames("x", 1, 2, 13, 1),),
            (frames("y", 1, 2),),
            "the model takes [1, 2, 13, 1], the preprocessing gives frames of 12 features",
        ),
        (
            (frames("x", 1, 2, 12, 1), frames("s", 1, 3, 1, 4)),
            (frames("y", 1, 2), frames("t", 1, 3, 1, 5)),
            "the states that the model takes are not those that it gives",
        ),
        ((frames("x", 1, 2, 12, 1),), (frames("y", 1, 3),), "the model gives [1, 3], which does not fit 2 labels"),
    ],
)
def test_a_spotter_that_does_not_fit(inputs, outputs, sentence: str) -> None:
    with pytest.raises(BundleError) as caught:
        bundle.check_shapes(SpeechSpec("log-mel", bands=12), ("a", "unknown"), inputs, outputs)
    assert caught.value.what == sentence
