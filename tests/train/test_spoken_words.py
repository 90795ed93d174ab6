"""From words to clips with real engines, the small ones that install everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress_train.data import spoken_words, words
from edgepress_train.data.dataset import DataError
from edgepress_train.data.tts import engines, phonemes, plan, synthesize
from edgepress_train.data.tts.voice import SpeechError

pytest.importorskip("hibari")
pytest.importorskip("py_nanotts")
pytest.importorskip("soundfile")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_keywords_are_what_is_written_between_the_commas():
    assert spoken_words.keywords("Computer, Lights  On,") == ("computer", "lights on")
    for text, sentence in (
        (" , ", "--words names no word"),
        ("alexa, Alexa", "--words names 'alexa' twice"),
        ("unknown", "'unknown' cannot be a keyword: it stands for everything else"),
    ):
        with pytest.raises(DataError) as caught:
            spoken_words.keywords(text)
        assert caught.value.what == sentence
    with pytest.raises(SpeechError, match="is no word"):
        spoken_words.keywords("computer, 42!")


@pytest.mark.parametrize("word", ["computer", "smart mirror", "zyxquil"])
def test_sound_alikes_are_near_and_never_the_word(word):
    found = words.sound_alikes([word], 20)
    assert len(found) == 20 and len({alike.text for alike in found}) == 20
    assert [alike.distance for alike in found] == sorted(alike.distance for alike in found)
    target = phonemes.bare(phonemes.kokoro(word)).replace(" ", "")
    for alike in found:
        assert alike.text != word and alike.distance > 0.3
        assert target not in phonemes.bare(alike.sounds).replace(" ", "")


def test_pieces_are_less_than_the_word():
    whole = phonemes.bare(phonemes.kokoro("computer"))
    found = words.pieces(phonemes.kokoro("computer"))
    assert len(found) >= 3 and all(0 < len(phonemes.bare(part)) < len(whole) for part in found)


def test_a_plan_is_repeated_and_keeps_voices_apart():
    cast = engines.find(("hibari", "pico"))
    size = plan.Size().scaled(0.05)
    first, again = (plan.make(("computer",), cast, size=size, seed=3) for _ in range(2))
    assert first == again and first != plan.make(("computer",), cast, size=size, seed=4)
    speakers = {
        part: {(u.voice.engine, u.voice.speaker) for u in first.utterances if u.split == part}
        for part in ("train", "val")
    }
    assert speakers["train"] and speakers["val"] and not speakers["train"] & speakers["val"]
    assert all("computer" not in u.said.lower() for u in first.utterances if not u.label)


def test_nothing_is_spoken_twice(monkeypatch):
    cast = engines.find(("hibari",))
    written = plan.make(("computer",), cast, size=plan.Size().scaled(0.01), seed=0)
    spoken = synthesize.synthesize(written.utterances, workers=1)
    assert len(spoken.clips) > 0.8 * len(written.utterances)
    for clip in spoken.of(label="computer"):
        samples = clip.samples()
        assert samples.dtype == np.int16 and 0 <= clip.begin < clip.end <= len(samples)
        inside = np.abs(samples[clip.begin : clip.end].astype(float)).mean()
        assert inside > 200 and 0.2 < (clip.end - clip.begin) / 16_000 < 2

    def refuse(*_):
        raise AssertionError("spoken again")

    monkeypatch.setattr(synthesize, "speak", refuse)
    assert synthesize.synthesize(written.utterances, workers=1) == spoken


@pytest.mark.slow
def test_material_has_words_and_everything_else():
    found = spoken_words.from_words(("computer",), rate_hz=16_000, clips=12, voices="hibari,pico")
    assert found.labels == ("computer", "unknown")
    for part in (found.train, found.val):
        labels = np.array([clip.label for clip in part])
        assert (labels == 0).sum() > 0 and (labels == 1).sum() > (labels == 0).sum()
    assert all(clip.span is not None for clip in found.train if clip.label == 0)
    assert found.positives["computer"] and sum(map(len, found.negatives)) > 60 * 16_000
    assert found.data["source"] == "synthetic speech" and found.data["engines"] == ["hibari", "pico"]


def test_without_an_engine_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(engines, "find", lambda names: engines.Cast((), ()))
    with pytest.raises(DataError) as caught:
        spoken_words.from_words(("computer",), rate_hz=16_000, clips=5)
    assert caught.value.what == "no speech engine is installed" and "edgepress[speech]" in caught.value.remedy
