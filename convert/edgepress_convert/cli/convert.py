"""`edgepress convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress_convert.cli import options, output
from edgepress_convert.cli.options import Force, Json

if TYPE_CHECKING:
    from rich.console import Console

    from edgepress_convert.convert import Converted

EXAMPLE = "for example: edgepress convert runs/cells --quantize int8 --out cells.edge"


def convert(
    source: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="RUN folder, or a .keras, .h5 or .tflite file.")],
    out: Annotated[Path, typer.Option(help="Bundle to write, NAME.edge.")],
    quantize: Annotated[
        str | None, typer.Option(help="float32, float16, dynamic, int8 or int16x8 (default: int8).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name on the board (default: the source's).")] = None,
    calibration_size: Annotated[int, typer.Option(min=1, help="Training examples that set the ranges.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of examples.")] = 0,
    max_drop: Annotated[
        float, typer.Option(min=0, max=100, help="Points of validation accuracy that may be lost.")
    ] = 2.0,
    per_tensor: Annotated[bool, typer.Option("--per-tensor", help="One weight scale a layer, everywhere.")] = False,
    per_tensor_dense: Annotated[
        bool, typer.Option("--per-tensor-dense", help="One weight scale for dense layers, as some runtimes need.")
    ] = False,
    data: options.Data = None,
    labels: options.Labels = None,
    mean: options.Mean = None,
    std: options.Std = None,
    size: options.Size = None,
    fit: options.Fit = None,
    false_alarms_per_hour: Annotated[
        float | None, typer.Option(help="Of a keyword spotter: the rate its thresholds may cause (default: 0.5).")
    ] = None,
    smoothing_ms: Annotated[
        float | None, typer.Option(min=0, max=10000, help="Of a keyword spotter: scores are averaged over this.")
    ] = None,
    refractory_ms: Annotated[
        float | None, typer.Option(min=0, max=60000, help="Of a keyword spotter: a word is not reported again within.")
    ] = None,
    teachable: Annotated[
        bool, typer.Option("--teachable", help="Boards may add classes to it: edgepress-device teach.")
    ] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Quantize a model, prove that it is still good, and pack it as a bundle."""
    if per_tensor and per_tensor_dense:
        raise typer.BadParameter("--per-tensor includes --per-tensor-dense; give one of them")
    weights = "per-tensor" if per_tensor else "per-tensor-dense" if per_tensor_dense else "per-channel"
    hints = options.hints(labels, mean, std, size, fit, data)
    from edgepress_convert.convert import ConvertConfig
    from edgepress_convert.convert import convert as work

    config = ConvertConfig(
        source, out, quantize, name, calibration_size, seed, max_drop, weights, force, hints,
        false_alarms_per_hour, smoothing_ms, refractory_ms, teachable,
    )  # fmt: skip
    with output.progress() as progress:
        result = work(config, progress=progress)
    output.emit(result, as_json=json, show=_show)


def _show(console: Console, result: Converted) -> None:
    parity, model = result.parity, result.model
    rows: list[tuple[str, object]] = [
        ("bundle", f"{result.bundle} ({output.kilobytes(result.bundle_bytes)})"),
        ("model", f"{result.quantize}, {output.kilobytes(result.bytes)}, {model['macs']:,} multiply-adds"),
        ("golden cases", f"{result.golden['cases']}, {result.golden['stable']} the same under every kernel"),
    ]
    if parity is None:
        rows.append(("validation", "none: there was nothing to compare with"))
    elif parity["float_top1"] is None:
        agreed = f"{output.percent(parity['agreement'])} of {parity['n']} answers on noise are those of Keras"
        rows.append(("validation", f"none: without data only {agreed}"))
    else:
        before, after = output.percent(parity["float_top1"]), output.percent(parity["model_top1"])
        counts = f"{parity['lost']} lost, {parity['gained']} gained, of {parity['n']}"
        rows.append(("validation", f"{before} before, {after} now ({counts})"))
        error = f"drop {parity['drop_points']:.2f} points, standard error {parity['drop_stderr_points']:.2f}"
        rows.append(("", f"{error}; most signal is lost in {parity['worst_layer']}"))
    output.facts(console, [*rows, *_spotting(result)])


def _spotting(result: Converted) -> list[tuple[str, object]]:
    """What a keyword spotter streams, and how its thresholds were chosen."""
    found = result.spotting
    if found is None:
        return []
    stream = result.recipe["stream"]
    rows: list[tuple[str, object]] = [
        ("stream", f"{stream['step_frames']} frames a step, {stream['state_bytes']:,} bytes kept from step to step; "
         f"equal to the whole window in {stream['steps_compared']} of {stream['steps_compared']} steps")
    ]  # fmt: skip
    if found["chosen_on"] == "validation sound":
        wanted = found["wanted_false_alarms_per_hour"]
        rows.append(("false alarms", f"{found['false_alarms']} in {found['negative_hours']:.2f} h of validation sound "
                     f"(wanted: at most {wanted:g} an hour)"))  # fmt: skip
        if wanted * found["negative_hours"] < 1:
            rows.append(("", f"so little sound cannot show {wanted:g} an hour; 95 % sure is only: "
                         f"below {found['at_most_per_hour']:.1f}"))  # fmt: skip
    else:
        rows.append(("false alarms", "unknown: thresholds are chosen on whole windows, since the RUN has no sound"))
    for word, row in found["per_keyword"].items():
        recall = row.get("recall")
        told = "" if recall is None else f", {output.percent(recall)} of {row['clips']} validation clips found"
        rows.append((word, f"threshold {row['threshold']:g} ({row['rule']}){told}"))
    return rows
