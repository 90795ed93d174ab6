"""What `compress` leaves behind, read and checked: each step's measurements, and the models before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress_convert import flatbuffer
from edgepress_convert.compress import EXAMPLES, SENSITIVITY
from edgepress_convert.report.checks import MEASURED, NUMBER, Keys, damaged, fields, load
from edgepress_train.run import Run

_STORY: Keys = {"recipe": (str,), "start": (dict,), "steps": (list,), "total": (dict, type(None))}
_STEP: Keys = {
    "step": (str,), "before": (dict,), "after": (dict,), "drop_points": NUMBER, "speedup": (dict, type(None)),
    "verdict": (dict,), "notes": (list,),
}  # fmt: skip
_VERDICT: Keys = {"sentence": (str,), **dict.fromkeys(("flash", "deflated", "macs", "arena"), (bool,))}
_SPEED: Keys = dict.fromkeys(("before_ms", "after_ms", "ratio", "low", "high", "runs"), NUMBER)
_SPEEDS = ("speedup", "on_board")  # here, and on an attached board


@dataclass(frozen=True)
class Pair:
    """The .tflite files of a beginning and an end, and `examples` (n, *input) float32 to run them on."""

    before: bytes
    after: bytes
    examples: np.ndarray | None = None


@dataclass(frozen=True)
class Sensitivity:
    """What one step measured of the layers: (layer, damage) in its order; damage is in nats an example."""

    step: str
    layers: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Compression:
    """One chain of steps, as JSON: `start` is a measurement, `steps` and `total` have the fields of a StepReport.

    `start` is None, and there are no steps, where a run only tells its recipe (the best one of a search). `total` is
    None, too, where the compression is not finished. `origin` says in words where the recipe came from.
    """

    name: str
    recipe: str
    start: Mapping[str, Any] | None
    steps: tuple[Mapping[str, Any], ...]
    total: Mapping[str, Any] | None
    plan: Mapping[str, Any]
    origin: str = ""
    machine: Mapping[str, Any] | None = None
    models: Pair | None = None
    sensitivity: tuple[Sensitivity, ...] = ()

    def same_as(self, other: Compression) -> bool:
        """Whether both tell of one compression, once as a folder and once as what `compress --json` printed."""
        return (self.recipe, self.start, self.steps) == (other.recipe, other.start, other.steps)


def of_run(found: Run) -> Compression:
    """The compression that made the RUN `found`. Raises EdgepressError when its story is damaged."""
    story, where = found.compress, str(found.path / "run.json")
    if "steps" in story:
        return _told(found.path.name, story, found.plan, where, found.path)
    recipe = fields(story, {"recipe": (str,)}, where)["recipe"]
    origin = f"trial {story['trial']} of a search" if "trial" in story else ""
    return Compression(found.path.name, recipe, None, (), None, found.plan, origin)


def of_result(value: Mapping[str, Any], where: str) -> Compression:
    """What `compress --json` printed; the models are those in the RUN folder that it names, if it is still there."""
    folder = Path(value["run"])
    return _told(folder.name, value, value["plan"], where, folder)


def unfinished(folder: Path) -> Compression | None:
    """The finished steps of a compression that still runs or was cut off; None where `folder` is none."""
    started, asked = folder / "steps" / "00-start" / "measured.json", folder / "config.json"
    if (folder / "run.json").is_file() or not started.is_file() or not asked.is_file():
        return None
    steps = []
    for stage in _stages(folder):
        if (stage / "report.json").is_file():
            steps.append(_step(load(stage / "report.json"), str(stage / "report.json")))
    recipe = fields(load(asked), {"recipe": (str,)}, str(asked))["recipe"]
    start = fields(load(started), MEASURED, str(started))
    story = {"recipe": recipe, "start": start, "steps": steps, "total": None}
    return _told(folder.name, story, (steps[-1].get("plan") or {}) if steps else {}, str(folder), folder)


def read_pair(before: Path, after: Path, examples: np.ndarray | None = None) -> Pair | None:
    """Two .tflite files, or None where one is missing. Raises EdgepressError."""
    if not before.is_file() or not after.is_file():
        return None
    return Pair(flatbuffer.read(before), flatbuffer.read(after), examples)


def _told(name: str, story: Mapping[str, Any], plan: Mapping[str, Any], where: str, folder: Path) -> Compression:
    fields(story, _STORY, where)
    steps = tuple(_step(row, f"{where}: step {number}") for number, row in enumerate(story["steps"], 1))
    total, stages = story["total"], _stages(folder)[: len(story["steps"])]
    models = None
    if stages and len(stages) == len(steps):
        first, last = folder / "steps" / "00-start" / "model.tflite", stages[-1] / "model.tflite"
        models = read_pair(first, last, _examples(folder / "steps" / EXAMPLES))
    return Compression(
        name=name,
        recipe=story["recipe"],
        start=fields(story["start"], MEASURED, f"{where}: start"),
        steps=steps,
        total=None if total is None else _step(total, f"{where}: total"),
        plan=plan,
        machine=story["machine"] if isinstance(story.get("machine"), dict) else None,
        models=models,
        sensitivity=tuple(
            Sensitivity(str(row["step"]), _damage(stage / SENSITIVITY))
            for row, stage in zip(steps, stages, strict=False)
            if (stage / SENSITIVITY).is_file()
        ),
    )


def _stages(folder: Path) -> list[Path]:
    """The folders of the steps, in order, without that of the beginning."""
    found = sorted(path for path in (folder / "steps").glob("[0-9]*-*") if path.is_dir())
    return [path for path in found if path.name != "00-start"]


def _step(row: Any, where: str) -> Mapping[str, Any]:
    fields(row, _STEP, where)
    for key in ("before", "after"):
        fields(row[key], MEASURED, f"{where}: {key}")
    fields(row["verdict"], _VERDICT, f"{where}: verdict")
    for key in _SPEEDS:
        if row.get(key) is not None:
            fields(row[key], _SPEED, f"{where}: {key}")
    return dict(row)


def _examples(file: Path) -> np.ndarray | None:
    if not file.is_file():
        return None
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        found = None
    if not isinstance(found, np.ndarray) or found.ndim < 2 or found.dtype.kind != "f":
        raise damaged(str(file), "it holds no array of examples")
    return found.astype(np.float32)


def _damage(file: Path) -> tuple[tuple[str, float], ...]:
    rows = load(file)
    if not isinstance(rows, list):
        raise damaged(str(file), "it is no list of layers")
    for row in rows:
        fields(row, {"name": (str,), "damage": NUMBER}, str(file))
    return tuple((row["name"], float(row["damage"])) for row in rows)
