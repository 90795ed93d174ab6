"""What is said around a word and against it: distances, sound-alikes, mutations, pieces, sentences."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("hibari")

from edgepress_train.data import words
from edgepress_train.data.tts import accents, distance, lexicon, phonemes, talk
from edgepress_train.data.tts.voice import SpeechError

UNSEEN = ["computer", "smart mirror", "view glass", "alexa", "jarvis", "zorbax", "hey edgepress"]


def apart(one: str, other: str) -> float:
    return float(distance.distances(one, *distance.encode([other]))[0])


def _plain_distance(one: str, other: str) -> float:
    """The same edit distance by the textbook's recursion."""
    index, replace, insert = distance._tables()
    a, b = ([index.get(sound, 0) for sound in phonemes.bare(word).replace(" ", "")] for word in (one, other))
    rows = [[0.0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            if i or j:
                rows[i][j] = min(
                    rows[i - 1][j] + insert[a[i - 1]] if i else np.inf,
                    rows[i][j - 1] + insert[b[j - 1]] if j else np.inf,
                    rows[i - 1][j - 1] + replace[a[i - 1], b[j - 1]] if i and j else np.inf,
                )
    return float(rows[-1][-1])


def test_the_vectorised_distance_is_the_textbooks():
    rng = np.random.default_rng(0)
    known = list(lexicon.pronunciations().values())
    some = [known[int(i)] for i in rng.integers(0, len(known), 60)]
    codes, lengths = distance.encode(some)
    for target in some[:4]:
        expected = [_plain_distance(target, other) for other in some]
        assert distance.distances(target, codes, lengths) == pytest.approx(expected, abs=1e-4)


def test_what_sounds_nearer_is_nearer():
    assert apart("bˈæt", "bˈæt") == 0 and apart("bˈæt", "ˈbæt") == 0  # stress does not count
    assert apart("bˈæt", "pˈæt") < apart("bˈæt", "sˈæt") < apart("bˈæt", "sˈæŋk")
    assert apart("bˈɪt", "bˈit") < apart("bˈɪt", "bˈɑt")
    assert apart("kəmpjˈuTəɹ", "kəmpjˈuɾəɹ") == 0  # two signs for one sound
    assert apart("bˈæt", "pˈæt") == pytest.approx(apart("pˈæt", "bˈæt"))


@pytest.mark.parametrize("word", UNSEEN)
def test_any_word_has_sound_alikes_that_are_not_it(word):
    found = words.sound_alikes([word], 24)
    assert len(found) == 24 and len({alike.text for alike in found}) == 24
    assert [alike.distance for alike in found] == sorted(alike.distance for alike in found)
    target = phonemes.bare(phonemes.kokoro(word)).replace(" ", "")
    for alike in found:
        assert 0.7 <= alike.distance < 5 and alike.text != word
        assert target not in phonemes.bare(alike.sounds).replace(" ", "")  # no inflections, no compounds


def test_the_alikes_of_computer_are_those_that_ears_confuse():
    found = {alike.text: alike.distance for alike in words.sound_alikes(["computer"], 40)}
    assert {"commuter", "computes"} <= set(found) and any(" " in text for text in found)
    assert not {"computer", "computers", "microcomputer", "compute or", "compute are"} & set(found)


def test_the_alikes_of_several_words_hold_none_of_them():
    found = {alike.text for alike in words.sound_alikes(["computer", "commuter"], 40)}
    assert not {"computer", "commuter", "computers", "commuters"} & found and len(found) > 40


@pytest.mark.parametrize("word", UNSEEN)
def test_mutated_sounds_are_near_and_not_the_word(word):
    sounds = phonemes.kokoro(word)
    rng = np.random.default_rng(1)
    found = words.near_misses(sounds, 20, rng)
    assert len(set(found)) == 20
    assert all(0.7 <= apart(sounds, miss) < 4 for miss in found)
    assert found == words.near_misses(sounds, 20, np.random.default_rng(1))


def test_pieces_are_cut_between_syllables_and_words():
    assert words.pieces("kəmpjˈuTəɹ") == ("kəmp", "jˈuTəɹ", "kəmpjˈuT", "əɹ")
    assert {"smˈɑɹt", "mˈɪɹəɹ"} <= set(words.pieces("smˈɑɹt mˈɪɹəɹ"))
    assert words.pieces("hˈA") == ()


def test_sentences_are_many_different_and_without_the_words():
    found = talk.sentences(400, np.random.default_rng(0), avoid=["light", "music"])
    assert len(set(found)) == 400
    assert not any("light" in text.lower() or "music" in text.lower() for text in found)
    vocabulary = {word.strip(".,?!:").lower() for text in found for word in text.split()}
    assert len(vocabulary) > 800
    assert not any("{" in text for text in found)
    assert found == talk.sentences(400, np.random.default_rng(0), avoid=["light", "music"])


def test_random_words_avoid_the_words_and_what_contains_them():
    found = words.random_words(3000, np.random.default_rng(0), avoid=["port"])
    assert len(found) == 3000 and not any("port" in text.replace(" ", "").split("port")[0] for text in found)
    assert not any("port" in word for text in found for word in text.split())
    assert {len(text.split()) for text in found} == {1, 2, 3}


@pytest.mark.parametrize(
    ("given", "expected"), [("Smart_Mirror!", "smart mirror"), ("  Hey,   Bob ", "hey bob"), ("O'Neil", "o'neil")]
)
def test_words_are_written_one_way(given, expected):
    assert words.normalize(given) == expected


@pytest.mark.parametrize("given", ["", "42", "?!", "  "])
def test_what_is_no_word_is_told(given):
    with pytest.raises(SpeechError, match="is no word"):
        words.normalize(given)


def test_a_word_that_no_dictionary_has_is_read_by_its_letters():
    assert phonemes.bare(phonemes.kokoro("zorbax")) == "zɔɹbæks"
    assert phonemes.kokoro("computer", "en-gb").endswith("tə")


def test_espeaks_ipa_becomes_kokoros_alphabet():
    assert phonemes.from_espeak("kəmpjˈuːɾɚ", "en-us") == "kəmpjˈuɾəɹ"
    assert phonemes.from_espeak("həlˈoʊ", "en-us") == "həlˈO"
    assert phonemes.from_espeak("t͡ʃˈao", "it") == "ʧˈao"
    assert phonemes.bare(phonemes.from_espeak(phonemes.to_ipa("ʧˈAnʤ"), "en-us")) == "ʧAnʤ"


@pytest.mark.parametrize("accent", accents.ACCENTS)
def test_an_accent_changes_sounds_and_leaves_a_word(accent):
    text = "θˈɪŋk ðæt ˈævɹi wˈɑTəɹ hˈænd ʤˈʌmps lˈidz ɡˈA zˈu tˈOt"
    heard = {accents.speak(text, accent, np.random.default_rng(seed)) for seed in range(20)}
    assert len(heard) > 1 or accent == "rp"
    assert all(1 <= len(phonemes.bare(said).split()) <= 11 and apart(text, said) < 12 for said in heard)
    assert accents.speak("h", accent, np.random.default_rng(0))
