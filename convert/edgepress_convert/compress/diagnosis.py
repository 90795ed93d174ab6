"""What quantization does to a net, as evidence: what it loses, in which layers, and what in them makes it so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgepress_convert import flatbuffer, layers, verify
from edgepress_convert.examples import Examples
from edgepress_convert.flatbuffer import Graph, Op
from edgepress_convert.layer_map import LayerMap
from edgepress_convert.multipliers import deadly

LOOKED_AT = 32  # examples that layers are compared on
_LEAST_SCORE = 1 / 512  # half a step of an int8 probability
_TAIL = 99.9  # percent of an activation's magnitudes that are no outliers
_KEPT = 4096  # magnitudes of one layer and example that its percentile is taken of
# where a kernel lies among the inputs of an operator, and its bias
KERNELS = {
    "CONV_2D": (1, 2), "DEPTHWISE_CONV_2D": (1, 2), "FULLY_CONNECTED": (1, 2), "CONV_3D": (1, 2),
    "TRANSPOSE_CONV": (1, 3),
}  # fmt: skip


@dataclass(frozen=True)
class LayerEvidence:
    """What happens to the signal in one layer of a quantized net.

    `name`: the Keras layer (the first of those that were fused), or the operator's output where no layer could be told.
    `snr_db`, `channel_snr_db`, `loss_db`: see `layers.LayerError`. `channel_ratio`: largest magnitude of the float
    output over that of its median channel, which has 256 / `channel_ratio` steps at best. `outlier`: largest magnitude
    over the 99.9th percentile of all. `mean_share`: how much of the error's energy is a constant of each channel, 0 to
    1. `weight_ratio`: largest magnitude of the kernel over that of its median output channel (1 without a kernel).
    """

    name: str
    op: str
    snr_db: float
    channel_snr_db: float
    loss_db: float
    channel_ratio: float
    outlier: float
    mean_share: float
    weight_ratio: float


@dataclass(frozen=True)
class Health:
    """How a quantized net answers `n` validation examples.

    `float_top1`: share that the float net, as it was at first, answers right; `top1`: share that the quantized one
    does; `drop_points` is 100 times the difference and `stderr_points` its standard error (see `verify.Parity`).
    `cross_entropy` and `float_cross_entropy` are nats an example. `deadly`: the output of an operator that would end
    LiteRT's process (see `multipliers`), empty where there is none.
    """

    n: int
    float_top1: float
    top1: float
    drop_points: float
    stderr_points: float
    cross_entropy: float
    float_cross_entropy: float
    deadly: str = ""


def health(expected: np.ndarray, found: np.ndarray, labels: np.ndarray, deadly: str = "") -> Health:
    """Of two tables of scores (n, classes), the float net's and the quantized one's."""
    parity = verify.judge(expected, found, labels)
    assert parity.float_top1 is not None and parity.model_top1 is not None
    assert parity.drop_points is not None and parity.drop_stderr_points is not None
    return Health(
        n=parity.n,
        float_top1=parity.float_top1,
        top1=parity.model_top1,
        drop_points=parity.drop_points,
        stderr_points=parity.drop_stderr_points,
        cross_entropy=_cross_entropy(found, labels),
        float_cross_entropy=_cross_entropy(expected, labels),
        deadly=deadly,
    )


def scores(model: bytes, held: Examples) -> tuple[np.ndarray, str]:
    """What the .tflite answers to `held`, (n, classes) float, also where that is `deadly`, which is told beside it."""
    return verify.scores(model, held), deadly(flatbuffer.graphs(model)[0])


def _cross_entropy(scores: np.ndarray, labels: np.ndarray) -> float:
    right = scores[np.arange(len(scores)), labels].astype(np.float64)
    return float(-np.log(np.maximum(right, _LEAST_SCORE)).mean())


def examine(before: bytes, after: bytes, layer_map: LayerMap, inputs: np.ndarray) -> tuple[LayerEvidence, ...]:
    """Evidence for every operator that the float .tflite `before` and the quantized `after` have in common, in order.

    `layer_map`: the layers of the Keras model in `before`. `inputs`: (n, ...) float32.
    """
    first, graph = (flatbuffer.graphs(model)[0] for model in (before, after))
    names = {op: unit.name for unit in layer_map.units for op in unit.ops}
    places = {op.outputs[0]: place for place, op in enumerate(first.ops) if op.outputs}
    errors = {error.name: error for error in layers.compare(before, after, inputs)}
    found: dict[int, _Sums] = {}
    for a, b, x, y in signals(before, after, inputs):
        found.setdefault(b.outputs[0], _Sums(a, b)).add(x, y)
    evidence = []
    for index, sums in found.items():
        output = flatbuffer.short(graph.tensors[index].name)
        if output not in errors:
            continue
        tail = float(np.mean(sums.tails))
        evidence.append(
            LayerEvidence(
                name=names.get(places[sums.before.outputs[0]], output),
                op=sums.after.kind,
                snr_db=errors[output].snr_db,
                channel_snr_db=errors[output].channel_snr_db,
                loss_db=errors[output].loss_db,
                channel_ratio=uneven(sums.largest),
                outlier=float(sums.largest.max()) / tail if tail > 0 else 1.0,
                mean_share=sums.mean_share(),
                weight_ratio=uneven(weight_ranges(sums.before, first)),
            )
        )
    return tuple(evidence)


def signals(before: bytes, after: bytes, inputs: np.ndarray) -> Iterator[tuple[Op, Op, np.ndarray, np.ndarray]]:
    """For each input, and each operator that both models have: the operator in `before` and in `after`, its float and
    its quantized output, (places, channels) float64."""
    first, second = flatbuffer.graphs(before)[0], flatbuffer.graphs(after)[0]
    pairs = list(layers._pairs(first, second))
    ours, theirs = layers._Probe(before, first), layers._Probe(after, second)
    for example in inputs:
        ours.run(example[np.newaxis])
        theirs.run(example[np.newaxis])
        for a, b in pairs:
            x, y = ours.value(a.outputs[0]), theirs.value(b.outputs[0])
            if x.ndim and x.size == y.size:
                yield a, b, x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1])


def uneven(ranges: np.ndarray) -> float:
    """The largest of `ranges` over the median of those above 0; 1 without any."""
    alive = ranges[ranges > 0]
    return float(alive.max() / np.median(alive)) if len(alive) else 1.0


class _Sums:
    """What is kept of the outputs of one operator, example by example."""

    def __init__(self, before: Op, after: Op) -> None:
        self.before, self.after, self.places = before, after, 0
        self.largest = self.error = self.noise = np.zeros(1)
        self.tails: list[float] = []

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        magnitude = np.abs(x)
        self.places += len(x)
        self.largest = np.maximum(self.largest, magnitude.max(axis=0))
        self.error = self.error + (y - x).sum(axis=0)
        self.noise = self.noise + ((y - x) ** 2).sum(axis=0)
        flat = magnitude.reshape(-1)
        self.tails.append(float(np.percentile(flat[:: max(1, len(flat) // _KEPT)], _TAIL)))

    def mean_share(self) -> float:
        noise = float(self.noise.sum())
        return float((self.error**2 / self.places).sum() / noise) if noise > 0 else 0.0


def weight_ranges(op: Op, graph: Graph) -> np.ndarray:
    """The largest magnitude of an operator's float kernel in each output channel; empty without a kernel."""
    if op.kind not in KERNELS:
        return np.zeros(0)
    kernel = graph.tensors[op.inputs[KERNELS[op.kind][0]]]
    if kernel.data is None or kernel.dtype != "float32" or kernel.sparse:
        return np.zeros(0)
    axis = len(kernel.shape) - 1 if op.kind == "DEPTHWISE_CONV_2D" else 0
    values = np.moveaxis(np.abs(kernel.values().astype(np.float64)).reshape(kernel.shape), axis, 0)
    return values.reshape(len(values), -1).max(axis=1)
