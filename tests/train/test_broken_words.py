from __future__ import annotations

import numpy as np

from edgepress_train.data.broken_words import broken
from edgepress_train.data.speech_examples import Clip
from edgepress_train.data.windows import Span

RATE = 16_000


def clips(count: int) -> list[Clip]:
    """A word whose samples rise from 1000 to 9000, with other talk (of -5000) on both sides."""
    samples = np.full(16_000, -5000, np.int16)
    samples[4000:12_000] = np.linspace(1000, 9000, 8000)
    return [Clip(samples, 0, span=Span(4000, 12_000))] * count


def test_a_beginning_an_end_and_halves_in_the_wrong_order():
    first, last, swapped = (clip.samples[80:-80].astype(int) for clip in broken(clips(3), 1, rate_hz=RATE))
    assert 0.3 * 8000 - 161 <= len(first) <= 0.55 * 8000 and first.min() >= 1000 and first.max() < 5500
    assert 0.3 * 8000 - 161 <= len(last) <= 0.55 * 8000 and last.min() > 4500 and last.max() <= 9000
    assert len(swapped) == 8000 - 160 and swapped[0] > swapped[-1] and swapped.min() >= 0


def test_each_is_labelled_whole_and_the_same_again():
    made = broken(clips(9), 4, rate_hz=RATE, seed=3)
    assert len(made) == 9 and {clip.label for clip in made} == {4} and all(clip.whole for clip in made)
    assert all(clip.span == Span(0, len(clip.samples)) for clip in made)
    again = broken(clips(9), 4, rate_hz=RATE, seed=3)
    assert all(np.array_equal(one.samples, other.samples) for one, other in zip(made, again, strict=True))
    assert len({len(clip.samples) for clip in made}) > 4


def test_a_clip_without_a_known_place_is_searched_and_an_empty_one_left_out():
    samples = np.zeros(16_000, np.int16)
    samples[6000:10_000] = 8000
    (made,) = broken([Clip(samples, 0)], 1, rate_hz=RATE)
    assert 1000 < len(made.samples) < 3000
    assert broken([Clip(samples, 0, span=Span(5, 5))], 1, rate_hz=RATE) == []
