"""`edgepress compress`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress_convert.cli import options, output
from edgepress_convert.cli.options import Force, Json

if TYPE_CHECKING:
    from rich.console import Console

    from edgepress_convert.compress.chain import Compressed, StepReport
    from edgepress_convert.compress.measure import Measured, Speedup

EXAMPLE = 'for example: edgepress compress runs/cells --recipe "prune-channels:0.5,distil,qat" --out runs/small'


def _list(asked: bool) -> None:
    if not asked:
        return
    from edgepress_convert.compress.listing import listing

    for name, about, keywords in listing():
        print(f"{name}\n  {about}\n  {', '.join(keywords) or 'no options'}")
    raise typer.Exit


def compress(
    source: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="RUN folder, or a Keras file with --data.")],
    recipe: Annotated[str, typer.Option(help="Steps, as prune-channels:0.5,qat:epochs=3, or a .toml file of them.")],
    out: Annotated[Path, typer.Option(help="RUN folder to write.")],
    lr: Annotated[float | None, typer.Option(min=0, help="Peak rate of fine-tuning (default: the run's).")] = None,
    calibration_size: Annotated[int, typer.Option(min=1, help="Training examples that set the ranges.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of order, augmentation and choice of examples.")] = 0,
    device: Annotated[str, typer.Option(help="Board to measure times on as well, as pi@host.")] = "",
    data: options.Data = None,
    labels: options.Labels = None,
    mean: options.Mean = None,
    std: options.Std = None,
    size: options.Size = None,
    fit: options.Fit = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished compression.")] = False,
    force: Force = False,
    json: Json = False,
    list_passes: Annotated[
        bool, typer.Option("--list", callback=_list, is_eager=True, help="Show the passes and their options.")
    ] = False,
) -> None:
    """Make a trained model smaller or faster, step by step, each step measured."""
    hints = options.hints(labels, mean, std, size, fit, data)
    from edgepress_convert.compress.chain import CompressConfig
    from edgepress_convert.compress.chain import compress as work

    config = CompressConfig(source, out, recipe, lr, calibration_size, seed, device, hints)
    with output.progress() as progress:
        result = work(config, command=["edgepress", *sys.argv[1:]], resume=resume, force=force, progress=progress)
    output.emit(result, as_json=json, show=_show)


def _show(console: Console, result: Compressed) -> None:
    start = result.start
    first = ("start", output.percent(start.top1), output.percent(start.float_top1), *_cost(start), "", "")
    rows = [first, *(_row(report) for report in result.steps)]
    columns = ("step", "accuracy", "float", "size", "deflated", "MACs", "arena", "speed here", "on the board")
    output.table(console, columns, rows, title=f"accuracy on {start.n} validation examples, quantized")
    for report in (*result.steps, result.total):
        name = report.step if report is not result.total else "in all"
        points = f"{-report.drop_points:+.1f} points"
        output.facts(console, [(name, f"{points}; {report.verdict.sentence}"), *(("", note) for note in report.notes)])
    console.print(f"next: edgepress convert {result.run} --out {Path(result.run).name}.edge", markup=False)


def _row(report: StepReport) -> tuple[str, ...]:
    after = report.after
    speeds = _speed(report.speedup), _speed(report.on_board)
    return (report.step, output.percent(after.top1), output.percent(after.float_top1), *_cost(after), *speeds)


def _speed(timed: Speedup | None) -> str:
    return "-" if timed is None else f"{timed.ratio:.2f}x ({timed.low:.2f} to {timed.high:.2f})"


def _cost(measured: Measured) -> tuple[str, str, str, str]:
    kb = output.kilobytes
    return kb(measured.bytes), kb(measured.deflated_bytes), f"{measured.macs / 1e6:.2f} M", kb(measured.arena_bytes)
