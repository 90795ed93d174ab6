"""Chapters of the page about compressions and searches: what is told, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgepress_convert.report import histograms, pareto, steps
from edgepress_convert.report.compression import Compression, Pair
from edgepress_convert.report.figures import Figure
from edgepress_convert.report.pareto import Choice
from edgepress_convert.report.searched import Search
from edgepress_convert.report.steps import Line, Told


@dataclass(frozen=True)
class Group:
    """Some figures under one heading, with a line about them."""

    title: str
    about: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Chapter:
    """A compression or a search. `lines` (with `columns`) and `told` are of a compression, `choices` of a search."""

    title: str
    about: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...] = ()
    told: tuple[Told, ...] = ()
    choices: tuple[Choice, ...] = ()
    groups: tuple[Group, ...] = ()


def of_compression(found: Compression) -> Chapter:
    """Steps, verdicts, sensitivity and histograms."""
    hurts = tuple(figure for one in found.sensitivity if (figure := steps.sensitivity(one)))
    sensitivity = Group("Where it hurts", "What each layer does to the scores when it alone is quantized.", hurts)
    origin = f"It comes from {found.origin}." if found.origin else ""
    open_end = "" if found.total or not found.start else "This compression is not finished: its steps so far."
    words = (f"Recipe: {found.recipe}.", origin, open_end, steps.judged(found))
    return Chapter(
        title=f"Compression to {found.name}",
        about=" ".join(word for word in words if word),
        columns=steps.columns(found),
        lines=steps.table(found),
        told=steps.told(found),
        groups=_filled((sensitivity, *_spread(found.models))),
    )


def of_search(found: Search) -> Chapter:
    """What there was to choose from, and histograms of the model as it was and of the best one."""
    drawn = Group("", "", pareto.figures(found))
    return Chapter(
        title=f"Search {found.name}",
        about=pareto.summary(found),
        columns=pareto.COLUMNS,
        choices=pareto.table(found),
        groups=_filled((drawn, *_spread(found.models))),
    )


def _spread(models: Pair | None) -> tuple[Group, ...]:
    if models is None:
        return ()
    weights = "The numbers in the kernels of the .tflite as real values, before and after: all of them, and those of "
    weights += "the layers that changed most. The bars at 0 count exact zeros, the bars at the ends what lies beyond."
    outputs = "What layers with weights put out on the same examples, before and after, in the layers that changed most"
    return (
        Group("Weights before and after", weights, histograms.weights(models)),
        Group("Activations before and after", f"{outputs}.", histograms.activations(models)),
    )


def _filled(groups: Sequence[Group]) -> tuple[Group, ...]:
    return tuple(group for group in groups if group.figures)
