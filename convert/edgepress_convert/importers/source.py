"""What an importer gives, and what a user may add to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress_convert.plan import Plan
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import ImageSpec, Preprocessing

if TYPE_CHECKING:
    from edgepress_train.data.dataset import Dataset
    from edgepress_train.keras2 import keras


_MAX_LABELS_BYTES = 1 << 20


class ImportFailure(EdgepressError):
    """A model that cannot be brought in, or about which something is missing."""


@dataclass(frozen=True)
class Hints:
    """What the command line says about a foreign model; None where it says nothing.

    `labels`: a file with one label a line. `mean` and `std`: pixel units of 0 to 255, one number or one a channel.
    `data`: a data set for calibration and verification.
    """

    labels: Path | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    fit: str | None = None
    data: str | None = None


@dataclass(frozen=True)
class Source:
    """A model with its surroundings: exactly one of `model` (float Keras) and `tflite` (ready bytes) is there.

    `dataset` is None when nothing is known to calibrate and verify with, or when that lies in `folder`, the RUN.
    `recipe` is the story so far, `plan` how the model wants to be quantized.
    """

    kind: str
    name: str
    task: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    model: keras.Model | None = None
    tflite: bytes | None = None
    dataset: Dataset | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    plan: Plan = field(default_factory=Plan)


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels in a text file, one a line, without empty lines at the end. Raises ImportFailure."""
    try:
        if path.exists() and not (path.is_file() and path.stat().st_size <= _MAX_LABELS_BYTES):
            raise ImportFailure(f"{path} is not a file of labels", "give --labels FILE, one label a line")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ImportFailure(f"the labels file {path} does not exist", "check --labels") from None
    except UnicodeDecodeError:
        raise ImportFailure(f"the labels file {path} is not text in UTF-8", "save it as such") from None
    except OSError as error:
        raise ImportFailure(f"the labels file {path} cannot be read: {error.strerror}", "check --labels") from None
    return clean_labels(lines, str(path))


def clean_labels(lines: list[str], where: str) -> tuple[str, ...]:
    """Labels without surrounding space and trailing empty lines. Raises ImportFailure for gaps and repeats."""
    labels = [line.strip() for line in lines]
    while labels and not labels[-1]:
        labels.pop()
    if not labels or "" in labels:
        raise ImportFailure(f"{where} has an empty label", "write one label a line")
    twice = next((label for i, label in enumerate(labels) if label in labels[:i]), None)
    if twice is not None:
        raise ImportFailure(f"{where} has the label {twice!r} twice", "labels must differ")
    return tuple(labels)


def image_spec(shape: tuple[int, ...], hints: Hints, *, mean: Any = None, std: Any = None) -> ImageSpec:
    """Preprocessing of a model whose input is `shape` (1, height, width, channels).

    `mean` and `std` are what the file itself says, if anything; the hints win. Raises ImportFailure for what is missing
    or contradicts the input.
    """
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise ImportFailure(
            f"the model's input is {list(shape)}", "edgepress takes pictures as (1, height, width, 1 or 3)"
        )
    if shape[0] != 1:
        raise ImportFailure(f"the model takes {shape[0]} pictures at once", "export it with a batch of 1")
    height, width, channels = shape[1:]
    if hints.size is not None and hints.size != (height, width):
        asked = "x".join(map(str, hints.size))
        raise ImportFailure(f"--size {asked} is not the model's input of {height}x{width}", "leave --size out")
    mean, std = hints.mean or mean, hints.std or std
    if mean is None or std is None:
        missing = " and ".join(f for f, v in (("--mean", mean), ("--std", std)) if v is None)
        raise ImportFailure(
            f"the file does not say how pixels become its input: {missing} missing",
            "the model sees (pixel - mean) / std with pixels of 0 to 255: --mean 0 --std 1 for raw pixels, "
            "--mean 0 --std 255 for 0 to 1, --mean 127.5 --std 127.5 for -1 to 1",
        )
    return ImageSpec(
        height, width, channels, _each("--mean", mean, channels), _each("--std", std, channels), hints.fit or "stretch"
    )


def _each(flag: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) == 1:
        return tuple(values) * channels
    if len(values) != channels:
        raise ImportFailure(f"{flag} has {len(values)} numbers, the model's input has {channels} channels")
    return tuple(values)


def bundle_name(text: str) -> str:
    """`text` (a file's or folder's name) as a bundle's name: other characters than the allowed become `-`."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text).lstrip("._-")
    return kept[:64] or "model"
