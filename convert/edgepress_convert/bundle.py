"""Packing: model, preprocessing, labels, golden cases and the story of how it was made become one `X.edge`.

The same arguments give the same bytes. Nothing gets its final name before it was opened with the board's own code and
has passed its own self-test.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from edgepress_convert import flatbuffer
from edgepress_runtime import bundle as runtime_bundle
from edgepress_runtime import disk, manifest
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import BundleError, EdgepressError
from edgepress_runtime.manifest import (
    DetectionSpec,
    ImageSpec,
    Manifest,
    Preprocessing,
    SpeechSpec,
    TeachingSpec,
    TensorSpec,
    TextSpec,
)
from edgepress_runtime.selftest import self_test

SUFFIX = ".edge"
ALIGNMENT = 64  # bytes; model.tflite starts at a multiple, so that an engine can map it where it lies
GOLDEN_CASES = 8
KERNELS = ((1, True), (3, True), (1, False))  # threads and XNNPACK of the kernels that golden cases hold for
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
_ALIGN_ID = 0xD935  # the extra field that Android's zipalign uses for the same purpose
_STABLE_FLOAT = 1e-6  # a tenth of what the board's self-test allows


@dataclass(frozen=True)
class Golden:
    """`inputs` (cases, ...) and `outputs` (cases, ...) as the tensors store them, without the batch axis.

    `stable`: how many came out the same with and without XNNPACK, on one thread and on several.
    """

    inputs: np.ndarray
    outputs: np.ndarray
    stable: int


def golden_cases(model: bytes, candidates: np.ndarray, *, size: int = GOLDEN_CASES) -> Golden:
    """The first `size` of `candidates` (n, ...) that every kernel answers alike, with the default kernels' answers.

    Integer answers must be equal to the bit and floats to 1e-6. Where fewer are, there are fewer cases, since a case at
    the edge of two roundings would refuse a good board; where none is, the first candidates are taken as they are.
    Candidates are in the input tensor's dtype, without the batch axis. Raises EdgepressError when the model does not
    run or answers with NaN.
    """

    answers = []
    for threads, xnnpack in KERNELS:
        with open_engine(model, threads=threads, xnnpack=xnnpack) as engine:
            answers.append(np.stack([engine.run(example[np.newaxis])[0][0] for example in candidates]))
    found = np.flatnonzero(alike(*answers))[:size]
    chosen = found if len(found) else np.arange(min(size, len(candidates)))
    return Golden(candidates[chosen], answers[0][chosen], len(found))


def alike(default: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Which answers (n, ...) of the default kernels are those of all others: (n,) bool.

    Integers to the bit, floats to 1e-6. Raises EdgepressError for NaN.
    """
    if default.dtype.kind == "f" and not np.isfinite(default).all():
        raise EdgepressError("the model answers with NaN or infinity", "train it again, or use another scheme")
    limit = _STABLE_FLOAT if default.dtype.kind == "f" else 0
    apart = np.zeros(len(default))
    for other in others:
        difference = np.abs(default.astype(np.float64) - other.astype(np.float64))
        apart = np.maximum(apart, difference.reshape(len(default), -1).max(axis=1))
    return apart <= limit


def pack(
    out: str | Path,
    model: bytes,
    *,
    name: str,
    task: str,
    labels: tuple[str, ...],
    preprocessing: Preprocessing,
    golden: Golden,
    created: str,
    metrics: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    tools: Mapping[str, str] | None = None,
    thresholds: Mapping[str, float] | None = None,
    detection: DetectionSpec | None = None,
    extra: Mapping[str, bytes] | None = None,
    teaching: TeachingSpec | None = None,
    version: int | None = None,
    force: bool = False,
) -> Manifest:
    """Write the bundle `out` and give its manifest; tensors are described as the .tflite itself states them.

    `extra` are members that the preprocessing or `teaching` needs beside the usual ones. `version` is the second of
    `created` unless it is given, so that what is made later counts as newer.

    Raises EdgepressError when `out` exists (unless `force`), or when the bundle would not work: labels that do not fit
    the output, an input that does not fit the preprocessing, golden cases that the model does not reproduce. `out` is
    then as it was.
    """
    out = Path(out)
    refuse_existing(out, force=force)
    graph = flatbuffer.graphs(model)[0]
    inputs, outputs = flatbuffer.specs(graph, graph.inputs), flatbuffer.specs(graph, graph.outputs)
    members = {
        runtime_bundle.LABELS: "".join(f"{label}\n" for label in labels).encode("utf-8"),
        runtime_bundle.GOLDEN: npz(inputs=golden.inputs, outputs=golden.outputs),
        **(extra or {}),
        runtime_bundle.MODEL: model,
    }
    check_shapes(preprocessing, labels, inputs, outputs if teaching is None else outputs[: teaching.output])
    facts = Manifest(
        name=name,
        task=task,
        inputs=inputs,
        outputs=outputs,
        preprocessing=preprocessing,
        labels=labels,
        members={member: hashlib.sha256(data).hexdigest() for member, data in members.items()},
        thresholds=thresholds or {},
        metrics=metrics or {},
        recipe=recipe or {},
        tools=tools or {},
        created=created,
        detection=detection,
        teaching=teaching,
        version=version or _second(created),
    )
    data = archive({runtime_bundle.MANIFEST: manifest.dump(facts), **members})
    partial = out.with_name(f".{out.name}.partial")
    disk.make_dir(out.parent)
    disk.remove(partial)
    try:
        disk.create(partial, data)
        prove(partial)
        disk.rename(partial, out)
    finally:
        disk.remove(partial)
    return facts


