"""`search`: find the recipe that meets a budget, and show what else there was to choose from."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna

import edgepress_train.keras2  # noqa: F401  first: it decides how TensorFlow starts
from edgepress_convert.compress import Candidate
from edgepress_convert.compress.measure import Measured, build, measure
from edgepress_convert.compress.starting import Start, start, write_run
from edgepress_convert.importers import Hints
from edgepress_convert.plan import as_json as plan_as_json
from edgepress_convert.plan import from_json as plan_from_json
from edgepress_convert.search import study as studies
from edgepress_convert.search.clock import Clock, clock
from edgepress_convert.search.front import Limits, Point, best, front
from edgepress_convert.search.space import CRITERIA, Space, single_passes, suggest
from edgepress_convert.search.trial import PROXY_STEPS, Rung, climb, hopeless, written
from edgepress_runtime import disk, machine
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras
from edgepress_train.progress import Progress, silent
from edgepress_train.spec import Step

_NAME = "edgepress"  # of the study in its storage
_SPARE = 1.25  # a full trial is begun only if this many times its expected duration is left


@dataclass(frozen=True)
class SearchConfig:
    """One search. `storage`: a URL of SQLAlchemy's, empty for a SQLite file in `out`; several processes with the same
    `out`, or the same `storage`, work together. `minutes` of this process, and `trials` of all, whichever ends first.
    `epochs`: most epochs of one fine-tuning. `device`: the board that times are measured on, empty for this machine.
    """

    source: Path
    out: Path
    limits: Limits = field(default_factory=Limits)
    minutes: float = 40.0
    trials: int | None = None
    epochs: int = 4
    storage: str = ""
    lr: float | None = None
    calibration_size: int = 200
    seed: int = 0
    device: str = ""
    hints: Hints = field(default_factory=Hints)


@dataclass(frozen=True)
class Found:
    """What a search came to; the fields are the keys of `--json`.

    `start`: the model as it was, uniformly quantized. `pareto`: the points that no other one beats, smallest first,
    each with its `metric`, which is its top1, and the `path` of its .tflite, None where another machine trained it.
    `tried`: every point that was trained in full. `best`: the most accurate within the limits, None when there is none;
    its RUN folder is `run`. `latency_on`: where times were measured, `machine` what was searched on. `source` and
    `options` are what `compress` must be given, with a recipe, to make a point again.
    """

    start: Mapping[str, Any]
    pareto: tuple[Mapping[str, Any], ...]
    tried: tuple[Point, ...]
    best: Point | None
    run: str | None
    limits: Limits
    trials: Mapping[str, int]
    latency_on: str
    machine: Mapping[str, Any]
    storage: str
    source: str
    options: tuple[str, ...]


def search(config: SearchConfig, *, command: Sequence[str] = (), progress: Progress = silent) -> Found:
    """Search as `config` says, alone or together with other processes. Raises EdgepressError.

    Every point of the front is kept as a model in `out/trials`, the best one within the limits as a RUN in `out/best`.
    """
    deadline = time.monotonic() + 60 * config.minutes
    _claim(config.out)
    begun = start(
        config.source,
        hints=config.hints,
        calibration_size=config.calibration_size,
        seed=config.seed,
        lr=config.lr,
        progress=progress,
    )
    url = config.storage or f"sqlite:///{config.out.absolute() / 'study.db'}"
    study = studies.connect(url, _NAME, seed=config.seed)
    space = _space(config, begun)
    studies.begin(study, _about(config, begun), single_passes(space))
    progress("search", 0, 1, "measuring the model as it is")
    built = build(begun.candidate, begun.representative)
    measured = measure(begun.candidate, built, begun.lessons, begun.held)
    tick = clock(begun, built, config.device)
    worker = _Worker(config, begun, study, space, tick, deadline, progress)
    while time.monotonic() < deadline and not _enough(study, config.trials):
        studies.optimize(study, worker.run)
    return _conclude(config, begun, study, measured, command, url)


class _Worker:
    """The objective of the study in this process."""

    def __init__(
        self, config: SearchConfig, begun: Start, study: optuna.Study, space: Space, tick: Clock, deadline: float,
        progress: Progress,
    ) -> None:  # fmt: skip
        self.config, self.begun, self.study, self.space = config, begun, study, space
        self.tick, self.deadline, self.progress = tick, deadline, progress

    def run(self, trial: optuna.Trial) -> tuple[float, float, float]:
        """Accuracy, bytes and milliseconds of the trial's first rung; what came of it is noted with the trial."""
        steps = suggest(trial, self.space)
        text = written(steps)
        trial.set_user_attr("recipe", text)
        known = next((p for p in studies.points(self.study, "proxy") if p.recipe == text), None)
        if known is not None:
            trial.set_user_attr("stopped", f"trial {known.number} was the same")
            return known.top1, known.bytes, known.latency_ms
        folder = self.config.out / "trials" / f"{studies.original_number(trial):04d}"
        self._tell(trial, text)
        began = time.monotonic()
        try:
            proxy = self._climb(trial, steps, folder, PROXY_STEPS)
        except EdgepressError as error:
            trial.set_user_attr("stopped", error.what)
            raise
        took = time.monotonic() - began
        studies.note(trial, "proxy", proxy.point)
        stopped = self._stopped(trial, proxy.point, steps, took)
        if stopped:
            trial.set_user_attr("stopped", stopped)
        else:
            full = self._climb(trial, steps, folder, None) if _trains(steps) else proxy
            _keep(folder, full)
            studies.note(trial, "full", full.point)
        return proxy.point.top1, proxy.point.bytes, proxy.point.latency_ms

    def _climb(self, trial: optuna.Trial, steps: tuple[Step, ...], folder: Path, max_steps: int | None) -> Rung:
        return climb(
            self.begun,
            steps,
            number=trial.number,
            folder=folder,
            seed=self.config.seed,
            clock=self.tick,
            max_steps=max_steps,
            progress=self.progress,
        )

    def _stopped(self, trial: optuna.Trial, proxy: Point, steps: tuple[Step, ...], took: float) -> str:
        """Why the trial ends after its first rung, empty when it does not."""
        if not _trains(steps):
            return ""
        if not trial.user_attrs.get("first"):
            others = [p for p in studies.points(self.study, "proxy") if p.number != proxy.number]
            why = hopeless(proxy, others, self.config.limits)
            if why:
                return why
        whole = max(1, self.begun.lessons.size // self.begun.batch)
        expected = took * whole / min(PROXY_STEPS, whole) * max(1, _epochs(steps) / max(1, len(steps)))
        left = self.deadline - time.monotonic()
        return "" if left > _SPARE * expected else "there was no time left to train it in full"

    def _tell(self, trial: optuna.Trial, text: str) -> None:
        done = len(self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)))
        self.progress("search", done, self.config.trials or done + 1, f"trial {trial.number}: {text}")


