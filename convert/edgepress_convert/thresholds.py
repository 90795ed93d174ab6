"""Thresholds for keywords: the lowest that keep to a rate of false alarms, and what can be said about that rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgepress_convert.spotting import events

LOWEST = 0.2  # a lower average is no answer, however quiet the negatives were
HIGHEST = 0.99  # int8 scores end at 255/256, and an average must be able to get there
# Where the hours are too few to show the rate that is wanted: no false alarm, and above the highest score that was seen
# this share of what then is left to 1.
MARGIN = 0.25
TAIL = 20  # the loudest false alarms that a rate below them is told from
_FEWEST_OF_TAIL = 8
_FARTHEST = 0.1  # of a false alarm in the hours that were heard: beyond that a tail tells nothing
USUAL = 0.5  # without anything to choose on
_FEWEST = 10  # windows of a keyword, and of anything else, that a threshold can be chosen on
_ROUNDING = 1e4


@dataclass(frozen=True)
class Choice:
    """A threshold with the false alarms that it causes on the negatives by itself; `rule` says how it was chosen."""

    threshold: float
    false_alarms: int
    rule: str


def for_stream(averages: np.ndarray, deaf: int, hours: float, per_hour: float) -> Choice:
    """The lowest threshold at which one label fires at most `per_hour` times an hour.

    `averages` (steps,) are the label's on `hours` of sound without its word (see `spotting.joined`). Where even one
    false alarm would be more than that, the rate is told from the loudest ones (see `beyond`), or where there are too
    few of them none is allowed and a margin is added.
    """
    allowed = math.floor(per_hour * hours + 1e-9)
    levels = np.unique(averages[averages >= LOWEST])
    # Between two levels nothing changes; a higher threshold hardly ever fires more often, so halving finds the place.
    low, high = -1, len(levels) - 1  # a threshold just above levels[high] is known to do
    while high - low > 1:
        middle = (low + high) // 2
        if events(averages, _above(levels[middle]), deaf) <= allowed:
            high = middle
        else:
            low = middle
    threshold = LOWEST if events(averages, LOWEST, deaf) <= allowed else _above(levels[high])
    rule = f"the lowest with at most {allowed} false alarms"
    tail = beyond(averages, deaf, per_hour * hours) if not allowed and len(averages) else None
    if tail is not None:
        threshold = tail
        rule = f"where the loudest false alarms, fewer as it rises, come to {per_hour:g} an hour"
    elif not allowed and len(averages):
        top = float(averages.max())
        threshold = max(threshold, top + MARGIN * (1 - top))
        rule = f"no false alarm, and {100 * MARGIN:.0f} % of the way from the highest score to 1"
    threshold = round(min(HIGHEST, max(LOWEST, threshold)), 4)
    return Choice(threshold, events(averages, threshold, deaf), rule)


def beyond(averages: np.ndarray, deaf: int, wanted: float) -> float | None:
    """The threshold at which `wanted` false alarms, fewer than one, are expected; None with too little to tell from.

    Above the (k + 1)-th loudest, u, the log-odds x of the k loudest are taken to fall off exponentially, so that
    threshold = u + mean(x - u) * ln(k / wanted): the exponential tail of Weissman 1978, J. Am. Stat. Assoc. 73:812. One
    odd sound then does not decide alone, as it does where the threshold must lie above all.
    """
    if wanted < _FARTHEST:
        return None
    levels = np.unique(averages[averages >= LOWEST])
    loudest: list[float] = []
    for count in range(TAIL + 1):
        low, high = -1, len(levels)
        while high - low > 1:  # the highest level at which more than `count` are heard
            middle = (low + high) // 2
            if events(averages, float(levels[middle]), deaf) > count:
                low = middle
            else:
                high = middle
        if low < 0:
            break
        loudest.append(float(levels[low]))
    if len(loudest) <= _FEWEST_OF_TAIL:
        return None
    odds = np.array([math.log(level / (1 - level)) for level in np.clip(loudest, 0, 1 - 1e-6)])
    place = odds[-1] + float(np.mean(odds[:-1] - odds[-1])) * math.log((len(odds) - 1) / wanted)
    return 1 / (1 + math.exp(-place))


def for_windows(scores: np.ndarray, is_word: np.ndarray) -> Choice:
    """The threshold with the best F1 of finding one label's windows; in the middle where a range of them is best.

    `scores` (n,) are the label's on whole windows, `is_word` (n,) bool which of them hold its word. With fewer than ten
    of either it is 0.5.
    """
    if min(int(is_word.sum()), int((~is_word).sum())) < _FEWEST:
        return Choice(USUAL, int((scores[~is_word] >= USUAL).sum()), "the usual one: there are too few windows")
    grid = np.round(np.arange(LOWEST, HIGHEST, 0.01), 4)
    found = scores[:, np.newaxis] >= grid.astype(np.float32)
    right = found[is_word].sum(axis=0)
    f1 = 2 * right / (found.sum(axis=0) + is_word.sum())
    best = grid[f1 >= f1.max() - 1e-12]
    threshold = round(float(best[len(best) // 2]), 4)
    return Choice(threshold, int((scores[~is_word] >= threshold).sum()), "the best F1 on whole windows")


def at_most_per_hour(count: int, hours: float) -> float | None:
    """The rate that `count` events in `hours` rule out from above at 95 % confidence (Garwood 1936, Biometrika 28:437).

    3.0 / hours for none. None without any time.
    """
    if hours <= 0:
        return None
    low, high = float(count), 4.0 * count + 20.0
    for _ in range(60):
        middle = (low + high) / 2
        if _poisson_at_most(count, middle) > 0.05:
            low = middle
        else:
            high = middle
    return high / hours


def _poisson_at_most(count: int, mean: float) -> float:
    """The probability of `count` events or fewer where `mean` are expected."""
    logs = [k * math.log(mean) - mean - math.lgamma(k + 1) for k in range(count + 1)] if mean > 0 else [0.0]
    top = max(logs)
    return min(1.0, math.exp(top) * sum(math.exp(value - top) for value in logs))


def _above(level: float) -> float:
    """A short number just above `level`, as a float32 too, which is how it is compared."""
    value = (math.floor(float(level) * _ROUNDING) + 1) / _ROUNDING
    return value if np.float32(value) > np.float32(level) else value + 1 / _ROUNDING
