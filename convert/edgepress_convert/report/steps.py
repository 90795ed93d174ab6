"""What a report says about a compression: step by step, what was measured, what the verdict is, and what hurts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgepress_convert.report import charts
from edgepress_convert.report.compression import Compression, Sensitivity
from edgepress_convert.report.figures import Figure
from edgepress_convert.report.tables import NOTHING, Row, kilobytes, machine, milliseconds, share

ZIP_ONLY = "zip size only"  # as `gate.judge` begins its sentence
MAX_BARS = 16  # layers in a chart of sensitivity
_GAP = "\u00a0"
_MINUS = "\u2212"


@dataclass(frozen=True)
class Cell:
    """One field of the table of steps: the figure, what changed or how sure it is, and whether the verdict claims it.

    `better` is None where there is nothing to claim.
    """

    figure: str
    beside: tuple[str, ...] = ()
    better: bool | None = None


@dataclass(frozen=True)
class Line:
    """One row of the table of steps."""

    name: str
    cells: tuple[Cell, ...]
    strong: bool = False


@dataclass(frozen=True)
class Told:
    """One step in words. `only` holds the words "zip size only" where that is all that a step gave."""

    step: str
    only: str
    sentence: str
    notes: tuple[str, ...]


def columns(found: Compression) -> tuple[str, ...]:
    """The heads of the table of steps."""
    names = ("Accuracy", "Float", "Points lost", "On the board", "Deflated", "MACs", "Memory", "Speed here")
    return (*names, "Speed on the board") if _on_board(found) else names


def table(found: Compression) -> tuple[Line, ...]:
    """The beginning, each step, and what all of them did together."""
    if found.start is None:
        return ()
    board = _on_board(found)
    start = found.start
    shares = (share(start["top1"]), share(start["float_top1"]), NOTHING)
    flash, deflated, arena = (kilobytes(start[key]) for key in ("bytes", "deflated_bytes", "arena_bytes"))
    first = (*shares, flash, deflated, macs(start), arena, *([NOTHING] * (2 if board else 1)))
    rows = [Line("start", tuple(map(Cell, first)))]
    rows += [Line(step["step"], _cells(step, board)) for step in found.steps]
    if found.total is not None and len(found.steps) > 1:
        rows.append(Line("in all", _cells(found.total, board), strong=True))
    return tuple(rows)


def told(found: Compression) -> tuple[Told, ...]:
    """The verdict on each step and on all of them, with the notes."""
    rows = [(step["step"], step) for step in found.steps]
    if found.total is not None and len(found.steps) > 1:
        rows.append(("in all", found.total))
    return tuple(_told(name, step) for name, step in rows)


def judged(found: Compression) -> str:
    """On what, and where, the figures of the table were measured."""
    if found.start is None:
        return ""
    place = machine(found.machine) if found.machine else "the machine that compressed"
    board = " That on the board compares runs one after the other, with a wider interval." if _on_board(found) else ""
    return (
        f"Accuracy is that of the quantized model, and of the float one, on the same {found.start['n']:,} validation "
        f"examples. Size is that of the .tflite on a board, deflated that of a download. Speed is how many times as "
        f"fast as before a file runs on {place}, one thread, both run in turn, with the 95{_GAP}% interval of the "
        f"median ratio.{board} A tick marks what the verdict claims; each column stands for itself."
    )


def summary(found: Compression) -> str:
    """One line about the whole, for the head of a page."""
    if found.start is None:
        return found.origin
    if found.total is None:
        return f"not finished: {len(found.steps)} steps done"
    before, after = found.start, found.total["after"]
    return (
        f"{kilobytes(before['bytes'])} became {kilobytes(after['bytes'])}, and {share(before['top1'])} right became "
        f"{share(after['top1'])} on {before['n']:,} validation examples"
    )


def record(found: Compression) -> tuple[Row, ...]:
    """What is needed to judge the table and to get it again."""
    keep = found.plan.get("keep") or {}
    plan = [str(found.plan[key]) for key in ("scheme", "weights", "ranges") if key in found.plan]
    plan += [f"{layer} in {scheme}" for layer, scheme in keep.items()] if isinstance(keep, Mapping) else []
    timed = [step["speedup"] for step in (*found.steps, *([found.total] if found.total else ())) if step["speedup"]]
    seconds = [float(step["seconds"]) for step in found.steps if isinstance(step.get("seconds"), (int, float))]
    rows = {
        "recipe": found.recipe,
        "comes from": found.origin,
        "quantization": ", ".join(plan),
        "judged on": f"{found.start['n']:,} validation examples" if found.start else "",
        "calls of each timing": ", ".join(f"{speed['runs']:,}" for speed in timed),
        "machine of the timings": machine(found.machine) if found.machine else "",
        "seconds of each step": ", ".join(f"{value:,.1f}" for value in seconds),
    }
    return tuple(Row(name, (value,)) for name, value in rows.items() if value)


def sensitivity(found: Sensitivity) -> Figure | None:
    """How much each layer hurts, the worst first; None where nothing was measured."""
    if not found.layers:
        return None
    rows = sorted(found.layers, key=lambda row: -row[1])[:MAX_BARS]
    names, values = [name for name, _ in rows], [value for _, value in rows]
    told = f"The worst is {names[0]} with {_digits(values[0])} nats"
    svg = charts.bars(
        names,
        values,
        alt=f"Damage that each layer does, measured by {found.step}, {len(rows)} of {len(found.layers)}. {told}.",
        x_label="divergence of the scores, nats an example",
        form=_digits,
    )
    fewer = f" {len(rows)} of {len(found.layers)} layers are shown." if len(rows) < len(found.layers) else ""
    return Figure(f"Sensitivity, {found.step}", svg, f"Longer bars hurt more. {told}.{fewer}")


def macs(measured: Mapping[str, Any]) -> str:
    """Multiply-accumulates, in millions where they are that many, else in thousands."""
    count = measured["macs"]
    return f"{count / 1e6:,.2f}{_GAP}M" if count >= 1e6 else f"{count / 1e3:,.1f}{_GAP}k"


def _cells(step: Mapping[str, Any], board: bool) -> tuple[Cell, ...]:
    before, after, verdict = step["before"], step["after"], step["verdict"]

    def cost(key: str, figure: str, claim: str) -> Cell:
        return Cell(figure, _change(before[key], after[key]), verdict[claim])

    cells = (
        Cell(share(after["top1"])),
        Cell(share(after["float_top1"])),
        Cell(_signed(step["drop_points"], 1)),
        cost("bytes", kilobytes(after["bytes"]), "flash"),
        cost("deflated_bytes", kilobytes(after["deflated_bytes"]), "deflated"),
        cost("macs", macs(after), "macs"),
        cost("arena_bytes", kilobytes(after["arena_bytes"]), "arena"),
        _speed(step["speedup"], verdict.get("faster_here"), "same file"),
    )
    return (*cells, _speed(step.get("on_board"), verdict.get("faster_on_board"), NOTHING)) if board else cells


def _speed(speed: Mapping[str, Any] | None, faster: bool | None, missing: str) -> Cell:
    if speed is None:
        return Cell(missing if faster is None else "faster" if faster else "no faster", (), faster)
    interval = f"{speed['low']:.2f} to {speed['high']:.2f}"
    times = f"{milliseconds(speed['before_ms'])} → {milliseconds(speed['after_ms'])}"
    return Cell(f"{speed['ratio']:.2f}{_GAP}×", (interval, times), faster)


def _change(before: float, after: float) -> tuple[str, ...]:
    if before == after or not before:
        return ("same",) if before == after else ()
    return (f"{_signed(100 * (after / before - 1), 1, plus=True)}{_GAP}%",)


def _digits(value: float) -> str:
    return f"{value:.3g}"


def _signed(value: float, digits: int, *, plus: bool = False) -> str:
    rounded = round(value, digits) + 0.0  # no -0.0
    return f"{rounded:{'+' if plus and rounded else ''}.{digits}f}".replace("-", _MINUS)


def _told(name: str, step: Mapping[str, Any]) -> Told:
    sentence = step["verdict"]["sentence"]
    only = ZIP_ONLY if sentence.startswith(ZIP_ONLY) else ""
    return Told(name, only, sentence.removeprefix(only), tuple(map(str, step["notes"])))


def _on_board(found: Compression) -> bool:
    return any(
        step.get("on_board") is not None or step["verdict"].get("faster_on_board") is not None
        for step in (*found.steps, *([found.total] if found.total else ()))
    )
