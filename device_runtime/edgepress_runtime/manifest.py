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
from typing import Any, Union

from edgepress_runtime import strict_json
from edgepress_runtime.errors import BundleError
from edgepress_runtime.strict_json import member, number, of

FORMAT = 1
TASKS = ("image-classification",)
DTYPES = ("float32", "int8", "uint8", "int16")
RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
FITS = ("stretch", "crop", "pad")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MEMBER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ImageSpec:
    """How a picture of any size becomes the model's input.

    The picture is brought upright (EXIF), converted to grey (`channels` 1) or RGB (3), fitted to `height` x `width`
    (`stretch`: ignore the aspect ratio; `crop`: cover and cut the centre; `pad`: contain and fill with black),
    resampled with an antialiased triangle filter, and normalised: `(pixel - mean) / std`, both in pixel units of
    0 to 255, one number a channel.
    """

    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: str = "stretch"

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise BundleError(f"an image has 1 or 3 channels, not {self.channels}")
        if not (0 < self.height <= 4096 and 0 < self.width <= 4096):
            raise BundleError(f"an image size of {self.height}x{self.width} is outside 1 to 4096 pixels")
        if self.fit not in FITS:
            raise BundleError(f"unknown fit {self.fit!r}; known: {', '.join(FITS)}")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise BundleError(f"mean and std need {self.channels} numbers, got {len(self.mean)} and {len(self.std)}")
        # Within these bounds no step of the arithmetic in float32 overflows or divides by zero.
        if not all(1e-6 <= s <= 1e6 for s in self.std):
            raise BundleError(f"std must be between 1e-6 and 1e6, got {list(self.std)}")
        if not all(abs(m) <= 1e6 for m in self.mean):
            raise BundleError(f"mean must be between -1e6 and 1e6, got {list(self.mean)}")


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


Preprocessing = Union[ImageSpec]
PREPROCESSING: dict[str, type] = {"image": ImageSpec}


@dataclass(frozen=True)
class Manifest:
    """Everything a board must know to use `model.tflite` as it was trained, and to tell whether it still is that one.

    `metrics` holds host measurements, each with the data it was measured on; `recipe` says how the model was made;
    `members` maps each other member of the bundle to its SHA-256 (hex). `created` is ISO 8601, UTC.
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
    format: int = FORMAT

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BundleError(
                f"the name {self.name!r} is not usable as a folder name",
                "use letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit",
            )
        if self.task not in TASKS:
            raise BundleError(f"unknown task {self.task!r}", "update edgepress-runtime on this board")
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
    raw = strict_json.fields(value, Manifest, "manifest.json")
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
            format=FORMAT,
        )
    except (OverflowError, TypeError, ValueError) as error:
        raise BundleError(f"manifest.json holds an impossible value: {error}", "make the bundle again") from None


def dump_preprocessing(spec: Preprocessing) -> dict[str, Any]:
    """`spec` as plain JSON values, with the `kind` that tells which class it is."""
    kind = next(k for k, cls in PREPROCESSING.items() if type(spec) is cls)
    return {"kind": kind, **dataclasses.asdict(spec)}


def load_preprocessing(value: dict[str, Any]) -> Preprocessing:
    """What `dump_preprocessing` wrote. Raises BundleError with the key that is wrong."""
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in PREPROCESSING:
        raise BundleError(f"unknown preprocessing {kind!r}", "update edgepress-runtime on this board")
    raw = strict_json.fields({k: v for k, v in value.items() if k != "kind"}, ImageSpec, "preprocessing")
    return ImageSpec(
        height=of(int, raw["height"], "preprocessing.height"),
        width=of(int, raw["width"], "preprocessing.width"),
        channels=of(int, raw["channels"], "preprocessing.channels"),
        mean=tuple(number(v, "preprocessing.mean") for v in member(list, raw, "mean")),
        std=tuple(number(v, "preprocessing.std") for v in member(list, raw, "std")),
        fit=of(str, raw["fit"], "preprocessing.fit"),
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
