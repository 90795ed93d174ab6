"""What every engine owes, on those that are installed; and what is said of those that are not."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from edgepress_train.data.tts import engines, trim
from edgepress_train.data.tts.voice import EngineMissing, Manner, Speech, SpeechError, Voice

QUICK = [name for name in engines.ENGINES if name != "kokoro"]
SLOW = pytest.param("kokoro", marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def started():
    """Engines by name; a test of one that is missing is skipped with the engine's own reason."""
    kept = {}

    def start(name):
        if name not in kept:
            try:
                kept[name] = engines.start(name)
            except EngineMissing as error:
                pytest.skip(str(error))
        return kept[name]

    return start


def english(engine) -> Voice:
    return next(voice for voice in engine.voices() if voice.language.startswith("en") or engine.name == "kokoro")


def seconds(speech: Speech) -> float:
    """How long is spoken, silence at the ends aside."""
    begin, end = trim.bounds(speech.samples)
    return (end - begin) / speech.rate_hz


@pytest.mark.parametrize("name", [*QUICK, SLOW])
def test_it_has_voices_of_its_own(started, name):
    engine = started(name)
    voices = engine.voices()
    assert voices and len({voice.name for voice in voices}) == len(voices)
    assert {voice.engine for voice in voices} == {name} == {engine.name}
    assert engine.version and all(voice.speaker and voice.language for voice in voices)


@pytest.mark.parametrize("name", [*QUICK, SLOW])
def test_it_speaks_the_same_thing_the_same_way(started, name):
    engine = started(name)
    voice = english(engine).name
    manner = Manner(speed=1.1, seed=3)
    speech = engine.say("Computer, turn on the light.", voice, manner)
    assert speech.samples.dtype == np.float32 and speech.samples.ndim == 1
    assert np.isfinite(speech.samples).all() and 0.01 < np.abs(speech.samples).max() <= 1.0
    assert 0.8 < seconds(speech) < 4.0
    engine.say("Something else in between.", voice, Manner(speed=0.9, pitch=1.2, seed=4))
    again = engine.say("Computer, turn on the light.", voice, manner)
    assert again.rate_hz == speech.rate_hz and np.array_equal(again.samples, speech.samples)


@pytest.mark.parametrize("name", [*QUICK, SLOW])
def test_speed_shortens_and_tone_does_not(started, name):
    engine = started(name)
    voice = english(engine).name
    plain, fast, small = (
        seconds(engine.say("The library is open today.", voice, manner))
        for manner in (Manner(), Manner(speed=1.5), Manner(tone=1.15))
    )
    assert fast < 0.85 * plain
    assert 0.8 * plain < small < 1.25 * plain


@pytest.mark.parametrize("name", [*QUICK, SLOW])
def test_an_unknown_voice_is_told(started, name):
    if name in ("flite", "festival"):
        pytest.skip("the program decides")
    with pytest.raises(SpeechError):
        started(name).say("Hello.", "nobody")


@pytest.mark.parametrize("name", ["hibari", "piper", SLOW])
def test_sounds_are_spoken_as_they_are_written(started, name):
    engine = started(name)
    assert engine.alphabet == "kokoro"
    voice = english(engine).name
    short, long = (seconds(engine.say("", voice, phonemes=sounds)) for sounds in ("kˈæt.", "kəmpjˈutəɹ sˈIəns."))
    assert long > 1.3 * short > 0


def test_a_package_that_is_missing_is_told_with_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda program: None)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    from edgepress_train.data.tts import espeak_library

    espeak_library.load.cache_clear()
    try:
        cast = engines.find()
    finally:
        espeak_library.load.cache_clear()
    assert cast.voices == () and cast.engines == ()
    assert [missing.engine for missing in cast.missing] == list(engines.ENGINES)
    assert all(missing.reason and "install" in missing.remedy for missing in cast.missing)


def test_a_mistyped_engine_is_answered():
    with pytest.raises(SpeechError) as caught:
        engines.start("kokorro")
    assert caught.value.what == "unknown speech engine 'kokorro'; did you mean 'kokoro'?"


@pytest.mark.parametrize(
    ("manner", "sentence"),
    [
        ({"speed": 9.0}, "a speed of 9.0 is out of reach"),
        ({"tone": 0.1}, "a tone of 0.1 is out of reach"),
        ({"liveliness": -1.0}, "a liveliness of -1.0 is out of reach"),
    ],
)
def test_a_manner_beyond_all_bounds_is_refused(manner, sentence):
    with pytest.raises(SpeechError) as caught:
        Manner(**manner)
    assert caught.value.what == sentence
