"""Clips out of what engines give: resampling against sines, trimming against what was put in, reasons for dropping."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress_train.data.tts import trim


def tone(seconds: float, hz: float, rate_hz: int, *, level: float = 0.3) -> np.ndarray:
    n = round(seconds * rate_hz)
    fade = np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / (0.01 * rate_hz))
    return (level * fade * np.sin(2 * np.pi * hz * np.arange(n) / rate_hz)).astype(np.float32)


def padded(samples: np.ndarray, rate_hz: int, before_s: float, after_s: float) -> np.ndarray:
    return np.pad(samples, (round(before_s * rate_hz), round(after_s * rate_hz)))


@pytest.mark.parametrize("rate_hz", [8000, 22050, 24000, 24720, 44100])
def test_resampling_keeps_the_wave(rate_hz):
    samples = padded(tone(0.5, 1000, rate_hz), rate_hz, 0.1, 0.1)
    found = trim.resample(samples, round(len(samples) * 16000 / rate_hz))
    expected = padded(tone(0.5, 1000, 16000), 16000, 0.1, 0.1)
    assert len(found) == len(expected)
    assert np.abs(found - expected)[2400:8000].max() < 0.3 * 2 * np.pi * 1000 * 0.5 / 16000  # half a sample of a sine


def test_resampling_down_removes_what_would_fold_back():
    found = trim.resample(padded(tone(0.5, 11000, 24000), 24000, 0.1, 0.1), 11200)
    assert np.abs(found).max() < 0.003


def test_speech_is_found_between_silences():
    samples = padded(tone(0.5, 300, 16000), 16000, 0.4, 0.6)
    samples += np.random.default_rng(0).normal(0, 1e-4, len(samples)).astype(np.float32)
    begin, end = trim.bounds(samples)
    assert abs(begin - 6400) <= 320 and abs(end - 14400) <= 320
    assert trim.bounds(np.zeros(1000, np.float32)) == (0, 0)


def test_a_clip_has_margins_marks_and_one_loudness():
    for level in (0.01, 0.5):
        speech = padded(tone(0.7, 300, 24000, level=level), 24000, 0.5, 0.5)
        clip = trim.finish(speech, 24000, sounds=8, speed=1.0)
        assert isinstance(clip, trim.Trimmed) and clip.samples.dtype == np.int16
        assert clip.begin == 960 and len(clip.samples) - clip.end == 960
        assert abs((clip.end - clip.begin) / 16000 - 0.7) < 0.03
        level_db = 20 * np.log10(np.sqrt(np.mean(np.square(clip.samples[2000:10000] / 32768.0))))
        assert -23 < level_db < -21


def test_the_word_is_marked_where_the_engine_says():
    speech = padded(tone(2.0, 300, 24000), 24000, 0.5, 0.5)
    clip = trim.finish(speech, 24000, sounds=24, speed=1.0, span=(1.0, 1.6))
    assert isinstance(clip, trim.Trimmed)
    first = 0.5 - 0.06  # where the clip begins
    assert abs(clip.begin / 16000 - (1.0 - first)) < 0.02 and abs(clip.end / 16000 - (1.6 - first)) < 0.02


@pytest.mark.parametrize(
    ("samples", "sounds", "span", "reason"),
    [
        (np.zeros(10, np.float32), 8, None, "no sound"),
        (np.full(24000, np.nan, np.float32), 8, None, "no sound"),
        (np.zeros(24000, np.float32), 8, None, "silent"),
        (np.sign(tone(1.0, 300, 24000)), 8, None, "clipped"),
        (tone(0.1, 300, 24000), 12, None, "0.10 s long where about 1.02 s were expected"),
        (tone(5.0, 300, 24000), 8, None, "5.00 s long where about 0.68 s were expected"),
        (tone(1.0, 300, 24000), 8, (0.99, 1.0), "the word is not where it should be"),
    ],
)
def test_a_broken_clip_is_dropped_with_a_reason(samples, sounds, span, reason):
    assert trim.finish(samples, 24000, sounds=sounds, speed=1.0, span=span) == reason
