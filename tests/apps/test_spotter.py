import itertools

import numpy as np
import pytest
from tests.runtime import streams

from edgepress_apps.sounds import AudioChunk
from edgepress_apps.spotter import Heard, Warned, spot
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.engine import open_engine
from edgepress_runtime.resample import resample
from edgepress_runtime.spot import Spotter

LOW, HIGH = 1100, 4700  # what the model hears as "computer" and "lights on"


@pytest.fixture(params=streams.KINDS)
def spotter(request, tmp_path):
    path = streams.write_stream(tmp_path / "house.edge", request.param, model=streams.beep_stream(request.param))
    bundle = open_bundle(path)
    with open_engine(bundle.model_source, threads=1) as engine:
        yield Spotter(engine, bundle.manifest)


def evening(rate_hz=16000, seconds=6.0):
    """Noise with "computer" at 1 s and "lights on" at 3 s."""
    samples = streams.hiss(seconds, rate_hz=rate_hz)
    for begin, hz in ((1, LOW), (3, HIGH)):
        word = streams.tone(hz, 0.4, rate_hz=rate_hz)
        samples[begin * rate_hz :][: len(word)] += word
    return samples


def cut(samples, rate_hz=16000, *, size=640, stream=0, origin="", lost=()):
    for number, begin in enumerate(range(0, len(samples), size)):
        missing = dict(lost).get(number, 0)
        yield AudioChunk(samples[begin : begin + size], rate_hz, number / 25, missing, stream, origin)


def words(found):
    return [f.detection.label for f in found if isinstance(f, Heard)]


def warnings(found):
    return [(f.kind, f.origin) for f in found if isinstance(f, Warned)]


def test_words_come_as_they_are_heard(spotter):
    found = list(spot(cut(evening()), spotter))
    assert words(found) == ["computer", "lights on"]
    assert warnings(found) == []
    first = found[0]
    assert 1 < first.detection.end_s < 1.5
    assert first.t == pytest.approx(first.detection.end_s, abs=0.1)


def test_it_takes_one_chunk_at_a_time(spotter):
    taken = []

    def endless():
        for chunk in itertools.chain(cut(evening()), cut(streams.hiss(1000))):
            taken.append(chunk)
            yield chunk

    next(spot(endless(), spotter))
    assert 25 < len(taken) < 40


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
def test_other_rates_give_the_detections_of_a_16_khz_copy(spotter, rate_hz):
    samples = evening(rate_hz)
    copy = list(spot(cut(resample(samples, rate_hz, 16000)), spotter))
    found = list(spot(cut(samples, rate_hz, size=1000), spotter))
    assert [f.detection for f in found] == [f.detection for f in copy]
    assert words(found)[:1] == ["computer"]
    assert len(found) == (1 if rate_hz == 8000 else 2)  # 8 kHz have no room for the high tone


def test_each_recording_is_a_stream_of_its_own(spotter):
    chunks = [*cut(evening(), origin="a.wav"), *cut(evening(), stream=1, origin="b.wav")]
    found = list(spot(chunks, spotter))
    assert [(f.origin, f.detection.label) for f in found] == [
        ("a.wav", "computer"),
        ("a.wav", "lights on"),
        ("b.wav", "computer"),
        ("b.wav", "lights on"),
    ]
    assert [f.detection for f in found[:2]] == [f.detection for f in found[2:]]


def test_a_word_at_the_very_end_is_heard(spotter):
    assert words(spot(cut(evening()[: int(3.4 * 16000)]), spotter)) == ["computer", "lights on"]


def test_a_gap_is_told_and_the_clock_goes_on(spotter):
    found = list(spot(cut(evening(), lost={50: 3 * 16000}), spotter))
    assert warnings(found) == [("lost", "")]
    assert "3.00 s of sound were lost" in [f.text for f in found if isinstance(f, Warned)]
    assert words(found) == ["computer", "lights on"]
    assert 6 < [f for f in found if isinstance(f, Heard)][1].detection.end_s < 6.5


def test_a_microphone_may_come_back_at_another_rate(spotter):
    chunks = [*cut(evening(44100)[: 2 * 44100], 44100, size=1764), *cut(evening()[32000:], lost={0: 1000})]
    assert words(spot(chunks, spotter)) == ["computer", "lights on"]


def test_no_sound_at_all_is_no_event(spotter):
    assert list(spot([], spotter)) == []


def louder(samples, gain):
    return np.clip(np.rint(samples * gain), -32768, 32767).astype(np.int16)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda s: louder(s, 0.01), "quiet"),
        (lambda s: louder(s, 20.0), "clipped"),
        (lambda s: louder(s, 0.5) + np.int16(3000), "offset"),
    ],
)
def test_a_bad_level_is_named_once_and_words_are_still_heard(spotter, change, kind):
    found = list(spot(cut(change(evening(seconds=12.0)), origin="x.wav"), spotter))
    assert warnings(found) == [(kind, "x.wav")]
    assert words(found) == ["computer", "lights on"]


def test_digital_silence_of_a_live_microphone_is_named_before_it_ends(spotter):
    def endless():
        yield from cut(np.zeros(10 * 16000, np.int16))
        raise AssertionError("too late")

    assert next(spot(endless(), spotter)).kind == "dead"


def test_a_voice_that_comes_too_quietly_through_a_microphone_is_named(spotter):
    faint = louder(np.tile(evening(), 4), 0.01)
    assert warnings(spot(cut(faint), spotter)) == [("quiet", "")]
    # Whoever was loud once is only far away now.
    assert warnings(spot(cut(np.concatenate((evening(), faint))), spotter)) == []
    # A silent room has nothing in it that could be louder.
    assert warnings(spot(cut(streams.hiss(24)), spotter)) == []


def test_small_gaps_leave_the_clock_right(spotter):
    gaps = dict.fromkeys(range(30, 60), 1600)
    found = list(spot(cut(evening(), lost=gaps), spotter))
    assert warnings(found) == [("lost", "")]
    last = [f.detection for f in found if isinstance(f, Heard)][-1]
    assert last.label == "lights on"
    assert 6 < last.end_s < 6.5  # 3 s of noise, and 30 gaps of 0.1 s before it


def test_pauses_in_a_recording_are_no_fault(spotter):
    samples = np.concatenate((evening(), np.zeros(8 * 16000, np.int16)))
    assert warnings(spot(cut(samples, origin="x.wav"), spotter)) == []
