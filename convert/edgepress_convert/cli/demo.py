"""`edgepress demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgepress_convert.cli import output
from edgepress_convert.cli.options import Force, Json
from edgepress_runtime.lines import complain

if TYPE_CHECKING:
    from rich.console import Console

    from edgepress_train.progress import Progress

EXAMPLE = "for example: edgepress demo --out demo-out"


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write; an earlier demo there is continued.")] = Path("demo-out"),
    only: Annotated[str | None, typer.Option(help="Just one half: image or speech.")] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """From photos, and from nothing but a word: train, shrink to int8, prove, install, run and measure, all here."""
    from edgepress_convert.demo import PARTS, run_demo

    if only is not None and only not in PARTS:
        raise typer.BadParameter(f"{only!r} is no half of the demo; give {' or '.join(PARTS)}", param_hint="'--only'")
    with output.progress() as progress:
        result = run_demo(out, parts=PARTS if only is None else (only,), force=force, progress=_with_steps(progress))
    output.emit(result, as_json=json, show=_show)


def _with_steps(progress: Progress) -> Progress:
    """`progress`, with a lasting line for each step of the demo."""

    def tell(stage: str, done: int, total: int, note: str) -> None:
        if stage == "steps":
            complain(f"[{done + 1}/{total}] {note}")
        else:
            progress(stage, done, total, note)

    return tell


def _show(console: Console, result: dict[str, Any]) -> None:
    tips = []
    if result["image"]:
        tips += _show_image(console, result["image"])
    if result["speech"]:
        tips += _show_speech(console, result["speech"])
    reused = sum(step["reused"] for step in result["steps"])
    console.print()
    took = f"{result['seconds']:.0f} s" + (f", {reused} steps were finished before" if reused else "")
    output.facts(console, [("report", result["report"]), *tips, ("took", took)])


def _show_image(console: Console, image: dict[str, Any]) -> list[tuple[str, object]]:
    console.print()
    output.table(
        console,
        (f"{image['data']['name']}, {image['n']} held-out photos", "float32", "int8"),
        [
            ("accuracy", output.percent(image["float_metric"]), output.percent(image["int8_metric"])),
            ("F1, mean of classes", f"{image['float_f1']:.3f}", f"{image['int8_f1']:.3f}"),
            ("model file", output.kilobytes(image["float_bytes"]), output.kilobytes(image["int8_bytes"])),
            ("median latency", f"{image['float_latency_ms_p50']:.3f} ms", f"{image['latency_ms_p50']:.3f} ms"),
        ],
    )
    board = image["board"]
    tested = board["selftest"]
    return [
        ("board root", f"{board['root']}: {tested['exact']} of {tested['cases']} golden cases exact, "
         f"{board['right']} of {board['photos']} photos right"),
        ("image bundle", image["bundle"]),
        ("try it", board["command"]),
    ]  # fmt: skip


def _show_speech(console: Console, speech: dict[str, Any]) -> list[tuple[str, object]]:
    console.print()
    output.table(
        console,
        (f"{speech['labels'][0]!r} from synthetic speech, {speech['n']} windows of unseen voices", "float32", "int8"),
        [
            ("accuracy", output.percent(speech["float_metric"]), output.percent(speech["int8_metric"])),
            ("model file", output.kilobytes(speech["float_bytes"]), output.kilobytes(speech["int8_bytes"])),
            ("CPU for a second of sound", "", f"{1000 * speech['cpu_s_per_audio_s']:.2f} ms"),
        ],
    )
    board = speech["board"]
    tested = board["selftest"]
    return [
        ("spotter", f"{tested['exact']} of {tested['cases']} golden steps exact, "
         f"heard in {board['heard']} of {board['clips']} clips"),
        ("speech bundle", speech["bundle"]),
        ("try it", board["command"]),
    ]  # fmt: skip
