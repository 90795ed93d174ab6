"""One trial: a recipe tried on little data first, and in full only if it is not hopeless by then.

The rungs are those of successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943) with two of them: what a recipe
is worth after a few steps says little about its end, but enough to tell who is beaten already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepress_convert.compress import Candidate, chain, recipe
from edgepress_convert.compress.measure import Measured, build, landed, measure
from edgepress_convert.compress.starting import Start
from edgepress_convert.search.clock import Clock
from edgepress_convert.search.front import Limits, Point, dominates, fits
from edgepress_train.progress import Progress
from edgepress_train.spec import Step

PROXY_STEPS = 60  # batches that each fine-tuning of a proxy may take
MARGIN = 0.03  # by how much accuracy a proxy must be beaten to be given up: about what so few steps leave open


@dataclass(frozen=True)
class Rung:
    """What a recipe came to: `proxy` after a few steps, or in full."""

    proxy: bool
    candidate: Candidate
    file: bytes
    measured: Measured
    point: Point


def climb(
    begun: Start, steps: tuple[Step, ...], *, number: int, folder: Path, seed: int, clock: Clock,
    max_steps: int | None, progress: Progress,
) -> Rung:  # fmt: skip
    """Apply `steps` to the beginning and measure the end; `max_steps` batches a fine-tuning, None for all."""
    bound = recipe.bind(steps)
    chain.check(begun, bound, folder)
    candidate = begun.candidate
    for place, step in enumerate(bound, 1):
        rung = "full" if max_steps is None else "proxy"
        scratch = folder / rung / f"{place:02d}-{step.step.name}"
        candidate = chain.apply(
            step, candidate, chain.job_for(begun, candidate, scratch, seed, progress, [], max_steps)
        )
    built = build(candidate, begun.representative)
    file = landed(built, begun.lessons)
    measured = measure(candidate, built, begun.lessons, begun.held)
    point = Point(
        number=number,
        recipe=written(steps),
        top1=measured.top1,
        bytes=measured.bytes,
        deflated_bytes=measured.deflated_bytes,
        macs=measured.macs,
        latency_ms=clock(built),
    )
    return Rung(max_steps is not None, candidate, file, measured, point)


def written(steps: tuple[Step, ...]) -> str:
    """The recipe as one line, `none` for the model as it is."""
    return recipe.write(steps) or "none"


def hopeless(point: Point, others: Sequence[Point], limits: Limits) -> str:
    """Why a proxy need not be tried in full, empty when it should: it does not fit, or `others` are far better."""
    if not fits(point, limits):
        return f"{point.bytes / 1000:.1f} kB and {point.latency_ms:.2f} ms are more than allowed"
    better = next((other for other in others if dominates(other, point, margin=MARGIN)), None)
    return "" if better is None else f"trial {better.number} is smaller, as fast and better by {100 * MARGIN:g} points"
