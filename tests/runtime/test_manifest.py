"""The manifest: what is written is read back, and half-understood manifests are refused with the key that is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_runtime import manifest
from edgepress_runtime.errors import BundleError
from edgepress_runtime.manifest import ImageSpec, Manifest, TensorSpec

FINE = Manifest(
    name="pets",
    task="image-classification",
    inputs=(TensorSpec("in", (1, 4, 4, 1), "int8", 0.5, -128),),
    outputs=(TensorSpec("out", (1, 2), "float32"),),
    preprocessing=ImageSpec(4, 4, 1, (0.0,), (255.0,)),
    labels=("cat", "zèbre"),
    members={"model.tflite": "0" * 64},
    thresholds={"reject": 0.5},
    metrics={"top1": {"value": 0.9, "n": 100}},
)

texts = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=20)


@given(
    labels=st.lists(texts.filter(str.strip), min_size=1, max_size=5, unique=True),
    scale=st.floats(1e-6, 1e6),
    zero=st.integers(-128, 127),
    mean=st.floats(-1000, 1000),
    metrics=st.dictionaries(texts, st.one_of(st.none(), st.booleans(), texts, st.floats(-1e9, 1e9))),
)
def test_what_is_written_is_read_back(labels, scale, zero, mean, metrics):
    spec = Manifest(
        name="a",
        task="image-classification",
        inputs=(TensorSpec("x", (1, 2, 3, 1), "int8", scale, zero),),
        outputs=(TensorSpec("y", (1, len(labels)), "float32"),),
        preprocessing=ImageSpec(2, 3, 1, (mean,), (1.5,), "pad"),
        labels=tuple(labels),
        members={"model.tflite": "a" * 64},
        metrics=metrics,
    )
    assert manifest.load(manifest.dump(spec)) == spec


def changed(path: str, value: object) -> bytes:
    """The fine manifest as JSON with one key set; `path` is dotted."""
    whole = json.loads(manifest.dump(FINE))
    at = whole
    *folders, last = path.split(".")
    for folder in folders:
        at = at[int(folder)] if isinstance(at, list) else at[folder]
    at[last] = value
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("extra", 1, "manifest.json has the unknown key 'extra'"),
        ("preprocessing.gamma", 2.2, "preprocessing has the unknown key 'gamma'"),
        ("inputs.0.unit", "V", "inputs[0] has the unknown key 'unit'"),
        ("name", 7, "name should be str, not int"),
        ("name", "../evil", "the name '../evil' is not usable as a folder name"),
        ("name", "", "the name '' is not usable as a folder name"),
        ("name", "a" * 65, f"the name '{'a' * 65}' is not usable as a folder name"),
        ("name", ".lock", "the name '.lock' is not usable as a folder name"),
        ("task", "time-travel", "unknown task 'time-travel'"),
        ("format", 2, "this bundle has format 2; this runtime reads up to 1"),
        ("format", True, "manifest.json has the unknown format True"),
        ("format", "1", "manifest.json has the unknown format '1'"),
        ("inputs", [], "a manifest needs at least one input and one output tensor"),
        ("inputs", {}, "inputs should be list, not dict"),
        ("inputs.0.shape", [1, 0], "tensor 'in' has the impossible shape [1, 0]"),
        ("inputs.0.shape", [1] * 9, f"tensor 'in' has the impossible shape {[1] * 9}"),
        ("inputs.0.shape", [True], "inputs[0].shape should be int, not bool"),
        ("inputs.0.dtype", "float64", "tensor 'in' has the unknown dtype 'float64'"),
        ("inputs.0.scale", 0, "tensor 'in' has the impossible scale 0.0"),
        ("inputs.0.scale", None, "tensor 'in' needs both scale and zero_point, or neither"),
        ("inputs.0.zero_point", 128, "tensor 'in' has the zero point 128, outside int8"),
        ("inputs.0.zero_point", 0.5, "inputs[0].zero_point should be int, not float"),
        ("outputs.0.scale", 1.0, "tensor 'out' needs both scale and zero_point, or neither"),
        ("preprocessing.kind", "smell", "unknown preprocessing 'smell'"),
        ("preprocessing.std", [0], "std must be between 1e-6 and 1e6, got [0.0]"),
        ("preprocessing.mean", ["x"], "preprocessing.mean should be a finite number, not 'x'"),
        ("preprocessing.mean", [1, 2], "mean and std need 1 numbers, got 2 and 1"),
        ("preprocessing.fit", "squeeze", "unknown fit 'squeeze'; known: stretch, crop, pad"),
        ("preprocessing.height", 5000, "an image size of 5000x4 is outside 1 to 4096 pixels"),
        ("preprocessing.channels", 4, "an image has 1 or 3 channels, not 4"),
        ("labels", ["a", "a"], "the labels are missing or not distinct"),
        ("labels", [], "the labels are missing or not distinct"),
        (
            "labels",
            ["a", "b\x1b[31m"],
            "the label 'b\\x1b[31m' is empty, or holds control characters or bytes that are no UTF-8",
        ),
        ("labels", ["a", "b\nc"], "the label 'b\\nc' is empty, or holds control characters or bytes that are no UTF-8"),
        ("labels", ["a", 1], "labels should be str, not int"),
        ("members", {"../evil": "0" * 64}, "the member name '../evil' is not allowed in a bundle"),
        ("members", {"a": "xyz"}, "the checksum of 'a' is not a SHA-256 in hex"),
        ("thresholds", {"reject": "high"}, "thresholds.reject should be a finite number, not 'high'"),
        ("created", None, "created should be str, not NoneType"),
    ],
)
def test_wrong_values_are_named(path, value, sentence):
    with pytest.raises(BundleError) as caught:
        manifest.load(changed(path, value))
    assert caught.value.what == sentence


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"format": 1, "format": 1}',
        b'{"format": NaN}',
        b'{"format": 1e999}',
        b'{"format": ' + b"9" * 100_000 + b"}",
        b"[" * 100_000,
        b'{"a": ' * 100_000,
        b'{"format": "\\ud800"}',
    ],
    ids=["empty", "list", "utf16", "twice", "nan", "overflow", "digits", "deep", "deeper", "surrogate"],
)
def test_text_that_is_not_strict_json(data):
    with pytest.raises(BundleError, match=r"^manifest\.json (cannot be read|does not hold an object)"):
        manifest.load(data)


def test_a_missing_key_is_named():
    whole = json.loads(manifest.dump(FINE))
    for key in whole:
        if key == "format":
            continue
        rest = {k: v for k, v in whole.items() if k != key}
        with pytest.raises(BundleError, match=f"manifest.json lacks the key '{key}'"):
            manifest.load(json.dumps(rest).encode())


def test_what_json_does_not_know_is_refused_when_written():
    from dataclasses import replace

    for value in (float("nan"), object()):
        with pytest.raises(BundleError, match="something that JSON does not know"):
            manifest.dump(replace(FINE, metrics={"top1": value}))
