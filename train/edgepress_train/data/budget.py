"""Fewer labels than there are: for studies, and for whoever wants to know what more of them would buy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepress_runtime.errors import EdgepressError
from edgepress_train.data.dataset import Split


@dataclass(frozen=True)
class Budget:
    """At most `fraction` of each class's training examples, and at most `per_class` of them (0: no such bound)."""

    fraction: float = 1.0
    per_class: int = 0
    seed: int = 0

    @property
    def whole(self) -> bool:
        return self.fraction >= 1 and not self.per_class


def kept(split: Split, budget: Budget) -> Split:
    """The part of `split` that `budget` allows, in its order; at least one example of each class.

    A smaller budget of the same seed is a part of a larger one.
    """
    if budget.whole:
        return split
    if split.targets is not None and budget.per_class:
        raise EdgepressError(
            "these examples have soft labels, which are not of one class", "give --label-fraction instead"
        )
    index = []
    for label in np.unique(split.labels):
        own = np.flatnonzero(split.labels == label)
        order = np.random.default_rng([budget.seed, int(label)]).permutation(own)
        most = max(1, round(budget.fraction * len(own)))
        index.append(order[: min(most, budget.per_class or most)])
    return split.take(np.sort(np.concatenate(index)))
