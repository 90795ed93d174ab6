"""How long a candidate takes on an attached board: packed as a bundle, measured there by the board's own `bench`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgepress_convert import board, bundle
from edgepress_convert.compact import shorten
from edgepress_convert.compress.starting import Start
from edgepress_convert.convert import ConvertConfig, task_of, tools
from edgepress_convert.multipliers import refuse_deadly
from edgepress_train import run
from edgepress_train.progress import silent

RUNS = 200


def times_ms(host: str, begun: Start, built: bytes) -> tuple[float, ...]:
    """Milliseconds of each of `RUNS` calls on `host` of the whole-window model `built`. Raises EdgepressError."""
    refuse_deadly(built)
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        path = Path(folder) / "candidate.edge"
        pack(begun, built, path)
        return tuple(board.bench(host, path, runs=RUNS)["samples_ms"])


def pack(begun: Start, built: bytes, out: Path) -> None:
    """The bundle `out` of `built`, complete enough to be measured."""
    source = begun.source
    config = ConvertConfig(source=source.folder or Path(source.name), out=out)
    finished = task_of(source.task).finish(built, begun.held, source, config, silent)
    bundle.pack(
        out,
        shorten(finished.model),
        name=source.name,
        task=source.task,
        labels=source.labels,
        preprocessing=source.preprocessing,
        golden=finished.golden,
        created=run.now(),
        metrics={},
        recipe={},
        tools=tools(),
        thresholds=finished.thresholds,
        detection=finished.detection,
    )
