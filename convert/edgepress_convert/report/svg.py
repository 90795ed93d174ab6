"""SVG as text: a plane with axes, and the marks that charts put on it.

Colours and fonts come from the page's style sheet, so one chart serves light and dark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

WIDTH, HEIGHT = 440, 270  # user units; small, so that letters of 12.5 units stay readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 50, 16, 32, 46  # margins around the plane
STYLES = 4  # series colours in the page's style sheet

Format = Callable[[float], str]


class Plane:
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
        """Where `value` lies from left to right, in user units."""
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Where `value` lies from top to bottom, in user units."""
        share = (value - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def axes(self, x_label: str, y_label: str, x_format: Format, y_format: Format) -> Markup:
        """Grid, ticks and labels of both axes."""
        bottom = HEIGHT - BOTTOM
        parts = []
        for tick in self.y_ticks:
            y = self.y(tick)
            parts.append(tag("line", "grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
            parts.append(text(y_format(tick), LEFT - 7, y + 4, anchor="end", kind="tick"))
        for tick in self.x_ticks:
            parts.append(text(x_format(tick), self.x(tick), bottom + 17, anchor="middle", kind="tick"))
        parts.append(tag("line", "axis", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom))
        parts.append(text(x_label, (WIDTH + LEFT - RIGHT) / 2, HEIGHT - 8, anchor="middle", kind="label"))
        parts.append(text(y_label, 0, 14, anchor="start", kind="label"))
        return Markup("").join(parts)


def chart(alt: str, parts: Sequence[Markup], *, height: float = HEIGHT) -> Markup:
    """The whole chart; `alt` is the sentence that stands for it where it cannot be seen."""
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" focusable="false">{}</svg>')
    return head.format(WIDTH, height, alt, Markup("").join(parts))


def tag(name: str, kind: str, inside: Markup = Markup(""), **numbers: object) -> Markup:  # noqa: B008  immutable
    """One element of class `kind`, with its attributes; floats get one decimal."""
    attributes = Markup("").join(
        Markup(' {}="{}"').format(key, f"{value:.1f}" if isinstance(value, float) else value)
        for key, value in numbers.items()
    )
    return Markup('<{0} class="{1}"{2}>{3}</{0}>').format(name, kind, attributes, inside)


def text(words: str, x: float, y: float, *, anchor: str, kind: str = "name") -> Markup:
    """Words at a place; `anchor` is start, middle or end."""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, f"{x:.1f}", f"{y:.1f}", anchor, words
    )


def dot(x: float, y: float, style: int, tip: str) -> Markup:
    """A filled circle with a tooltip."""
    return tag("circle", f"dot s{style % STYLES}", title(tip), cx=x, cy=y, r=5.5)


def title(words: str) -> Markup:
    """A tooltip."""
    return Markup("<title>{}</title>").format(words)
