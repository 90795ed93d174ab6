"""Where a word lies in a recording: tones at known places, noise, silence."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress_runtime.audio import AudioError
from edgepress_runtime.loudness import loudest

RATE = 16_000


def clip(parts, seconds=2.0, noise=20, seed=0):
    """(begin s, end s, amplitude) tones in noise: (n,) int16."""
    rng = np.random.default_rng(seed)
    sound = rng.normal(0, noise, int(seconds * RATE)) if noise else np.zeros(int(seconds * RATE))
    for begin, end, amplitude in parts:
        t = np.arange(int(begin * RATE), int(end * RATE))
        sound[t] += amplitude * np.sin(t * 2 * np.pi * 440 / RATE)
    return np.clip(sound, -32768, 32767).astype(np.int16)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(0.5, 0.9, 8000)], (0.5, 0.9)),
        ([(0.5, 0.9, 300)], (0.5, 0.9)),  # far from the microphone
        ([(0.0, 0.3, 8000)], (0.0, 0.3)),
        ([(1.7, 2.0, 8000)], (1.7, 2.0)),
        ([(0.5, 0.7, 3000), (0.8, 1.1, 8000)], (0.5, 1.1)),  # a pause within a word
        ([(0.2, 0.4, 3000), (1.0, 1.4, 8000)], (1.0, 1.4)),  # something else, earlier
    ],
)
def test_the_loudest_stretch_is_found(parts, expected):
    begin, end = loudest(clip(parts), RATE, 2 * RATE, "x.wav")
    assert abs(begin / RATE - expected[0]) <= 0.03
    assert abs(end / RATE - expected[1]) <= 0.03


def test_a_stretch_longer_than_the_window_is_cut_about_its_energy():
    begin, end = loudest(clip([(0.2, 1.8, 4000), (1.2, 1.6, 12000)]), RATE, int(0.5 * RATE), "x.wav")
    assert end - begin == int(0.5 * RATE)
    assert 1.0 < (begin + end) / 2 / RATE < 1.6
    short = clip([(0.0, 0.9, 4000)], seconds=0.9)  # cut to the word: there is nothing else to stand out from
    assert loudest(short, RATE, 4 * RATE, "x.wav") == (0, len(short))


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (np.zeros(RATE, np.int16), "x.wav holds nothing but silence"),
        (clip([], noise=5), "x.wav holds nothing but silence"),
        (np.zeros(1, np.int16), "x.wav holds nothing but silence"),
        (clip([], noise=2000), "nothing stands out of the noise in x.wav"),
    ],
)
def test_silence_and_noise_are_told(samples, sentence):
    with pytest.raises(AudioError) as error:
        loudest(samples, RATE, RATE, "x.wav")
    assert error.value.what == sentence
