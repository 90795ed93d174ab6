"""What a report says about keyword spotters: found words against false alarms, keyword by keyword, and one clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgepress_convert.report import charts
from edgepress_convert.report.charts import Series
from edgepress_convert.report.figures import Figure
from edgepress_convert.report.gather import Model
from edgepress_convert.report.tables import NOTHING, Row, hours, number, share, wilson

MAX_PER_HOUR = 20.0  # nobody keeps a spotter that wakes more often, and the rest of the curve would be squeezed


def trade(models: Sequence[Model], data: Mapping[str, Any] | None) -> Figure | None:
    """Recall against false alarms an hour of every model judged on `data`; None where one of the two is missing."""
    series: list[Series] = []
    told: list[str] = []
    same = [(m, e) for m in models for e in m.streams if data and e["data"] == data]
    for style, (model, result) in enumerate(same):
        # With little sound a single false alarm is a high rate already.
        limit = max(MAX_PER_HOUR, 5 / result["negative_hours"]) if result["negative_hours"] else 0.0
        points = sorted(
            (float(p["false_alarms_per_hour"]), float(p["recall"]))
            for p in result["det"]
            if None not in (p["false_alarms_per_hour"], p["recall"]) and p["false_alarms_per_hour"] <= limit
        )
        if points:
            series.append(Series(model.name, tuple(points), style))
            told.append(f"{model.name} {charts.percent(points[0][1])} at {points[0][0]:.2g} an hour")
    if not series:
        return None
    leader = same[0][1]
    rate = leader.get("false_alarms_per_hour")
    shown = max(x for one in series for x, _ in one.points)
    svg = charts.lines(
        series,
        alt=f"Share of words found against false alarms an hour, as the threshold moves: {'; '.join(told)}",
        x_label="false alarms an hour",
        y_label="words found",
        y_format=charts.percent,
        y_floor=0.5,
        mark=(float(rate), "as shipped") if isinstance(rate, (int, float)) and rate <= shown else None,
        any_x=True,
    )
    note = "Up and to the left is better. One threshold for all keywords; the line marks those in the bundle."
    return Figure("Found words and false alarms", svg, note, tuple((s.name, s.style) for s in series))


def example(result: Mapping[str, Any]) -> Figure | None:
    """How the averaged scores of one clip run past the threshold."""
    clip = result.get("example")
    if not clip or not all(clip["averages"].values()):
        return None
    step_s = clip["step_ms"] / 1e3
    series = [
        Series(word, tuple((round(i * step_s, 3), float(v)) for i, v in enumerate(values)), style)
        for style, (word, values) in enumerate(
            sorted(clip["averages"].items(), key=lambda kv: kv[0] != clip["keyword"])
        )
    ][:3]
    end = series[0].points[-1][0]
    series.append(Series("threshold", ((0.0, clip["threshold"]), (end, clip["threshold"])), 3, dashed=True))
    best = max(y for _, y in series[0].points)
    svg = charts.lines(
        series,
        alt=f"Averaged scores over {end:.1f} s of a clip of {clip['keyword']}: the highest is {best:.2f}, "
        f"the threshold {clip['threshold']:g}",
        x_label="seconds",
        y_label="averaged score",
        y_floor=0.0,
        any_x=True,
    )
    return Figure(f"One clip of {clip['keyword']}", svg, clip["file"], tuple((s.name, s.style) for s in series))


def conditions(model: Model) -> tuple[Row, ...]:
    """One row an evaluation of `model`: clips, recall, false alarms, and how long was listened for them."""
    rows = []
    for result in model.streams:
        noise = result["data"].get("noise")
        name = f"{noise['kind']} noise at {noise['snr_db']:g} dB" if noise else "as recorded"
        alarms, length = number(result.get("false_alarms"), 0), hours(result) if result["negative_hours"] else NOTHING
        rows.append(Row(name, (f"{result['clips']:,}", share(result.get("recall")), alarms, length)))
    return tuple(rows)


def per_keyword(result: Mapping[str, Any]) -> tuple[Row, ...]:
    """Clips, recall with its 95 % interval, clips taken for another word, false alarms, threshold."""
    rows = []
    for word, facts in result["per_keyword"].items():
        clips = facts["clips"]
        low, high = wilson(facts["found"], clips) if clips else (0.0, 0.0)
        interval = f" ({100 * low:.0f} to {100 * high:.0f})" if clips else ""
        cells = (f"{clips:,}", f"{share(facts['recall'])}{interval}", number(facts["confused"], 0),
                 number(facts["false_alarms"], 0), number(facts["threshold"], 2))  # fmt: skip
        rows.append(Row(str(word), cells))
    return tuple(rows)
