"""The way from a trained model to a proven bundle: import, quantize, verify, finish, pack.

The way is one; what differs between pictures, speech and text (which examples there are, what is done to the quantized
model, which cases are golden) lies in one module a task, see `TASKS`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from edgepress_convert import bundle, importers, quantize, tflite, verify
from edgepress_convert import plan as plans
from edgepress_convert.compact import shorten
from edgepress_convert.examples import Examples
from edgepress_convert.importers import Hints, Source
from edgepress_convert.importers.source import bundle_name
from edgepress_convert.multipliers import refuse_deadly
from edgepress_convert.plan import Plan
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import DetectionSpec, TeachingSpec
from edgepress_train import run
from edgepress_train.progress import Progress, silent

# task of a model -> module with the functions of `Task`; imported when used
TASKS: dict[str, str] = {
    "image-classification": "edgepress_convert.convert_image",
    "keyword-spotting": "edgepress_convert.convert_speech",
    "text-classification": "edgepress_convert.convert_text",
}


@dataclass(frozen=True)
class ConvertConfig:
    """One conversion. `quantize` is a name in `quantize.SCHEMES`; None means int8, and as it is for a .tflite.

    `calibration_size`: representative training examples. `max_drop`: points of validation accuracy that may be lost.
    `weights`: one of `quantize.WEIGHTS`. `name`: the bundle's, None for the source's own.

    Of keyword spotters alone: `false_alarms_per_hour` that thresholds may cause on the validation sound, None for 0.5;
    scores are averaged over `smoothing_ms` and a word is not reported twice within `refractory_ms`, None for the usual.

    `teachable`: the board can add classes to the model from a few examples.
    """

    source: Path
    out: Path
    quantize: str | None = None
    name: str | None = None
    calibration_size: int = 200
    seed: int = 0
    max_drop: float = 2.0
    weights: str = "per-channel"
    force: bool = False
    hints: Hints = field(default_factory=Hints)
    false_alarms_per_hour: float | None = None
    smoothing_ms: float | None = None
    refractory_ms: float | None = None
    teachable: bool = False


@dataclass(frozen=True)
class Converted:
    """What `convert` made. The fields are the keys of `--json`; `bytes` is the model's size, `bundle_bytes` the file's.

    `parity` is None for a .tflite, which has no original to compare with; without data it is made on noise, and says
    nothing about accuracy. `spotting` is how the thresholds of a keyword spotter were chosen, None for other tasks.
    """

    bundle: str
    name: str
    quantize: str
    bytes: int
    bundle_bytes: int
    parity: dict[str, Any] | None
    model: dict[str, Any]
    golden: dict[str, int]
    recipe: dict[str, Any]
    spotting: dict[str, Any] | None = None


@dataclass(frozen=True)
class Finished:
    """What a task makes of the quantized model: the `model` of the bundle and what else must lie in it.

    `metrics` and `recipe` are added to the manifest's, `members` (name -> bytes) to the bundle's.
    """

    model: bytes
    golden: bundle.Golden
    thresholds: Mapping[str, float] = field(default_factory=dict)
    detection: DetectionSpec | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, bytes] = field(default_factory=dict)
    teaching: TeachingSpec | None = None


class Task(Protocol):
    """What the module of a task provides."""

    def check(self, config: ConvertConfig) -> None:
        """Raise EdgepressError for settings that this task has no use for, or that cannot be."""

    def representative(
        self, source: Source, config: ConvertConfig, progress: Progress
    ) -> tuple[np.ndarray, Mapping[str, Any]]:
        """Real-valued inputs of the training part, to choose ranges by, and the account of them for the recipe."""

    def held(self, source: Source, config: ConvertConfig, progress: Progress) -> Examples:
        """Validation examples; where there are no data, noise without labels."""

    def finish(
        self, model: bytes, held: Examples, source: Source, config: ConvertConfig, progress: Progress
    ) -> Finished:
        """The quantized `model` made ready for its bundle."""


def convert(config: ConvertConfig, *, progress: Progress = silent) -> Converted:
    """Make the bundle `config.out`. Raises EdgepressError; nothing is then written."""
    from edgepress_convert import teachable  # which makes what this module describes

    bundle.refuse_existing(config.out, force=config.force)
    _check(config)
    progress("convert", 0, 4, "reading the model")
    source = importers.read(config.source, config.hints)
    task = task_of(source.task)
    task.check(config)
    if config.teachable:
        teachable.check_task(source.task)
    held = task.held(source, config, progress)
    if source.tflite is not None:
        if config.quantize is not None or config.weights != "per-channel":
            raise EdgepressError(
                f"{config.source} is converted already and is packed as it is", "leave --quantize and --per-tensor out"
            )
        scheme, model, parity = "as-is", source.tflite, None
        story: dict[str, Any] = {"quantize": {"scheme": scheme}}
    else:
        plan = _plan(source, config)
        scheme = plan.scheme
        model, parity, story = _from_keras(source, plan, config, held, task, progress)
    progress("convert", 3, 4, "packing")
    finished = task.finish(model, held, source, config, progress)
    if config.teachable:
        finished = teachable.finish(finished, model, held, source, seed=config.seed)
    if source.tflite is None:
        finished = replace(finished, model=shorten(finished.model))
    recipe = {**source.recipe, **story, **finished.recipe}
    name = config.name or source.name
    bundle.pack(
        config.out,
        finished.model,
        name=name,
        task=source.task,
        labels=source.labels,
        preprocessing=source.preprocessing,
        golden=finished.golden,
        created=run.now(),
        metrics={**_metrics(source, parity), **finished.metrics},
        recipe=recipe,
        tools=tools(),
        thresholds=finished.thresholds,
        detection=finished.detection,
        extra=finished.members,
        teaching=finished.teaching,
        force=config.force,
    )
    progress("convert", 4, 4, "done")
    return Converted(
        bundle=str(config.out),
        name=name,
        quantize=scheme,
        bytes=len(finished.model),
        bundle_bytes=config.out.stat().st_size,
        parity=None if parity is None else verify.as_json(parity),
        model=asdict(tflite.facts(finished.model)),
        golden={"cases": len(finished.golden.inputs), "stable": finished.golden.stable},
        recipe=recipe,
        spotting=finished.metrics.get("spotting"),
    )


def tools() -> dict[str, str]:
    """Versions of everything that shapes the bundle."""
    return {**run.versions(), "ai-edge-litert": importlib.metadata.version("ai-edge-litert")}


def task_of(name: str) -> Task:
    """The module that converts models for task `name`. Raises EdgepressError."""
    if name not in TASKS:
        raise EdgepressError(f"models for {name} cannot be converted", "update edgepress")
    return cast(Task, importlib.import_module(TASKS[name]))


def _check(config: ConvertConfig) -> None:
    if config.calibration_size < 1:
        raise EdgepressError(f"--calibration-size is {config.calibration_size}, but must be 1 or more")
    if config.quantize is not None:
        quantize.scheme(config.quantize)
    if config.name is not None and bundle_name(config.name) != config.name:
        raise EdgepressError(
            f"{config.name!r} cannot be a bundle's name, since boards use it as a folder's",
            f"use letters, digits, '.', '_' and '-', at most 64: --name {bundle_name(config.name)}",
        )


def _plan(source: Source, config: ConvertConfig) -> Plan:
    """How to quantize: as the source wants it, unless the configuration says otherwise."""
    plan = source.plan
    if config.quantize is not None and config.quantize != plan.scheme:
        plan = Plan(scheme=config.quantize)  # ranges and kept layers were chosen for the other scheme
    return plan if config.weights == "per-channel" else replace(plan, weights=config.weights)


def _from_keras(
    source: Source, plan: Plan, config: ConvertConfig, held: Examples, task: Task, progress: Progress
) -> tuple[bytes, verify.Parity | None, dict[str, Any]]:
    scheme, representative, calibration = plan.scheme, None, None
    if quantize.SCHEMES[scheme].representative:
        representative, calibration = task.representative(source, config, progress)
    progress("convert", 1, 4, f"converting to {scheme}")
    assert source.model is not None
    # The float32 twin is what the comparison layer by layer needs.
    schemes = tuple(dict.fromkeys(("float32", *((scheme,) if plan.plain else ()))))
    both = quantize.convert(source.model, schemes, representative=representative, weights=plan.weights)
    if plan.plain:
        made = both[scheme]
    else:
        assert representative is not None  # schemes with ranges and kept layers need one
        made = quantize.from_plan(source.model, plan, representative)
    refuse_deadly(made)
    progress("convert", 2, 4, "comparing with the original")
    story = {"quantize": {**plans.as_json(plan), **quantize.describe(scheme, plan.weights, calibration)}}
    parity = verify.compare(source.model, made, reference=both["float32"], examples=held)
    verify.gate(parity, config.max_drop, scheme=scheme, remedies=_remedies(scheme, config), noun=held.noun)
    if scheme in ("float32", "float16"):
        verify.gate_scores(parity, scheme=scheme, noun=held.noun)
    return made, parity, story


def _metrics(source: Source, parity: verify.Parity | None) -> dict[str, Any]:
    data = source.recipe.get("data")
    if parity is None or not data:
        return {}
    value = verify.as_json(parity)
    del value["layers"]
    return {"val": {**value, "data": {"name": data.get("name"), "fingerprint": data.get("fingerprint")}}}


def _remedies(scheme: str, config: ConvertConfig) -> str:
    ways = []
    if config.weights != "per-channel":
        ways.append("leave out --per-tensor")
    if quantize.SCHEMES[scheme].representative:
        ways.append(f"raise --calibration-size above {config.calibration_size}")
    ways += [f"use --quantize {other}" for other in ("int16x8", "dynamic", "float16") if other != scheme][:2]
    return f"{', or '.join(ways)}, or accept it with a higher --max-drop"
