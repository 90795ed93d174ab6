"""`edgepress flash`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress_convert.cli import output
from edgepress_convert.cli.options import Json

if TYPE_CHECKING:
    from rich.console import Console

    from edgepress_convert.flash import Flashed
    from edgepress_convert.fleet import Outcome

EXAMPLE = "for example: edgepress flash cats.edge pi@garden.local, or edgepress flash cats.edge --fleet devices.toml"


def flash(
    bundle: Annotated[Path, typer.Argument(metavar="X.edge", help="The bundle to install.")],
    target: Annotated[
        str | None,
        typer.Argument(metavar="pi@HOST|DIR|CARD.img", help="A board, or its card: the mounted root, or an image."),
    ] = None,
    fleet: Annotated[Path | None, typer.Option(help="File of many boards; those that have it are left alone.")] = None,
    sign: Annotated[str, typer.Option(help="Key to sign a copy with: a name of `edgepress keys`, or a .pem.")] = "",
    root: Annotated[str, typer.Option(help="Store on the board (default: /var/lib/edgepress).")] = "",
    parallel: Annotated[int, typer.Option(min=1, max=200, help="Boards at the same time, with --fleet.")] = 16,
    json: Json = False,
) -> None:
    """Put a model on a board, on a card, or on many boards; nothing is switched before it has passed its self-test."""
    if (target is None) == (fleet is None):
        raise typer.BadParameter("give a board, a folder, or --fleet FILE", param_hint="'pi@HOST|DIR|CARD.img'")
    if target is not None:
        from edgepress_convert.flash import flash as work

        output.emit(work(bundle, target, key=sign, root=root), as_json=json, show=_show)
        return
    assert fleet is not None
    from edgepress_convert.cli.fleet_table import FleetTable
    from edgepress_convert.fleet import flash_all, read

    devices = read(fleet, root=root)
    with FleetTable(devices) as table:
        outcome = flash_all(bundle, devices, key=sign, parallel=parallel, tell=table.tell)
    output.emit(outcome, as_json=json, show=_show_fleet)
    if outcome.failed or outcome.left:
        raise typer.Exit(1)


def _show(console: Console, done: Flashed) -> None:
    cases = done.selftest
    rows = [
        ("board", done.target),
        ("model", f"{done.name} {done.installed[:12]}" + ("" if done.changed else " (was there already)")),
        ("before", (done.previous or "nothing")[:12]),
        ("self-test", f"{cases['exact']} of {cases['cases']} golden cases exact, on {done.tested_on}"),
        ("signed by", done.signed_by or "nobody"),
        ("seconds", f"{done.seconds:.1f}"),
    ]
    output.facts(console, rows)


def _show_fleet(console: Console, outcome: Outcome) -> None:
    output.facts(
        console,
        [
            ("model", f"{outcome.name} {outcome.installed[:12]}"),
            ("installed", len(outcome.done)),
            ("had it", len(outcome.had_it)),
            ("failed", len(outcome.failed)),
            ("not tried", len(outcome.left)),
        ],
    )
    for host, reason in outcome.failed.items():
        console.print(f"{host}: {reason}", markup=False)
    if outcome.failed or outcome.left:
        console.print("next: mend those, and run the same line again: it does only what is missing", markup=False)