def _space(config: SearchConfig, begun: Start) -> Space:
    """What may be proposed for this model: ranking by the scales of batch normalisation needs some."""
    layers = begun.candidate.model.layers
    scaled = any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)
    return Space(config.epochs, criteria=CRITERIA if scaled else tuple(name for name in CRITERIA if name != "bn"))


def _trains(steps: tuple[Step, ...]) -> bool:
    return _epochs(steps) > 0


def _epochs(steps: tuple[Step, ...]) -> int:
    return sum(int(step.params.get("epochs", 0)) for step in steps)


def _enough(study: optuna.Study, trials: int | None) -> bool:
    done = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL)
    return trials is not None and len(study.get_trials(deepcopy=False, states=done)) >= trials


def _claim(out: Path) -> None:
    note = out / "search.json"
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not note.is_file()):
        raise EdgepressError(f"{out} exists and is no search", "give another --out")
    disk.make_dir(out / "trials")
    if not note.is_file():
        disk.write_bytes(note, b"{}\n")


def _about(config: SearchConfig, begun: Start) -> dict[str, Any]:
    """What makes two processes work on the same search."""
    return {
        "model": begun.name,
        "data": begun.data.get("fingerprint"),
        "epochs": config.epochs,
        "calibration_size": config.calibration_size,
        "seed": config.seed,
        "device": config.device,
    }


