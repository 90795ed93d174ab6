"""What removing channels saves, and which of them go so that a net costs no more than it may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgepress_convert.compress.units import Dependencies, Group, Kernel


@dataclass(frozen=True)
class Costs:
    """Multiply-accumulates as a function of how many units of each group are left.

    Each kernel takes `places` x (`fixed`[0] + `share`[0] @ left) x (`fixed`[1] + `share`[1] @ left): at most two of its
    axes are channels. `places` (kernels,), `fixed` (2, kernels), `share` (2, kernels, groups), all float64.
    """

    places: np.ndarray
    fixed: np.ndarray
    share: np.ndarray

    def macs(self, left: np.ndarray) -> np.ndarray:
        """(..., groups) units left -> (...) multiply-accumulates."""
        axes = self.fixed[:, :, np.newaxis] + np.einsum("akg,...g->ak...", self.share, left).reshape(
            *self.fixed.shape, -1
        )
        return (self.places @ axes.prod(axis=0)).reshape(np.shape(left)[:-1])


def costs(found: Dependencies) -> Costs:
    """The multiply-accumulates of convolutions and dense layers; what unknown layers reckon is not in it."""
    number = np.full(found.units, -1)
    for index, group in enumerate(found.groups):
        number[group.units] = index
    places = np.zeros(len(found.kernels))
    fixed = np.ones((2, len(found.kernels)))
    share = np.zeros((2, len(found.kernels), len(found.groups)))
    for row, kernel in enumerate(found.kernels):
        sliced = [slot for slot in found.slots if _of(kernel, slot.layer, slot.weight)]
        assert len(sliced) <= 2, kernel.layer
        rest = np.delete(np.array(kernel.shape), [slot.axis for slot in sliced])
        places[row] = kernel.places * rest.prod()
        for axis, slot in enumerate(sliced):
            groups = number[slot.units]
            fixed[axis, row] = np.count_nonzero(groups < 0)
            share[axis, row] = np.bincount(groups[groups >= 0], minlength=len(found.groups)) / sizes(found)
    return Costs(places, fixed, share)


def _of(kernel: Kernel, layer: str, weight: int) -> bool:
    return (kernel.layer, kernel.weight) == (layer, weight)


def sizes(found: Dependencies) -> np.ndarray:
    """How many units each group has, (groups,)."""
    return np.array([len(group.units) for group in found.groups])


def floors(found: Dependencies, *, share: float, multiple: int) -> dict[str, int]:
    """The fewest units that each group, by name, may be left with: `share` of them, up to a multiple of channels."""
    return {
        group.name: _up(max(1, int(np.ceil(share * len(group.units)))), _step(group, multiple), len(group.units))
        for group in found.groups
    }


def choose(
    found: Dependencies,
    importance: np.ndarray,
    *,
    macs: float,
    priced: bool,
    floors: Mapping[str, int],
    multiple: int,
) -> np.ndarray:
    """Which units go, (units,) bool, so that the net takes at most `macs`, or as near as the floors allow.

    Each group gives up its least important units, in blocks that leave multiples of `multiple` filters where it can;
    again and again the block goes that matters least, by the mean of its units or, with `priced`, by their sum for each
    multiply-accumulate that has to go and goes with it. In the end blocks that were not needed come back. `importance`
    (units,) is that of each unit by itself.
    """
    table, left = costs(found), sizes(found)
    orders = [group.units[np.argsort(importance[group.units], kind="stable")] for group in found.groups]
    gone: list[tuple[int, int]] = []  # (group, units left before)
    nexts = np.array([_below(group, int(n), floors, multiple) for group, n in zip(found.groups, left, strict=True)])
    while table.macs(left) > macs and (nexts < left).any():
        saved = table.macs(left) - table.macs(left - np.diag(left - nexts))
        lost = np.array(
            [importance[o[len(o) - a : len(o) - b]].sum() for o, a, b in zip(orders, left, nexts, strict=True)]
        )
        bought = np.minimum(saved, table.macs(left) - macs) if priced else left - nexts
        price = np.where(nexts < left, lost / np.maximum(bought, 1.0), np.inf)
        best = int(np.argmin(price))
        gone.append((best, int(left[best])))
        left[best] = nexts[best]
        nexts[best] = _below(found.groups[best], int(left[best]), floors, multiple)
    for index, before in reversed(gone):
        more = left.copy()
        more[index] = before
        # Only what a group lost last can come back, or its blocks would be torn
        if table.macs(more) <= macs and not any(i == index and left[index] < n < before for i, n in gone):
            left = more
    removed = np.zeros(found.units, bool)
    for order, n in zip(orders, left, strict=True):
        removed[order[: len(order) - n]] = True
    return removed


def _below(group: Group, n: int, floors: Mapping[str, int], multiple: int) -> int:
    """The next smaller size of a group of `n`; `n` itself where there is none."""
    step = _step(group, multiple)
    smaller = (n - 1) // step * step
    return smaller if smaller >= floors[group.name] else n


def _step(group: Group, multiple: int) -> int:
    """Units that make up a multiple of filters."""
    return max(1, multiple // int(np.gcd(multiple, group.channels)))


def _up(n: int, step: int, most: int) -> int:
    return min(most, -(-n // step) * step)
