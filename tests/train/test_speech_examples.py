from __future__ import annotations

import numpy as np

from edgepress_runtime.features import features
from edgepress_runtime.manifest import Pcen, SpeechSpec
from edgepress_train.data.speech_examples import Clip, Cut, Scenery, extract

SPEC = SpeechSpec("log-mel", window=400, hop=160, bands=20)


def word(rng: np.random.Generator, *, before: int = 4000, length: int = 3200, after: int = 6000) -> np.ndarray:
    samples = rng.normal(0, 2, before + length + after)
    samples[before : before + length] += 4000 * np.sin(np.arange(length) * 0.3)
    return samples.astype(np.int16)


def test_a_plain_window_holds_the_word_in_its_middle_with_the_boards_own_features():
    samples = word(np.random.default_rng(0))
    cut = Cut(SPEC, frames=60)
    found, labels = extract([Clip(samples, 3)], cut, workers=1)
    assert found.shape == (1, 60, 20) and found.dtype == np.float16 and labels.tolist() == [3]
    loud = np.flatnonzero(found[0].max(axis=1) > found.max() - 4)
    assert abs((loud[0] + loud[-1]) / 2 - 29.5) <= 3
    start = 4000 + 1600 - cut.samples // 2
    reference = features(samples[start : start + cut.samples], SPEC)
    assert np.abs(found[0].astype(float) - reference).max() < 1.5  # found to a block of 20 ms; levels, not places


def test_the_word_stays_whole_in_every_window_of_every_copy():
    rng = np.random.default_rng(1)
    cut = Cut(SPEC, frames=60, slack=10)
    found, _ = extract([Clip(word(rng), 0)], cut, copies=40, scenery=Scenery("gain:-3..3"), workers=1)
    loud = found.max(axis=2) > found.max() - 6
    first, last = loud.argmax(axis=1), 59 - loud[:, ::-1].argmax(axis=1)
    assert first.min() >= 8 and last.max() <= 51 and np.ptp(first) > 10  # within the 40 frames that all windows share
    assert (last - first >= 18).all()


def test_results_do_not_depend_on_how_the_work_is_spread():
    rng = np.random.default_rng(2)
    clips = [Clip(word(rng), n % 2, whole=n % 3 > 0) for n in range(130)]
    line = Scenery("speed:0.1, tempo:0.1, formant:0.1, equalizer:6, lowpass:3..7:share=0.5, codec:0.5, gain:-6..6")
    cut = Cut(SPEC, frames=40, slack=4)
    alone, labels = extract(clips, cut, copies=2, scenery=line, seed=5, workers=1)
    together, again = extract(clips, cut, copies=2, scenery=line, seed=5, workers=2)
    assert np.array_equal(alone, together) and np.array_equal(labels, again)
    assert labels.tolist() == [n % 2 for n in range(130) for _ in range(2)]
    other, _ = extract(clips, cut, copies=2, scenery=line, seed=6, workers=1)
    assert not np.array_equal(alone, other)


def test_a_front_end_that_adapts_hears_what_came_before():
    pcen = SpeechSpec("log-mel", window=400, hop=160, bands=20, pcen=Pcen(0.04, 0.98, 2.0, 0.5))
    samples = np.random.default_rng(3).normal(0, 300, 40_000).astype(np.int16)
    cut = Cut(pcen, frames=50)
    found, _ = extract([Clip(samples, 0)], cut, workers=1)
    start = 20_000 - cut.samples // 2
    lead = start - cut.lead
    assert cut.lead == 16_000 and lead < 0  # silence stands for what is missing
    whole = features(np.concatenate((np.zeros(-lead, np.int16), samples[: start + cut.samples])), pcen)
    assert np.allclose(found[0], whole[-50:], atol=2e-3)


def test_a_stretch_of_longer_sound_is_taken_anywhere():
    rng = np.random.default_rng(4)
    long = (rng.normal(0, 1, 80_000) * np.geomspace(3, 3000, 80_000)).astype(np.int16)  # louder and louder
    cut = Cut(SPEC, frames=30)
    found, _ = extract([Clip(long, 0, whole=False)] * 40, cut, copies=1, scenery=Scenery("gain:0..0"), workers=1)
    level = np.sort(found.astype(float).mean(axis=(1, 2)))
    assert level[-1] - level[0] > 6 and len(np.unique(level.round(2))) > 20
    short = rng.normal(0, 500, 2000).astype(np.int16)
    found, _ = extract([Clip(short, 0, whole=False)], cut, workers=1)
    loud = np.flatnonzero(found[0].astype(float).mean(axis=1) > 5)
    assert 8 <= len(loud) <= 16  # all of it, an eighth of a second
