"""`edgepress inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgepress_convert.cli import output
from edgepress_convert.cli.options import Json

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLE = "for example: edgepress inspect cells.edge"


def inspect(
    path: Annotated[Path, typer.Argument(metavar="X.edge|x.tflite", help="The file to look into.")],
    json: Json = False,
) -> None:
    """Show what a model costs: bytes, weights, multiply-adds, memory, layers."""
    from edgepress_convert.inspect import inspect as work

    output.emit(work(path), as_json=json, show=_show)


def _show(console: Console, facts: dict[str, Any]) -> None:
    rows: list[tuple[str, object]] = [
        ("model", output.kilobytes(facts["bytes"])),
        ("weights", f"{facts['params']:,}, {output.percent(facts['sparsity'])} of them zero"),
        ("multiply-adds", f"{facts['macs']:,}"),
        ("memory", f"{output.kilobytes(facts['arena_bytes'])} for activations"),
        ("input", _tensor(facts["input"])),
        ("output", _tensor(facts["output"])),
        ("per-channel", f"{len(facts['per_channel'])} layers"),
    ]
    if facts["stream"] is not None:
        rows += _stream(facts["stream"])
    if "manifest" in facts:
        about = facts["manifest"]
        rows = [("bundle", f"{about['name']}, {about['task']}"), ("labels", ", ".join(about["labels"][:12])), *rows]
    output.facts(console, rows)
    output.table(
        console,
        ("layer", "op", "shape", "dtype", "multiply-adds", "weights", "per-channel"),
        [
            (
                layer["name"].split(";")[0][:48],
                layer["op"],
                "x".join(map(str, layer["shape"])),
                layer["dtype"],
                f"{layer['macs']:,}",
                f"{layer['params']:,}",
                "yes" if layer["per_channel"] else "",
            )
            for layer in facts["layers"]
        ],
    )


def _stream(stream: dict[str, Any]) -> list[tuple[str, object]]:
    pace = f", {stream['step_ms']:g} ms: {stream['macs_per_s']:,} multiply-adds a second" if "step_ms" in stream else ""
    states = [(state["name"], _tensor(state)) for state in stream["states"]]
    return [
        ("a step", f"{stream['step_frames']} frames{pace}"),
        ("states", f"{len(states)}, {stream['state_bytes']:,} bytes"),
        *states,
    ]


def _tensor(tensor: dict[str, Any]) -> str:
    if not tensor:
        return "none"
    text = f"{tensor['dtype']} {'x'.join(map(str, tensor['shape']))}"
    return (
        text if tensor["scale"] is None else f"{text}, scale {tensor['scale']:.6g}, zero point {tensor['zero_point']}"
    )
