"""Thresholds against counting by hand and against the detector that ships; rates against printed tables."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgepress_convert import thresholds
from edgepress_convert.spotting import events, joined
from edgepress_runtime.detect import Detector, smooth
from edgepress_runtime.manifest import DetectionSpec

DEAF = 5


def bumps(*heights: float, apart: int = 20) -> np.ndarray:
    """Averages (steps,) that rise to each height for two steps and fall to 0 between."""
    found = np.zeros(apart * (len(heights) + 1), np.float32)
    for number, height in enumerate(heights, 1):
        found[apart * number : apart * number + 2] = height
    return found


@pytest.mark.parametrize("seed", range(12))
def test_events_are_those_of_the_detector(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spec = DetectionSpec(window_frames=10, smoothing_ms=float(rng.integers(0, 200)), refractory_ms=40.0 * DEAF)
    scores = np.clip(np.cumsum(rng.normal(0, 0.15, 600)) % 1.2, 0, 1).astype(np.float32)[:, np.newaxis]
    averages = smooth(scores, spec, 40.0)[:, 0]
    for threshold in (0.1, 0.5, 0.8, float(averages[300])):
        detector = Detector(("word",), {"word": threshold}, spec, 40.0)
        reported = sum(detector.push(row, 0.0) is not None for row in scores)
        assert events(averages, threshold, DEAF) == reported
        assert reported or threshold > averages.max()


def test_streams_one_behind_the_other_are_counted_as_by_themselves() -> None:
    rng = np.random.default_rng(0)
    streams = [rng.random(n).astype(np.float32) for n in (40, 3, 1, 90)]
    assert events(joined(streams, DEAF), 0.7, DEAF) == sum(events(one, 0.7, DEAF) for one in streams)
    assert events(joined([], DEAF), 0.5, DEAF) == 0


@pytest.mark.parametrize(
    ("hours", "per_hour", "threshold", "alarms"),
    [
        (2.0, 0.5, 0.8001, 1),  # one is allowed: just above the second highest
        (4.0, 0.5, 0.7001, 2),
        (100.0, 0.5, 0.2, 4),  # more than there are: the floor
        (1.0, 0.5, 0.925, 0),  # none can be allowed: a quarter of the way from 0.9 to 1
        (0.01, 10.0, 0.925, 0),
    ],
)
def test_the_lowest_threshold_that_keeps_the_rate(hours: float, per_hour: float, threshold: float, alarms: int) -> None:
    averages = bumps(0.5, 0.9, 0.7, 0.8)
    choice = thresholds.for_stream(averages, DEAF, hours, per_hour)
    assert (choice.threshold, choice.false_alarms) == (threshold, alarms)
    assert events(averages, choice.threshold, DEAF) == alarms
    if threshold > thresholds.LOWEST and alarms:
        assert events(averages, threshold - 0.001, DEAF) > per_hour * hours
    assert choice.rule.startswith("no false alarm" if not alarms else "the lowest with at most")


def test_a_threshold_stays_where_scores_can_reach_it() -> None:
    assert thresholds.for_stream(bumps(0.996), DEAF, 0.1, 0.5).threshold == thresholds.HIGHEST
    quiet = thresholds.for_stream(bumps(0.0), DEAF, 0.1, 0.5)
    assert quiet.threshold == thresholds.MARGIN
    assert thresholds.for_stream(np.zeros(0, np.float32), DEAF, 0.0, 0.5).threshold == thresholds.LOWEST


def test_on_windows_the_best_f1_wins_from_the_middle_of_its_range() -> None:
    scores = np.concatenate([np.full(20, 0.9), np.full(5, 0.5), np.full(30, 0.4)]).astype(np.float32)
    is_word = np.arange(55) < 25
    choice = thresholds.for_windows(scores, is_word)
    assert 0.4 < choice.threshold <= 0.5
    assert choice.false_alarms == 0
    few = thresholds.for_windows(scores[:26], is_word[:26])
    assert (few.threshold, few.rule) == (0.5, "the usual one: there are too few windows")


@pytest.mark.parametrize(
    ("count", "limit"),
    # One-sided 95 % limits of a Poisson mean: Gehrels 1986, Astrophysical Journal 303:336, table 1
    [(0, 2.996), (1, 4.744), (2, 6.296), (5, 10.51), (10, 16.96), (50, 63.29)],
)
def test_rates_that_are_ruled_out(count: int, limit: float) -> None:
    assert thresholds.at_most_per_hour(count, 2.0) == pytest.approx(limit / 2, rel=1e-3)
    assert thresholds.at_most_per_hour(count, 0.0) is None


def test_the_rate_beyond_what_was_heard_is_told_from_the_loudest() -> None:
    """Log-odds that fall off exponentially: the threshold of a rate is known, and found within a few percent."""
    rng = np.random.default_rng(0)
    hours, places = 0.5, []
    for _ in range(60):
        odds = rng.exponential(0.4, 300)  # so `300 * exp(-x / 0.4)` are expected above x in these hours
        averages = bumps(*(1 / (1 + np.exp(-odds))))
        choice = thresholds.for_stream(averages, DEAF, hours, 0.5)
        assert choice.rule.startswith("where the loudest")
        places.append(math.log(choice.threshold / (1 - choice.threshold)))
    assert np.mean(places) == pytest.approx(0.4 * math.log(300 / (0.5 * hours)), abs=0.2)


def test_one_odd_sound_does_not_decide_alone() -> None:
    heights = np.linspace(0.3, 0.6, 30)
    without = thresholds.beyond(bumps(*heights), DEAF, 0.4)
    with_one = thresholds.beyond(bumps(*heights, 0.985), DEAF, 0.4)
    assert without is not None and with_one is not None
    assert 0.6 < without < with_one < 0.985
    assert thresholds.beyond(bumps(0.5, 0.6, 0.7), DEAF, 0.4) is None
    assert thresholds.beyond(bumps(*heights), DEAF, 0.05) is None  # a rate far from what was heard
