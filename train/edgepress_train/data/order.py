"""Which examples make up which batch: a function of the step alone, so that a resumed training goes on as it would."""

from __future__ import annotations

import numpy as np


def steps_per_epoch(n: int, batch: int) -> int:
    """Whole batches in `n` examples, at least one."""
    return max(1, n // min(batch, n))


class Shuffled:
    """An endless stream of batches over `n` examples; each epoch is a permutation of its own.

    The last, incomplete batch of an epoch is left out; fewer than `batch` examples make one smaller batch.
    """

    def __init__(self, n: int, batch: int, *, seed: int) -> None:
        self.n, self.batch, self.seed = n, min(batch, n), seed
        self.steps_per_epoch = steps_per_epoch(n, batch)
        self._orders: dict[int, np.ndarray] = {}

    def index(self, step: int) -> np.ndarray:
        """The examples of batch number `step`: (batch,) int64."""
        epoch, position = divmod(int(step), self.steps_per_epoch)
        if epoch not in self._orders:
            self._orders.pop(epoch - 2, None)
            self._orders[epoch] = np.random.default_rng([self.seed, epoch]).permutation(self.n)
        return self._orders[epoch][position * self.batch : (position + 1) * self.batch]
