"""The manifest: what is written is read back, and half-understood manifests are refused with the key that is wrong."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_runtime import manifest
from edgepress_runtime.errors import BundleError
from edgepress_runtime.manifest import DetectionSpec, ImageSpec, Manifest, Pcen, SpeechSpec, TensorSpec

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

HEARD = Manifest(
    name="computer",
    task="keyword-spotting",
    inputs=(TensorSpec("in", (1, 2, 40, 1), "int8", 0.5, -128), TensorSpec("state", (1, 4, 8), "int8", 0.5, 3)),
    outputs=(TensorSpec("out", (1, 2), "int8", 1 / 256, -128), TensorSpec("next", (1, 4, 8), "int8", 0.5, 3)),
    preprocessing=SpeechSpec("log-mel", pcen=Pcen(0.04, 0.98, 2.0, 0.5)),
    labels=("computer", "unknown"),
    members={"model.tflite": "0" * 64},
    thresholds={"computer": 0.8},
    detection=DetectionSpec(window_frames=75, smoothing_ms=200.0, refractory_ms=1000.0),
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


@given(
    st.sampled_from(["log-mel", "mfcc"]),
    st.integers(4_000, 48_000),
    st.integers(1, 256),
    st.floats(0, 1000),
    st.one_of(
        st.none(),
        st.builds(Pcen, st.floats(1e-4, 1), st.floats(0, 1), st.floats(1e-3, 1e3), st.floats(0.01, 1)),
    ),
    st.one_of(st.integers(-5, 5), st.floats(-1e6, 1e6)),
    st.builds(DetectionSpec, st.integers(1, 1000), st.floats(0, 60_000), st.floats(0, 60_000)),
)
@settings(max_examples=50)
def test_what_is_written_of_sound_is_read_back(front_end, rate_hz, bands, low_hz, pcen, mean, detection):
    spec = SpeechSpec(
        front_end,
        rate_hz,
        bands=bands,
        low_hz=low_hz,
        high_hz=rate_hz / 2,
        coefficients=bands if front_end == "mfcc" else 0,
        pcen=pcen if front_end == "log-mel" else None,
        mean=mean,
    )
    whole = replace(HEARD, preprocessing=spec, detection=detection)
    assert manifest.load(manifest.dump(whole)) == whole
    assert spec.features == bands
    kept = manifest.dump_preprocessing(spec)
    assert manifest.load_preprocessing(json.loads(json.dumps(kept))) == spec
    assert kept["kind"] == "speech" and set(kept) == {"kind", *asdict(spec)}


def changed(path: str, value: object, whole: Manifest = FINE) -> bytes:
    """The manifest as JSON with one key set; `path` is dotted."""
    at = full = json.loads(manifest.dump(whole))
    *folders, last = path.split(".")
    for folder in folders:
        at = at[int(folder)] if isinstance(at, list) else at[folder]
    at[last] = value
    return json.dumps(full).encode()


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
        ("task", "keyword-spotting", "the task keyword-spotting cannot go with the preprocessing of another one"),
        (
            "detection",
            {"window_frames": 1, "smoothing_ms": 0, "refractory_ms": 0},
            "the task image-classification has no detection",
        ),
        ("detection", [], "detection should be dict, not list"),
        ("detection", {}, "detection lacks the key 'refractory_ms'"),
    ],
)
def test_wrong_values_are_named(path, value, sentence):
    with pytest.raises(BundleError) as caught:
        manifest.load(changed(path, value))
    assert caught.value.what == sentence


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("detection", None, "the task keyword-spotting lacks its detection"),
        (
            "task",
            "image-classification",
            "the task image-classification cannot go with the preprocessing of another one",
        ),
        ("detection.extra", 1, "detection has the unknown key 'extra'"),
        ("detection.window_frames", 1.5, "detection.window_frames should be int, not float"),
        ("detection.window_frames", 0, "a window of 0 frames is outside 1 to 100000"),
        ("detection.smoothing_ms", -1, "smoothing_ms must be between 0 and 60000, got -1.0"),
        ("detection.smoothing_ms", "1", "detection.smoothing_ms should be a finite number, not '1'"),
        ("detection.refractory_ms", 60_001, "refractory_ms must be between 0 and 60000, got 60001.0"),
        ("detection.refractory_ms", True, "detection.refractory_ms should be a finite number, not True"),
        ("preprocessing.gain", 1, "preprocessing has the unknown key 'gain'"),
        ("preprocessing.kind", "image", "preprocessing lacks the key 'channels'"),
        ("preprocessing.front_end", "lpc", "unknown front end 'lpc'; known: log-mel, mfcc, micro"),
        ("preprocessing.front_end", None, "preprocessing.front_end should be str, not NoneType"),
        ("preprocessing.rate_hz", 16_000.0, "preprocessing.rate_hz should be int, not float"),
        ("preprocessing.rate_hz", 3_999, "a front end's rate must be between 4000 and 48000 Hz, got 3999"),
        ("preprocessing.rate_hz", True, "preprocessing.rate_hz should be int, not bool"),
        ("preprocessing.window", 15, "frames of 15 samples every 320 are outside 16 to 16384 and 1 to 16384"),
        (
            "preprocessing.window",
            1 << 40,
            f"frames of {1 << 40} samples every 320 are outside 16 to 16384 and 1 to 16384",
        ),
        ("preprocessing.hop", 0, "frames of 480 samples every 0 are outside 16 to 16384 and 1 to 16384"),
        ("preprocessing.bands", 257, "a front end has 1 to 256 bands, not 257"),
        ("preprocessing.low_hz", -1, "bands from -1.0 to 7600.0 Hz do not lie within 0 to 8000.0 Hz"),
        ("preprocessing.low_hz", 7600, "bands from 7600.0 to 7600.0 Hz do not lie within 0 to 8000.0 Hz"),
        ("preprocessing.high_hz", 8000.5, "bands from 60.0 to 8000.5 Hz do not lie within 0 to 8000.0 Hz"),
        ("preprocessing.coefficients", 10, "log-mel has no coefficients, but 10 are asked for"),
        ("preprocessing.std", 0, "mean must be within 1e6 and std 1e-6 to 1e6, got 0.0 and 0.0"),
        ("preprocessing.mean", 2e6, "mean must be within 1e6 and std 1e-6 to 1e6, got 2000000.0 and 1.0"),
        ("preprocessing.pcen", 1, "preprocessing.pcen should be dict, not int"),
        ("preprocessing.pcen", {}, "preprocessing.pcen lacks the key 'bias'"),
        ("preprocessing.pcen.eps", 1, "preprocessing.pcen has the unknown key 'eps'"),
        ("preprocessing.pcen.gain", "1", "preprocessing.pcen.gain should be a finite number, not '1'"),
        ("preprocessing.pcen.smoothing", 0, "PCEN's smoothing must be between 0.0001 and 1.0, got 0.0"),
        ("preprocessing.pcen.gain", 1.1, "PCEN's gain must be between 0.0 and 1.0, got 1.1"),
        ("preprocessing.pcen.bias", 0, "PCEN's bias must be between 0.001 and 1000.0, got 0.0"),
        ("preprocessing.pcen.power", 2, "PCEN's power must be between 0.01 and 1.0, got 2.0"),
    ],
)
def test_wrong_values_of_sound_are_named(path, value, sentence):
    with pytest.raises(BundleError) as caught:
        manifest.load(changed(path, value, HEARD))
    assert caught.value.what == sentence


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"front_end": "mfcc"}, "mfcc keeps 1 to 40 coefficients, not 0"),
        ({"front_end": "mfcc", "coefficients": 41}, "mfcc keeps 1 to 40 coefficients, not 41"),
        ({"front_end": "mfcc", "coefficients": 10, "pcen": Pcen(0.1, 1, 1, 1)}, "mfcc cannot be combined with PCEN"),
        ({"front_end": "micro"}, "the micro front end has 40 bands of 30 ms every 10 ms at 16 kHz, and nothing else"),
        ({"front_end": "micro", "hop": 160, "pcen": Pcen(0.1, 1, 1, 1)}, "micro cannot be combined with PCEN"),
        (
            {"front_end": "log-mel", "std": float("nan")},
            "mean must be within 1e6 and std 1e-6 to 1e6, got 0.0 and nan",
        ),
    ],
)
def test_front_ends_that_do_not_exist(given, sentence):
    with pytest.raises(BundleError) as caught:
        SpeechSpec(**given)
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
    for whole in (json.loads(manifest.dump(FINE)), json.loads(manifest.dump(HEARD))):
        for key in whole:
            if key in ("format", "version"):
                continue
            rest = {k: v for k, v in whole.items() if k != key}
            with pytest.raises(BundleError, match=f"manifest.json lacks the key '{key}'"):
                manifest.load(json.dumps(rest).encode())
        for key in whole["preprocessing"]:
            rest = {k: v for k, v in whole["preprocessing"].items() if k != key}
            with pytest.raises(BundleError, match=f"preprocessing lacks the key '{key}'|unknown preprocessing None"):
                manifest.load(json.dumps({**whole, "preprocessing": rest}).encode())


def test_what_json_does_not_know_is_refused_when_written():
    for value in (float("nan"), object()):
        with pytest.raises(BundleError, match="something that JSON does not know"):
            manifest.dump(replace(FINE, metrics={"top1": value}))


def test_a_manifest_without_a_version_has_the_first():
    value = json.loads(manifest.dump(FINE))
    del value["version"]
    assert manifest.load(json.dumps(value).encode()).version == 1
    for version in (0, -1, 2**60, True, "2"):
        with pytest.raises(BundleError, match="version"):
            manifest.load(json.dumps({**value, "version": version}).encode())
