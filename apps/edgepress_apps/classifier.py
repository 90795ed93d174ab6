"""The camera classifier without its wiring: frames in, labelled frames out. Opens, prints and waits for nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Callable

from edgepress_apps.cameras import Frame
from edgepress_runtime.classify import Classifier, Score


@dataclass(frozen=True)
class Labelled:
    """A frame with its answers: `scores` best first, and the milliseconds from pixels to scores."""

    frame: Frame
    scores: tuple[Score, ...]
    latency_ms: float


def label_frames(
    frames: Iterable[Frame],
    classifier: Classifier,
    *,
    top: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Labelled]:
    """Classify `frames` as they come; `top` answers each (fewer if there are fewer labels). `clock` counts seconds."""
    for frame in frames:
        begin = clock()
        scores = classifier.top(frame.pixels, top)
        yield Labelled(frame, scores, (clock() - begin) * 1e3)
