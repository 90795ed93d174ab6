"""What is in a bundle or a .tflite: facts read from the file, without running it."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

from edgepress_convert import flatbuffer, tflite
from edgepress_runtime import manifest
from edgepress_runtime.bundle import open_bundle


def inspect(path: str | Path) -> dict[str, Any]:
    """The keys of `inspect --json`; for a bundle also its `manifest` and `digest`. Raises EdgepressError."""
    path = Path(path)
    zipped = path.is_file() and zipfile.is_zipfile(path) and not _is_tflite(path)
    if zipped or path.is_dir() or path.suffix == ".edge":
        bundle = open_bundle(path)
        facts = dataclasses.asdict(tflite.facts(bytes(bundle.model), name=f"the model in {path.name}"))
        return {**facts, "manifest": json.loads(manifest.dump(bundle.manifest)), "digest": bundle.digest}
    return dataclasses.asdict(tflite.facts(flatbuffer.read(path), name=str(path)))


def _is_tflite(path: Path) -> bool:
    with path.open("rb") as file:  # labels may be appended to one as a zip
        return file.read(8)[4:] == b"TFL3"
