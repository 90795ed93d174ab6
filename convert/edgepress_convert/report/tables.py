"""What a report says in words and figures: the summary and the tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgepress_convert.report.gather import Model
from edgepress_runtime.manifest import ImageSpec, SpeechSpec, TextSpec

NOUNS = {ImageSpec: "pictures", SpeechSpec: "windows", TextSpec: "texts"}  # what a task's examples are called
NOTHING = "—"
_GAP = "\u00a0"  # a space that does not break, between a number and its unit
MAX_MATRIX = 16  # labels; a larger confusion matrix becomes a list of its commonest confusions


@dataclass(frozen=True)
class Tile:
    """One headline figure: what it is, the figure, and what it should be compared with."""

    name: str
    figure: str
    beside: str


@dataclass(frozen=True)
class Row:
    """A line of a table; `strong` lines carry what most readers came for."""

    name: str
    cells: tuple[str, ...]
    strong: bool = False


@dataclass(frozen=True)
class Cell:
    """A field of the confusion matrix: the count, its share of the row (0 to 1), and whether it is on the diagonal."""

    count: int
    share: float
    right: bool


@dataclass(frozen=True)
class Confusion:
    """Of one evaluation: the matrix by label (empty when it is too large), the commonest confusions, and each class."""

    labels: tuple[str, ...]
    matrix: tuple[tuple[Cell, ...], ...]
    common: tuple[tuple[str, str, int], ...]
    per_class: tuple[Row, ...]


def share(value: Any) -> str:
    """A share of 0 to 1 as per cent with one decimal."""
    return NOTHING if value is None else f"{100 * value:.1f}{_GAP}%"


def kilobytes(size: float | None) -> str:
    """Bytes in kB of 1,000 bytes."""
    return NOTHING if size is None else f"{size / 1000:,.1f}{_GAP}kB"


def milliseconds(value: float | None) -> str:
    """Milliseconds with three significant digits."""
    if value is None:
        return NOTHING
    return f"{value:,.{max(0, 2 - math.floor(math.log10(max(value, 1e-3))))}f}{_GAP}ms"


def energy(result: Mapping[str, Any] | None) -> str:
    """Energy of an inference with the meter that told it, or that none did."""
    if result is None or result.get("energy_mj") is None:
        return "not measured"
    return f"{result['energy_mj']:.2f}{_GAP}mJ ({result.get('power_source') or 'unknown meter'})"


def wilson(right: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share that was right `right` of `n` times (Wilson 1927, JASA 22:209, equation 4)."""
    z = 1.959964
    p = right / n
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)


def leading(models: Sequence[Model]) -> Model | None:
    """The model that a report is about: int8 before others, evaluated before others, small before large."""
    return min(models, key=lambda m: (m.scheme != "int8", not (m.evaluations or m.streams), m.bytes), default=None)


def baseline(models: Sequence[Model], model: Model) -> Model | None:
    """The float32 model that `model` may be compared with: evaluated on the same data, if both were evaluated."""
    for other in models:
        if other is model or other.scheme != "float32":
            continue
        ours, theirs = model.evaluations[:1], other.evaluations[:1]
        if not (ours and theirs) or (ours[0]["data"] == theirs[0]["data"] and ours[0]["n"] == theirs[0]["n"]):
            return other
    return None


def tiles(model: Model, reference: Model | None) -> tuple[Tile, ...]:
    """The headline figures of `model` beside those of its float32 `reference`."""
    found = []
    result = model.evaluations[0] if model.evaluations else None
    if result:
        other = reference.evaluations[0] if reference and reference.evaluations else None
        before = f"float32: {share(other['top1'])}" if other else f"{result['n']:,} held-out {kind(result)}"
        found.append(Tile("Accuracy", share(result["top1"]), before))
    elif model.parity and model.parity.get("model_top1") is not None:
        before = f"float32: {share(model.parity['float_top1'])}, validation part"
        found.append(Tile("Accuracy", share(model.parity["model_top1"]), before))
    for heard in model.streams[:1]:
        found.append(Tile("Words found", share(heard.get("recall")), f"of {heard['clips']:,} clips"))
        found.append(Tile("False alarms", number(heard.get("false_alarms"), 0), f"in {hours(heard)}"))
    smaller = f"float32: {kilobytes(reference.bytes)}" if reference else ""
    found.append(Tile("Model file", kilobytes(model.bytes), smaller))
    if model.benches:
        ms = model.benches[-1]["latency_ms"]
        found.append(Tile("Median latency", milliseconds(ms["p50"]), f"p99: {milliseconds(ms['p99'])}"))
    if model.facts:
        macs = model.facts["macs"]
        work = f"{macs / 1e6:,.2f} M multiply-adds" if macs >= 1e6 else f"{macs:,} multiply-adds"
        work += " a step" if model.facts.get("stream") else ""
        found.append(Tile("Memory in use", kilobytes(model.facts["arena_bytes"]), work))
    found.append(Tile("Energy", energy(model.benches[-1] if model.benches else None), "per inference"))
    return tuple(found)


