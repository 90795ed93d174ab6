from __future__ import annotations

import numpy as np
import pytest

from edgepress_train.data.windows import Span, around, piece, spoken

RATE = 16_000


def burst(before_s: float, during_s: float, after_s: float, *, noise: float = 3.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(0, level, round(seconds * RATE))
             for seconds, level in ((before_s, noise), (during_s, 3000.0), (after_s, noise))]  # fmt: skip
    return np.concatenate(parts).astype(np.int16)


@pytest.mark.parametrize("noise", [0.0, 3.0, 100.0])
@pytest.mark.parametrize(("before", "after"), [(1.0, 0.5), (0.0, 2.0), (0.7, 0.0)])
def test_the_loud_part_is_found_to_the_block(before, after, noise):
    found = spoken(burst(before, 0.6, after, noise=noise), RATE)
    assert abs(found.start / RATE - before) <= 0.04 and abs(found.stop / RATE - before - 0.6) <= 0.04


def test_a_click_is_no_word():
    samples = burst(1.0, 0.6, 1.0)
    samples[1600:1604] = 4000
    assert abs(spoken(samples, RATE).start / RATE - 1.0) <= 0.04


def test_silence_steady_noise_and_crumbs_are_taken_whole():
    steady = np.random.default_rng(0).normal(0, 500, RATE).astype(np.int16)
    for samples in (np.zeros(RATE, np.int16), steady, np.zeros(0, np.int16), np.ones(100, np.int16)):
        assert spoken(samples, RATE) == Span(0, len(samples))


def test_a_window_holds_the_whole_span_wherever_it_lies():
    rng = np.random.default_rng(0)
    starts = {around(Span(100, 400), 1000, rng=rng) for _ in range(2000)}
    assert min(starts) == 400 - 1000 and max(starts) == 100 and len(starts) > 500
    assert around(Span(100, 400), 1000) == 250 - 500
    assert around(Span(0, 3000), 1000) == 1000  # longer than the window: its middle


def test_pieces_reach_beyond_the_clip_into_silence():
    samples = np.arange(1, 6, dtype=np.int16)
    assert piece(samples, -2, 4).tolist() == [0, 0, 1, 2]
    assert piece(samples, 3, 4).tolist() == [4, 5, 0, 0]
    assert piece(samples, 9, 2).tolist() == [0, 0] and piece(samples, -9, 2).tolist() == [0, 0]
