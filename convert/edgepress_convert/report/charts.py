"""Charts as SVG text.

Each chart carries a sentence that says what it shows (`role="img"`, `aria-label`) for those who cannot see it, and the
exact numbers as tooltips.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from edgepress_convert.report import svg
from edgepress_convert.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, STYLES, TOP, WIDTH, Format

_BINS = 60
_NAMES, _BARS_TOP, _ROW, _LETTERS = 172, 26, 22, 24  # of horizontal bars: their left, top, pitch, longest name


@dataclass(frozen=True)
class Series:
    """A named line through `points` (x, y); `style` picks its colour, 0 to 3."""

    name: str
    points: tuple[tuple[float, float], ...]
    style: int = 0
    dashed: bool = False


@dataclass(frozen=True)
class Dot:
    """A labelled place in a scatter chart."""

    name: str
    x: float
    y: float
    style: int = 0


def plain(value: float) -> str:
    """A number with at most three significant decimals and no trailing zeros."""
    return f"{value:,.3f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"


def percent(value: float) -> str:
    """A share of 0 to 1 as per cent, with a decimal where it has one."""
    return f"{100 * value:.1f}".removesuffix(".0") + " %"


def ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """About `count` round numbers that cover `low` to `high`, in steps of 1, 2, 2.5 or 5 times a power of 10."""
    span = (high - low) or abs(high) or 1.0
    raw = span / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(i * step, 12) for i in range(first, max(last, first + 1) + 1))


def lines(
    series: Sequence[Series],
    *,
    alt: str,
    x_label: str,
    y_label: str,
    y_format: Format = plain,
    y_floor: float | None = None,
    mark: tuple[float, str] | None = None,
    any_x: bool = False,
) -> Markup:
    """A line chart, over whole numbers such as epochs, or with `any_x` over any.

    `y_floor` is where the y axis begins at the latest; `mark` (x, text) draws a vertical line.
    """
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    low = min(ys) if y_floor is None else min(y_floor, *ys)
    wanted = [tick for tick in ticks(min(xs), max(xs), 6) if any_x or tick == round(tick)]
    plane = svg.Plane(wanted, ticks(low, max(ys)), x_range=(min(xs), max(xs)))
    parts = [plane.axes(x_label, y_label, plain, y_format)]
    if mark is not None:
        x, right = plane.x(mark[0]), plane.x(mark[0]) > WIDTH / 2
        parts.append(svg.tag("line", "mark", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM))
        anchor = "end" if right else "start"
        parts.append(svg.text(mark[1], x - 5 if right else x + 5, TOP + 11, anchor=anchor, kind="note"))
    for one in series:
        path = " ".join(f"{plane.x(x):.1f},{plane.y(y):.1f}" for x, y in one.points)
        kind = f"line s{one.style % STYLES}" + (" dashed" if one.dashed else "")
        last = f"{one.name}: {y_format(one.points[-1][1])} at the end"
        parts.append(svg.tag("polyline", kind, svg.title(last), points=path))
        if len(one.points) == 1:
            parts.append(svg.dot(plane.x(one.points[0][0]), plane.y(one.points[0][1]), one.style, last))
    return svg.chart(alt, parts)


def histogram(samples: Sequence[float], marks: Mapping[str, float], *, alt: str, x_label: str) -> Markup:
    """How often which value came, on a logarithmic axis; `marks` (name to value) are drawn as vertical lines.

    `samples` and `marks` are positive. Logarithmic, because latencies have tails many times longer than their middle.
    """
    values = np.log10(np.asarray(samples, dtype=np.float64))
    margin = 0.05 * float(values.max() - values.min()) + 0.02
    low, high = float(values.min()) - margin, float(values.max()) + margin
    edges = np.linspace(low, high, _BINS + 1)
    counts, _ = np.histogram(values, edges)
    x_ticks = [math.log10(tick) for tick in _log_ticks(10**low, 10**high)]
    plane = svg.Plane(x_ticks, ticks(0, float(counts.max())), x_range=(low, high))
    parts = [plane.axes(x_label, "calls", lambda tick: plain(10**tick), plain)]
    bottom = plane.y(0)
    for index, count in enumerate(counts):
        if not count:
            continue
        begin, end = float(edges[index]), float(edges[index + 1])
        tip = svg.title(f"{plain(10**begin)} to {plain(10**end)} ms: {count} calls")
        left, top = plane.x(begin), plane.y(float(count))
        width = plane.x(end) - left - 0.8
        parts.append(svg.tag("rect", "bar s0", tip, x=left, y=top, width=width, height=bottom - top))
    for row, (name, value) in enumerate(sorted(marks.items(), key=lambda item: item[1])):
        x = plane.x(math.log10(value))
        label = f"{name} {value:.3g}"
        right = x > WIDTH * 0.6
        parts.append(svg.tag("line", "mark", svg.title(f"{name}: {value:.3f} ms"), x1=x, x2=x, y1=TOP, y2=bottom))
        anchor = "end" if right else "start"
        parts.append(svg.text(label, x - 5 if right else x + 5, TOP + 11 + 17 * row, anchor=anchor, kind="note"))
    return svg.chart(alt, parts)


def _log_ticks(low: float, high: float) -> list[float]:
    """Between three and seven round numbers within `low` to `high`, evenly spread on a logarithmic axis."""
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(found) >= 3:
            return found
    return [tick for tick in ticks(low, high) if low <= tick <= high]


def scatter(dots: Sequence[Dot], *, alt: str, x_label: str, y_label: str, y_format: Format = plain) -> Markup:
    """Labelled dots; the x axis begins at 0."""
    ys = [dot.y for dot in dots]
    margin = max(0.01, 0.35 * (max(ys) - min(ys)))
    low, high = max(0.0, min(ys) - margin), min(1.0, max(ys) + margin)
    plane = svg.Plane(ticks(0, max(dot.x for dot in dots)), ticks(low, high))
    parts = [plane.axes(x_label, y_label, plain, y_format)]
    taken: list[tuple[float, float]] = []
    for dot in sorted(dots, key=lambda d: (d.y, d.x)):
        x, y = plane.x(dot.x), plane.y(dot.y)
        tip = f"{dot.name}: {plain(dot.x)} kB, {y_format(dot.y)}"
        parts.append(svg.dot(x, y, dot.style, tip))
        parts.append(beside(dot.name, x, y, taken))
    return svg.chart(alt, parts)


def beside(name: str, x: float, y: float, taken: list[tuple[float, float]]) -> Markup:
    """`name` beside the place (x, y), above other names where they would touch; its own place is added to `taken`."""
    right = x < WIDTH * 0.62
    at = x + 10 if right else x - 10
    height = y + 4
    while any(abs(height - other) < 15 and abs(at - near) < 120 for near, other in taken):
        height -= 15
    taken.append((at, height))
    return svg.text(name, at, height, anchor="start" if right else "end")


def columns(
    names: Sequence[str], values: Sequence[float], *, alt: str, x_label: str, y_label: str, worst: int | None = None
) -> Markup:
    """One column a name, in the given order, numbered from 1; column `worst` stands out."""
    plane = svg.Plane(ticks(1, max(len(values), 2), 8), ticks(0, max(values)), x_range=(0.4, len(values) + 0.6))
    parts = [plane.axes(x_label, y_label, plain, plain)]
    width = min(22.0, 0.7 * (WIDTH - LEFT - RIGHT) / len(values))
    for index, (name, value) in enumerate(zip(names, values, strict=True)):
        x, y = plane.x(index + 1.0), plane.y(max(value, 0.0))
        style = "bar bad" if index == worst else "bar s0"
        tip = svg.title(f"{index + 1}. {name}: {value:.1f} dB")
        parts.append(svg.tag("rect", style, tip, x=x - width / 2, y=y, width=width, height=max(plane.y(0) - y, 0.5)))
    return svg.chart(alt, parts)


def bars(names: Sequence[str], values: Sequence[float], *, alt: str, x_label: str, form: Format = plain) -> Markup:
    """One horizontal bar a name, in the given order from the top, with its value behind it; the chart grows with them.

    Bars of values below zero go to the left, in another colour.
    """
    wide = WIDTH - _NAMES - 62  # for bars, beside names and values
    low, high = min(0.0, *values), max(0.0, *values)
    unit = wide / ((high - low) or 1.0)
    zero = _NAMES - low * unit
    parts = [svg.text(x_label, _NAMES, 14, anchor="start", kind="label")]
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        y = _BARS_TOP + _ROW * row
        left, long = zero + min(0.0, value) * unit, abs(value) * unit
        tip = svg.title(f"{name}: {form(value)}")
        style = "bar s0" if value >= 0 else "bar s1"
        parts.append(svg.tag("rect", style, tip, x=left, y=y, width=max(long, 0.5), height=_ROW - 6))
        parts.append(svg.text(_cut(name), _NAMES - 8, y + 12, anchor="end", kind="tick"))
        parts.append(svg.text(form(value), max(left + long, zero) + 6, y + 12, anchor="start"))
    parts.append(svg.tag("line", "axis", x1=zero, x2=zero, y1=_BARS_TOP - 4, y2=_BARS_TOP + _ROW * len(values)))
    return svg.chart(alt, parts, height=_BARS_TOP + _ROW * len(values) + 4)


def _cut(name: str) -> str:
    """Both ends of a long name: layers differ at either."""
    half = _LETTERS // 2
    return name if len(name) <= _LETTERS else f"{name[:half]}…{name[-half:]}"
