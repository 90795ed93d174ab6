"""Noise over clips: the ratio that was asked for, the same again, and never a clipped sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.convert.conftest import HEARING, write_wav

from edgepress_convert.noise import at_ratio, mixer
from edgepress_runtime.errors import EdgepressError


def voiced(level: float = 3000.0) -> tuple[np.ndarray, slice]:
    """A stream of silence with a clip of one loud second in it."""
    stream = np.zeros(48_000, np.int16)
    stream[16_000:32_000] = np.rint(level * np.sin(np.arange(16_000) / 7))
    return stream, slice(16_000, 32_000)


@pytest.mark.parametrize("snr_db", [20.0, 10.0, 0.0, -5.0])
def test_the_ratio_is_that_of_the_voice_to_the_noise(snr_db: float) -> None:
    stream, where = voiced()
    mixed = mixer("white", snr_db, HEARING.rate_hz, seed=1)(0)(stream, where)
    noise = (mixed.astype(np.float64) - stream)[np.r_[0:16_000, 32_000:48_000]]
    voice = np.mean(stream[where].astype(np.float64) ** 2)
    assert 10 * np.log10(voice / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.2)


def test_each_clip_has_its_own_noise_and_always_the_same() -> None:
    stream, where = voiced()
    one, two, again = (mixer("white", 10, HEARING.rate_hz, seed=1)(n)(stream, where) for n in (0, 1, 0))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, two)
    assert not np.array_equal(one, mixer("white", 10, HEARING.rate_hz, seed=2)(0)(stream, where))


def test_what_would_clip_becomes_softer_as_a_whole() -> None:
    stream, where = voiced(30_000)
    mixed = mixer("white", 0, HEARING.rate_hz, seed=1)(0)(stream, where)
    assert 32_000 < np.abs(mixed.astype(np.int64)).max() <= 32_767


def test_a_silent_clip_stays_silent() -> None:
    silence = np.zeros(1000, np.int16)
    assert not at_ratio(silence, slice(100, 900), np.ones(1000), 10, HEARING.rate_hz).any()


def test_recorded_noise_repeats_until_it_is_long_enough(tmp_path: Path) -> None:
    write_wav(tmp_path / "hum.wav", np.array([100, 200, 300] * 500))
    stream, where = voiced()
    mixed = mixer(str(tmp_path), 10, HEARING.rate_hz, seed=1)(0)(stream, where)
    noise = mixed[:1500].astype(np.float64)
    assert set(np.unique(np.rint(noise / noise.min()))) == {1, 2, 3}
    with pytest.raises(EdgepressError, match="does not exist"):
        mixer(str(tmp_path / "gone"), 10, HEARING.rate_hz, seed=1)
