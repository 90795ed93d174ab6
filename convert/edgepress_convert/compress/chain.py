"""Apply the steps of a recipe in order, each measured before and after; the result is a RUN folder again."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import edgepress_train.keras2  # noqa: F401  first: it decides how TensorFlow starts
from edgepress_convert import plan as plans
from edgepress_convert import planned
from edgepress_convert.compress import EXAMPLES, SENSITIVITY, Candidate, on_board, recipe, sensitivity
from edgepress_convert.compress.gate import Verdict, judge
from edgepress_convert.compress.job import Job
from edgepress_convert.compress.measure import Measured, Speedup, between, build, held_out, landed, measure, speedup
from edgepress_convert.compress.recipe import Bound
from edgepress_convert.compress.starting import Start, start, write_run
from edgepress_convert.flatbuffer import graphs
from edgepress_convert.importers import Hints
from edgepress_convert.multipliers import deadly
from edgepress_convert.plan import Plan
from edgepress_runtime import disk, machine
from edgepress_runtime.errors import EdgepressError
from edgepress_train import run
from edgepress_train.keras2 import keras
from edgepress_train.progress import Progress, silent

_EXAMPLES_KEPT = 64


@dataclass(frozen=True)
class CompressConfig:
    """One compression. `recipe` is a line or a TOML file (see `recipe.read`); `lr` None for the run's own; `device` a
    host to measure times on as well, empty for this machine alone.
    """

    source: Path
    out: Path
    recipe: str
    lr: float | None = None
    calibration_size: int = 200
    seed: int = 0
    device: str = ""
    hints: Hints = field(default_factory=Hints)


@dataclass(frozen=True)
class StepReport:
    """What one step did. `drop_points`: accuracy of the quantized model lost, in points; negative for a gain.

    `speedup` was measured on this machine, `on_board` on an attached one; None where nothing was, or the file is the
    same.
    """

    step: str
    before: Measured
    after: Measured
    drop_points: float
    speedup: Speedup | None
    on_board: Speedup | None
    verdict: Verdict
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Compressed:
    """What `compress` made; the fields are the keys of `--json`. `total` compares the end with the beginning.

    `machine`: what times were measured on, but for those of an attached board.
    """

    run: str
    recipe: str
    plan: Mapping[str, Any]
    start: Measured
    steps: tuple[StepReport, ...]
    total: StepReport
    machine: Mapping[str, Any]


def compress(
    config: CompressConfig, *, command: Sequence[str] = (), resume: bool = False, force: bool = False,
    progress: Progress = silent,
) -> Compressed:  # fmt: skip
    """Do what `config` says and write the RUN folder `config.out`.

    Every step is checked against the model before the first one begins. With `resume` finished steps are not done
    again, and an unfinished one goes on at its last checkpoint. Raises EdgepressError.
    """
    steps = recipe.read(config.recipe)
    bound = recipe.bind(steps)
    asked = {**asdict(config), "source": str(config.source), "out": str(config.out), "recipe": recipe.write(steps)}
    asked = json.loads(json.dumps(asked, default=str))
    run.refuse(config.out, asked, resume=resume, force=force)
    begun = start(
        config.source,
        hints=config.hints,
        calibration_size=config.calibration_size,
        seed=config.seed,
        lr=config.lr,
        progress=progress,
    )
    check(begun, bound, config.out)
    run.prepare(config.out, asked, resume=resume, force=force)
    stages = config.out / "steps"
    first = state = _open(stages / "00-start", begun, config.device)
    reports = []
    for number, step in enumerate(bound, 1):
        folder = stages / f"{number:02d}-{step.step.name}"
        done = _finished(folder)
        if done is None:
            progress("compress", number - 1, len(bound), str(step.step))
            notes: list[str] = []
            began = time.monotonic()
            made = apply(step, state.candidate, job_for(begun, state.candidate, folder, config.seed, progress, notes))
            seconds = time.monotonic() - began
            after = _measured(made, begun, config.device)
            done = _close(folder, after, _report(str(step.step), state, after, tuple(notes), seconds))
        state, report = done
        reports.append(report)
    progress("compress", len(bound), len(bound), "comparing the end with the beginning")
    total = _report(recipe.write(steps), first, state, (), sum(r.seconds for r in reports))
    result = Compressed(
        run=str(config.out),
        recipe=recipe.write(steps),
        plan=plans.as_json(state.candidate.plan),
        start=first.measured,
        steps=tuple(reports),
        total=total,
        machine=machine.describe(),
    )
    story = {"source": begun.name, **asdict(result)}
    del story["plan"], story["run"]
    write_run(config.out, begun, state.candidate, total.after, story=story, command=command)
    if bound:
        _keep_evidence(stages, f"{len(bound):02d}-{bound[-1].step.name}", begun, state.candidate)
    return result


def check(begun: Start, bound: Sequence[Bound], scratch: Path) -> None:
    """Let every step say what it cannot do with the model, before anything is trained. Raises EdgepressError."""
    for number, step in enumerate(bound, 1):
        if step.check is None:
            continue
        try:
            step.check(begun.candidate.model, job_for(begun, begun.candidate, scratch, 0, silent, []), **step.options)
        except EdgepressError as error:
            raise EdgepressError(f"step {number} ({step.step.name}): {error.what}", error.remedy) from None


def job_for(
    begun: Start, candidate: Candidate, folder: Path, seed: int, progress: Progress, notes: list[str],
    max_steps: int | None = None,
) -> Job:  # fmt: skip
    """The job of a step that starts from `candidate` and may use `folder` for its checkpoints."""
    return Job(
        lessons=begun.lessons,
        representative=begun.representative,
        original=begun.candidate.model,
        scratch=folder / "training",
        plan=candidate.plan,
        lr=begun.lr,
        batch=begun.batch,
        weight_decay=begun.weight_decay,
        seed=seed,
        max_steps=max_steps,
        progress=progress,
        note=notes.append,
    )


def apply(step: Bound, candidate: Candidate, job: Job) -> Candidate:
    """`candidate` after one pass, whatever the pass changed: the model, the plan, or both."""
    made = step.function(candidate.model, job, **step.options)
    if isinstance(made, Candidate):
        return made
    if isinstance(made, Plan):
        return Candidate(candidate.model, made)
    return Candidate(made, candidate.plan)


@dataclass(frozen=True)
class _State:
    """A candidate, the file that a board would get of it, what it is worth, and its times on an attached board."""

    candidate: Candidate
    landed: bytes
    measured: Measured
    board_ms: tuple[float, ...] = ()


def _open(folder: Path, begun: Start, device: str) -> _State:
    """The beginning, measured once and kept in `folder`."""
    note, file = folder / "measured.json", folder / "model.tflite"
    if note.is_file() and file.is_file():
        value = json.loads(note.read_text(encoding="utf-8"))
        board_ms = tuple(value.pop("board_ms"))
        return _State(begun.candidate, file.read_bytes(), Measured(**value), board_ms)
    state = _measured(begun.candidate, begun, device)
    disk.make_dir(folder)
    disk.write_bytes(file, state.landed)
    disk.write_bytes(note, _json({**asdict(state.measured), "board_ms": state.board_ms}))
    return state


def _measured(candidate: Candidate, begun: Start, device: str) -> _State:
    built = build(candidate, begun.representative)
    return _State(
        candidate,
        landed(built, begun.lessons),
        measure(candidate, built, begun.lessons, begun.held),
        on_board.times_ms(device, begun, built) if device and not deadly(graphs(built)[0]) else (),
    )


def _close(folder: Path, after: _State, report: StepReport) -> tuple[_State, StepReport]:
    """Keep what a step made in `folder`; `report.json` comes last, so a folder that has it is whole."""
    disk.make_dir(folder)
    after.candidate.model.save(folder / "model.keras")
    disk.write_bytes(folder / "model.tflite", after.landed)
    kept = {**asdict(report), "plan": plans.as_json(after.candidate.plan), "board_ms": after.board_ms}
    disk.write_bytes(folder / "report.json", _json(kept))
    shutil.rmtree(folder / "training", ignore_errors=True)
    return after, report


def _finished(folder: Path) -> tuple[_State, StepReport] | None:
    if not (folder / "report.json").is_file():
        return None
    value = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    model = keras.models.load_model(folder / "model.keras", compile=False)
    candidate, board_ms = Candidate(model, plans.from_json(value.pop("plan"))), tuple(value.pop("board_ms"))
    report = report_from_json(value)
    return _State(candidate, (folder / "model.tflite").read_bytes(), report.after, board_ms), report


def _keep_evidence(stages: Path, last: str, begun: Start, candidate: Candidate) -> None:
    """What a report shows beyond the measurements: examples to run the models on, and which layers int8 still hurts.

    A model whose layers cannot be watched one by one, such as one with loops, has no such bars.
    """
    partial = stages / f"{EXAMPLES}.partial.npy"
    np.save(partial, begun.representative[:_EXAMPLES_KEPT])
    disk.publish(partial, stages / EXAMPLES)
    note = stages / last / SENSITIVITY
    if note.is_file():
        return
    with suppress(EdgepressError):
        prepared = planned.prepare(candidate.model, begun.representative)
        held = held_out(begun.lessons, limit=sensitivity.MAX_EXAMPLES)
        rows = sensitivity.measure(prepared, held, candidate.plan)
        disk.write_bytes(note, (json.dumps(sensitivity.as_json(rows), indent=1) + "\n").encode())


def _report(step: str, before: _State, after: _State, notes: tuple[str, ...], seconds: float) -> StepReport:
    same = before.landed == after.landed
    loads = not any(deadly(graphs(state.landed)[0]) for state in (before, after))
    here = speedup(before.landed, after.landed) if loads and not same else None
    board = between(before.board_ms, after.board_ms) if before.board_ms and after.board_ms and not same else None
    return StepReport(
        step=step,
        before=before.measured,
        after=after.measured,
        drop_points=100 * (before.measured.top1 - after.measured.top1),
        speedup=here,
        on_board=board,
        verdict=judge(before.measured, after.measured, here=here, board=board),
        notes=notes,
        seconds=round(seconds, 1),
    )


def report_from_json(value: Mapping[str, Any]) -> StepReport:
    """What `dataclasses.asdict` made of a StepReport."""
    here, board = value["speedup"], value["on_board"]
    return StepReport(
        **{
            **value,
            "before": Measured(**value["before"]),
            "after": Measured(**value["after"]),
            "speedup": None if here is None else Speedup(**here),
            "on_board": None if board is None else Speedup(**board),
            "verdict": Verdict(**value["verdict"]),
            "notes": tuple(value["notes"]),
        }
    )


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
