"""`edgepress evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress_convert.cli import output
from edgepress_convert.cli.options import Json, Threads

if TYPE_CHECKING:
    from rich.console import Console

    from edgepress_convert.evaluate import Evaluation

EXAMPLE = "for example: edgepress evaluate cells.edge --data pv-cells"


def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="X.edge", help="The bundle to judge.")],
    data: Annotated[str, typer.Option(help="Folder, zip or name; of training data only the held-out part is used.")],
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Judge a bundle on held-out data, through the code that runs on the board."""
    from edgepress_convert.evaluate import evaluate as work

    with output.progress() as progress:
        result = work(bundle, data, threads=threads, progress=progress)
    output.emit(result, as_json=json, show=_show)


def _show(console: Console, result: Evaluation) -> None:
    top5 = "" if result.top5 is None else f", top-5 {output.percent(result.top5)}"
    output.facts(
        console,
        [
            ("bundle", f"{result.bundle} ({output.kilobytes(result.model_bytes)})"),
            ("data", f"{result.data['name']}, {result.data['split']} part, {result.n} pictures"),
            ("top-1", f"{output.percent(result.top1)}{top5}"),
            ("balanced", f"{output.percent(result.balanced_accuracy)}, mean F1 {result.f1:.3f}"),
        ],
    )
    if result.skipped:
        first = result.skipped[0]
        output.facts(console, [("skipped", f"{len(result.skipped)} files, such as {first.path}: {first.reason}")])
    output.table(
        console,
        ("class", "n", "right", "precision", "F1"),
        [
            (label, row["n"], output.percent(row["top1"]), output.percent(row["precision"]), _number(row["f1"]))
            for label, row in result.per_class.items()
        ],
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
