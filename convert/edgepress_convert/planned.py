"""A float model quantized as a plan says: with ranges that are chosen, and with layers that are kept more precise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgepress_convert import activation_ranges, flatbuffer, mixed_precision, quantize
from edgepress_convert.activation_ranges import Range, Seen
from edgepress_convert.flatbuffer import Graph
from edgepress_convert.layer_map import LayerMap, trace
from edgepress_convert.plan import Plan
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError

if TYPE_CHECKING:
    from edgepress_train.keras2 import keras

_WHOLE = activation_ranges.Method("min-max")


@dataclass(frozen=True)
class Prepared:
    """A model that can be quantized many ways: its float32 .tflite, what its activations were on the representative
    examples, and which operators compute which layer (None where nobody asked)."""

    float_model: bytes
    seen: Mapping[str, Seen]
    layers: LayerMap | None = None

    @property
    def graph(self) -> Graph:
        return flatbuffer.graphs(self.float_model)[0]


def prepare(model: keras.Model, representative: np.ndarray, *, layers: bool = True) -> Prepared:
    """`model` converted to float32 and watched on `representative`, (n, *input) float32. Raises EdgepressError."""
    if not len(representative):
        raise EdgepressError("int8 needs example inputs to choose ranges", "give training data")
    float_model = quantize.convert(model, ("float32",))["float32"]
    if len(flatbuffer.graphs(float_model)) > 1:
        raise EdgepressError(
            "the model has loops, whose ranges cannot be watched",
            "rebuild GRU and the like with unroll=True, or use min-max ranges and keep no layer apart",
        )
    found = trace(model, float_model, representative) if layers else None
    return Prepared(float_model, activation_ranges.observe(float_model, representative), found)


def build(prepared: Prepared, plan: Plan) -> bytes:
    """The int8 .tflite that `plan` asks for. Raises EdgepressError for a layer that is not there or cannot be kept."""
    kept = operators(prepared, plan.keep)
    made = mixed_precision.quantize(prepared.float_model, ranges_of(prepared, plan), kept=kept, weights=plan.weights)
    try:
        open_engine(made).close()  # the engine has the last word
    except EdgepressError as error:
        raise EdgepressError(
            f"LiteRT cannot run what was made of this model: {error.what}",
            "use min-max ranges, and keep no layer apart",
        ) from None
    return made


def operators(prepared: Prepared, keep: Mapping[str, str]) -> dict[int, str]:
    """The operators that compute the layers in `keep`, and the scheme of each. Raises EdgepressError."""
    if not keep:
        return {}
    assert prepared.layers is not None
    graph = prepared.graph
    found: dict[int, str] = {}
    for layer, scheme in keep.items():
        for unit in prepared.layers.of(layer):
            for n in unit.ops:
                kind = graph.ops[n].kind
                if mixed_precision.lacks(kind, scheme):
                    raise EdgepressError(
                        f"layer {layer!r} cannot be kept in {scheme}, which has no {kind}", "keep it in float32"
                    )
                if found.setdefault(n, scheme) != scheme:
                    raise EdgepressError(
                        f"layer {layer!r} is to be kept in {scheme}, but is computed together with one that is kept in "
                        f"{found[n]}",
                        f"the layers {', '.join(unit.layers)} are one operator: keep them alike",
                    )
    return found


def ranges_of(prepared: Prepared, plan: Plan) -> dict[str, Range]:
    """The range of each activation, by the name of its tensor, chosen as `plan` says.

    The input keeps all of its range, which belongs to the preprocessing, and so does a tensor that only operators see
    which are kept in 16 bits or float: there is room enough.
    """
    method = activation_ranges.parse(plan.ranges)
    graph, kept = prepared.graph, operators(prepared, plan.keep)
    rounds = {i for n, op in enumerate(graph.ops) if n not in kept for i in (*op.inputs, *op.outputs)}
    rounds -= set(graph.inputs)
    chosen = {graph.tensors[i].name for i in rounds}
    return {
        name: activation_ranges.range_of(seen, method if name in chosen else _WHOLE)
        for name, seen in prepared.seen.items()
    }
