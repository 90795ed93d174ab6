"""What is in a bundle or a .tflite: facts read from the file, without running it."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

from edgepress_convert import flatbuffer, streaming, tflite
from edgepress_runtime import manifest
from edgepress_runtime.bundle import open_bundle


def inspect(path: str | Path) -> dict[str, Any]:
    """The keys of `inspect --json`; for a bundle also its `manifest` and `digest`. Raises EdgepressError.

    `stream` is None for a model without states; else it holds `step_frames`, the new frames a step, `states` and
    `state_bytes`, and for a bundle `step_ms` and `macs_per_s`, the arithmetic of a second of sound. `macs` are those of
    a step.
    """
    path = Path(path)
    zipped = path.is_file() and zipfile.is_zipfile(path) and not _is_tflite(path)
    if not (zipped or path.is_dir() or path.suffix == ".edge"):
        return facts(flatbuffer.read(path), str(path))
    bundle = open_bundle(path)
    found = facts(bytes(bundle.model), f"the model in {path.name}")
    spec, stream = bundle.manifest.preprocessing, found["stream"]
    if stream is not None and isinstance(spec, manifest.SpeechSpec):
        step_s = stream["step_frames"] * spec.hop / spec.rate_hz
        stream |= {"step_ms": 1e3 * step_s, "macs_per_s": round(found["macs"] / step_s)}
    return {**found, "manifest": json.loads(manifest.dump(bundle.manifest)), "digest": bundle.digest}


def facts(model: bytes, name: str) -> dict[str, Any]:
    """What the bytes of a .tflite say by themselves; `name` is how an error calls them."""
    found = dataclasses.asdict(tflite.facts(model, name=name))
    stream = streaming.facts(flatbuffer.graphs(model, name=name)[0])
    return {**found, "stream": None if stream is None else dataclasses.asdict(stream)}


def _is_tflite(path: Path) -> bool:
    with path.open("rb") as file:  # labels may be appended to one as a zip
        return file.read(8)[4:] == b"TFL3"
