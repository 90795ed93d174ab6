"""Which channels of a net must be scaled together, and which cannot be scaled at all, for its answers to stay the same.

A layer whose output channel c is divided by s and whose readers multiply what they read of c by s computes the same if
all between them lets a factor through: f(s x) = s f(x) for s > 0, as ReLU, pooling and addition do (Nagel et al. 2019,
arXiv:1906.04721, section 4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress_convert.compress.fold import calls, has_kernel
from edgepress_train.keras2 import keras

layers = keras.layers
_THROUGH = (
    layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.LeakyReLU, layers.MaxPooling1D,
    layers.MaxPooling2D, layers.AveragePooling1D, layers.AveragePooling2D, layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D, layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.ZeroPadding1D,
    layers.ZeroPadding2D, layers.Cropping1D, layers.Cropping2D, layers.UpSampling1D, layers.UpSampling2D,
)  # fmt: skip
_TOGETHER = (layers.Add, layers.Average, layers.Maximum, layers.Minimum)
_LINEAR = ("linear", "relu", "leaky_relu")


@dataclass(frozen=True)
class Flow:
    """Channels of one net by number. Channels of the same number have to be scaled alike.

    `writes` and `reads`: the number of each output and input channel of each layer with a kernel, (channels,) int64, by
    name, in execution order. `fixed`: numbers that cannot be scaled, with the reason.
    """

    writes: dict[str, np.ndarray]
    reads: dict[str, np.ndarray]
    fixed: dict[int, str]

    def parts(self) -> list[np.ndarray]:
        """Sets of numbers that occur beside each other in one layer's output and can be scaled, in execution order."""
        sets: list[set[int]] = []
        for numbers in self.writes.values():
            new = {int(n) for n in numbers if int(n) not in self.fixed}
            touching = [old for old in sets if old & new]
            for old in touching:
                new |= old
            at = sets.index(touching[0]) if touching else len(sets)
            sets = [s for s in sets if s not in touching]
            sets.insert(min(at, len(sets)), new)
        return [np.array(sorted(found), np.int64) for found in sets if found]


def flow(model: keras.Model) -> Flow:
    """The channels of `model`, which `fold` made."""
    tracks = _Tracks()
    seen: dict[int, np.ndarray] = {}
    writes: dict[str, np.ndarray] = {}
    reads: dict[str, np.ndarray] = {}
    for tensor in model.inputs:
        seen[id(tensor)] = tracks.fresh(tensor)
        tracks.fix(seen[id(tensor)], "it is the input")
    for node in calls(model):
        sources = [seen[id(t)] for t in tf.nest.flatten(node.keras_inputs)]
        layer = node.layer
        target = tf.nest.flatten(node.outputs)
        if has_kernel(layer) and len(sources) == 1 and _channels_last(layer) and len(target) == 1:
            reads[layer.name] = tracks.join(reads.get(layer.name, sources[0]), sources[0])
            own = tracks.fresh(target[0])
            writes[layer.name] = tracks.join(writes.get(layer.name, own), own)
            if not _homogeneous(layer.activation):
                tracks.fix(own, f"{layer.name} ends in {_named(layer.activation)}")
            seen[id(target[0])] = own
            continue
        through = None if not _channels_last(layer) else _through(node, sources, tracks)
        if through is None:
            for numbers in sources:
                tracks.fix(numbers, f"{layer.name} ({type(layer).__name__}) lets no factor through")
            for tensor in target:
                seen[id(tensor)] = tracks.fresh(tensor)
                tracks.fix(seen[id(tensor)], f"it comes out of {layer.name} ({type(layer).__name__})")
        else:
            seen[id(target[0])] = through
    for tensor in model.outputs:
        tracks.fix(seen[id(tensor)], "it is the answer")
    for table in (writes, reads):
        for name, numbers in table.items():
            table[name] = tracks.roots(numbers)
    return Flow(writes, reads, dict(tracks.fixed))


def _through(node: Any, sources: list[np.ndarray], tracks: _Tracks) -> np.ndarray | None:
    """The channels of what the layer puts out, if it lets a factor through."""
    layer, shape = node.layer, tf.nest.flatten(node.outputs)[0].shape
    for kind, rule in _RULES:
        if isinstance(layer, kind):
            return rule(layer, shape, sources, tracks)
    return None


