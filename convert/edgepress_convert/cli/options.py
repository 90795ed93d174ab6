"""What several commands parse alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgepress_convert.importers import Hints

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
Threads = Annotated[int | None, typer.Option(min=1, max=256, help="Threads of the engine (default: cores, at most 4).")]

# What a foreign model cannot say about itself
Data = Annotated[str | None, typer.Option(help="For a Keras file: data to calibrate, train and judge with.")]
Labels = Annotated[Path | None, typer.Option(help="For a foreign model: file of labels, one a line.")]
Mean = Annotated[str | None, typer.Option(help="For a foreign model: 0 or 123.7,116.3,103.5 of 255.")]
Std = Annotated[str | None, typer.Option(help="For a foreign model: 1, 255 or 58.4,57.1,57.4.")]
Size = Annotated[str | None, typer.Option(help="For a foreign model: 96 or 96x128 (height x width).")]
Fit = Annotated[str | None, typer.Option(help="For a foreign model: stretch, crop or pad.")]

# What every training is told alike
Out = Annotated[Path, typer.Option(help="RUN folder to write.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the training part.")]
Lr = Annotated[float | None, typer.Option(help="Peak learning rate.")]
Optimizer = Annotated[str | None, typer.Option(help="adamw, adam or sgd.")]
Schedule = Annotated[str | None, typer.Option(help="cosine, constant or exponential:RATE an epoch.")]
Warmup = Annotated[float | None, typer.Option(min=0, help="Epochs of rising learning rate.")]
Decay = Annotated[float | None, typer.Option(min=0, help="Decoupled weight decay.")]
Ema = Annotated[float | None, typer.Option(min=0, max=1, help="Decay of averaged weights, 0 for none.")]

_UNITS = {"": 1, "b": 1, "k": 1000, "kb": 1000, "m": 10**6, "mb": 10**6, "kib": 1024, "mib": 1 << 20}


def hints(
    labels: Path | None, mean: str | None, std: str | None, size_text: str | None, fit: str | None, data: str | None
) -> Hints:
    """What the flags above say, checked. Raises typer.BadParameter."""
    pixels = numbers(mean, "--mean"), numbers(std, "--std"), size(size_text)
    from edgepress_convert.importers import Hints

    return Hints(labels, *pixels, fit, data)


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


def bytes_of(text: str | None) -> int | None:
    """`60kB`, `1.5MB`, `64KiB` or `60000` as bytes. Raises typer.BadParameter."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKmM]?i?[bB]?)\s*", text)
    factor = None if found is None else _UNITS.get(found[2].lower())
    if found is None or factor is None or float(found[1]) <= 0:
        raise typer.BadParameter(f"{text!r} is no size; write 60kB, 1.5MB or 60000", param_hint="'--max-size'")
    return round(float(found[1]) * factor)


def milliseconds(text: str | None) -> float | None:
    """`5ms`, `800us`, `0.1s` or `5` as milliseconds. Raises typer.BadParameter."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s)?\s*", text)
    if found is None or float(found[1]) <= 0:
        raise typer.BadParameter(f"{text!r} is no time; write 5ms, 800us or 0.1s", param_hint="'--max-latency'")
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2] or "ms"]
