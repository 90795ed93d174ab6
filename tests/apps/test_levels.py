import numpy as np
import pytest
from tests.runtime import streams

from edgepress_apps.levels import FILE_QUIET_DBFS, faults, level, stands_out

VOICE = streams.tone(300, 5, amplitude=0.3) + streams.hiss(5)


@pytest.mark.parametrize(
    ("samples", "kinds"),
    [
        (VOICE, []),
        (VOICE // 100, []),  # 40 dB less is little, but a quiet room is no louder
        (VOICE // 1000, ["quiet"]),
        (np.zeros(80000, np.int16), ["dead"]),
        (np.full(80000, 700, np.int16), ["dead"]),
        (np.clip(VOICE.astype(np.int32) * 8, -32768, 32767).astype(np.int16), ["clipped"]),
        (VOICE // 2 + np.int16(3000), ["offset"]),
        (VOICE // 2 - np.int16(3000), ["offset"]),
        (VOICE // 1000 + np.int16(3000), ["quiet", "offset"]),
        (np.where(np.arange(80000) == 7, 32767, VOICE).astype(np.int16), []),  # one click
        (np.zeros(0, np.int16), []),
    ],
)
def test_what_is_wrong_is_named(samples, kinds):
    assert list(faults(level(samples))) == kinds


def test_a_recording_of_a_voice_is_expected_to_be_louder_than_a_room():
    assert list(faults(level(VOICE // 100), quiet_dbfs=FILE_QUIET_DBFS)) == ["quiet"]
    assert list(faults(level(VOICE // 20), quiet_dbfs=FILE_QUIET_DBFS)) == []


def test_the_words_tell_how_much():
    assert faults(level(VOICE // 1000))["quiet"].startswith("very quiet, no peak above -70 dB of full scale")
    assert faults(level(VOICE // 2 + np.int16(3277)))["offset"].startswith("a DC offset of +10% of full scale")
    loud = np.where(np.arange(1000) % 4 == 0, -32768, VOICE[:1000]).astype(np.int16)
    assert faults(level(loud))["clipped"].startswith("clipped, 25.0% of the samples are at full scale")


def test_levels_add_up():
    assert level(VOICE[:1234]) + level(VOICE[1234:]) == level(VOICE)
    assert level(VOICE) + level(VOICE[:0]) == level(VOICE)


@pytest.mark.parametrize("loudness", [1.0, 0.01])
def test_a_word_stands_out_and_noise_does_not(loudness):
    noise = streams.hiss(5, amplitude=0.01 * loudness)
    word = streams.tone(300, 0.4, amplitude=0.3 * loudness)
    noise[20000:][: len(word)] += word
    assert stands_out(noise, 16000)
    assert not stands_out(streams.hiss(5, amplitude=0.01 * loudness), 16000)


@pytest.mark.parametrize("samples", [np.zeros(80000, np.int16), np.zeros(100, np.int16), VOICE[:0]])
def test_nothing_stands_out_of_nothing(samples):
    assert not stands_out(samples, 16000)
