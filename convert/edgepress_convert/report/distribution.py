"""How some numbers were spread before and after: shared bins, exact zeros apart, and the chart of both."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from edgepress_convert.report import svg
from edgepress_convert.report.charts import percent, plain, ticks
from edgepress_convert.report.svg import TOP, WIDTH

BINS = 40
_BEYOND = 0.25  # per cent of the numbers on each side that may lie beyond the axis
_QUANTILES = 512
_TALL = 1.4  # a bar of zeros this many times as high as the highest other one still shows them well


@dataclass(frozen=True)
class Counts:
    """`n` numbers: `zeros` of them exactly 0, and `bins`, how many of the others lie in each bin."""

    n: int
    zeros: int
    bins: np.ndarray

    @property
    def zero_share(self) -> float:
        """The share of exact zeros, 0 to 1."""
        return self.zeros / max(1, self.n)


@dataclass(frozen=True)
class Distribution:
    """The same bins `edges` (BINS + 1,) for both; the first and the last one hold what lies beyond, too."""

    edges: np.ndarray
    before: Counts
    after: Counts


def compare(before: np.ndarray, after: np.ndarray) -> Distribution:
    """Count the numbers of both. The bins reach from 0 to where nearly all numbers of both lie."""
    others = np.concatenate([before[before != 0], after[after != 0]]).astype(np.float64)
    low, high = np.percentile(others, [_BEYOND, 100 - _BEYOND]) if len(others) else (0.0, 0.0)
    low, high = min(0.0, float(low)), max(0.0, float(high))
    if low == high:
        high = 1.0
    edges = np.linspace(low, high, BINS + 1)
    return Distribution(edges, _count(before, edges), _count(after, edges))


def _count(numbers: np.ndarray, edges: np.ndarray) -> Counts:
    others = np.clip(numbers[numbers != 0].astype(np.float64), edges[0], edges[-1])
    return Counts(len(numbers), len(numbers) - len(others), np.histogram(others, edges)[0])


def distance(before: np.ndarray, after: np.ndarray) -> float:
    """How far the numbers moved, in standard deviations of `before`: 0 for the same distribution.

    The Wasserstein-1 distance, as the mean difference of the two quantile functions (Vallender 1974, Theory of
    Probability and its Applications 18:784), so that the two need not be equally many.
    """
    if not len(before) or not len(after):
        return 0.0
    at = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    ends = [np.quantile(numbers, at, method="inverted_cdf") for numbers in (before, after)]
    moved = float(np.abs(ends[0] - ends[1]).mean())
    return moved / float(before.std() or after.std() or 1.0)


def draw(found: Distribution, *, alt: str, x_label: str, y_label: str) -> Markup:
    """`before` as an outline, `after` as bars. Zeros have bars of their own at 0, and their shares in words.

    Where zeros would dwarf the rest their bars are cut off, and marked so.
    """
    edges = found.edges
    top = float(max(found.before.bins.max(), found.after.bins.max(), 1))
    zeros = max(found.before.zeros, found.after.zeros)
    top = max(top, float(zeros)) if zeros <= _TALL * top else 1.15 * top
    low, high = float(edges[0]), float(edges[-1])
    margin = 0.03 * (high - low)  # for the bars of zeros at an end
    plane = svg.Plane(ticks(low, high, 6), ticks(0, top), x_range=(low - margin, high + margin))
    bottom = plane.y(0)
    lefts = [plane.x(float(edge)) for edge in edges]
    bars, tips, outline = [], [], [(lefts[0], bottom)]
    for index, (left, right) in enumerate(pairwise(lefts)):
        old, new = int(found.before.bins[index]), int(found.after.bins[index])
        outline += [(left, plane.y(old)), (right, plane.y(old))]
        if new:
            y = plane.y(new)
            bars.append(svg.tag("rect", "bar s0", x=left, y=y, width=right - left - 0.8, height=bottom - y))
        tip = svg.title(f"{_span(edges, index)}: {old:,} before, {new:,} after")
        tips.append(svg.tag("rect", "hit", tip, x=left, y=TOP, width=right - left, height=bottom - TOP))
    outline.append((lefts[-1], bottom))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
    line = svg.tag("polyline", "line thin s1", points=path)
    axes = plane.axes(x_label, y_label, plain, plain)
    return svg.chart(alt, [axes, *bars, line, *tips, *_zeros(found, plane)])


def _zeros(found: Distribution, plane: svg.Plane) -> list[Markup]:
    """The two bars at 0, `before` to the left, and what they hold in words; nothing where nothing is 0."""
    if not (found.before.zeros or found.after.zeros):
        return []
    zero, bottom = plane.x(0.0), plane.y(0)
    parts = []
    for name, counts, x, style in (("before", found.before, zero - 7, 1), ("after", found.after, zero + 1, 0)):
        whole = plane.y(counts.zeros)
        y = max(whole, float(TOP))
        tip = svg.title(f"exact zeros: {counts.zeros:,} {name}")
        parts.append(svg.tag("rect", f"bar zero s{style}", tip, x=x, y=y, width=6.0, height=bottom - y))
        if whole < y:
            parts.append(svg.tag("line", "break", x1=x - 2, x2=x + 8, y1=y + 14, y2=y + 10))
    words = f"zeros {percent(found.before.zero_share)} → {percent(found.after.zero_share)}"
    right = zero > 0.6 * WIDTH
    x, anchor = (zero - 12, "end") if right else (zero + 12, "start")
    return [*parts, svg.text(words, x, TOP + 8, anchor=anchor, kind="note")]


def _span(edges: np.ndarray, index: int) -> str:
    """The numbers that a bin holds, in words."""
    if index == 0:
        return f"up to {edges[1]:.3g}"
    if index == len(edges) - 2:
        return f"from {edges[index]:.3g}"
    return f"{edges[index]:.3g} to {edges[index + 1]:.3g}"
