"""What a report is given: RUN folders, searches, bundles, and JSON that commands print, put together by model."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress_convert import inspect
from edgepress_convert.report import compression, searched
from edgepress_convert.report.checks import MAX_JSON_BYTES
from edgepress_convert.report.compression import Compression
from edgepress_convert.report.searched import Search
from edgepress_runtime.bundle import Bundle, is_bundle, open_bundle
from edgepress_runtime.errors import EdgepressError
from edgepress_train import run
from edgepress_train.run import Run

# The keys, with their types, that tell whose output a JSON file is; the first kind whose keys are all there is meant.
KINDS: dict[str, dict[str, tuple[type, ...]]] = {
    "evaluate": {
        "bundle": (str,), "digest": (str,), "n": (int,), "top1": (float, int), "f1": (float, int), "labels": (list,),
        "confusion": (list,), "per_class": (dict,), "model_bytes": (int,), "data": (dict,),
    },
    "evaluate-stream": {
        "bundle": (str,), "digest": (str,), "clips": (int,), "per_keyword": (dict,), "negative_hours": (float, int),
        "det": (list,), "cpu_s_per_audio_s": (float, int), "model_bytes": (int,), "data": (dict,),
    },
    "bench": {
        "name": (str,), "digest": (str,), "model_bytes": (int,), "latency_ms": (dict,), "first_ms": (float, int),
        "load_ms": (float, int), "samples_ms": (list,), "threads": (int,), "engine": (str,), "machine": (dict,),
    },
    "convert": {
        "name": (str,), "quantize": (str,), "bytes": (int,), "model": (dict,), "recipe": (dict,),
    },
    "inspect": {
        "bytes": (int,), "params": (int,), "macs": (int,), "arena_bytes": (int,), "layers": (list,), "input": (dict,),
    },
    "compress": {
        "run": (str,), "recipe": (str,), "plan": (dict,), "start": (dict,), "steps": (list,), "total": (dict,),
    },
    "search": dict(searched.KEYS),
}  # fmt: skip


@dataclass(frozen=True)
class Training:
    """A RUN folder with its history: one row an epoch, numbers by column name."""

    run: Run
    history: tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class Model:
    """One model file and all that was said about it. `digest` is its bundle's, empty where no bundle is known.

    `facts` are the keys of `inspect`, `parity` those of a conversion, `evaluations` (of labelled data), `streams`
    (evaluations of keyword spotters) and `benches` what these commands printed, in the order given.
    """

    name: str
    scheme: str
    bytes: int
    digest: str = ""
    bundle: Bundle | None = None
    facts: Mapping[str, Any] | None = None
    parity: Mapping[str, Any] | None = None
    evaluations: tuple[Mapping[str, Any], ...] = ()
    streams: tuple[Mapping[str, Any], ...] = ()
    benches: tuple[Mapping[str, Any], ...] = ()

    @property
    def p50_ms(self) -> float | None:
        """The median latency of the last measurement given."""
        return self.benches[-1]["latency_ms"]["p50"] if self.benches else None


@dataclass(frozen=True)
class Findings:
    """Everything given, as data. `sources` are the paths as they were given."""

    trainings: tuple[Training, ...]
    models: tuple[Model, ...]
    sources: tuple[str, ...]
    compressions: tuple[Compression, ...] = ()
    searches: tuple[Search, ...] = ()


def gather(paths: Sequence[str | Path]) -> Findings:
    """Read `paths`. Raises EdgepressError, in one sentence, for one that is missing or not ours."""
    if not paths:
        raise EdgepressError("a report needs something to report on", "give RUN folders, bundles, or JSON results")
    trainings: list[Training] = []
    models: list[Model] = []
    compressions: list[Compression] = []
    searches: list[Search] = []
    results: list[tuple[str, dict[str, Any]]] = []
    for path in map(Path, paths):
        if is_bundle(path):
            _add(models, _of_bundle(open_bundle(path)))
        elif (path / searched.RESULT).is_file() or (path.name == searched.RESULT and path.is_file()):
            searches.append(searched.of_file(path / searched.RESULT if path.is_dir() else path))
        elif path.is_dir() and (begun := compression.unfinished(path)):
            compressions.append(begun)
        elif path.is_dir():
            trainings.append(_of_run(path))
            if trainings[-1].run.compress:
                compressions.append(compression.of_run(trainings[-1].run))
        elif path.is_file():
            kind, value = _of_json(path)
            if kind == "search":
                searches.append(searched.of_file(path))
            elif kind == "compress":
                compressions.append(compression.of_result(value, str(path)))
            else:
                results.append((kind, value))
        else:
            what = f"{path} is not a plain file" if path.exists() else f"{path} does not exist"
            raise EdgepressError(what, "give RUN folders, bundles, or JSON results")
    # A convert result says what its bundle is made of but not its digest, so it comes once the bundles are known.
    for kind, value in sorted(results, key=lambda result: list(KINDS).index(result[0])):
        _add(models, _of_result(kind, value, models))
    told = tuple(c for i, c in enumerate(compressions) if not any(c.same_as(other) for other in compressions[:i]))
    return Findings(tuple(trainings), tuple(models), tuple(str(path) for path in paths), told, tuple(searches))


def _add(models: list[Model], new: Model) -> None:
    """Put `new` beside what is known of the same model, or at the end."""
    for index, old in enumerate(models):
        if old.digest == new.digest and (old.digest or (old.name, old.bytes) == (new.name, new.bytes)):
            models[index] = dataclasses.replace(
                old,
                scheme=old.scheme or new.scheme,
                bundle=old.bundle or new.bundle,
                facts=old.facts or new.facts,
                parity=new.parity or old.parity,
                evaluations=old.evaluations + new.evaluations,
                streams=old.streams + new.streams,
                benches=old.benches + new.benches,
            )
            return
    models.append(new)


def _of_bundle(bundle: Bundle) -> Model:
    return Model(
        name=bundle.manifest.name,
        scheme=_scheme(bundle.manifest.recipe, bundle.manifest.inputs[0].dtype),
        bytes=len(bundle.model),
        digest=bundle.digest,
        bundle=bundle,
        facts=inspect.facts(bytes(bundle.model), f"the model in {bundle.path.name}"),
        parity=bundle.manifest.metrics.get("val"),
    )


def _of_run(path: Path) -> Training:
    found = run.load(path)
    return Training(found, _history(path / "history.csv"))


def _history(path: Path) -> tuple[Mapping[str, float], ...]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, ValueError, TypeError, csv.Error) as error:
        raise EdgepressError(f"{path} cannot be read: {error}", "train again, or remove it") from None
    return tuple(rows)


def _of_json(path: Path) -> tuple[str, dict[str, Any]]:
    foreign = EdgepressError(
        f"{path} is neither a RUN folder, a bundle, nor what evaluate, bench, convert or inspect print with --json, "
        "nor what compress or search do",
        "save such output with: edgepress evaluate X.edge --data NAME --json > result.json",
    )
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise foreign
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise foreign from None
    except OSError as error:
        raise EdgepressError(f"{path} cannot be read: {error.strerror}") from None
    for kind, keys in KINDS.items():
        if isinstance(value, dict) and keys.keys() <= value.keys():
            for key, types in keys.items():
                if not isinstance(value[key], types):
                    raise EdgepressError(f"{path} is damaged: {key} is not what {kind} prints", f"run {kind} again")
            return kind, value
    raise foreign


def _of_result(kind: str, value: dict[str, Any], known: Sequence[Model]) -> Model:
    if kind == "evaluate":
        _check_confusion(value)
        return Model(value["bundle"], "", value["model_bytes"], value["digest"], evaluations=(value,))
    if kind == "evaluate-stream":
        _check_stream(value)
        return Model(value["bundle"], "", value["model_bytes"], value["digest"], streams=(value,))
    if kind == "bench":
        _check_latency(value)
        return Model(value["name"], "", value["model_bytes"], value["digest"], benches=(value,))
    if kind == "inspect":
        about = value.get("manifest") or {}
        name = about.get("name", "model")
        scheme = _scheme(about.get("recipe", {}), value["input"].get("dtype", ""))
        return Model(name, scheme, value["bytes"], value.get("digest", ""), facts=value)
    name, size = value["name"], value["bytes"]
    if not isinstance(value.get("parity"), (dict, type(None))) or not KINDS["inspect"].keys() <= value["model"].keys():
        raise EdgepressError(f"the conversion of {name} is damaged", "run convert again")
    same = [m for m in known if (m.name, m.bytes) == (name, size) and m.scheme in ("", value["quantize"])]
    digest = same[0].digest if len(same) == 1 else ""
    return Model(name, value["quantize"], size, digest, facts=value["model"], parity=value.get("parity"))


def _check_confusion(value: dict[str, Any]) -> None:
    classes, rows = len(value["labels"]), value["confusion"]
    square = len(rows) == classes and all(isinstance(row, list) and len(row) == classes for row in rows)
    if not square or not all(isinstance(count, int) for row in rows for count in row) or value["n"] < 1:
        raise EdgepressError(f"the evaluation of {value['bundle']} is damaged", "run evaluate again")


def _check_stream(value: dict[str, Any]) -> None:
    keys = {"clips", "found", "recall", "confused", "false_alarms", "threshold"}
    points = {"threshold", "recall", "false_alarms_per_hour"}
    example = value.get("example")
    whole = all(isinstance(row, dict) and keys <= row.keys() for row in value["per_keyword"].values())
    whole = whole and all(isinstance(point, dict) and points <= point.keys() for point in value["det"])
    whole = whole and (example is None or {"averages", "step_ms", "threshold", "keyword", "file"} <= example.keys())
    numbers = [n for row in [*value["per_keyword"].values(), *value["det"]] for n in row.values()] if whole else []
    if not whole or not all(n is None or isinstance(n, (int, float)) for n in numbers):
        raise EdgepressError(f"the evaluation of {value['bundle']} is damaged", "run evaluate again")


def _check_latency(value: dict[str, Any]) -> None:
    numbers = [value["latency_ms"].get(key) for key in ("p50", "p90", "p99", "mean", "n")] + value["samples_ms"]
    if not all(isinstance(v, (int, float)) and math.isfinite(v) and v > 0 for v in numbers):
        raise EdgepressError(f"the measurement of {value['name']} holds impossible times", "run bench again")


def _scheme(recipe: Mapping[str, Any], input_dtype: str) -> str:
    told = recipe.get("quantize")
    scheme = told.get("scheme") if isinstance(told, Mapping) else None
    return scheme if isinstance(scheme, str) and scheme != "as-is" else input_dtype
