"""Classes that were taught on this board, in a small file beside the release that they belong to.

    ROOT/NAME/taught/SHA.npz     of the installed release SHA; one of another release is never used
    X.taught                     beside the bundle file X.edge

The file is an `.npz`: `about` is strict JSON with the release's digest, the classes and the SHA-256 of each array;
`weights` and `bias` are the last layer with the new classes behind the old ones, and `examples` the embeddings that
each class was learnt from, with which it is learnt again when another one comes or goes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

from edgepress_runtime import archive, disk, strict_json
from edgepress_runtime.bundle import Bundle
from edgepress_runtime.errors import BundleError, EdgepressError
from edgepress_runtime.golden import plain_array
from edgepress_runtime.head import Examples, Head
from edgepress_runtime.manifest import check_labels
from edgepress_runtime.strict_json import number, of

FORMAT = 1
SUFFIX = ".taught"
MAX_BYTES = 64 * 1024 * 1024
_ARRAYS = {"weights": "<f4", "bias": "<f4", "examples": "<f4", "labels": "|u1", "groups": "<i4"}


class OverlayError(EdgepressError):
    """Taught classes that cannot be used; the release itself is as it was."""


@dataclass(frozen=True)
class TaughtClass:
    """One class: its `examples`, labelled as `gather` does, and `groups` (n,), the number of each one's file.

    `threshold` is a keyword's, None for a picture's class. `measured` is what was found when it was learnt.
    """

    label: str
    examples: Examples
    groups: np.ndarray
    threshold: float | None
    measured: dict[str, Any]
    created: str

    @property
    def files(self) -> int:
        return len(np.unique(self.groups))


@dataclass(frozen=True)
class Overlay:
    """What the release `digest` was taught, in the order in which it was, and the last layer for all labels."""

    digest: str
    classes: tuple[TaughtClass, ...]
    head: Head

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(one.label for one in self.classes)


def place(bundle: Bundle) -> Path:
    """Where the overlay of `bundle` lies, if there is one."""
    if bundle.path.is_dir():
        return bundle.path.parent.parent / "taught" / f"{bundle.digest}.npz"
    return bundle.path.with_suffix(SUFFIX)


def applied(bundle: Bundle, overlay: Overlay) -> Bundle:
    """`bundle` with the taught classes behind its own, judged by the overlay's head. Raises OverlayError."""
    facts = bundle.manifest
    if overlay.digest != bundle.digest:
        raise OverlayError(
            f"{', '.join(overlay.labels)} was taught to another release ({overlay.digest[:12]}) of {facts.name}",
            "teach it again, with the same examples",
        )
    labels = facts.labels + overlay.labels
    size = facts.teaching.size if facts.teaching is not None else 0
    if overlay.head.weights.shape != (size, len(labels)) or len(set(labels)) != len(labels):
        raise OverlayError(f"what {facts.name} was taught does not fit it", "forget it, and teach it again")
    thresholds = {one.label: one.threshold for one in overlay.classes if one.threshold is not None}
    taught = dataclasses.replace(facts, labels=labels, thresholds={**facts.thresholds, **thresholds})
    return dataclasses.replace(bundle, manifest=taught, head=overlay.head)


def write(path: Path, overlay: Overlay) -> None:
    """Put `overlay` at `path`: whoever reads it sees the old one or the new, whole. Raises StoreError."""
    sizes = [len(one.groups) for one in overlay.classes]
    given = {
        "weights": overlay.head.weights,
        "bias": overlay.head.bias,
        "examples": np.concatenate([one.examples.embeddings for one in overlay.classes]),
        "labels": np.concatenate([one.examples.labels for one in overlay.classes]),
        "groups": np.concatenate([one.groups for one in overlay.classes]),
    }
    arrays = {name: given[name].astype(dtype) for name, dtype in _ARRAYS.items()}
    about = {
        "format": FORMAT,
        "digest": overlay.digest,
        "classes": [
            {
                "label": one.label,
                "examples": size,
                "threshold": one.threshold,
                "measured": one.measured,
                "created": one.created,
            }
            for one, size in zip(overlay.classes, sizes)
        ],
        "members": {name: _digest(array) for name, array in arrays.items()},
    }
    text = json.dumps(about, sort_keys=True, ensure_ascii=False, allow_nan=False).encode("utf-8")
    buffer = io.BytesIO()
    members: dict[str, Any] = {"about": np.frombuffer(text, np.uint8), **arrays}
    np.savez(buffer, **members)
    disk.make_dir(path.parent)
    disk.write_bytes(path, buffer.getvalue())


