"""What `search` leaves behind, read and checked: its points, and the models of the first and of the best one."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress_convert.report.checks import MEASURED, NUMBER, Keys, damaged, fields, is_number, load
from edgepress_convert.report.compression import Pair, read_pair
from edgepress_convert.search.front import Limits, Point
from edgepress_runtime.errors import EdgepressError

RESULT = "search.json"

KEYS: Keys = {
    "start": (dict,), "pareto": (list,), "tried": (list,), "best": (dict, type(None)), "limits": (dict,),
    "trials": (dict,), "latency_on": (str,),
}  # fmt: skip
_POINT: Keys = {"recipe": (str,), **dict.fromkeys(("number", "top1", "bytes", "deflated_bytes", "macs"), NUMBER),
                "latency_ms": NUMBER}  # fmt: skip


@dataclass(frozen=True)
class Search:
    """One search. `start`: the measurement of the model as it was. `trials`: how many trials are in each state.

    `source`: what `compress` must be given to make a point again, with `options`; empty where the search did not say.
    `models`: the model as it was and the best one, where both files are at hand.
    """

    name: str
    start: Mapping[str, Any]
    front: tuple[Point, ...]
    tried: tuple[Point, ...]
    best: Point | None
    limits: Limits
    trials: Mapping[str, int]
    latency_on: str
    source: str = ""
    options: tuple[str, ...] = ()
    machine: Mapping[str, Any] | None = None
    models: Pair | None = None

    def command(self, point: Point) -> str:
        """The command line that makes `point` again; the model as it is needs no compression."""
        source = self.source or "RUN"
        if is_start(point):
            return shlex.join(["edgepress", "convert", source, "--out", f"{self.name}-{point.number}.edge"])
        words = ["edgepress", "compress", source, "--recipe", point.recipe, *self.options]
        return shlex.join([*words, "--out", f"{self.name}-{point.number}"])


def is_start(point: Point) -> bool:
    """Whether the point is the model as it was."""
    return point.recipe in ("", "none")


def of_file(file: Path) -> Search:
    """The search whose result is in `file`. Raises EdgepressError when it is damaged, or not there yet."""
    value = load(file)
    if value == {}:
        raise EdgepressError(f"{file} has no result yet", "run the same search again to go on with it")
    where = str(file)
    fields(value, KEYS, where)
    source, options = value.get("source", ""), value.get("options", [])
    if not isinstance(source, str) or not isinstance(options, list):
        raise damaged(where, "source or options are not what was written there")
    best = value["best"]
    found = Search(
        name=file.resolve().parent.name if file.name == RESULT else file.stem,
        start=fields(value["start"], MEASURED, f"{where}: start"),
        front=tuple(_point(row, f"{where}: pareto") for row in value["pareto"]),
        tried=tuple(_point(row, f"{where}: tried") for row in value["tried"]),
        best=None if best is None else _point(best, f"{where}: best"),
        limits=_limits(value["limits"], f"{where}: limits"),
        trials={str(state): n for state, n in value["trials"].items() if isinstance(n, int)},
        latency_on=value["latency_on"],
        source=source,
        options=tuple(map(str, options)),
        machine=value["machine"] if isinstance(value.get("machine"), dict) else None,
    )
    return dataclasses.replace(found, models=_models(found, file.parent / "trials"))


def _models(found: Search, trials: Path) -> Pair | None:
    """The files of the model as it was and of the best one, both kept as trials."""
    first = next((point for point in found.tried if is_start(point)), None)
    if first is None or found.best is None or is_start(found.best):
        return None
    kept = {}
    for note in sorted(trials.glob("*/point.json")):
        row = fields(load(note), {"point": (dict,)}, str(note))["point"]
        kept[_point(row, str(note))] = note.with_name("model.tflite")
    if first not in kept or found.best not in kept:
        return None
    return read_pair(kept[first], kept[found.best])


def _point(row: Any, where: str) -> Point:
    known = {field.name for field in dataclasses.fields(Point)}
    value = fields(row, _POINT, where)
    if known - value.keys():
        raise damaged(where, f"it lacks {min(known - value.keys())}")
    return Point(**{key: value[key] for key in known})


def _limits(row: Any, where: str) -> Limits:
    names = [field.name for field in dataclasses.fields(Limits)]
    value = fields(row, {}, where)
    for name in names:
        if value.get(name) is not None and not is_number(value[name]):
            raise damaged(where, f"{name} is not what was written there")
    return Limits(**{name: value.get(name) for name in names})
