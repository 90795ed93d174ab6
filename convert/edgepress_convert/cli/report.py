"""`edgepress report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgepress_convert.cli import output
from edgepress_convert.cli.options import Force, Json
from edgepress_runtime.errors import EdgepressError

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLE = "for example: edgepress report runs/cells cells.edge --out report.html"


def report(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN|SEARCH|X.edge|RESULT.json...", help="What to report on.")],
    out: Annotated[Path, typer.Option(help="HTML page to write.")],
    force: Force = False,
    json: Json = False,
) -> None:
    """Write one page with everything known about some runs, searches and bundles."""
    if out.is_dir():
        raise EdgepressError(f"{out} is a folder", "give a file name, such as --out report.html")
    if out.exists() and not force:
        raise EdgepressError(f"{out} exists already", "use --force to overwrite it, or another --out")
    from edgepress_convert.report.build import write_report

    with output.progress() as progress:
        write_report(paths, out, progress=progress)
    output.emit({"report": str(out)}, as_json=json, show=_show)


def _show(console: Console, result: dict[str, Any]) -> None:
    output.facts(console, [("report", result["report"])])
