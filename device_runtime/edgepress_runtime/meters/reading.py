"""What every meter gives, whatever it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Union

from edgepress_runtime.errors import EdgepressError

WATTS, JOULES = "W", "J"


class MeterError(EdgepressError):
    """A meter that does not answer, or no longer: whatever rests on it is unknown."""


@dataclass(frozen=True)
class Reading:
    """`value` in `unit` at `t` seconds of the clock that the reader was given. "W": power now; "J": a counter."""

    value: float
    unit: str
    t: float
    source: str


@dataclass(frozen=True)
class Meter:
    """Something that can be asked again and again.

    `read()` gives a value in `unit` ("W", or "J" for a counter that only rises) or raises MeterError. `period_s` is how
    often it is worth asking. `whole` says that it sees what the processor takes and not, say, a graphics card or a
    battery: only such a meter is chosen without being named.
    """

    source: str
    unit: str
    period_s: float
    read: Callable[[], float]
    whole: bool = True


@dataclass(frozen=True)
class Silent:
    """A meter that is there but cannot be read, and what to do about it."""

    source: str
    reason: str
    remedy: str = ""


Found = Union[Meter, Silent]
