"""Histograms of weights and of activations before and after, of all layers together and of those that changed most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgepress_convert.report import distribution, kernels
from edgepress_convert.report.charts import percent
from edgepress_convert.report.compression import Pair
from edgepress_convert.report.figures import Figure
from edgepress_convert.report.kernels import Layer

SHOWN = 3  # layers, beside all of them together
_LEAST = 0.01  # standard deviations; layers that moved less are not worth a chart
_LEGEND = (("before", 1), ("after", 0))


def weights(models: Pair) -> tuple[Figure, ...]:
    """Weights of the whole models, then of the few layers whose weights changed most. Raises EdgepressError."""
    before, after = _layers(models)
    whole = _figure("All weights", _joined(before), _joined(after), "weights", f"{len(after)} layers.")
    both = kernels.pairs(before, after)
    moved = _most([(_called(after, a), b.kernel, a.kernel) for b, a in both])
    return (whole, *(_figure(name, old, new, "weights", _far(far)) for far, name, old, new in moved))


def activations(models: Pair) -> tuple[Figure, ...]:
    """The outputs of the layers whose outputs changed most, on the pair's examples; none without examples."""
    if models.examples is None:
        return ()
    before, after = _layers(models)
    both = kernels.pairs(before, after)
    old = kernels.outputs(models.before, [b for b, _ in both], models.examples)
    new = kernels.outputs(models.after, [a for _, a in both], models.examples)
    moved = _most([(_called(after, a), old[b.output], new[a.output]) for b, a in both])
    return tuple(_figure(name, one, two, "outputs", _far(far)) for far, name, one, two in moved)


def _layers(models: Pair) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    return (
        kernels.layers(models.before, name="the model before compression"),
        kernels.layers(models.after, name="the model after compression"),
    )


def _called(layers: Sequence[Layer], layer: Layer) -> str:
    """A layer as people find it: its place among those with weights, name and operator."""
    return f"{layers.index(layer) + 1}. {layer.name} ({layer.op})"


def _joined(layers: Sequence[Layer]) -> np.ndarray:
    return np.concatenate([layer.kernel for layer in layers]) if layers else np.zeros(0)


def _most(
    found: Sequence[tuple[str, np.ndarray, np.ndarray]],
) -> list[tuple[float, str, np.ndarray, np.ndarray]]:
    """The layers that moved furthest, the furthest first; of equals the earlier one."""
    moved = [(distribution.distance(old, new), name, old, new) for name, old, new in found]
    moved.sort(key=lambda row: -row[0])
    return [row for row in moved if row[0] >= _LEAST][:SHOWN]


def _far(far: float) -> str:
    return f"Moved by {far:.2f} standard deviations."


def _figure(title: str, before: np.ndarray, after: np.ndarray, noun: str, note: str) -> Figure:
    found = distribution.compare(before, after)
    zeros = f"{percent(found.before.zero_share)} became {percent(found.after.zero_share)}"
    told = f"{found.before.n:,} {noun} became {found.after.n:,}; exact zeros: {zeros}"
    if found.before.n == found.after.n:
        told = f"{found.after.n:,} {noun}; exact zeros: {zeros}"
    svg = distribution.draw(found, alt=f"{title}, before and after: {told}", x_label="value", y_label=noun)
    return Figure(title, svg, f"{told}. {note}", _LEGEND)
