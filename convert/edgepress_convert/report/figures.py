"""Which charts a report shows, each with its caption and the sentence that stands for it where it cannot be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from edgepress_convert.report import charts
from edgepress_convert.report.charts import Dot, Series
from edgepress_convert.report.gather import Model, Training
from edgepress_convert.report.tables import NOUNS

_CEILING_DB = 120.0  # an exact copy, as `edgepress_convert.layers` counts


@dataclass(frozen=True)
class Figure:
    """A chart with its heading, one line about it, and its legend: (name, style) for each series."""

    title: str
    svg: Markup
    note: str = ""
    legend: tuple[tuple[str, int], ...] = ()


def training(found: Training) -> tuple[Figure, ...]:
    """Accuracy and loss over the epochs, as far as the history holds them."""
    kept = found.run.metrics.get("kept_epoch")
    mark = (float(kept), f"kept: epoch {kept}") if isinstance(kept, int) and kept < len(found.history) else None
    figures = []
    for column, title, form in (("accuracy", "Accuracy", charts.percent), ("loss", "Loss", charts.plain)):
        series = [
            Series(name, points, style)
            for style, (name, key) in enumerate((("training", column), ("validation", f"val_{column}")))
            if (points := tuple((row["epoch"], row[key]) for row in found.history if key in row and "epoch" in row))
        ]
        if not series:
            continue
        ends = "; ".join(f"{s.name} from {form(s.points[0][1])} to {form(s.points[-1][1])}" for s in series)
        svg = charts.lines(
            series,
            alt=f"{title} of {found.run.path.name} over {len(found.history)} epochs: {ends}",
            x_label="epoch",
            y_label=title.lower(),
            y_format=form,
            mark=mark,
        )
        noun = NOUNS[type(found.run.preprocessing)]
        note = f"The training {noun} are augmented, the validation {noun} are not." if column == "accuracy" else ""
        figures.append(Figure(title, svg, note, tuple((s.name, s.style) for s in series)))
    return tuple(figures)


def size_and_accuracy(models: Sequence[Model], data: Mapping[str, Any] | None) -> Figure | None:
    """Bytes against accuracy of every model that was evaluated on `data`."""
    same = [(m, e) for m in models for e in m.evaluations if data and e["data"] == data]
    if not same:
        return None
    order = {"int8": 0, "float32": 1}
    dots = [Dot(model.name, model.bytes / 1e3, result["top1"], order.get(model.scheme, 2)) for model, result in same]
    told = "; ".join(f"{dot.name} {dot.x:.1f} kB, {charts.percent(dot.y)}" for dot in dots)
    svg = charts.scatter(
        dots,
        alt=f"Model size against accuracy: {told}",
        x_label="model file, kB",
        y_label="accuracy",
        y_format=charts.percent,
    )
    return Figure("Size and accuracy", svg, "Up and to the left is better.")


def latency(model: Model) -> tuple[Figure, ...]:
    """A histogram for each measurement of `model`, with its percentiles."""
    figures = []
    for result in model.benches:
        ms = result["latency_ms"]
        marks = {key: float(ms[key]) for key in ("p50", "p90", "p99")}
        told = ", ".join(f"{key} {value:.3f} ms" for key, value in marks.items())
        samples = result["samples_ms"] or list(marks.values())
        svg = charts.histogram(samples, marks, alt=f"Latency of {ms['n']} calls of {model.name}: {told}", x_label="ms")
        machine = result["machine"]
        place = machine.get("board") or machine.get("cpu") or machine.get("architecture") or "an unnamed machine"
        figures.append(Figure(model.name, svg, f"{ms['n']} calls on {place}, threads: {result['threads']}"))
    return tuple(figures)


def layers(model: Model) -> Figure | None:
    """Signal-to-noise ratio of each layer against float; None where nothing was compared or nothing was lost."""
    rows = (model.parity or {}).get("layers") or ()
    rows = [row for row in rows if isinstance(row, dict) and isinstance(row.get("snr_db"), (int, float))]
    if not rows or min(row["snr_db"] for row in rows) >= _CEILING_DB:
        return None
    names = [f"{_short(row['name'])} ({row['op']})" for row in rows]
    values = [float(row["snr_db"]) for row in rows]
    lowest = values.index(min(values))
    told = f"It is lowest, {values[lowest]:.0f} dB, in layer {lowest + 1}, {names[lowest]}"
    falls = [i for i, row in enumerate(rows) if row["name"] == (model.parity or {}).get("worst_layer")]
    if falls and falls[0] != lowest:
        told += f", and falls most in layer {falls[0] + 1}, {names[falls[0]]}"
    svg = charts.columns(
        names,
        values,
        alt=f"Signal-to-noise ratio of {len(rows)} layers of {model.name}. {told}.",
        x_label="layer, in order of execution",
        y_label="signal to noise, dB",
        worst=lowest,
    )
    return Figure(f"{model.name}, layer by layer", svg, f"Signal against rounding noise; higher is better. {told}.")


def _short(name: str) -> str:
    """A layer's name without the model's own in front and without what was fused into it."""
    first = name.split(";")[0].strip("/")
    return first.partition("/")[2] or first