def prove(path: Path) -> None:
    """Open the bundle as a board does and run its golden cases. Raises EdgepressError when one differs."""
    opened = runtime_bundle.open_bundle(path)
    with open_engine(opened.model_source) as engine:
        result = self_test(opened, engine)
    if not result.ok:
        raise BundleError(
            f"the bundle fails its own self-test: {result.verdict}", "this is a fault of the model or of this machine"
        )


def refuse_existing(out: Path, *, force: bool) -> None:
    """Raise EdgepressError for an output that may not be written."""
    if out.suffix != SUFFIX:
        raise EdgepressError(f"{out} should end in {SUFFIX}", f"use --out {out.name or 'X'}{SUFFIX}")
    if out.is_dir():
        raise EdgepressError(f"{out} is a folder", "give another name with --out")
    if out.exists() and not force:
        raise EdgepressError(f"{out} exists already", "use --force to overwrite it, or another --out")


def check_shapes(
    preprocessing: Preprocessing,
    labels: tuple[str, ...],
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
) -> None:
    """Raise BundleError unless the model takes what the preprocessing gives, and gives one score a label."""
    if isinstance(preprocessing, SpeechSpec):
        _check_frames(preprocessing, inputs, outputs)
    elif isinstance(preprocessing, TextSpec):
        _check_ids(preprocessing, inputs, outputs)
    else:
        _check_picture(preprocessing, inputs, outputs)
    if outputs[0].shape != (1, len(labels)):
        raise BundleError(
            f"the model gives {list(outputs[0].shape)}, which does not fit {len(labels)} labels",
            "give the labels of this very model, one a line, with --labels FILE",
        )


def _check_picture(spec: ImageSpec, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    if len(inputs) != 1 or len(outputs) != 1:
        raise BundleError(
            f"the model has {len(inputs)} inputs and {len(outputs)} outputs; an image classifier has one of each"
        )
    wanted = (1, spec.height, spec.width, spec.channels)
    if inputs[0].shape != wanted:
        raise BundleError(
            f"the model takes {list(inputs[0].shape)}, the preprocessing gives {list(wanted)}",
            "pictures go in as (1, height, width, channels) with 1 or 3 channels",
        )


def _check_frames(spec: SpeechSpec, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    shape = inputs[0].shape
    if len(shape) != 4 or (shape[0], *shape[2:]) != (1, spec.features, 1):
        raise BundleError(
            f"the model takes {list(shape)}, the preprocessing gives frames of {spec.features} features",
            "features go in as (1, frames, features, 1)",
        )
    states = [[(t.shape, t.dtype, t.scale, t.zero_point) for t in ends[1:]] for ends in (inputs, outputs)]
    if states[0] != states[1]:
        raise BundleError("the states that the model takes are not those that it gives")


def _check_ids(spec: TextSpec, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    if len(inputs) != 1 or len(outputs) != 1:
        raise BundleError(
            f"the model has {len(inputs)} inputs and {len(outputs)} outputs; a text classifier has one of each"
        )
    if (inputs[0].shape, inputs[0].dtype) != ((1, spec.length), "int32"):
        raise BundleError(
            f"the model takes {inputs[0].dtype} {list(inputs[0].shape)}, "
            f"the preprocessing gives int32 [1, {spec.length}]"
        )


def _second(created: str) -> int:
    """Seconds since 1970 of an ISO 8601 time in UTC."""
    return int(datetime.strptime(created, "%Y-%m-%dT%H:%M:%S%z").timestamp())


def npz(**arrays: np.ndarray) -> bytes:
    """`numpy.savez` in memory; numpy dates its members 1980, so equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return buffer.getvalue()


def archive(members: Mapping[str, bytes]) -> bytes:
    """A zip of `members` in that order: stored, dated 1980, `model.tflite` at a multiple of ALIGNMENT."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, whatever the host, so that the bytes are the same
            info.external_attr = 0o100644 << 16
            if name == runtime_bundle.MODEL:
                info.extra = _padding(buffer.tell() + zipfile.sizeFileHeader + len(name))  # type: ignore[attr-defined]
            target.writestr(info, data)
            info.extra = b""  # the directory needs no padding
    return buffer.getvalue()


def _padding(start: int) -> bytes:
    """An extra field after which data that would begin at `start` begins at a multiple of ALIGNMENT."""
    head = struct.calcsize("<HHH")
    size = -(start + head) % ALIGNMENT
    return struct.pack("<HHH", _ALIGN_ID, 2 + size, ALIGNMENT) + bytes(size)
