"""`edgepress bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgepress_convert.cli import output
from edgepress_convert.cli.options import Json, Threads

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLE = "for example: edgepress bench cells.edge --device pi@board.local --seconds 20 --threads 1"


def bench(
    bundle: Annotated[Path, typer.Argument(metavar="X.edge", help="The bundle to measure.")],
    device: Annotated[
        str | None,
        typer.Option(metavar="HOST", help="A board as ssh knows it: pi@board.local (default: this machine)."),
    ] = None,
    runs: Annotated[
        int | None, typer.Option(min=1, max=2**31 - 1, help="Calls to time (default: 300, for at least a second).")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.001, max=86400, help="Time calls for so long.")] = None,
    threads: Threads = None,
    no_xnnpack: Annotated[bool, typer.Option("--no-xnnpack", help="Without the fast kernels.")] = False,
    json: Json = False,
) -> None:
    """Measure a bundle on a board, or on this machine as a board would."""
    from edgepress_convert.bench import bench as work

    found = work(bundle, runs=runs, seconds=seconds, threads=threads, xnnpack=not no_xnnpack, host=device)
    output.emit(found, as_json=json, show=_show)


def _show(console: Console, result: dict[str, Any]) -> None:
    ms = result["latency_ms"]
    memory = "" if result["peak_rss_mb"] is None else f", {result['peak_rss_mb']:.0f} MB at peak"
    output.facts(
        console,
        [
            ("bundle", f"{result['name']} ({output.kilobytes(result['model_bytes'])})"),
            ("engine", f"{result['engine']}, threads: {result['threads']}"),
            ("latency", f"p50 {ms['p50']:.3f} ms, p90 {ms['p90']:.3f} ms, p99 {ms['p99']:.3f} ms, {ms['n']} runs"),
            ("start", f"load {result['load_ms']:.1f} ms, first call {result['first_ms']:.2f} ms{memory}"),
            ("overhead", f"{result['overhead_ratio']:.3f} of the bare engine's time"),
            ("energy", "not measured" if result["energy_mj"] is None else f"{result['energy_mj']:.2f} mJ"),
            ("valid", "; ".join(result.get("reasons") or ()) or "nothing speaks against these figures"),
        ],
    )
