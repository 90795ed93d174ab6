"""Timing calls in turn, and what is told of the times."""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Mapping, Sequence
from typing import Callable

import numpy as np

WARMUP = 10
MOST_SAMPLES = 10_000  # that a result lists
_PERIOD_S = 0.1

Call = Callable[[], object]
Progress = Callable[[int, int], None]


def in_turn(
    calls: Sequence[Call],
    *,
    runs: int = 1,
    seconds: float = 0.0,
    progress: Progress = lambda done, total: None,
    look: Callable[[], None] = lambda: None,
) -> list[array[float]]:
    """Milliseconds of each of `calls`, one of each in turn, after a warm-up: at least `runs` rounds and `seconds`.

    Ten times a second, between two rounds, `look()` is called, and `progress(rounds, runs)`; with `runs` 1
    `progress(seconds so far, seconds)`.
    """
    clock = time.perf_counter
    for call in calls:
        for _ in range(WARMUP):
            call()
    times = [array("d") for _ in calls]
    forth = list(zip(calls, times))
    back = forth[::-1]
    collecting = gc.isenabled()
    gc.disable()
    try:
        done, started = 0, clock()
        now = shown = started
        while done < runs or now - started < seconds:
            # The order changes each time: whoever comes second finds warmer caches.
            for call, taken in forth if done % 2 else back:
                begin = clock()
                call()
                taken.append((clock() - begin) * 1e3)
            done += 1
            now = clock()
            if now - shown >= _PERIOD_S:
                shown = now
                look()
                if done < runs:
                    progress(done, runs)
                elif runs == 1:
                    progress(int(now - started), round(seconds))
    finally:
        if collecting:
            gc.enable()
    return times


def latency(times_ms: Sequence[float]) -> Mapping[str, float]:
    """p50, p90, p99 and mean in milliseconds, and their number n."""
    p50, p90, p99 = (float(v) for v in np.percentile(times_ms, (50, 90, 99)))
    return {"p50": p50, "p90": p90, "p99": p99, "mean": float(np.mean(times_ms)), "n": len(times_ms)}


def thinned(times_ms: Sequence[float], most: int = MOST_SAMPLES) -> list[float]:
    """All of the times, or `most` of them, evenly taken, in their order."""
    if len(times_ms) <= most:
        return list(times_ms)
    return [times_ms[int(i)] for i in np.linspace(0, len(times_ms) - 1, most)]
