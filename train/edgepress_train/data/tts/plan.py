"""What is to be said so that a net learns a word: how many clips of what, by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepress_train.data import words as sayings
from edgepress_train.data.tts import accents, casting, phonemes, talk
from edgepress_train.data.tts.casting import Company
from edgepress_train.data.tts.engines import Cast
from edgepress_train.data.tts.utterance import Utterance
from edgepress_train.data.tts.voice import EngineMissing, Manner, SpeechError, Voice

# What comes after a word said alone: the full stop twice, since most people just say it
_ALONE = (".", ".", "!", "?", ",", "...", "")
_GREETINGS = ("Hey,", "Hey", "OK,", "Okay", "Hello,", "Hi,", "So,", "Oh,", "Yes,", "No,", "Please,", "Um,", "Alright,")
_LEADS = (
    "I said",
    "Let's ask the",
    "Come on,",
    "Are you there,",
    "Good morning,",
    "Wake up,",
    "Listen,",
    "Thank you,",
    "What did you say,",
    "Where are you,",
    "It's called",
    "Just a moment.",
)
_REQUESTS = (
    ", turn on the light.",
    ", what time is it?",
    ", play some music.",
    ", stop.",
    ", good night.",
    " turn it off.",
    " what's the weather today?",
    ", set a timer for ten minutes.",
    " open the door.",
    ", how are you?",
    " please help me.",
    ", call my brother.",
    " and then we'll see.",
    ", never mind.",
    " volume up.",
    ", are you listening?",
)


@dataclass(frozen=True)
class Size:
    """How many clips: of each word by Kokoro and by the cheaper engines, and of what is not the word.

    Sound-alikes, mutated sounds and pieces are counted for each word, other words and sentences for all together.
    `val` is how many validate, as a share of what trains. About 0.5 CPU seconds a Kokoro clip of one word.
    """

    word: int = 900
    word_cheap: int = 250
    alike: int = 500
    miss: int = 150
    piece: int = 100
    other: int = 700
    sentence: int = 600
    val: float = 0.15

    def scaled(self, factor: float) -> Size:
        """All of them times `factor`."""
        fields = ("word", "word_cheap", "alike", "miss", "piece", "other", "sentence")
        return Size(**{name: max(1, round(factor * getattr(self, name))) for name in fields}, val=self.val)


@dataclass(frozen=True)
class Plan:
    """What is to be said, the engine whose voices only validate ("" for none), and what had to be left out."""

    utterances: tuple[Utterance, ...]
    kept_engine: str
    notes: tuple[str, ...]


def make(words: Sequence[str], cast: Cast, *, size: Size = Size(), language: str = "en-us", seed: int = 0) -> Plan:
    """The plan for `words`. The same words, voices, size and seed give the same plan.

    Raises SpeechError for a word without sounds, or when nothing here speaks the language.
    """
    wanted = tuple(dict.fromkeys(sayings.normalize(word) for word in words))
    if not wanted:
        raise SpeechError("no word was named", 'as --words "computer, lights on"')
    sounds = tuple(phonemes.kokoro(word, language) for word in wanted)
    train, val, kept = casting.divide(cast, language, np.random.default_rng((seed, 1)))
    notes = [f"{missing.engine}: {missing.reason} ({missing.remedy})" for missing in cast.missing]
    made: list[Utterance] = []
    for split, company, share in (("train", train, 1.0), ("val", val, size.val)):
        part = size.scaled(share)
        writer = _Writer(
            wanted, sounds, company, part, split, language, np.random.default_rng((seed, 2, split == "val"))
        )
        made += writer.everything()
        notes += [note for note in writer.notes if note not in notes]
    return Plan(tuple(made), kept, tuple(notes))


class _Writer:
    """Writes the utterances of one split."""

    def __init__(
        self,
        words: tuple[str, ...],
        sounds: tuple[str, ...],
        company: Company,
        size: Size,
        split: str,
        language: str,
        rng: np.random.Generator,
    ) -> None:
        self._words, self._sounds, self._company, self._size = words, sounds, company, size
        self._split, self._language, self._rng = split, language, rng
        self._english = language.startswith("en")
        self.notes: list[str] = []

    def everything(self) -> list[Utterance]:
        made = []
        for word, sounds in zip(self._words, self._sounds, strict=True):
            made += self._positives(word)
            made += self._sounded(
                "miss", sayings.near_misses(sounds, max(4, self._size.miss // 3), self._rng), self._size.miss
            )
            made += self._sounded("piece", sayings.pieces(sounds), self._size.piece)
        if self._english:
            try:
                made += self._texts()
            except EngineMissing as error:
                self.notes.append(f"no real words and sentences as negatives: {error}")
        else:
            self.notes.append(f"no sentences and sound-alike words are known for {self._language!r}: bring recordings")
        return made

    def _texts(self) -> list[Utterance]:
        """Negatives that are real words: half of the sound-alikes and a third of the rest by Kokoro."""
        size, rng, many = self._size, self._rng, len(self._words)
        alikes = sayings.sound_alikes(self._words, max(8, size.alike // 6), sounds=self._sounds)
        made = self._said("alike", [alike.text for alike in alikes], size.alike * many, 0.5)
        made += self._said("other", sayings.random_words(size.other, rng, avoid=self._words), size.other, 0.35)
        return made + self._said("sentence", talk.sentences(size.sentence, rng, avoid=self._words), size.sentence, 0.35)

    def _positives(self, word: str) -> list[Utterance]:
        made = []
        for voice, manner in self._kokoro(self._size.word):
            before, after = self._context()
            made.append(
                Utterance(
                    word,
                    voice,
                    manner,
                    phonemes=self._pronounced(word, voice),
                    before=before,
                    after=after,
                    label=word,
                    split=self._split,
                )
            )
        cheap = self._size.word_cheap + (0 if made else self._size.word)
        for voice, manner in casting.cheap(self._company, cheap, self._rng):
            after = self._pick(_ALONE)
            before = self._pick(_GREETINGS) if self._english and self._rng.uniform() < 0.2 else ""
            made.append(Utterance(word, voice, manner, before=before, after=after, label=word, split=self._split))
        return made

    def _pronounced(self, word: str, voice: Voice) -> str:
        """The sounds of `word` as the speaker's country says them, one in four with a foreign or careless accent."""
        rng = self._rng
        if not self._english:
            return phonemes.kokoro(word, self._language)
        british = rng.uniform() < (0.85 if voice.language == "en-gb" else 0.15)
        sounds = phonemes.kokoro(word, "en-gb" if british else "en-us")
        if rng.uniform() < 0.28:
            sounds = accents.speak(sounds, self._pick(tuple(accents.ACCENTS)), rng)
        return sounds

    def _context(self) -> tuple[str, str]:
        """What stands before and after the word: nothing for six of ten."""
        rng, kind = self._rng, self._rng.uniform()
        if not self._english or kind < 0.6:
            return "", self._pick(_ALONE)
        if kind < 0.72:
            return self._pick(_GREETINGS), self._pick(_ALONE)
        if kind < 0.8:
            return self._pick(_LEADS), self._pick(_ALONE)
        if kind < 0.93:
            return "", self._pick(_REQUESTS)
        return self._pick(_GREETINGS + _LEADS), _REQUESTS[int(rng.integers(len(_REQUESTS)))]

    def _sounded(self, kind: str, pool: Sequence[str], count: int) -> list[Utterance]:
        """Negatives that only an engine with phonemes can say."""
        if not pool:
            return []
        made = []
        for number, (voice, manner) in enumerate(self._kokoro(count)):
            sounds = pool[number % len(pool)]
            made.append(
                Utterance(
                    sounds, voice, manner, phonemes=sounds, after=self._pick(_ALONE), kind=kind, split=self._split
                )
            )
        return made

    def _said(self, kind: str, pool: Sequence[str], count: int, natural: float) -> list[Utterance]:
        """Negatives that are texts, `natural` of them by Kokoro."""
        if not pool:
            return []
        by_kokoro = round(natural * count) if self._company.cheap else count
        by_kokoro = by_kokoro if self._company.of("kokoro") else 0
        drawn = [*self._kokoro(by_kokoro), *casting.cheap(self._company, count - by_kokoro, self._rng)]
        order = self._rng.permutation(len(drawn))
        made = []
        for number, index in enumerate(order):
            text, (voice, manner) = pool[number % len(pool)], drawn[int(index)]
            after = "" if kind == "sentence" else self._pick(_ALONE)
            made.append(Utterance(text, voice, manner, after=after, kind=kind, split=self._split))
        return made

    def _kokoro(self, count: int) -> list[tuple[Voice, Manner]]:
        if not self._company.of("kokoro"):
            return []
        return casting.kokoro(self._company, count, self._rng)

    def _pick(self, pool: Sequence[str]) -> str:
        return pool[int(self._rng.integers(len(pool)))]
