"""From scores to detections: the averages against plain arithmetic, and which event an utterance gives."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_runtime.detect import Detector, averaged, smooth
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import DetectionSpec

LABELS = ("unknown", "left", "right")
STEP_MS = 40.0
SPEC = DetectionSpec(window_frames=20, smoothing_ms=120, refractory_ms=1000)
PLAIN = DetectionSpec(window_frames=20, smoothing_ms=0, refractory_ms=1000)


def detector(spec=PLAIN, thresholds=None, **options) -> Detector:
    return Detector(LABELS, thresholds or {"left": 0.6, "right": 0.5}, spec, STEP_MS, **options)


def fed(watch: Detector, rows, *, begin: int = 0):
    """(step, label) of every detection in `rows`, which are (left, right), or left alone."""
    found = []
    for step, row in enumerate(rows, begin):
        left, right = row if isinstance(row, tuple) else (row, 0.0)
        detection = watch.push(np.array([1 - left - right, left, right], np.float32), (step + 1) * STEP_MS / 1e3)
        if detection:
            found.append((step, detection.label))
    return found


def seconds(of: float) -> int:
    return round(of * 1e3 / STEP_MS)


# ---- averages


def test_the_average_is_that_of_the_last_rows():
    scores = np.array([[0.25], [0.5], [1.0], [0.0], [0.0]], np.float32)
    expected = np.array([[0.25 / 3], [0.75 / 3], [1.75 / 3], [0.5], [1 / 3]])
    np.testing.assert_array_equal(smooth(scores, SPEC, STEP_MS), expected.astype(np.float32))


@pytest.mark.parametrize(("smoothing_ms", "steps"), [(0, 1), (19, 1), (20, 1), (40, 1), (59, 1), (61, 2), (1000, 25)])
def test_how_many_rows_are_averaged(smoothing_ms, steps):
    assert averaged(DetectionSpec(1, smoothing_ms, 0), STEP_MS) == steps


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.integers(1, 20),
    st.sampled_from(["bytes", "floats", "tiny"]),
)
def test_one_row_at_a_time_agrees_to_the_bit_with_a_whole_stream(seed, rows, steps, kind):
    rng = np.random.default_rng(seed)
    scores = rng.random((rows, 2), np.float32)
    if kind == "bytes":
        scores = np.floor(scores * 256) / np.float32(256)
    elif kind == "tiny":
        scores *= np.float32(1e-6)
    spec = DetectionSpec(1, steps * STEP_MS, 0)
    whole = smooth(scores, spec, STEP_MS)
    # With a threshold that any average reaches, every row fires and so tells its average.
    for column in range(2):
        chosen = float(whole[rng.integers(rows), column])
        if chosen <= 0:
            continue
        watch = Detector(("a", "b"), {"ab"[column]: chosen}, spec, STEP_MS)
        for i, row in enumerate(scores):
            watch._armed[0], watch._rivals_until = True, 0
            detection = watch.push(row, 0.0)
            assert (detection is not None) == bool(whole[i, column] >= np.float32(chosen))
            assert detection is None or detection.score == whole[i, column]


def test_the_average_is_exact_to_half_a_unit():
    rng = np.random.default_rng(3)
    scores = np.floor(rng.random((50, 1)) * 256).astype(np.float32) / np.float32(256)
    found = smooth(scores, DetectionSpec(1, 7 * STEP_MS, 0), STEP_MS)
    for i in range(50):
        exact = sum(Fraction(float(s)) for s in scores[max(0, i - 6) : i + 1, 0]) / 7
        assert abs(Fraction(float(found[i, 0])) - exact) <= Fraction(1, 2**24)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number(wrong):
    scores = np.array([[0.5, wrong, 0.5]], np.float32)
    with pytest.raises(EdgepressError, match="something that is no number"):
        detector().push(scores[0], 0.0)
    with pytest.raises(EdgepressError, match="something that is no number"):
        smooth(scores, SPEC, STEP_MS)


# ---- events


def test_a_long_tail_of_high_scores_is_one_event():
    assert fed(detector(), [0.1] * 10 + [0.9] * seconds(8) + [0.1] * 10) == [(10, "left")]


def test_two_utterances_three_seconds_apart_are_two_events():
    rows = ([0.1] * seconds(1) + [0.9] * seconds(0.8) + [0.1] * seconds(1.2)) * 2
    assert fed(detector(), rows) == [(seconds(1), "left"), (seconds(4), "left")]


def test_a_tail_that_dips_within_the_refractory_time_is_one_event():
    rows = [0.9] * seconds(0.4) + [0.1] * 2 + [0.9] * seconds(3)
    assert fed(detector(), rows) == [(0, "left")]


def test_a_label_is_armed_by_a_low_score_after_the_refractory_time():
    spec = DetectionSpec(20, 0, 10 * STEP_MS)
    assert fed(detector(spec), [0.9] + [0.1] * 9 + [0.9] * 3) == [(0, "left")]
    assert fed(detector(spec), [0.9] + [0.1] * 10 + [0.9] * 3) == [(0, "left"), (11, "left")]
    assert fed(detector(spec), [0.9] * 10 + [0.1] + [0.9]) == [(0, "left"), (11, "left")]


def test_without_a_refractory_time_each_crossing_is_an_event():
    spec = DetectionSpec(20, 0, 0)
    assert fed(detector(spec), [0.9, 0.1, 0.9, 0.9, 0.1, 0.9]) == [(0, "left"), (2, "left"), (5, "left")]


def test_a_refractory_time_that_is_no_whole_number_of_steps_is_rounded_up():
    assert fed(detector(DetectionSpec(20, 0, 41)), [0.9, 0.1, 0.9, 0.1, 0.9]) == [(0, "left"), (4, "left")]
    assert fed(detector(DetectionSpec(20, 0, 80)), [0.9, 0.1, 0.1, 0.9]) == [(0, "left"), (3, "left")]


def test_of_two_that_cross_at_once_the_larger_margin_fires_and_the_other_never():
    watch = detector(thresholds={"left": 0.3, "right": 0.4})
    assert fed(watch, [(0.1, 0.1), (0.45, 0.5)] + [(0.45, 0.5)] * seconds(3)) == [(1, "left")]  # 0.15 against 0.1
    watch = detector(thresholds={"left": 0.3, "right": 0.4})
    assert fed(watch, [(0.1, 0.1), (0.35, 0.6)] + [(0.5, 0.1)] * seconds(3)) == [(1, "right")]


def test_a_rival_that_crosses_within_the_average_is_the_same_utterance():
    watch = detector(SPEC, {"left": 0.3, "right": 0.3})
    rows = [(0.96, 0.0)] + [(0.0, 0.96)] * seconds(0.8) + [(0.0, 0.0)] * 5
    assert fed(watch, rows) == [(0, "left")]


def test_a_command_may_follow_its_wake_word_closely():
    rows = [(0.96, 0.0)] * seconds(0.4) + [(0.0, 0.96)] * seconds(1)
    assert fed(detector(SPEC), rows) == [(1, "left"), (seconds(0.4) + 1, "right")]


def test_labels_without_a_threshold_never_fire():
    assert fed(detector(thresholds={"right": 0.5}), [0.99] * 50) == []
    assert fed(Detector(LABELS, {}, PLAIN, STEP_MS), [0.99] * 50) == []


def test_the_threshold_itself_fires():
    assert fed(detector(thresholds={"left": 0.75}), [0.75]) == [(0, "left")]
    assert fed(detector(thresholds={"left": float(np.nextafter(0.75, 1, dtype=np.float32))}), [0.75]) == []


def test_reset_begins_anew():
    watch = detector(SPEC)
    assert fed(watch, [0.96] * 4) == [(1, "left")]
    watch.reset()
    assert fed(watch, [0.96] * 4) == [(1, "left")]


def test_the_times_are_those_of_the_sound_that_the_score_rests_on():
    watch = detector(SPEC, window_ms=400)
    for step in range(20):
        detection = watch.push([0.0, 0.96 if step >= 15 else 0.0, 0.0], (step + 1) * STEP_MS / 1e3)
        if detection:
            break
    # Three windows of 400 ms, a step apart; the second high one lifts the average over 0.6.
    assert step == 17 - 1
    assert detection.score == pytest.approx(0.64)
    assert detection.end_s == pytest.approx(17 * 0.04)
    assert detection.start_s == pytest.approx(17 * 0.04 - 0.4 - 2 * 0.04)


def test_no_event_begins_before_the_stream_does():
    assert detector(window_ms=400).push([0, 1, 0], 0.04).start_s == 0.0


@pytest.mark.parametrize(
    ("thresholds", "sentence"),
    [
        ({"up": 0.5}, "there is a threshold for 'up', which is not among the labels"),
        ({"left": 0.0}, "the threshold of 'left' should be above 0, not 0.0"),
        ({"left": -1.0}, "the threshold of 'left' should be above 0, not -1.0"),
        ({"left": math.nan}, "the threshold of 'left' should be above 0, not nan"),
    ],
)
def test_impossible_thresholds(thresholds, sentence):
    with pytest.raises(EdgepressError) as caught:
        detector(thresholds=thresholds)
    assert caught.value.what == sentence


def test_a_step_takes_time():
    with pytest.raises(EdgepressError, match="a step should take some time, not 0 ms"):
        Detector(LABELS, {}, SPEC, 0)
