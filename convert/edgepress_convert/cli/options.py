"""What several commands parse alike."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
Threads = Annotated[int | None, typer.Option(min=1, max=256, help="Threads of the engine (default: cores, at most 4).")]


def size(text: str | None) -> tuple[int, int] | None:
    """`96` or `96x128` (height x width) as (height, width). Raises typer.BadParameter."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) not in (1, 2) or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{text!r} is no size; write 96 or 96x128 (height x width)", param_hint="'--size'")
    return int(parts[0]), int(parts[-1])


def numbers(text: str | None, flag: str) -> tuple[float, ...] | None:
    """`127.5` or `123.7,116.3,103.5` as numbers. Raises typer.BadParameter."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no list of numbers such as 127.5 or 120,115,105", param_hint=f"'{flag}'"
        ) from None