def read(path: Path) -> Overlay | None:
    """The overlay at `path`, None where there is none. Raises OverlayError for a damaged one."""
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > MAX_BYTES:
            raise BundleError("it is too large")
        data = path.read_bytes()
    except OSError as error:
        raise OverlayError(f"{path} cannot be read: {error.strerror or error}") from None
    except BundleError as error:
        raise _damaged(path, error.what) from None
    try:
        members = archive.read_members(memoryview(data), path.name)
        found = {name[:-4]: plain_array(member, name[:-4], path.name) for name, member in members.items()}
        if found.keys() != {"about", *_ARRAYS}:
            raise BundleError("it holds other arrays than this version writes")
        return _parse(strict_json.read_object(found["about"].tobytes(), "about"), found)
    except (BundleError, ValueError) as error:
        raise _damaged(path, error.what if isinstance(error, BundleError) else str(error)) from None


def _parse(about: dict[str, Any], found: dict[str, np.ndarray]) -> Overlay:
    if about.get("format") != FORMAT or about.keys() != {"format", "digest", "classes", "members"}:
        raise BundleError("it was written by another version")
    sums = of(dict, about["members"], "members")
    for name in _ARRAYS:
        if sums.get(name) != _digest(found[name]):
            raise BundleError(f"{name} does not match its checksum")
    weights, bias, rows, labels, groups = (found[name] for name in _ARRAYS)
    if any(found[name].dtype != np.dtype(dtype) for name, dtype in _ARRAYS.items()):
        raise BundleError("its arrays have other types than this version writes")
    shapes = (bias.shape, rows.shape, labels.shape, groups.shape)
    if weights.ndim != 2 or shapes != (weights.shape[1:], (len(groups), len(weights)), (len(groups),), (len(groups),)):
        raise BundleError("its arrays do not fit together")
    if not all(np.isfinite(array).all() for array in (weights, bias, rows)):
        raise BundleError("it holds something that is no number")
    classes, at = [], 0
    for raw in of(list, about["classes"], "classes"):
        row = of(dict, raw, "classes")
        if row.keys() != {"label", "examples", "threshold", "measured", "created"}:
            raise BundleError("a class has other keys than this version writes")
        check_labels([of(str, row["label"], "label")])
        end = at + of(int, row["examples"], "examples")
        threshold = None if row["threshold"] is None else number(row["threshold"], "threshold")
        measured, created = of(dict, row["measured"], "measured"), of(str, row["created"], "created")
        examples = Examples(rows[at:end], labels[at:end].astype(np.int64))
        if not (examples.labels == 1).any():
            raise BundleError("a class has no examples")
        classes.append(TaughtClass(row["label"], examples, groups[at:end].astype(int), threshold, measured, created))
        at = end
    if at != len(groups) or not classes:
        raise BundleError("its classes do not fit its examples")
    return Overlay(of(str, about["digest"], "digest"), tuple(classes), Head(weights, bias))


def remove(path: Path) -> None:
    """Take the overlay at `path` away, durably. Raises StoreError."""
    disk.remove(path)
    disk.sync_dir(path.parent)


def others(bundle: Bundle) -> Sequence[Path]:
    """Overlays of other releases of the installed model `bundle`, by name."""
    folder = place(bundle).parent
    if not bundle.path.is_dir() or not folder.is_dir():
        return ()
    return sorted(p for p in folder.glob("*.npz") if p.stem != bundle.digest and not p.name.startswith("."))


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _damaged(path: Path, why: str) -> OverlayError:
    return OverlayError(f"what was taught is damaged: {path.name}: {why}", f"remove {path}, and teach again")


def in_use(bundle: Bundle, told: Callable[[str], object], file: str | None = None) -> Bundle:
    """`bundle` with what it was taught, or as it is. Why something taught is not used goes to `told`, in one sentence.

    So a damaged overlay never stops a board. `file`: where the overlay lies, if not where `place` says.
    """
    path = Path(file) if file else place(bundle)
    try:
        overlay = read(path)
        if overlay is not None:
            return applied(bundle, overlay)
        if file:
            raise OverlayError(f"{file} does not exist", "check the path")
        for other in others(bundle):
            stale = read(other)
            if stale is not None:
                applied(bundle, stale)  # raises the sentence
    except OverlayError as error:
        told(f"not used: {error}")
    return bundle
