"""`edgepress search`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress_convert.cli import options, output
from edgepress_convert.cli.options import Json

if TYPE_CHECKING:
    from rich.console import Console

    from edgepress_convert.search.search import Found

EXAMPLE = "for example: edgepress search runs/cells --max-size 60kB --max-drop 1.0 --out runs/search"


def search(
    source: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="RUN folder, or a Keras file with --data.")],
    out: Annotated[Path, typer.Option(help="Folder to write; several processes with the same one work together.")],
    max_size: Annotated[str | None, typer.Option(help="Most bytes of the model on the board, as 60kB.")] = None,
    max_latency: Annotated[str | None, typer.Option(help="Most time of one inference, as 5ms.")] = None,
    max_drop: Annotated[float | None, typer.Option(min=0, help="Points of accuracy that may be lost.")] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long this process searches.")] = 40.0,
    trials: Annotated[int | None, typer.Option(min=1, help="Stop after so many trials of all processes.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs of one fine-tuning.")] = 4,
    storage: Annotated[str, typer.Option(help="Database to share, as postgresql://... (default: a file in OUT).")] = "",
    lr: Annotated[float | None, typer.Option(min=0, help="Peak rate of fine-tuning (default: the run's).")] = None,
    calibration_size: Annotated[int, typer.Option(min=1, help="Training examples that set the ranges.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of proposals, order and augmentation.")] = 0,
    device: Annotated[str, typer.Option(help="Board to measure times on, as pi@host (default: this machine).")] = "",
    data: options.Data = None,
    labels: options.Labels = None,
    mean: options.Mean = None,
    std: options.Std = None,
    size: options.Size = None,
    fit: options.Fit = None,
    json: Json = False,
) -> None:
    """Find the recipe that meets a budget; run it again to go on, or from another process to help."""
    hints = options.hints(labels, mean, std, size, fit, data)
    most_bytes, most_ms = options.bytes_of(max_size), options.milliseconds(max_latency)
    from edgepress_convert.search.front import Limits
    from edgepress_convert.search.search import SearchConfig
    from edgepress_convert.search.search import search as work

    limits = Limits(most_bytes, most_ms, max_drop)
    config = SearchConfig(
        source, out, limits, minutes, trials, epochs, storage, lr, calibration_size, seed, device, hints
    )  # fmt: skip
    with output.progress() as progress:
        result = work(config, command=["edgepress", *sys.argv[1:]], progress=progress)
    output.emit(result, as_json=json, show=_show)


def _show(console: Console, result: Found) -> None:
    rows = [
        (
            str(p["number"]),
            output.percent(p["top1"]),
            output.kilobytes(p["bytes"]),
            output.kilobytes(p["deflated_bytes"]),
            f"{p['macs'] / 1e6:.2f} M",
            f"{p['latency_ms']:.2f} ms",
            p["recipe"],
        )
        for p in result.pareto
    ]
    columns = ("trial", "accuracy", "size", "deflated", "MACs", "time", "recipe")
    title = f"the best of {len(result.tried)} recipes tried in full (times on {result.latency_on})"
    output.table(console, columns, rows, title=title)
    start = result.start
    began = f"{output.percent(start['top1'])} quantized, {output.kilobytes(start['bytes'])}"
    output.facts(console, [("start", f"{output.percent(start['float_top1'])} float, {began}")])
    if result.best is None:
        told = "no recipe met the limits yet: run the same line again to go on, or loosen them"
    elif result.run is None:
        told = (
            f"best: trial {result.best.number}, trained on another machine; make it again with: "
            f"{shlex.join(['edgepress', 'compress', result.source, '--recipe', result.best.recipe, *result.options])}"
        )
    else:
        told = f"best: trial {result.best.number}; next: edgepress convert {result.run} --out best.edge"
    console.print(told, markup=False)
