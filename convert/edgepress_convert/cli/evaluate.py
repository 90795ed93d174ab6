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
    from edgepress_convert.evaluate_speech import StreamEvaluation

EXAMPLE = (
    "for example: edgepress evaluate cells.edge --data pv-cells, or for a keyword spotter "
    "edgepress evaluate alexa.edge --positives said --negatives other"
)


def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="X.edge", help="The bundle to judge.")],
    data: Annotated[
        str | None, typer.Option(help="Folder, zip or name; of training data only the held-out part is used.")
    ] = None,
    positives: Annotated[
        Path | None, typer.Option(help="Clips with a keyword: a folder a keyword, or those of the only one.")
    ] = None,
    negatives: Annotated[Path | None, typer.Option(help="Sound without any keyword, for false alarms.")] = None,
    noise: Annotated[str | None, typer.Option(help="Noise over the positives: a folder of it, or white.")] = None,
    snr: Annotated[float | None, typer.Option(help="How far below the voice the noise lies, in dB.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise.")] = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Judge a bundle on held-out data, through the code that runs on the board."""
    if (data is not None) == (positives is not None or negatives is not None):
        raise typer.BadParameter("give --data, or for a keyword spotter --positives, --negatives or both")
    if (noise is None) != (snr is None) or (noise is not None and positives is None):
        raise typer.BadParameter("--noise and --snr go together, with --positives; such as --noise white --snr 10")
    from edgepress_convert.evaluate import Evaluation, Request
    from edgepress_convert.evaluate import evaluate as work

    request = Request(data, positives, negatives, noise, snr, seed, threads)
    with output.progress() as progress:
        result = work(bundle, request, progress=progress)
    output.emit(result, as_json=json, show=_show if isinstance(result, Evaluation) else _show_streams)


def _show(console: Console, result: Evaluation) -> None:
    top5 = "" if result.top5 is None else f", top-5 {output.percent(result.top5)}"
    output.facts(
        console,
        [
            ("bundle", f"{result.bundle} ({output.kilobytes(result.model_bytes)})"),
            ("data", f"{result.data['name']}, {result.data['split']} part, {result.n} examples"),
            ("top-1", f"{output.percent(result.top1)}{top5}"),
            ("balanced", f"{output.percent(result.balanced_accuracy)}, mean F1 {result.f1:.3f}"),
        ],
    )
    _skipped(console, result)
    output.table(
        console,
        ("class", "n", "right", "precision", "F1"),
        [
            (label, row["n"], output.percent(row["top1"]), output.percent(row["precision"]), _number(row["f1"]))
            for label, row in result.per_class.items()
        ],
    )


def _show_streams(console: Console, result: StreamEvaluation) -> None:
    rows: list[tuple[str, object]] = [("bundle", f"{result.bundle} ({output.kilobytes(result.model_bytes)})")]
    if result.clips:
        noise = result.data["noise"]
        told = f" in noise, {noise['snr_db']:g} dB below the voice" if noise else ""
        rows.append(("found", f"{output.percent(result.recall)} of {result.clips} clips{told}"))
    if result.latency_ms is not None:
        wait = result.latency_ms
        rows.append(("latency", f"p50 {wait['p50']:.0f} ms, p90 {wait['p90']:.0f} ms after the end of the word"))
    if result.false_alarms is not None:
        rate = f"{result.false_alarms_per_hour:.2f} an hour, 95 % sure: below {result.at_most_per_hour:.2f}"
        rows.append(("false alarms", f"{result.false_alarms} in {result.negative_hours:.2f} h: {rate}"))
    rows.append(("cost", f"{result.cpu_s_per_audio_s:.5f} CPU seconds a second of sound"))
    output.facts(console, rows)
    _skipped(console, result)
    output.table(
        console,
        ("keyword", "clips", "found", "recall", "confused", "false alarms", "threshold"),
        [
            (word, row["clips"], row["found"], output.percent(row["recall"]), row["confused"],
             "-" if row["false_alarms"] is None else row["false_alarms"], f"{row['threshold']:g}")
            for word, row in result.per_keyword.items()
        ],
    )  # fmt: skip


def _skipped(console: Console, result: Evaluation | StreamEvaluation) -> None:
    if result.skipped:
        first = result.skipped[0]
        output.facts(console, [("skipped", f"{len(result.skipped)} files, such as {first.path}: {first.reason}")])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
