"""Channels that go together, and what is found out about them on the way through a net."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress_train.keras2 import keras


@dataclass(frozen=True)
class Slot:
    """One axis of a layer's weight (by its index in `layer.weights`), and the unit of each position along it.

    `role`: `out` for filters, which make a channel; `in` for what takes a channel in; `each` for weights that belong
    to one channel and mix it with no other (depthwise kernels, biases, normalisation).
    """

    layer: str
    weight: int
    axis: int
    units: np.ndarray  # (n,) int64
    role: str


@dataclass(frozen=True)
class Kernel:
    """A weight that is multiplied: one inference takes `places` x its elements multiply-accumulates."""

    layer: str
    weight: int
    shape: tuple[int, ...]
    places: int


@dataclass(frozen=True)
class Width:
    """A setting of a layer that says how many channels it makes: a number, or the last entry of a shape."""

    layer: str
    setting: str
    front: tuple[int, ...] | None
    units: np.ndarray  # (n,) int64


@dataclass(frozen=True)
class Group:
    """Units with a part in the same places of the same layers, so that it is a question which of them stay.

    `name` lists the layers whose filters make them. `channels`: how many filters of such a layer one unit has.
    """

    name: str
    units: np.ndarray  # (n,) int64
    channels: int


@dataclass(frozen=True)
class LeftAlone:
    """Layers whose channels stay, or some of them, because of what another `layer` does, told in `why`."""

    layer: str
    why: str
    filters_of: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.layer}: {self.why}; this keeps the channels of {', '.join(self.filters_of)}"


@dataclass(frozen=True)
class Dependencies:
    """All units of a net, numbered from 0, those that may be removed in `groups`, and where in the net they are."""

    units: int
    groups: tuple[Group, ...]
    slots: tuple[Slot, ...]
    kernels: tuple[Kernel, ...]
    widths: tuple[Width, ...]
    left_alone: tuple[LeftAlone, ...]


@dataclass(frozen=True)
class Call:
    """One call of a layer: the labels and shapes (without the batch) of its inputs and outputs."""

    layer: keras.layers.Layer
    inputs: tuple[np.ndarray, ...]
    in_shapes: tuple[tuple[int, ...], ...]
    out_shapes: tuple[tuple[int, ...], ...]
    node: Any

    @property
    def places(self) -> int:
        """Positions of the first output, in space and time."""
        return math.prod(self.out_shapes[0][:-1])


class Walk:
    """What has been found so far: labels are integers, joined by a union-find forest."""

    def __init__(self) -> None:
        self.parents: list[int] = []
        self.slots: dict[tuple[str, int, int], Slot] = {}
        self.kernels: dict[tuple[str, int], Kernel] = {}
        self.widths: dict[str, Width] = {}
        self.made: dict[str, np.ndarray] = {}
        self.frozen: list[tuple[np.ndarray, str, str]] = []

    def fresh(self, n: int) -> np.ndarray:
        """`n` labels that nothing has yet."""
        first = len(self.parents)
        self.parents += range(first, first + n)
        return np.arange(first, first + n)

    def join(self, a: np.ndarray, b: np.ndarray) -> None:
        """Position by position, `a` and `b` go together."""
        for left, right in zip(a.tolist(), b.tolist(), strict=True):
            first, second = sorted((self._root(left), self._root(right)))
            self.parents[second] = first

    def freeze(self, labels: np.ndarray, layer: str, why: str) -> None:
        """These stay. Without `layer` it goes without saying, as for the classes."""
        self.frozen.append((labels, layer, why))

    def make(self, call: Call, n: int, setting: str) -> np.ndarray:
        """Labels of the `n` channels that the layer makes, the same in each of its calls."""
        name = call.layer.name
        if name not in self.made:
            self.made[name] = self.fresh(n)
            self.widths[name] = Width(name, setting, None, self.made[name])
        return self.made[name]

    def reshape(self, call: Call, labels: np.ndarray) -> None:
        """The last entry of the layer's `target_shape` counts `labels`."""
        if call.layer.name in self.widths:
            self.join(self.widths[call.layer.name].units, labels)
        self.widths[call.layer.name] = Width(call.layer.name, "target_shape", call.out_shapes[0][:-1], labels)

    def slot(self, call: Call, variable: Any, axis: int, labels: np.ndarray, role: str) -> None:
        """`labels` lie along an axis of one of the layer's weights; nothing for a weight that it does not have."""
        if variable is None:
            return
        weight = next(i for i, own in enumerate(call.layer.weights) if own is variable)
        assert variable.shape[axis] == len(labels), f"{call.layer.name}: {variable.shape}[{axis}], {len(labels)} labels"
        key = (call.layer.name, weight, axis)
        if key in self.slots:
            self.join(self.slots[key].units, labels)
        self.slots[key] = Slot(*key, labels, role)

    def kernel(self, call: Call, variable: Any, places: int) -> None:
        """One of the layer's weights is multiplied at so many places; calls of one layer add up."""
        weight = next(i for i, own in enumerate(call.layer.weights) if own is variable)
        before = self.kernels.get((call.layer.name, weight))
        places += before.places if before else 0
        self.kernels[call.layer.name, weight] = Kernel(call.layer.name, weight, tuple(variable.shape), places)

    def _root(self, label: int) -> int:
        while self.parents[label] != label:
            self.parents[label] = self.parents[self.parents[label]]
            label = self.parents[label]
        return label

    def finish(self) -> Dependencies:
        """Everything in terms of units."""
        roots = [self._root(label) for label in range(len(self.parents))]
        _, numbers = np.unique(roots, return_inverse=True)
        slots = tuple(Slot(s.layer, s.weight, s.axis, numbers[s.units], s.role) for s in self.slots.values())
        widths = tuple(Width(w.layer, w.setting, w.front, numbers[w.units]) for w in self.widths.values())
        units = int(numbers.max(initial=-1)) + 1
        makers = tuple((name, numbers[labels]) for name, labels in self.made.items())
        frozen = np.zeros(units, bool)
        for labels, _, _ in self.frozen:
            frozen[numbers[labels]] = True
        return Dependencies(
            units=units,
            groups=tuple(_groups(units, frozen, slots, makers)),
            slots=slots,
            kernels=tuple(self.kernels.values()),
            widths=widths,
            left_alone=tuple(self._left_alone(units, numbers, makers)),
        )

    def _left_alone(
        self, units: int, numbers: np.ndarray, makers: Sequence[tuple[str, np.ndarray]]
    ) -> Iterator[LeftAlone]:
        silent = np.zeros(units, bool)
        reasons: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(units, bool))
        for labels, layer, why in self.frozen:
            (reasons[layer, why] if layer else silent)[numbers[labels]] = True
        for (layer, why), kept in reasons.items():
            names = tuple(name for name, made in makers if (kept[made] & ~silent[made]).any())
            if names:
                yield LeftAlone(layer, why, names)


def _groups(
    units: int, frozen: np.ndarray, slots: Sequence[Slot], makers: Sequence[tuple[str, np.ndarray]]
) -> Iterator[Group]:
    """Free units, by where they have how many positions."""
    part: list[list[tuple[int, int]]] = [[] for _ in range(units)]
    for number, slot in enumerate(slots):
        for unit, count in zip(*np.unique(slot.units, return_counts=True), strict=True):
            part[unit].append((number, int(count)))
    alike: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for unit in range(units):
        if part[unit] and not frozen[unit]:
            alike[tuple(part[unit])].append(unit)
    for found in alike.values():
        counts = {name: int(np.count_nonzero(made == found[0])) for name, made in makers}
        names = [name for name, count in counts.items() if count]
        if names:
            yield Group(" + ".join(names), np.array(found), max(counts.values()))
