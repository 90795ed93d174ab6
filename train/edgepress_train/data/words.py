"""What is said to teach a word: the word in its contexts, what sounds like it, pieces of it, and everything else.

Everything works on sounds, so it takes any word or phrase: English through the dictionary and its letter-to-sound net,
other languages through eSpeak. Lists of real words exist for English only; mutated sounds exist for all.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepress_train.data.tts import distance, lexicon, phonemes
from edgepress_train.data.tts.voice import SpeechError

_NEAREST = 0.7  # nearer words are the word itself in another mouth
_ALIKE = 0.3  # of a word's sounds may differ in a single word that is still called alike
_VOWELS = "iɪᵻeɛæaɑɒɔoʊuʌəᵊɐɜAIYOQW"
_CONSONANTS = "pbtdkɡʧʤfvθðszʃʒhmnŋlɹjw"


@dataclass(frozen=True)
class Alike:
    """A word or phrase that sounds like another, its sounds, and how far it is from it (in sounds)."""

    text: str
    sounds: str
    distance: float


def normalize(word: str) -> str:
    """A word or phrase as it is compared and labelled: small letters, single spaces. Raises SpeechError for no word."""
    plain = " ".join(re.sub(r"[^\w' -]+", " ", word.replace("_", " ")).lower().split())
    if not any(letter.isalpha() for letter in plain):
        raise SpeechError(f"{word!r} is no word", 'as --words "computer, lights on"')
    return plain


def sound_alikes(
    words: Sequence[str], count: int, *, sounds: Sequence[str] | None = None, nearest: float = _NEAREST
) -> tuple[Alike, ...]:
    """For each of `words` the `count` English words, and pairs of common words, that sound most like it; nearest first.

    Up to half are single words, as far as there are any that sound alike. Left out are the words themselves, what
    contains one of them (inflections, compounds), what sounds the same within `nearest`, another spelling of the same
    sounds, and pairs that repeat a half too often. `sounds` are the words' pronunciations where they are known.
    """
    targets = [phonemes.bare(s) for s in (sounds or [phonemes.kokoro(word) for word in words])]
    spellings = {normalize(word) for word in words}
    found: dict[str, Alike] = {}  # by their sounds

    def take(near: list[Alike], wanted: int, limit: float) -> int:
        near.sort(key=lambda alike: (alike.distance, alike.text))
        used: dict[str, int] = {}
        taken = 0
        for alike in near:
            bare = phonemes.bare(alike.sounds).replace(" ", "")
            parts = alike.text.split()
            if taken == wanted or alike.distance > limit:
                break
            if (
                alike.distance < nearest
                or alike.text in spellings
                or bare in found
                or any(_within(target, bare) for target in targets)
                or any(used.get(part, 0) >= max(3, count // 8) for part in parts)
            ):
                continue
            for part in parts:
                used[part] = used.get(part, 0) + 1
            found[bare] = alike
            taken += 1
        return taken

    for target in targets:
        single = take(_single(target, 4 * count), count // 2, _ALIKE * len(target.replace(" ", "")))
        take(_pairs(target, 4 * count), count - single, np.inf)
    return tuple(sorted(found.values(), key=lambda alike: (alike.distance, alike.text)))


def near_misses(sounds: str, count: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Sounds that no dictionary has: `sounds` with one or two of them replaced by quite another, left out or doubled.

    Works for every language. The distance is at least 0.7, so that no accent makes the word of it.
    """
    made: list[str] = []
    for _ in range(50 * count):
        if len(made) == count:
            break
        letters = list(sounds)
        for _ in range(1 + int(rng.uniform() < 0.6)):
            places = [i for i, letter in enumerate(letters) if letter in _VOWELS + _CONSONANTS]
            if not places:
                return ()
            place = places[int(rng.integers(len(places)))]
            pool = _VOWELS if letters[place] in _VOWELS else _CONSONANTS
            kind = rng.uniform()
            if kind < 0.75:
                letters[place] = pool[int(rng.integers(len(pool)))]
            elif kind < 0.9:
                letters[place] = ""
            else:
                letters[place] += _CONSONANTS[int(rng.integers(len(_CONSONANTS)))]
        mutated = "".join(letters)
        if phonemes.bare(mutated) and mutated not in made and _apart(sounds, mutated) >= 0.7:
            made.append(mutated)
    return tuple(made)