def comparison(models: Sequence[Model]) -> tuple[Row, ...]:
    """One row a property, one cell a model; rows of which nothing is known are left out."""

    def evaluated(key: Callable[[Mapping[str, Any]], str]) -> Callable[[Model], str]:
        return lambda m: key(m.evaluations[0]) if m.evaluations else NOTHING

    def heard(key: Callable[[Mapping[str, Any]], str]) -> Callable[[Model], str]:
        return lambda m: key(m.streams[0]) if m.streams else NOTHING

    def compared(key: Callable[[Mapping[str, Any]], str]) -> Callable[[Model], str]:
        return lambda m: key(m.parity) if m.parity and m.parity.get("model_top1") is not None else NOTHING

    def counted(key: str, form: Callable[[Any], str]) -> Callable[[Model], str]:
        return lambda m: form(m.facts[key]) if m.facts else NOTHING

    def measured(key: Callable[[Mapping[str, Any]], str]) -> Callable[[Model], str]:
        return lambda m: key(m.benches[-1]) if m.benches else NOTHING

    properties: tuple[tuple[str, Callable[[Model], str], bool], ...] = (
        ("Numbers", lambda m: m.scheme or NOTHING, False),
        ("Accuracy", evaluated(lambda e: share(e["top1"])), True),
        ("95 % interval", evaluated(_interval), False),
        ("Top 5", evaluated(lambda e: share(e.get("top5"))), False),
        ("Balanced accuracy", evaluated(lambda e: share(e.get("balanced_accuracy"))), False),
        ("F1, mean of classes", evaluated(lambda e: f"{e['f1']:.3f}"), False),
        ("Judged on", evaluated(judged_on), False),
        ("Words found", heard(lambda e: f"{share(e.get('recall'))} of {e['clips']:,} clips"), True),
        ("False alarms", heard(lambda e: f"{number(e.get('false_alarms'), 0)} in {hours(e)}"), True),
        ("False alarms an hour", heard(lambda e: number(e.get("false_alarms_per_hour"), 2)), False),
        ("CPU seconds a second", heard(lambda e: f"{e['cpu_s_per_audio_s']:.5f}"), False),
        ("Accuracy at conversion", compared(_at_conversion), False),
        ("Same answer as float", compared(lambda p: f"{share(p['agreement'])} of {p['n']:,}"), False),
        ("Model file", lambda m: kilobytes(m.bytes), True),
        ("Weights", counted("params", "{:,}".format), False),
        ("Multiply-adds", counted("macs", "{:,}".format), False),
        ("Memory for activations", counted("arena_bytes", kilobytes), False),
        ("Latency, p50", measured(lambda b: milliseconds(b["latency_ms"]["p50"])), True),
        ("Latency, p90", measured(lambda b: milliseconds(b["latency_ms"]["p90"])), False),
        ("Latency, p99", measured(lambda b: milliseconds(b["latency_ms"]["p99"])), False),
        ("Load, first call", measured(lambda b: f"{milliseconds(b['load_ms'])}, {milliseconds(b['first_ms'])}"), False),
        ("Peak memory of the process", measured(_memory), False),
        ("Energy an inference", lambda m: energy(m.benches[-1] if m.benches else None), False),
        ("Engine", measured(lambda b: f"{b['engine']}, threads: {b['threads']}"), False),
        ("Machine", measured(lambda b: machine(b["machine"])), False),
    )
    rows = (Row(name, tuple(cell(model) for model in models), strong) for name, cell, strong in properties)
    return tuple(row for row in rows if any(cell != NOTHING for cell in row.cells))


def confusion(result: Mapping[str, Any]) -> Confusion:
    """The confusion matrix and the classes of an evaluation."""
    labels = tuple(str(label) for label in result["labels"])
    counts = result["confusion"]
    matrix = tuple(
        tuple(Cell(int(count), count / max(1, sum(row)), i == j) for j, count in enumerate(row))
        for i, row in enumerate(counts)
    )
    wrong = [(labels[i], labels[j], cell.count) for i, row in enumerate(matrix) for j, cell in enumerate(row) if i != j]
    common = tuple(sorted((w for w in wrong if w[2]), key=lambda w: -w[2])[:12])
    per_class = tuple(
        Row(label, (f"{facts['n']:,}", share(facts["top1"]), share(facts["precision"]), number(facts["f1"])))
        for label, facts in result["per_class"].items()
    )
    return Confusion(labels, matrix if len(labels) <= MAX_MATRIX else (), common, per_class)


def machine(facts: Mapping[str, Any]) -> str:
    """A machine in one line: board, processor, cores."""
    parts = [facts.get("board"), facts.get("cpu") or facts.get("architecture")]
    cores = facts.get("cores")
    return ", ".join([str(part) for part in parts if part] + ([f"{cores} cores"] if cores else [])) or NOTHING


def hours(result: Mapping[str, Any]) -> str:
    """How long the negatives of an evaluation are; short ones in minutes."""
    length = result["negative_hours"]
    return f"{length:.2f}{_GAP}h" if length >= 0.1 or not length else f"{60 * length:.1f}{_GAP}min"


def _interval(result: Mapping[str, Any]) -> str:
    low, high = wilson(result["top1"] * result["n"], result["n"])
    return f"{100 * low:.1f} to {100 * high:.1f}{_GAP}%"


def _at_conversion(parity: Mapping[str, Any]) -> str:
    return f"{share(parity['model_top1'])} (float {share(parity['float_top1'])})"


def judged_on(result: Mapping[str, Any]) -> str:
    """The data of an evaluation of labelled examples."""
    return f"{result['data'].get('name')}, {result['data'].get('split')} part, {result['n']:,} {kind(result)}"


def kind(result: Mapping[str, Any]) -> str:
    """What the examples of an evaluation are called."""
    return str(result["data"].get("kind", "pictures"))


def _memory(result: Mapping[str, Any]) -> str:
    value = result.get("peak_rss_mb")
    return NOTHING if value is None else f"{value:.0f}{_GAP}MB"


def number(value: Any, digits: int = 3) -> str:
    """A number with so many decimals."""
    return NOTHING if value is None else f"{value:,.{digits}f}"
