"""What a bundle says about itself: data classes and strict JSON.

Format 1 of `manifest.json`. Reading is strict: an unknown or missing key, a wrong type, a duplicate key or a number
that JSON does not know (NaN) is an error that names the key, since a manifest that is half understood would let the
board preprocess differently from training.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgepress_runtime import strict_json, teaching
from edgepress_runtime.errors import BundleError
from edgepress_runtime.preprocessing import (
    PREPROCESSING,
    ImageSpec,
    Pcen,
    Preprocessing,
    SpeechSpec,
    TextSpec,
    dump_preprocessing,
    load_preprocessing,
)
from edgepress_runtime.strict_json import member, number, of
from edgepress_runtime.teaching import TeachingSpec

__all__ = [
    "PREPROCESSING",
    "DetectionSpec",
    "ImageSpec",
    "Manifest",
    "Pcen",
    "Preprocessing",
    "SpeechSpec",
    "TeachingSpec",
    "TensorSpec",
    "TextSpec",
    "check_labels",
    "dump",
    "dump_preprocessing",
    "load",
    "load_preprocessing",
]

FORMAT = 1
# task -> what prepares its input
TASKS = {"image-classification": ImageSpec, "keyword-spotting": SpeechSpec, "text-classification": TextSpec}
DTYPES = ("float32", "int8", "uint8", "int16", "int32")
RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MEMBER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MOST_VERSION = 2**53  # what every reader of JSON can tell apart
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class DetectionSpec:
    """How a stream's scores become detections.

    The model sees `window_frames` frames at once. Scores are averaged over `smoothing_ms`; after a detection the same
    label is deaf for `refractory_ms`.
    """

    window_frames: int
    smoothing_ms: float
    refractory_ms: float

    def __post_init__(self) -> None:
        if not 1 <= self.window_frames <= 100_000:
            raise BundleError(f"a window of {self.window_frames} frames is outside 1 to 100000")
        for name in ("smoothing_ms", "refractory_ms"):
            if not 0 <= getattr(self, name) <= 60_000:
                raise BundleError(f"{name} must be between 0 and 60000, got {getattr(self, name)}")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of the model. `real = (stored - zero_point) * scale`; both are None for floats."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise BundleError(f"tensor {self.name!r} has the unknown dtype {self.dtype!r}")
        if not 1 <= len(self.shape) <= 8 or not all(0 < n <= 1 << 24 for n in self.shape):
            raise BundleError(f"tensor {self.name!r} has the impossible shape {list(self.shape)}")
        if (self.scale is None) != (self.zero_point is None):
            raise BundleError(f"tensor {self.name!r} needs both scale and zero_point, or neither")
        if self.scale is None or self.zero_point is None:
            return
        if self.dtype not in RANGES:
            raise BundleError(f"tensor {self.name!r} is {self.dtype}, which has no scale")
        if not 1e-30 <= self.scale <= 1e30:
            raise BundleError(f"tensor {self.name!r} has the impossible scale {self.scale}")
        low, high = RANGES[self.dtype]
        if not low <= self.zero_point <= high:
            raise BundleError(f"tensor {self.name!r} has the zero point {self.zero_point}, outside {self.dtype}")


@dataclass(frozen=True)
class Manifest:
    """Everything a board must know to use `model.tflite` as it was trained, and to tell whether it still is that one.

    `metrics` holds host measurements, each with the data it was measured on; `recipe` says how the model was made;
    `members` maps each other member of the bundle to its SHA-256 (hex). `created` is ISO 8601, UTC. `version` orders
    the bundles of one name: a board that checks signatures takes none below the last one that proved itself there.
    """

    name: str
    task: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    members: Mapping[str, str]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    detection: DetectionSpec | None = None
    teaching: TeachingSpec | None = None
    version: int = 1
    format: int = FORMAT

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise BundleError(
                f"the name {self.name!r} is not usable as a folder name",
                "use letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit",
            )
        if self.task not in TASKS:
            raise BundleError(f"unknown task {self.task!r}", "update edgepress-runtime on this board")
        speech = self.task == "keyword-spotting"
        if not isinstance(self.preprocessing, TASKS[self.task]):
            raise BundleError(f"the task {self.task} cannot go with the preprocessing of another one")
        if (self.detection is not None) != speech:
            raise BundleError(f"the task {self.task} {'lacks its' if speech else 'has no'} detection")
        if not 1 <= self.version <= _MOST_VERSION:
            raise BundleError(f"the version {self.version} is outside 1 to {_MOST_VERSION}")
        if not self.inputs or not self.outputs:
            raise BundleError("a manifest needs at least one input and one output tensor")
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise BundleError("the labels are missing or not distinct")
        check_labels(self.labels)
        for name, digest in self.members.items():
            if not _MEMBER.fullmatch(name):
                raise BundleError(f"the member name {name!r} is not allowed in a bundle")
            if not _SHA256.fullmatch(digest):
                raise BundleError(f"the checksum of {name!r} is not a SHA-256 in hex")
        if self.teaching is not None:
            self.teaching.check(self.outputs, self.members)


def is_name(text: str) -> bool:
    """Whether a bundle may be called `text`."""
    return _NAME.fullmatch(text) is not None


def check_labels(labels: Iterable[str]) -> None:
    """Raise BundleError for a label that cannot be a line of `labels.txt` or on a terminal."""
    for label in labels:
        if not label.strip() or _CONTROL.search(label):
            raise BundleError(
                f"the label {label!r} is empty, or holds control characters or bytes that are no UTF-8",
                "rename the class",
            )


def dump(manifest: Manifest) -> bytes:
    """Canonical bytes of `manifest.json`: sorted keys, UTF-8, no NaN. These bytes are what a signature covers."""
    value = dataclasses.asdict(manifest)
    value["preprocessing"] = dump_preprocessing(manifest.preprocessing)
    if manifest.teaching is None:  # a runtime that knows nothing of it reads the bundle, too
        del value["teaching"]
    try:
        text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        return text.encode("utf-8", "backslashreplace")  # JSON's own escape for a file name that is no UTF-8
    except (TypeError, ValueError) as error:
        raise BundleError(f"the manifest holds something that JSON does not know: {error}") from None


def load(data: bytes) -> Manifest:
    """The manifest in `data`. Raises BundleError with the key that is wrong."""
    value = strict_json.read_object(data, "manifest.json")
    found = value.get("format")
    if isinstance(found, int) and not isinstance(found, bool) and found > FORMAT:
        raise BundleError(
            f"this bundle has format {found}; this runtime reads up to {FORMAT}",
            "update edgepress-runtime on this board",
        )
    if found != FORMAT or isinstance(found, bool):
        raise BundleError(f"manifest.json has the unknown format {found!r}", "make the bundle again")
    raw = strict_json.fields({"teaching": None, "version": 1, **value}, Manifest, "manifest.json")
    try:
        return Manifest(
            name=member(str, raw, "name"),
            task=member(str, raw, "task"),
            inputs=tuple(_tensor(v, f"inputs[{i}]") for i, v in enumerate(member(list, raw, "inputs"))),
            outputs=tuple(_tensor(v, f"outputs[{i}]") for i, v in enumerate(member(list, raw, "outputs"))),
            preprocessing=load_preprocessing(member(dict, raw, "preprocessing")),
            labels=tuple(of(str, v, "labels") for v in member(list, raw, "labels")),
            members={k: of(str, v, f"members.{k}") for k, v in member(dict, raw, "members").items()},
            thresholds={k: number(v, f"thresholds.{k}") for k, v in member(dict, raw, "thresholds").items()},
            metrics=member(dict, raw, "metrics"),
            recipe=member(dict, raw, "recipe"),
            tools={k: of(str, v, f"tools.{k}") for k, v in member(dict, raw, "tools").items()},
            created=member(str, raw, "created"),
            detection=None if raw["detection"] is None else _detection(raw["detection"]),
            teaching=teaching.load(raw["teaching"]),
            version=member(int, raw, "version"),
            format=FORMAT,
        )
    except (OverflowError, TypeError, ValueError) as error:
        raise BundleError(f"manifest.json holds an impossible value: {error}", "make the bundle again") from None


def _detection(value: Any) -> DetectionSpec:
    raw = strict_json.fields(of(dict, value, "detection"), DetectionSpec, "detection")
    return DetectionSpec(
        window_frames=of(int, raw["window_frames"], "detection.window_frames"),
        smoothing_ms=number(raw["smoothing_ms"], "detection.smoothing_ms"),
        refractory_ms=number(raw["refractory_ms"], "detection.refractory_ms"),
    )


def _tensor(value: Any, where: str) -> TensorSpec:
    raw = strict_json.fields(of(dict, value, where), TensorSpec, where)
    return TensorSpec(
        name=of(str, raw["name"], f"{where}.name"),
        shape=tuple(of(int, v, f"{where}.shape") for v in of(list, raw["shape"], f"{where}.shape")),
        dtype=of(str, raw["dtype"], f"{where}.dtype"),
        scale=None if raw["scale"] is None else number(raw["scale"], f"{where}.scale"),
        zero_point=None if raw["zero_point"] is None else of(int, raw["zero_point"], f"{where}.zero_point"),
    )
