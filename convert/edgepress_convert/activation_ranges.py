"""The range of each activation, chosen from what representative examples put there: all of it, a share of it, or the
part that loses least.

One pass over the examples counts every value by its first 15 bits (sign, exponent, 6 bits of fraction), so that the
counts are exact to 1/64 of a value at any magnitude, whatever outliers there are, and need no second pass.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np

from edgepress_convert import flatbuffer
from edgepress_convert.tensors import open_glass
from edgepress_runtime.errors import EdgepressError

METHODS = ("min-max", "percentile", "mse")
Range = tuple[float, float]

_DROPPED_BITS = 17  # of the 32 of a float32
_BINS = 1 << (32 - _DROPPED_BITS)
_NARROWEST = 2.0**-12  # of the largest value: no range that ends below this share of it is tried
_MOST_ENDS = 512  # range ends that are tried on each side of zero


@dataclass(frozen=True)
class Method:
    """How ranges are chosen; `percent` is what each side must hold of all values, 100 unless it is a percentile."""

    name: str
    percent: float = 100.0

    def __str__(self) -> str:
        return f"{self.name}:{self.percent:g}" if self.name == "percentile" else self.name


def parse(text: str) -> Method:
    """The method that `Plan.ranges` names: `min-max`, `percentile:99.9` or `mse`. Raises EdgepressError."""
    name, colon, value = text.partition(":")
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, 1)
        raise EdgepressError(
            f"unknown choice of ranges {text!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            f"known: {', '.join(METHODS)}",
        )
    if name != "percentile":
        if colon:
            raise EdgepressError(f"{name} ranges take no value, not {value!r}")
        return Method(name)
    try:
        percent = float(value)
    except ValueError:
        raise EdgepressError(f"ranges {text!r} lack a percentage", "write percentile:99.9") from None
    if not 50 < percent <= 100:
        raise EdgepressError(f"a percentile of {percent:g} is not above 50 and at most 100", "write percentile:99.9")
    return Method(name, percent)


@dataclass(frozen=True)
class Seen:
    """All values that one tensor took: `values` (bins,) ascending, `counts` (bins,) how often, and the exact ends."""

    values: np.ndarray
    counts: np.ndarray
    low: float
    high: float


def observe(model: bytes, examples: np.ndarray) -> dict[str, Seen]:
    """What every activation of the float `model` was, by the name of its tensor. `examples`: (n, ...) float32.

    Raises EdgepressError for a model that does not run, or gives numbers that are not finite.
    """
    graph = flatbuffer.graphs(model)[0]
    watched = [
        i
        for i in dict.fromkeys([*graph.inputs, *(i for op in graph.ops for i in op.outputs)])
        if graph.tensors[i].dtype == "float32" and not graph.tensors[i].is_weight
    ]
    counts = {i: np.zeros(_BINS, np.int64) for i in watched}
    ends = dict.fromkeys(watched, (np.inf, -np.inf))
    interpreter = open_glass(model)
    for example in examples:
        interpreter.reset_all_variables()
        interpreter.set_tensor(graph.inputs[0], example[np.newaxis])
        interpreter.invoke()
        for i in watched:
            values = np.ascontiguousarray(interpreter.get_tensor(i), np.float32).reshape(-1)
            low, high = float(values.min()), float(values.max())
            if not np.isfinite(low) or not np.isfinite(high):
                raise EdgepressError(
                    f"{flatbuffer.short(graph.tensors[i].name)} overflows: it gives {low:g} to {high:g}",
                    "train it again with a lower --lr",
                )
            counts[i] += np.bincount(values.view(np.uint32) >> _DROPPED_BITS, minlength=_BINS)
            ends[i] = (min(ends[i][0], low), max(ends[i][1], high))
    return {graph.tensors[i].name: _seen(counts[i], *ends[i]) for i in watched}


def _seen(counts: np.ndarray, low: float, high: float) -> Seen:
    """The bins that hold something, in the order of their values."""
    index = np.flatnonzero(counts)
    first = (index.astype(np.uint32) << _DROPPED_BITS).view(np.float32).astype(np.float64)
    last = ((index.astype(np.uint32) << _DROPPED_BITS) | ((1 << _DROPPED_BITS) - 1)).view(np.float32)
    middle = (first + last) / 2
    # Zero is what a ReLU gives most of the time, and is stored exactly.
    middle[np.isin(index, (0, _BINS >> 1))] = 0.0
    order = np.argsort(middle, kind="stable")
    return Seen(np.clip(middle[order], low, high), counts[index][order], low, high)


def range_of(seen: Seen, method: Method, *, levels: int = 256) -> Range:
    """(low, high) of one tensor that is to be stored in so many `levels`."""
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    if method.name == "percentile":
        return max(low, min(0.0, _percentile(seen, 100 - method.percent))), min(
            high, max(0.0, _percentile(seen, method.percent))
        )
    if method.name == "mse":
        return _least_error(seen, low, high, levels)
    return low, high


def _percentile(seen: Seen, percent: float) -> float:
    """The least value that `percent` of all do not exceed."""
    if percent <= 0:
        return seen.low
    if percent >= 100:
        return seen.high
    running = np.cumsum(seen.counts)
    return float(seen.values[np.searchsorted(running, percent / 100 * running[-1])])


def _least_error(seen: Seen, low: float, high: float, levels: int) -> Range:
    """The range that minimises the expected squared error of what is stored (Nagel et al. 2021, arXiv:2106.08295,
    section 3.1, "MSE"), for the values that were seen.

    With a step s = (high - low) / (levels - 1), a value beyond an end becomes that end, one below s / 2 becomes zero,
    and every other one is off by s^2 / 12 on average (Bennett 1948).
    """
    below, above = _ends(-seen.values[::-1], -low), _ends(seen.values, high)
    step = (below[:, np.newaxis] + above) / (levels - 1)
    # Sums over the values from the smallest up to each, on both sides of zero
    negative = _Moments(-seen.values[::-1], seen.counts[::-1])
    positive = _Moments(seen.values, seen.counts)
    error = negative.beyond(below)[:, np.newaxis] + positive.beyond(above)
    error = error + negative.rounded(below[:, np.newaxis], step) + positive.rounded(above, step)
    row, column = np.unravel_index(int(np.argmin(error)), error.shape)
    return 0.0 - float(below[row]), float(above[column])


def _ends(values: np.ndarray, largest: float) -> np.ndarray:
    """Where a range may end on one side: at values that were seen, up to `largest`; at zero where there are none."""
    if largest <= 0:
        return np.zeros(1)
    inside = values[(values >= largest * _NARROWEST) & (values < largest)]
    thinned = inside[np.unique(np.linspace(0, max(0, len(inside) - 1), min(len(inside), _MOST_ENDS)).astype(np.int64))]
    return np.append(thinned, largest)


class _Moments:
    """Running sums over the positive ones of ascending `values`."""

    def __init__(self, values: np.ndarray, counts: np.ndarray) -> None:
        positive = values > 0
        self.values = values[positive]
        terms = [counts[positive] * self.values**power for power in (0, 1, 2)]
        self.sums = [np.concatenate([[0.0], np.cumsum(term)]) for term in terms]

    def beyond(self, end: np.ndarray) -> np.ndarray:
        """Sum of (x - end)^2 over the values x above each `end`."""
        place = np.searchsorted(self.values, end, "right")
        count, total, squares = (sums[-1] - sums[place] for sums in self.sums)
        return np.maximum(0.0, squares - 2 * end * total + end**2 * count)

    def rounded(self, end: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Error of the values up to `end`: x^2 below half a step, step^2 / 12 each above."""
        last = np.searchsorted(self.values, end, "right")
        small = np.minimum(np.searchsorted(self.values, step / 2, "right"), last)
        return self.sums[2][small] + (self.sums[0][last] - self.sums[0][small]) * step**2 / 12
