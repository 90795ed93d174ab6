"""A ready .tflite: packed as it is, with its labels found in or beside it."""

from __future__ import annotations

import ast
import io
import json
import zipfile
from pathlib import Path

from edgepress_convert import flatbuffer
from edgepress_convert.importers.source import (
    Hints,
    ImportFailure,
    Source,
    bundle_name,
    clean_labels,
    image_spec,
    read_labels,
)

_BESIDE = ("metadata.json", "metadata.yaml", "labels.txt", "label.txt")
_MAX_METADATA = 1 << 20


def read(path: Path, hints: Hints) -> Source:
    """The model in `path`. Labels come from `hints.labels`, the zip appended to the file, or a file beside it.

    Raises ImportFailure for what cannot be known, and TfliteError for operators that LiteRT does not have.
    """
    if hints.data is not None:
        raise ImportFailure("--data has no use for a .tflite, which is packed as it is", "leave --data out")
    data = flatbuffer.read(path)
    found = flatbuffer.graphs(data, name=str(path))
    foreign = flatbuffer.foreign_ops(found)
    if foreign:
        raise flatbuffer.TfliteError(
            f"{path} uses {', '.join(foreign)}, which a board's LiteRT does not have",
            "export it without TensorFlow's own operators (Select TF ops) and without custom ones",
        )
    inputs, outputs = flatbuffer.specs(found[0], found[0].inputs), flatbuffer.specs(found[0], found[0].outputs)
    if len(inputs) != 1 or len(outputs) != 1:
        raise ImportFailure(
            f"{path} has {len(inputs)} inputs and {len(outputs)} outputs; an image classifier has one of each",
            "export the part of it that classifies one picture",
        )
    preprocessing = image_spec(inputs[0].shape, hints)
    count = outputs[0].shape[-1]
    labels = read_labels(hints.labels) if hints.labels is not None else find_labels(path, data, count)
    if len(labels) != count:
        raise ImportFailure(f"there are {len(labels)} labels for {count} outputs", "give the right --labels FILE")
    return Source(
        kind="tflite",
        name=bundle_name(path.stem),
        task="image-classification",
        labels=labels,
        preprocessing=preprocessing,
        tflite=data,
        recipe={"import": {"file": path.name}},
    )


def find_labels(path: Path, data: bytes, count: int) -> tuple[str, ...]:
    """The `count` labels that came with the model. Raises ImportFailure when there are none, or two that differ."""
    candidates: dict[str, tuple[str, ...]] = {}
    for where, text in [*_appended(data).items(), *_beside(path).items()]:
        labels = _labels_in(where, text)
        if labels is not None and len(labels) == count:
            candidates[where] = labels
    if not candidates:
        raise ImportFailure(
            f"{path} has {count} outputs and no labels for them", "give --labels FILE, one label a line"
        )
    if len(set(candidates.values())) > 1:
        raise ImportFailure(f"{' and '.join(candidates)} give different labels", "choose with --labels FILE")
    return next(iter(candidates.values()))


def _appended(data: bytes) -> dict[str, str]:
    """Text files in the zip that TFLite's metadata writers append to a model."""
    found: dict[str, str] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist()[:64]:
                if info.file_size <= _MAX_METADATA and not info.is_dir():
                    found[info.filename] = archive.read(info).decode("utf-8-sig", "replace")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, OSError):
        return found
    return found


def _beside(path: Path) -> dict[str, str]:
    names = (*_BESIDE, f"{path.stem}.txt", f"{path.stem}_labels.txt", f"{path.stem}.json")
    files = (path.with_name(name) for name in names)
    return {
        file.name: file.read_text(encoding="utf-8-sig", errors="replace")
        for file in files
        if file.is_file() and file.stat().st_size <= _MAX_METADATA
    }


def _labels_in(where: str, text: str) -> tuple[str, ...] | None:
    """Labels in one text: an object with `names` or `labels` (JSON, Python or exporters' simple YAML), or lines."""
    value: object = None
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
            break
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    if isinstance(value, dict):
        value = value.get("names", value.get("labels"))
    elif value is None and where.endswith((".yaml", ".yml")):
        value = _yaml_names(text)
    if isinstance(value, dict) and all(str(key).isdigit() for key in value):
        value = [value[key] for key in sorted(value, key=int)]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        lines = value
    elif where.endswith(".txt"):
        lines = text.splitlines()
    else:
        return None
    try:
        return clean_labels(lines, where)
    except ImportFailure:
        return None


def _yaml_names(text: str) -> dict[str, str]:
    """The block `names:` of lines `  0: label`, as exporters write it."""
    found: dict[str, str] = {}
    inside = False
    for line in text.splitlines():
        if not line.startswith((" ", "\t")):
            inside = line.split("#")[0].strip() == "names:"
        elif inside and ":" in line:
            key, _, label = line.strip().partition(":")
            found[key] = label.strip().strip("'\"")
    return found
