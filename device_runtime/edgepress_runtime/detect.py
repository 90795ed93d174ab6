"""From a stream of scores to detections: averaging, thresholds, and one event for one utterance.

Averages are kept as sums of whole numbers (scores in units of 2^-24, the last bit of a float32 near 1), which do not
depend on the order of adding. So a detector that is fed one step at a time and `smooth` over a whole stream agree to
the bit, at a cost that does not grow with the time averaged over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import DetectionSpec

_ONE = 1 << 24


class Detection(NamedTuple):
    """One event: `score` is the average that reached the threshold of `label`.

    The score rests on the sound from `start_s` to `end_s`, in seconds since the start of the stream: all windows that
    were averaged. The word lies somewhere in it, near its end; `end_s` is also the moment of the decision.
    """

    label: str
    score: float
    start_s: float
    end_s: float

    def facts(self) -> dict[str, Any]:
        """The fields for machines, the times to a millisecond."""
        return {**self._asdict(), "start_s": round(self.start_s, 3), "end_s": round(self.end_s, 3)}


class Detector:
    """Watches the labels that have a threshold. A row of scores comes every `step_ms`, from `window_ms` of sound.

    A label fires when its average over `spec.smoothing_ms` is at its threshold or above (steps before the start of the
    stream count as 0). It is then deaf until `spec.refractory_ms` have passed *and* its average has been below the
    threshold once after that: a tail of high scores is one event, however long it lasts or flickers.

    Of several labels that are at their thresholds in the same step, the one that exceeds its own by most fires. The
    others, and those that get there while the average still holds steps from before, are rivals for the same utterance:
    they are deaf with it. Later ones fire at once, so that a command may follow its wake word closely.
    """

    def __init__(
        self,
        labels: Sequence[str],
        thresholds: Mapping[str, float],
        spec: DetectionSpec,
        step_ms: float,
        *,
        window_ms: float = 0.0,
    ) -> None:
        for label, threshold in thresholds.items():
            if label not in labels:
                raise EdgepressError(f"there is a threshold for {label!r}, which is not among the labels")
            if not 0 < threshold <= 1e3:
                raise EdgepressError(f"the threshold of {label!r} should be above 0, not {threshold}")
        self._steps = averaged(spec, step_ms)
        self._deaf = math.ceil(spec.refractory_ms / step_ms - 1e-6)
        self._span_s = (window_ms + (self._steps - 1) * step_ms) / 1e3
        watched = [label for label in labels if label in thresholds]
        self._labels = watched
        # Column and least sum of each watched label.
        self._watched = [(list(labels).index(w), _least_sum(thresholds[w], self._steps)) for w in watched]
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new stream begins."""
        count = len(self._labels)
        self._step = 0
        self._ring = [[0] * count for _ in range(self._steps)]
        self._sums = [0] * count
        self._armed = [True] * count
        self._deaf_until = [0] * count
        self._rivals_until = 0

    def push(self, scores: np.ndarray | Sequence[float], end_s: float) -> Detection | None:
        """One row of scores, (labels,), of the step that ends at `end_s`; the detection that it completes, if any.

        Raises EdgepressError for a score that is no number.
        """
        step = self._step = self._step + 1
        kept, sums, armed = self._ring[step % self._steps], self._sums, self._armed
        crossing = []
        for i, (column, least) in enumerate(self._watched):
            try:
                score = math.floor(float(scores[column]) * _ONE + 0.5)
            except (ValueError, OverflowError):
                raise no_number() from None
            sums[i] += score - kept[i]
            kept[i] = score
            if sums[i] >= least:
                if armed[i]:
                    crossing.append(i)
            elif step >= self._deaf_until[i]:
                armed[i] = True
        return self._decide(crossing, end_s) if crossing else None

    def _decide(self, crossing: list[int], end_s: float) -> Detection | None:
        rivals = self._step < self._rivals_until
        for i in crossing:
            self._armed[i] = False
            self._deaf_until[i] = self._step + self._deaf
        if rivals:
            return None
        self._rivals_until = self._step + self._steps
        best = max(crossing, key=lambda i: self._sums[i] - self._watched[i][1])
        return Detection(
            self._labels[best], _average(self._sums[best], self._steps), max(0.0, end_s - self._span_s), end_s
        )


def averaged(spec: DetectionSpec, step_ms: float) -> int:
    """How many steps of `step_ms` an average is taken over: at least one."""
    if not step_ms > 0:
        raise EdgepressError(f"a step should take some time, not {step_ms} ms")
    return max(1, math.floor(spec.smoothing_ms / step_ms + 0.5))


def smooth(scores: np.ndarray, spec: DetectionSpec, step_ms: float) -> np.ndarray:
    """The averages of a whole stream at once: (steps, labels) -> (steps, labels) float32, the Detector's to the bit.

    Row i averages the rows up to i, of which those before the start are 0. A label fires where its column is at or
    above its threshold as a float32.
    """
    real = np.asarray(scores, np.float64)
    if not np.isfinite(real).all():
        raise no_number()
    steps = averaged(spec, step_ms)
    sums = np.cumsum(np.floor(real * _ONE + 0.5).astype(np.int64), axis=0)
    sums[steps:] -= sums[:-steps].copy()
    return (sums / (steps * _ONE)).astype(np.float32)


def no_number() -> EdgepressError:
    """What to raise for scores that hold a NaN or an infinity."""
    return EdgepressError(
        "the model answered with something that is no number (NaN or infinite)", "train or convert it again"
    )


def _average(total: int, steps: int) -> float:
    return float(np.float32(total / (steps * _ONE)))


def _least_sum(threshold: float, steps: int) -> int:
    """The smallest sum of `steps` scores whose average, a float32, is not below `threshold` as a float32."""
    wanted = float(np.float32(threshold))
    least = math.ceil(wanted * steps * _ONE)
    while _average(least - 1, steps) >= wanted:
        least -= 1
    return least