def _unary(layer: Any, shape: Any, sources: list[np.ndarray], tracks: _Tracks) -> np.ndarray | None:
    return sources[0] if len(sources) == 1 else None


def _activation(layer: Any, shape: Any, sources: list[np.ndarray], tracks: _Tracks) -> np.ndarray | None:
    return sources[0] if _homogeneous(layer.activation) else None


def _relu(layer: Any, shape: Any, sources: list[np.ndarray], tracks: _Tracks) -> np.ndarray | None:
    return sources[0] if layer.max_value is None and not layer.threshold else None


def _function(layer: Any, shape: Any, sources: list[np.ndarray], tracks: _Tracks) -> np.ndarray | None:
    return sources[0] if layer.symbol == "nn.relu" and len(sources) == 1 else None


def _reshape(layer: Any, shape: Any, sources: list[np.ndarray], tracks: _Tracks) -> np.ndarray | None:
    """Channels stay apart where the last axis stays, or where everything becomes one axis with the channels inmost."""
    channels = len(sources[0])
    if shape[-1] == channels:
        return sources[0]
    if len(shape) == 2 and shape[-1] and not shape[-1] % channels:
        return np.tile(sources[0], shape[-1] // channels)
    return None


def _together(layer: Any, shape: Any, sources: list[np.ndarray], tracks: _Tracks) -> np.ndarray | None:
    if len({len(numbers) for numbers in sources}) > 1:
        return None
    for numbers in sources[1:]:
        tracks.join(sources[0], numbers)
    return sources[0]


def _beside(layer: Any, shape: Any, sources: list[np.ndarray], tracks: _Tracks) -> np.ndarray | None:
    if layer.axis in (-1, len(shape) - 1):
        return np.concatenate(sources)
    return _together(layer, shape, sources, tracks)


def _gate(layer: Any, shape: Any, sources: list[np.ndarray], tracks: _Tracks) -> np.ndarray | None:
    """A product lets the factor of one side through where the other side has none."""
    if len(sources) == 2 and len(sources[0]) == len(sources[1]):
        for one, other in (sources, sources[::-1]):
            if all(int(n) in tracks.fixed for n in tracks.roots(other)):
                return one
    return None


_RULES: tuple[tuple[Any, Callable[..., np.ndarray | None]], ...] = (
    (layers.ReLU, _relu),
    (layers.Activation, _activation),
    (_THROUGH, _unary),
    ((layers.Flatten, layers.Reshape), _reshape),
    (_TOGETHER, _together),
    (layers.Concatenate, _beside),
    (layers.Multiply, _gate),
)


def _homogeneous(activation: Any) -> bool:
    return activation is None or _named(activation) in _LINEAR


def _named(activation: Any) -> str:
    return getattr(activation, "__name__", type(activation).__name__)


def _channels_last(layer: keras.layers.Layer) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


@dataclass
class _Tracks:
    """Numbers handed out to channels, joined where channels meet (union-find); `fixed` by the root of a set."""

    parent: list[int] = field(default_factory=list)
    fixed: dict[int, str] = field(default_factory=dict)

    def fresh(self, tensor: Any) -> np.ndarray:
        first = len(self.parent)
        self.parent.extend(range(first, first + (tensor.shape[-1] or 1)))
        return np.arange(first, len(self.parent))

    def root(self, number: int) -> int:
        while self.parent[number] != number:
            self.parent[number] = self.parent[self.parent[number]]
            number = self.parent[number]
        return number

    def roots(self, numbers: np.ndarray) -> np.ndarray:
        return np.array([self.root(int(n)) for n in numbers], np.int64)

    def join(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        for a, b in zip(first, second, strict=True):
            low, high = sorted((self.root(int(a)), self.root(int(b))))
            if low != high:
                self.parent[high] = low
                if high in self.fixed:
                    self.fixed.setdefault(low, self.fixed.pop(high))
        return first

    def fix(self, numbers: np.ndarray, why: str) -> None:
        for n in self.roots(numbers):
            self.fixed.setdefault(int(n), why)
