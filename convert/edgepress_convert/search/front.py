"""Which points are worth having: Pareto dominance, and the best one within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True)
class Limits:
    """What is wanted; None where anything will do. `max_drop` in points of the start's float accuracy."""

    max_bytes: int | None = None
    max_latency_ms: float | None = None
    max_drop: float | None = None


@dataclass(frozen=True)
class Point:
    """One model: `top1` (share, higher is better) and what it costs (lower is better)."""

    number: int
    recipe: str
    top1: float
    bytes: int
    deflated_bytes: int
    macs: int
    latency_ms: float

    @property
    def costs(self) -> tuple[float, ...]:
        """What may be traded for accuracy: size on the board, and time."""
        return (self.bytes, self.latency_ms)


P = TypeVar("P", bound=Point)


def dominates(a: Point, b: Point, *, margin: float = 0.0) -> bool:
    """Whether `a` is at least as good as `b` in everything, `margin` better in accuracy, and better in something.

    A time within two percent is the same: machines do not measure finer.
    """
    if a.top1 < b.top1 + margin or a.bytes > b.bytes or a.latency_ms > 1.02 * b.latency_ms:
        return False
    return a.top1 > b.top1 or a.bytes < b.bytes or a.latency_ms < 0.98 * b.latency_ms


def front(points: Sequence[P]) -> list[P]:
    """The points that no other one dominates, smallest first."""
    kept = [p for p in points if not any(dominates(other, p) for other in points if other is not p)]
    return sorted(kept, key=lambda p: (p.bytes, -p.top1, p.latency_ms))


def best(points: Sequence[P], limits: Limits, start_top1: float) -> P | None:
    """The most accurate point within `limits`, the smaller of two that are equal; None when there is none."""
    allowed = [p for p in points if fits(p, limits) and accurate(p, limits, start_top1)]
    return max(allowed, key=lambda p: (p.top1, -p.bytes, -p.latency_ms), default=None)


def fits(point: Point, limits: Limits) -> bool:
    """Whether the point costs no more than allowed."""
    small = limits.max_bytes is None or point.bytes <= limits.max_bytes
    return small and (limits.max_latency_ms is None or point.latency_ms <= limits.max_latency_ms)


def accurate(point: Point, limits: Limits, start_top1: float) -> bool:
    """Whether the point lost no more than allowed."""
    return limits.max_drop is None or 100 * (start_top1 - point.top1) <= limits.max_drop + 1e-9
