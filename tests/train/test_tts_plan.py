"""Plans: who says what, without saying it."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("hibari")

from edgepress_train.data import words
from edgepress_train.data.tts import casting, phonemes, plan, styles
from edgepress_train.data.tts.engines import Cast, Missing
from edgepress_train.data.tts.voice import SpeechError, Voice

KOKORO = tuple(
    Voice("kokoro", f"{group}_{number}x", language, True)
    for group, language, count in (("af", "en-us", 11), ("am", "en-us", 9), ("bf", "en-gb", 4), ("ef", "es", 6))
    for number in range(count)
)
OTHERS = (
    Voice("pico", "en-US", "en-us", True),
    Voice("pico", "en-GB", "en-gb", True),
    Voice("pico", "de-DE", "de", True),
    Voice("hibari", "heart", "en-us", True, "af_0x"),
    Voice("espeak", "en-us+m1", "en-us", False, "m1"),
)
CAST = Cast((*KOKORO, *OTHERS), (Missing("flite", "flite is not on this machine", "apt install flite"),))
SIZE = plan.Size().scaled(0.08)


@pytest.fixture(scope="module")
def made():
    return plan.make(["Computer", "lights on"], CAST, size=SIZE)


def test_the_same_seed_gives_the_same_plan(made):
    assert plan.make(["computer", "lights  ON"], CAST, size=SIZE) == made
    assert plan.make(["computer", "lights on"], CAST, size=SIZE, seed=1) != made


def test_there_are_as_many_clips_as_were_asked(made):
    count = Counter((u.label, u.kind, u.voice.engine == "kokoro") for u in made.utterances if u.split == "train")
    for word in ("computer", "lights on"):
        assert count[word, "word", True] == SIZE.word and count[word, "word", False] == SIZE.word_cheap
    assert count["", "other", True] + count["", "other", False] == SIZE.other
    assert count["", "sentence", True] + count["", "sentence", False] == SIZE.sentence
    assert count["", "alike", True] + count["", "alike", False] == 2 * SIZE.alike
    assert count["", "piece", True] == 2 * SIZE.piece and not count["", "miss", True]


def test_another_word_and_another_size_leave_the_rest_as_it_is(made):
    def others(plan):
        return [u for u in plan.utterances if u.kind in ("other", "sentence")]

    alone = plan.make(["computer"], CAST, size=SIZE)
    assert [u for u in made.utterances if u.label == "computer"] == [u for u in alone.utterances if u.label]
    assert sum(a == b for a, b in zip(others(alone), others(made), strict=True)) > 0.9 * len(others(made))
    more = plan.make(["computer"], CAST, size=dataclasses.replace(SIZE, miss=30, word=SIZE.word + 1))
    assert others(more) == others(alone)
    assert sum(u.kind == "miss" and u.split == "train" for u in more.utterances) == 30


def test_no_speaker_and_no_style_lies_on_both_sides(made):
    heard: dict[str, set[str]] = {"train": set(), "val": set()}
    for utterance in made.utterances:
        voice = utterance.voice
        parts = styles.speakers_in(voice.name) if voice.engine == "kokoro" else (voice.speaker,)
        heard[utterance.split] |= set(parts)
    assert not heard["train"] & heard["val"]
    assert len(heard["val"] & {voice.name for voice in KOKORO}) >= 3 and len(heard["train"]) > 20
    assert "af_0x" in heard["train"]  # hibari imitates it, and trains


def test_one_engine_only_validates(made):
    assert made.kept_engine == "pico"
    engines = {split: {u.voice.engine for u in made.utterances if u.split == split} for split in ("train", "val")}
    assert "pico" not in engines["train"] and engines["val"] == {"kokoro", "pico"}
    assert not any(u.voice.name == "de-DE" for u in made.utterances)
    assert any("flite" in note and "apt install flite" in note for note in made.notes)


def test_negatives_hold_none_of_the_words(made):
    negatives = [u for u in made.utterances if not u.label and u.kind in ("alike", "other", "sentence")]
    assert negatives and not any(words.contains(u.said, ["computer", "lights on"]) for u in negatives)
    assert {u.kind for u in made.utterances if u.label} == {"word"}


def test_contexts_are_only_where_an_engine_can_tell_the_word(made):
    for utterance in made.utterances:
        if utterance.label and utterance.voice.engine != "kokoro":
            assert not any(letter.isalpha() for letter in utterance.after)
    positives = [u for u in made.utterances if u.label and u.voice.engine == "kokoro"]
    alone = sum(not u.before and not any(letter.isalpha() for letter in u.after) for u in positives)
    assert 0.4 < alone / len(positives) < 0.8
    assert len({u.voice.name for u in positives}) > 0.6 * len(positives)
    assert len({u.phonemes for u in positives}) > 6  # accents, and both sides of the Atlantic


def test_without_kokoro_the_others_say_it_all():
    made = plan.make(["computer"], Cast(OTHERS, ()), size=SIZE)
    train = [u for u in made.utterances if u.split == "train" and u.label]
    assert len(train) == SIZE.word + SIZE.word_cheap and "kokoro" not in {u.voice.engine for u in train}
    assert not [u for u in made.utterances if u.kind in ("miss", "piece")]


def test_one_lonely_engine_both_trains_and_validates():
    made = plan.make(["computer"], Cast((OTHERS[0], OTHERS[1]), ()), size=SIZE)
    assert made.kept_engine == "" and {u.split for u in made.utterances} == {"train", "val"}


def test_another_language_is_said_by_its_sounds(monkeypatch):
    monkeypatch.setattr(phonemes, "espeak", lambda text, language: "ˌoɾðenaðˈoɾ")
    made = plan.make(["ordenador"], CAST, size=SIZE, language="es")
    said = [u for u in made.utterances if u.label]
    assert {u.phonemes for u in said if u.voice.engine == "kokoro"} == {"ˌoɾðenaðˈoɾ"}
    native = sum(u.voice.language == "es" for u in said) / len(said)
    assert native > 0.5 and any("bring recordings" in note for note in made.notes)
    assert {u.kind for u in made.utterances} == {"word", "piece"}


@pytest.mark.parametrize(
    ("spoken", "cast", "sentence"),
    [
        ([], CAST, "no word was named"),
        (["..."], CAST, "'...' is no word"),
        (["computer"], Cast((), ()), "no voice here speaks 'en-us'"),
    ],
)
def test_a_plan_that_cannot_be_made_is_told(spoken, cast, sentence):
    with pytest.raises(SpeechError) as caught:
        plan.make(spoken, cast, size=SIZE)
    assert caught.value.what == sentence


def test_manners_stray_as_far_as_asked():
    rng = np.random.default_rng(0)
    assert len({casting.manner(rng, spread=0).speed for _ in range(9)}) == 1
    drawn = [casting.manner(rng) for _ in range(400)]
    assert 0.1 < np.std([np.log(m.speed) for m in drawn]) < 0.25
    assert 0.04 < np.mean([m.tone > 1.12 for m in drawn]) < 0.2  # children
