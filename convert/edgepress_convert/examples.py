"""Held-out examples of any kind, for comparing models on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

_CHUNK = 64


@dataclass(frozen=True)
class Examples:
    """`stored` (n, ...) as they lie in memory, `real(part)` as the model's input, float32, and `labels` (n,) or None.

    `noun` is what a person calls them, such as `pictures`.
    """

    stored: np.ndarray
    real: Callable[[np.ndarray], np.ndarray]
    labels: np.ndarray | None
    noun: str

    def __len__(self) -> int:
        return len(self.stored)

    def take(self, index: np.ndarray) -> np.ndarray:
        """The examples at `index` as the model's input, float32."""
        return self.real(np.asarray(self.stored[index]))

    def batches(self) -> Iterator[np.ndarray]:
        """All of them in turn as the model's input, 64 at a time."""
        for start in range(0, len(self.stored), _CHUNK):
            yield self.real(np.asarray(self.stored[start : start + _CHUNK]))