def _keep(folder: Path, rung: Rung) -> None:
    """The model of a finished trial; `point.json` comes last, so a folder that has it is whole."""
    disk.make_dir(folder)
    rung.candidate.model.save(folder / "model.keras")
    disk.write_bytes(folder / "model.tflite", rung.file)
    kept = {"point": asdict(rung.point), "measured": asdict(rung.measured), "plan": plan_as_json(rung.candidate.plan)}
    disk.write_bytes(folder / "point.json", (json.dumps(kept, indent=1) + "\n").encode())


def _conclude(
    config: SearchConfig, begun: Start, study: optuna.Study, measured: Measured, command: Sequence[str], url: str
) -> Found:
    tried = sorted(studies.points(study, "full"), key=lambda point: point.number)
    chosen = best(tried, config.limits, measured.float_top1)
    kept = _kept(config.out)
    found = Found(
        start=asdict(measured),
        pareto=tuple(_shown(point, kept.get(point)) for point in front(tried)),
        tried=tuple(tried),
        best=chosen,
        run=_write_best(config, begun, study, chosen, kept[chosen], command) if chosen in kept else None,
        limits=config.limits,
        trials=studies.counts(study),
        latency_on=config.device or "this machine",
        machine=machine.describe(),
        storage=url,
        source=str(config.source),
        options=_options(config),
    )
    disk.write_bytes(config.out / "search.json", (json.dumps(asdict(found), indent=1) + "\n").encode())
    return found


def _kept(out: Path) -> dict[Point, Path]:
    """The folders of the trials whose models this machine has."""
    notes = sorted((out / "trials").glob("*/point.json"))
    return {Point(**json.loads(note.read_text(encoding="utf-8"))["point"]): note.parent for note in notes}


def _shown(point: Point, folder: Path | None) -> dict[str, Any]:
    return {**asdict(point), "metric": point.top1, "path": None if folder is None else str(folder / "model.tflite")}


def _options(config: SearchConfig) -> tuple[str, ...]:
    """The options of `compress` that make it work as this search did; those left at their defaults are not named."""
    usual = SearchConfig(config.source, config.out)
    hints = config.hints
    named = {
        "--lr": config.lr if config.lr != usual.lr else None,
        "--calibration-size": config.calibration_size if config.calibration_size != usual.calibration_size else None,
        "--seed": config.seed if config.seed != usual.seed else None,
        "--data": hints.data,
        "--labels": hints.labels,
        "--mean": ",".join(map(str, hints.mean)) if hints.mean is not None else None,
        "--std": ",".join(map(str, hints.std)) if hints.std is not None else None,
        "--size": "x".join(map(str, hints.size)) if hints.size is not None else None,
        "--fit": hints.fit,
    }
    return tuple(str(word) for flag, value in named.items() if value is not None for word in (flag, value))


def _write_best(
    config: SearchConfig, begun: Start, study: optuna.Study, chosen: Point, folder: Path, command: Sequence[str]
) -> str:
    """The RUN `out/best` of what the best trial left in `folder`."""
    kept = json.loads((folder / "point.json").read_text(encoding="utf-8"))
    model = keras.models.load_model(folder / "model.keras", compile=False)
    candidate = Candidate(model, plan_from_json(kept["plan"]))
    story = {"source": begun.name, "recipe": chosen.recipe, "search": study.study_name, "trial": chosen.number}
    write_run(config.out / "best", begun, candidate, Measured(**kept["measured"]), story=story, command=command)
    return str(config.out / "best")
