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
    force: Force = False,
    json: Json = False,
) -> None:
    """Train on real photos, shrink to int8, prove, install, run and measure: the whole way on this machine."""
    from edgepress_convert.demo import run_demo

    with output.progress() as progress:
        result = run_demo(out, force=force, progress=_with_steps(progress))
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
    image, board = result["image"], result["board"]
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
    tested = board["selftest"]
    reused = sum(step["reused"] for step in result["steps"])
    console.print()
    output.facts(
        console,
        [
            ("board root", f"{board['root']}: {tested['exact']} of {tested['cases']} golden cases exact, "
             f"{board['right']} of {board['photos']} photos right"),
            ("report", result["report"]),
            ("bundle", image["bundle"]),
            ("took", f"{result['seconds']:.0f} s" + (f", {reused} steps were finished before" if reused else "")),
            ("try it", board["command"]),
        ],
    )  # fmt: skip
