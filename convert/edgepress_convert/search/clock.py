"""How long a model takes: on this machine beside a reference, since the machine may be busy, or on a board."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgepress_convert.compress import on_board
from edgepress_convert.compress.measure import landed, speedup
from edgepress_convert.compress.starting import Start

# whole-window .tflite -> milliseconds of one call
Clock = Callable[[bytes], float]


@dataclass(frozen=True)
class Here:
    """Milliseconds of one call on this machine.

    A model's time is that of the starting model, measured once, divided by how many times faster it ran when both ran
    in turn: so trials that met a busy machine and trials that met a quiet one can be compared.
    """

    begun: Start
    reference: bytes
    reference_ms: float

    def __call__(self, built: bytes) -> float:
        return self.reference_ms / speedup(self.reference, landed(built, self.begun.lessons), seconds=1.0).ratio


@dataclass(frozen=True)
class OnBoard:
    """Median milliseconds of one call on `host`, as its own `bench` measures them."""

    begun: Start
    host: str

    def __call__(self, built: bytes) -> float:
        return float(np.median(on_board.times_ms(self.host, self.begun, built)))


def clock(begun: Start, built: bytes, device: str) -> Clock:
    """The clock of a search that begins with `built`: that of the board `device`, of this machine when empty."""
    if device:
        return OnBoard(begun, device)
    reference = landed(built, begun.lessons)
    return Here(begun, reference, speedup(reference, reference, seconds=1.0).before_ms)
