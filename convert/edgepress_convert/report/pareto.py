"""What a report says about a search: what there was to choose from, and how each choice is made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from edgepress_convert.report import charts, svg
from edgepress_convert.report.charts import percent, plain
from edgepress_convert.report.figures import Figure
from edgepress_convert.report.searched import Search, is_start
from edgepress_convert.report.steps import macs
from edgepress_convert.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from edgepress_convert.report.tables import Row, kilobytes, machine, milliseconds, share
from edgepress_convert.search.front import Point, accurate, fits

COLUMNS = ("Accuracy", "On the board", "Deflated", "MACs", "Time", "Within the limits")
_MAX_NAMES = 10  # points of the front with their numbers beside them
_LEGEND = (("front", 0), ("start", 1), ("best within the limits", 2))


@dataclass(frozen=True)
class Choice:
    """A point of the front as a row of the table, with its recipe and the command that makes it again."""

    row: Row
    recipe: str
    command: str


@dataclass(frozen=True)
class _Cost:
    """What accuracy is traded for: its value at a point, and the most that is allowed."""

    name: str
    unit: str
    of: Callable[[Point], float]
    start: float | None
    most: float | None


def figures(found: Search) -> tuple[Figure, ...]:
    """Size against accuracy, and time against accuracy; none where nothing was tried in full."""
    if not found.tried and not found.front:
        return ()
    limits = found.limits
    most_kb = None if limits.max_bytes is None else limits.max_bytes / 1e3
    size = _Cost("size on the board", "kB", lambda p: p.bytes / 1e3, found.start["bytes"] / 1e3, most_kb)
    unchanged = next((p.latency_ms for p in found.tried if is_start(p)), None)
    spent = _Cost("time of one call", "ms", lambda p: p.latency_ms, unchanged, limits.max_latency_ms)
    return (_figure(found, "Size and accuracy", size), _figure(found, "Time and accuracy", spent))


def table(found: Search) -> tuple[Choice, ...]:
    """The points of the front, smallest first; the best within the limits stands out."""
    return tuple(_choice(found, point) for point in found.front)


def summary(found: Search) -> str:
    """How much was tried, what was allowed, and where times were measured."""
    limits = found.limits
    allowed = [
        f"at most {kilobytes(limits.max_bytes)}" if limits.max_bytes is not None else "",
        f"at most {milliseconds(limits.max_latency_ms)}" if limits.max_latency_ms is not None else "",
        f"at most {limits.max_drop:g} points below the float model" if limits.max_drop is not None else "",
    ]
    states = ", ".join(f"{n} {state}" for state, n in found.trials.items() if n)
    wanted = ", ".join(words for words in allowed if words) or "nothing in particular"
    # A report is read elsewhere than where it was searched.
    place = "the machine that searched" if found.latency_on == "this machine" else found.latency_on
    place += f" ({machine(found.machine)})" if found.machine else ""
    return (
        f"{len(found.tried)} recipes were tried in full (trials: {states or 'none'}). Wanted: {wanted}. Accuracy is "
        f"that of the quantized model on {found.start['n']:,} validation examples; times were measured on {place}."
    )


def _choice(found: Search, point: Point) -> Choice:
    allowed = fits(point, found.limits) and accurate(point, found.limits, found.start["float_top1"])
    cells = (
        share(point.top1),
        kilobytes(point.bytes),
        kilobytes(point.deflated_bytes),
        macs(vars(point)),
        milliseconds(point.latency_ms),
        "best" if point == found.best else "yes" if allowed else "no",
    )
    recipe = "the model as it is" if is_start(point) else point.recipe
    return Choice(Row(str(point.number), cells, point == found.best), recipe, found.command(point))


def _figure(found: Search, title: str, cost: _Cost) -> Figure:
    front = sorted(found.front, key=lambda p: (cost.of(p), p.top1))
    least = None if found.limits.max_drop is None else found.start["float_top1"] - found.limits.max_drop / 100
    start = None if cost.start is None else (cost.start, float(found.start["top1"]))
    places = [(cost.of(p), p.top1) for p in (*front, *([found.best] if found.best else ()))]
    places += [start] if start else []
    places = places or [(cost.of(p), p.top1) for p in found.tried]
    widest, lowest, highest = max(x for x, _ in places), min(y for _, y in places), max(y for _, y in places)
    span = max(highest - lowest, 0.02)
    # A limit far from every point would squeeze them into a corner; the note tells it instead.
    most = cost.most if cost.most is not None and cost.most <= 2 * widest else None
    floor = least if least is not None and lowest - span <= least <= highest + span else None
    widest = max(widest, most or 0.0)
    lowest, highest = min(lowest, floor or lowest), max(highest, floor or highest)
    margin = 0.2 * max(highest - lowest, 0.01)
    y_ticks = charts.ticks(max(0.0, lowest - margin), min(1.0, highest + margin))
    plane = svg.Plane(charts.ticks(0, widest), y_ticks, x_range=(0.0, 1.08 * widest))
    others = [p for p in found.tried if p not in found.front]
    seen = [p for p in others if cost.of(p) <= plane.x_high and p.top1 >= y_ticks[0]]
    parts = [plane.axes(f"{cost.name}, {cost.unit}", "accuracy", plain, percent)]
    parts += _limits(plane, cost, most, floor)
    for point in seen:
        tip = svg.title(_tip(point, cost))
        parts.append(svg.tag("circle", "tried", tip, cx=plane.x(cost.of(point)), cy=plane.y(point.top1), r=3.5))
    path = " ".join(f"{plane.x(cost.of(p)):.1f},{plane.y(p.top1):.1f}" for p in front)
    parts.append(svg.tag("polyline", "line s0", svg.title("the front"), points=path))
    parts += _named(plane, found, front, start, cost)
    hidden = len(others) - len(seen)
    note = _note(cost, least, most, floor, hidden)
    best = "" if found.best is None else f" The best within the limits is {_tip(found.best, cost)}."
    began = "" if start is None else f" The start: {plain(start[0])} {cost.unit}, {percent(start[1])}."
    points = "; ".join(f"{plain(cost.of(p))} {cost.unit}, {percent(p.top1)}" for p in front)
    alt = f"{cost.name.capitalize()} against accuracy of {len(found.tried)} models.{began}{best} The front: {points}."
    return Figure(title, svg.chart(alt, parts), note, _LEGEND if found.best else _LEGEND[:2])


def _limits(plane: svg.Plane, cost: _Cost, most: float | None, floor: float | None) -> list[Markup]:
    parts = []
    if most is not None:
        x = plane.x(most)
        parts.append(svg.tag("line", "mark", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM))
        words, right = f"at most {plain(most)} {cost.unit}", x > WIDTH / 2
        anchor = "end" if right else "start"
        parts.append(svg.text(words, x - 5 if right else x + 5, HEIGHT - BOTTOM - 8, anchor=anchor, kind="note"))
    if floor is not None:
        y = plane.y(floor)
        parts.append(svg.tag("line", "mark", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
        words = f"at least {percent(floor)}"
        parts.append(svg.text(words, WIDTH - RIGHT, y - 5, anchor="end", kind="note"))
    return parts


def _named(
    plane: svg.Plane, found: Search, front: Sequence[Point], start: tuple[float, float] | None, cost: _Cost
) -> list[Markup]:
    """The dots that have names: the start, the front by trial number, and the best."""
    dots = [(cost.of(p), p.top1, 0, str(p.number), _tip(p, cost)) for p in front if p != found.best]
    if start is not None:
        dots.insert(0, (*start, 1, "start", f"start: {plain(start[0])} {cost.unit}, {percent(start[1])}"))
    if found.best is not None:
        name = f"{found.best.number}, best"
        dots.append((cost.of(found.best), found.best.top1, 2, name, _tip(found.best, cost)))
    parts: list[Markup] = []
    taken: list[tuple[float, float]] = []
    for x, y, style, name, tip in dots:
        parts.append(svg.dot(plane.x(x), plane.y(y), style, tip))
        if style or len(front) <= _MAX_NAMES:
            parts.append(charts.beside(name, plane.x(x), plane.y(y), taken))
    return parts


def _tip(point: Point, cost: _Cost) -> str:
    recipe = "as it is" if is_start(point) else point.recipe
    return f"trial {point.number}, {plain(cost.of(point))} {cost.unit}, {percent(point.top1)} ({recipe})"


def _note(cost: _Cost, least: float | None, most: float | None, floor: float | None, hidden: int) -> str:
    words = ["Up and to the left is better. A point of the front below its line is better in what this chart lacks."]
    outside = [f"{plain(cost.most)} {cost.unit}"] if cost.most is not None and most is None else []
    outside += [percent(least)] if least is not None and floor is None else []
    if outside:
        words.append(f"Outside the chart: the limit of {' and '.join(outside)}.")
    if hidden:
        words.append(f"Outside the chart: {hidden} points that were tried.")
    return " ".join(words)
