"""From clips of any length to windows of one length: where the word is, and pieces of sound around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BLOCK_MS = 20
_DEPTH_DB = 30.0  # what lies further below the loudest block is not speech


@dataclass(frozen=True)
class Span:
    """A stretch of samples, from `start` up to `stop`."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def spoken(samples: np.ndarray, rate_hz: int) -> Span:
    """Where the voice is in a clip of one utterance: from the first loud block to the last, (n,) int16.

    A block of 20 ms is loud when it lies less than 30 dB below the loudest and clearly above the quietest tenth.
    Single loud blocks far away from the rest (clicks) do not count. A silent clip is spoken throughout.
    """
    block = rate_hz * _BLOCK_MS // 1000
    count = len(samples) // block
    if count < 3:
        return Span(0, len(samples))
    power = np.mean(samples[: count * block].reshape(count, block).astype(np.float64) ** 2, axis=1)
    # The median of three blocks, or one click would be taken for a word.
    padded = np.pad(power, 1, mode="edge")
    level = 10 * np.log10(np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0) + 1e-3)
    floor = float(np.quantile(level, 0.1))
    threshold = max(level.max() - _DEPTH_DB, floor + 0.35 * (level.max() - floor))
    loud = np.flatnonzero(level >= threshold)
    if level.max() - floor < 3 or not len(loud):
        return Span(0, len(samples))
    return Span(int(loud[0]) * block, min(len(samples), (int(loud[-1]) + 1) * block))


def around(span: Span, length: int, *, rng: np.random.Generator | None = None) -> int:
    """Where a window of `length` samples begins that holds all of `span`; it may begin before the clip does.

    The span lies in the middle, or with `rng` anywhere. One that is longer than `length` loses its ends alike.
    """
    free = length - len(span)
    before = free // 2 if rng is None or free <= 0 else int(rng.integers(0, free + 1))
    return span.start - before


def piece(samples: np.ndarray, start: int, length: int) -> np.ndarray:
    """`samples[start : start + length]` as (length,), with silence for what lies outside."""
    result = np.zeros(length, samples.dtype)
    low, high = max(0, start), min(len(samples), start + length)
    if low < high:
        result[low - start : high - start] = samples[low:high]
    return result
