"""`edgepress doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgepress_convert.cli import output
from edgepress_convert.cli.options import Json

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLE = "for example: edgepress doctor pi@raspberrypi.local"


def doctor(
    host: Annotated[
        str | None,
        typer.Argument(metavar="HOST", help="A board as ssh knows it: pi@board.local (default: this machine)."),
    ] = None,
    json: Json = False,
) -> None:
    """Look over a board from here: what it is, whether models run on it, and the command that mends each problem."""
    from edgepress_convert.doctor import examine

    found = examine(host)
    output.emit(found, as_json=json, show=_show)
    if not found["ok"]:
        raise typer.Exit(1)


def _show(console: Console, found: dict[str, Any]) -> None:
    rows = [("host", found["host"]), ("asked through", found["asked"])]
    for subject, facts in found.items():
        if isinstance(facts, dict):
            told = [
                f"{name.replace('_', ' ')} {_text(value)}" for name, value in facts.items() if value not in (None, [])
            ]
            rows.append((subject, ", ".join(told) or "not told"))
    output.facts(console, rows)
    for problem in found["problems"]:
        console.print(f"{'STOPS MODELS' if problem['stops'] else 'problem'}: {problem['what']}", markup=False)
        console.print(f"        mend: {problem['remedy']}", markup=False)
    if not found["problems"]:
        console.print("nothing needs mending")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(_text(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(part) for part in value)
    return str(value)