def pieces(sounds: str) -> tuple[str, ...]:
    """Beginnings and ends of `sounds` that are clearly not the whole: cut between syllables, and between words."""
    letters = [letter for letter in sounds if letter in phonemes.STRESS or letter == " " or letter.isalpha()]
    vowels = [i for i, letter in enumerate(letters) if letter in _VOWELS]
    found = []
    for left, right in itertools.pairwise(vowels):
        cut = left + 1 + (right - left) // 2  # in the middle of the consonants between
        found += ["".join(letters[:cut]).strip(), "".join(letters[cut:]).strip()]
    found += sounds.split() if " " in sounds.strip() else []
    whole = phonemes.bare(sounds)
    return tuple(dict.fromkeys(part for part in found if phonemes.bare(part) and phonemes.bare(part) != whole))


def random_words(count: int, rng: np.random.Generator, *, avoid: Sequence[str] = ()) -> tuple[str, ...]:
    """Common English words, singly and in twos and threes, none of which is or contains a word of `avoid`.

    What is avoided changes the places where it would have been, and no others.
    """
    pool = lexicon.common()
    sizes = rng.choice([1, 1, 2, 3], count)
    drawn = [" ".join(pool[int(i)] for i in rng.integers(0, len(pool), size)) for size in sizes]
    for place, text in enumerate(drawn):
        while _holds(text, avoid):
            text = pool[int(rng.integers(0, len(pool)))]
        drawn[place] = text
    return tuple(drawn)


def contains(text: str, words: Sequence[str]) -> bool:
    """Whether `text` spells one of `words`, as a word of its own or as part of one."""
    return _holds(normalize(text), words)


def _holds(text: str, words: Sequence[str]) -> bool:
    return any(normalize(word).replace(" ", "") in text.replace(" ", "") for word in words)


def _within(target: str, bare: str) -> bool:
    return target.replace(" ", "") in bare


def _apart(one: str, other: str) -> float:
    return float(distance.distances(one, *distance.encode([other]))[0])


@functools.lru_cache(1)
def _dictionary() -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    known = lexicon.pronunciations()
    words = tuple(known)
    return words, *distance.encode([known[word] for word in words])


@functools.lru_cache(1)
def _common() -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    known, words = lexicon.pronunciations(), lexicon.common()
    return words, *distance.encode([known[word] for word in words])


def _nearest(target: str, table: tuple[tuple[str, ...], np.ndarray, np.ndarray], count: int) -> list[tuple[float, str]]:
    words, codes, lengths = table
    size = len(target.replace(" ", ""))
    rows = np.flatnonzero(np.abs(lengths - size) <= 2 + size // 3)
    width = int(lengths[rows].max(initial=1))
    apart = distance.distances(target, codes[rows, :width], lengths[rows])
    best = np.argsort(apart, kind="stable")[:count]
    return [(float(apart[i]), words[rows[i]]) for i in best]


def _single(target: str, count: int) -> list[Alike]:
    known = lexicon.pronunciations()
    return [Alike(word, known[word], apart) for apart, word in _nearest(target, _dictionary(), count)]


def _pairs(target: str, count: int) -> list[Alike]:
    """Two common words that together sound like `target`, cut anywhere."""
    known = lexicon.pronunciations()
    plain = target.replace(" ", "")
    few = max(4, int(np.sqrt(count)) + 1)
    found = []
    for cut in range(2, len(plain) - 1):
        for left, first in _nearest(plain[:cut], _common(), few):
            for right, second in _nearest(plain[cut:], _common(), few):
                found.append(Alike(f"{first} {second}", f"{known[first]} {known[second]}", left + right))
    return found
