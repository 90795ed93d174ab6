"""Charts as SVG text. Colours and fonts come from the page's style sheet, so one chart serves light and dark.

Each chart carries a sentence that says what it shows (`role="img"`, `aria-label`) for those who cannot see it, and the
exact numbers as tooltips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 440, 270  # user units; small, so that letters of 12.5 units stay readable on a phone
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 16, 32, 46
_BINS = 60
_STYLES = 4  # series colours in the page's style sheet

Format = Callable[[float], str]


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
    plane = _Plane(wanted, ticks(low, max(ys)), x_range=(min(xs), max(xs)))
    parts = [plane.axes(x_label, y_label, plain, y_format)]
    if mark is not None:
        x, right = plane.x(mark[0]), plane.x(mark[0]) > WIDTH / 2
        parts.append(_tag("line", "mark", x1=x, x2=x, y1=_TOP, y2=HEIGHT - _BOTTOM))
        anchor = "end" if right else "start"
        parts.append(_text(mark[1], x - 5 if right else x + 5, _TOP + 11, anchor=anchor, kind="note"))
    for one in series:
        path = " ".join(f"{plane.x(x):.1f},{plane.y(y):.1f}" for x, y in one.points)
        kind = f"line s{one.style % _STYLES}" + (" dashed" if one.dashed else "")
        last = f"{one.name}: {y_format(one.points[-1][1])} at the end"
        parts.append(_tag("polyline", kind, _title(last), points=path))
        if len(one.points) == 1:
            parts.append(_dot(plane.x(one.points[0][0]), plane.y(one.points[0][1]), one.style, last))
    return _svg(alt, parts)


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
    plane = _Plane(x_ticks, ticks(0, float(counts.max())), x_range=(low, high))
    parts = [plane.axes(x_label, "calls", lambda tick: plain(10**tick), plain)]
    bottom = plane.y(0)
    for index, count in enumerate(counts):
        if not count:
            continue
        begin, end = float(edges[index]), float(edges[index + 1])
        tip = _title(f"{plain(10**begin)} to {plain(10**end)} ms: {count} calls")
        left, top = plane.x(begin), plane.y(float(count))
        parts.append(_tag("rect", "bar s0", tip, x=left, y=top, width=plane.x(end) - left - 0.8, height=bottom - top))
    for row, (name, value) in enumerate(sorted(marks.items(), key=lambda item: item[1])):
        x = plane.x(math.log10(value))
        label = f"{name} {value:.3g}"
        right = x > WIDTH * 0.6
        parts.append(_tag("line", "mark", _title(f"{name}: {value:.3f} ms"), x1=x, x2=x, y1=_TOP, y2=bottom))
        anchor = "end" if right else "start"
        parts.append(_text(label, x - 5 if right else x + 5, _TOP + 11 + 17 * row, anchor=anchor, kind="note"))
    return _svg(alt, parts)


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
    plane = _Plane(ticks(0, max(dot.x for dot in dots)), ticks(low, high))
    parts = [plane.axes(x_label, y_label, plain, y_format)]
    taken: list[tuple[float, float]] = []
    for dot in sorted(dots, key=lambda d: (d.y, d.x)):
        x, y = plane.x(dot.x), plane.y(dot.y)
        right = x < WIDTH * 0.62
        tip = f"{dot.name}: {plain(dot.x)} kB, {y_format(dot.y)}"
        parts.append(_dot(x, y, dot.style, tip))
        at = x + 10 if right else x - 10
        height = y + 4
        while any(abs(height - other) < 15 and abs(at - beside) < 120 for beside, other in taken):
            height -= 15
        taken.append((at, height))
        parts.append(_text(dot.name, at, height, anchor="start" if right else "end"))
    return _svg(alt, parts)


def columns(
    names: Sequence[str], values: Sequence[float], *, alt: str, x_label: str, y_label: str, worst: int | None = None
) -> Markup:
    """One column a name, in the given order, numbered from 1; column `worst` stands out."""
    plane = _Plane(ticks(1, max(len(values), 2), 8), ticks(0, max(values)), x_range=(0.4, len(values) + 0.6))
    parts = [plane.axes(x_label, y_label, plain, plain)]
    width = min(22.0, 0.7 * (WIDTH - _LEFT - _RIGHT) / len(values))
    for index, (name, value) in enumerate(zip(names, values, strict=True)):
        x, y = plane.x(index + 1.0), plane.y(max(value, 0.0))
        style = "bar bad" if index == worst else "bar s0"
        tip = _title(f"{index + 1}. {name}: {value:.1f} dB")
        parts.append(_tag("rect", style, tip, x=x - width / 2, y=y, width=width, height=max(plane.y(0) - y, 0.5)))
    return _svg(alt, parts)


class _Plane:
    """Where values lie: ticks of both axes, and the range of x (that of its ticks if not given)."""

    def __init__(
        self, x_ticks: Sequence[float], y_ticks: Sequence[float], *, x_range: tuple[float, float] | None = None
    ) -> None:
        self.y_ticks = y_ticks
        self.x_low, self.x_high = x_range or (x_ticks[0], x_ticks[-1])
        if self.x_low == self.x_high:
            self.x_low, self.x_high = self.x_low - 0.5, self.x_high + 0.5
        self.x_ticks = [tick for tick in x_ticks if self.x_low <= tick <= self.x_high]

    def x(self, value: float) -> float:
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def axes(self, x_label: str, y_label: str, x_format: Format, y_format: Format) -> Markup:
        bottom = HEIGHT - _BOTTOM
        parts = []
        for tick in self.y_ticks:
            y = self.y(tick)
            parts.append(_tag("line", "grid", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y))
            parts.append(_text(y_format(tick), _LEFT - 7, y + 4, anchor="end", kind="tick"))
        for tick in self.x_ticks:
            parts.append(_text(x_format(tick), self.x(tick), bottom + 17, anchor="middle", kind="tick"))
        parts.append(_tag("line", "axis", x1=_LEFT, x2=WIDTH - _RIGHT, y1=bottom, y2=bottom))
        parts.append(_text(x_label, (WIDTH + _LEFT - _RIGHT) / 2, HEIGHT - 8, anchor="middle", kind="label"))
        parts.append(_text(y_label, 0, 14, anchor="start", kind="label"))
        return Markup("").join(parts)


def _svg(alt: str, parts: Sequence[Markup]) -> Markup:
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" focusable="false">{}</svg>')
    return head.format(WIDTH, HEIGHT, alt, Markup("").join(parts))


def _tag(name: str, kind: str, inside: Markup = Markup(""), **numbers: object) -> Markup:  # noqa: B008  immutable
    attributes = Markup("").join(
        Markup(' {}="{}"').format(key, f"{value:.1f}" if isinstance(value, float) else value)
        for key, value in numbers.items()
    )
    return Markup('<{0} class="{1}"{2}>{3}</{0}>').format(name, kind, attributes, inside)


def _text(text: str, x: float, y: float, *, anchor: str, kind: str = "name") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, f"{x:.1f}", f"{y:.1f}", anchor, text
    )


def _dot(x: float, y: float, style: int, tip: str) -> Markup:
    return _tag("circle", f"dot s{style % _STYLES}", _title(tip), cx=x, cy=y, r=5.5)


def _title(text: str) -> Markup:
    return Markup("<title>{}</title>").format(text)
