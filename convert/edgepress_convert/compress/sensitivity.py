"""Which layers does quantization hurt? Each measured by itself: all layers float but for this one, which rounds.

What is measured is how far the scores move on held-out examples, by the divergence of Kullback and Leibler (1951) from
the float model's; labels need not be known. A layer is what the converter computes as one, a convolution with its
normalisation and activation. Its damage is that of its own kernel and of its own output, so that layers can be added
up: what a wide output costs is never counted again where it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgepress_convert import planned, rounded, verify
from edgepress_convert.compress.job import Job
from edgepress_convert.compress.measure import held_out
from edgepress_convert.examples import Examples
from edgepress_convert.layer_map import Unit
from edgepress_convert.plan import Plan
from edgepress_convert.planned import Prepared
from edgepress_train.keras2 import keras

MAX_EXAMPLES = 256
_LEAST_SCORE = 1 / 512  # half a step of an int8 probability


@dataclass(frozen=True)
class LayerDamage:
    """What one layer alone does to the scores when it is stored in int8.

    `layers`: the Keras layers that are computed together, the first of which is `name`; `ops`: how LiteRT calls what
    computes them. `damage`: mean divergence of the scores, nats an example, `kernel` that of the rounded kernel alone.
    `drop_points`: points of accuracy lost, None without labels.
    """

    name: str
    layers: tuple[str, ...]
    ops: tuple[str, ...]
    damage: float
    kernel: float
    drop_points: float | None


def rank(model: keras.Model, job: Job, *, examples: int = MAX_EXAMPLES) -> tuple[LayerDamage, ...]:
    """The layers of `model` under `job.plan`, the most damaging first, on so many validation examples of the job.

    Without a validation part, the representative examples are taken. Raises EdgepressError.
    """
    return measure(planned.prepare(model, job.representative), judged_on(job, examples), job.plan)


def judged_on(job: Job, limit: int) -> Examples:
    """Validation examples of the job, spread over all of them; representative ones, without labels, where none are."""
    if job.lessons.val is not None:
        return held_out(job.lessons, limit=limit)
    return Examples(job.representative[:limit], lambda part: part, None, "examples")


def measure(prepared: Prepared, held: Examples, plan: Plan) -> tuple[LayerDamage, ...]:
    """The layers of a prepared model, the most damaging first."""
    assert prepared.layers is not None
    graph = prepared.graph
    ranges = planned.ranges_of(prepared, plan)
    expected = verify.scores(prepared.float_model, held)

    def damage(kernels: Sequence[int], outputs: Sequence[int]) -> tuple[float, float | None]:
        if not kernels and not outputs:
            return 0.0, None if held.labels is None else 0.0
        model = rounded.rounded(prepared.float_model, ranges, kernels=kernels, outputs=outputs, weights=plan.weights)
        found = verify.scores(model, held)
        return divergence(expected, found), drop(expected, found, held.labels)

    rows = []
    for unit in prepared.layers.units:
        kernels = [n for n in unit.ops if rounded.kernel_of(graph.ops[n], graph) is not None]
        outputs = [n for n in unit.ops if graph.ops[n].kind not in rounded.MOVES]
        of_kernel, _ = damage(kernels, [])
        both, lost = damage(kernels, outputs) if outputs else (of_kernel, _)
        kinds = tuple(graph.ops[n].kind for n in unit.ops)
        rows.append(LayerDamage(unit.name, unit.layers, kinds, both, of_kernel, lost))
    return tuple(sorted(rows, key=lambda row: -row.damage))


def divergence(expected: np.ndarray, found: np.ndarray) -> float:
    """Mean over the examples of sum p log(p / q), nats, of two tables of probabilities (n, classes).

    No score counts as less than half a step of int8, and each row is brought to the sum of 1.
    """
    p, q = (np.maximum(table.astype(np.float64), _LEAST_SCORE) for table in (expected, found))
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    return float((p * np.log(p / q)).sum(axis=1).mean())


def drop(expected: np.ndarray, found: np.ndarray, labels: np.ndarray | None) -> float | None:
    """Points of accuracy that `found` lost; negative where it gained."""
    if labels is None:
        return None
    right = [float((table.argmax(axis=1) == labels).mean()) for table in (expected, found)]
    return 100.0 * (right[0] - right[1])


def as_json(rows: Sequence[LayerDamage]) -> list[dict[str, Any]]:
    """`rows` as plain values, for reports."""
    return [{**asdict(row), "layers": list(row.layers), "ops": list(row.ops)} for row in rows]


def readers(prepared: Prepared, unit: Unit) -> tuple[Unit, ...]:
    """`unit` with what must go along if its output is to stay as precise: what hands it on, and what reads it."""
    assert prepared.layers is not None
    graph = prepared.graph
    owner = {n: one for one in prepared.layers.units for n in one.ops}
    found = {unit.name: unit}
    pending = [unit]
    while pending:
        made = {i for n in pending.pop().ops for i in graph.ops[n].outputs}
        for n, op in enumerate(graph.ops):
            reader = owner.get(n)
            if reader is None or reader.name in found or not made.intersection(op.inputs):
                continue
            found[reader.name] = reader
            if all(graph.ops[m].kind in rounded.MOVES for m in reader.ops):
                pending.append(reader)
    return tuple(found.values())
