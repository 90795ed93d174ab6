"""Models in: what each kind of source can tell about itself, and what the user must add.

`IMPORTERS` is the whole list. A source becomes one `Source`; what it cannot know is asked for by naming the flag.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from edgepress_convert.importers.source import Hints, ImportFailure, Source

__all__ = ["IMPORTERS", "Hints", "ImportFailure", "Source", "kind_of", "read"]

# kind -> module with `read(path, hints) -> Source`; imported when used, so that a .tflite never loads TensorFlow
IMPORTERS: dict[str, str] = {
    "run": "edgepress_convert.importers.run",
    "keras": "edgepress_convert.importers.keras",
    "tflite": "edgepress_convert.importers.tflite",
}
_SUFFIXES = {".keras": "keras", ".h5": "keras", ".hdf5": "keras", ".tflite": "tflite", ".lite": "tflite"}


def kind_of(path: Path) -> str:
    """The key of IMPORTERS that reads `path`. Raises ImportFailure."""
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            raise ImportFailure(
                f"{path} is a SavedModel", "save the model as .keras instead: model.save('model.keras')"
            )
        return "run"
    if not path.exists():
        raise ImportFailure(f"{path} does not exist", "give a RUN folder, a .keras, .h5 or .tflite file")
    if path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    raise ImportFailure(
        f"{path} is of no kind that edgepress converts", "give a RUN folder, a .keras, .h5 or .tflite file"
    )


def read(path: str | Path, hints: Hints) -> Source:
    """The model at `path` with everything that a bundle needs to know. Raises EdgepressError."""
    path = Path(path)
    source: Source = import_module(IMPORTERS[kind_of(path)]).read(path, hints)
    return source
