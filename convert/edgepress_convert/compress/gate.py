"""Did it really help? A step may only be called a win on what was measured, column by column."""

from __future__ import annotations

from dataclasses import dataclass

from edgepress_convert.compress.measure import Measured, Speedup

_LEAST = 0.02  # a change of less than this share is none


@dataclass(frozen=True)
class Verdict:
    """What a step changed for the better, each measured by itself; None where nothing measured it.

    `flash`: the file on the board is smaller. `deflated`: it is smaller when compressed. `macs`: it needs fewer
    multiply-accumulates. `arena`: it needs less memory for activations. `faster_here` and `faster_on_board`: its time
    fell, with the whole 95 % interval on the right side. `sentence` says so in words, and what did not change.
    """

    flash: bool
    deflated: bool
    macs: bool
    arena: bool
    faster_here: bool | None
    faster_on_board: bool | None
    sentence: str


def judge(before: Measured, after: Measured, *, here: Speedup | None = None, board: Speedup | None = None) -> Verdict:
    """The verdict on `after`, made from `before`."""
    columns = {
        "smaller": _less(before.bytes, after.bytes),
        "smaller when deflated": _less(before.deflated_bytes, after.deflated_bytes),
        "fewer MACs": _less(before.macs, after.macs),
        "less memory": _less(before.arena_bytes, after.arena_bytes),
    }
    faster = {name: None if speed is None else faster_by(speed) for name, speed in (("here", here), ("board", board))}
    return Verdict(
        flash=columns["smaller"],
        deflated=columns["smaller when deflated"],
        macs=columns["fewer MACs"],
        arena=columns["less memory"],
        faster_here=faster["here"],
        faster_on_board=faster["board"],
        sentence=_sentence(before, after, columns, here, board),
    )


def faster_by(speed: Speedup) -> bool:
    """Whether a time fell by at least two percent, the whole interval above no change."""
    return speed.low > 1.0 and speed.ratio >= 1.0 + _LEAST


def _less(before: float, after: float) -> bool:
    return after <= before * (1 - _LEAST)


def _sentence(
    before: Measured, after: Measured, columns: dict[str, bool], here: Speedup | None, board: Speedup | None
) -> str:
    fast = [
        f"{speed.ratio:.2f} times as fast {where}"
        for where, speed in (("here", here), ("on the board", board))
        if speed is not None and faster_by(speed)
    ]
    slow = [
        f"slower {where} ({speed.before_ms:.3g} became {speed.after_ms:.3g} ms)"
        for where, speed in (("here", here), ("on the board", board))
        if speed is not None and speed.high < 1.0 and speed.ratio <= 1.0 - _LEAST
    ]
    kb = f"{before.deflated_bytes / 1000:.1f} became {after.deflated_bytes / 1000:.1f} kB"
    if [name for name, better in columns.items() if better] == ["smaller when deflated"] and not fast:
        words = f"zip size only: same size on the board ({after.bytes / 1000:.1f} kB), same MACs"
        words += "" if here is None else ", no faster"
        return f"{words}; deflated, {kb}" + "".join(f"; {text}" for text in slow)
    gains = [name for name, better in columns.items() if better] + fast
    losses = slow
    if after.bytes >= before.bytes * (1 + _LEAST):
        losses.append(f"bigger ({before.bytes / 1000:.1f} became {after.bytes / 1000:.1f} kB)")
    told = ", ".join(gains) if gains else "no cheaper in anything that was measured"
    return "; ".join([told, *losses])
