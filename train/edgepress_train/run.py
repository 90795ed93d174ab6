"""RUN folders: what a training leaves behind, self-describing, so that any later step can start from it.

`run.json` (command, configuration, versions, data fingerprint, metrics), `model.keras`, `history.csv`, `labels.txt`.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress_runtime import disk
from edgepress_runtime.errors import BundleError, EdgepressError
from edgepress_runtime.manifest import Preprocessing, dump_preprocessing, load_preprocessing

if TYPE_CHECKING:
    from edgepress_train.keras2 import keras

FORMAT = 1
# tasks of runs whose model is an encoder: it gives embeddings, and has no labels
PRETRAINING = ("image-pretraining", "speech-pretraining", "text-pretraining")
_PACKAGES = ("edgepress", "tensorflow", "tf-keras", "tensorflow-model-optimization", "numpy", "pillow")


class RunError(EdgepressError):
    """A RUN folder that is missing, unfinished, or not one at all."""


@dataclass(frozen=True)
class Run:
    """One finished training.

    `data` holds what `sources.reopen` needs to find the very same examples again, with their fingerprint and counts;
    `metrics` what was measured on validation data (never on the reporting set). `plan`: how the model is to be
    quantized, empty for the usual; `compress`: the recipe that made it from another run and what each step did, empty
    for a run that was trained.
    """

    path: Path
    task: str
    command: str
    config: Mapping[str, Any]
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)
    compress: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model_path(self) -> Path:
        return self.path / "model.keras"


def refuse(out: Path, config: Mapping[str, Any], *, resume: bool, force: bool) -> None:
    """Raise RunError when `out` holds something else than `prepare` may use, so that nothing is overwritten unasked."""
    started = out / "config.json"
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file", "give another --out")
    if resume and started.is_file():
        try:
            before = json.loads(started.read_text(encoding="utf-8"))
            assert isinstance(before, dict)
        except (OSError, ValueError, AssertionError):
            raise RunError(f"{started} is damaged, so nothing can be resumed", "begin anew with --force") from None
        changed = sorted(key for key in {*before, *config} if before.get(key) != config.get(key))
        if changed:
            raise RunError(f"{out} was begun with another {changed[0]}", "resume with the same options, or use --force")
    elif out.is_dir() and any(out.iterdir()):
        if not (started.is_file() or (out / "run.json").is_file()):
            raise RunError(f"{out} exists and is not a RUN folder", "give another --out")
        if not force:
            raise RunError(f"{out} holds a training already", "use --resume to continue it, or --force to replace it")


def prepare(out: Path, config: Mapping[str, Any], *, resume: bool, force: bool) -> None:
    """Make `out` ready to be trained into, and note the configuration there.

    With `resume` an unfinished training of the same configuration is kept; with `force` whatever a training left there
    is removed. Raises RunError as `refuse` does, and when `out` cannot be written.
    """
    refuse(out, config, resume=resume, force=force)
    started = out / "config.json"
    try:
        if force and out.is_dir() and not (resume and started.is_file()):
            shutil.rmtree(out)
        out.mkdir(parents=True, exist_ok=True)
        disk.write_bytes(started, _json(config))
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror}", "give another --out") from None


def save(run: Run, model: keras.Model) -> Run:
    """Write `run` and its model into `run.path`; `run.json` comes last, so a folder that has it is whole."""
    run = dataclasses.replace(run, versions=versions(), created=now())
    partial = run.path / "model.partial.keras"
    model.save(partial)
    disk.publish(partial, run.model_path)
    disk.write_bytes(run.path / "labels.txt", "".join(f"{label}\n" for label in run.labels).encode())
    value = dataclasses.asdict(run)
    del value["path"]
    value = {"format": FORMAT, **value, "preprocessing": dump_preprocessing(run.preprocessing)}
    disk.write_bytes(run.path / "run.json", _json(value))
    return run


def write_skipped(out: Path, skipped: Sequence[Any]) -> None:
    """`skipped.json`: which files were left out (data classes with `path` and `reason`)."""
    disk.write_bytes(out / "skipped.json", _json([dataclasses.asdict(item) for item in skipped]))


def load(path: str | Path) -> Run:
    """The finished run in folder `path`. Raises RunError."""
    path = Path(path)
    try:
        value = json.loads((path / "run.json").read_text(encoding="utf-8"))
        if value.pop("format") != FORMAT:
            raise RunError(f"{path} was written by another version of edgepress", "train it again, or use that version")
        if not all(isinstance(value[key], dict) for key in ("config", "data", "metrics")):
            raise TypeError("config, data and metrics are no objects")
        preprocessing = load_preprocessing(value.pop("preprocessing"))
        labels = tuple(value.pop("labels"))
        run = Run(path=path, labels=labels, preprocessing=preprocessing, **value)
    except FileNotFoundError:
        unfinished = (path / "checkpoints").is_dir()
        raise RunError(
            f"{path} is not a finished RUN folder: it has no run.json",
            "finish it with the same train command" if unfinished else "give the folder that `edgepress train` wrote",
        ) from None
    except NotADirectoryError:
        raise RunError(f"{path} is a file, not a RUN folder") from None
    except OSError as error:
        raise RunError(f"{path / 'run.json'} cannot be read: {error.strerror}", "train it again") from None
    except (KeyError, TypeError, ValueError, AttributeError, BundleError) as error:
        raise RunError(f"{path / 'run.json'} is damaged: {error}", "train it again") from None
    if not run.model_path.is_file():
        raise RunError(f"{path} lacks model.keras", "train it again")
    return run


def _json(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    # A file name that is no UTF-8 is written in JSON's own escapes, and read back as it was.
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def finished(path: Path, config: Mapping[str, Any]) -> Run | None:
    """The finished run in `path`, if it had this configuration, these versions, and its data are still the same."""
    from edgepress_train.data import sources, text
    from edgepress_train.data.dataset import DataError

    try:
        found = load(path)
        if found.task == "image-classification":
            sources.reopen(found.data)
        elif found.task == "text-classification":
            text.reopen(found.data)
    except (RunError, DataError):
        return None
    return found if found.config == config and found.versions == versions() else None


def begun_with(path: Path) -> Any:
    """The configuration that a training in `path` was begun with, None when there is none that can be read."""
    try:
        return json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def load_model(run: Run) -> keras.Model:
    """The run's trained Keras model."""
    from edgepress_train.keras2 import keras

    try:
        return keras.models.load_model(run.model_path, compile=False)
    except (OSError, ValueError) as error:
        raise RunError(f"{run.model_path} cannot be read: {error}", "train it again") from None


def versions() -> dict[str, str]:
    """Versions of everything that shapes a result, for `run.json` and manifests."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
